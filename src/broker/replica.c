#include "tickerd/broker/replica.h"

#include <stdlib.h>
#include <string.h>

#include "tickerd/base/err.h"

/* A view's request is one of two: its topic is wanted (the view exists) or not any more (the slot
 * holds a view that is `dropped`, kept only until the hub's inbox had room for NOTE_DROP). What is
 * wanted anew meanwhile becomes an interest of the next generation. */

enum { SLOTS_MIN = 16, EVICTIONS_MIN = 64 };

#define NO_SLOT UINT32_MAX

static struct strmap *map_of(struct replica *r, bool pattern)
{
    return pattern ? &r->patterns : &r->channels;
}

static int grow_slots(struct replica *r)
{
    uint32_t count = r->slot_count == 0 ? SLOTS_MIN : r->slot_count * 2;
    struct replica_slot *slots = realloc(r->slots, count * sizeof *slots);
    if (slots == NULL)
        return ERR_NOMEM;
    for (uint32_t i = count; i > r->slot_count; i--) {
        slots[i - 1] = (struct replica_slot){.view = NULL, .gen = 0, .next_free = r->free_slot};
        r->free_slot = i - 1;
    }
    r->slots = slots;
    r->slot_count = count;
    return ERR_OK;
}

/* The hub has answered, or its answer does not matter any more. */
static void answered(struct replica *r, struct view *v)
{
    r->unanswered -= v->asked ? 1 : 0;
    v->asked = false;
}

static void queue_request(struct replica *r, struct view *v)
{
    answered(r, v);
    v->gen = ++r->slots[v->id].gen;
    list_remove(&v->outgoing);
    list_push(&r->outgoing, &v->outgoing);
}

static struct view *make_view(struct replica *r, struct name *topic, bool pattern)
{
    if (r->free_slot == NO_SLOT && grow_slots(r) != ERR_OK)
        return NULL;
    uint32_t id = r->free_slot;
    struct view *v = view_create(topic, pattern, id, 0);
    if (v == NULL)
        return NULL;
    r->free_slot = r->slots[id].next_free;
    r->slots[id].view = v;
    queue_request(r, v);
    return v;
}

static void free_view(struct replica *r, struct view *v)
{
    r->slots[v->id].view = NULL;
    r->slots[v->id].next_free = r->free_slot;
    r->free_slot = v->id;
    view_destroy(v);
}

int replica_init(struct replica *r, const struct replica_events *events, void *ctx,
                 uint64_t patience)
{
    memset(r, 0, sizeof *r);
    r->patience = patience;
    strmap_init(&r->channels);
    strmap_init(&r->patterns);
    list_init(&r->dirty);
    list_init(&r->outgoing);
    list_init(&r->idle);
    r->free_slot = NO_SLOT;
    r->timeline.count = 1; /* a valid value until the hub's first NOTE_TIMELINE */
    r->events = events;
    r->ctx = ctx;
    struct name *none = name_create("", 0);
    r->marks = none == NULL ? NULL : make_view(r, none, false);
    name_unref(none);
    if (r->marks == NULL) {
        replica_finish(r);
        return ERR_NOMEM;
    }
    return ERR_OK;
}

void replica_finish(struct replica *r)
{
    for (uint32_t i = 0; i < r->slot_count; i++)
        view_destroy(r->slots[i].view);
    free(r->slots);
    free(r->pending);
    r->pending = NULL;
    r->slots = NULL;
    r->slot_count = 0;
    strmap_finish(&r->channels);
    strmap_finish(&r->patterns);
}

static struct view *find_or_make(struct replica *r, const char *topic, size_t len, bool pattern)
{
    struct view *v = strmap_get(map_of(r, pattern), topic, len);
    if (v != NULL)
        return v;
    struct name *name = name_create(topic, len);
    if (name == NULL)
        return NULL;
    v = make_view(r, name, pattern);
    name_unref(name); /* the view has its own reference */
    if (v == NULL)
        return NULL;
    if (strmap_put(map_of(r, pattern), v->topic->bytes, len, v) != ERR_OK) {
        free_view(r, v);
        return NULL;
    }
    replica_pump(r);
    return v;
}

