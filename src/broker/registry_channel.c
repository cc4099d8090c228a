#include <stdlib.h>

#include "registry_internal.h"
#include "tickerd/base/err.h"

enum { CHANNEL_COST = sizeof(struct channel) + 96 /* name, map slot, allocator */ };

/* What a reload does at once. */
enum { RELOAD_CHANNELS = 1024, RELOAD_EVICTIONS = 4096 };

/* Whether the log says anything that a new one would not. */
static bool remembers(const struct channel *c)
{
    const struct ring *ring = &c->log.ring;
    if (ring_frames(ring) > 0 || ring->holes > 1)
        return true;
    return ring->holes == 1 &&
           (ring_at(ring, 0)->u.hole->evicted_seq > 0 || ring_at(ring, 0)->u.hole->never_kept);
}

/* Names that clients made up do not count: they are bounded by the clients, and must not push out
 * the histories of others. */
static uint64_t cost_of(const struct channel *c)
{
    return remembers(c) ? CHANNEL_COST + c->name->len + chanlog_cost(&c->log) : 0;
}

void channel_recount(struct registry *r, struct channel *c)
{
    uint64_t cost = cost_of(c);
    r->cost = r->cost - c->counted + cost;
    c->counted = cost;
    r->events = r->events - c->events + ring_frames(&c->log.ring);
    c->events = ring_frames(&c->log.ring);
    uint64_t each = sizeof(struct edge) + c->log.ring.count * sizeof(struct entry);
    uint64_t merged = c->patterns * each;
    r->merged = r->merged - c->merged + merged;
    c->merged = merged;
}

void channel_touch(struct registry *r, struct channel *c)
{
    channel_recount(r, c);
    list_remove(&c->lru);
    list_push(list_empty(&c->edges) ? &r->idle : &r->used, &c->lru);
}

void channel_destroy(struct registry *r, struct channel *c)
{
    (void)strmap_del(&r->channels, c->name->bytes, c->name->len);
    r->cost -= c->counted;
    r->events -= c->events;
    r->merged -= c->merged;
    list_remove(&c->lru);
    channel_walks_leave(r, c);
    list_remove(&c->sweep);
    chanlog_finish(&c->log);
    name_unref(c->name);
    free(c);
}

/* What stubs have been dropped for counts in both modes: a subscription that has been there all the
 * time does not bring them back. */
bool registry_confession(struct registry *r, bool pattern, const struct name *topic, uint64_t *seq,
                         enum gap_reason *reason)
{
    *seq = 0;
    if (r->upstream.mode == REDIS_MODE_ON_DEMAND) {
        *seq = upstream_since(&r->upstream, pattern, topic->bytes, topic->len);
        *reason = GAP_UNSUBSCRIBED;
        if (*seq == 0)
            *seq = hubclock_next(&r->clock);
    }
    if (r->watermark > *seq) {
        *seq = r->watermark;
        *reason = GAP_EVICTED;
    }
    return *seq > 0;
}

static int confess(struct registry *r, struct channel *c)
{
    uint64_t seq;
    enum gap_reason reason;
    if (!registry_confession(r, false, c->name, &seq, &reason))
        return ERR_OK;
    return ring_push_hole(&c->log.ring, seq, c->name, reason);
}

/* A channel with an empty log, known to the registry by its name only. NULL: there is one, or
 * memory is out. */
static struct channel *make(struct registry *r, const char *name, size_t len)
{
    struct channel *c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    chanlog_init(&c->log);
    list_init(&c->edges);
    list_init(&c->lru);
    list_init(&c->sweep);
    c->name = name_create(name, len);
    if (c->name == NULL) {
        free(c);
        return NULL;
    }
    c->rule = config_rule(r->config, name, len);
    c->reloads = r->reloads;
    if (strmap_put(&r->channels, c->name->bytes, len, c) == ERR_OK)
        return c;
    name_unref(c->name);
    free(c);
    return NULL;
}

struct channel *channel_get(struct registry *r, const char *name, size_t len)
{
    struct channel *c = strmap_get(&r->channels, name, len);
    if (c != NULL)
        return c;
    c = make(r, name, len);
    if (c == NULL)
        return NULL;
    if (confess(r, c) != ERR_OK || interests_join(r, c) != ERR_OK) {
        channel_destroy(r, c);
        return NULL;
    }
    list_push(&r->sweep, &c->sweep);
    channel_touch(r, c);
    return c;
}

int channel_restore(struct registry *r, const char *name, size_t len, struct channel **out)
{
    if (strmap_get(&r->channels, name, len) != NULL)
        return ERR_EXISTS;
    *out = make(r, name, len);
    if (*out == NULL)
        return ERR_NOMEM;
    list_push(&r->sweep, &(*out)->sweep);
    return ERR_OK;
}

bool channel_remembers(const struct channel *c)
{
    return remembers(c);
}

static void tell(struct registry *r, const struct channel *c, const struct note *what)
{
    list_each(&c->edges, it) {
        const struct interest *i = container_of(it, struct edge, of_channel)->interest;
        struct note n = *what;
        n.view = i->view;
        n.gen = i->gen;
        if (n.kind == NOTE_HOLE)
            n.ref = name_ref(c->name);
        registry_post(r, i->worker, &n);
    }
}

void channel_evicted(void *ctx, uint64_t seq)
{
    const struct evicting *e = ctx;
    metrics_add(e->r->metrics, METRIC_EVICTED, 1);
    tell(e->r, e->c, &(struct note){.kind = NOTE_EVICT, .seq = seq});
}

