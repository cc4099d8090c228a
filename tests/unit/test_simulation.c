/* The whole broker under random load, judged by checker.h: one registry, a few workers on queues so
 * short that they overflow, and clients that are slow, vanish at any byte and come back at any
 * worker with the last id they saw.
 *
 * TICKERD_SEED=n runs one seed; TICKERD_SEEDS=n changes how many are run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "checker.h"
#include "prng.h"
#include "sim_topics.h"
#include "tickerd/base/log.h"
#include "world.h"

enum { SEEDS = 200, STEPS = 900, CLIENTS_MAX = 24, MESSAGE_BYTES = 60 };

_Static_assert(CHECKER_CHANNELS == (int)SIM_CHANNELS, "they are the same");

struct sim_client {
    struct world_client c;
    struct checker_client view;
    bool connected;
    char url[SIM_URL];
};

struct sim {
    struct world w;
    struct checker checker;
    struct prng rng;
    struct sim_client clients[CLIENTS_MAX];
    size_t client_count;
    const struct sim_client *guilty; /* whose stream broke a promise */
    bool restarting;                 /* in this run it happens */
    size_t restarts, stale;
};

/* In place of the system's, so that the order in maps is the same in each run of a seed. */
ssize_t getrandom(void *out, size_t len, unsigned flags)
{
    (void)flags;
    memset(out, 42, len);
    return (ssize_t)len;
}

static bool one_in(struct sim *s, size_t n)
{
    return prng_below(&s->rng, n) == 0;
}

static uint64_t now(const struct sim *s)
{
    return hubclock_now(&s->w.registry.clock);
}

/* ---- making a world -------------------------------------------------------------------------- */

static struct config *random_config(struct sim *s)
{
    struct config *c = world_config(NULL);
    c->redis.mode = one_in(s, 2) ? REDIS_MODE_ON_DEMAND : REDIS_MODE_ALL;
    c->redis.linger_ms = prng_below(&s->rng, 2000);
    c->redis.ping_timeout_ms = 300;
    c->limits.message_bytes = MESSAGE_BYTES;
    c->limits.write_timeout_ms = 1500;
    c->stream.heartbeat_ms = 700;
    c->stream.max_age_ms = one_in(s, 4) ? 2000 : 0;
    c->rule_default.history.events = (uint32_t)(one_in(s, 3) ? 1000 : 1 + prng_below(&s->rng, 12));
    c->rule_default.history.age_ms = one_in(s, 4) ? 1 + prng_below(&s->rng, 1000) : 0;
    c->rule_default.history.bytes = one_in(s, 6) ? 200 : 1 << 20;
    if (one_in(s, 5))
        c->history_total_bytes = 3000 + prng_below(&s->rng, 6000);
    return c;
}

static void choose_topics(struct sim *s, struct sim_client *cl)
{
    size_t len = sim_topics(&s->rng, cl->url, cl->view.matches);
    if (one_in(s, 3)) {
        cl->view.history = true;
        len += (size_t)snprintf(cl->url + len, sizeof cl->url - len, "history=%s&",
                                one_in(s, 2) ? "all" : "2");
    }
    if (one_in(s, 3))
        (void)snprintf(cl->url + len, sizeof cl->url - len, "format=json&");
}

static void stamped(void *ctx, const char *payload, size_t len, uint64_t before, uint64_t seq)
{
    (void)payload;
    (void)len;
    checker_stamped(&((struct sim *)ctx)->checker, before, seq);
}

static struct sim *sim_create(uint64_t seed)
{
    struct sim *s = calloc(1, sizeof *s);
    assert_non_null(s);
    s->rng.state = seed;
    checker_init(&s->checker, sim_channels);
    struct config *config = random_config(s);
    s->checker.on_demand = config->redis.mode == REDIS_MODE_ON_DEMAND;
    size_t queue = one_in(s, 3) ? WORLD_QUEUE : 24 + prng_below(&s->rng, 60);
    world_init(&s->w, config, 1 + (uint32_t)prng_below(&s->rng, WORLD_WORKERS), queue);
    s->w.stamped = stamped;
    s->w.ctx = s;
    s->restarting = one_in(s, 3);
    s->client_count = 1 + prng_below(&s->rng, CLIENTS_MAX);
    for (size_t i = 0; i < s->client_count; i++)
        choose_topics(s, &s->clients[i]);
    return s;
}

