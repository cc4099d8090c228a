/* The authoritative log of one channel, on the hub's side: a ring of frames and holes within the
 * bounds of the channel's history. What it evicts is told to the caller, who passes it on. */
#ifndef TICKERD_BROKER_CHANLOG_H
#define TICKERD_BROKER_CHANLOG_H

#include "tickerd/broker/ring.h"
#include "tickerd/wire/config.h"

struct chanlog {
    struct ring ring;
    uint64_t bytes; /* of the kept frames' blocks */
    uint64_t cost;  /* of the kept frames in memory */
};

/* Called for each evicted frame's position. */
typedef void chanlog_evicted(void *ctx, uint64_t seq);

void chanlog_init(struct chanlog *l);
void chanlog_finish(struct chanlog *l);

/* Append a frame (its reference passes to the log) and evict what the limits no longer hold; the
 * newest frame always stays. ERR_NOMEM: the frame was not taken. */
int chanlog_append(struct chanlog *l, struct frame *f, const struct history_limits *limits,
                   chanlog_evicted *evicted, void *ctx);

/* Fill an empty log with what an earlier run kept (in order of seq; the entries' references pass to
 * the log), whatever the limits: chanlog_fit is to follow. ERR_NOMEM: the log is empty and the
 * entries are released. */
int chanlog_restore(struct chanlog *l, struct entry *entries, size_t count);

/* From now on this policy is in force for clients that are too slow for what the log holds. */
void chanlog_follow(struct chanlog *l, enum slow_policy slow);

/* Evict what these limits do not hold, at position `now`. */
void chanlog_fit(struct chanlog *l, const struct history_limits *limits, uint64_t now,
                 chanlog_evicted *evicted, void *ctx);

/* Evict what is older than the limit by age, at position `now`. Events of any age go, the newest
 * too. */
void chanlog_expire(struct chanlog *l, const struct history_limits *limits, uint64_t now,
                    chanlog_evicted *evicted, void *ctx);

/* Evict the oldest frame. Returns the memory that came free, 0 if there is no frame. */
size_t chanlog_evict(struct chanlog *l, uint64_t now, chanlog_evicted *evicted, void *ctx);

/* Memory of frames and ring. */
uint64_t chanlog_cost(const struct chanlog *l);

#endif
