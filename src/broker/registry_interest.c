#include <stdlib.h>
#include <string.h>

#include "registry_internal.h"
#include "tickerd/base/err.h"
#include "tickerd/base/log.h"

enum { MERGED_MIN = 16 * 1024 * 1024 };

/* Merged views may cost as much again as all histories together. */
static bool too_much_merged(const struct registry *r)
{
    uint64_t limit = r->config->history_total_bytes;
    return r->merged > (limit > MERGED_MIN ? limit : MERGED_MIN);
}

static void edge_destroy(struct edge *e)
{
    e->channel->patterns -= e->interest->pattern ? 1 : 0;
    e->interest->edge_count--;
    list_remove(&e->of_channel);
    list_remove(&e->of_interest);
    free(e);
}

static int edge_create(struct channel *c, struct interest *i)
{
    struct edge *e = malloc(sizeof *e);
    if (e == NULL)
        return ERR_NOMEM;
    *e = (struct edge){.channel = c, .interest = i};
    list_push(&c->edges, &e->of_channel);
    list_push(&i->edges, &e->of_interest);
    c->patterns += i->pattern ? 1 : 0;
    i->edge_count++;
    return ERR_OK;
}

/* ---- patterns, found by their literal head --------------------------------------------------- */

static int head_add(struct registry *r, struct interest *i)
{
    char text[TOPIC_MAX];
    size_t len = glob_head(i->topic->bytes, i->topic->len, text, NULL);
    struct head *h = strmap_get(&r->heads, text, len);
    if (h == NULL) {
        h = malloc(sizeof *h + len);
        if (h == NULL)
            return ERR_NOMEM;
        list_init(&h->interests);
        h->len = len;
        memcpy(h->bytes, text, len);
        if (strmap_put(&r->heads, h->bytes, len, h) != ERR_OK) {
            free(h);
            return ERR_NOMEM;
        }
        r->head_lengths[len]++;
    }
    list_push(&h->interests, &i->at_head);
    return ERR_OK;
}

static void head_remove(struct registry *r, struct interest *i)
{
    if (list_empty(&i->at_head))
        return;
    char text[TOPIC_MAX];
    size_t len = glob_head(i->topic->bytes, i->topic->len, text, NULL);
    struct head *h = strmap_get(&r->heads, text, len);
    list_remove(&i->at_head);
    if (h == NULL || !list_empty(&h->interests))
        return;
    (void)strmap_del(&r->heads, h->bytes, h->len);
    r->head_lengths[h->len]--;
    free(h);
}

static bool matches(const struct interest *i, const struct name *name)
{
    return glob_matches(i->glob, name->bytes, name->len);
}

static void leave_all(struct channel *c)
{
    list_each(&c->edges, it) {
        edge_destroy(container_of(it, struct edge, of_channel));
    }
}

int interests_join(struct registry *r, struct channel *c)
{
    for (size_t n = 0; n <= c->name->len && n <= TOPIC_MAX; n++) {
        if (r->head_lengths[n] == 0)
            continue;
        struct head *h = strmap_get(&r->heads, c->name->bytes, n);
        if (h == NULL)
            continue;
        list_each(&h->interests, it) {
            struct interest *i = container_of(it, struct interest, at_head);
            if (matches(i, c->name) && edge_create(c, i) != ERR_OK) {
                leave_all(c);
                return ERR_NOMEM;
            }
        }
    }
    return ERR_OK;
}

/* ---- interests ------------------------------------------------------------------------------- */

static bool covered(const struct registry *r, const struct interest *i)
{
    if (!r->live)
        return false;
    if (r->upstream.mode == REDIS_MODE_ALL || i->view == VIEW_MARKS)
        return upstream_covers(&r->upstream, "", 0);
    if (i->pattern)
        return upstream_covers_pattern(&r->upstream, i->topic->bytes, i->topic->len);
    return upstream_covers(&r->upstream, i->topic->bytes, i->topic->len);
}

void interest_refresh(struct registry *r, struct interest *i)
{
    bool live = covered(r, i);
    if (live == i->live)
        return;
    i->live = live;
    struct note n = {.kind = NOTE_LIVE, .arg = live, .view = i->view, .gen = i->gen};
    registry_post(r, i->worker, &n);
}

