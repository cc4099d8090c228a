#include "tickerd/broker/resume.h"

#include <stdlib.h>
#include <string.h>

#include "tickerd/base/err.h"

enum { REPLAY_STARTS_MAX = 1024 + 64, COUNT_BACK_MAX = 256 * 1024 };

const char *resume_text(enum resume_kind kind)
{
    switch (kind) {
    case RESUME_NEW:
        return "new";
    case RESUME_CONTINUED:
        return "continued";
    case RESUME_GAP:
        break;
    }
    return "gap";
}

/* An oversize message is one at every instance, and was sent by none: no id names it. */
static bool hides_nothing(const struct entry *e)
{
    return e->u.hole->reason == GAP_OVERSIZE && e->u.hole->first == entry_seq(e);
}

/* ---- what a stream may hear of ----------------------------------------------------------------
 */

static bool decides(const struct scope *s, const struct view *v)
{
    return v->pattern && s->right != NULL;
}

static bool hears_frame(const struct scope *s, const struct view *v, const struct frame *f)
{
    return !decides(s, v) || right_hears(s->right, f->channel);
}

/* A hole of several channels may be of one that is allowed. */
static bool hears_hole(const struct scope *s, const struct view *v, const struct hole *h)
{
    if (!decides(s, v))
        return true;
    return h->channel == NULL ? right_hears_some(s->right, v->topic)
                              : right_hears(s->right, h->channel);
}

static const struct frame *oldest(const struct scope *s, const struct view *v)
{
    for (uint32_t i = 0; decides(s, v) && i < v->ring.count; i++) {
        const struct entry *e = ring_at(&v->ring, i);
        if (!entry_is_hole(e) && hears_frame(s, v, e->u.frame))
            return e->u.frame;
    }
    return decides(s, v) ? NULL : ring_oldest(&v->ring);
}

/* Whether a view has a hole in (from, to] in which an event may be missing that another instance
 * has sent. */
static bool hole_between(const struct scope *s, const struct view *v, uint64_t from, uint64_t to)
{
    const struct ring *r = &v->ring;
    if (ring_newest_hole(r) <= from)
        return false;
    for (uint32_t i = ring_after(r, from); i < r->count; i++) {
        const struct entry *e = ring_at(r, i);
        if (entry_seq(e) > to)
            return false;
        if (entry_is_hole(e) && !hides_nothing(e) && hears_hole(s, v, e->u.hole))
            return true;
    }
    return false;
}

/* Whether a view has a hole behind the position; or one that will be announced. */
static bool hole_after(const struct scope *s, const struct view *v, uint64_t position, bool loss)
{
    const struct ring *r = &v->ring;
    if ((loss ? r->newest_loss : ring_newest_hole(r)) <= position)
        return false;
    if (!decides(s, v))
        return true;
    for (uint32_t i = ring_after(r, position); i < r->count; i++) {
        const struct entry *e = ring_at(r, i);
        if (entry_is_hole(e) && !(loss && e->u.hole->superseded) && hears_hole(s, v, e->u.hole))
            return true;
    }
    return false;
}

static bool any_hole_after(const struct scope *s, uint64_t position, bool loss)
{
    bool any = hole_after(s, s->replica->marks, position, loss);
    for (size_t k = 0; k < s->count && !any; k++)
        any = hole_after(s, s->subs[k].view, position, loss);
    return any;
}

/* ---- resuming -------------------------------------------------------------------------------- */

static struct resume at(const struct scope *s, uint64_t position, uint32_t fp)
{
    bool gap = any_hole_after(s, position, true);
    return (struct resume){
        .kind = gap ? RESUME_GAP : RESUME_CONTINUED, .position = position, .fp = fp};
}

/* Just before the oldest event kept in these views; the head if nothing is kept. */
static uint64_t before_oldest(const struct scope *s)
{
    uint64_t first = s->replica->head + 1;
    for (size_t k = 0; k < s->count; k++) {
        const struct frame *f = oldest(s, s->subs[k].view);
        if (f != NULL && f->seq < first)
            first = f->seq;
    }
    return first - 1;
}

struct resume resume_unknown(const struct scope *s)
{
    return (struct resume){.kind = RESUME_GAP, .position = before_oldest(s), .unknown = true};
}

static uint64_t back_by(uint64_t seq, uint64_t window)
{
    return seq > window ? seq - window : 1;
}

/* A publisher's id: after the earliest kept event that carries it. It does not tell which instance
 * the client had it from. Where each instance may have an order of its own, what that one sent
 * later may be kept here before it: then all around it is sent again, which ids of the publisher's
 * own let the client recognise. */
