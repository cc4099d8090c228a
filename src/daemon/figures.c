#include "tickerd/daemon/figures.h"

#include <string.h>

const char *memory_part_text(enum memory_part part)
{
    static const char *const texts[MEMORY_COUNT] = {
#define MEMORY_TEXT(name, text, from) text,
        MEMORY_PARTS(MEMORY_TEXT)
#undef MEMORY_TEXT
    };
    return texts[part];
}

static void add(uint64_t *sums, const _Atomic uint64_t *values, size_t count)
{
    for (size_t i = 0; i < count; i++)
        sums[i] += atomic_load_explicit(&values[i], memory_order_relaxed);
}

static void add_all(struct figures *f, const struct metrics *m)
{
    add(f->value, m->value, METRIC_COUNT);
    add(f->gauge, m->gauge, GAUGE_COUNT);
    add(f->gaps, m->gaps, GAP_REASON_COUNT);
    add(f->closed, m->closed, CLOSING_COUNT);
    add(f->refused, m->refused, REFUSAL_COUNT);
    histogram_sum(&m->latency, &f->latency);
}

static void add_worker(struct figures *f, struct worker *w)
{
    const struct metrics *m = worker_metrics(w);
    f->workers[f->worker_count++] =
        (struct worker_figures){.clients = gauge_get(m, GAUGE_CLIENTS),
                                .lagging = gauge_get(m, GAUGE_LAGGING),
                                .deliveries = metrics_get(m, METRIC_DELIVERIES)};
    add_all(f, m);
    histogram_sum(&m->turns, &f->worker_turns);
}

void figures_take(struct figures *f, struct hub *hub, struct worker *const *workers, uint32_t count,
                  const struct capacity *capacity)
{
    static const enum gauge parts[MEMORY_COUNT] = {
#define MEMORY_FROM(name, text, from) from,
        MEMORY_PARTS(MEMORY_FROM)
#undef MEMORY_FROM
    };
    memset(f, 0, sizeof *f);
    add_all(f, hub_metrics(hub));
    histogram_sum(&hub_metrics(hub)->turns, &f->hub_turns);
    for (uint32_t w = 0; w < count && w < WORKERS_MAX; w++)
        add_worker(f, workers[w]);
    for (size_t i = 0; i < MEMORY_COUNT; i++)
        f->memory[i] = f->gauge[parts[i]];
    for (size_t i = 0; i < REFUSAL_COUNT; i++)
        f->refused_all += f->refused[i];
    f->clients_max = atomic_load_explicit(&capacity->max_streams, memory_order_relaxed);
    process_take(&f->process);
}

size_t figures_gaps(struct recent_gap *out, struct worker *const *workers, uint32_t count)
{
    size_t n = 0;
    for (uint32_t w = 0; w < count; w++)
        n = recent_gaps_merge(worker_gaps(workers[w]), out, n);
    return n;
}
