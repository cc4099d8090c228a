#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tickerd/base/err.h"
#include "tickerd/ctl/commands.h"

typedef int command_fn(struct ctl *c);

static command_fn *const commands[CTL_COMMANDS] = {
    [CTL_STATUS] = command_status,   [CTL_CHANNELS] = command_channels,
    [CTL_CLIENTS] = command_clients, [CTL_TAIL] = command_tail,
    [CTL_PUBLISH] = command_publish, [CTL_DISCONNECT] = command_disconnect,
    [CTL_RELOAD] = command_reload,   [CTL_DRAIN] = command_drain,
    [CTL_DOCTOR] = command_doctor,
};

static enum screen_colour colour_of(const struct ctl_options *o)
{
    const char *when = o->value[OPT_COLOR] == NULL ? "auto" : o->value[OPT_COLOR];
    if (strcmp(when, "always") == 0)
        return SCREEN_ALWAYS;
    return strcmp(when, "never") == 0 ? SCREEN_NEVER : SCREEN_AUTO;
}

static int run(const struct ctl_options *o)
{
    struct ctl c = {.options = o};
    screen_init(&c.screen, colour_of(o));
    c.web = web_create();
    if (c.web == NULL) {
        ctl_say("out of memory or file descriptors");
        return CTL_REFUSED;
    }
    int status = commands[o->command](&c);
    web_destroy(c.web);
    return status;
}

static int help(const struct ctl_options *o)
{
    struct buf text = BUF_INIT;
    ctl_options_help(&text, ctl_options_about(o));
    bool ok = screen_write(&text);
    buf_finish(&text);
    return ok ? CTL_GOOD : CTL_REFUSED;
}

int main(int argc, char **argv)
{
    struct ctl_options o;
    struct buf errors = BUF_INIT;
    int status = CTL_USAGE;
    int err = ctl_options_parse(&o, argc, argv, getenv(CTL_ENV_ADMIN), &errors);
    if (err != 0) {
        (void)fputs(err == ERR_NOMEM ? "out of memory\n" : buf_cstr(&errors), stderr);
        (void)fputs("Try tickerctl --help.\n", stderr);
    } else if (o.value[OPT_VERSION] != NULL || o.command == CTL_VERSION) {
        status = printf("tickerctl %s\n", TICKERD_VERSION) > 0 ? CTL_GOOD : CTL_REFUSED;
    } else if (o.value[OPT_HELP] != NULL || o.command == CTL_HELP) {
        status = help(&o);
    } else {
        status = run(&o);
    }
    buf_finish(&errors);
    ctl_options_finish(&o);
    return status;
}
