#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cluster.h"
#include "grant_util.h"
#include "tickerd/base/err.h"

#define MS UINT64_C(1000)
#define HOUR (INT64_C(3600) * 1000000)

enum {
    STEPS = 700,
    MESSAGE_BYTES = 60,
    BURST = 12,
    SKEW_MS = 500,
    PING_INTERVAL_MS = 400,
    PING_TIMEOUT_MS = 600,
    LAG_MS = PING_INTERVAL_MS + PING_TIMEOUT_MS,
    ANSWER_MS = LAG_MS / 3,
    SLICE_MS = 50,   /* nobody is served later than this after its time */
    TURN_MS = 200,   /* a hub's timer */
    STALL_MS = 1600, /* a stall and the hold behind it */
    REST_MS = 600,   /* before the next one: stamps that are early add up */
};

static bool one_in(struct cluster *s, size_t n)
{
    return prng_below(&s->rng, n) == 0;
}

static uint64_t below_ms(struct cluster *s, uint64_t ms)
{
    return prng_below(&s->rng, ms * MS);
}

static uint64_t now(const struct cluster_instance *i)
{
    return hubclock_now(&i->w.registry.clock);
}

static bool awake(const struct cluster_instance *i)
{
    return i->stalled == 0;
}

static struct cluster_instance *any_instance(struct cluster *s)
{
    return &s->instances[prng_below(&s->rng, s->instance_count)];
}

/* ---- making it ------------------------------------------------------------------------------- */

static void choose_settings(struct cluster *s)
{
    struct config *c = &s->settings;
    bool calm = s->family == CLUSTER_CALM, tight = s->family == CLUSTER_TIGHT;
    c->redis.mode = s->family == CLUSTER_DEMAND ? REDIS_MODE_ON_DEMAND : REDIS_MODE_ALL;
    c->redis.linger_ms = prng_below(&s->rng, 3000);
    c->redis.ping_interval_ms = PING_INTERVAL_MS;
    c->redis.ping_timeout_ms = calm ? 4 * LAG_MS : PING_TIMEOUT_MS;
    c->resume.clock_skew_ms = SKEW_MS;
    c->resume.window_ms = SKEW_MS + LAG_MS;
    if (one_in(s, 2))
        c->resume.window_ms += prng_below(&s->rng, 2000);
    c->limits.message_bytes = MESSAGE_BYTES;
    c->limits.write_timeout_ms = 1500;
    c->stream.heartbeat_ms = 700;
    c->rule_default.history.events = 100000;
    c->rule_default.history.age_ms = 0;
    c->rule_default.history.bytes = 1 << 20;
    if (tight && !one_in(s, 6))
        c->rule_default.history.events = (uint32_t)(1 + prng_below(&s->rng, 20));
    if (tight && one_in(s, 4))
        c->rule_default.history.age_ms = 1 + prng_below(&s->rng, 4000);
    if (tight && one_in(s, 5))
        c->history_total_bytes = 3000 + prng_below(&s->rng, 6000);
}

/* The settings are plain values, so that each world may own a configuration of its own. */
static struct config *copy_settings(const struct cluster *s)
{
    const char *rules[] = {"channels=[{\"match\":\"a?\",\"anonymous\":true},"
                           "{\"match\":\"b/*\",\"anonymous\":true}]",
                           NULL};
    struct config *c = world_config(rules);
    c->auth.mode = s->settings.auth.mode;
    c->redis.mode = s->settings.redis.mode;
    c->redis.linger_ms = s->settings.redis.linger_ms;
    c->redis.ping_interval_ms = s->settings.redis.ping_interval_ms;
    c->redis.ping_timeout_ms = s->settings.redis.ping_timeout_ms;
    c->resume = s->settings.resume;
    c->limits = s->settings.limits;
    c->stream = s->settings.stream;
    c->rule_default.history = s->settings.rule_default.history;
    for (size_t i = 0; i < c->rule_count; i++)
        c->rules[i].history = c->rule_default.history;
    c->history_total_bytes = s->settings.history_total_bytes;
    return c;
}

static void choose_topics(struct cluster *s, struct cluster_client *cl)
{
    size_t len = sim_topics(&s->rng, cl->url, cl->view.matches);
    if (one_in(s, 4)) {
        cl->view.history = true;
        len += (size_t)snprintf(cl->url + len, sizeof cl->url - len, "history=%s&",
                                one_in(s, 2) ? "all" : "2");
    }
    if (one_in(s, 4))
        (void)snprintf(cl->url + len, sizeof cl->url - len, "format=json&");
    cl->homely = one_in(s, 3);
}

