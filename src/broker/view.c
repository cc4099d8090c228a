#include "tickerd/broker/view.h"

#include <stdlib.h>

#include "tickerd/base/err.h"

struct view *view_create(struct name *topic, bool pattern, uint32_t id, uint32_t gen)
{
    struct view *v = calloc(1, sizeof *v);
    if (v == NULL)
        return NULL;
    ring_init(&v->ring);
    v->ring.distinct = id == VIEW_MARKS;
    list_init(&v->subs);
    list_init(&v->dirty);
    list_init(&v->outgoing);
    list_init(&v->idle);
    v->topic = name_ref(topic);
    v->pattern = pattern;
    v->id = id;
    v->gen = gen;
    return v;
}

void view_destroy(struct view *v)
{
    if (v == NULL)
        return;
    list_remove(&v->dirty);
    list_remove(&v->outgoing);
    list_remove(&v->idle);
    ring_finish(&v->ring);
    name_unref(v->topic);
    free(v);
}

/* The hub has it all. */
static void out_of_memory(struct view *v)
{
    v->loaded = false;
    v->lacking = true;
}

static void append(struct view *v, struct frame *f)
{
    v->publisher_ids += f->publisher_id ? 1 : 0;
    if (frame_slow(f) == SLOW_LATEST && !v->pattern)
        ring_supersede(&v->ring);
    if (ring_push_frame(&v->ring, f) == ERR_OK)
        return;
    out_of_memory(v);
    frame_unref(f);
}

/* A channel's log is evicted from its start; a merged one wherever the channel's oldest stands. */
static void evict(struct view *v, uint64_t seq, uint64_t made)
{
    if (v->pattern) {
        (void)ring_evict_at(&v->ring, seq, made);
        return;
    }
    struct frame *oldest;
    while ((oldest = ring_oldest(&v->ring)) != NULL && oldest->seq <= seq) {
        struct frame *f = ring_evict_oldest(&v->ring, made);
        if (f == NULL)
            return; /* out of memory: it goes with the next one */
        frame_unref(f);
    }
}

static void reset(struct view *v, struct snapshot *s)
{
    if (v->pattern) /* the logs of several channels, one after the other */
        qsort(s->entries, s->count, sizeof s->entries[0], entry_compare);
    v->loaded = true;
    v->lacking = false;
    if (ring_assign(&v->ring, s->entries, s->count) != ERR_OK)
        out_of_memory(v);
    v->live = s->live;
    v->refused = false;
    v->publisher_ids = 0;
    for (uint32_t i = 0; i < v->ring.count; i++) {
        const struct entry *e = ring_at(&v->ring, i);
        v->publisher_ids += !entry_is_hole(e) && e->u.frame->publisher_id ? 1 : 0;
    }
    free(s);
}

void view_apply(struct view *v, struct note *n, uint64_t made)
{
    switch ((enum note_kind)n->kind) {
    case NOTE_FRAME:
        append(v, n->ref);
        break;
    case NOTE_EVICT:
        evict(v, n->seq, made);
        break;
    case NOTE_HOLE:
        if (ring_push_hole(&v->ring, n->seq, n->ref, (enum gap_reason)n->arg) != ERR_OK)
            out_of_memory(v);
        name_unref(n->ref);
        break;
    case NOTE_MARK:
        if (ring_push_mark(&v->ring, n->seq, (enum gap_reason)n->arg, n->first) != ERR_OK)
            out_of_memory(v);
        break;
    case NOTE_RESET:
        reset(v, n->ref);
        break;
    default:
        note_release(n);
        break;
    }
    n->ref = NULL;
}

bool view_holds(const struct view *v, uint64_t seq)
{
    uint32_t i = ring_after(&v->ring, seq);
    if (i == 0)
        return false;
    const struct entry *e = ring_at(&v->ring, i - 1);
    return entry_seq(e) == seq && !entry_is_hole(e);
}
