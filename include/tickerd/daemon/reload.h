/* Reloading: the configuration and the keys are read again from the same sources, in a thread of
 * libuv's pool, since a slow file system must not keep the hub from reading Redis. What is refused
 * changes nothing. */
#ifndef TICKERD_DAEMON_RELOAD_H
#define TICKERD_DAEMON_RELOAD_H

#include <uv.h>

#include "tickerd/daemon/settings.h"

struct reload {
    uv_loop_t *loop;
    const struct config_source *from; /* borrowed */
    struct settings *running;         /* what is in force; one reference */
    /* Put `next` into force, but for its logging, which follows; `running` is still there during
     * the call and not after it, but for references of others. */
    void (*apply)(void *ctx, struct settings *next);
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

/* Takes a reference on `running`; `from` outlives it. */
void reload_init(struct reload *r, uv_loop_t *loop, const struct config_source *from,
                 struct settings *running, void (*apply)(void *ctx, struct settings *next),
                 void *ctx);

/* Read everything again, and then, unless it is refused, `apply` and say what has changed. Calls
 * while that goes on become one that follows. */
void reload_request(struct reload *r);

/* Nothing is applied any more. */
void reload_close(struct reload *r);

/* After the loop has run. */
void reload_finish(struct reload *r);

#endif
