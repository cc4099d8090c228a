/* The command line. It only says what to do and with which settings; the configuration itself is
 * built from it by config_build, so that an option means exactly what its --set would. */
#ifndef TICKERD_DAEMON_OPTIONS_H
#define TICKERD_DAEMON_OPTIONS_H

#include <stddef.h>

#include "tickerd/base/buf.h"
#include "tickerd/wire/config.h"

enum options_mode {
    OPTIONS_RUN,
    OPTIONS_CHECK,   /* --check-config: build the configuration, report, exit */
    OPTIONS_PRINT,   /* --print-config: the same, and print it */
    OPTIONS_VERSION, /* --version */
    OPTIONS_HELP,    /* --help */
};

struct options {
    enum options_mode mode; /* of several, the one that stands last in this enum */
    /* For config_build. file points into argv. redis_url is left NULL: the caller sets it to
     * getenv(CONFIG_ENV_REDIS_URL), since parsing reads nothing but its arguments. */
    struct config_source source;
    char **set; /* owned, each owned: what source.set points to */
};

/* Read the command line (argv[0] is skipped, argv is not changed). `--opt VALUE` and `--opt=VALUE`
 * are the same, but for a VALUE that begins with two dashes, which needs the =. Every --listen adds
 * an address; together they replace the file's list. Settings keep the order of the command line,
 * so that the last one of a key counts. Returns 0, ERR_INVALID with one line per problem in
 * `errors`, or ERR_NOMEM. Values that may hold a password are never quoted. Always ends with
 * options_finish, also after a failure. */
int options_parse(struct options *o, int argc, char **argv, struct buf *errors);
void options_finish(struct options *o);

/* Append the whole --help text: usage, options, signals, environment, and every key. */
void options_help(struct buf *out);

#endif
