#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tickerd/base/err.h"
#include "tickerd/base/log.h"
#include "tickerd/daemon/options.h"
#include "tickerd/daemon/server.h"
#include "tickerd/net/redis_tls.h"

static void print_out(const struct buf *text)
{
    (void)fwrite(text->data, 1, text->len, stdout);
}

static void report(struct buf *errors)
{
    log_lines(LOG_ERROR, buf_cstr(errors));
}

/* False: a file that redis.tls names is unfit, and `errors` says why. Without TLS *tls is NULL. */
static bool read_tls(const struct config *c, struct redis_tls **tls, struct buf *errors)
{
    *tls = NULL;
    if (!config_uses_tls(c))
        return true;
    const struct redis_tls_options options = {.ca = c->redis.tls.ca,
                                              .cert = c->redis.tls.cert,
                                              .key = c->redis.tls.key,
                                              .server_name = c->redis.tls.server_name};
    *tls = redis_tls_create(&options, errors);
    return *tls != NULL;
}

/* Takes over the configuration. */
static int check_or_run(const struct options *o, struct config *config)
{
    struct buf errors = BUF_INIT;
    struct redis_tls *tls = NULL;
    int status = EXIT_SUCCESS;
    bool tls_fits = read_tls(config, &tls, &errors); /* so that all that is wrong is said at once */
    struct settings *settings = settings_create(config, &errors);
    if (settings == NULL || !tls_fits) {
        report(&errors);
        status = EXIT_FAILURE;
    } else if (o->mode == OPTIONS_CHECK) {
        log_info("the configuration is valid");
    } else {
        status = server_run(settings, tls, &o->source);
    }
    redis_tls_destroy(tls);
    settings_unref(settings);
    buf_finish(&errors);
    return status;
}

static int with_config(struct options *o)
{
    struct buf text = BUF_INIT;
    o->source.redis_url = getenv(CONFIG_ENV_REDIS_URL);
    struct config *config = config_build(&o->source, &text);
    if (config == NULL) {
        report(&text);
        buf_finish(&text);
        return EXIT_FAILURE;
    }
    log_setup(config->log.level, config->log.format);
    int status = EXIT_SUCCESS;
    if (o->mode == OPTIONS_PRINT) {
        config_print(&text, config, false);
        print_out(&text);
        config_destroy(config);
    } else {
        status = check_or_run(o, config);
    }
    buf_finish(&text);
    return status;
}

int main(int argc, char **argv)
{
    struct options o;
    struct buf text = BUF_INIT;
    int status = EXIT_SUCCESS;
    server_hold_hangup();
    if (options_parse(&o, argc, argv, &text) != ERR_OK) {
        report(&text);
        status = EXIT_FAILURE;
    } else if (o.mode == OPTIONS_HELP) {
        options_help(&text);
        print_out(&text);
    } else if (o.mode == OPTIONS_VERSION) {
        printf("tickerd %s\n", TICKERD_VERSION);
    } else {
        status = with_config(&o);
    }
    buf_finish(&text);
    options_finish(&o);
    return status;
}