int replica_subscribe(struct replica *r, struct sub *sub, const char *topic, size_t len,
                      bool pattern)
{
    struct view *v = find_or_make(r, topic, len, pattern);
    if (v == NULL)
        return ERR_NOMEM;
    list_remove(&v->idle);
    sub->view = v;
    list_push(&v->subs, &sub->link);
    v->sub_count++;
    return ERR_OK;
}

void replica_unsubscribe(struct replica *r, struct sub *sub)
{
    struct view *v = sub->view;
    list_remove(&sub->link);
    sub->view = NULL;
    v->sub_count--;
    if (list_empty(&v->subs))
        list_push(&r->idle, &v->idle);
}

static void drop_view(struct replica *r, struct view *v)
{
    list_remove(&v->idle);
    (void)strmap_del(map_of(r, v->pattern), v->topic->bytes, v->topic->len);
    list_remove(&v->dirty);
    r->ring_bytes -= ring_overhead(&v->ring);
    ring_finish(&v->ring);
    if (!list_empty(&v->outgoing) && v->gen == 1 && !v->loaded) {
        free_view(r, v); /* the hub never heard of this number */
        return;
    }
    v->loaded = false;
    name_unref(v->topic);
    v->topic = NULL; /* marks it as dropped */
    queue_request(r, v);
}

/* Not at once: while memory is short that would go round and round. */
static void ask_for_what_is_lacking(struct replica *r)
{
    for (uint32_t i = 0; r->lacking && i < r->slot_count; i++) {
        struct view *v = r->slots[i].view;
        if (v != NULL && v->topic != NULL && v->lacking)
            queue_request(r, v);
    }
    r->lacking = false;
}

void replica_sweep(struct replica *r)
{
    list_each(&r->idle, it) {
        drop_view(r, container_of(it, struct view, idle));
    }
    ask_for_what_is_lacking(r);
    replica_pump(r);
}

static bool send_one(struct replica *r, struct view *v)
{
    struct note n = {.kind = NOTE_DROP, .view = v->id, .gen = v->gen};
    if (v->topic != NULL) {
        n.kind = NOTE_INTEREST;
        n.arg = v->pattern;
        n.ref = name_ref(v->topic);
    }
    if (!r->events->send(r->ctx, &n)) {
        note_release(&n);
        return false;
    }
    list_remove(&v->outgoing);
    if (v->topic == NULL) {
        free_view(r, v);
        return true;
    }
    v->asked = true;
    r->unanswered++;
    return true;
}

void replica_pump(struct replica *r)
{
    if (r->resync) {
        struct note n = {.kind = NOTE_RESYNC};
        if (!r->events->send(r->ctx, &n))
            return;
        r->resync = false;
    }
    list_each(&r->outgoing, it) {
        if (r->unanswered == REPLICA_UNANSWERED ||
            !send_one(r, container_of(it, struct view, outgoing)))
            return;
    }
}

void replica_restart(struct replica *r)
{
    r->resync = r->deaf = true;
    for (uint32_t i = 0; i < r->slot_count; i++) { /* the marks first: they explain the rest */
        struct view *v = r->slots[i].view;
        if (v == NULL)
            continue;
        v->loaded = false;
        queue_request(r, v);
    }
    replica_pump(r);
}

void replica_reached(struct replica *r, uint64_t seq)
{
    /* A new epoch may be among what was dropped, and ids made of positions in it would be wrong. */
    if (seq > r->head && !r->deaf)
        r->head = seq;
}

static struct view *addressee(struct replica *r, const struct note *n)
{
    struct view *v = n->view < r->slot_count ? r->slots[n->view].view : NULL;
    return v != NULL && v->topic != NULL && v->gen == n->gen ? v : NULL;
}