/* What it names must be allowed, or it would not get in; of the rest of its patterns some is. */
static void choose_claim(struct cluster *s, struct cluster_client *cl, const struct config *c)
{
    static const char *const items[] = {"a", "ab", "abc", "b/x", "ab*", "b*", "*c", "?", "b/[xy]"};
    struct buf claim = BUF_INIT;
    struct target t;
    struct target_error error;
    const struct target_rules rules = {.topics_max = 64};
    const struct target_topic *culprit;
    if (c->auth.mode == AUTH_OFF)
        return;
    assert_int_equal(target_parse(&t, cl->url, strlen(cl->url), &rules, &error), ERR_OK);
    cl->has_token = c->auth.mode == AUTH_REQUIRED || prng_below(&s->rights_rng, 2) == 0 ||
                    auth_decide(c, NULL, &t, &culprit) != AUTH_ALLOWED;
    for (size_t i = 0; i < t.count; i++) {
        if (!t.topics[i].pattern)
            buf_printf(&claim, "%.*s ", (int)t.topics[i].len, t.topics[i].name);
    }
    for (size_t n = prng_below(&s->rights_rng, 4); n > 0; n--)
        buf_printf(&claim, "%s ",
                   items[prng_below(&s->rights_rng, sizeof items / sizeof items[0])]);
    (void)snprintf(cl->claim, sizeof cl->claim, "%s", buf_cstr(&claim));
    struct grant *g = cl->has_token ? grant_of(cl->claim, NULL, 0) : NULL;
    assert_int_equal(auth_decide(c, g, &t, &culprit), AUTH_ALLOWED);
    for (size_t k = 0; k < SIM_CHANNELS; k++) {
        bool allowed = auth_allows(c, g, sim_channels[k], strlen(sim_channels[k]));
        s->restricted += cl->view.matches[k] && !allowed;
        cl->view.matches[k] = cl->view.matches[k] && allowed;
    }
    grant_destroy(g);
    target_finish(&t);
    buf_finish(&claim);
}

static void stamped(void *ctx, const char *payload, size_t len, uint64_t before, uint64_t seq)
{
    const struct cluster_instance *i = ctx;
    (void)payload;
    (void)len;
    judge_stamped(i->judge, i->run, before, seq);
}

/* A run begins with nothing: the first start, or the one after a crash. */
static void begin(struct cluster *s, struct cluster_instance *i)
{
    i->run = judge_begins(&s->judge, (uint32_t)(i - s->instances), s->time,
                          (uint64_t)((int64_t)s->time + i->wall));
    struct world_clock at = {s->time, i->wall, 0x10000000 + ((uint32_t)i->run << 8)};
    world_init_at(&i->w, copy_settings(s), s->workers, s->queue, &at);
    i->w.stamped = stamped;
    i->w.ctx = i;
    i->turned = s->time;
    i->waiting = i->stalled = 0;
    i->steps = 0;
}

static void choose_events(struct cluster *s)
{
    if (s->family == CLUSTER_CALM)
        return;
    s->repeats = one_in(s, 2);
    s->stalls = one_in(s, 3);
    s->steps = one_in(s, 3);
    s->crashes = one_in(s, 2);
    s->outages = !one_in(s, 4);
}

