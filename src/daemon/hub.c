#include "tickerd/daemon/hub.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "tickerd/base/clock.h"
#include "tickerd/base/err.h"
#include "tickerd/base/log.h"
#include "tickerd/net/redis.h"
#include "tickerd/net/turns.h"

enum { TICK_MS = 250, REQUESTS_US = 2 * US_PER_MS, COMPLAIN_US = 10 * US_PER_S };

struct hub {
    const struct config *config; /* at the start: what needs a restart is read here */
    size_t control_len;          /* of control.channel; 0: there is none */
    uint64_t control_told_us;    /* when a bad message was last logged; 0: never */
    uint64_t control_untold;     /* bad messages since */
    bool control_refused;        /* which has been logged */
    const struct redis_tls *tls; /* NULL: config_uses_tls says no */
    struct registry registry;
    struct source *source;
    struct desk desk;
    uv_timer_t tick;
    struct turns turns;
    struct metrics metrics;
    struct hub_worker *workers;
    uint32_t worker_count;
    _Atomic uint64_t clock;
    uint32_t next_tag;
    bool in_batch; /* the clock has been read since the last batch of messages ended */
    bool was_up;
};

/* One worker as the hub sees it: an inbox each way. */
struct hub_worker {
    struct hub *hub;
    uint32_t index;
    struct inbox requests; /* from the worker */
    struct inbox *notes;   /* to the worker; borrowed */
};

static uint32_t random_tag(void)
{
    uint32_t tag = 0;
    while (tag == 0) {
        if (getrandom(&tag, sizeof tag, 0) != (ssize_t)sizeof tag)
            tag = (uint32_t)clock_mono_us() | 1;
    }
    return tag;
}

/* ---- turns ----------------------------------------------------------------------------------- */

static void begin_turn(struct hub *h)
{
    turns_mark(&h->turns);
    enum clock_news news =
        hubclock_turn(&h->registry.clock, clock_mono_us(), clock_wall_us(), h->next_tag);
    if (news == CLOCK_SAME)
        return;
    if (news == CLOCK_STEPPED) {
        log_warn("the wall clock was stepped: event ids continue under a new tag");
        h->next_tag = random_tag();
    }
    registry_timeline(&h->registry);
}

static enum upstream_state upstream_state(const struct hub *h)
{
    if (!h->registry.connected)
        return UPSTREAM_STATE_DOWN;
    return h->registry.live && !h->source->refused ? UPSTREAM_STATE_UP : UPSTREAM_STATE_PARTLY;
}

static void show_upstream(struct hub *h)
{
    enum upstream_state state = upstream_state(h);
    if (state == gauge_get(&h->metrics, GAUGE_UPSTREAM))
        return;
    gauge_set(&h->metrics, GAUGE_UPSTREAM, state);
    gauge_set(&h->metrics, GAUGE_UPSTREAM_SINCE, clock_wall_us());
}

/* A few stores; what costs more waits for the tick. */
static void show(struct hub *h)
{
    const struct registry *r = &h->registry;
    struct metrics *m = &h->metrics;
    show_upstream(h);
    gauge_set(m, GAUGE_CHANNELS, registry_channels(r));
    gauge_set(m, GAUGE_SUBSCRIPTIONS,
              strmap_count(&r->upstream.channels) + strmap_count(&r->upstream.patterns));
    gauge_set(m, GAUGE_HISTORY_EVENTS, r->events);
    gauge_set(m, GAUGE_FORM_BYTES,
              atomic_load_explicit(&r->stats->extra_bytes, memory_order_relaxed));
    gauge_set(m, GAUGE_HISTORY_BYTES, r->cost + r->merged);
}

static void show_inboxes(struct hub *h)
{
    uint64_t bytes = 0;
    for (uint32_t w = 0; w < h->worker_count; w++)
        bytes += inbox_memory(h->workers[w].notes) + INBOX_SIZE * sizeof(struct note);
    gauge_set(&h->metrics, GAUGE_INBOX_BYTES, bytes);
}

/* Everything stamped so far is in the inboxes: say so, and wake who has something. */
static void end_turn(struct hub *h)
{
    atomic_store_explicit(&h->clock, hubclock_now(&h->registry.clock), memory_order_release);
    for (uint32_t w = 0; w < h->worker_count; w++)
        inbox_wake(h->workers[w].notes);
    h->in_batch = false;
    show(h);
}

static bool post(void *ctx, uint32_t worker, struct note *n)
{
    struct hub *h = ctx;
    return inbox_push(h->workers[worker].notes, n);
}