static struct resume from_publisher(const struct scope *s, const char *id, size_t len,
                                    uint64_t window)
{
    const struct frame *found = NULL;
    for (size_t k = 0; k < s->count; k++) {
        const struct view *v = s->subs[k].view;
        for (uint32_t i = 0; v->publisher_ids > 0 && i < v->ring.count; i++) {
            const struct entry *e = ring_at(&v->ring, i);
            if (entry_is_hole(e) || !e->u.frame->publisher_id)
                continue;
            const struct frame *f = e->u.frame;
            if (f->id_len != len || memcmp(frame_id(f), id, len) != 0 || !hears_frame(s, v, f))
                continue;
            if (found == NULL || f->seq < found->seq)
                found = f;
            break;
        }
    }
    if (found == NULL)
        return resume_unknown(s);
    if (s->replica->timeline.many_orders)
        return at(s, back_by(found->seq, window) - 1, 0);
    return at(s, found->seq, found->fp);
}

/* An event that may be the one a foreign id names. */
struct candidate {
    uint64_t seq; /* 0: none */
    bool counts;  /* nothing else that could be it may be missing before it */
};

static void consider(struct candidate *best, uint64_t seq, bool counts)
{
    if (best->seq == 0 || seq < best->seq)
        *best = (struct candidate){seq, counts};
    else if (seq == best->seq) /* in overlapping views: one that is complete is enough */
        best->counts = best->counts || counts;
}

/* Look for the fingerprint in one view within [lo, hi], its newest evicted events included. The
 * walk starts at the beginning, since the stubs of old events stand in holes that reach far. */
static void search_view(struct candidate *best, const struct scope *s, const struct view *v,
                        uint32_t fp, uint64_t lo, uint64_t hi, uint64_t looked)
{
    uint64_t from = looked > lo ? looked : lo - 1;
    for (uint32_t i = ring_after(&v->ring, from); i < v->ring.count; i++) {
        const struct entry *e = ring_at(&v->ring, i);
        if (entry_is_hole(e)) {
            const struct hole *h = e->u.hole;
            /* Where channels are decided one by one, what has no name any more is no candidate. */
            bool named = !decides(s, v) || h->channel != NULL;
            if (h->evicted_fp == fp && h->evicted_seq >= lo && h->evicted_seq <= hi && named &&
                hears_hole(s, v, h))
                consider(best, h->evicted_seq,
                         h->evicted_prev < lo && h->evicted_seq == entry_seq(e) &&
                             !hole_between(s, v, lo - 1, entry_seq(e) - 1));
        } else if (entry_seq(e) > hi) {
            return;
        } else if (e->u.frame->fp == fp && hears_frame(s, v, e->u.frame)) {
            consider(best, entry_seq(e), !hole_between(s, v, lo - 1, entry_seq(e)));
            return;
        }
    }
}

/* A log that is being read anew may still bring what lies below the position reached. */
static bool all_loaded(const struct scope *s)
{
    for (size_t k = 0; k < s->count; k++) {
        if (!s->subs[k].view->loaded)
            return false;
    }
    return true;
}

static struct resume from_foreign(const struct scope *s, const struct eventid *id, uint64_t window,
                                  uint64_t *looked)
{
    const struct replica *r = s->replica;
    struct span seq = timeline_from_wall(&r->timeline, id->seq, r->head, window);
    if (seq.hi > r->head + window)
        return resume_unknown(s);
    uint64_t lo = timeline_earliest(&r->timeline, back_by(seq.lo, window));
    /* With an order per instance nothing that is found here would prove that what comes before it
     * came before it there, too. */
    if (r->timeline.many_orders)
        return (struct resume){.kind = RESUME_GAP, .position = lo - 1, .unknown = true};
    struct candidate best = {0, false};
    for (size_t k = 0; id->fp != 0 && k < s->count; k++)
        search_view(&best, s, s->subs[k].view, id->fp, lo, seq.hi + window, *looked);
    if (best.seq != 0 && best.counts && !r->marks->lacking &&
        !hole_between(s, r->marks, lo - 1, best.seq))
        return at(s, best.seq, id->fp);
    if (best.seq == 0 && id->fp != 0 && !any_hole_after(s, lo - 1, false)) {
        if (seq.hi + window <= r->head)
            return resume_unknown(s);
        /* The other instance may have heard it a moment before this one. */
        if (all_loaded(s))
            *looked = r->head;
        return (struct resume){.kind = RESUME_GAP, .unknown = true, .behind = true};
    }
    return at(s, lo - 1, 0);
}