struct cluster *cluster_create(uint64_t seed, enum cluster_family family, bool naive, bool told)
{
    struct cluster *s = calloc(1, sizeof *s);
    assert_non_null(s);
    s->rng.state = seed;
    s->seed = seed;
    s->rights_rng.state = seed ^ 0x72696768;
    s->family = family;
    s->naive = naive;
    s->judge.lenient = naive;
    s->judge.exactly = family == CLUSTER_CALM;
    s->judge.strict = true;
    s->time = 1000 * WORLD_SECOND;
    struct config *defaults = world_config(NULL);
    s->settings.limits = defaults->limits;
    s->settings.stream = defaults->stream;
    s->settings.history_total_bytes = defaults->history_total_bytes;
    config_destroy(defaults);
    choose_events(s);
    choose_settings(s);
    s->settings.auth.mode = (enum auth_mode)prng_below(&s->rights_rng, 3);
    s->judge.on_demand = s->settings.redis.mode == REDIS_MODE_ON_DEMAND;
    s->workers = 1 + (uint32_t)prng_below(&s->rng, 2);
    s->queue = one_in(s, 2) ? WORLD_QUEUE / 16 : 24 + prng_below(&s->rng, 60);
    s->instance_count = 2 + prng_below(&s->rng, CLUSTER_INSTANCES - 1);
    for (size_t k = 0; k < s->instance_count; k++) {
        struct cluster_instance *i = &s->instances[k];
        i->judge = &s->judge;
        i->wall = WORLD_WALL + (int64_t)below_ms(s, SKEW_MS);
        i->lag = below_ms(s, LAG_MS - SLICE_MS);
        begin(s, i);
        fake_source_connect(&i->w.source);
    }
    s->client_count = 1 + prng_below(&s->rng, CLUSTER_CLIENTS);
    s->story = told ? calloc(s->client_count, sizeof *s->story) : NULL;
    for (size_t k = 0; k < s->client_count; k++) {
        choose_topics(s, &s->clients[k]);
        choose_claim(s, &s->clients[k], s->instances[0].w.config);
        s->clients[k].view.story = told ? &s->story[k] : NULL;
    }
    return s;
}

/* ---- clients --------------------------------------------------------------------------------- */

static void note_guilt(struct cluster *s, const struct cluster_client *cl)
{
    if (s->judge.error[0] != '\0' && s->guilty == NULL)
        s->guilty = cl;
}

static void read_client(struct cluster *s, struct cluster_client *cl)
{
    struct cluster_instance *i = &s->instances[cl->at];
    judge_read(&s->judge, &cl->view, &cl->c.transport.decoder, &i->w.registry.clock.line, now(i));
    note_guilt(s, cl);
}

static void cut(struct cluster *s, struct cluster_client *cl)
{
    read_client(s, cl);
    world_disconnect(&cl->c);
    cl->connected = false;
}

/* What somebody would do who takes all ids for the instance's own. */
static void dress_up(struct cluster_client *cl, const struct cluster_instance *i)
{
    struct eventid id;
    uint64_t seq;
    const struct timeline *line = &i->w.registry.clock.line;
    if (!eventid_parse(cl->view.last_id, strlen(cl->view.last_id), &id) ||
        timeline_resolve(line, &id, &seq))
        return;
    id.tag = line->epochs[line->count - 1].tag;
    eventid_format(cl->view.last_id, &id);
}

/* A worker that has fallen behind may not know the instance's newest tag yet: then the id is as
 * good as another instance's. */
static bool unheard_of(const struct cluster_client *cl, const struct cluster_instance *i,
                       uint32_t worker)
{
    struct eventid id;
    uint64_t seq;
    const struct timeline *line = &i->w.workers[worker].fanout.replica.timeline;
    return cl->view.id_run == i->run &&
           eventid_parse(cl->view.last_id, strlen(cl->view.last_id), &id) &&
           !timeline_resolve(line, &id, &seq);
}

/* Two of them are one user. */
static const char *subject_of(const struct cluster *s, const struct cluster_client *cl)
{
    static const char *const subjects[] = {"anna", "ben", "carl", "dora", "emil", "fritz"};
    return subjects[(size_t)(cl - s->clients) / 2];
}

/* A command cuts streams by subject or by channel, at one worker of one instance. */
static void revoke(struct cluster *s)
{
    struct cluster_instance *i = any_instance(s);
    struct fanout *f = &i->w.workers[prng_below(&s->rights_rng, s->workers)].fanout;
    const char *sub = subject_of(s, &s->clients[prng_below(&s->rights_rng, s->client_count)]);
    const char *channel = sim_channels[prng_below(&s->rights_rng, SIM_CHANNELS)];
    size_t which = 1 + prng_below(&s->rights_rng, 3);
    if (awake(i) && f->replica.head > 0) /* in life it knows its time before anybody gets in */
        s->revoked +=
            fanout_disconnect(f, (which & 1) != 0 ? sub : NULL, strlen(sub),
                              (which & 2) != 0 ? channel : NULL, strlen(channel), i->w.mono);
}

