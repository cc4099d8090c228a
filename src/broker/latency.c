#include "tickerd/broker/latency.h"

#include "tickerd/base/clock.h"
#include "tickerd/broker/batch.h"

/* So many writes take less than a tenth of a millisecond. */
enum { WRITES_PER_READ = 16 };

void latency_init(struct latency *l, struct histogram *histogram, const struct timeline *timeline)
{
    *l = (struct latency){.histogram = histogram, .timeline = timeline, .clock = clock_mono_us};
}

void latency_turn(struct latency *l, uint64_t now_us)
{
    l->now = now_us;
    l->writes = 0;
}

static void count(const struct latency *l, uint64_t seq, uint32_t times)
{
    int64_t age = (int64_t)l->now + l->timeline->base - (int64_t)seq;
    histogram_add(l->histogram, age < 0 ? 0 : (uint64_t)age, times);
}

static void count_items(const struct latency *l, const struct batch *b, uint32_t n, uint32_t times)
{
    for (uint32_t i = 0; i < n; i++) {
        if (b->items[i].frame != NULL)
            count(l, b->items[i].seq, times);
    }
}

void latency_settle(struct latency *l, struct batch *b)
{
    if (b->owed == 0)
        return;
    if (l->writes >= WRITES_PER_READ)
        latency_turn(l, l->clock());
    count_items(l, b, b->count, b->owed);
    b->owed = 0;
}

void latency_all(struct latency *l, struct batch *b)
{
    b->owed++;
    if (++l->writes >= WRITES_PER_READ)
        latency_settle(l, b);
}

void latency_some(struct latency *l, const struct batch *b, uint32_t n)
{
    latency_turn(l, l->clock());
    count_items(l, b, n, 1);
}

void latency_one(struct latency *l, uint64_t seq)
{
    latency_turn(l, l->clock());
    count(l, seq, 1);
}

void latency_turn_end(struct latency *l, struct batch *b)
{
    if (b->owed == 0)
        return;
    latency_turn(l, l->clock());
    latency_settle(l, b);
}
