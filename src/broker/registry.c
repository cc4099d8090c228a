#include "tickerd/broker/registry.h"

#include <stdlib.h>
#include <string.h>

#include "registry_internal.h"
#include "tickerd/base/err.h"
#include "tickerd/base/log.h"
#include "tickerd/base/plant.h"

enum { SWEEP_MIN = 256, SWEEP_SHARE = 16 };

int registry_init(struct registry *r, const struct config *config, uint32_t workers,
                  struct source *source, const struct hubclock *clock, struct metrics *metrics,
                  struct frame_stats *stats)
{
    memset(r, 0, sizeof *r);
    r->clock = *clock;
    r->config = config;
    r->metrics = metrics;
    r->stats = stats;
    strmap_init(&r->channels);
    strmap_init(&r->heads);
    list_init(&r->idle);
    list_init(&r->used);
    list_init(&r->sweep);
    list_init(&r->walks);
    ring_init(&r->marks);
    r->marks.distinct = true;
    r->worker_count = workers;
    r->workers = calloc(workers, sizeof *r->workers);
    if (r->workers == NULL || upstream_init(&r->upstream, source, config) != ERR_OK) {
        free(r->workers);
        return ERR_NOMEM;
    }
    /* Whoever comes with an id from before this run may have missed something. */
    if (ring_push_mark(&r->marks, hubclock_next(&r->clock), GAP_RESTART, 0) != ERR_OK) {
        registry_finish(r);
        return ERR_NOMEM;
    }
    return ERR_OK;
}

void registry_finish(struct registry *r)
{
    /* First, so that what is dropped below does not call the source: that is closed by now. */
    upstream_finish(&r->upstream);
    for (uint32_t w = 0; w < r->worker_count; w++) {
        for (uint32_t v = 0; v < r->workers[w].size; v++)
            interest_drop(r, w, v);
        free(r->workers[w].interests);
    }
    registry_forget_commands(r);
    free(r->workers);
    size_t pos = 0;
    struct channel *c;
    while ((c = strmap_next(&r->channels, &pos)) != NULL) {
        chanlog_finish(&c->log);
        name_unref(c->name);
        free(c);
    }
    strmap_finish(&r->channels);
    strmap_finish(&r->heads);
    ring_finish(&r->marks);
    buf_finish(&r->scratch);
    buf_finish(&r->block);
}

bool registry_try(struct registry *r, uint32_t worker, struct note *n)
{
    struct registry_worker *w = &r->workers[worker];
    if (!w->stopped && r->post(r->ctx, worker, n))
        return true;
    if (!w->stopped)
        metrics_add(r->metrics, METRIC_STALE, 1);
    w->stopped = true;
    return false;
}

void registry_post(struct registry *r, uint32_t worker, struct note *n)
{
    if (!registry_try(r, worker, n))
        note_release(n);
}

size_t registry_channels(const struct registry *r)
{
    return strmap_count(&r->channels);
}

void registry_mark(struct registry *r, enum gap_reason reason, uint64_t first)
{
    uint64_t seq = hubclock_next(&r->clock);
    if (reason == GAP_UPSTREAM && plant_strikes(PLANT_UPSTREAM))
        return;
    if (ring_push_mark(&r->marks, seq, reason, first) != ERR_OK) {
        metrics_add(r->metrics, METRIC_OUT_OF_MEMORY, 1);
        ring_stretch_mark(&r->marks, seq); /* there is one: that of the start */
    }
    for (uint32_t w = 0; w < r->worker_count; w++) {
        const struct registry_worker *at = &r->workers[w];
        const struct interest *i = at->size > VIEW_MARKS ? at->interests[VIEW_MARKS] : NULL;
        if (i == NULL)
            continue;
        struct note n = {.kind = NOTE_MARK,
                         .arg = (uint8_t)reason,
                         .view = VIEW_MARKS,
                         .gen = i->gen,
                         .seq = seq,
                         .first = first};
        registry_post(r, w, &n);
    }
}

/* ---- messages -------------------------------------------------------------------------------- */