static struct interest **slot(struct registry *r, uint32_t worker, uint32_t view)
{
    struct registry_worker *w = &r->workers[worker];
    if (view >= w->size) {
        uint32_t size = w->size == 0 ? 16 : w->size;
        while (size <= view)
            size *= 2;
        struct interest **more = realloc(w->interests, size * sizeof(struct interest *));
        if (more == NULL)
            return NULL;
        memset(more + w->size, 0, (size - w->size) * sizeof(struct interest *));
        w->interests = more;
        w->size = size;
    }
    return &w->interests[view];
}

static struct interest *detach(struct registry *r, uint32_t worker, uint32_t view)
{
    struct registry_worker *w = &r->workers[worker];
    struct interest *i = view < w->size ? w->interests[view] : NULL;
    if (i != NULL)
        w->interests[view] = NULL;
    return i;
}

static void interest_destroy(struct registry *r, struct interest *i)
{
    if (i == NULL)
        return;
    head_remove(r, i);
    list_each(&i->edges, it) {
        struct edge *e = container_of(it, struct edge, of_interest);
        struct channel *c = e->channel;
        edge_destroy(e);
        if (list_empty(&c->edges)) {
            channel_touch(r, c);
            channel_drop_if_empty(r, c);
        } else {
            channel_recount(r, c);
        }
    }
    if (i->view != VIEW_MARKS)
        upstream_unwant(&r->upstream, i->pattern, i->topic->bytes, i->topic->len,
                        hubclock_now(&r->clock));
    name_unref(i->topic);
    glob_destroy(i->glob);
    free(i);
}

void interest_drop(struct registry *r, uint32_t worker, uint32_t view)
{
    interest_destroy(r, detach(r, worker, view));
}

static int link_channel(struct registry *r, struct interest *i)
{
    struct channel *c = channel_get(r, i->topic->bytes, i->topic->len);
    if (c == NULL)
        return ERR_NOMEM;
    channel_expire(r, c); /* before it is told of evictions */
    if (edge_create(c, i) != ERR_OK)
        return ERR_NOMEM;
    channel_touch(r, c);
    return ERR_OK;
}

static int link_pattern(struct registry *r, struct interest *i)
{
    if (head_add(r, i) != ERR_OK)
        return ERR_NOMEM;
    size_t pos = 0;
    struct channel *c;
    while ((c = strmap_next(&r->channels, &pos)) != NULL) {
        if (!matches(i, c->name))
            continue;
        channel_expire(r, c);
        if (edge_create(c, i) != ERR_OK)
            return ERR_NOMEM;
        channel_touch(r, c);
        if (too_much_merged(r))
            return ERR_RANGE;
    }
    return ERR_OK;
}

/* ---- the answer: the log so far -------------------------------------------------------------- */

static struct snapshot *snapshot_alloc(struct registry *r, size_t entries)
{
    struct snapshot *s = malloc(sizeof *s + entries * sizeof s->entries[0]);
    if (s != NULL)
        *s = (struct snapshot){.head = hubclock_now(&r->clock), .count = 0};
    return s;
}

static int snapshot_add(struct snapshot *s, const struct ring *ring)
{
    int err = ring_copy(ring, s->entries + s->count);
    if (err == ERR_OK)
        s->count += ring->count;
    return err;
}

/* What a pattern must confess beyond what its channels' own logs do. */
static int confess_pattern(struct registry *r, const struct interest *i, struct ring *out)
{
    uint64_t seq;
    enum gap_reason reason;
    if (!registry_confession(r, true, i->topic, &seq, &reason))
        return ERR_OK;
    return ring_push_hole(out, seq, NULL, reason);
}

static struct snapshot *snapshot_pattern(struct registry *r, struct interest *i)
{
    struct ring own;
    ring_init(&own);
    bool ok = confess_pattern(r, i, &own) == ERR_OK;
    size_t total = own.count;
    list_each(&i->edges, it) {
        const struct channel *c = container_of(it, struct edge, of_interest)->channel;
        total += c->log.ring.count;
    }
    struct snapshot *s = snapshot_alloc(r, total);
    ok = ok && s != NULL && snapshot_add(s, &own) == ERR_OK;
    list_each(&i->edges, it) {
        struct channel *c = container_of(it, struct edge, of_interest)->channel;
        ok = ok && snapshot_add(s, &c->log.ring) == ERR_OK;
    }
    ring_finish(&own);
    if (!ok) {
        struct note n = {.kind = NOTE_RESET, .ref = s};
        note_release(&n);
        return NULL;
    }
    return s; /* the worker sorts it: the hub has others to serve */
}

