#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tickerd/base/err.h"
#include "tickerd/base/log.h"
#include "tickerd/daemon/options.h"
#include "tickerd/daemon/server.h"

static void print_out(const struct buf *text)
{
    (void)fwrite(text->data, 1, text->len, stdout);
}

/* One log line per problem, so that with log.format=json they are objects too. */
static void report(struct buf *errors)
{
    const char *line = buf_cstr(errors);
    while (*line != '\0') {
        size_t len = strcspn(line, "\n");
        log_error("%.*s", (int)len, line);
        line += len + (line[len] == '\n' ? 1 : 0);
    }
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
    } else if (o->mode == OPTIONS_CHECK) {
        log_info("the configuration is valid");
    } else {
        status = server_run(config);
    }
    buf_finish(&text);
    config_destroy(config);
    return status;
}

int main(int argc, char **argv)
{
    struct options o;
    struct buf text = BUF_INIT;
    int status = EXIT_SUCCESS;
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