static void connect_client(struct cluster *s, struct cluster_client *cl, size_t room)
{
    bool home = cl->view.connected_once && !one_in(s, cl->homely ? 4 : 1);
    cl->at = home ? cl->at : prng_below(&s->rng, s->instance_count);
    struct cluster_instance *i = &s->instances[cl->at];
    if (!awake(i))
        return;
    uint32_t worker = (uint32_t)prng_below(&s->rng, s->workers);
    if (s->naive && cl->view.connected_once)
        dress_up(cl, i);
    if (cl->view.connected_once && unheard_of(cl, i, worker))
        cl->view.id_run = SIZE_MAX;
    judge_connect(&s->judge, &cl->view, i->run);
    char last_id[sizeof cl->view.last_id];
    memcpy(last_id, cl->view.last_id, sizeof last_id);
    struct grant *grant = cl->has_token ? grant_of(cl->claim, subject_of(s, cl), 0) : NULL;
    world_connect_granted(&i->w, worker, &cl->c, cl->url, cl->view.connected_once ? last_id : NULL,
                          room, grant);
    cl->c.transport.forget = true;
    cl->connected = true;
}

static void step_client(struct cluster *s)
{
    struct cluster_client *cl = &s->clients[prng_below(&s->rng, s->client_count)];
    if (!cl->connected)
        connect_client(s, cl, one_in(s, 2) ? SIZE_MAX : prng_below(&s->rng, 800));
    else if (cl->c.transport.closes > 0 || one_in(s, 5))
        cut(s, cl);
    else if (awake(&s->instances[cl->at]))
        world_room(&s->instances[cl->at].w, &cl->c,
                   one_in(s, 3) ? SIZE_MAX : prng_below(&s->rng, 400));
}

static void read_all(struct cluster *s)
{
    for (size_t k = 0; k < s->client_count; k++) {
        if (s->clients[k].connected)
            read_client(s, &s->clients[k]);
    }
}

/* ---- Redis ----------------------------------------------------------------------------------- */

static void publish(struct cluster *s)
{
    if (s->judge.count == JUDGE_MESSAGES)
        return;
    uint32_t channel = (uint32_t)prng_below(&s->rng, SIM_CHANNELS);
    const char *name = sim_channels[channel];
    char payload[200], data[JUDGE_TEXT];
    size_t kind = prng_below(&s->rng, 20), n = s->judge.count;
    (void)snprintf(data, sizeof data, "%s %zu", name, n);
    (void)snprintf(payload, sizeof payload, "%s", data);
    if (s->repeats && kind < 8) { /* some sooner, some later */
        (void)snprintf(data, sizeof data, "%s again %zu", name, kind < 5 ? 0 : n / 100);
        (void)snprintf(payload, sizeof payload, "%s", data);
    } else if (s->family == CLUSTER_TIGHT && kind == 8) {
        (void)snprintf(payload, sizeof payload, "%-*s", MESSAGE_BYTES + 1, data);
    } else if (s->family != CLUSTER_CALM && kind < 12) {
        (void)snprintf(payload, sizeof payload, "{\"data\":\"%s\",\"id\":\"p%zu\"}", data, n);
    }
    judge_published(&s->judge, channel, strlen(payload) > MESSAGE_BYTES, data, s->time);
    for (size_t k = 0; k < s->instance_count; k++) {
        struct cluster_instance *i = &s->instances[k];
        judge_sent(&s->judge, i->run, world_send(&i->w, name, payload), now(i));
    }
}

static void deliver(struct cluster_instance *i, size_t n)
{
    if (fake_source_deliver(&i->w.source, n) > 0)
        i->turned = i->w.mono;
    if (list_empty(&i->w.source.output))
        i->waiting = 0;
}

static void cut_off(struct cluster *s, struct cluster_instance *i)
{
    judge_cut_off(&s->judge, i->run, now(i));
    fake_source_lose(&i->w.source, 0);
    i->turned = s->time;
    s->cuts++;
}

/* ---- instances ------------------------------------------------------------------------------- */

static void crash(struct cluster *s, struct cluster_instance *i)
{
    for (size_t k = 0; k < s->client_count; k++) {
        if (s->clients[k].connected && &s->instances[s->clients[k].at] == i)
            cut(s, &s->clients[k]);
    }
    judge_ends(&s->judge, i->run, now(i));
    s->overflows += metrics_get(&i->w.metrics, METRIC_STALE);
    world_finish(&i->w);
    begin(s, i);
    s->restarts++;
}

