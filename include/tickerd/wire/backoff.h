/* Jittered exponential back-off: each delay is drawn evenly from [d/2, d] with d doubling from
 * `first_ms` to `max_ms`, so that many instances that lost the same server do not come back at the
 * same moment. */
#ifndef TICKERD_WIRE_BACKOFF_H
#define TICKERD_WIRE_BACKOFF_H

#include <stdint.h>

struct backoff {
    uint32_t first_ms;
    uint32_t max_ms;
    uint32_t next_ms;
    uint64_t random; /* state of the generator */
};

/* Start afresh. `seed` decides the jitter; first_ms >= 1, max_ms >= first_ms. */
void backoff_init(struct backoff *b, uint32_t first_ms, uint32_t max_ms, uint64_t seed);

/* The next delay in ms. */
uint32_t backoff_next(struct backoff *b);

/* After a success: the next delay is a first one again. */
void backoff_reset(struct backoff *b);

#endif
