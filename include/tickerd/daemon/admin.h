/* The admin listener: a dashboard, figures for people and machines, and orders. It is one more
 * worker with a thread, clients and views of its own, so that /events/… there are real streams;
 * what it does counts nowhere as the service's. Nothing here may hold up the hub or a worker:
 * figures are atomics, and what has to be asked where it is goes by errands (net/desk.h). */
#ifndef TICKERD_DAEMON_ADMIN_H
#define TICKERD_DAEMON_ADMIN_H

#include <stdatomic.h>

#include "tickerd/daemon/answer.h"
#include "tickerd/wire/addr.h"

struct hub;
struct reload;
struct worker;

enum admin_state { ADMIN_STARTING, ADMIN_RUNNING, ADMIN_DRAINING };

/* The rest of the daemon, as this listener sees it. Filled in before its worker starts; everything
 * is borrowed and, but for `state`, does not change. */
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
    _Atomic int state; /* enum admin_state */
};

/* One request's answer. `query` is what is behind the `?`, not decoded: query_find. */
typedef void admin_handler(struct exchange *x, struct http_slice query);

/* Answer a request to the admin listener, unless it is one that the public listener answers the
 * same way. Whether it did. */
bool admin_answers(struct exchange *x);

#endif