struct resume resume_from(const struct scope *s, const char *id, size_t len, uint64_t window_us,
                          uint64_t *looked)
{
    const struct replica *r = s->replica;
    struct eventid own;
    uint64_t seq;
    if (!eventid_parse(id, len, &own))
        return from_publisher(s, id, len, window_us);
    if (!timeline_resolve(&r->timeline, &own, &seq))
        return from_foreign(s, &own, window_us, looked);
    if (seq > r->head + window_us)
        return resume_unknown(s);
    return at(s, seq, own.fp);
}

struct replay *replay_create(struct moment until)
{
    struct replay *p = calloc(1, sizeof *p);
    if (p == NULL)
        return NULL;
    p->until = until;
    strmap_init(&p->starts);
    return p;
}

void replay_destroy(struct replay *p)
{
    if (p == NULL)
        return;
    size_t pos = 0;
    struct replay_start *s;
    while ((s = strmap_next(&p->starts, &pos)) != NULL) {
        name_unref(s->channel);
        free(s);
    }
    strmap_finish(&p->starts);
    free(p);
}

static struct replay_start *start_of(struct replay *p, struct name *channel, uint32_t history)
{
    struct replay_start *s = strmap_get(&p->starts, channel->bytes, channel->len);
    if (s != NULL)
        return s;
    s = malloc(sizeof *s);
    if (s == NULL)
        return NULL;
    *s = (struct replay_start){.channel = name_ref(channel), .seq = 0, .left = history};
    if (strmap_put(&p->starts, s->channel->bytes, s->channel->len, s) != ERR_OK) {
        name_unref(s->channel);
        free(s);
        return NULL;
    }
    return s;
}

/* Count back from the newest: the N-th last event of each channel is where it starts. In a merged
 * log of very many events the walk ends early: what is older than so many others is not replayed.
 */
static int count_back(struct replay *p, const struct scope *scope, const struct view *v,
                      uint32_t history)
{
    const struct ring *ring = &v->ring;
    uint32_t end = ring->count > COUNT_BACK_MAX ? ring->count - COUNT_BACK_MAX : 0;
    for (uint32_t i = ring->count; i > end; i--) {
        const struct entry *e = ring_at(ring, i - 1);
        if (entry_is_hole(e) || !hears_frame(scope, v, e->u.frame))
            continue;
        struct replay_start *s = start_of(p, e->u.frame->channel, history);
        if (s == NULL)
            return ERR_NOMEM;
        if (strmap_count(&p->starts) > REPLAY_STARTS_MAX)
            return ERR_RANGE;
        if (s->seq == 0 || (s->left > 0 && e->u.frame->seq < s->seq)) {
            s->seq = e->u.frame->seq;
            s->left--;
        }
        if (!v->pattern && s->left == 0)
            break;
    }
    return ERR_OK;
}

/* The starts of all channels in these views. A pattern over very many channels would make this
 * table the one thing here that grows with what a client asks for; past the limit it is left empty,
 * and the client gets all that is kept instead of the last N: more than it asked for, no less. */
static int make_starts(struct replay *p, const struct scope *s, uint32_t history)
{
    for (size_t k = 0; k < s->count; k++) {
        int err = count_back(p, s, s->subs[k].view, history);
        if (err != ERR_OK)
            return err;
    }
    return ERR_OK;
}

static uint64_t before_first_start(const struct replay *p, uint64_t head)
{
    uint64_t first = head + 1;
    size_t pos = 0;
    const struct replay_start *s;
    while ((s = strmap_next(&p->starts, &pos)) != NULL) {
        if (s->seq < first)
            first = s->seq;
    }
    return first - 1;
}

int resume_new(const struct scope *s, uint32_t history, struct resume *out, struct replay **replay)
{
    const struct replica *r = s->replica;
    *out = (struct resume){.kind = RESUME_NEW, .position = r->head};
    *replay = NULL;
    if (history == 0)
        return ERR_OK;
    struct replay *p = replay_create((struct moment){r->head, r->evictions});
    if (p == NULL)
        return ERR_NOMEM;
    out->position = before_oldest(s);
    *replay = p;
    if (history == HISTORY_ALL)
        return ERR_OK;
    int err = make_starts(p, s, history);
    if (err == ERR_OK) {
        out->position = before_first_start(p, r->head);
    } else if (err == ERR_RANGE) {
        *replay = replay_create(p->until);
        replay_destroy(p);
    }
    if (err == ERR_NOMEM || *replay == NULL) {
        replay_destroy(*replay);
        *replay = NULL;
        return ERR_NOMEM;
    }
    return ERR_OK;
}
