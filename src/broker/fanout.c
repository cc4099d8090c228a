#include "tickerd/broker/fanout.h"

#include "tickerd/base/clock.h"
#include "tickerd/base/err.h"
#include "tickerd/broker/session.h"

/* How often to look at the clock; the finest time-out is a second. */
enum { TICK_US = 250 * US_PER_MS, DRAIN_TICK_US = 20 * US_PER_MS, AWAY_TICK_US = 2 * US_PER_MS };

/* How many of those who wait for an event are looked at in one turn. */
enum { BEHIND_BATCH = 256 };

/* An unanswered PING may be as old as the one and the other; as much again is for slow loops. */
static uint64_t patience_us(const struct config *c)
{
    return 2 * (c->redis.ping_interval_ms + c->redis.ping_timeout_ms) * US_PER_MS;
}

int fanout_init(struct fanout *f, const struct config *config, struct frame_stats *stats,
                struct metrics *metrics, const struct replica_events *events, void *ctx,
                uint64_t seed)
{
    *f = (struct fanout){.config = config, .stats = stats, .metrics = metrics, .random = seed | 1};
    list_init(&f->waiting);
    list_init(&f->quiet);
    list_init(&f->stalled);
    list_init(&f->all);
    list_init(&f->ready);
    list_init(&f->behind);
    list_init(&f->condemned);
    list_init(&f->walkers);
    f->turn = 1;
    rights_init(&f->rights, config);
    fanout_configure(f, config);
    if (batch_init(&f->batch, stats) != ERR_OK)
        return ERR_NOMEM;
    if (replica_init(&f->replica, events, ctx, patience_us(config)) != ERR_OK) {
        batch_finish(&f->batch);
        return ERR_NOMEM;
    }
    latency_init(&f->latency, &metrics->latency, &f->replica.timeline);
    f->batch.latency = &f->latency;
    recent_gaps_init(&f->gaps);
    return ERR_OK;
}

void fanout_configure(struct fanout *f, const struct config *config)
{
    f->config = config;
    f->replica.patience = patience_us(config);
    f->may_cut = false;
    for (size_t i = 0; i < config->rule_count; i++)
        f->may_cut = f->may_cut || config->rules[i].slow == SLOW_DISCONNECT;
    rights_reload(&f->rights, config);
    batch_invalidate(&f->batch);
}

void fanout_finish(struct fanout *f)
{
    list_each(&f->all, it) {
        session_end(container_of(it, struct session, all), CLOSING_SHUTDOWN, true);
    }
    replica_finish(&f->replica);
    batch_finish(&f->batch);
    rights_finish(&f->rights);
    recent_gaps_finish(&f->gaps);
}

/* xorshift64*: jitter needs to be spread, not secret. */
static uint64_t next_random(struct fanout *f)
{
    f->random ^= f->random >> 12;
    f->random ^= f->random << 25;
    f->random ^= f->random >> 27;
    return f->random * 0x2545f4914f6cdd1dU;
}

uint32_t fanout_retry_ms(struct fanout *f, uint64_t now_us)
{
    uint64_t retry = f->config->stream.retry_ms;
    uint64_t jitter = f->config->stream.retry_jitter_ms;
    uint64_t low = retry > jitter ? retry - jitter : 0;
    uint64_t ms = low + next_random(f) % (retry + jitter - low + 1);
    uint64_t end = f->drain_start_us + f->config->drain_timeout_ms * US_PER_MS;
    if (f->draining)
        ms += (end > now_us ? end - now_us : FANOUT_GRACE_US) / US_PER_MS;
    return (uint32_t)(ms == 0 ? 1 : ms);
}

void fanout_view_ready(struct fanout *f, struct view *v)
{
    list_each(&v->subs, it) {
        struct session *s = container_of(it, struct sub, link)->session;
        if (s->state != SESSION_WAITING || !session_ready(s))
            continue;
        list_remove(&s->timer);
        list_push(&f->ready, &s->timer);
    }
}

static void start_ready(struct fanout *f, uint64_t now_us)
{
    struct link *it;
    while ((it = list_first(&f->ready)) != NULL)
        session_start(container_of(it, struct session, timer), now_us);
}

static void retry_behind(struct fanout *f, uint64_t now_us)
{
    /* Who has to wait on goes to the end of the list: stop at the one that is last now. */
    const struct link *last = f->behind.prev;
    for (int n = 0; n < BEHIND_BATCH && !list_empty(&f->behind); n++) {
        struct link *it = f->behind.next;
        session_start(container_of(it, struct session, timer), now_us);
        if (it == last)
            return;
    }
}

