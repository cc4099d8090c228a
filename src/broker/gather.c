#include "tickerd/broker/gather.h"

#include <stdlib.h>
#include <string.h>

#include "tickerd/base/err.h"
#include "tickerd/base/plant.h"

/* So many gaps are announced ahead one by one; of more than that, the last is for all channels. */
enum { AHEAD_MAX = 16 };

static uint64_t max_seq(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* A gap being gathered: holes that follow one another without an event between become one. */
struct pending_gap {
    bool open;
    const struct ring *ring;
    const struct name *channel;
    enum gap_reason reason;
    uint64_t to;
};

struct cursor {
    const struct ring *ring;
    uint32_t i;
};

struct walk {
    struct batch *b;
    const struct replica *r;
    const struct reader *reader;
    struct cursor *cursors; /* where it stands in each ring */
    size_t cursor_count;
    uint64_t position;
    uint32_t fp;
    struct pending_gap gap;
    const struct cursor *marks; /* of the cursors; NULL: none lies ahead */
    uint64_t wide; /* the newest wide hole but for the marks; 0: none ahead, or all are told */
    /* Beyond this more may be missing than holes say: of a subscription that is not confirmed, or
     * of all in an outage that goes on. Without such, or once it is told, UINT64_MAX. */
    uint64_t doubtful;
    struct told told;
};

static bool add_gap(struct walk *w, const struct gap *gap)
{
    struct buf *text = &w->b->text;
    buf_reset(text);
    gap_encode(text, &w->r->timeline, gap);
    if (text->failed) {
        w->b->failed = true;
        return false;
    }
    if (!batch_fits(w->b, text->len)) {
        w->b->more = true;
        return false;
    }
    if (!gap->ahead) {
        w->position = gap->to;
        w->fp = 0;
    }
    w->b->gaps++;
    batch_add(w->b, NULL, text->data, text->len, w->position, w->fp);
    return true;
}

/* ---- what a reader is not to see ------------------------------------------------------------ */

static bool was_there(const struct hole *h, const struct moment *then)
{
    return h->made <= (h->made & HOLE_COUNTED ? then->evictions | HOLE_COUNTED : then->head);
}

/* Whether the hole belongs to what a first connect with history is not told: what was missing
 * before it came. What is lost while it is being served it is told like anybody. */
static bool hole_hidden(const struct replay *replay, uint64_t seq, const struct hole *h)
{
    if (replay == NULL || seq > replay->until.head || !was_there(h, &replay->until))
        return false;
    if (!h->never_kept)
        return true;
    const struct replay_start *start =
        h->channel == NULL ? NULL : strmap_get(&replay->starts, h->channel->bytes, h->channel->len);
    return start != NULL && seq < start->seq;
}

static bool frame_hidden(const struct reader *reader, const struct frame *f)
{
    const struct replay *replay = reader->replay;
    if (replay == NULL || f->seq > replay->until.head)
        return reader->behind && frame_superseded(f);
    if (strmap_count(&replay->starts) == 0)
        return false;
    const struct replay_start *start =
        strmap_get(&replay->starts, f->channel->bytes, f->channel->len);
    return start != NULL && f->seq < start->seq;
}

static bool is_told(const struct told *told, uint64_t seq, const struct hole *h)
{
    return seq <= told->upto && was_there(h, &told->at);
}

static bool hole_passes(const struct walk *w, uint64_t seq, const struct hole *h)
{
    return h->superseded || is_told(&w->told, seq, h) || hole_hidden(w->reader->replay, seq, h);
}

/* What has been evicted while the client was here, it was too slow for. */
static enum gap_reason reason_of(const struct walk *w, const struct hole *h)
{
    return h->reason == GAP_EVICTED && w->reader->live ? GAP_SLOW : h->reason;
}

/* ---- losses ahead --------------------------------------------------------------------------- */

struct ahead {
    struct gap gaps[AHEAD_MAX];
    size_t count;
};

static void note_ahead(struct ahead *a, const struct walk *w, uint64_t seq, const struct hole *h)
{
    struct gap *g = NULL;
    for (size_t k = 0; k < a->count && g == NULL; k++) {
        if (name_equal(a->gaps[k].channel, h->channel))
            g = &a->gaps[k];
    }
    if (g == NULL && a->count == AHEAD_MAX) {
        g = &a->gaps[AHEAD_MAX - 1];
        g->channel = NULL;
    }
    if (g == NULL) {
        g = &a->gaps[a->count++];
        *g = (struct gap){.channel = h->channel,
                          .reason = reason_of(w, h),
                          .from = w->position,
                          .from_fp = w->fp,
                          .ahead = true};
    }
    if (g->to < seq)
        g->to = seq;
}

/* The source works, but has not confirmed this subscription yet, though its clients have been let
 * in. Whatever is published there is lost until it is, and other subscriptions' events would carry
 * the client beyond that. One that is refused is another matter: it has been told, and will be
 * again once it is granted; in between that would only be noise. */
static bool unheard(const struct replica *r, const struct view *v)
{
    return r->upstream && !v->live && r->head <= v->unconfirmed + r->patience;
}

/* What goes on being missed, up to now. */
static void note_unheard(struct ahead *a, const struct walk *w)
{
    const struct hole outage = {.channel = NULL, .reason = GAP_UPSTREAM};
    if (!w->r->upstream)
        note_ahead(a, w, w->r->head, &outage);
    for (size_t k = 0; k < w->reader->sub_count; k++) {
        const struct view *v = w->reader->subs[k].view;
        const struct hole h = {.channel = v->pattern ? NULL : v->topic, .reason = GAP_UPSTREAM};
        if (unheard(w->r, v))
            note_ahead(a, w, w->r->head, &h);
    }
}

static void look_ahead(struct ahead *a, const struct walk *w)
{
    const struct pending_gap *p = &w->gap;
    a->count = 0;
    if (p->open)
        a->gaps[a->count++] = (struct gap){.channel = p->channel,
                                           .reason = p->reason,
                                           .from = w->position,
                                           .from_fp = w->fp,
                                           .to = p->to,
                                           .ahead = true};
    for (size_t k = 0; k < w->cursor_count; k++) {
        const struct cursor *c = &w->cursors[k];
        for (uint32_t i = c->i; i < c->ring->count; i++) {
            const struct entry *e = ring_at(c->ring, i);
            if (entry_seq(e) > w->wide)
                break;
            if (entry_is_hole(e) && !hole_passes(w, entry_seq(e), e->u.hole))
                note_ahead(a, w, entry_seq(e), e->u.hole);
        }
    }
    if (w->doubtful < UINT64_MAX)
        note_unheard(a, w);
}

static uint32_t generation_of(const struct replica *r, const struct reader *reader)
{
    uint32_t sum = r->marks->ring.generation;
    for (size_t k = 0; k < reader->sub_count; k++)
        sum += reader->subs[k].view->ring.generation;
    return sum;
}

/* The mark of an outage that had begun at this position; 0: none. Outages do not overlap: it can
 * only be the next. */
static uint64_t mark_over(const struct walk *w, uint64_t seq)
{
    const struct cursor *c = w->marks;
    if (c == NULL || c->i == c->ring->count)
        return 0;
    const struct entry *e = ring_at(c->ring, c->i);
    bool over = e->u.hole->first <= seq && seq < entry_seq(e);
    return over && !hole_passes(w, entry_seq(e), e->u.hole) ? entry_seq(e) : 0;
}

/* Whether all that could be told ahead has been, so that a client that lags far behind does not
 * have the logs searched for every batch. */
static bool nothing_new(const struct walk *w)
{
    return !w->gap.open && w->doubtful == UINT64_MAX && w->told.upto >= w->wide &&
           w->told.at.head == w->r->head && w->told.at.evictions == w->r->evictions;
}

/* Before the client's position becomes this, which holes reach over: tell of all losses up to
 * those, and of those in the gap that is being gathered. */
static bool announce_ahead(struct walk *w, uint64_t seq)
{
    struct ahead ahead;
    w->wide = max_seq(w->wide, mark_over(w, seq));
    if (nothing_new(w)) {
        w->wide = 0;
        return true;
    }
    w->wide = max_seq(w->wide, w->doubtful < UINT64_MAX ? w->r->head : w->told.upto);
    look_ahead(&ahead, w);
    for (size_t k = 0; k < ahead.count; k++) {
        if (!add_gap(w, &ahead.gaps[k]))
            return false;
    }
    if (ahead.count > 0) {
        w->told = (struct told){.upto = w->wide,
                                .at = {w->r->head, w->r->evictions},
                                .generation = generation_of(w->r, w->reader)};
        w->b->told = w->told;
        w->b->told_items = w->b->count;
    }
    w->gap.open = false;
    w->doubtful = UINT64_MAX;
    w->wide = 0;
    return true;
}

/* ---- the walk ------------------------------------------------------------------------------- */

/* Whether something older may be missing untold when the client's position becomes this. */
static bool reaches_over(const struct walk *w, uint64_t seq)
{
    return seq < w->wide || seq > w->doubtful || mark_over(w, seq) > 0;
}

static bool flush_gap(struct walk *w)
{
    const struct pending_gap *p = &w->gap;
    if (!p->open)
        return true;
    /* Its id would be where it ends, which is beyond what else is missing before that; unless it
     * speaks for all channels. */
    if (p->channel != NULL && reaches_over(w, p->to))
        return announce_ahead(w, p->to);
    const struct gap gap = {.channel = p->channel,
                            .reason = p->reason,
                            .from = w->position,
                            .from_fp = w->fp,
                            .to = p->to};
    if (!add_gap(w, &gap))
        return false;
    w->gap.open = false;
    return true;
}

static bool visit_hole(struct walk *w, const struct ring *ring, uint64_t seq, const struct hole *h)
{
    struct pending_gap *gap = &w->gap;
    if (hole_passes(w, seq, h))
        return true;
    if (h->cuts && w->reader->live && h->evicted_seq > w->reader->position) {
        w->b->cut = true;
        return false;
    }
    bool melts = gap->open && (gap->ring == ring || gap->channel == NULL || h->channel == NULL ||
                               gap->to == seq || name_equal(gap->channel, h->channel));
    if (gap->open && !melts) {
        if (!flush_gap(w))
            return false;
        if (hole_passes(w, seq, h)) /* it has been told ahead just now */
            return true;
    }
    if (!gap->open)
        *gap = (struct pending_gap){true, ring, h->channel, reason_of(w, h), seq};
    else if (!name_equal(gap->channel, h->channel))
        gap->channel = NULL;
    gap->to = seq;
    return true;
}

static bool visit_frame(struct walk *w, struct frame *f)
{
    if (frame_hidden(w->reader, f))
        return true;
    /* A wide hole at its very place stands in another view that has heard of the event's eviction
     * already, and reaches over what melted into it. */
    if (!flush_gap(w) ||
        ((f->seq == w->wide || reaches_over(w, f->seq)) && !announce_ahead(w, f->seq)))
        return false;
    size_t len;
    const char *bytes = frame_bytes(f, w->reader->format, w->b->stats, &len);
    if (bytes == NULL) {
        w->b->failed = true;
        return false;
    }
    if (!batch_fits(w->b, len)) {
        w->b->more = true;
        return false;
    }
    w->position = f->seq;
    w->fp = f->fp;
    if (plant_strikes(PLANT_TWICE) && w->b->count < 8 && batch_fits(w->b, 2 * len))
        batch_add(w->b, f, bytes, len, w->position, w->fp);
    batch_add(w->b, f, bytes, len, w->position, w->fp);
    return true;
}

static bool visit(struct walk *w, const struct ring *ring, const struct entry *e)
{
    if (entry_is_hole(e))
        return visit_hole(w, ring, entry_seq(e), e->u.hole);
    return visit_frame(w, e->u.frame);
}

static void walk_one(struct walk *w)
{
    struct cursor *c = &w->cursors[0];
    while (c->i < c->ring->count && visit(w, c->ring, ring_at(c->ring, c->i)))
        c->i++;
}

/* The cursor whose entry comes next: lowest seq, and a frame before a hole of the same seq, since
 * the same event may be kept in one view and evicted from another. */
static struct cursor *lowest(struct cursor *cursors, size_t n)
{
    struct cursor *best = NULL;
    const struct entry *first = NULL;
    for (size_t k = 0; k < n; k++) {
        struct cursor *c = &cursors[k];
        if (c->i == c->ring->count)
            continue;
        const struct entry *e = ring_at(c->ring, c->i);
        if (best == NULL || entry_seq(e) < entry_seq(first) ||
            (entry_seq(e) == entry_seq(first) && entry_is_hole(first) && !entry_is_hole(e))) {
            best = c;
            first = e;
        }
    }
    return best;
}

/* Leave behind what stands at `seq`. Holes there are one gap, but it must name what each of them
 * names: in another view more may have melted into it. */
static void pass(struct walk *w, struct cursor *c, uint64_t seq, bool hole)
{
    for (; c->i < c->ring->count; c->i++) {
        const struct entry *e = ring_at(c->ring, c->i);
        if (entry_seq(e) > seq)
            return;
        if (hole && entry_is_hole(e))
            (void)visit_hole(w, c->ring, seq, e->u.hole);
    }
}

static void walk_many(struct walk *w)
{
    for (;;) {
        struct cursor *c = lowest(w->cursors, w->cursor_count);
        if (c == NULL)
            return;
        const struct entry *e = ring_at(c->ring, c->i);
        uint64_t seq = entry_seq(e);
        if (!visit(w, c->ring, e))
            return;
        bool hole = entry_is_hole(e);
        for (size_t k = 0; k < w->cursor_count; k++) /* the same in overlapping views goes once */
            pass(w, &w->cursors[k], seq, hole);
    }
}

static const struct cursor *open_cursor(struct walk *w, const struct ring *ring)
{
    uint64_t position = w->reader->position;
    if (ring_head(ring) <= position)
        return NULL;
    struct cursor *c = &w->cursors[w->cursor_count++];
    *c = (struct cursor){ring, ring_after(ring, position)};
    return c;
}

static void open_view(struct walk *w, const struct view *v)
{
    (void)open_cursor(w, &v->ring);
    if (v->ring.newest_wide > w->wide && v->ring.newest_wide > w->reader->position)
        w->wide = v->ring.newest_wide;
    if (unheard(w->r, v))
        w->doubtful = 0;
}

static void open_cursors(struct walk *w)
{
    const struct reader *reader = w->reader;
    w->doubtful = w->r->upstream ? UINT64_MAX : w->r->outage;
    w->marks = open_cursor(w, &w->r->marks->ring);
    for (size_t k = 0; k < reader->sub_count; k++)
        open_view(w, reader->subs[k].view);
    if (reader->replay != NULL && reader->replay->told.upto > 0 &&
        reader->replay->told.generation == generation_of(w->r, reader))
        w->told = reader->replay->told;
}

static bool serves_again(const struct batch *b, const struct reader *reader)
{
    return b->valid && reader->sub_count == 1 && reader->replay == NULL &&
           b->view == reader->subs[0].view && b->position == reader->position &&
           b->fp == reader->fp && b->format == reader->format && b->behind == reader->behind &&
           b->live == reader->live;
}

static void start_batch(struct batch *b, const struct reader *reader)
{
    batch_clear(b);
    b->valid = reader->sub_count == 1 && reader->replay == NULL;
    b->view = reader->subs[0].view;
    b->position = reader->position;
    b->fp = reader->fp;
    b->format = reader->format;
    b->behind = reader->behind;
    b->live = reader->live;
}

static bool all_loaded(const struct replica *r, const struct reader *reader)
{
    if (r->marks->lacking)
        return false;
    for (size_t k = 0; k < reader->sub_count; k++) {
        if (!reader->subs[k].view->loaded)
            return false;
    }
    return true;
}

static bool reserve_cursors(struct batch *b, size_t count)
{
    if (count <= b->cursor_room)
        return true;
    struct cursor *more = realloc(b->cursors, count * sizeof *more);
    if (more == NULL)
        return false;
    b->cursors = more;
    b->cursor_room = count;
    return true;
}

bool reader_too_slow(const struct reader *reader)
{
    for (size_t k = 0; reader->live && k < reader->sub_count; k++) {
        if (reader->subs[k].view->ring.newest_cut > reader->position)
            return true;
    }
    return false;
}

void batch_gather(struct batch *b, const struct replica *r, const struct reader *reader)
{
    if (serves_again(b, reader))
        return;
    start_batch(b, reader);
    if (!all_loaded(r, reader)) {
        b->more = true;
        return;
    }
    if (!reserve_cursors(b, reader->sub_count + 1)) {
        batch_clear(b);
        b->failed = true;
        return;
    }
    struct walk w = {.b = b,
                     .r = r,
                     .reader = reader,
                     .cursors = b->cursors,
                     .position = reader->position,
                     .fp = reader->fp};
    open_cursors(&w);
    if (w.cursor_count == 1)
        walk_one(&w);
    else if (w.cursor_count > 1)
        walk_many(&w);
    if (!b->more && !b->failed)
        (void)flush_gap(&w);
    /* At the end, what was told ahead must stay behind the reader. */
    bool ahead = !b->more && !b->failed && w.told.upto > w.position;
    if (ahead && b->told_items == b->count && b->count > 0) /* nothing follows: it ends there */
        batch_end_at(b, &r->timeline, w.told.upto);
    b->walked = true;
    b->reached = ahead ? w.told.upto : w.position;
    b->reached_fp = ahead ? 0 : w.fp;
    if (b->failed) {
        batch_clear(b);
        b->failed = true;
    }
}