/* ---- commands -------------------------------------------------------------------------------- */

static bool is_control(const struct hub *h, const char *channel, size_t len)
{
    return h->control_len > 0 && len == h->control_len &&
           memcmp(channel, h->config->control_channel, len) == 0;
}

/* Nothing of the message is quoted, and many bad ones are told as one. */
static void complain(struct hub *h, const char *why)
{
    uint64_t now = clock_mono_us();
    h->control_untold++;
    if (h->control_told_us != 0 && now - h->control_told_us < COMPLAIN_US)
        return;
    log_warn("control.channel: ignored %llu message%s; the last: %s",
             (unsigned long long)h->control_untold, h->control_untold == 1 ? "" : "s", why);
    h->control_told_us = now;
    h->control_untold = 0;
}

static void take_command(struct hub *h, const char *payload, size_t len)
{
    struct control what;
    const char *why;
    int err = control_parse(&what, payload, len, &why);
    if (err != ERR_OK) {
        complain(h, err == ERR_NOMEM ? err_text(err) : why);
        return;
    }
    struct command *c = command_create(&what);
    if (c == NULL) {
        complain(h, err_text(ERR_NOMEM));
        control_finish(&what);
        return;
    }
    registry_command(&h->registry, c);
}

static void control_acked(struct hub *h, bool on)
{
    if (on && h->control_refused)
        log_info("control.channel: Redis allows it now");
    h->control_refused = h->control_refused && !on;
}

static void control_refused(struct hub *h)
{
    if (!h->control_refused)
        log_warn("control.channel: Redis refuses the subscription: no command reaches this "
                 "instance until its user may subscribe to it (&%s +subscribe); streams go on",
                 h->config->control_channel);
    h->control_refused = true;
}

static int want_control(struct hub *h)
{
    const char *name = h->config->control_channel;
    if (name == NULL)
        return ERR_OK;
    h->control_len = strlen(name);
    return h->source->ops->subscribe(h->source, SOURCE_CHANNEL, name, h->control_len);
}

/* ---- the source ------------------------------------------------------------------------------ */

static void on_message(void *ctx, const char *pattern, size_t pattern_len, const char *channel,
                       size_t channel_len, const char *payload, size_t payload_len)
{
    struct hub *h = ctx;
    if (is_control(h, channel, channel_len)) {
        if (pattern == NULL) /* by one under the prefix it comes a second time */
            take_command(h, payload, payload_len);
        return;
    }
    if (!h->in_batch)
        begin_turn(h);
    h->in_batch = true;
    registry_message(&h->registry, pattern, pattern_len, channel, channel_len, payload,
                     payload_len);
}

static void on_batch_end(void *ctx)
{
    end_turn(ctx);
}

static void on_acked(void *ctx, enum source_sub kind, const char *name, size_t len, bool on)
{
    struct hub *h = ctx;
    if (kind == SOURCE_CHANNEL && is_control(h, name, len)) {
        control_acked(h, on);
        return;
    }
    begin_turn(h);
    registry_acked(&h->registry, kind, name, len, on);
    end_turn(h);
}

static void on_refused(void *ctx, enum source_sub kind, const char *name, size_t len,
                       const char *error)
{
    if (kind == SOURCE_CHANNEL && is_control(ctx, name, len))
        control_refused(ctx);
    log_debug("Redis refuses %s %.*s: %s", kind == SOURCE_PATTERN ? "PSUBSCRIBE" : "SUBSCRIBE",
              (int)len, name, error);
}

static void on_up(void *ctx)
{
    struct hub *h = ctx;
    begin_turn(h);
    registry_up(&h->registry);
    metrics_add(&h->metrics, METRIC_CONNECTS, 1);
    if (h->was_up && h->registry.live) /* the source has logged that it is connected */
        log_info("Redis is back: what was missed meanwhile is announced as a gap");
    h->was_up = h->was_up || h->registry.live;
    end_turn(h);
}

static void on_down(void *ctx, const char *reason, unsigned long long last_heard_us)
{
    struct hub *h = ctx;
    (void)last_heard_us; /* the gap begins where each client stands: nothing is lost before that */
    begin_turn(h);
    log_debug("the source is down: %s", reason);
    registry_down(&h->registry);
    gauge_set(&h->metrics, GAUGE_ROUND_TRIP, 0);
    end_turn(h);
}

