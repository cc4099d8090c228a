/* Streams end with their right: when the token runs out, at a command, by a new configuration. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "grant_util.h"
#include "tickerd/base/log.h"
#include "world.h"

#define REQUIRED "auth.mode=required", "auth.jwks_file=/nowhere"

static const char *const required[] = {REQUIRED, NULL};

static struct fanout *fan(struct world *w)
{
    return &w->workers[0].fanout;
}

static uint64_t closed(struct world *w, enum closing why)
{
    return metrics_closed(&w->workers[0].metrics, why);
}

static int64_t wall_s(const struct world *w)
{
    return ((int64_t)w->mono + w->wall) / (int64_t)WORLD_SECOND;
}

/* exp_s is counted from now; 0: never. */
static void join_as(struct world *w, struct world_client *c, const char *url, const char *claim,
                    const char *sub, int64_t exp_s)
{
    struct grant *g =
        claim == NULL ? NULL : grant_of(claim, sub, exp_s == 0 ? 0 : wall_s(w) + exp_s);
    world_connect_granted(w, 0, c, url, NULL, SIZE_MAX, g);
    world_settle(w);
}

/* It was told when to come back, behind a whole block, and the connection ended in order. */
static void assert_sent_away(const struct world_client *c)
{
    assert_int_equal(c->transport.closes, 1);
    assert_false(c->transport.aborted);
    assert_int_equal(c->transport.decoder.retries, 2);
}

static void until_its_token_runs_out(void **state)
{
    (void)state;
    struct world w;
    struct world_client soon, late, never;
    world_start(&w, required);
    world_tick(&w, 0);
    join_as(&w, &soon, "/events/a", "a", "1", 10);
    join_as(&w, &late, "/events?pattern=*", "a", "2", 2000);
    join_as(&w, &never, "/events/a", "a", "3", 0);
    world_sleep(&w, 9 * WORLD_SECOND + WORLD_SECOND / 2);
    world_deliver(&w, "a", "1");
    assert_int_equal(soon.transport.closes, 0);
    world_sleep(&w, WORLD_SECOND / 2);
    assert_sent_away(&soon);
    world_expect(&soon, "open new | 1");
    assert_int_equal(closed(&w, CLOSING_EXPIRED), 1);
    world_sleep(&w, 1980 * WORLD_SECOND);
    assert_int_equal(late.transport.closes, 0);
    world_sleep(&w, 10 * WORLD_SECOND + WORLD_SECOND / 4);
    assert_sent_away(&late);
    assert_int_equal(never.transport.closes, 0);
    assert_int_equal(closed(&w, CLOSING_EXPIRED), 2);
    assert_int_equal(closed(&w, CLOSING_REVOKED), 0);
    world_disconnect(&soon);
    world_disconnect(&late);
    world_disconnect(&never);
    world_finish(&w);
}

/* No tick has noticed yet, but there is something to send. */
static void nothing_is_gathered_after_the_end(void **state)
{
    (void)state;
    struct world w;
    struct world_client c, blocked;
    world_start(&w, required);
    world_tick(&w, 0);
    join_as(&w, &c, "/events/a", "a", "1", 10);
    join_as(&w, &blocked, "/events/a", "a", "1", 10);
    world_room(&w, &blocked, 0);
    world_deliver(&w, "a", "1");
    w.mono += 10 * WORLD_SECOND;
    world_deliver(&w, "a", "2");
    assert_sent_away(&c);
    world_expect(&c, "open new | 1");
    world_room(&w, &blocked, SIZE_MAX); /* it never got what it was owed */
    assert_sent_away(&blocked);
    world_expect(&blocked, "open new");
    assert_int_equal(closed(&w, CLOSING_EXPIRED), 2);
    world_tick(&w, 0);
    assert_int_equal(closed(&w, CLOSING_EXPIRED), 2);
    world_disconnect(&c);
    world_disconnect(&blocked);
    world_finish(&w);
}

