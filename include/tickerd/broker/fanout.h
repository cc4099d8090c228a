/* All sessions of one worker: who must be flushed after which note, heartbeats, time-outs, and the
 * end. Driven by its owner: notes in, then fanout_flush once per turn; fanout_tick a few times a
 * second. Every time-out is a list in order of time, so that a tick costs what is due. */
#ifndef TICKERD_BROKER_FANOUT_H
#define TICKERD_BROKER_FANOUT_H

#include "tickerd/broker/gather.h"
#include "tickerd/broker/metrics.h"
#include "tickerd/broker/replica.h"
#include "tickerd/wire/config.h"

/* How long after drain.timeout those who take nothing may keep a worker from ending. */
#define FANOUT_GRACE_US ((uint64_t)3000000)

struct fanout {
    struct replica replica;
    struct batch batch;
    const struct config *config; /* borrowed; outlives the fan-out */
    struct frame_stats *stats;
    struct metrics *metrics;
    struct link waiting; /* not started yet */
    struct link quiet;   /* streaming and able to take bytes, by time of the last write */
    struct link stalled; /* streaming, the transport full, by time of the last progress */
    struct link all;     /* every session, oldest first */
    struct link ready;   /* waiting sessions whose views have become ready */
    struct link behind;  /* waiting for an event they have seen elsewhere; tried again every turn */
    size_t count;
    uint32_t turn;
    uint64_t random;
    bool may_cut; /* some channel has the slow-client policy `disconnect` */
    bool draining;
    uint64_t drain_start_us;
    size_t drain_total;
};

/* `send` and `ctx` are for the replica's requests. ERR_NOMEM: nothing to finish. */
int fanout_init(struct fanout *f, const struct config *config, struct frame_stats *stats,
                struct metrics *metrics, const struct replica_events *events, void *ctx,
                uint64_t seed);

/* End all sessions at once and free everything. */
void fanout_finish(struct fanout *f);

/* A view became ready: sessions that waited for it may start at the next flush. The owner routes
 * replica_events.ready here. */
void fanout_view_ready(struct fanout *f, struct view *v);

/* Flush every session that something new concerns. Call after the notes of a turn are applied. */
void fanout_flush(struct fanout *f, uint64_t now_us);

/* Heartbeats, time-outs, the stages of a drain. Returns the microseconds until it wants to be
 * called again at the latest. */
uint64_t fanout_tick(struct fanout *f, uint64_t now_us);

/* Begin to send everybody away, spread over drain.timeout. */
void fanout_drain(struct fanout *f, uint64_t now_us);

/* A `retry` in ms: stream.retry ± jitter, plus what is left of a drain. */
uint32_t fanout_retry_ms(struct fanout *f, uint64_t now_us);

#endif
