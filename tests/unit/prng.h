/* A seeded generator for tests (splitmix64): the same seed gives the same run everywhere. */
#ifndef TICKERD_TESTS_PRNG_H
#define TICKERD_TESTS_PRNG_H

#include <stddef.h>
#include <stdint.h>

struct prng {
    uint64_t state; /* set it to the seed */
};

static inline uint64_t prng_next(struct prng *r)
{
    uint64_t z = r->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* A number below n; n > 0. */
static inline size_t prng_below(struct prng *r, size_t n)
{
    return (size_t)(prng_next(r) % n);
}

#endif
