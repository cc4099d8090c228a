#include "tickerd/broker/ring.h"

#include <stdlib.h>
#include <string.h>

#include "ring_internal.h"
#include "tickerd/base/err.h"

enum { RING_MIN = 4, HOLE_COST = 64 };

const char *gap_reason_text(enum gap_reason reason)
{
    static const char *const texts[] = {
#define GAP_TEXT(name, text) text,
        GAP_REASONS(GAP_TEXT)
#undef GAP_TEXT
    };
    return texts[reason];
}

void ring_init(struct ring *r)
{
    *r = (struct ring){.slots = NULL, .distinct = false};
}

static void hole_destroy(struct hole *h)
{
    if (h == NULL)
        return;
    name_unref(h->channel);
    free(h);
}

void entry_release(struct entry *e)
{
    if (entry_is_hole(e))
        hole_destroy(e->u.hole);
    else
        frame_unref(e->u.frame);
}

void ring_finish(struct ring *r)
{
    for (uint32_t i = 0; i < r->count; i++)
        entry_release(ring_at(r, i));
    free(r->slots);
    *r = (struct ring){.slots = NULL, .distinct = r->distinct, .generation = r->generation};
}

static int resize(struct ring *r, uint32_t slots)
{
    struct entry *fresh = malloc(slots * sizeof *fresh);
    if (fresh == NULL)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < r->count; i++)
        fresh[i] = *ring_at(r, i);
    free(r->slots);
    r->slots = fresh;
    r->mask = slots - 1;
    r->start = 0;
    return ERR_OK;
}

static uint32_t slots_of(const struct ring *r)
{
    return r->slots == NULL ? 0 : r->mask + 1;
}

static void count_hole(struct ring *r, const struct entry *e)
{
    r->holes++;
    ring_note_hole(r, e);
}

static int push(struct ring *r, struct entry e)
{
    uint32_t slots = slots_of(r);
    if (r->count == slots && resize(r, slots == 0 ? RING_MIN : slots * 2) != ERR_OK)
        return ERR_NOMEM;
    r->count++;
    *ring_at(r, r->count - 1) = e;
    if (entry_is_hole(&e))
        count_hole(r, &e);
    return ERR_OK;
}

/* A channel that was busy once must not keep the slots for ever. A failure to shrink is harmless.
 */
void ring_shrink(struct ring *r)
{
    uint32_t slots = slots_of(r);
    if (slots > 16 && r->count < slots / 4)
        (void)resize(r, slots / 2);
}

