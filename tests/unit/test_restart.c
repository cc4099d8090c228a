/* What clients see of a restart with saved state: what they had missed, one gap, and then the
 * present. In both modes of subscribing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "tickerd/base/log.h"
#include "world.h"

#define DOWN (5 * WORLD_SECOND)

static const char *const demand[] = {"redis.mode=on-demand", "redis.linger=10s", NULL};

struct id {
    char text[200];
};

/* The client's last id, and it is gone. */
static struct id leave(struct world_client *c)
{
    struct id id;
    const struct sse_message *last = world_event(c, c->transport.decoder.count - 1);
    (void)snprintf(id.text, sizeof id.text, "%s", last->last_event_id.p);
    world_disconnect(c);
    return id;
}

static void up(struct world *r)
{
    fake_source_connect(&r->source);
    world_settle(r);
}

static struct id come_and_go(struct world *r, const char *url, const char *last_event_id,
                             const char *expected)
{
    struct world_client c;
    world_connect(r, 0, &c, url, last_event_id);
    world_settle(r);
    world_expect(&c, expected);
    return leave(&c);
}

/* Settings of both modes, for what must be the same in both. */
static const char *const *const both[] = {NULL, demand};

/* A client at `url` got x, then a and b were published on channel a, then the restart. */
static struct id restart_after(struct world *r, const char *const *settings, const char *url)
{
    struct world_client c;
    world_open(r, settings, &c, url);
    world_deliver(r, "a", "x");
    struct id id = leave(&c);
    world_publish(r, "a", "a");
    world_publish(r, "a", "b");
    world_settle(r);
    world_restart(r, DOWN);
    return id;
}

static void test_missed_events_then_one_gap_then_the_present(void **state)
{
    (void)state;
    static const char *const urls[] = {"/events/a", "/events?pattern=*",
                                       "/events?channel=a&channel=z",
                                       "/events?pattern=a*&channel=a"};
    for (size_t i = 0; i < 8; i++) {
        struct world r;
        struct world_client c;
        struct id id = restart_after(&r, both[i % 2], urls[i / 2]);
        up(&r);
        world_connect(&r, 0, &c, urls[i / 2], id.text);
        world_settle(&r);
        world_deliver(&r, "a", "new");
        world_expect(&c, "open gap | a | b | gap * restart | new");
        assert_string_equal(world_event(&c, 0)->last_event_id.p, id.text);
        /* The same run by its ids: the tag is the third event's as it was. */
        assert_memory_equal(world_event(&c, 4)->last_event_id.p + 13, id.text + 13, 10);
        assert_true(strcmp(world_event(&c, 4)->last_event_id.p, id.text) > 0);
        id = leave(&c); /* told once */
        (void)come_and_go(&r, urls[i / 2], id.text, "open continued");
        world_finish(&r);
    }
}

static void test_a_client_that_comes_before_the_source(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct world r;
        struct world_client c;
        struct id id = restart_after(&r, both[i], "/events/a");
        world_connect(&r, 0, &c, "/events/a", id.text);
        world_settle(&r);
        assert_int_equal(c.transport.decoder.count, 0); /* it waits */
        up(&r);
        world_deliver(&r, "a", "new");
        world_expect(&c, "open gap | a | b | gap * restart | new");
        world_disconnect(&c);
        world_finish(&r);
    }
}

/* Whoever cannot wait is told now of the time up to now, and of the rest when the source is back:
 * an outage that has not ended cannot be one gap. */
static void test_redis_is_away_after_the_restart(void **state)
{
    (void)state;
    struct world r;
    struct world_client c;
    struct id id = restart_after(&r, NULL, "/events/a");
    world_connect(&r, 0, &c, "/events/a", id.text);
    world_settle(&r);
    world_sleep(&r, 4 * WORLD_SECOND);
    world_expect(&c, "open gap | a | b | gap * restart");
    up(&r);
    world_deliver(&r, "a", "new");
    world_expect(&c, "open gap | a | b | gap * restart | gap * upstream | new");
    id = leave(&c);
    (void)come_and_go(&r, "/events/a", id.text, "open continued");
    world_finish(&r);
}

static void test_a_client_that_had_seen_everything(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct world r;
        struct world_client c;
        world_open(&r, both[i], &c, "/events/a");
        struct id id = leave(&c);
        world_restart(&r, 0); /* not even a moment later */
        up(&r);
        (void)come_and_go(&r, "/events/a", id.text, "open gap | gap * restart");
        world_finish(&r);
    }
}

