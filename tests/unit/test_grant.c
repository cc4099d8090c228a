/* What streams with grants are sent: live, from history, after a loss, when they are slow. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "grant_util.h"
#include "tickerd/base/clock.h"
#include "tickerd/base/log.h"
#include "world.h"

#define REQUIRED "auth.mode=required", "auth.jwks_file=/nowhere"
#define OPTIONAL "auth.mode=optional", "auth.jwks_file=/nowhere"

static const char *const required[] = {REQUIRED, NULL};

static void join(struct world *w, struct world_client *c, const char *url, const char *id,
                 const char *claim)
{
    world_connect_granted(w, 0, c, url, id, SIZE_MAX,
                          claim == NULL ? NULL : grant_of(claim, "42", 0));
    world_settle(w);
}

static uint64_t metric(struct world *w, enum metric m)
{
    return metrics_get(&w->workers[0].metrics, m);
}

static void deliver_oversize(struct world *w, const char *channel)
{
    char big[2000];
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    world_deliver(w, channel, big);
}

static void each_channel_is_decided_alone(void **state)
{
    (void)state;
    struct world w;
    struct world_client some, all, none;
    world_start(&w, required);
    join(&w, &some, "/events?pattern=*", NULL, "news user.42.*");
    join(&w, &all, "/events?pattern=*", NULL, "*");
    join(&w, &none, "/events?pattern=*", NULL, "");
    world_deliver(&w, "news", "1");
    world_deliver(&w, "user.43.mail", "2");
    world_deliver(&w, "user.42.mail", "3");
    world_deliver(&w, "secret", "4");
    world_deliver(&w, "news", "5");
    world_expect(&some, "open new | 1 | 3 | 5");
    world_expect(&all, "open new | 1 | 2 | 3 | 4 | 5");
    world_expect(&none, "open new");
    assert_int_equal(metric(&w, METRIC_DELIVERIES), 8);
    /* It was not so much as written to. */
    assert_int_equal(none.transport.writes, 1);
    world_disconnect(&some);
    world_disconnect(&all);
    world_disconnect(&none);
    world_finish(&w);
}

static void a_named_channel_and_a_pattern_over_it(void **state)
{
    (void)state;
    struct world w;
    struct world_client c;
    world_start(&w, required);
    join(&w, &c, "/events?channel=a&pattern=*", NULL, "a b");
    world_deliver(&w, "a", "1");
    world_deliver(&w, "secret", "2");
    world_deliver(&w, "b", "3");
    world_deliver(&w, "a", "4");
    world_expect(&c, "open new | 1 | 3 | 4");
    world_disconnect(&c);
    world_finish(&w);
}

static void anonymous_streams_share_what_the_rules_allow(void **state)
{
    (void)state;
    const char *settings[] = {OPTIONAL,
                              "channels=[{\"match\":\"open.secret\"},"
                              "{\"match\":\"open.*\",\"anonymous\":true}]",
                              NULL};
    struct world w;
    struct world_client one, two, owner;
    world_start(&w, settings);
    join(&w, &one, "/events?pattern=*", NULL, NULL);
    join(&w, &two, "/events?pattern=*", NULL, NULL);
    join(&w, &owner, "/events?pattern=*", NULL, "mine");
    world_deliver(&w, "open.1", "1");
    world_deliver(&w, "open.secret", "2");
    world_deliver(&w, "mine", "3");
    world_deliver(&w, "open.2", "4");
    world_expect(&one, "open new | 1 | 4");
    world_expect(&two, "open new | 1 | 4");
    world_expect(&owner, "open new | 1 | 3 | 4");
    /* Nobody who comes later hears from another's batch, wherever their memory lies. */
    world_publish(&w, "mine", "5");
    world_disconnect(&owner);
    world_turn(&w, 0);
    join(&w, &owner, "/events?pattern=*", NULL, "yours");
    world_deliver(&w, "mine", "6");
    world_expect(&owner, "open new");
    world_expect(&one, "open new | 1 | 4");
    world_disconnect(&one);
    world_disconnect(&two);
    world_disconnect(&owner);
    world_finish(&w);
}

