#include <stdlib.h>

#include "ring_internal.h"
#include "tickerd/base/strmap.h"

enum {
    HOLES_SLACK = 16,
    HOLES_NAMED = 128, /* beyond one a frame: then holes of different channels melt, too */
};

static uint64_t max_seq(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t min_seq(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

void ring_note_hole(struct ring *r, const struct entry *e)
{
    uint64_t seq = entry_seq(e);
    r->newest_hole = max_seq(r->newest_hole, seq);
    if (!e->u.hole->superseded)
        r->newest_loss = max_seq(r->newest_loss, seq);
    if (e->u.hole->first < seq)
        r->newest_wide = max_seq(r->newest_wide, seq);
    if (e->u.hole->cuts)
        r->newest_cut = max_seq(r->newest_cut, e->u.hole->evicted_seq);
}

void ring_melt(struct ring *r, const struct entry *into, const struct entry *from)
{
    struct hole *newer = into->u.hole, *older = from->u.hole;
    if (!name_equal(newer->channel, older->channel)) {
        name_unref(newer->channel);
        newer->channel = NULL;
    }
    bool swap = older->evicted_seq > newer->evicted_seq;
    uint64_t second = swap ? newer->evicted_seq : older->evicted_seq;
    if (swap) {
        newer->evicted_seq = older->evicted_seq;
        newer->evicted_fp = older->evicted_fp;
    }
    if (entry_seq(from) < newer->evicted_seq)
        second = max_seq(second, entry_seq(from));
    newer->evicted_prev = max_seq(second, max_seq(newer->evicted_prev, older->evicted_prev));
    if (older->made > newer->made)
        newer->made = older->made;
    newer->never_kept = newer->never_kept || older->never_kept;
    newer->superseded = newer->superseded && older->superseded;
    newer->cuts = newer->cuts || older->cuts;
    newer->first = min_seq(newer->first, older->first);
    name_unref(older->channel);
    free(older);
    ring_note_hole(r, into);
}

/* A pass that can melt nothing must be paid for by many evictions: hence twice what it leaves. */
bool ring_is_crowded(const struct ring *r)
{
    return r->holes > 2 * (ring_frames(r) + r->apart) + HOLES_SLACK;
}

static bool hole_at(const struct ring *r, uint32_t i)
{
    return entry_is_hole(ring_at(r, i));
}

/* A pass from the newest entry to the oldest. */
struct pass {
    struct ring *r;
    uint32_t end;         /* what is left begins here, at the end of the slots */
    struct strmap newest; /* channel -> its hole that was met last; all channels have no bytes */
};

/* Melt those of the same channel in the run [from, to). Without memory some stay. */
static void melt_run(struct pass *p, uint32_t from, uint32_t to)
{
    uint64_t last = entry_seq(ring_at(p->r, to - 1));
    for (uint32_t i = to; i > from; i--) {
        struct entry e = *ring_at(p->r, i - 1);
        const struct name *channel = e.u.hole->channel;
        const char *bytes = channel == NULL ? "" : channel->bytes;
        size_t len = channel == NULL ? 0 : channel->len;
        struct entry *newer = strmap_get(&p->newest, bytes, len);
        if (newer != NULL && entry_seq(newer) <= last) {
            ring_melt(p->r, newer, &e);
            p->r->holes--;
            continue;
        }
        if (newer != NULL) /* of another run */
            (void)strmap_del(&p->newest, bytes, len);
        struct entry *place = ring_at(p->r, --p->end);
        *place = e;
        (void)strmap_put(&p->newest, bytes, len, place);
    }
}

static void melt_channels(struct ring *r)
{
    struct pass p = {.r = r, .end = r->count};
    strmap_init(&p.newest);
    for (uint32_t to = r->count, from; to > 0; to = from) {
        from = to - 1;
        while (hole_at(r, to - 1) && from > 0 && hole_at(r, from - 1))
            from--;
        if (to - from > 1)
            melt_run(&p, from, to);
        else
            *ring_at(r, --p.end) = *ring_at(r, from);
    }
    strmap_finish(&p.newest);
    r->start = (r->start + p.end) & r->mask;
    r->count -= p.end;
}

/* Melt every run into one. */
static void melt_all(struct ring *r)
{
    uint32_t out = 0;
    for (uint32_t i = 0; i < r->count; i++) {
        struct entry e = *ring_at(r, i);
        struct entry *last = out > 0 ? ring_at(r, out - 1) : NULL;
        if (entry_is_hole(&e) && last != NULL && entry_is_hole(last)) {
            ring_melt(r, &e, last);
            *last = e;
            r->holes--;
        } else {
            *ring_at(r, out++) = e;
        }
    }
    r->count = out;
}

void ring_melt_runs(struct ring *r)
{
    melt_channels(r);
    if (r->holes > ring_frames(r) + HOLES_NAMED)
        melt_all(r);
    r->apart = r->holes < HOLES_NAMED ? r->holes : HOLES_NAMED;
    ring_shrink(r);
}