static void under_steps_of_the_clock(void **state)
{
    (void)state;
    static const struct {
        int64_t step; /* seconds */
        int64_t exp, stays, goes;
    } cases[] = {
        {0, 100, 99, 101},        {50, 100, 49, 51},   {-50, 100, 149, 151}, {3600, 100, 0, 1},
        {-3600, 100, 3699, 3701}, {90, 600, 509, 511}, {700, 900, 199, 201}, {-10, 5, 14, 16},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct world w;
        struct world_client c;
        world_start(&w, required);
        w.fresh_tag = 77;
        world_tick(&w, 0);
        join_as(&w, &c, "/events/a", "a", NULL, cases[i].exp);
        world_sleep(&w, WORLD_SECOND);
        w.wall += (cases[i].step - 1) * (int64_t)WORLD_SECOND; /* and that second has not been */
        if (cases[i].stays > 0)
            world_sleep(&w, (uint64_t)cases[i].stays * WORLD_SECOND);
        if (cases[i].stays > 0 && c.transport.closes != 0)
            fail_msg("step by %d: too early", (int)cases[i].step);
        world_sleep(&w, (uint64_t)(cases[i].goes - cases[i].stays) * WORLD_SECOND);
        if (c.transport.closes != 1)
            fail_msg("step by %d: too late", (int)cases[i].step);
        world_disconnect(&c);
        world_finish(&w);
    }
}

/* It waits for its views still. */
static void before_it_began(void **state)
{
    (void)state;
    struct world w;
    struct world_client c, history;
    world_start(&w, required);
    world_tick(&w, 0);
    world_deliver(&w, "a", "old");
    world_connect_granted(&w, 0, &c, "/events?pattern=*&history=all", NULL, SIZE_MAX,
                          grant_of("a", "1", wall_s(&w) + 1));
    world_connect_granted(&w, 0, &history, "/events/a?history=all", "somebody's", SIZE_MAX,
                          grant_of("a", "2", 0));
    assert_int_equal(c.transport.writes, 0);
    w.mono += 2 * WORLD_SECOND;
    (void)fanout_tick(fan(&w), w.mono, (uint64_t)((int64_t)w.mono + w.wall));
    assert_sent_away(&c);
    world_expect(&c, "open new");
    assert_int_equal(fanout_disconnect(fan(&w), "2", 1, NULL, 0, w.mono), 1);
    assert_sent_away(&history);
    world_expect(&history, "open continued"); /* with its own id */
    assert_string_equal(world_event(&history, 0)->last_event_id.p, "somebody's");
    world_settle(&w);
    world_disconnect(&c);
    world_disconnect(&history);
    world_finish(&w);
}

static void who_is_slow_may_finish_its_frame(void **state)
{
    (void)state;
    const char *settings[] = {REQUIRED, "limits.write_timeout=5s", NULL};
    struct world w;
    struct world_client done, stuck, trickle;
    struct world_client *all[] = {&done, &stuck, &trickle};
    char payload[400];
    memset(payload, 'x', sizeof payload - 1);
    payload[sizeof payload - 1] = '\0';
    world_start(&w, settings);
    world_tick(&w, 0);
    for (size_t i = 0; i < 3; i++) {
        join_as(&w, all[i], "/events/a", "a", NULL, 10);
        world_room(&w, all[i], 10);
    }
    world_sleep(&w, 9 * WORLD_SECOND / 2);
    world_deliver(&w, "a", payload);
    world_sleep(&w, WORLD_SECOND);
    for (size_t i = 0; i < 3; i++)
        world_room(&w, all[i], 20); /* still there */
    world_deliver(&w, "a", "later");
    world_sleep(&w, 5 * WORLD_SECOND); /* it has run out meanwhile */
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(all[i]->session.why, CLOSING_EXPIRED);
    assert_int_equal(closed(&w, CLOSING_EXPIRED), 0); /* not yet */
    world_room(&w, &done, SIZE_MAX);
    assert_sent_away(&done);
    assert_int_equal(done.transport.decoder.count, 2); /* open and the frame, not the later one */
    for (int i = 0; i < 8; i++) {                      /* a byte now and then puts nothing off */
        world_room(&w, &trickle, 1);
        world_sleep(&w, WORLD_SECOND);
    }
    assert_int_equal(stuck.transport.closes, 1);
    assert_true(stuck.transport.aborted);
    assert_int_equal(trickle.transport.closes, 1);
    assert_true(trickle.transport.aborted);
    assert_int_equal(closed(&w, CLOSING_EXPIRED), 3); /* whatever finished them */
    for (size_t i = 0; i < 3; i++)
        world_disconnect(all[i]);
    world_finish(&w);
}

/* ---- commands -------------------------------------------------------------------------------- */

enum { GUESTS = 8 };

