/* Reloading: the configuration and the keys are read again from the same sources, in a thread of
 * libuv's pool, since a slow file system must not keep the hub from reading Redis. What is refused
 * changes nothing. */
#ifndef TICKERD_DAEMON_RELOAD_H
#define TICKERD_DAEMON_RELOAD_H

#include <uv.h>

#include "tickerd/daemon/settings.h"

/* All mandatory, all on the loop. */
struct reload_events {
    /* The files are going to be read. */
    void (*began)(void *ctx);
    /* Put `next` into force, but for its logging, which follows; `running` is still there during
     * the call and not after it, but for references of others. */
    void (*apply)(void *ctx, struct settings *next);
    /* It is over: all is in force (`problem` is NULL), or nothing is, and this is why, a line for
     * each problem. Not called after reload_close. */
    void (*ended)(void *ctx, const char *problem);
};

struct reload {
    uv_loop_t *loop;
    const struct config_source *from;   /* borrowed */
    struct settings *running;           /* what is in force; one reference */
    const struct reload_events *events; /* borrowed */
    void *ctx;
    uv_work_t work;
    bool busy;
    bool again; /* asked for while busy, maybe after the files were read */
    bool closed;
    /* The pool's while busy. */
    struct settings *next;
    struct config_changes changes;
    struct buf errors;
};

/* Takes a reference on `running`; `from` and `events` outlive it. */
void reload_init(struct reload *r, uv_loop_t *loop, const struct config_source *from,
                 struct settings *running, const struct reload_events *events, void *ctx);

/* Read everything again, and then, unless it is refused, `apply` and say what has changed. Calls
 * while that goes on become one that follows. */
void reload_request(struct reload *r);

/* Nothing is applied any more. */
void reload_close(struct reload *r);

/* After the loop has run. */
void reload_finish(struct reload *r);

#endif