static struct snapshot *snapshot_ring(struct registry *r, const struct ring *ring)
{
    struct snapshot *s = snapshot_alloc(r, ring->count);
    if (s != NULL && snapshot_add(s, ring) != ERR_OK) {
        free(s);
        s = NULL;
    }
    return s;
}

static struct snapshot *snapshot_of(struct registry *r, struct interest *i)
{
    if (i->view == VIEW_MARKS)
        return snapshot_ring(r, &r->marks);
    if (i->pattern)
        return snapshot_pattern(r, i);
    struct channel *c = container_of(list_first(&i->edges), struct edge, of_interest)->channel;
    return snapshot_ring(r, &c->log.ring);
}

static struct interest *interest_create(struct registry *r, uint32_t worker, const struct note *n)
{
    struct name *topic = n->ref;
    bool pattern = n->arg != 0;
    struct interest *i = calloc(1, sizeof *i);
    struct interest **at = i == NULL ? NULL : slot(r, worker, n->view);
    struct glob *glob = pattern ? glob_compile(topic->bytes, topic->len) : NULL;
    if (at == NULL || (pattern && glob == NULL)) {
        glob_destroy(glob);
        free(i);
        return NULL;
    }
    i->worker = worker;
    i->view = n->view;
    i->gen = n->gen;
    i->pattern = pattern;
    i->glob = glob;
    i->topic = name_ref(topic);
    list_init(&i->edges);
    list_init(&i->at_head);
    *at = i;
    return i;
}

static int link_interest(struct registry *r, struct interest *i)
{
    if (i->view == VIEW_MARKS)
        return ERR_OK;
    return i->pattern ? link_pattern(r, i) : link_channel(r, i);
}

/* Make the interest and the answer to it. Out of memory, the worker gets nothing for this view, and
 * its sessions start after their deadline with what little there is; a later interest tries again.
 */
/* No memory, or no room for another pattern. */
static void refuse(struct registry *r, uint32_t worker, uint32_t view, uint32_t gen)
{
    metrics_add(r->metrics, METRIC_OUT_OF_MEMORY, 1);
    interest_drop(r, worker, view);
    struct note no = {.kind = NOTE_REFUSED, .view = view, .gen = gen};
    registry_post(r, worker, &no);
}

static void take(struct registry *r, uint32_t worker, const struct note *n)
{
    const struct name *topic = n->ref;
    bool pattern = n->arg != 0, marks = n->view == VIEW_MARKS;
    int err = marks ? ERR_OK : upstream_want(&r->upstream, pattern, topic->bytes, topic->len);
    struct interest *i = err == ERR_OK ? interest_create(r, worker, n) : NULL;
    if (err == ERR_OK && i == NULL && !marks)
        upstream_unwant(&r->upstream, pattern, topic->bytes, topic->len, hubclock_now(&r->clock));
    struct snapshot *s = i != NULL && link_interest(r, i) == ERR_OK ? snapshot_of(r, i) : NULL;
    if (s == NULL) {
        refuse(r, worker, n->view, n->gen);
        return;
    }
    i->live = s->live = covered(r, i);
    struct note answer = {.kind = NOTE_RESET, .view = i->view, .gen = i->gen, .ref = s};
    registry_post(r, worker, &answer);
}

void interest_take(struct registry *r, uint32_t worker, const struct note *n)
{
    /* The old one goes last, so that nothing is forgotten or unsubscribed in between. */
    struct interest *old = detach(r, worker, n->view);
    take(r, worker, n);
    interest_destroy(r, old);
}

static struct interest *widest_pattern(const struct registry *r)
{
    struct interest *widest = NULL;
    for (uint32_t w = 0; w < r->worker_count; w++) {
        for (uint32_t v = 0; v < r->workers[w].size; v++) {
            struct interest *i = r->workers[w].interests[v];
            if (i != NULL && i->pattern && (widest == NULL || i->edge_count > widest->edge_count))
                widest = i;
        }
    }
    return widest;
}

void interests_shed(struct registry *r)
{
    struct interest *i = too_much_merged(r) ? widest_pattern(r) : NULL;
    if (i == NULL)
        return;
    log_warn("patterns over too many channels: the clients of %.*s are sent away",
             (int)i->topic->len, i->topic->bytes);
    refuse(r, i->worker, i->view, i->gen);
}
