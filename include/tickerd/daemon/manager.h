/* What the service manager is told of the daemon as it lives: when it is ready, reloads and stops,
 * how it is doing (the line that `systemctl status` shows), and, for its watchdog, that no thread
 * hangs. On the hub's loop, so that a hub that hangs says nothing. */
#ifndef TICKERD_DAEMON_MANAGER_H
#define TICKERD_DAEMON_MANAGER_H

#include <uv.h>

#include "tickerd/daemon/capacity.h"
#include "tickerd/daemon/hub.h"
#include "tickerd/daemon/notify.h"
#include "tickerd/daemon/watchdog.h"
#include "tickerd/daemon/worker.h"

struct manager {
    struct notify notify;
    struct watchdog watchdog;
    uv_timer_t timer; /* runs while there is somebody to tell */
    bool started;
    bool stopping;
    bool hung;        /* which has been logged */
    uint64_t told_ms; /* by the loop's clock */
    /* Borrowed. */
    struct hub *hub;
    struct worker **workers;
    uint32_t worker_count;
    const struct capacity *capacity;
    uint64_t away_us;   /* since when Redis is away; 0: it is not */
    struct buf refused; /* why the last reload was; empty: it was not */
    struct buf status;  /* as last sent */
    struct buf text;    /* being made */
};

/* What the line says. */
struct manager_facts {
    uint64_t clients, channels;
    uint64_t redis_away_us; /* for how long; 0: it is up */
    bool draining;
    const char *refused; /* the last reload, or empty */
};

/* The environment is read, so call it before there are threads; see notify_init. */
void manager_init(struct manager *m);
void manager_finish(struct manager *m);

/* The daemon serves from now on. What is borrowed outlives manager_close. */
void manager_ready(struct manager *m, uv_loop_t *loop, struct hub *hub, struct worker **workers,
                   uint32_t worker_count, const struct capacity *capacity);

/* A reload begins; it has ended, for the reason on the first line of `problem` without effect, or
 * with (NULL). */
void manager_reloading(struct manager *m);
void manager_reloaded(struct manager *m, const char *problem);

/* The daemon stops, and wants no end made to it for so long. May be said again. */
void manager_stopping(struct manager *m, uint64_t within_us);

/* Close the timer; the end of the loop follows. */
void manager_close(struct manager *m);

/* Append the line. Without anything that would end or garble it. */
void manager_describe(struct buf *out, const struct manager_facts *facts);

#endif
