/* Reloading: the configuration and the keys are read again from the same sources, in a thread of
 * libuv's pool, since a slow file system must not keep the hub from reading Redis. What is refused
 * changes nothing. */
#ifndef TICKERD_DAEMON_RELOAD_H
#define TICKERD_DAEMON_RELOAD_H

#include <pthread.h>
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

/* How a reload ended. */
struct reload_result {
    uint64_t at_us; /* by the wall clock; 0: there has been none */
    bool ok;
    struct config_changes changes; /* of none, unless ok */
    size_t keys_added, keys_removed;
    const char *errors; /* a line for each problem; "" if ok */
};

/* Somebody who asks for a reload and wants to know how it ends; his memory until `done`. */
struct reload_waiter {
    struct reload_waiter *next; /* the reload's */
    /* Called once, on the loop's thread; NULL: there will be none any more. */
    void (*done)(struct reload_waiter *w, const struct reload_result *result);
};

/* What has been. */
struct reload_past {
    uint64_t loaded_us; /* when what is in force was loaded, by the wall clock */
    uint64_t reloads;   /* that ended well */
    struct reload_result last;
};

struct reload {
    uv_loop_t *loop;
    const struct config_source *from;   /* borrowed */
    struct settings *running;           /* what is in force; one reference */
    const struct reload_events *events; /* borrowed */
    void *ctx;
    uv_work_t first, work;
    bool busy;
    bool again; /* asked for while busy, maybe after the files were read */
    bool closed;
    struct reload_waiter *waiting, *served; /* for the next, by the one that goes on */
    pthread_mutex_t lock;                   /* of what follows */
    struct reload_past past;
    struct buf past_errors;
    /* The pool's while busy. */
    struct settings *next;
    struct config_changes changes;
    struct buf errors;
};

/* Takes a reference on `running`; `from` and `events` outlive it. */
void reload_init(struct reload *r, uv_loop_t *loop, const struct config_source *from,
                 struct settings *running, const struct reload_events *events, void *ctx);

/* Once, before the loop runs. The threads of libuv's pool begin with the first work for them, and
 * libuv aborts where that fails (memory, TasksMax=): so it had better not be while clients are
 * there. */
void reload_start(struct reload *r);

/* Read everything again, and then, unless it is refused, `apply` and say what has changed. Calls
 * while that goes on become one that follows. */
void reload_request(struct reload *r);

/* The same for a waiter, to whom the end of that one is told. */
void reload_ask(struct reload *r, struct reload_waiter *w);

/* From any thread. `errors` gets what out->last.errors points to. */
void reload_look(struct reload *r, struct reload_past *out, struct buf *errors);

/* Nothing is applied any more. */
void reload_close(struct reload *r);

/* After the loop has run. */
void reload_finish(struct reload *r);

#endif
