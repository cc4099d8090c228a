/* How often something took how long. One thread writes, others may read at any time; a reader that
 * comes between two stores sees a sum that is one value off. */
#ifndef TICKERD_BROKER_HISTOGRAM_H
#define TICKERD_BROKER_HISTOGRAM_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/* Upper bounds in microseconds, each included in its bucket; one more bucket takes what is above.
 */
#define HISTOGRAM_BOUNDS                                                                           \
    {                                                                                              \
        50, 100, 250, 500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 500000, 1000000, \
            2500000, 5000000, 10000000                                                             \
    }

enum { HISTOGRAM_BOUND_COUNT = 17, HISTOGRAM_BUCKETS = HISTOGRAM_BOUND_COUNT + 1 };

struct histogram {
    _Atomic uint64_t counts[HISTOGRAM_BUCKETS];
    _Atomic uint64_t sum_us;
};

/* What was read from one histogram, or several added up. */
struct histogram_sums {
    uint64_t counts[HISTOGRAM_BUCKETS]; /* not cumulative */
    uint64_t sum_us;
};

/* The bucket for this time. Most are short: the search from below ends soon. */
static inline size_t histogram_bucket(uint64_t us)
{
    static const uint32_t bounds[HISTOGRAM_BOUND_COUNT] = HISTOGRAM_BOUNDS;
    size_t i = 0;
    while (i < HISTOGRAM_BOUND_COUNT && us > bounds[i])
        i++;
    return i;
}

static inline void histogram_raise(_Atomic uint64_t *v, uint64_t by)
{
    uint64_t before = atomic_load_explicit(v, memory_order_relaxed);
    atomic_store_explicit(v, before + by, memory_order_relaxed);
}

/* Count `times` things that took so long each. */
static inline void histogram_add(struct histogram *h, uint64_t us, uint64_t times)
{
    histogram_raise(&h->counts[histogram_bucket(us)], times);
    histogram_raise(&h->sum_us, us * times);
}

/* Add what the histogram holds to the sums, which begin as zeros. */
static inline void histogram_sum(const struct histogram *h, struct histogram_sums *sums)
{
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        sums->counts[i] += atomic_load_explicit(&h->counts[i], memory_order_relaxed);
    sums->sum_us += atomic_load_explicit(&h->sum_us, memory_order_relaxed);
}

#endif
