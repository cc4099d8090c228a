/* All sessions of one worker: who must be flushed after which note, heartbeats, time-outs, and the
 * end. Driven by its owner: notes in, then fanout_flush once per turn; fanout_tick a few times a
 * second. Every time-out is a list in order of time, so that a tick costs what is due. */
#ifndef TICKERD_BROKER_FANOUT_H
#define TICKERD_BROKER_FANOUT_H

#include "tickerd/broker/gather.h"
#include "tickerd/broker/latency.h"
#include "tickerd/broker/metrics.h"
#include "tickerd/broker/recent_gaps.h"
#include "tickerd/broker/replica.h"
#include "tickerd/broker/rights.h"
#include "tickerd/wire/config.h"

/* How long after drain.timeout those who take nothing may keep a worker from ending. */
#define FANOUT_GRACE_US ((uint64_t)3000000)

struct fanout {
    struct replica replica;
    struct batch batch;
    const struct config *config; /* borrowed; fanout_reload brings another */
    struct frame_stats *stats;
    struct metrics *metrics;
    struct link waiting; /* not started yet */
    struct link quiet;   /* streaming and able to take bytes, by time of the last write */
    struct link stalled; /* streaming, the transport full, by time of the last progress */
    struct link all;     /* every session, oldest first */
    struct link ready;   /* waiting sessions whose views have become ready */
    struct link behind;  /* waiting for an event they have seen elsewhere; tried again every turn */
    struct link walkers; /* struct walker.link: see roster.h */
    uint64_t newest_us;  /* when the newest session was opened */
    struct link condemned; /* have lost their right, and are sent away some at a time */
    struct rights rights;
    struct latency latency;
    struct recent_gaps gaps;
    int64_t wall_ahead; /* the wall clock less the monotonic one, in us, at the last tick */
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

/* Heartbeats, time-outs, ends of rights, the stages of a drain. `wall_us` is the wall clock, which
 * says when a token has run out. Returns the microseconds until it wants to be called again at the
 * latest. */
uint64_t fanout_tick(struct fanout *f, uint64_t now_us, uint64_t wall_us);

/* Begin to send everybody away, spread over drain.timeout. */
void fanout_drain(struct fanout *f, uint64_t now_us);

/* Send everybody away at once: who cannot take his last line now does not get it. */
void fanout_dismiss(struct fanout *f, uint64_t now_us);

/* ---- rights: fanout_rights.c ---- */

/* Cut the streams of this subject, of this channel (those that named it, and patterns' that would
 * be sent it), or of both where both are given; NULL: any; both NULL: none. They get nothing more
 * from now on; their last lines go out with this and the next ticks, which should come soon (see
 * fanout_away). Returns how many. */
size_t fanout_disconnect(struct fanout *f, const char *sub, size_t sub_len, const char *channel,
                         size_t channel_len, uint64_t now_us);

/* The same for all there are. */
size_t fanout_disconnect_all(struct fanout *f, uint64_t now_us);

/* Take a new configuration (borrowed, the old one may go) and cut the streams that have no right
 * by it: those whose key is not known any more, or with `judge_anew` all with a token; and those
 * whose channels are not allowed now. `key_known` may be NULL: all are. Returns how many. */
size_t fanout_reload(struct fanout *f, const struct config *config,
                     bool (*key_known)(void *ctx, const uint8_t key[TOKEN_ID_LEN]), void *ctx,
                     bool judge_anew, uint64_t now_us);

/* Take over a configuration; of fanout_init and fanout_reload. */
void fanout_configure(struct fanout *f, const struct config *config);

/* Cut the streams whose tokens have run out; of fanout_tick. */
void fanout_expire(struct fanout *f, uint64_t now_us);

/* Send away some of those who are condemned. Whether there are more: they want a tick soon, so that
 * the others are served meanwhile. */
bool fanout_away(struct fanout *f, uint64_t now_us);

/* A `retry` in ms: stream.retry ± jitter, plus what is left of a drain. */
uint32_t fanout_retry_ms(struct fanout *f, uint64_t now_us);

#endif