/* ---- steps ----------------------------------------------------------------------------------- */

static void note_guilt(struct sim *s, const struct sim_client *cl)
{
    if (s->checker.error[0] != '\0' && s->guilty == NULL)
        s->guilty = cl;
}

static void read_client(struct sim *s, struct sim_client *cl)
{
    checker_read(&s->checker, &cl->view, &cl->c.transport.decoder, &s->w.registry.clock.line,
                 now(s));
    note_guilt(s, cl);
}

static void cut(struct sim *s, struct sim_client *cl)
{
    read_client(s, cl);
    world_disconnect(&cl->c);
    cl->connected = false;
}

static void connect_client(struct sim *s, struct sim_client *cl, size_t room)
{
    char last_id[sizeof cl->view.last_id];
    memcpy(last_id, cl->view.last_id, sizeof last_id);
    checker_connect(&cl->view);
    world_connect_room(&s->w, (uint32_t)prng_below(&s->rng, s->w.worker_count), &cl->c, cl->url,
                       cl->view.connected_once ? last_id : NULL, room);
    cl->c.transport.forget = true;
    cl->connected = true;
}

static void step_client(struct sim *s)
{
    struct sim_client *cl = &s->clients[prng_below(&s->rng, s->client_count)];
    if (!cl->connected)
        connect_client(s, cl, one_in(s, 2) ? SIZE_MAX : prng_below(&s->rng, 800));
    else if (cl->c.transport.closes > 0 || one_in(s, 8))
        cut(s, cl);
    else
        world_room(&s->w, &cl->c, one_in(s, 3) ? SIZE_MAX : prng_below(&s->rng, 400));
}

static void publish(struct sim *s)
{
    uint32_t channel = (uint32_t)prng_below(&s->rng, CHECKER_CHANNELS);
    char payload[200], data[CHECKER_TEXT];
    size_t kind = prng_below(&s->rng, 20);
    (void)snprintf(data, sizeof data, "%s %zu", sim_channels[channel], s->checker.count);
    (void)snprintf(payload, sizeof payload, "%s", data);
    if (kind < 4) { /* payloads that repeat, for they are no ids */
        (void)snprintf(data, sizeof data, "%s again", sim_channels[channel]);
        (void)snprintf(payload, sizeof payload, "%s", data);
    } else if (kind == 4) {
        (void)snprintf(payload, sizeof payload, "%-*s", MESSAGE_BYTES + 1, data);
    } else if (kind < 8) {
        (void)snprintf(payload, sizeof payload, "{\"data\":\"%s\",\"id\":\"p%zu\"}", data,
                       s->checker.count);
    }
    size_t copies = world_send(&s->w, sim_channels[channel], payload);
    (void)checker_published(&s->checker, channel, copies, strlen(payload) > MESSAGE_BYTES, data,
                            now(s));
}

/* The instance stops and starts again with what it saved. */
static void restart(struct sim *s)
{
    for (size_t i = 0; i < s->client_count; i++) {
        if (s->clients[i].connected)
            cut(s, &s->clients[i]);
    }
    s->stale += metrics_get(&s->w.metrics, METRIC_STALE);
    checker_lost(&s->checker, now(s));
    if (one_in(s, 3)) /* the clock goes back meanwhile */
        s->w.wall -= (int64_t)prng_below(&s->rng, 3000000);
    world_restart(&s->w, one_in(s, 3) ? 0 : prng_below(&s->rng, 2000000));
    s->restarts++;
}

static void step_source(struct sim *s)
{
    size_t kind = prng_below(&s->rng, 60);
    if ((kind == 10 || kind == 11) && s->restarting) {
        restart(s);
        return;
    }
    if (kind == 0 && s->w.source.connected) {
        checker_lost(&s->checker, now(s));
        fake_source_lose(&s->w.source, 0);
    } else if (kind < 8 && !s->w.source.connected) {
        fake_source_connect(&s->w.source);
    } else if (kind == 9) {
        s->w.source.refused = one_in(s, 2) ? "sse:a*" : NULL;
        fake_source_retry(&s->w.source);
    } else {
        (void)fake_source_serve(&s->w.source, prng_below(&s->rng, 4));
    }
}

static void deliver(struct sim *s, size_t n)
{
    for (; n > 0; n--) {
        bool was_up = s->w.source.up;
        if (fake_source_deliver(&s->w.source, 1) == 0)
            return;
        if (!was_up && s->w.source.up)
            checker_up(&s->checker, now(s));
    }
}

