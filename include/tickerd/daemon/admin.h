/* The admin listener: a dashboard, figures for people and machines, and orders. It is one more
 * worker with a thread, clients and views of its own, so that /events/… there are real streams;
 * what it does counts nowhere as the service's. Nothing here may hold up the hub or a worker:
 * figures are atomics, and what has to be asked where it is goes by errands (net/desk.h). */
#ifndef TICKERD_DAEMON_ADMIN_H
#define TICKERD_DAEMON_ADMIN_H

#include <stdatomic.h>

#include "tickerd/daemon/answer.h"
#include "tickerd/net/desk.h"
#include "tickerd/wire/addr.h"

struct hub;
struct reload;
struct worker;

enum admin_state { ADMIN_STARTING, ADMIN_RUNNING, ADMIN_DRAINING };

/* The rest of the daemon, as this listener sees it. Filled in before its worker starts; everything
 * is borrowed and, but for `state` and below, does not change. */
struct admin {
    struct hub *hub;
    struct worker *const *workers; /* the service's; this listener's own is not among them, and has
                                      the hub's index behind theirs */
    uint32_t worker_count;
    struct worker *self;
    struct capacity *capacity; /* the service's */
    struct reload *reload;     /* the hub's thread's */
    const char *config_file;   /* NULL: none */
    const struct addr *listen;
    size_t listen_count;
    struct addr address; /* its own */
    uint64_t started_us, started_wall_us;
    void (*drain)(void *server); /* as TERM does, unless that has begun; on the hub's thread */
    void *server;
    _Atomic int state;    /* enum admin_state */
    pthread_mutex_t lock; /* of what follows */
    bool closed;
};

/* One request's answer. `query` is what is behind the `?`, not decoded: query_find. */
typedef void admin_handler(struct exchange *x, struct http_slice query);

/* Begin and end; between them admin_post may be called. */
void admin_init(struct admin *a);
void admin_finish(struct admin *a);

/* From any thread: an errand to this listener's thread. */
void admin_post(struct admin *a, struct errand *e);

/* On this listener's thread, once every connection is closed: errands are cancelled from now on, on
 * the thread that posts them, since hub and workers may have some left that end after it. */
void admin_close(struct admin *a);

/* Answer a request to the admin listener, unless it is one that the public listener answers the
 * same way. Whether it did. */
bool admin_answers(struct exchange *x);

#endif