static void on_round_trip(void *ctx, unsigned long long us)
{
    struct hub *h = ctx;
    gauge_set(&h->metrics, GAUGE_ROUND_TRIP, us == 0 ? 1 : us);
}

static const struct source_events source_events = {
    .on_message = on_message,
    .on_acked = on_acked,
    .on_refused = on_refused,
    .on_up = on_up,
    .on_down = on_down,
    .on_round_trip = on_round_trip,
    .on_batch_end = on_batch_end,
};

/* ---- workers --------------------------------------------------------------------------------- */

static void on_requests(void *ctx)
{
    struct hub_worker *w = ctx;
    struct note n;
    uint64_t enough = clock_mono_us() + REQUESTS_US;
    begin_turn(w->hub);
    /* A pattern over very many channels takes a while; messages must not wait for a row of them. */
    while (clock_mono_us() < enough && inbox_pop(&w->requests, &n))
        registry_request(&w->hub->registry, w->index, &n);
    (void)inbox_rewake(&w->requests);
    end_turn(w->hub);
}

static void on_tick(uv_timer_t *timer)
{
    struct hub *h = timer->data;
    begin_turn(h);
    registry_tick(&h->registry);
    show_inboxes(h);
    end_turn(h);
    log_tick();
}

/* ---- life ------------------------------------------------------------------------------------ */

/* The addresses in the configuration, read. Those not read yet are blank. */
struct places {
    struct redis_url url;
    struct redis_url *sentinels;
    struct addr *nodes;
};

static bool read_places(struct places *p, const struct config *config)
{
    const struct strings *sentinels = &config->redis.sentinels, *nodes = &config->redis.nodes;
    const char *why;
    *p = (struct places){.sentinels = calloc(sentinels->count + 1, sizeof *p->sentinels),
                         .nodes = calloc(nodes->count + 1, sizeof *p->nodes)};
    bool ok = p->sentinels != NULL && p->nodes != NULL &&
              redis_url_parse(&p->url, config->redis.url, &why) == ERR_OK;
    for (size_t i = 0; ok && i < sentinels->count; i++)
        ok = sentinel_parse(&p->sentinels[i], sentinels->items[i], &why) == ERR_OK;
    for (size_t i = 0; ok && i < nodes->count; i++)
        ok = addr_parse(&p->nodes[i], nodes->items[i], &why) == ERR_OK;
    return ok;
}

static void forget_places(struct places *p, const struct config *config)
{
    for (size_t i = 0; p->sentinels != NULL && i < config->redis.sentinels.count; i++)
        redis_url_finish(&p->sentinels[i]);
    redis_url_finish(&p->url);
    free(p->sentinels);
    free(p->nodes);
}

static struct source *make_source(struct hub *h, uv_loop_t *loop)
{
    struct places places;
    struct source *source = NULL;
    if (read_places(&places, h->config)) {
        struct redis_options options = {
            .url = &places.url,
            .tls = h->tls,
            .sentinels = places.sentinels,
            .sentinel_count = h->config->redis.sentinels.count,
            .master = h->config->redis.master,
            .nodes = places.nodes,
            .node_count = h->config->redis.nodes.count,
            .ping_interval_ms = (uint32_t)h->config->redis.ping_interval_ms,
            .ping_timeout_ms = (uint32_t)h->config->redis.ping_timeout_ms,
            .backoff_max_ms = (uint32_t)h->config->redis.backoff_max_ms,
        };
        source = redis_source_create(loop, &options, &source_events, h);
    }
    forget_places(&places, h->config);
    return source;
}

static int make_workers(struct hub *h, uv_loop_t *loop)
{
    h->workers = calloc(h->worker_count, sizeof *h->workers);
    if (h->workers == NULL)
        return ERR_NOMEM;
    for (uint32_t w = 0; w < h->worker_count; w++) {
        h->workers[w].hub = h;
        h->workers[w].index = w;
        int err = inbox_init(&h->workers[w].requests, loop, on_requests, &h->workers[w]);
        if (err != ERR_OK)
            return err;
    }
    return ERR_OK;
}

