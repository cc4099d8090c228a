#include "ring_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

void model_init(struct ring_model *m)
{
    memset(m, 0, sizeof *m);
}

void model_finish(struct ring_model *m)
{
    free(m->all);
    model_init(m);
}

static struct model_entry *add(struct ring_model *m)
{
    if (m->count == m->room) {
        m->room = m->room == 0 ? 64 : m->room * 2;
        m->all = realloc(m->all, m->room * sizeof *m->all);
        if (m->all == NULL)
            abort();
    }
    return &m->all[m->count++];
}

void model_append(struct ring_model *m, const struct frame *f)
{
    *add(m) = (struct model_entry){f->seq, f->fp, f->len, MODEL_KEPT, f->channel};
    m->kept++;
    m->bytes += f->len;
}

void model_hole(struct ring_model *m, uint64_t seq)
{
    *add(m) = (struct model_entry){seq, 0, 0, MODEL_HOLE, NULL};
}

struct model_entry *model_oldest(struct ring_model *m)
{
    while (m->oldest < m->count && m->all[m->oldest].kind != MODEL_KEPT)
        m->oldest++;
    return m->oldest == m->count ? NULL : &m->all[m->oldest];
}

/* The index of the first entry above seq. */
static size_t after(const struct ring_model *m, uint64_t seq)
{
    size_t lo = 0, hi = m->count;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (m->all[mid].seq <= seq)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

struct model_entry *model_find(struct ring_model *m, uint64_t seq)
{
    size_t i = after(m, seq);
    if (i == 0 || m->all[i - 1].seq != seq || m->all[i - 1].kind != MODEL_KEPT)
        return NULL;
    return &m->all[i - 1];
}

void model_evict(struct ring_model *m, struct model_entry *e)
{
    e->kind = MODEL_EVICTED;
    m->kept--;
    m->bytes -= e->len;
    (void)model_oldest(m);
}

/* What the model lost between two kept frames. */
struct losses {
    size_t first, end; /* indices */
};

/* Whether another hole than entry i stands for this evicted event. */
static bool stands_elsewhere(const struct ring *r, uint32_t i, const struct model_entry *lost)
{
    for (uint32_t k = 0; k < r->count; k++) {
        const struct entry *e = ring_at(r, k);
        if (k != i && entry_is_hole(e) && e->u.hole->evicted_seq >= lost->seq &&
            (e->u.hole->channel == NULL || e->u.hole->channel == lost->channel))
            return true;
    }
    return false;
}

/* Whether a hole behind entry i, in the same run, stands for what was lost here. In a merged log a
 * channel's losses stand at its newest, with those of others in between. */
static bool stands_behind(const struct ring *r, uint32_t i, uint64_t seq)
{
    for (i++; i < r->count && entry_is_hole(ring_at(r, i)); i++) {
        if (ring_at(r, i)->u.hole->first <= seq)
            return true;
    }
    return false;
}

/* Whether entry i overlooks a loss between these. */
static bool lost_between(const struct ring_model *m, const struct ring *r, uint32_t i,
                         uint64_t from, uint64_t to)
{
    for (size_t k = after(m, from); k < m->count && m->all[k].seq < to; k++) {
        if (!stands_behind(r, i, m->all[k].seq))
            return true;
    }
    return false;
}

/* `before` is the seq of the entry in front of the hole, or of the frame before it. */
static void check_hole(const struct ring_model *m, const struct ring *r, uint32_t at_entry,
                       uint64_t before, struct losses lost)
{
    const struct entry *e = ring_at(r, at_entry);
    const struct hole *h = e->u.hole;
    size_t at = after(m, entry_seq(e));
    assert_true(at > lost.first && at <= lost.end); /* it stands among these losses… */
    assert_int_equal(m->all[at - 1].seq, entry_seq(e));
    assert_int_not_equal(m->all[at - 1].kind, MODEL_KEPT);
    assert_true(h->evicted_prev == 0 || h->evicted_prev < h->evicted_seq);
    if (h->evicted_seq == 0)
        return;
    size_t newest = after(m, h->evicted_seq);
    assert_true(newest > 0 && newest <= at);
    assert_int_equal(m->all[newest - 1].seq, h->evicted_seq);
    assert_int_equal(m->all[newest - 1].kind, MODEL_EVICTED);
    assert_int_equal(m->all[newest - 1].fp, h->evicted_fp);
    for (size_t i = newest; i < at; i++)
        assert_true(m->all[i].kind == MODEL_HOLE || stands_elsewhere(r, at_entry, &m->all[i]));
    /* Whoever trusts the newest evicted event must not overlook another loss in front of it. */
    uint64_t known = h->evicted_prev > before ? h->evicted_prev : before;
    if (h->evicted_seq == entry_seq(e) && h->evicted_seq > known)
        assert_false(lost_between(m, r, at_entry, known, h->evicted_seq));
}

/* Go over the ring's holes from entry i on; they must say what `lost` is. */
static uint32_t check_gap(const struct ring_model *m, const struct ring *r, uint32_t i,
                          struct losses lost)
{
    uint64_t before = lost.first > 0 ? m->all[lost.first - 1].seq : 0;
    uint64_t last = 0;
    for (; i < r->count && entry_is_hole(ring_at(r, i)); i++) {
        const struct entry *e = ring_at(r, i);
        if (i > 0 && entry_is_hole(ring_at(r, i - 1)))
            before = entry_seq(ring_at(r, i - 1));
        check_hole(m, r, i, before, lost);
        last = entry_seq(e);
        before = last;
    }
    assert_int_equal(last, lost.end > lost.first ? m->all[lost.end - 1].seq : 0);
    return i;
}

void model_check(const struct ring_model *m, const struct ring *r, uint64_t position)
{
    uint32_t i = ring_after(r, position);
    size_t start = after(m, position);
    while (start > m->oldest && m->all[start - 1].kind != MODEL_KEPT)
        start--; /* the losses before belong to the same gap */
    if (start <= m->oldest)
        start = 0;
    struct losses lost = {start, after(m, position)};
    for (; lost.end < m->count; lost.end++) {
        const struct model_entry *e = &m->all[lost.end];
        if (e->kind != MODEL_KEPT)
            continue;
        bool above = lost.end > lost.first && m->all[lost.end - 1].seq > position;
        if (above)
            i = check_gap(m, r, i, lost);
        assert_true(i < r->count);
        assert_false(entry_is_hole(ring_at(r, i)));
        assert_int_equal(ring_at(r, i)->u.frame->seq, e->seq);
        assert_int_equal(ring_at(r, i)->u.frame->fp, e->fp);
        i++;
        lost.first = lost.end + 1;
    }
    if (lost.end > lost.first && m->all[lost.end - 1].seq > position)
        i = check_gap(m, r, i, lost);
    assert_int_equal(i, r->count);
}

void model_check_shape(const struct ring_model *m, const struct ring *r)
{
    uint32_t holes = 0;
    uint64_t newest_hole = 0;
    for (uint32_t i = 0; i < r->count; i++) {
        const struct entry *e = ring_at(r, i);
        assert_true(i == 0 || entry_seq(e) > entry_seq(ring_at(r, i - 1)));
        if (!entry_is_hole(e)) {
            assert_int_equal(e->u.frame->seq, entry_seq(e));
            continue;
        }
        holes++;
        newest_hole = entry_seq(e);
    }
    assert_int_equal(r->holes, holes);
    assert_int_equal(ring_newest_hole(r), newest_hole);
    assert_int_equal(ring_frames(r), m->kept);
    assert_int_equal(ring_head(r), r->count == 0 ? 0 : m->all[m->count - 1].seq);
    assert_true(r->slots == NULL ? r->count == 0 : r->count <= r->mask + 1);
}
