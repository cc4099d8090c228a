/* The public listener's behaviour: which request gets which answer (DESIGN §1), CORS, refusals that
 * do not kill an EventSource, and the opening of streams. One per worker. */
#ifndef TICKERD_DAEMON_PUBLIC_H
#define TICKERD_DAEMON_PUBLIC_H

#include <time.h>

#include "tickerd/broker/fanout.h"
#include "tickerd/daemon/capacity.h"
#include "tickerd/daemon/settings.h"
#include "tickerd/net/http1.h"

struct admin;
struct exchange; /* answer.h */

struct public
{
    struct http1 http;
    struct fanout *fanout;       /* borrowed */
    struct capacity *capacity;   /* borrowed, shared */
    struct metrics *metrics;     /* borrowed */
    struct admin *admin;         /* borrowed; NULL: it is not the admin listener */
    const struct config *config; /* borrowed, of the settings in force */
    const struct keyring *keys;  /* the same */
    struct buf answer;
    time_t date_at; /* when `date` was made */
    char date[40];
};

/* ERR_NOMEM: nothing to finish. With `admin`, requests are that one's first (admin.h). */
int public_init(struct public *p, uv_loop_t *loop, struct fanout *fanout, struct capacity *capacity,
                struct metrics *metrics, const struct settings *settings, struct admin *admin);

/* Replace the settings: for requests from now on. */
void public_reload(struct public *p, const struct settings *settings);

/* Close all connections; then, once the loop has run, free what is left. */
void public_close(struct public *p);
void public_finish(struct public *p);

/* Answer whether the subscription to Redis is live. */
void public_answer_ready(struct exchange *x);

/* A connection of this peer was accepted. */
void public_accept(void *ctx, int fd, const struct netaddr *peer);

#endif