uint32_t ring_after(const struct ring *r, uint64_t seq)
{
    uint32_t hi = r->count; /* everything from hi on is above seq */
    uint32_t step = 1;
    uint32_t lo = 0; /* everything below lo is at or below seq */
    while (hi > 0) {
        uint32_t probe = hi > step ? hi - step : 0;
        if (entry_seq(ring_at(r, probe)) <= seq) {
            lo = probe + 1;
            break;
        }
        hi = probe;
        step *= 2;
    }
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (entry_seq(ring_at(r, mid)) <= seq)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

int ring_push_frame(struct ring *r, struct frame *f)
{
    return push(r, (struct entry){.word = f->seq, .u = {.frame = f}});
}

static struct hole *hole_create(struct name *channel, enum gap_reason reason, uint64_t made,
                                uint64_t first)
{
    struct hole *h = malloc(sizeof *h);
    if (h != NULL)
        *h = (struct hole){.channel = name_ref(channel),
                           .reason = reason,
                           .made = made,
                           .first = first,
                           .never_kept = reason == GAP_OVERSIZE || reason == GAP_UPSTREAM};
    return h;
}

/* What an evicted frame leaves: a loss at its very place. */
static struct hole *hole_of_frame(const struct frame *f, uint64_t made)
{
    struct hole *h = hole_create(f->channel, GAP_EVICTED, made, f->seq);
    if (h == NULL)
        return NULL;
    h->evicted_seq = f->seq;
    h->evicted_fp = f->fp;
    h->superseded = frame_superseded(f);
    h->cuts = frame_slow(f) == SLOW_DISCONNECT;
    return h;
}

static struct entry *hole_at_end(const struct ring *r, uint32_t back)
{
    struct entry *e = r->count > back ? ring_at(r, r->count - 1 - back) : NULL;
    return e != NULL && entry_is_hole(e) ? e : NULL;
}

static void drop_first(struct ring *r)
{
    r->start = (r->start + 1) & r->mask;
    r->count--;
}

static void melt_first_two(struct ring *r)
{
    ring_melt(r, ring_at(r, 1), ring_at(r, 0));
    drop_first(r);
    r->holes--;
}

/* Whether whoever is told of the one may be told of the other. */
static bool told_together(const struct hole *a, const struct hole *b)
{
    return a->channel == NULL || b->channel == NULL || name_equal(a->channel, b->channel);
}

int ring_push_hole(struct ring *r, uint64_t seq, struct name *channel, enum gap_reason reason)
{
    /* An oversize message was there and nowhere else. Of others the beginning is not known. */
    uint64_t first = reason == GAP_OVERSIZE ? seq : 0;
    struct entry e = {.word = seq | ENTRY_HOLE,
                      .u = {.hole = hole_create(channel, reason, seq, first)}};
    if (e.u.hole == NULL)
        return ERR_NOMEM;
    struct entry *last = hole_at_end(r, 0);
    bool same = last != NULL && last->u.hole->reason == reason &&
                name_equal(last->u.hole->channel, channel);
    if (same) {
        ring_melt(r, &e, last);
        *last = e;
        return ERR_OK;
    }
    struct entry *older = hole_at_end(r, 1);
    if (last != NULL && older != NULL && /* who is here now has passed those two */
        told_together(last->u.hole, older->u.hole)) {
        ring_melt(r, last, older);
        *older = *last;
        *last = e;
        ring_note_hole(r, last);
        return ERR_OK;
    }
    int err = push(r, e);
    if (err != ERR_OK)
        hole_destroy(e.u.hole);
    else if (ring_is_crowded(r))
        ring_melt_runs(r);
    return err;
}

int ring_push_mark(struct ring *r, uint64_t seq, enum gap_reason reason, uint64_t first)
{
    struct entry e = {.word = seq | ENTRY_HOLE,
                      .u = {.hole = hole_create(NULL, reason, seq, first)}};
    if (e.u.hole == NULL)
        return ERR_NOMEM;
    /* Too many to remember one by one: the oldest give way, since whether there was an outage
     * between two positions is asked about recent ones. */
    if (r->holes >= RING_DISTINCT_MAX)
        melt_first_two(r);
    int err = push(r, e);
    if (err != ERR_OK)
        hole_destroy(e.u.hole);
    return err;
}

void ring_stretch_mark(struct ring *r, uint64_t seq)
{
    struct entry *e = ring_at(r, r->count - 1);
    e->word = seq | ENTRY_HOLE;
    e->u.hole->reason = GAP_EVICTED;
    e->u.hole->made = seq;
    ring_note_hole(r, e);
}

static bool hole_at(const struct ring *r, uint32_t i)
{
    return i < r->count && entry_is_hole(ring_at(r, i));
}

static bool same_reason(const struct ring *r, uint32_t i, uint32_t j)
{
    return ring_at(r, i)->u.hole->reason == ring_at(r, j)->u.hole->reason;
}

/* Holes at the start of a ring answer only "was anything lost since P?", so all of one reason may
 * be one; and of others no more than two are kept, else those that stood between evicted frames
 * would pile up. */
static void melt_start(struct ring *r)
{
    while (hole_at(r, 0) && hole_at(r, 1) && (same_reason(r, 0, 1) || hole_at(r, 2)))
        melt_first_two(r);
}

static uint32_t oldest_frame(const struct ring *r)
{
    uint32_t i = 0;
    while (i < r->count && entry_is_hole(ring_at(r, i)))
        i++;
    return i;
}

struct frame *ring_oldest(const struct ring *r)
{
    uint32_t i = oldest_frame(r);
    return i == r->count ? NULL : ring_at(r, i)->u.frame;
}

struct frame *ring_newest(const struct ring *r)
{
    uint32_t i = r->count;
    while (i > 0 && entry_is_hole(ring_at(r, i - 1)))
        i--;
    return i == 0 ? NULL : ring_at(r, i - 1)->u.frame;
}

struct frame *ring_evict_oldest(struct ring *r, uint64_t made)
{
    uint32_t i = oldest_frame(r);
    if (i == r->count)
        return NULL;
    struct entry *e = ring_at(r, i);
    struct frame *f = e->u.frame;
    struct hole *h;
    if (i > 0) { /* reuse the hole in front of it */
        h = ring_at(r, i - 1)->u.hole;
        h->reason = GAP_EVICTED;
        h->never_kept = false; /* all of that is older than what the channel still keeps */
        h->made = made;
        h->superseded = frame_superseded(f); /* and then all that is older is, too */
        h->cuts = h->cuts || frame_slow(f) == SLOW_DISCONNECT;
        h->evicted_prev = entry_seq(ring_at(r, i - 1));
        h->evicted_seq = f->seq;
        h->evicted_fp = f->fp;
        if (!name_equal(h->channel, f->channel)) {
            name_unref(h->channel);
            h->channel = NULL;
        }
        *e = (struct entry){.word = f->seq | ENTRY_HOLE, .u = {.hole = h}};
        if (h->superseded && i == 1 && r->newest_loss <= f->seq)
            r->newest_loss = 0; /* that was it, and nobody will be told */
        ring_note_hole(r, e);
        for (uint32_t j = i - 1; j > 0; j--) /* older holes move up, the first slot goes */
            *ring_at(r, j) = *ring_at(r, j - 1);
        drop_first(r);
    } else {
        h = hole_of_frame(f, made);
        if (h == NULL)
            return NULL;
        *e = (struct entry){.word = f->seq | ENTRY_HOLE, .u = {.hole = h}};
        count_hole(r, e);
    }
    melt_start(r);
    ring_shrink(r);
    return f;
}

void ring_supersede(struct ring *r)
{
    uint64_t evicted = 0;
    for (uint32_t i = 0; hole_at(r, i); i++) {
        struct entry *e = ring_at(r, i);
        if (e->u.hole->reason != GAP_EVICTED)
            return; /* of the others there is more to tell */
        e->u.hole->superseded = true;
        evicted = entry_seq(e);
    }
    if (r->newest_loss <= evicted)
        r->newest_loss = 0;
}

bool ring_evict_at(struct ring *r, uint64_t seq, uint64_t made)
{
    uint32_t i = ring_after(r, seq);
    if (i == 0)
        return false;
    struct entry *e = ring_at(r, i - 1);
    if (entry_seq(e) != seq || entry_is_hole(e))
        return false;
    struct frame *f = e->u.frame;
    struct hole *h = hole_of_frame(f, made);
    if (h == NULL)
        return false;
    *e = (struct entry){.word = seq | ENTRY_HOLE, .u = {.hole = h}};
    frame_unref(f);
    count_hole(r, e);
    if (ring_is_crowded(r))
        ring_melt_runs(r);
    return true;
}

int ring_copy(const struct ring *r, struct entry *out)
{
    for (uint32_t i = 0; i < r->count; i++) {
        out[i] = *ring_at(r, i);
        if (!entry_is_hole(&out[i])) {
            (void)frame_ref(out[i].u.frame);
            continue;
        }
        struct hole *copy = malloc(sizeof *copy);
        if (copy == NULL) {
            while (i > 0)
                entry_release(&out[--i]);
            return ERR_NOMEM;
        }
        *copy = *out[i].u.hole;
        (void)name_ref(copy->channel);
        out[i].u.hole = copy;
    }
    return ERR_OK;
}

int ring_assign(struct ring *r, struct entry *entries, size_t count)
{
    ring_finish(r);
    r->generation++;
    uint32_t slots = RING_MIN;
    while (slots < count)
        slots *= 2;
    r->slots = malloc(slots * sizeof *r->slots);
    if (r->slots == NULL) {
        for (size_t i = 0; i < count; i++)
            entry_release(&entries[i]);
        return ERR_NOMEM;
    }
    r->mask = slots - 1;
    r->count = (uint32_t)count;
    for (uint32_t i = 0; i < r->count; i++) {
        r->slots[i] = entries[i];
        if (entry_is_hole(&entries[i]))
            count_hole(r, &entries[i]);
    }
    return ERR_OK;
}

int entry_compare(const void *a, const void *b)
{
    uint64_t x = entry_seq(a), y = entry_seq(b);
    return (x > y) - (x < y);
}

size_t ring_overhead(const struct ring *r)
{
    return slots_of(r) * sizeof *r->slots + r->holes * (size_t)HOLE_COST;
}