static void by_subject_and_channel(void **state)
{
    (void)state;
    static const struct {
        const char *url, *claim, *sub;
    } guests[GUESTS] = {
        {"/events/news", "*", "42"},
        {"/events/mail", "*", "42"},
        {"/events/news", "*", "43"},
        {"/events?pattern=n*", "*", "44"},
        {"/events?pattern=*", "mail", "44"}, /* restricted: news is none of its */
        {"/events?pattern=*", "mail news", "45"},
        {"/events?pattern=m*", "*", NULL},
        {"/events?channel=x&channel=news", "*", "421"},
    };
    static const struct {
        const char *sub, *channel, *cut;
    } cases[] = {
        {"42", NULL, "01"},      {"44", NULL, "34"},     {"4", NULL, ""},     {"", NULL, ""},
        {NULL, "news", "02357"}, {NULL, "mail", "1456"}, {NULL, "new", "3"},  {NULL, "$x", ""},
        {"42", "news", "0"},     {"44", "news", "3"},    {"44", "mail", "4"}, {"43", "mail", ""},
        {NULL, NULL, ""},        {"421", "x", "7"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct world w;
        struct world_client c[GUESTS];
        const char *sub = cases[i].sub, *channel = cases[i].channel;
        world_start(&w, required);
        for (size_t k = 0; k < GUESTS; k++)
            join_as(&w, &c[k], guests[k].url, guests[k].claim, guests[k].sub, 0);
        size_t cut = fanout_disconnect(fan(&w), sub, sub == NULL ? 0 : strlen(sub), channel,
                                       channel == NULL ? 0 : strlen(channel), w.mono);
        assert_int_equal(cut, strlen(cases[i].cut));
        assert_int_equal(closed(&w, CLOSING_REVOKED), cut);
        for (size_t k = 0; k < GUESTS; k++) {
            bool gone = strchr(cases[i].cut, '0' + (int)k) != NULL;
            if (gone)
                assert_sent_away(&c[k]);
            else
                assert_int_equal(c[k].transport.closes, 0);
            world_disconnect(&c[k]);
        }
        assert_int_equal(strmap_count(&fan(&w)->rights.subjects), 0);
        world_finish(&w);
    }
}

static void without_auth_by_channel(void **state)
{
    (void)state;
    struct world w;
    struct world_client a, all, b;
    world_open(&w, NULL, &a, "/events/a");
    world_connect(&w, 0, &all, "/events?pattern=*", NULL);
    world_connect(&w, 0, &b, "/events/b", NULL);
    world_settle(&w);
    assert_int_equal(fanout_disconnect(fan(&w), NULL, 0, "a", 1, w.mono), 2);
    assert_sent_away(&a);
    assert_sent_away(&all);
    assert_int_equal(b.transport.closes, 0);
    world_disconnect(&a);
    world_disconnect(&all);
    world_disconnect(&b);
    world_finish(&w);
}

/* A crowd goes some at a time, but from the first moment on nobody of it is sent anything. */
static void a_crowd_is_spread(void **state)
{
    (void)state;
    enum { CROWD = 1000 };
    struct world w;
    struct world_client *c = calloc(CROWD, sizeof *c), other;
    world_start(&w, required);
    for (size_t i = 0; i < CROWD; i++)
        join_as(&w, &c[i], "/events/a", "*", "42", 0);
    join_as(&w, &other, "/events/a", "*", "43", 0);
    assert_int_equal(fanout_disconnect(fan(&w), "42", 2, NULL, 0, w.mono), CROWD);
    size_t left = fan(&w)->count;
    assert_in_range(left, CROWD / 2, CROWD);
    world_deliver(&w, "a", "x"); /* finds the rest and sends them away */
    assert_int_equal(fan(&w)->count, 1);
    world_expect(&other, "open new | x");
    for (size_t i = 0; i < CROWD; i++) {
        world_expect(&c[i], "open new");
        assert_sent_away(&c[i]);
        world_disconnect(&c[i]);
    }
    for (size_t i = 0; i < CROWD; i++)
        join_as(&w, &c[i], "/events/a", "*", "42", 0);
    assert_int_equal(fanout_disconnect(fan(&w), NULL, 0, "a", 1, w.mono), CROWD + 1);
    size_t ticks = 0;
    uint64_t wall = (uint64_t)((int64_t)w.mono + w.wall);
    while (fanout_tick(fan(&w), w.mono, wall) < 10000 && ticks < 100)
        ticks++;
    assert_in_range(ticks, 1, 10);
    assert_int_equal(fan(&w)->count, 0);
    for (size_t i = 0; i < CROWD; i++)
        world_disconnect(&c[i]);
    free(c);
    world_disconnect(&other);
    world_finish(&w);
}

static void a_drain_and_a_command_meet(void **state)
{
    (void)state;
    struct world w;
    struct world_client c, stuck;
    world_start(&w, required);
    join_as(&w, &c, "/events/a", "*", "42", 0);
    join_as(&w, &stuck, "/events/a", "*", "42", 0);
    world_room(&w, &stuck, 5);
    world_deliver(&w, "a", "x");
    fanout_drain(fan(&w), w.mono);
    world_sleep(&w, 12 * WORLD_SECOND);
    assert_sent_away(&c);
    assert_int_equal(fanout_disconnect(fan(&w), "42", 2, NULL, 0, w.mono), 0); /* on its way */
    world_room(&w, &stuck, SIZE_MAX);
    assert_sent_away(&stuck);
    world_disconnect(&c);
    world_disconnect(&stuck);
    world_finish(&w);
}

/* ---- a new configuration --------------------------------------------------------------------- */

static bool knows(void *ctx, const uint8_t key[TOKEN_ID_LEN])
{
    return memchr(ctx, key[0], strlen(ctx)) != NULL;
}

struct reload {
    const char *before[4], *after[4];
    const char *known; /* the first bytes of the keys that are left */
    bool anew;
    const char *cut;
};

#define KEYS "auth.jwks_file=/nowhere"
#define OPEN "channels=[{\"match\":\"open*\",\"anonymous\":true}]"

static void check_reload(const struct reload *t)
{
    static const struct {
        const char *url, *claim; /* no claim: no token */
        char key;
    } guests[] = {
        {"/events/a", "a", 'k'},         {"/events/a", "a", 'l'},
        {"/events/open1", "a", 'k'}, /* by the rule */
        {"/events?pattern=*", "a", 'k'}, {"/events/open1", NULL, 0},
        {"/events?pattern=*", NULL, 0},  {"/events/a", NULL, 0},
    };
    enum { COUNT = sizeof guests / sizeof guests[0] };
    struct world w;
    struct world_client c[COUNT];
    bool in[COUNT];
    world_start(&w, t->before);
    struct config *before = w.config;
    for (size_t k = 0; k < COUNT; k++) {
        struct token token = token_of(guests[k].claim == NULL ? "" : guests[k].claim, "s", 0);
        token.key[0] = (uint8_t)guests[k].key;
        bool has = guests[k].claim != NULL && before->auth.mode != AUTH_OFF;
        struct grant *g = grant_create(has ? &token : NULL, 0, 0);
        struct target target;
        struct target_error error;
        const struct target_rules rules = {.topics_max = 8};
        const struct target_topic *culprit;
        token_finish_of(&token);
        assert_int_equal(
            target_parse(&target, guests[k].url, strlen(guests[k].url), &rules, &error), 0);
        in[k] = auth_decide(before, g, &target, &culprit) == AUTH_ALLOWED;
        target_finish(&target);
        if (in[k])
            world_connect_granted(&w, 0, &c[k], guests[k].url, NULL, SIZE_MAX, g);
        else
            grant_destroy(g);
    }
    world_settle(&w);
    struct config *after = world_config(t->after);
    size_t cut = fanout_reload(fan(&w), after, knows, (void *)(uintptr_t)t->known, t->anew, w.mono);
    assert_int_equal(closed(&w, CLOSING_REVOKED), cut);
    world_deliver(&w, "open9", "x"); /* patterns' streams are decided by the new rules */
    for (size_t k = 0; k < COUNT; k++) {
        bool gone = strchr(t->cut, '0' + (int)k) != NULL;
        if (!in[k]) {
            assert_false(gone);
            continue;
        }
        if ((c[k].transport.closes == 1) != gone)
            fail_msg("guest %zu, %s to %s", k, t->before[0], t->after[0]);
        bool pattern = strstr(guests[k].url, "pattern") != NULL;
        bool hears = pattern && !gone && auth_allows(after, NULL, "open9", 5);
        world_expect(&c[k], hears ? "open new | x" : "open new");
        world_disconnect(&c[k]);
    }
    world_finish(&w); /* frees the old one: nothing may look at it */
    config_destroy(after);
}

static void who_stays_after_a_reload(void **state)
{
    (void)state;
    static const struct reload cases[] = {
        /* nothing changes */
        {{"auth.mode=required", KEYS}, {"auth.mode=required", KEYS}, "kl", false, ""},
        /* a key goes */
        {{"auth.mode=required", KEYS}, {"auth.mode=required", KEYS}, "k", false, "1"},
        {{"auth.mode=optional", KEYS, OPEN}, {"auth.mode=optional", KEYS, OPEN}, "l", false, "023"},
        /* a claim has another name, say */
        {{"auth.mode=required", KEYS}, {"auth.mode=required", KEYS}, "kl", true, "013"},
        {{"auth.mode=optional", KEYS, OPEN},
         {"auth.mode=optional", KEYS, OPEN},
         "kl",
         true,
         "0123"},
        /* the rule goes */
        {{"auth.mode=optional", KEYS, OPEN}, {"auth.mode=optional", KEYS}, "kl", false, "245"},
        /* a rule comes */
        {{"auth.mode=optional", KEYS}, {"auth.mode=optional", KEYS, OPEN}, "kl", false, ""},
        /* modes */
        {{"auth.mode=off"}, {"auth.mode=required", KEYS}, "kl", true, "0123456"},
        {{"auth.mode=off"}, {"auth.mode=optional", KEYS, OPEN}, "kl", true, "016"},
        {{"auth.mode=optional", KEYS, OPEN},
         {"auth.mode=required", KEYS, OPEN},
         "kl",
         false,
         "245"},
        {{"auth.mode=optional", KEYS, OPEN}, {"auth.mode=off"}, "kl", true, "0123"},
        {{"auth.mode=required", KEYS}, {"auth.mode=off"}, "kl", false, ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        check_reload(&cases[i]);
}

/* What it could not hear before does not come late when it may hear it now. */
static void what_is_allowed_now_begins_now(void **state)
{
    (void)state;
    const char *before[] = {"auth.mode=optional", KEYS, OPEN, NULL};
    const char *all[] = {"auth.mode=optional", KEYS,
                         "channels=[{\"match\":\"*\",\"anonymous\":true}]", NULL};
    struct world w;
    struct world_client c;
    world_open(&w, before, &c, "/events?pattern=*");
    world_deliver(&w, "open1", "1");
    world_deliver(&w, "a", "2");
    struct config *after = world_config(all);
    assert_int_equal(fanout_reload(fan(&w), after, NULL, NULL, false, w.mono), 0);
    world_deliver(&w, "a", "3");
    world_expect(&c, "open new | 1 | 3");
    assert_int_equal(fanout_reload(fan(&w), w.config, NULL, NULL, false, w.mono), 0);
    world_deliver(&w, "a", "4");
    world_deliver(&w, "open2", "5");
    world_expect(&c, "open new | 1 | 3 | 5");
    world_disconnect(&c);
    world_finish(&w);
    config_destroy(after);
}

/* What the fan-out has taken from its configuration. */
static void other_settings_count_at_once(void **state)
{
    (void)state;
    const char *beats[] = {"stream.heartbeat=5s", "redis.ping_timeout=9s", "resume.window=20s",
                           "channels=[{\"match\":\"x\",\"slow\":\"disconnect\"}]", NULL};
    struct world w;
    struct world_client c;
    world_open(&w, NULL, &c, "/events/a");
    uint64_t patience = fan(&w)->replica.patience;
    struct config *after = world_config(beats);
    assert_int_equal(fanout_reload(fan(&w), after, NULL, NULL, false, w.mono), 0);
    assert_true(fan(&w)->may_cut);
    assert_true(fan(&w)->replica.patience > patience);
    world_sleep(&w, 6 * WORLD_SECOND);
    assert_int_equal(c.transport.writes, 2);
    world_disconnect(&c);
    world_finish(&w);
    config_destroy(after);
}

int main(void)
{
    log_setup(LOG_ERROR, LOG_TEXT);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(until_its_token_runs_out),
        cmocka_unit_test(nothing_is_gathered_after_the_end),
        cmocka_unit_test(under_steps_of_the_clock),
        cmocka_unit_test(before_it_began),
        cmocka_unit_test(who_is_slow_may_finish_its_frame),
        cmocka_unit_test(by_subject_and_channel),
        cmocka_unit_test(without_auth_by_channel),
        cmocka_unit_test(a_crowd_is_spread),
        cmocka_unit_test(a_drain_and_a_command_meet),
        cmocka_unit_test(who_stays_after_a_reload),
        cmocka_unit_test(what_is_allowed_now_begins_now),
        cmocka_unit_test(other_settings_count_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
