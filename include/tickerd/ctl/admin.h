/* Asking the admin listener, and telling people what it said. */
#ifndef TICKERD_CTL_ADMIN_H
#define TICKERD_CTL_ADMIN_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "tickerd/base/buf.h"
#include "tickerd/ctl/options.h"
#include "tickerd/ctl/screen.h"
#include "tickerd/ctl/web.h"

/* What every command works with. */
struct ctl {
    const struct ctl_options *options;
    struct screen screen;
    struct web *web;
};

struct admin_answer {
    enum web_end how;
    char why[256];    /* libcurl's sentence where there was no whole answer */
    bool interrupted; /* by INT or TERM */
    bool late;        /* no answer within the time allowed */
    long status;
    struct buf body; /* owned */
    json_t *json;    /* owned; NULL: the body is no JSON object */
};

/* The URL of something on the admin listener, appended to `out`. *socket: its Unix socket, pointing
 * into `storage` of ADDR_PATH_MAX + 1 bytes, or NULL. The address has been checked. */
void admin_url(struct buf *out, const char *admin, const char *target, const char **socket,
               char *storage);

/* Ask, and wait for the answer. `target` is path and query; `body` NULL for a request without one.
 * Prints nothing. Ends with admin_answer_finish. */
void admin_ask(struct ctl *c, const char *method, const char *target, const struct buf *body,
               struct admin_answer *answer);
void admin_answer_finish(struct admin_answer *answer);

/* The same; what is wrong is told on stderr. CTL_GOOD: the answer is 2xx and JSON. Else the exit
 * status. The answer is to be finished either way. */
int admin_order(struct ctl *c, const char *method, const char *target, const struct buf *body,
                struct admin_answer *answer);

/* Tell a person why there is no connection to the admin listener at `admin`. */
void admin_tell_unreachable(const char *admin, const char *why);

/* One line on stderr, "tickerctl: …", with what strangers wrote made harmless. */
void ctl_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Whether a person's text is a URL of http or https; says so if not. */
bool ctl_is_url(const char *text);

/* Append "?name=value" or "&name=value", the value percent-encoded; nothing where it is NULL. */
void query_add(struct buf *target, const char *name, const char *value);

/* Print JSON in one line, or spread over several for people who asked for it at a terminal. */
bool ctl_print_json(const struct ctl *c, const json_t *json);

/* A member by its names, "redis.state"; a default where it is missing or of another type. */
const json_t *member(const json_t *object, const char *path);
const char *member_text(const json_t *object, const char *path, const char *otherwise);
double member_number(const json_t *object, const char *path);
uint64_t member_count(const json_t *object, const char *path);

#endif