struct hub *hub_create(uv_loop_t *loop, const struct config *config, const struct redis_tls *tls,
                       uint32_t workers, struct frame_stats *stats)
{
    struct hub *h = calloc(1, sizeof *h);
    if (h == NULL)
        return NULL;
    h->config = config;
    h->tls = tls;
    h->worker_count = workers;
    h->next_tag = random_tag();
    gauge_set(&h->metrics, GAUGE_STARTED, clock_wall_us());
    h->source = make_source(h, loop);
    struct hubclock clock;
    hubclock_init(&clock, clock_mono_us(), clock_wall_us(), random_tag());
    /* At start-up nothing is undone: the caller ends the process. */
    if (h->source == NULL || desk_init(&h->desk, loop, h) != ERR_OK ||
        make_workers(h, loop) != ERR_OK ||
        registry_init(&h->registry, config, workers, h->source, &clock, &h->metrics, stats) !=
            ERR_OK ||
        want_control(h) != ERR_OK)
        return NULL;
    h->registry.post = post;
    h->registry.ctx = h;
    atomic_init(&h->clock, hubclock_now(&h->registry.clock));
    h->desk.turns = &h->turns;
    turns_start(&h->turns, loop, &h->metrics.turns);
    (void)uv_timer_init(loop, &h->tick);
    h->tick.data = h;
    return h;
}

void hub_reload(struct hub *h, const struct config *config)
{
    begin_turn(h);
    registry_reload(&h->registry, config);
    end_turn(h);
}

struct inbox *hub_inbox(struct hub *h, uint32_t w)
{
    return &h->workers[w].requests;
}

const _Atomic uint64_t *hub_clock(const struct hub *h)
{
    return &h->clock;
}

struct desk *hub_desk(struct hub *h)
{
    return &h->desk;
}

struct registry *hub_registry(struct hub *h)
{
    return &h->registry;
}

struct metrics *hub_metrics(struct hub *h)
{
    return &h->metrics;
}

void hub_command(struct hub *h, struct command *c)
{
    begin_turn(h);
    registry_command(&h->registry, c);
    end_turn(h);
}

void hub_publish(struct hub *h, const char *channel, size_t channel_len, const char *payload,
                 size_t payload_len, source_published *done, void *ctx)
{
    struct buf name = BUF_INIT;
    buf_append(&name, h->config->redis.prefix, h->config->redis.prefix_len);
    buf_append(&name, channel, channel_len);
    if (name.failed)
        done(ctx, -1, "Out of memory; try again later.");
    else
        h->source->ops->publish(h->source, name.data, name.len, payload, payload_len, done, ctx);
    buf_finish(&name);
}

void hub_set_worker(struct hub *h, uint32_t w, struct inbox *inbox)
{
    h->workers[w].notes = inbox;
}

/* The server by its address, or by its Sentinels' name for it, as a failover changes the address:
 * whose positions and histories these are. */
static void server_name(const struct hub *h, struct buf *out)
{
    struct redis_url url;
    const char *why;
    if (h->config->redis.sentinels.count > 0) {
        buf_printf(out, "master %s", h->config->redis.master);
        return;
    }
    if (redis_url_parse(&url, h->config->redis.url, &why) != ERR_OK)
        return;
    addr_print(out, &url.addr);
    redis_url_finish(&url);
}

int hub_save(const struct hub *h, struct pack *out, struct saved_summary *sum)
{
    struct buf name = BUF_INIT;
    server_name(h, &name);
    int err = registry_save(&h->registry, buf_cstr(&name), out, sum);
    buf_finish(&name);
    return err;
}

int hub_restore(struct hub *h, const void *bytes, size_t len, struct saved_summary *sum,
                const char **why)
{
    struct buf name = BUF_INIT;
    struct saved_now now = {clock_mono_us(), clock_wall_us(), h->next_tag};
    server_name(h, &name);
    int err = registry_restore(&h->registry, buf_cstr(&name), bytes, len, &now, sum, why);
    buf_finish(&name);
    h->next_tag = random_tag();
    atomic_store(&h->clock, hubclock_now(&h->registry.clock));
    return err;
}

int hub_start(struct hub *h)
{
    registry_start(&h->registry);
    end_turn(h);
    (void)uv_timer_start(&h->tick, on_tick, TICK_MS, TICK_MS);
    return h->source->ops->start(h->source);
}

void hub_close(struct hub *h)
{
    h->source->ops->close(h->source);
    desk_close(&h->desk);
    turns_close(&h->turns);
    uv_close((uv_handle_t *)&h->tick, NULL);
    for (uint32_t w = 0; w < h->worker_count; w++)
        inbox_close(&h->workers[w].requests);
}

void hub_destroy(struct hub *h)
{
    if (h == NULL)
        return;
    desk_finish(&h->desk);
    registry_finish(&h->registry);
    for (uint32_t w = 0; w < h->worker_count; w++)
        inbox_finish(&h->workers[w].requests);
    free(h->workers);
    free(h);
}