static void step(struct sim *s)
{
    uint32_t worker = (uint32_t)prng_below(&s->rng, s->w.worker_count);
    s->w.mono += 1 + prng_below(&s->rng, 2000) + (one_in(s, 40) ? prng_below(&s->rng, 400000) : 0);
    switch (prng_below(&s->rng, 12)) {
    case 0:
    case 1:
    case 2:
        for (size_t i = one_in(s, 10) ? 30 : prng_below(&s->rng, 4); i > 0; i--)
            publish(s);
        break;
    case 3:
        step_source(s);
        break;
    case 4:
        deliver(s, 1 + prng_below(&s->rng, 40));
        break;
    case 5:
        (void)world_requests(&s->w, worker, 1 + prng_below(&s->rng, 20));
        break;
    case 6:
    case 7:
        world_turn(&s->w, worker);
        break;
    case 8:
        if (one_in(s, 2))
            world_tick(&s->w, worker);
        else
            world_hub_tick(&s->w);
        break;
    default:
        step_client(s);
        break;
    }
}

static void read_all(struct sim *s)
{
    s->checker.watermark = s->checker.watermark || s->w.registry.watermark > 0;
    for (size_t i = 0; i < s->client_count; i++) {
        if (s->clients[i].connected)
            read_client(s, &s->clients[i]);
    }
}

/* Everybody is back and quick, and all that was on its way arrives. */
static void settle(struct sim *s)
{
    s->w.source.refused = NULL;
    if (!s->w.source.connected)
        fake_source_connect(&s->w.source);
    fake_source_retry(&s->w.source);
    for (int round = 0; round < 4; round++) {
        for (size_t i = 0; i < s->client_count; i++) {
            if (s->clients[i].connected && s->clients[i].c.transport.closes > 0)
                cut(s, &s->clients[i]);
            if (!s->clients[i].connected)
                connect_client(s, &s->clients[i], SIZE_MAX);
            world_room(&s->w, &s->clients[i].c, SIZE_MAX);
        }
        (void)fake_source_serve(&s->w.source, SIZE_MAX);
        deliver(s, SIZE_MAX);
        world_settle(&s->w);
        read_all(s);
    }
    for (size_t i = 0; i < s->client_count; i++) {
        checker_end(&s->checker, &s->clients[i].view);
        note_guilt(s, &s->clients[i]);
    }
}

static void run(uint64_t seed, size_t totals[4])
{
    struct sim *s = sim_create(seed);
    fake_source_connect(&s->w.source);
    for (size_t i = 0; i < STEPS && s->checker.error[0] == '\0'; i++) {
        step(s);
        read_all(s);
    }
    if (s->checker.error[0] == '\0')
        settle(s);
    if (s->checker.error[0] != '\0')
        fail_msg("TICKERD_SEED=%llu: %s: %s", (unsigned long long)seed,
                 s->guilty == NULL ? "the hub" : s->guilty->url, s->checker.error);
    totals[0] += s->checker.events;
    totals[1] += s->checker.gaps;
    totals[2] += s->stale + metrics_get(&s->w.metrics, METRIC_STALE);
    totals[3] += s->restarts;
    for (size_t i = 0; i < s->client_count; i++)
        cut(s, &s->clients[i]);
    world_finish(&s->w);
    checker_finish(&s->checker);
    free(s);
}

static void test_nothing_is_lost_in_silence(void **state)
{
    (void)state;
    const char *one = getenv("TICKERD_SEED"), *many = getenv("TICKERD_SEEDS");
    uint64_t seeds = many == NULL ? SEEDS : strtoull(many, NULL, 10);
    size_t totals[4] = {0, 0, 0, 0};
    if (one != NULL) {
        run(strtoull(one, NULL, 10), totals);
        return;
    }
    for (uint64_t seed = 1; seed <= seeds; seed++)
        run(seed, totals);
    print_message("%zu events, %zu gaps, %zu overflows, %zu restarts\n", totals[0], totals[1],
                  totals[2], totals[3]);
    assert_true(totals[0] > 1000 && totals[1] > 1000 && totals[2] > seeds / 10 &&
                totals[3] > seeds / 10);
}

int main(void)
{
    log_setup(LOG_ERROR, LOG_TEXT);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_nothing_is_lost_in_silence)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