static struct frame *encode(struct registry *r, struct channel *c, uint64_t seq, uint32_t fp,
                            const char *payload, size_t len)
{
    struct envelope env;
    envelope_parse(&env, c->rule->payload, payload, len, &r->scratch);
    char own_id[EVENTID_LEN];
    struct eventid id = timeline_id(&r->clock.line, seq, fp);
    eventid_format(own_id, &id);
    struct sse_event event = {.data = env.data,
                              .data_len = env.data_len,
                              .event = env.event,
                              .event_len = env.event_len,
                              .id = env.id != NULL ? env.id : own_id,
                              .id_len = env.id != NULL ? env.id_len : sizeof own_id,
                              .retry_ms = env.retry_ms};
    size_t repaired = 0;
    struct frame *f = frame_create(&event, c->name, &r->block, &repaired);
    if (repaired > 0)
        metrics_add(r->metrics, METRIC_REPAIRED, repaired);
    if (f != NULL) {
        f->seq = seq;
        f->fp = fp;
        f->publisher_id = env.id != NULL;
        frame_set_slow(f, c->rule->slow);
    }
    return f;
}

/* Newest first to the workers, then the evictions it caused: a view never holds less than the log
 * has kept. */
static void deliver(struct registry *r, struct channel *c, struct frame *f)
{
    list_each(&c->edges, it) {
        const struct interest *i = container_of(it, struct edge, of_channel)->interest;
        struct note n = {.kind = NOTE_FRAME, .view = i->view, .gen = i->gen, .ref = frame_ref(f)};
        registry_post(r, i->worker, &n);
    }
}

static void append(struct registry *r, struct channel *c, const char *payload, size_t len,
                   uint32_t fp)
{
    struct frame *f = encode(r, c, hubclock_next(&r->clock), fp, payload, len);
    struct evicting e = {r, c};
    struct frame *before = c->rule->slow == SLOW_LATEST ? ring_newest(&c->log.ring) : NULL;
    if (f != NULL && before != NULL)
        frame_supersede(before);
    if (f != NULL)
        deliver(r, c, f);
    if (f == NULL || chanlog_append(&c->log, f, &c->rule->history, channel_evicted, &e) != ERR_OK) {
        frame_unref(f);
        metrics_add(r->metrics, METRIC_OUT_OF_MEMORY, 1);
        log_error("out of memory: a message was dropped and is announced as a gap");
        channel_hole(r, c, GAP_EVICTED);
    }
    channel_touch(r, c);
    registry_enforce_total(r);
}

static void oversize(struct registry *r, struct channel *c, size_t len)
{
    metrics_add(r->metrics, METRIC_OVERSIZE, 1);
    log_warn("channel %.*s: a message of %zu bytes is above limits.message_bytes (%llu) and is "
             "announced as a gap",
             (int)c->name->len, c->name->bytes, len,
             (unsigned long long)r->config->limits.message_bytes);
    channel_hole(r, c, GAP_OVERSIZE);
    channel_touch(r, c);
}

static bool usable(const struct registry *r, const char *name, size_t len)
{
    if (strmap_get(&r->channels, name, len) != NULL)
        return true;
    return topic_valid(name, len) && !topic_reserved(name, len);
}

void registry_message(struct registry *r, const char *pattern, size_t pattern_len,
                      const char *channel, size_t channel_len, const char *payload,
                      size_t payload_len)
{
    /* The source is coming back, and not everything is subscribed to again. What it brings now
     * would lie before what is still being lost, and give clients ids beyond it. */
    if (!r->live)
        return;
    size_t len = 0;
    const char *name =
        upstream_accept(&r->upstream, pattern, pattern_len, channel, channel_len, &len);
    if (name == NULL)
        return;
    metrics_add(r->metrics, METRIC_MESSAGES, 1);
    metrics_add(r->metrics, METRIC_MESSAGE_BYTES, payload_len);
    if (!usable(r, name, len)) {
        metrics_add(r->metrics, METRIC_IGNORED_NAMES, 1);
        return;
    }
    if (plant_strikes(PLANT_NEEDLESS))
        registry_mark(r, GAP_UPSTREAM, hubclock_now(&r->clock) + 1);
    struct channel *c = channel_get(r, name, len);
    if (c == NULL) {
        metrics_add(r->metrics, METRIC_OUT_OF_MEMORY, 1);
        registry_mark(r, GAP_EVICTED, hubclock_now(&r->clock) + 1); /* nowhere else to note it */
        return;
    }
    channel_renew(r, c);
    traffic_count(&c->traffic, hubclock_now(&r->clock), payload_len);
    if (payload_len > r->config->limits.message_bytes)
        oversize(r, c, payload_len);
    else
        append(r, c, payload, payload_len,
               eventid_fingerprint(channel, channel_len, payload, payload_len));
    r->heard = hubclock_now(&r->clock);
}