static void apply_to_view(struct replica *r, struct note *n)
{
    struct view *v = addressee(r, n);
    if (v == NULL) {
        note_release(n);
        return;
    }
    bool was_ready = view_ready(v);
    r->ring_bytes -= ring_overhead(&v->ring);
    if (n->kind == NOTE_RESET || n->kind == NOTE_REFUSED)
        answered(r, v);
    if (n->kind == NOTE_RESET)
        replica_reached(r, ((const struct snapshot *)n->ref)->head);
    r->evictions += n->kind == NOTE_EVICT ? 1 : 0;
    if (n->kind == NOTE_LIVE)
        v->live = n->arg != 0;
    else if (n->kind == NOTE_REFUSED && v == r->marks) /* nobody can do without these */
        v->lacking = true;
    else if (n->kind == NOTE_REFUSED)
        v->refused = true;
    else
        view_apply(v, n, HOLE_COUNTED | r->evictions);
    r->ring_bytes += ring_overhead(&v->ring);
    r->lacking = r->lacking || v->lacking;
    replica_reached(r, ring_head(&v->ring)); /* an answer may say more than its head */
    if ((n->kind == NOTE_RESET || n->kind == NOTE_LIVE) && !v->live)
        v->unconfirmed = r->head;
    if (!was_ready && view_ready(v))
        r->events->ready(r->ctx, v);
    if (n->kind != NOTE_EVICT && n->kind != NOTE_LIVE && list_empty(&v->dirty))
        list_push(&r->dirty, &v->dirty);
}

/* Keep an eviction for later. False: no memory, apply it now. */
static bool defer(struct replica *r, const struct note *n)
{
    if (r->pending_count == r->pending_room) {
        size_t room = r->pending_room == 0 ? EVICTIONS_MIN : r->pending_room * 2;
        struct replica_eviction *more = realloc(r->pending, room * sizeof *more);
        if (more == NULL)
            return false;
        r->pending = more;
        r->pending_room = room;
    }
    r->pending[r->pending_count++] = (struct replica_eviction){n->view, n->gen, n->seq};
    return true;
}

void replica_settle(struct replica *r)
{
    for (size_t i = 0; i < r->pending_count; i++) {
        const struct replica_eviction *e = &r->pending[i];
        struct note n = {.kind = NOTE_EVICT, .view = e->view, .gen = e->gen, .seq = e->seq};
        apply_to_view(r, &n);
    }
    r->pending_count = 0;
}

/* One note for all views: in mode `all` they hang on one subscription; and when the source is lost
 * nothing is confirmed any more. */
static void set_all_live(struct replica *r, bool live)
{
    for (uint32_t i = 0; i < r->slot_count; i++) {
        struct view *v = r->slots[i].view;
        if (v == NULL || v->topic == NULL || v->live == live)
            continue;
        v->live = live;
        if (view_ready(v))
            r->events->ready(r->ctx, v);
    }
}

/* The source is back: what it has not confirmed with that, it may yet. */
static void wait_for_the_rest(struct replica *r)
{
    for (uint32_t i = 0; i < r->slot_count; i++) {
        if (r->slots[i].view != NULL)
            r->slots[i].view->unconfirmed = r->head;
    }
}

void replica_apply(struct replica *r, struct note *n)
{
    switch ((enum note_kind)n->kind) {
    case NOTE_UPSTREAM:
        r->deaf = false; /* that is in the answer too, should memory for the other be out */
        r->upstream = n->arg != UPSTREAM_DOWN;
        if (!r->upstream)
            r->outage = n->seq;
        if (n->arg == UPSTREAM_UP)
            wait_for_the_rest(r);
        else
            set_all_live(r, n->arg == UPSTREAM_ALL);
        break;
    case NOTE_TIMELINE: /* the first part of the answer */
        r->deaf = false;
        r->timeline = *(const struct timeline *)n->ref;
        note_release(n);
        break;
    case NOTE_EVICT:
        if (!defer(r, n))
            apply_to_view(r, n);
        break;
    default:
        apply_to_view(r, n);
        break;
    }
    if (r->unanswered <= REPLICA_UNANSWERED / 2 && !list_empty(&r->outgoing))
        replica_pump(r);
}
