/* Losses that are told before their place, since events of other channels would carry the client's
 * position beyond what is missing. */
#include "gather_internal.h"

/* So many gaps are announced ahead one by one; of more than that, the last is for all channels. */
enum { AHEAD_MAX = 16 };

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
                          .reason = walk_reason(w, h),
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
bool walk_unheard(const struct walk *w, const struct view *v)
{
    const struct replica *r = w->r;
    const struct right *right = v->pattern ? w->reader->right : NULL;
    return r->upstream && !v->live && r->head <= v->unconfirmed + r->patience &&
           (right == NULL || right_hears_some(right, v->topic));
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
        if (walk_unheard(w, v))
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
            if (entry_is_hole(e) && !walk_hole_passes(w, c, entry_seq(e), e->u.hole))
                note_ahead(a, w, entry_seq(e), e->u.hole);
        }
    }
    if (w->doubtful < UINT64_MAX)
        note_unheard(a, w);
}

uint32_t walk_generation(const struct replica *r, const struct reader *reader)
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
    return over && !walk_hole_passes(w, c, entry_seq(e), e->u.hole) ? entry_seq(e) : 0;
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
bool walk_announce_ahead(struct walk *w, uint64_t seq)
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
        if (!walk_add_gap(w, &ahead.gaps[k]))
            return false;
    }
    if (ahead.count > 0) {
        w->told = (struct told){.upto = w->wide,
                                .at = {w->r->head, w->r->evictions},
                                .generation = walk_generation(w->r, w->reader)};
        w->b->told = w->told;
        w->b->told_items = w->b->count;
    }
    w->gap.open = false;
    w->doubtful = UINT64_MAX;
    w->wide = 0;
    return true;
}

bool walk_reaches_over(const struct walk *w, uint64_t seq)
{
    return seq < w->wide || seq > w->doubtful || mark_over(w, seq) > 0;
}
