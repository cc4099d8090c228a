/* The command line of tickerctl: one table of commands and one of options. */
#ifndef TICKERD_CTL_OPTIONS_H
#define TICKERD_CTL_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tickerd/base/buf.h"

#define CTL_ENV_ADMIN "TICKERD_ADMIN"
#define CTL_ADMIN_DEFAULT "127.0.0.1:8091"

/* Exit statuses. */
enum { CTL_GOOD = 0, CTL_REFUSED = 1, CTL_USAGE = 2, CTL_NO_CONNECTION = 3 };

enum ctl_command {
    CTL_STATUS,
    CTL_CHANNELS,
    CTL_CLIENTS,
    CTL_TAIL,
    CTL_PUBLISH,
    CTL_DISCONNECT,
    CTL_RELOAD,
    CTL_DRAIN,
    CTL_DOCTOR,
    CTL_HELP,
    CTL_VERSION,
    CTL_COMMANDS
};

enum ctl_option {
    OPT_ADMIN,
    OPT_JSON,
    OPT_COLOR,
    OPT_HELP,
    OPT_VERSION,
    OPT_WATCH,
    OPT_LIMIT,
    OPT_ALL,
    OPT_SORT,
    OPT_MATCH,
    OPT_CHANNEL,
    OPT_SUB,
    OPT_ADDRESS,
    OPT_HISTORY,
    OPT_LAST_EVENT_ID,
    OPT_URL,
    OPT_EVENT,
    OPT_TOKEN,
    OPT_HEADER,
    OPT_CA,
    OPT_ORIGIN,
    OPT_HEARTBEAT,
    OPT_TIME,
    OPT_PUBLISH,
    OPT_PROXY,
    OPT_COUNT
};

enum { CTL_ARGS_MAX = 2 };

struct ctl_options {
    enum ctl_command command;
    const char *args[CTL_ARGS_MAX]; /* what the command is about; point into argv */
    size_t arg_count;
    const char *value[OPT_COUNT]; /* NULL: not given; "" for an option without a value */
    uint64_t number[OPT_COUNT];   /* of those that are numbers, and durations in ms */
    const char **headers;         /* owned: every --header, pointing into argv */
    size_t header_count;
};

/* Read the command line. `env_admin` is the value of CTL_ENV_ADMIN, or NULL. Options may stand
 * before and behind the command; `--` ends them. Returns 0, ERR_INVALID with one line per problem
 * in `errors`, or ERR_NOMEM. Always ends with ctl_options_finish. */
int ctl_options_parse(struct ctl_options *o, int argc, char **argv, const char *env_admin,
                      struct buf *errors);
void ctl_options_finish(struct ctl_options *o);

/* Which command --help, or `help COMMAND`, is about; CTL_HELP: all of them. */
enum ctl_command ctl_options_about(const struct ctl_options *o);

/* Append the --help text: of one command, or with CTL_HELP of all. */
void ctl_options_help(struct buf *out, enum ctl_command command);

#endif
