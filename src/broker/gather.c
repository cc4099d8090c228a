#include "gather_internal.h"

#include <stdlib.h>
#include <string.h>

#include "tickerd/base/err.h"
#include "tickerd/base/plant.h"

bool walk_add_gap(struct walk *w, const struct gap *gap)
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
    batch_add_gap(w->b, gap, text, w->position, w->fp);
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

bool reader_skips(const struct reader *reader, bool decide, const struct frame *f)
{
    const struct replay *replay = reader->replay;
    if (decide && !right_hears(reader->right, f->channel))
        return true;
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

static bool hears_hole(const struct walk *w, const struct cursor *c, const struct hole *h)
{
    if (!c->decide)
        return true;
    return h->channel == NULL ? right_hears_some(w->reader->right, c->view->topic)
                              : right_hears(w->reader->right, h->channel);
}

bool walk_hole_passes(const struct walk *w, const struct cursor *c, uint64_t seq,
                      const struct hole *h)
{
    return h->superseded || is_told(&w->told, seq, h) || hole_hidden(w->reader->replay, seq, h) ||
           !hears_hole(w, c, h);
}

/* What has been evicted while the client was here, it was too slow for. */
enum gap_reason walk_reason(const struct walk *w, const struct hole *h)
{
    return h->reason == GAP_EVICTED && w->reader->live ? GAP_SLOW : h->reason;
}

/* ---- the walk ------------------------------------------------------------------------------- */

static bool flush_gap(struct walk *w)
{
    const struct pending_gap *p = &w->gap;
    if (!p->open)
        return true;
    /* Its id would be where it ends, which is beyond what else is missing before that; unless it
     * speaks for all channels. */
    if (p->channel != NULL && walk_reaches_over(w, p->to))
        return walk_announce_ahead(w, p->to);
    const struct gap gap = {.channel = p->channel,
                            .reason = p->reason,
                            .from = w->position,
                            .from_fp = w->fp,
                            .to = p->to};
    if (!walk_add_gap(w, &gap))
        return false;
    w->gap.open = false;
    return true;
}

/* Whether the reader was too slow for what it has missed here. */
static bool hole_cuts(const struct walk *w, const struct cursor *c, const struct hole *h)
{
    bool known = !c->decide || h->channel != NULL; /* to be a channel that it may hear */
    return h->cuts && known && w->reader->live && h->evicted_seq > w->reader->position;
}

static bool visit_hole(struct walk *w, const struct cursor *c, uint64_t seq, const struct hole *h)
{
    struct pending_gap *gap = &w->gap;
    if (walk_hole_passes(w, c, seq, h))
        return true;
    if (hole_cuts(w, c, h)) {
        w->b->cut = true;
        return false;
    }
    bool melts = gap->open && (gap->ring == c->ring || gap->channel == NULL || h->channel == NULL ||
                               gap->to == seq || name_equal(gap->channel, h->channel));
    if (gap->open && !melts) {
        if (!flush_gap(w))
            return false;
        if (walk_hole_passes(w, c, seq, h)) /* it has been told ahead just now */
            return true;
    }
    if (!gap->open)
        *gap = (struct pending_gap){true, c->ring, h->channel, walk_reason(w, h), seq};
    else if (!name_equal(gap->channel, h->channel))
        gap->channel = NULL;
    gap->to = seq;
    return true;
}

static bool visit_frame(struct walk *w, const struct cursor *c, struct frame *f)
{
    if (reader_skips(w->reader, c->decide, f))
        return true;
    /* A wide hole at its very place stands in another view that has heard of the event's eviction
     * already, and reaches over what melted into it. */
    if (!flush_gap(w) ||
        ((f->seq == w->wide || walk_reaches_over(w, f->seq)) && !walk_announce_ahead(w, f->seq)))
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
        batch_add(w->b, f, bytes, len);
    batch_add(w->b, f, bytes, len);
    return true;
}

static bool visit(struct walk *w, const struct cursor *c, const struct entry *e)
{
    if (entry_is_hole(e))
        return visit_hole(w, c, entry_seq(e), e->u.hole);
    return visit_frame(w, c, e->u.frame);
}

static void walk_one(struct walk *w)
{
    struct cursor *c = &w->cursors[0];
    while (c->i < c->ring->count && visit(w, c, ring_at(c->ring, c->i)))
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

enum visited { VISITED_HOLE, SENT_FRAME, HIDDEN_FRAME };

/* Leave behind what stands at `seq`. Holes there are one gap, but it must name what each of them
 * names: in another view more may have melted into it. And a frame that is not sent answers for
 * none of them. */
static void pass(struct walk *w, struct cursor *c, uint64_t seq, enum visited what)
{
    for (; c->i < c->ring->count; c->i++) {
        const struct entry *e = ring_at(c->ring, c->i);
        if (entry_seq(e) > seq || (what == HIDDEN_FRAME && entry_is_hole(e)))
            return;
        if (what == VISITED_HOLE && entry_is_hole(e))
            (void)visit_hole(w, c, seq, e->u.hole);
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
        if (!visit(w, c, e))
            return;
        enum visited what = entry_is_hole(e)     ? VISITED_HOLE
                            : w->position == seq ? SENT_FRAME
                                                 : HIDDEN_FRAME;
        for (size_t k = 0; k < w->cursor_count; k++) /* the same in overlapping views goes once */
            pass(w, &w->cursors[k], seq, what);
    }
}

/* Where the walk begins: what the reader has gone by need not be decided again. */
static uint64_t start_of(const struct reader *reader)
{
    return reader->right == NULL ? reader->position
                                 : max_seq(reader->position, reader->right->passed);
}

static const struct cursor *open_cursor(struct walk *w, const struct view *v)
{
    if (ring_head(&v->ring) <= w->start)
        return NULL;
    struct cursor *c = &w->cursors[w->cursor_count++];
    *c = (struct cursor){.view = v,
                         .ring = &v->ring,
                         .i = ring_after(&v->ring, w->start),
                         .decide = v->pattern && w->reader->right != NULL};
    return c;
}

/* The newest wide hole ahead that the reader may hear of; 0: none. */
static uint64_t wide_ahead(const struct walk *w, const struct cursor *c, uint64_t newest)
{
    if (c == NULL || newest <= w->start || !c->decide)
        return newest;
    for (uint32_t i = c->ring->count; i > c->i; i--) {
        const struct entry *e = ring_at(c->ring, i - 1);
        if (entry_is_hole(e) && e->u.hole->first < entry_seq(e) && hears_hole(w, c, e->u.hole))
            return entry_seq(e);
    }
    return 0;
}

static void open_view(struct walk *w, const struct view *v)
{
    const struct cursor *c = open_cursor(w, v);
    uint64_t wide = wide_ahead(w, c, v->ring.newest_wide);
    if (wide > w->wide && wide > w->start)
        w->wide = wide;
    if (walk_unheard(w, v))
        w->doubtful = 0;
}

static void open_cursors(struct walk *w)
{
    const struct reader *reader = w->reader;
    w->doubtful = w->r->upstream ? UINT64_MAX : w->r->outage;
    w->marks = open_cursor(w, w->r->marks);
    for (size_t k = 0; k < reader->sub_count; k++)
        open_view(w, reader->subs[k].view);
    if (reader->replay != NULL && reader->replay->told.upto > 0 &&
        reader->replay->told.generation == walk_generation(w->r, reader))
        w->told = reader->replay->told;
}

/* Whether others may hear the same: all who are not restricted, and all who are by the rules only.
 */
static bool may_share(const struct reader *reader)
{
    return reader->sub_count == 1 && reader->replay == NULL &&
           (reader->right == NULL || reader->right->grant == NULL);
}

static bool serves_again(const struct batch *b, const struct reader *reader)
{
    return b->valid && may_share(reader) && b->view == reader->subs[0].view &&
           b->position == reader->position && b->fp == reader->fp && b->format == reader->format &&
           b->behind == reader->behind && b->live == reader->live &&
           b->restricted == (reader->right != NULL) && b->start == start_of(reader);
}

static void start_batch(struct batch *b, const struct reader *reader)
{
    batch_clear(b);
    b->valid = may_share(reader);
    b->view = reader->subs[0].view;
    b->position = reader->position;
    b->fp = reader->fp;
    b->format = reader->format;
    b->behind = reader->behind;
    b->live = reader->live;
    b->restricted = reader->right != NULL;
    b->start = b->passed = start_of(reader);
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
        const struct view *v = reader->subs[k].view;
        bool decide = v->pattern && reader->right != NULL;
        if (!decide && v->ring.newest_cut > reader->position)
            return true;
    }
    return false;
}

/* How far a walk has come that went through everything. */
static uint64_t end_of(const struct walk *w)
{
    uint64_t end = w->start;
    for (size_t k = 0; k < w->cursor_count; k++)
        end = max_seq(end, ring_head(w->cursors[k].ring));
    return end;
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
                     .start = b->start,
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
    b->passed = end_of(&w);
    b->reached = ahead ? w.told.upto : w.position;
    b->reached_fp = ahead ? 0 : w.fp;
    if (b->failed) {
        batch_clear(b);
        b->failed = true;
    }
}