static void test_a_first_connect(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct world r;
        (void)restart_after(&r, both[i], "/events/a");
        up(&r);
        (void)come_and_go(&r, "/events/a", NULL, "open new");
        /* As with any outage in a history: what stands on both sides of it is not one row. */
        (void)come_and_go(&r, "/events/a?history=2", NULL, "open new | a | b | gap * restart");
        world_deliver(&r, "a", "c");
        (void)come_and_go(&r, "/events/a?history=2", NULL, "open new | b | gap * restart | c");
        (void)come_and_go(&r, "/events/a?history=1", NULL, "open new | c");
        world_finish(&r);
    }
}

static void test_publishers_ids(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct world r;
        struct world_client c;
        world_open(&r, both[i], &c, "/events/a");
        world_deliver(&r, "a", "{\"data\":\"1\",\"id\":\"one\"}");
        world_deliver(&r, "a", "{\"data\":\"2\",\"id\":\"two\"}");
        world_disconnect(&c);
        world_restart(&r, DOWN);
        up(&r);
        (void)come_and_go(&r, "/events/a?format=json", "one",
                          "open gap | {\"channel\":\"a\",\"id\":\"two\",\"event\":\"message\","
                          "\"data\":\"2\"} | gap * restart");
        world_finish(&r);
    }
}

static void test_older_outages_and_evictions_are_still_known(void **state)
{
    (void)state;
    const char *settings[] = {"history.events=2", NULL};
    struct world r;
    struct world_client c;
    world_open(&r, settings, &c, "/events?channel=a&channel=b");
    struct id first = leave(&c);
    world_publish(&r, "b", "b1");
    fake_source_lose(&r.source, 0);
    up(&r);
    for (int i = 0; i < 4; i++)
        world_publish(&r, "a", "again");
    world_settle(&r);
    world_restart(&r, DOWN);
    up(&r);
    /* Two outages without an event between them are one gap, as ever; its reason is the first's. */
    (void)come_and_go(&r, "/events/b", first.text, "open gap | b1 | gap * upstream");
    struct world_client again;
    world_connect(&r, 0, &again, "/events/a", first.text);
    world_settle(&r);
    assert_string_equal(world_event(&again, 1)->type.p, "tickerd:gap");
    assert_int_equal(again.transport.decoder.count, 1 + 1 + 2 + 1);
    world_disconnect(&again);
    world_finish(&r);
}

static void test_restart_after_restart(void **state)
{
    (void)state;
    struct world r;
    struct id id = restart_after(&r, NULL, "/events/a");
    up(&r);
    world_publish(&r, "a", "between");
    world_settle(&r);
    world_restart(&r, DOWN);
    up(&r);
    (void)come_and_go(&r, "/events/a", id.text,
                      "open gap | a | b | gap * restart | between | gap * restart");
    world_finish(&r);
}

/* The policy for slow clients is not saved but follows the rules in force. */
static void test_policy_latest(void **state)
{
    (void)state;
    const char *settings[] = {"channels=[{\"match\":\"a\",\"slow\":\"latest\"}]", NULL};
    for (size_t i = 0; i < 2; i++) {
        struct world r;
        struct world_client c;
        world_open(&r, i == 0 ? settings : NULL, &c, "/events/a");
        world_deliver(&r, "a", "1");
        struct id id = leave(&c);
        world_publish(&r, "a", "2");
        world_publish(&r, "a", "3");
        world_settle(&r);
        r.config->rule_default.slow = SLOW_LATEST; /* in the second run only now */
        world_restart(&r, DOWN);
        up(&r);
        (void)come_and_go(&r, "/events/a", id.text, "open gap | 3 | gap * restart");
        world_finish(&r);
    }
}

/* ---- on demand ------------------------------------------------------------------------------- */

static void test_subscriptions_are_taken_up_again(void **state)
{
    (void)state;
    struct world r;
    struct world_client c;
    struct id id = restart_after(&r, demand, "/events?channel=a&pattern=u.*");
    up(&r);
    assert_true(fake_source_serves(&r.source, SOURCE_CHANNEL, "sse:a"));
    assert_true(fake_source_serves(&r.source, SOURCE_PATTERN, "sse:u.*"));
    world_publish(&r, "u.1", "while away"); /* they are listened to before anybody comes */
    world_publish(&r, "a", "too");
    world_connect(&r, 0, &c, "/events?channel=a&pattern=u.*", id.text);
    world_settle(&r);
    world_expect(&c, "open gap | a | b | gap * restart | while away | too");
    world_disconnect(&c);
    world_finish(&r);
}