void channel_hole(struct registry *r, struct channel *c, enum gap_reason reason)
{
    uint64_t seq = hubclock_next(&r->clock);
    if (ring_push_hole(&c->log.ring, seq, c->name, reason) != ERR_OK) {
        metrics_add(r->metrics, METRIC_OUT_OF_MEMORY, 1);
        registry_mark(r, GAP_EVICTED, seq); /* better for all than not at all */
        return;
    }
    channel_recount(r, c);
    tell(r, c, &(struct note){.kind = NOTE_HOLE, .seq = seq, .arg = (uint8_t)reason});
}

void channel_obey(struct registry *r, struct channel *c)
{
    struct evicting e = {r, c};
    chanlog_follow(&c->log, c->rule->slow);
    chanlog_fit(&c->log, &c->rule->history, hubclock_now(&r->clock), channel_evicted, &e);
}

void channel_renew(struct registry *r, struct channel *c)
{
    if (c->reloads == r->reloads)
        return;
    c->rule = config_rule(r->config, c->name->bytes, c->name->len);
    c->reloads = r->reloads;
    channel_obey(r, c);
    channel_recount(r, c);
}

void channel_expire(struct registry *r, struct channel *c)
{
    channel_renew(r, c);
    struct evicting e = {r, c};
    chanlog_expire(&c->log, &c->rule->history, hubclock_now(&r->clock), channel_evicted, &e);
    channel_recount(r, c);
}

void channels_sweep(struct registry *r, size_t channels, uint64_t evictions)
{
    uint64_t before = metrics_get(r->metrics, METRIC_EVICTED);
    size_t left = channels < registry_channels(r) ? channels : registry_channels(r);
    for (; left > 0 && metrics_get(r->metrics, METRIC_EVICTED) - before < evictions; left--) {
        struct channel *c = container_of(list_first(&r->sweep), struct channel, sweep);
        list_remove(&c->sweep);
        list_push(&r->sweep, &c->sweep);
        channel_expire(r, c);
    }
}

/* A million channels and their rules would keep the hub for seconds, and evictions fill inboxes. So
 * only some are done now, the others when they are next used or their turn comes in registry_tick.
 * Until then they have a pointer into the old configuration, which nobody follows. */
void registry_reload(struct registry *r, const struct config *config)
{
    r->config = config;
    r->reloads++;
    channels_sweep(r, RELOAD_CHANNELS, RELOAD_EVICTIONS);
    registry_enforce_total(r);
}

/* Without a log, a past or anybody who waits, a channel's record says nothing. */
void channel_drop_if_empty(struct registry *r, struct channel *c)
{
    /* In mode on-demand what covers a channel also says since when it is complete. */
    bool nothing_known = !remembers(c) && ring_head(&c->log.ring) <= r->watermark;
    bool never_listened = r->upstream.mode == REDIS_MODE_ON_DEMAND && r->live &&
                          !upstream_covers(&r->upstream, c->name->bytes, c->name->len);
    if (list_empty(&c->edges) && (nothing_known || never_listened))
        channel_destroy(r, c);
}

/* Drop a log that has been evicted to its stub. What it remembered goes into the watermark. */
static void drop_stub(struct registry *r, struct channel *c)
{
    uint64_t newest = ring_head(&c->log.ring);
    if (remembers(c) && newest > r->watermark)
        r->watermark = newest;
    channel_destroy(r, c);
}

/* Returns how much came free, what other forms of the event hold included; 0: nothing can. */
static uint64_t relieve(struct registry *r, struct channel *c)
{
    struct evicting e = {r, c};
    uint64_t cost = r->cost, frames = c->log.cost;
    size_t freed = chanlog_evict(&c->log, hubclock_now(&r->clock), channel_evicted, &e);
    if (freed > 0) {
        uint64_t forms = freed - (frames - c->log.cost);
        channel_recount(r, c); /* the hole in its place costs, too */
        freed = forms + (cost > r->cost ? cost - r->cost : 0);
    } else if (!list_empty(&c->edges)) {
        return 0;
    } else {
        drop_stub(r, c);
        freed = cost - r->cost;
    }
    return freed > 0 ? freed : 1; /* nothing came free, but there is one less to look at */
}

/* The channel to give way: one that nobody listens to, else the least recently used of the others
 * that still keeps an event. The newest event of all stays: else a limit that the bare records
 * exceed would let nothing through any more. */
static struct channel *victim(const struct registry *r)
{
    struct link *it = list_first(&r->idle);
    if (it != NULL)
        return container_of(it, struct channel, lru);
    while ((it = list_first(&r->used)) != NULL) {
        struct channel *c = container_of(it, struct channel, lru);
        uint32_t frames = ring_frames(&c->log.ring);
        if (frames > 0)
            return frames == 1 && it->next == &r->used ? NULL : c;
        list_remove(it); /* nothing to be had here until its next event */
    }
    return NULL;
}

void registry_enforce_total(struct registry *r)
{
    uint64_t extra = atomic_load_explicit(&r->stats->extra_bytes, memory_order_relaxed);
    uint64_t limit = r->config->history_total_bytes;
    if (r->cost + extra <= limit)
        return;
    uint64_t excess = r->cost + extra - limit;
    while (excess > 0) {
        struct channel *c = victim(r);
        uint64_t freed = c == NULL ? 0 : relieve(r, c);
        if (freed == 0)
            return;
        excess -= freed < excess ? freed : excess;
    }
}
