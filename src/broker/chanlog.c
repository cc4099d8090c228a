#include "tickerd/broker/chanlog.h"

#include "tickerd/base/clock.h"
#include "tickerd/base/err.h"

void chanlog_init(struct chanlog *l)
{
    ring_init(&l->ring);
    l->bytes = l->cost = 0;
}

void chanlog_finish(struct chanlog *l)
{
    ring_finish(&l->ring);
    l->bytes = l->cost = 0;
}

size_t chanlog_evict(struct chanlog *l, uint64_t now, chanlog_evicted *evicted, void *ctx)
{
    struct frame *f = ring_evict_oldest(&l->ring, now);
    if (f == NULL)
        return 0;
    size_t freed = frame_cost(f) + frame_extra(f);
    l->bytes -= f->len;
    l->cost -= frame_cost(f);
    evicted(ctx, f->seq);
    frame_unref(f);
    return freed;
}

static bool too_old(const struct frame *f, const struct history_limits *limits, uint64_t now)
{
    return limits->age_ms > 0 && now > f->seq && now - f->seq > limits->age_ms * US_PER_MS;
}

static void add_up(struct chanlog *l, const struct frame *f)
{
    l->bytes += f->len;
    l->cost += frame_cost(f);
}

/* Evict down to the limits; the newest frame stays. */
static void trim(struct chanlog *l, const struct history_limits *limits, uint64_t now,
                 chanlog_evicted *evicted, void *ctx)
{
    while (ring_frames(&l->ring) > 1 &&
           (ring_frames(&l->ring) > limits->events || l->bytes > limits->bytes ||
            too_old(ring_oldest(&l->ring), limits, now))) {
        if (chanlog_evict(l, now, evicted, ctx) == 0)
            break; /* no memory for a hole: the bound gives way, nothing is lost unsaid */
    }
}

int chanlog_append(struct chanlog *l, struct frame *f, const struct history_limits *limits,
                   chanlog_evicted *evicted, void *ctx)
{
    if (ring_push_frame(&l->ring, f) != ERR_OK)
        return ERR_NOMEM;
    if (frame_slow(f) == SLOW_LATEST)
        ring_supersede(&l->ring);
    add_up(l, f);
    trim(l, limits, f->seq, evicted, ctx);
    return ERR_OK;
}

int chanlog_restore(struct chanlog *l, struct entry *entries, size_t count)
{
    if (ring_assign(&l->ring, entries, count) != ERR_OK)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < l->ring.count; i++) {
        const struct entry *e = ring_at(&l->ring, i);
        if (!entry_is_hole(e))
            add_up(l, e->u.frame);
    }
    return ERR_OK;
}

/* What a newer event has replaced stays replaced, whatever the policy becomes: clients have passed
 * it. */
void chanlog_follow(struct chanlog *l, enum slow_policy slow)
{
    const struct frame *last = ring_newest(&l->ring);
    if (last == NULL || frame_slow(last) == slow) /* they all have the same */
        return;
    bool newest = true;
    for (uint32_t i = l->ring.count; i > 0; i--) {
        const struct entry *e = ring_at(&l->ring, i - 1);
        if (entry_is_hole(e))
            continue;
        frame_set_slow(e->u.frame, slow);
        if (!newest && slow == SLOW_LATEST)
            frame_supersede(e->u.frame);
        newest = false;
    }
    if (slow == SLOW_LATEST)
        ring_supersede(&l->ring);
}

void chanlog_fit(struct chanlog *l, const struct history_limits *limits, uint64_t now,
                 chanlog_evicted *evicted, void *ctx)
{
    trim(l, limits, now, evicted, ctx);
    chanlog_expire(l, limits, now, evicted, ctx);
}

void chanlog_expire(struct chanlog *l, const struct history_limits *limits, uint64_t now,
                    chanlog_evicted *evicted, void *ctx)
{
    for (;;) {
        struct frame *oldest = ring_oldest(&l->ring);
        if (oldest == NULL || !too_old(oldest, limits, now))
            return;
        if (chanlog_evict(l, now, evicted, ctx) == 0)
            return;
    }
}

uint64_t chanlog_cost(const struct chanlog *l)
{
    return l->cost + ring_overhead(&l->ring);
}