static void history_is_of_what_is_allowed(void **state)
{
    (void)state;
    struct world w;
    struct world_client c, first;
    world_open(&w, required, &first, "/events?pattern=*");
    world_deliver(&w, "secret", "s1");
    world_deliver(&w, "a", "1");
    world_deliver(&w, "b", "2");
    for (int i = 0; i < 5; i++)
        world_deliver(&w, "secret", "s");
    world_deliver(&w, "a", "3");
    world_deliver(&w, "secret", "s2");
    join(&w, &c, "/events?pattern=*&history=1", NULL, "a b");
    world_expect(&c, "open new | 2 | 3");
    world_disconnect(&c);
    join(&w, &c, "/events?pattern=*&history=all", NULL, "a b");
    world_expect(&c, "open new | 1 | 2 | 3");
    world_disconnect(&c);
    join(&w, &c, "/events?pattern=*&history=3", NULL, "none");
    world_expect(&c, "open new");
    world_disconnect(&c);
    world_disconnect(&first);
    world_finish(&w);
}

static void losses_elsewhere_are_not_told(void **state)
{
    (void)state;
    const char *settings[] = {REQUIRED, "limits.message_bytes=1024", NULL};
    struct world w;
    struct world_client c;
    world_start(&w, settings);
    join(&w, &c, "/events?pattern=*", NULL, "a");
    deliver_oversize(&w, "secret");
    world_deliver(&w, "a", "1");
    deliver_oversize(&w, "a");
    world_deliver(&w, "a", "2");
    world_expect(&c, "open new | 1 | gap a oversize | 2");
    assert_int_equal(metrics_gaps(&w.workers[0].metrics), 1);
    fake_source_lose(&w.source, 0); /* concerns everybody */
    fake_source_connect(&w.source);
    world_settle(&w);
    world_expect(&c, "open new | 1 | gap a oversize | 2 | gap * upstream");
    world_disconnect(&c);
    world_finish(&w);
}

/* The position, which gaps show, does not follow what is not allowed. */
static void gaps_begin_where_the_client_stands(void **state)
{
    (void)state;
    struct world w;
    struct world_client c;
    char from[64];
    world_start(&w, required);
    join(&w, &c, "/events?pattern=*", NULL, "a");
    world_deliver(&w, "a", "1");
    (void)snprintf(from, sizeof from, "\"from\":\"%s\"", world_event(&c, 1)->last_event_id.p);
    for (int i = 0; i < 10; i++)
        world_deliver(&w, "secret", "s");
    fake_source_lose(&w.source, 0);
    fake_source_connect(&w.source);
    world_settle(&w);
    assert_non_null(strstr(world_event(&c, 2)->data.p, from));
    world_disconnect(&c);
    world_finish(&w);
}

/* While it hears nothing, what it may not hear leaves the history: that is no loss of its. */
static void a_quiet_stream_misses_nothing(void **state)
{
    (void)state;
    const char *settings[] = {REQUIRED, "history.events=2", NULL};
    struct world w;
    struct world_client c;
    world_start(&w, settings);
    join(&w, &c, "/events?pattern=*", NULL, "a");
    for (int i = 0; i < 100; i++)
        world_deliver(&w, i % 2 == 0 ? "secret" : "other", "s");
    world_deliver(&w, "a", "1");
    world_expect(&c, "open new | 1");
    world_disconnect(&c);
    world_finish(&w);
}

static void the_forbidden_cuts_nobody(void **state)
{
    (void)state;
    const char *settings[] = {REQUIRED, "channels=[{\"match\":\"*\",\"slow\":\"disconnect\"}]",
                              "history.events=3", NULL};
    struct world w;
    struct world_client c, other;
    world_start(&w, settings);
    join(&w, &c, "/events?pattern=*", NULL, "a");
    join(&w, &other, "/events?pattern=*", NULL, "a secret");
    world_room(&w, &c, 0);
    world_room(&w, &other, 0);
    world_deliver(&w, "a", "1");
    for (int i = 0; i < 8; i++)
        world_deliver(&w, "secret", "s");
    world_tick(&w, 0);
    assert_int_equal(c.transport.closes, 0);
    world_room(&w, &c, SIZE_MAX);
    world_room(&w, &other, SIZE_MAX);
    world_expect(&c, "open new | 1");
    assert_int_equal(c.transport.closes, 0);
    world_room(&w, &c, 5);
    world_deliver(&w, "a", "2");
    for (int i = 0; i < 100; i++) /* so many that their holes melt; but not with each other */
        world_deliver(&w, i % 2 == 0 ? "secret" : "hidden", "s");
    world_room(&w, &c, SIZE_MAX);
    world_expect(&c, "open new | 1 | 2");
    assert_int_equal(c.transport.closes, 0);
    assert_int_equal(other.transport.closes, 1); /* that was its channel */
    assert_int_equal(metrics_closed(&w.workers[0].metrics, CLOSING_SLOW), 1);
    world_room(&w, &c, 0);
    for (int i = 0; i < 8; i++)
        world_deliver(&w, "a", "x");
    world_room(&w, &c, SIZE_MAX);
    assert_int_equal(c.transport.closes, 1); /* and this its own */
    assert_int_equal(metrics_closed(&w.workers[0].metrics, CLOSING_SLOW), 2);
    world_disconnect(&c);
    world_disconnect(&other);
    world_finish(&w);
}

