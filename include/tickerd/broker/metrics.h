/* Counters. Each thread has its own set and only it writes there; others may read at any time. */
#ifndef TICKERD_BROKER_METRICS_H
#define TICKERD_BROKER_METRICS_H

#include <stdatomic.h>
#include <stdint.h>

#define METRICS(X)                                                                                 \
    X(MESSAGES, "messages received from the source")                                               \
    X(IGNORED_NAMES, "messages on channels whose names are not allowed")                           \
    X(OVERSIZE, "messages above limits.message_bytes")                                             \
    X(REPAIRED, "invalid UTF-8 sequences replaced")                                                \
    X(EVICTED, "events evicted from histories")                                                    \
    X(OUTAGES, "times the source was lost")                                                        \
    X(STALE, "times a worker fell behind the hub")                                                 \
    X(OUT_OF_MEMORY, "messages, streams or views refused for want of memory")                      \
    X(ACCEPTED, "connections accepted")                                                            \
    X(REFUSED, "requests answered with an error")                                                  \
    X(UNAUTHORISED, "requests refused for want of a good token")                                   \
    X(FORBIDDEN, "requests refused that may not listen there")                                     \
    X(SHED, "connections without a request cut to make room for new ones")                         \
    X(STREAMS, "streams opened")                                                                   \
    X(STREAMS_ENDED, "streams closed")                                                             \
    X(DELIVERIES, "events written to clients")                                                     \
    X(BYTES, "bytes written to clients")                                                           \
    X(GAPS, "gap events written to clients")                                                       \
    X(TIMEOUTS, "clients closed because they took nothing for too long")                           \
    X(SLOW_CUT, "clients closed because they were too slow for a channel that disconnects")        \
    X(EXPIRED, "streams closed because their token ran out")                                       \
    X(REVOKED, "streams closed because their right was taken away")

enum metric {
#define METRIC_ENUM(name, help) METRIC_##name,
    METRICS(METRIC_ENUM)
#undef METRIC_ENUM
        METRIC_COUNT
};

struct metrics {
    _Atomic uint64_t value[METRIC_COUNT];
};

static inline void metrics_add(struct metrics *m, enum metric which, uint64_t n)
{
    /* One writer: a plain add is enough, the atomic only keeps readers from tearing. */
    uint64_t v = atomic_load_explicit(&m->value[which], memory_order_relaxed);
    atomic_store_explicit(&m->value[which], v + n, memory_order_relaxed);
}

static inline uint64_t metrics_get(const struct metrics *m, enum metric which)
{
    return atomic_load_explicit(&m->value[which], memory_order_relaxed);
}

#endif