/* ---- the source ------------------------------------------------------------------------------ */

/* Whether an acknowledgement concerns this channel, or the patterns with this literal head. */
static bool concerns(const struct upstream_topic *t, const char *name, size_t len)
{
    return (t->pattern ? len >= t->len : len == t->len) && memcmp(name, t->name, t->len) == 0;
}

/* The next channel that an acknowledgement concerns; *pos begins with 0. */
static struct channel *next_concerned(struct registry *r, const struct upstream_topic *t,
                                      size_t *pos)
{
    struct channel *c;
    if (!t->pattern)
        return (*pos)++ == 0 ? strmap_get(&r->channels, t->name, t->len) : NULL;
    while ((c = strmap_next(&r->channels, pos)) != NULL) {
        if (concerns(t, c->name->bytes, c->name->len))
            return c;
    }
    return NULL;
}

/* Channels that nothing covers any more are forgotten: what they would miss from now on makes
 * their histories worthless. Those with an interest stay, to be told when they are covered again.
 */
static void forget_uncovered(struct registry *r, const struct upstream_topic *t)
{
    if (!t->pattern) {
        struct channel *c = strmap_get(&r->channels, t->name, t->len);
        if (c != NULL)
            channel_drop_if_empty(r, c);
        return;
    }
    list_each(&r->idle, it) {
        struct channel *c = container_of(it, struct channel, lru);
        if (concerns(t, c->name->bytes, c->name->len))
            channel_drop_if_empty(r, c);
    }
}

/* A hole in the views of all patterns under this one whose clients may have started without
 * waiting any longer. */
static void confess_to_patterns(struct registry *r, const struct upstream_topic *t)
{
    size_t pos = 0;
    const struct head *h;
    uint64_t now = hubclock_next(&r->clock);
    while (t->pattern && (h = strmap_next(&r->heads, &pos)) != NULL) {
        if (!concerns(t, h->bytes, h->len))
            continue;
        list_each(&h->interests, it) {
            const struct interest *i = container_of(it, struct interest, at_head);
            struct note n = {
                .kind = NOTE_HOLE, .arg = GAP_UPSTREAM, .view = i->view, .gen = i->gen, .seq = now};
            if (!i->live)
                registry_post(r, i->worker, &n);
        }
    }
}

/* A subscription is about to count: what nothing has covered until now may have missed something.
 * The channel may be covered by a pattern, and a pattern by a shorter one. */
static void confess_late(struct registry *r, const struct upstream_topic *t)
{
    confess_to_patterns(r, t);
    size_t pos = 0;
    struct channel *c;
    while ((c = next_concerned(r, t, &pos)) != NULL) {
        if (!upstream_covers(&r->upstream, c->name->bytes, c->name->len))
            channel_hole(r, c, GAP_UPSTREAM);
    }
}

/* Tell whom a subscription that begins or ends leaves with another answer. */
static void refresh_concerned(struct registry *r, const struct upstream_topic *t)
{
    size_t pos = 0;
    struct channel *c;
    while ((c = next_concerned(r, t, &pos)) != NULL) {
        list_each(&c->edges, it) {
            interest_refresh(r, container_of(it, struct edge, of_channel)->interest);
        }
    }
    const struct head *h;
    pos = 0;
    while (t->pattern && (h = strmap_next(&r->heads, &pos)) != NULL) {
        list_each(&h->interests, it) {
            if (concerns(t, h->bytes, h->len))
                interest_refresh(r, container_of(it, struct interest, at_head));
        }
    }
}

static void broadcast(struct registry *r, const struct note *what)
{
    for (uint32_t w = 0; w < r->worker_count; w++) {
        struct note n = *what;
        registry_post(r, w, &n);
    }
}

static void send_timeline(struct registry *r, uint32_t worker)
{
    struct timeline *copy = malloc(sizeof *copy);
    if (copy == NULL)
        return;
    *copy = r->clock.line;
    struct note n = {.kind = NOTE_TIMELINE, .ref = copy};
    registry_post(r, worker, &n);
}

void registry_timeline(struct registry *r)
{
    for (uint32_t w = 0; w < r->worker_count; w++)
        send_timeline(r, w);
}

static void refresh_all(struct registry *r, bool tell)
{
    for (uint32_t w = 0; w < r->worker_count; w++) {
        for (uint32_t v = 0; v < r->workers[w].size; v++) {
            struct interest *i = r->workers[w].interests[v];
            if (i != NULL && tell)
                interest_refresh(r, i);
            else if (i != NULL)
                i->live = true;
        }
    }
}

