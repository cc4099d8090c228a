/* One worker: a loop of its own with its listening sockets, its clients and its views. Talks to the
 * hub through two inboxes and nothing else. */
#ifndef TICKERD_DAEMON_WORKER_H
#define TICKERD_DAEMON_WORKER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "tickerd/broker/fanout.h"
#include "tickerd/broker/frame.h"
#include "tickerd/broker/metrics.h"
#include "tickerd/daemon/capacity.h"
#include "tickerd/daemon/public.h"
#include "tickerd/daemon/settings.h"
#include "tickerd/net/desk.h"
#include "tickerd/net/inbox.h"

enum { WORKERS_MAX = 256 };

struct worker;

struct worker_options {
    struct settings *settings; /* to begin with; the worker takes a reference */
    struct capacity *capacity; /* outlives the worker, as all that follows */
    struct frame_stats *stats;
    const _Atomic uint64_t *hub_clock; /* everything up to it is in the inbox */
    struct inbox *to_hub;
    const int *fds; /* listening sockets; stay the caller's */
    size_t fd_count;
    bool fds_inherited;  /* who queues there in the end is the next process's to answer */
    struct admin *admin; /* NULL but for the admin listener's worker */
};

/* Make a worker; nothing runs yet. NULL: out of memory or a system call failed. That has been
 * logged; nothing is undone, since the caller ends the process. */
struct worker *worker_create(const struct worker_options *options);

/* Its inbox, for the hub to write to. */
struct inbox *worker_inbox(struct worker *w);

struct metrics *worker_metrics(struct worker *w);

/* What its clients were told last; may be read from any thread. */
struct recent_gaps *worker_gaps(struct worker *w);

/* For errands from other threads; their `ctx` is the worker. */
struct desk *worker_desk(struct worker *w);

/* Its insides, for those errands only. */
struct fanout *worker_fanout(struct worker *w);
struct public *worker_public(struct worker *w);

/* A number that changes several times a second as long as its loop turns. */
uint64_t worker_pulse(const struct worker *w);

/* Start its thread. ERR_SYSTEM: has been logged. */
int worker_start(struct worker *w);

/* From one thread: replace its settings soon. Of several in a row it may see the last only. */
void worker_reload(struct worker *w, struct settings *next);

/* From any thread: send the clients away over drain.timeout. The worker goes on answering new ones
 * (with a `retry`) until it is stopped. Not for the admin listener's worker, which serves until it
 * is stopped, and then says so to its streams; commands do not concern those. */
void worker_drain(struct worker *w);

/* Whether a drain is over: nobody is owed anything any more, or the time is up. */
bool worker_drained(const struct worker *w);

/* From any thread: stop at once. The thread ends by itself. */
void worker_stop(struct worker *w);

/* Whether the thread has ended; then worker_destroy does not block. */
bool worker_ended(const struct worker *w);

/* Stop, join and free. NULL is allowed. */
void worker_destroy(struct worker *w);

#endif
