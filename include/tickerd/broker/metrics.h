/* What hub and workers count. Each thread has its own set and only it writes there; others may read
 * at any time, and add up. Nothing here costs more than a few nanoseconds. */
#ifndef TICKERD_BROKER_METRICS_H
#define TICKERD_BROKER_METRICS_H

#include <stdatomic.h>
#include <stdint.h>

#include "tickerd/broker/closing.h"
#include "tickerd/broker/histogram.h"
#include "tickerd/broker/refusal.h"
#include "tickerd/broker/ring.h"

#define METRICS(X)                                                                                 \
    X(MESSAGES, "messages received from the source")                                               \
    X(MESSAGE_BYTES, "bytes of the payloads of messages received from the source")                 \
    X(IGNORED_NAMES, "messages on channels whose names are not allowed")                           \
    X(OVERSIZE, "messages above limits.message_bytes")                                             \
    X(REPAIRED, "invalid UTF-8 sequences replaced")                                                \
    X(EVICTED, "events evicted from histories")                                                    \
    X(OUTAGES, "times the source was lost")                                                        \
    X(CONNECTS, "times the source was connected and all subscriptions were answered")              \
    X(STALE, "times a worker fell behind the hub")                                                 \
    X(OUT_OF_MEMORY, "messages, streams or views refused for want of memory")                      \
    X(ACCEPTED, "connections accepted")                                                            \
    X(SHED, "connections without a request cut to make room for new ones")                         \
    X(STREAMS, "streams opened")                                                                   \
    X(STREAMS_ENDED, "streams closed")                                                             \
    X(DELIVERIES, "events written to clients")                                                     \
    X(BYTES, "bytes written to clients")

enum metric {
#define METRIC_ENUM(name, help) METRIC_##name,
    METRICS(METRIC_ENUM)
#undef METRIC_ENUM
        METRIC_COUNT
};

/* What is now. Times are microseconds. */
#define GAUGES(X)                                                                                  \
    /* of the hub */                                                                               \
    X(STARTED, "when the process started, by the wall clock")                                      \
    X(UPSTREAM, "enum upstream_state")                                                             \
    X(UPSTREAM_SINCE, "when it came to that, by the wall clock; 0: it has never been up")          \
    X(ROUND_TRIP, "how long the source took for its last sign of life; 0: unknown")                \
    X(CHANNELS, "channels with a log or a stub")                                                   \
    X(SUBSCRIPTIONS, "subscriptions held at the source")                                           \
    X(HISTORY_EVENTS, "events kept in histories")                                                  \
    X(HISTORY_BYTES, "bytes of the histories, overheads included")                                 \
    X(FORM_BYTES, "bytes of the forms of events that are made when clients ask for them")          \
    X(INBOX_BYTES, "bytes of the queues between threads and of the events in them")                \
    /* of a worker */                                                                              \
    X(CLIENTS, "streams, those included that wait for their channels")                             \
    X(WAITING, "streams that have not begun, since their channels or an event are waited for")     \
    X(LAGGING, "streams that have not caught up")                                                  \
    X(STALLED, "streams whose transport takes nothing at present")                                 \
    X(CONNECTIONS, "connections, those without a stream included")                                 \
    X(CONNECTION_BYTES, "bytes of these and of their streams")                                     \
    X(PATTERNS, "patterns that clients here listen to")                                            \
    X(VIEWS, "logs and merged logs that clients here listen to")                                   \
    X(VIEW_BYTES, "bytes of these, without the events")

enum gauge {
#define GAUGE_ENUM(name, help) GAUGE_##name,
    GAUGES(GAUGE_ENUM)
#undef GAUGE_ENUM
        GAUGE_COUNT
};

/* `partly`: connected, but not all that is wanted is subscribed to. */
enum upstream_state { UPSTREAM_STATE_DOWN, UPSTREAM_STATE_PARTLY, UPSTREAM_STATE_UP };

struct metrics {
    _Atomic uint64_t value[METRIC_COUNT];
    _Atomic uint64_t gauge[GAUGE_COUNT];
    _Atomic uint64_t gaps[GAP_REASON_COUNT]; /* gap events written to clients */
    struct histogram turns;                  /* how long the loop's turns took, without waiting */
    struct histogram latency; /* from the read from the source to the write to a live client */
    _Atomic uint64_t closed[CLOSING_COUNT];  /* streams, by the reason */
    _Atomic uint64_t refused[REFUSAL_COUNT]; /* requests and connections */
};

static inline void metrics_add(struct metrics *m, enum metric which, uint64_t n)
{
    histogram_raise(&m->value[which], n);
}

static inline uint64_t metrics_get(const struct metrics *m, enum metric which)
{
    return atomic_load_explicit(&m->value[which], memory_order_relaxed);
}

static inline void metrics_gap(struct metrics *m, enum gap_reason reason)
{
    histogram_raise(&m->gaps[reason], 1);
}

/* Of all reasons. */
static inline uint64_t metrics_gaps(const struct metrics *m)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < GAP_REASON_COUNT; i++)
        sum += atomic_load_explicit(&m->gaps[i], memory_order_relaxed);
    return sum;
}

static inline void metrics_refuse(struct metrics *m, enum refusal why)
{
    histogram_raise(&m->refused[why], 1);
}

/* A stream has ended. */
static inline void metrics_close(struct metrics *m, enum closing why)
{
    histogram_raise(&m->closed[why], 1);
}

static inline uint64_t metrics_closed(const struct metrics *m, enum closing why)
{
    return atomic_load_explicit(&m->closed[why], memory_order_relaxed);
}

static inline void gauge_set(struct metrics *m, enum gauge which, uint64_t v)
{
    atomic_store_explicit(&m->gauge[which], v, memory_order_relaxed);
}

static inline void gauge_raise(struct metrics *m, enum gauge which)
{
    histogram_raise(&m->gauge[which], 1);
}

static inline void gauge_lower(struct metrics *m, enum gauge which)
{
    histogram_raise(&m->gauge[which], UINT64_MAX);
}

static inline uint64_t gauge_get(const struct metrics *m, enum gauge which)
{
    return atomic_load_explicit(&m->gauge[which], memory_order_relaxed);
}

#endif