static void the_newest_of_what_is_allowed(void **state)
{
    (void)state;
    const char *settings[] = {REQUIRED, "channels=[{\"match\":\"*\",\"slow\":\"latest\"}]", NULL};
    struct world w;
    struct world_client c;
    world_start(&w, settings);
    join(&w, &c, "/events?pattern=*", NULL, "a b");
    world_room(&w, &c, 0);
    world_deliver(&w, "a", "1");
    world_deliver(&w, "b", "2");
    world_deliver(&w, "secret", "s");
    world_deliver(&w, "a", "3");
    world_deliver(&w, "secret", "s");
    world_room(&w, &c, SIZE_MAX);
    world_expect(&c, "open new | 2 | 3");
    world_disconnect(&c);
    world_finish(&w);
}

static void resuming(void **state)
{
    (void)state;
    struct world w;
    struct world_client c, all;
    char own[64], secret[64];
    world_start(&w, required);
    join(&w, &all, "/events?pattern=*", NULL, "*");
    world_sleep(&w, 30 * WORLD_SECOND); /* the start is far enough behind */
    world_deliver(&w, "a", "1");
    world_deliver(&w, "secret", "{\"data\":\"s\",\"id\":\"find-me\"}");
    world_deliver(&w, "a", "2");
    world_deliver(&w, "secret", "s2");
    world_deliver(&w, "a", "{\"data\":\"3\",\"id\":\"p3\"}");
    world_deliver(&w, "a", "4");
    (void)snprintf(own, sizeof own, "%s", world_event(&all, 1)->last_event_id.p);
    (void)snprintf(secret, sizeof secret, "%s", world_event(&all, 4)->last_event_id.p);
    memcpy(secret + 14, "12345678", 8); /* as another instance would have it */
    static const struct {
        const char *id, *events;
    } cases[] = {
        {"own", "open continued | 2 | 3 | 4"},
        {"p3", "open continued | 4"},
        {"find-me", "open gap | gap * unknown-id | 1 | 2 | 3 | 4"},
        {"no-such", "open gap | gap * unknown-id | 1 | 2 | 3 | 4"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        join(&w, &c, "/events?pattern=*", i == 0 ? own : cases[i].id, "a");
        world_expect(&c, cases[i].events);
        world_disconnect(&c);
    }
    /* Whether that event was here cannot be told by what its id, or one that names none, leads to.
     */
    struct world_client guess;
    char wrong[64];
    (void)snprintf(wrong, sizeof wrong, "%s", secret);
    wrong[strlen(wrong) - 1] = wrong[strlen(wrong) - 1] == '0' ? '1' : '0';
    join(&w, &c, "/events?pattern=*", secret, "a");
    join(&w, &guess, "/events?pattern=*", wrong, "a");
    world_sleep(&w, 8 * WORLD_SECOND);
    assert_int_equal(c.transport.decoder.count, guess.transport.decoder.count);
    for (size_t i = 1; i < c.transport.decoder.count; i++) {
        assert_string_equal(world_event(&c, i)->data.p, world_event(&guess, i)->data.p);
        assert_string_equal(world_event(&c, i)->last_event_id.p,
                            world_event(&guess, i)->last_event_id.p);
    }
    world_disconnect(&guess);
    world_disconnect(&c);
    join(&w, &c, "/events?pattern=*", secret, "*"); /* who may hear it goes on behind it */
    world_expect(&c, "open continued | 3 | 4");
    world_disconnect(&c);
    world_disconnect(&all);
    world_finish(&w);
}

/* Of two patterns' logs one has heard of an eviction already. What melted there into the hole that
 * the forbidden event left stands at its place, and must be told. */
static void a_hidden_event_hides_no_loss(void **state)
{
    (void)state;
    static struct world w;
    struct world_client c;
    const char *settings[] = {REQUIRED, NULL};
    world_start(&w, settings);
    join(&w, &c, "/events?pattern=s*&pattern=*", NULL, "a");
    world_room(&w, &c, 0);
    world_deliver(&w, "a", "1");
    world_deliver(&w, "secret", "s");
    struct replica *r = &w.workers[0].fanout.replica;
    struct view *narrow = strmap_get(&r->patterns, "s*", 2),
                *wide = strmap_get(&r->patterns, "*", 1);
    assert_true(narrow != NULL && wide != NULL && wide->ring.count == 2);
    /* The wide one's: both gone, and what else was lost at the newer's place has no name. */
    uint64_t first = entry_seq(ring_at(&wide->ring, 0)),
             second = entry_seq(ring_at(&wide->ring, 1));
    assert_true(ring_evict_at(&wide->ring, first, HOLE_COUNTED | ++r->evictions));
    assert_true(ring_evict_at(&wide->ring, second, HOLE_COUNTED | ++r->evictions));
    assert_int_equal(ring_push_hole(&wide->ring, second, NULL, GAP_EVICTED), 0);
    assert_int_equal(ring_frames(&narrow->ring), 1);
    world_room(&w, &c, SIZE_MAX);
    world_expect(&c, "open new | gap * slow");
    world_disconnect(&c);
    world_finish(&w);
}

/* After a balancer has lost an instance, those who come from there ask for events that are still on
 * their way, and are looked at every turn: that must not go over all that they may not hear. */
static void a_crowd_that_waits_is_quick(void **state)
{
    (void)state;
    enum { CROWD = 256, EVENTS = 20000, TURNS = 100 };
    const char *settings[] = {REQUIRED, "history.events=20000", NULL};
    struct world w;
    static struct world_client first, crowd[CROWD];
    char id[EVENTID_LEN + 1] = "";
    world_start(&w, settings);
    join(&w, &first, "/events?pattern=*", NULL, "a");
    for (int i = 0; i < EVENTS; i++)
        world_publish(&w, "secret", "s");
    world_sleep(&w, 30 * WORLD_SECOND);
    world_deliver(&w, "a", "1");
    (void)snprintf(id, sizeof id, "%s", world_event(&first, 1)->last_event_id.p);
    memcpy(id + 14, "12345678-00000001", 17); /* of another instance's next event, say */
    uint64_t started = clock_mono_us();
    for (size_t k = 0; k < CROWD; k++)
        world_connect_granted(&w, 0, &crowd[k], "/events?pattern=*", id, SIZE_MAX,
                              grant_of("a", "42", 0));
    for (int i = 0; i < TURNS; i++)
        world_deliver(&w, "secret", "s");
    assert_int_equal(crowd[0].transport.writes, 0);
    assert_true(clock_mono_us() - started < 3 * US_PER_S);
    world_sleep(&w, 4 * WORLD_SECOND);
    for (size_t k = 0; k < CROWD; k++) {
        world_expect(&crowd[k], "open gap | gap * unknown-id | 1");
        world_disconnect(&crowd[k]);
    }
    world_disconnect(&first);
    world_finish(&w);
}

int main(void)
{
    log_setup(LOG_ERROR, LOG_TEXT);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_channel_is_decided_alone),
        cmocka_unit_test(a_named_channel_and_a_pattern_over_it),
        cmocka_unit_test(anonymous_streams_share_what_the_rules_allow),
        cmocka_unit_test(history_is_of_what_is_allowed),
        cmocka_unit_test(losses_elsewhere_are_not_told),
        cmocka_unit_test(gaps_begin_where_the_client_stands),
        cmocka_unit_test(a_quiet_stream_misses_nothing),
        cmocka_unit_test(the_forbidden_cuts_nobody),
        cmocka_unit_test(the_newest_of_what_is_allowed),
        cmocka_unit_test(resuming),
        cmocka_unit_test(a_hidden_event_hides_no_loss),
        cmocka_unit_test(a_crowd_that_waits_is_quick),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