static void test_they_linger_only(void **state)
{
    (void)state;
    struct world r;
    struct id id = restart_after(&r, demand, "/events/a");
    up(&r);
    assert_int_equal(registry_channels(&r.registry), 1);
    world_sleep(&r, 11 * WORLD_SECOND);
    world_settle(&r);
    assert_int_equal(registry_channels(&r.registry), 0);
    assert_int_equal(fake_source_wanted_count(&r.source), 0);
    (void)come_and_go(&r, "/events/a", id.text, "open gap | gap * restart");
    world_finish(&r);
}

/* What was given up before the stop is not there after it either. */
static void test_what_had_been_given_up_stays_so(void **state)
{
    (void)state;
    struct world r;
    struct world_client a, b;
    world_open(&r, demand, &a, "/events/a");
    world_connect(&r, 0, &b, "/events/b", NULL);
    world_settle(&r);
    world_deliver(&r, "a", "1");
    world_deliver(&r, "b", "2");
    struct id id = leave(&a);
    for (int i = 0; i < 2; i++) { /* until the worker gives it up, and then the hub */
        world_sleep(&r, 12 * WORLD_SECOND);
        world_settle(&r);
    }
    world_disconnect(&b);
    world_restart(&r, DOWN);
    up(&r);
    assert_false(fake_source_wants(&r.source, SOURCE_CHANNEL, "sse:a"));
    assert_true(fake_source_wants(&r.source, SOURCE_CHANNEL, "sse:b"));
    (void)come_and_go(&r, "/events/a", id.text, "open gap | gap * restart");
    (void)come_and_go(&r, "/events/b?history=all", NULL, "open new | 2 | gap * restart");
    world_finish(&r);
}

/* A log whose subscription is refused after the restart is worth nothing once the source is up. */
static void test_a_subscription_that_is_refused_after_the_restart(void **state)
{
    (void)state;
    struct world r;
    struct world_client c;
    struct id id = restart_after(&r, demand, "/events/a");
    r.source.refused = "sse:a";
    up(&r);
    assert_int_equal(registry_channels(&r.registry), 0);
    world_connect(&r, 0, &c, "/events/a", id.text);
    world_settle(&r);
    world_sleep(&r, 4 * WORLD_SECOND);
    world_expect(&c, "open gap | gap * restart");
    r.source.refused = NULL;
    fake_source_retry(&r.source);
    world_settle(&r);
    world_deliver(&r, "a", "new");
    world_expect(&c, "open gap | gap * restart | gap a upstream | new");
    world_disconnect(&c);
    world_finish(&r);
}

/* A position of the new run knows nothing of a channel that nobody has listened to in it. */
static void test_a_position_from_after_the_restart(void **state)
{
    (void)state;
    const char *settings[] = {"redis.mode=on-demand", "redis.linger=0s", NULL};
    struct world r;
    struct world_client c;
    (void)restart_after(&r, settings, "/events/a");
    up(&r);
    world_connect(&r, 0, &c, "/events/z", NULL);
    world_settle(&r);
    world_deliver(&r, "z", "1");
    struct id id = leave(&c);
    world_sleep(&r, WORLD_SECOND);
    world_settle(&r);
    (void)come_and_go(&r, "/events/a", id.text, "open gap | gap a unsubscribed");
    world_finish(&r);
}

int main(void)
{
    log_setup(LOG_ERROR, LOG_TEXT);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_missed_events_then_one_gap_then_the_present),
        cmocka_unit_test(test_a_client_that_comes_before_the_source),
        cmocka_unit_test(test_redis_is_away_after_the_restart),
        cmocka_unit_test(test_a_client_that_had_seen_everything),
        cmocka_unit_test(test_a_first_connect),
        cmocka_unit_test(test_publishers_ids),
        cmocka_unit_test(test_older_outages_and_evictions_are_still_known),
        cmocka_unit_test(test_restart_after_restart),
        cmocka_unit_test(test_policy_latest),
        cmocka_unit_test(test_subscriptions_are_taken_up_again),
        cmocka_unit_test(test_they_linger_only),
        cmocka_unit_test(test_what_had_been_given_up_stays_so),
        cmocka_unit_test(test_a_subscription_that_is_refused_after_the_restart),
        cmocka_unit_test(test_a_position_from_after_the_restart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