static void go_live(struct registry *r)
{
    r->live = true;
    if (r->upstream.mode == REDIS_MODE_ON_DEMAND) { /* what was given up while it was away */
        list_each(&r->idle, it) {
            channel_drop_if_empty(r, container_of(it, struct channel, lru));
        }
    }
    /* One for each outage, before the first thing that follows it. */
    registry_mark(r, GAP_UPSTREAM, r->outage + 1);
    r->upstream.resumed = false;
    bool all = r->upstream.mode == REDIS_MODE_ALL;
    broadcast(r, &(struct note){.kind = NOTE_UPSTREAM, .arg = all ? UPSTREAM_ALL : UPSTREAM_UP});
    refresh_all(r, !all);
}

/* Connected is not yet live in mode `all`, where everything hangs on one subscription that the
 * server may have refused. */
static void go_live_if_covered(struct registry *r)
{
    bool all = r->upstream.mode == REDIS_MODE_ALL;
    if (r->connected && !r->live && (!all || upstream_covers(&r->upstream, "", 0)))
        go_live(r);
}

void registry_acked(struct registry *r, enum source_sub kind, const char *name, size_t len, bool on)
{
    struct upstream_topic t;
    if (!upstream_find(&r->upstream, kind, name, len, &t))
        return;
    uint64_t now = hubclock_next(&r->clock); /* before what is confessed: that is told already */
    /* While the source is coming back, the mark that will stand behind says all there is to say. */
    if (on && r->live)
        confess_late(r, &t);
    (void)upstream_acked(&r->upstream, kind, name, len, on, now, &t);
    if (!on)
        forget_uncovered(r, &t);
    if (r->live)
        refresh_concerned(r, &t);
    upstream_reap(&r->upstream, &t);
    go_live_if_covered(r);
}

void registry_up(struct registry *r)
{
    r->connected = true;
    if (r->clock.line.many_orders != r->upstream.source->many_orders) {
        r->clock.line.many_orders = r->upstream.source->many_orders;
        registry_timeline(r); /* before anybody hears that the upstream is live */
    }
    go_live_if_covered(r);
}

void registry_down(struct registry *r)
{
    /* What was not confirmed until now may have missed something already, before the last events
     * of other channels; the mark of this outage will stand behind those. */
    if (r->live && r->upstream.mode == REDIS_MODE_ON_DEMAND)
        confess_late(r, &(const struct upstream_topic){.pattern = true, .name = ""});
    if (r->live)
        r->outage = r->heard;
    r->connected = r->live = false;
    metrics_add(r->metrics, METRIC_OUTAGES, 1);
    upstream_down(&r->upstream);
    for (uint32_t w = 0; w < r->worker_count; w++) {
        for (uint32_t v = 0; v < r->workers[w].size; v++) {
            if (r->workers[w].interests[v] != NULL)
                r->workers[w].interests[v]->live = false;
        }
    }
    broadcast(r, &(struct note){.kind = NOTE_UPSTREAM, .arg = UPSTREAM_DOWN, .seq = r->outage});
}

/* ---- workers --------------------------------------------------------------------------------- */

/* What a worker must know before it can make sense of its views. */
static void greet(struct registry *r, uint32_t worker)
{
    send_timeline(r, worker);
    struct note up = {
        .kind = NOTE_UPSTREAM, .arg = r->live ? UPSTREAM_UP : UPSTREAM_DOWN, .seq = r->outage};
    registry_post(r, worker, &up);
}

void registry_start(struct registry *r)
{
    for (uint32_t w = 0; w < r->worker_count; w++)
        greet(r, w);
}

void registry_request(struct registry *r, uint32_t worker, struct note *n)
{
    switch ((enum note_kind)n->kind) {
    case NOTE_INTEREST:
        interest_take(r, worker, n);
        break;
    case NOTE_DROP:
        interest_drop(r, worker, n->view);
        break;
    case NOTE_RESYNC:
        r->workers[worker].stopped = false;
        greet(r, worker);
        registry_repeat_commands(r, worker);
        break;
    default:
        break;
    }
    note_release(n);
}

void registry_tick(struct registry *r)
{
    upstream_tick(&r->upstream, hubclock_now(&r->clock));
    interests_shed(r);
    channels_sweep(r, SWEEP_MIN + registry_channels(r) / SWEEP_SHARE, UINT64_MAX);
    registry_enforce_total(r);
}