/* A clean stop and a start that takes up what was saved, a while later; the source is away. */
static void restart(struct cluster *s, struct cluster_instance *i)
{
    for (size_t k = 0; k < s->client_count; k++) {
        if (s->clients[k].connected && &s->instances[s->clients[k].at] == i)
            cut(s, &s->clients[k]);
    }
    if (i->w.source.connected)
        cut_off(s, i);
    s->overflows += metrics_get(&i->w.metrics, METRIC_STALE);
    world_restart(&i->w, 0);
    for (uint32_t w = 0; w < s->workers; w++)
        world_turn(&i->w, w); /* as in life: long before anybody gets in */
    i->turned = s->time;
    i->waiting = i->stalled = 0;
    s->restarts++;
}

/* By hours, or back to what it ought to be. Ids of days are beyond this test: whoever was away for
 * as long as the clock was off cannot be told from who was not. */
static void step_clock(struct cluster *s, struct cluster_instance *i)
{
    if (i->steps++ + 2 > TIMELINE_EPOCHS)
        return;
    int64_t hours = (int64_t)prng_below(&s->rng, 11) - 5;
    i->w.wall = i->wall + hours * HOUR;
}

static void step_fault(struct cluster *s)
{
    struct cluster_instance *i = any_instance(s);
    switch (prng_below(&s->rng, 8)) {
    case 0:
    case 1:
        if (s->outages && awake(i) && i->w.source.connected)
            cut_off(s, i);
        break;
    case 2:
        if (s->crashes && awake(i) && one_in(s, 4))
            restart(s, i);
        else if (s->crashes && one_in(s, 3) && s->judge.run_count < JUDGE_RUNS)
            crash(s, i);
        break;
    case 3:
        if (s->stalls && awake(i) && s->time - i->woken > REST_MS * MS)
            i->stalled = s->time + 1000 * MS + below_ms(s, STALL_MS - 1000 - 250 - SLICE_MS);
        break;
    case 4:
        if (s->steps)
            step_clock(s, i);
        break;
    case 5:
        i->lag = below_ms(s, LAG_MS - SLICE_MS);
        break;
    default:
        if (!i->w.source.connected && awake(i))
            fake_source_connect(&i->w.source);
        break;
    }
}

/* What is due at an instance at this moment. */
static void keep_time(struct cluster *s, struct cluster_instance *i)
{
    struct world *w = &i->w;
    w->mono = s->time;
    if (i->waiting == 0 && !list_empty(&w->source.output))
        i->waiting = s->time;
    if (i->stalled > s->time)
        return;
    bool woken = i->stalled != 0;
    i->stalled = 0;
    i->woken = woken ? s->time : i->woken;
    /* Redis answers in order: what it takes longer for than for a PING is a connection that is
     * given up. */
    if (i->asking == 0 && !list_empty(&w->source.commands))
        i->asking = s->time;
    if (woken || (i->asking != 0 && s->time - i->asking >= ANSWER_MS * MS))
        (void)fake_source_serve(&w->source, SIZE_MAX);
    if (list_empty(&w->source.commands))
        i->asking = 0;
    if (woken || s->time - i->turned >= TURN_MS * MS) {
        world_hub_tick(w);
        i->turned = s->time;
    }
    for (uint32_t k = 0; s->family == CLUSTER_CALM && k < s->workers; k++) {
        (void)world_requests(w, k, SIZE_MAX); /* nobody has to start without an answer */
        world_turn(w, k);
    }
    if (woken || (i->waiting != 0 && s->time - i->waiting >= i->lag))
        deliver(i, SIZE_MAX);
}

static void pass(struct cluster *s, uint64_t us)
{
    while (us > 0) {
        uint64_t slice = us < SLICE_MS * MS ? us : SLICE_MS * MS;
        us -= slice;
        s->time += slice;
        for (size_t k = 0; k < s->instance_count; k++)
            keep_time(s, &s->instances[k]);
    }
}