void fanout_flush(struct fanout *f, uint64_t now_us)
{
    struct replica *r = &f->replica;
    f->turn++;
    batch_invalidate(&f->batch);
    latency_turn(&f->latency, now_us);
    start_ready(f, now_us);
    retry_behind(f, now_us);
    if (!list_empty(&r->marks->dirty)) { /* concerns everybody */
        list_remove(&r->marks->dirty);
        list_each(&f->all, it) {
            session_flush(container_of(it, struct session, all), now_us);
        }
    }
    struct link *first;
    while ((first = list_first(&r->dirty)) != NULL) {
        struct view *v = container_of(first, struct view, dirty);
        list_remove(&v->dirty);
        list_each(&v->subs, it) {
            if (v->refused)
                session_leave(container_of(it, struct sub, link)->session, CLOSING_REFUSED, now_us);
            else
                session_flush(container_of(it, struct sub, link)->session, now_us);
        }
    }
    latency_turn_end(&f->latency, &f->batch);
    replica_settle(r);
    batch_invalidate(&f->batch);
}

static void beat(struct fanout *f, uint64_t now_us)
{
    uint64_t after = f->config->stream.heartbeat_ms * US_PER_MS;
    struct link *it;
    while ((it = list_first(&f->quiet)) != NULL) {
        struct session *s = container_of(it, struct session, timer);
        if (now_us - s->since_us < after)
            return;
        session_heartbeat(s, now_us);
    }
}

static void cut_stalled(struct fanout *f, uint64_t now_us)
{
    uint64_t after = f->config->limits.write_timeout_ms * US_PER_MS;
    struct link *it;
    while ((it = list_first(&f->stalled)) != NULL) {
        struct session *s = container_of(it, struct session, timer);
        if (now_us - s->since_us < after)
            return;
        session_end(s, CLOSING_TIMEOUT, true);
    }
}

/* Who takes nothing is never asked what it is owed: look whether it has been too slow. */
static void cut_slow(struct fanout *f)
{
    if (!f->may_cut)
        return;
    list_each(&f->stalled, it) {
        (void)session_cut_if_slow(container_of(it, struct session, timer));
    }
}

static void start_overdue(struct fanout *f, uint64_t now_us)
{
    uint64_t after = f->config->redis.ping_timeout_ms * US_PER_MS;
    struct link *it;
    while ((it = list_first(&f->waiting)) != NULL) {
        struct session *s = container_of(it, struct session, timer);
        if (now_us - s->since_us < after)
            return;
        session_start(s, now_us);
    }
}

static void retire_old(struct fanout *f, uint64_t now_us)
{
    uint64_t after = f->config->stream.max_age_ms * US_PER_MS;
    if (after == 0)
        return;
    list_each(&f->all, it) {
        struct session *s = container_of(it, struct session, all);
        if (now_us < s->started_us + after)
            return;
        session_leave(s, CLOSING_MAX_AGE, now_us);
    }
}

/* Close so many that the rest falls evenly to zero by the end of drain.timeout. */
static void drain_some(struct fanout *f, uint64_t now_us)
{
    uint64_t span = f->config->drain_timeout_ms * US_PER_MS;
    uint64_t gone = now_us - f->drain_start_us;
    size_t may_stay = gone >= span ? 0 : (size_t)(f->drain_total * (span - gone) / span);
    size_t to_go = f->count > may_stay ? f->count - may_stay : 0;
    list_each(&f->all, it) {
        struct session *s = container_of(it, struct session, all);
        if (to_go == 0)
            return;
        to_go--;
        session_leave(s, CLOSING_DRAIN, now_us);
    }
}

static uint64_t tick(struct fanout *f, uint64_t now_us)
{
    batch_invalidate(&f->batch);
    latency_turn(&f->latency, now_us);
    fanout_expire(f, now_us); /* before anything is sent */
    bool more = fanout_away(f, now_us);
    start_overdue(f, now_us);
    retry_behind(f, now_us);
    beat(f, now_us);
    cut_stalled(f, now_us);
    cut_slow(f);
    retire_old(f, now_us);
    if (f->draining)
        drain_some(f, now_us);
    latency_turn_end(&f->latency, &f->batch);
    replica_sweep(&f->replica);
    if (more)
        return AWAY_TICK_US;
    return f->draining ? DRAIN_TICK_US : TICK_US;
}

uint64_t fanout_tick(struct fanout *f, uint64_t now_us, uint64_t wall_us)
{
    f->wall_ahead = (int64_t)wall_us - (int64_t)now_us;
    return tick(f, now_us);
}

void fanout_dismiss(struct fanout *f, uint64_t now_us)
{
    batch_invalidate(&f->batch);
    list_each(&f->all, it) {
        session_leave(container_of(it, struct session, all), CLOSING_SHUTDOWN, now_us);
    }
}

void fanout_drain(struct fanout *f, uint64_t now_us)
{
    if (f->draining)
        return;
    f->draining = true;
    f->drain_start_us = now_us;
    f->drain_total = f->count;
    (void)tick(f, now_us);
}
