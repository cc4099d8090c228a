/* How long events take from the source to the clients: from the hub's read, whose time an event's
 * `seq` is, to the write to a client that has caught up once (what a stream begins with is as old
 * as it is).
 *
 * A clock read for each of a thousand writes of one event would cost more than it tells. The clock
 * is read every few writes, and an event of a batch that many clients share is counted for all of
 * them at once. */
#ifndef TICKERD_BROKER_LATENCY_H
#define TICKERD_BROKER_LATENCY_H

#include "tickerd/broker/histogram.h"
#include "tickerd/broker/timeline.h"

struct batch;

struct latency {
    struct histogram *histogram;     /* borrowed */
    const struct timeline *timeline; /* borrowed: what positions mean */
    uint64_t (*clock)(void);         /* CLOCK_MONOTONIC in us */
    uint64_t now;                    /* as it was last read */
    uint32_t writes;                 /* since then */
};

/* With the clock of the system. */
void latency_init(struct latency *l, struct histogram *histogram, const struct timeline *timeline);

/* A turn of writes begins; the clock has just been read. */
void latency_turn(struct latency *l, uint64_t now_us);

/* One more client has taken the whole batch, or its first n items. */
void latency_all(struct latency *l, struct batch *b);
void latency_some(struct latency *l, const struct batch *b, uint32_t n);

/* One more client has got the rest of this event. */
void latency_one(struct latency *l, uint64_t seq);

/* Count for the clients that took all of the batch, before it is made anew: batch_clear. */
void latency_settle(struct latency *l, struct batch *b);

/* The turn ends. */
void latency_turn_end(struct latency *l, struct batch *b);

#endif