static void step_instance(struct cluster *s)
{
    struct cluster_instance *i = any_instance(s);
    uint32_t worker = (uint32_t)prng_below(&s->rng, s->workers);
    if (!awake(i))
        return;
    switch (prng_below(&s->rng, 6)) {
    case 0:
        (void)fake_source_serve(&i->w.source, 1 + prng_below(&s->rng, 4));
        break;
    case 1:
        deliver(i, 1 + prng_below(&s->rng, 20));
        break;
    case 2:
        (void)world_requests(&i->w, worker, 1 + prng_below(&s->rng, 20));
        i->turned = s->time;
        break;
    case 3:
        world_tick(&i->w, worker);
        break;
    default:
        world_turn(&i->w, worker);
        break;
    }
}

static void step(struct cluster *s)
{
    pass(s, 1 + below_ms(s, 4) + (one_in(s, 12) ? below_ms(s, 400) : 0));
    if (s->settings.auth.mode != AUTH_OFF && prng_below(&s->rights_rng, 100) == 0)
        revoke(s);
    switch (prng_below(&s->rng, 16)) {
    case 0:
    case 1:
    case 2:
        for (size_t n = one_in(s, 10) ? BURST : 1 + prng_below(&s->rng, 3); n > 0; n--)
            publish(s);
        break;
    case 3:
        step_fault(s);
        break;
    case 4:
    case 5:
    case 6:
    case 7:
    case 8:
        step_client(s);
        break;
    default:
        step_instance(s);
        break;
    }
}

/* ---- the run --------------------------------------------------------------------------------- */

static void settle_instance(struct cluster *s, struct cluster_instance *i)
{
    if (!i->w.source.connected)
        fake_source_connect(&i->w.source);
    world_settle(&i->w);
    for (uint32_t k = 0; k < s->workers; k++)
        world_tick(&i->w, k);
    world_settle(&i->w);
    deliver(i, SIZE_MAX);
}

/* Everybody is back and quick, and all that was on its way arrives. */
static void settle(struct cluster *s)
{
    pass(s, 2 * STALL_MS * MS);
    for (int round = 0; round < 5; round++) {
        for (size_t k = 0; k < s->client_count; k++) {
            struct cluster_client *cl = &s->clients[k];
            if (cl->connected && cl->c.transport.closes > 0)
                cut(s, cl);
            if (!cl->connected)
                connect_client(s, cl, SIZE_MAX);
            world_room(&s->instances[cl->at].w, &cl->c, SIZE_MAX);
        }
        for (size_t k = 0; k < s->instance_count; k++)
            settle_instance(s, &s->instances[k]);
        read_all(s);
        pass(s, s->settings.redis.ping_timeout_ms * MS);
    }
    for (size_t k = 0; k < s->client_count; k++) {
        judge_end(&s->judge, &s->clients[k].view);
        note_guilt(s, &s->clients[k]);
    }
}

void cluster_run(struct cluster *s)
{
    /* Where exactly-once is to be seen, a window that reaches back before the start would be in
     * the way. */
    for (size_t k = 0; s->family == CLUSTER_CALM && k < s->instance_count; k++)
        settle_instance(s, &s->instances[k]);
    if (s->family == CLUSTER_CALM)
        pass(s, (s->settings.resume.window_ms + SKEW_MS) * MS);
    for (size_t i = 0; i < STEPS && s->judge.error[0] == '\0'; i++) {
        step(s);
        read_all(s);
    }
    if (s->judge.error[0] == '\0')
        settle(s);
}

void cluster_destroy(struct cluster *s)
{
    for (size_t k = 0; k < s->client_count; k++) {
        if (s->clients[k].connected)
            cut(s, &s->clients[k]);
    }
    for (size_t k = 0; k < s->instance_count; k++)
        world_finish(&s->instances[k].w);
    for (size_t k = 0; s->story != NULL && k < s->client_count; k++)
        buf_finish(&s->story[k]);
    free(s->story);
    free(s);
}

void cluster_report(const struct cluster *s, struct buf *out)
{
    static const char *const names[] = {"calm", "rough", "demand", "tight"};
    buf_printf(out, "TICKERD_SEED=%llu in family %s%s, %s, W %llu ms, history %u: %s: %s",
               (unsigned long long)s->seed, names[s->family], s->naive ? ", read naively" : "",
               s->judge.on_demand ? "on-demand" : "all",
               (unsigned long long)s->settings.resume.window_ms,
               s->settings.rule_default.history.events,
               s->guilty == NULL ? "a hub" : s->guilty->url, s->judge.error);
    if (s->story != NULL && s->guilty != NULL)
        buf_printf(out, "\n%s", buf_cstr(s->guilty->view.story));
}
