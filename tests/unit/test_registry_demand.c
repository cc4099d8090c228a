/* The registry in mode on-demand: what nobody listened to, and what is confessed when. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "config_util.h"
#include "hub_rig.h"

enum { SECOND = 1000000 };

static void start(struct hub_rig *h)
{
    const char *settings[] = {"redis.mode=on-demand", "redis.linger=10s", "redis.prefix=", NULL};
    hubrig_start(h, settings);
}

/* For what comes in the order of a map: these words are among what the worker was told. */
static void expect_words(struct hub_rig *h, uint32_t worker, const char *const *words)
{
    struct buf *text = &h->workers[worker].text;
    for (; *words != NULL; words++) {
        if (strstr(buf_cstr(text), *words) == NULL)
            fail_msg("%s is not in: %s", *words, buf_cstr(text));
    }
    buf_reset(text);
}

static void test_a_channel_is_subscribed_and_confirmed(void **state)
{
    (void)state;
    struct hub_rig h;
    start(&h);
    hubrig_publish(&h, "a", "nobody listens");
    hubrig_interest(&h, 0, 1, 1, "a", false);
    assert_true(fake_source_wants(&h.source, SOURCE_CHANNEL, "a"));
    hubrig_expect(&h, 0, "reset1.1-[!a:unsubscribed]");
    hubrig_settle(&h); /* whoever has not waited that long is told */
    hubrig_expect(&h, 0, "hole1:a:upstream live1:yes");
    hubrig_publish(&h, "a", "1");
    hubrig_expect(&h, 0, "frame1:1");
    hubrig_interest(&h, 1, 1, 1, "a", false);
    hubrig_expect(&h, 1, "reset1.1+[!a:unsubscribed !a:upstream a:1]");
    hubrig_finish(&h);
}

static void test_a_history_outlives_its_last_client_by_the_linger(void **state)
{
    (void)state;
    struct hub_rig h;
    start(&h);
    hubrig_interest(&h, 0, 1, 1, "a", false);
    hubrig_settle(&h);
    hubrig_publish(&h, "a", "1");
    hubrig_drop(&h, 0, 1);
    hubrig_publish(&h, "a", "2");
    hubrig_sleep(&h, 9 * SECOND);
    hubrig_forget(&h);
    hubrig_interest(&h, 0, 1, 2, "a", false);
    hubrig_expect(&h, 0, "reset1.2+[!a:unsubscribed !a:upstream a:1 a:2]");
    hubrig_drop(&h, 0, 1);
    hubrig_sleep(&h, 11 * SECOND);
    assert_false(fake_source_wants(&h.source, SOURCE_CHANNEL, "a"));
    assert_int_equal(registry_channels(&h.registry), 1); /* until that is confirmed */
    hubrig_settle(&h);
    assert_int_equal(registry_channels(&h.registry), 0);
    hubrig_interest(&h, 0, 1, 3, "a", false);
    hubrig_expect(&h, 0, "reset1.3-[!a:unsubscribed]");
    hubrig_finish(&h);
}

static void test_taken_again_nothing_is_unsubscribed(void **state)
{
    (void)state;
    struct hub_rig h;
    start(&h);
    hubrig_interest(&h, 0, 1, 1, "a", false);
    hubrig_interest(&h, 0, 1, 2, "a", false); /* before the confirmation: still the same hole */
    hubrig_expect(&h, 0, "reset1.1-[!a:unsubscribed] reset1.2-[!a:unsubscribed]");
    assert_int_equal(h.registry.upstream.lingering_count, 0);
    hubrig_settle(&h);
    assert_int_equal(h.source.sent, 1);
    assert_int_equal(h.source.unsent, 0);
    hubrig_finish(&h);
}

static void test_a_pattern_is_confirmed_late(void **state)
{
    (void)state;
    struct hub_rig h;
    start(&h);
    hubrig_interest(&h, 0, 1, 1, "user.?", true);
    hubrig_interest(&h, 0, 2, 1, "user.[12]", true);
    assert_int_equal(fake_source_wanted_count(&h.source), 1);
    hubrig_expect(&h, 0, "reset1.1-[!*:unsubscribed] reset2.1-[!*:unsubscribed]");
    hubrig_settle(&h);
    hubrig_expect(&h, 0, "hole1:*:upstream hole2:*:upstream live1:yes live2:yes");
    hubrig_publish(&h, "user.3", "x"); /* the channel is new, but it was covered since */
    hubrig_publish(&h, "user.33", "y");
    hubrig_expect(&h, 0, "frame1:x");
    hubrig_interest(&h, 1, 1, 1, "user.*", true);
    expect_words(&h, 1,
                 (const char *const[]){"reset1.1+[!", "!*:unsubscribed", "!user.3:unsubscribed",
                                       " user.3:x", "!user.33:unsubscribed", " user.33:y]", NULL});
    hubrig_interest(&h, 1, 2, 1, "user.33", false);
    hubrig_expect(&h, 1, "reset2.1+[!user.33:unsubscribed user.33:y]");
    hubrig_finish(&h);
}

/* A channel whose own subscription is still on its way gets its messages by a pattern that is
 * confirmed first: clients that have not waited must be told what they missed until then. */
static void test_a_pattern_covers_a_channel_first(void **state)
{
    (void)state;
    struct hub_rig h;
    start(&h);
    h.source.refused = "a"; /* the exact one, for good */
    hubrig_interest(&h, 0, 1, 1, "a", false);
    hubrig_settle(&h);
    hubrig_expect(&h, 0, "reset1.1-[!a:unsubscribed]");
    hubrig_interest(&h, 1, 1, 1, "a*", true);
    hubrig_settle(&h);
    hubrig_expect(&h, 0, "hole1:a:upstream live1:yes");
    hubrig_expect(&h, 1,
                  "reset1.1-[!a:unsubscribed !*:unsubscribed] hole1:*:upstream hole1:a:upstream "
                  "live1:yes");
    hubrig_publish(&h, "a", "1");
    hubrig_expect(&h, 0, "frame1:1");
    h.source.refused = NULL;
    fake_source_retry(&h.source);
    hubrig_settle(&h); /* nothing was missed this time */
    hubrig_publish(&h, "a", "2");
    hubrig_expect(&h, 0, "frame1:2");
    hubrig_finish(&h);
}

static void test_a_shorter_pattern_covers_a_longer_one(void **state)
{
    (void)state;
    struct hub_rig h;
    start(&h);
    h.source.refused = "ab\\*";
    hubrig_interest(&h, 0, 1, 1, "ab*", true);
    hubrig_settle(&h);
    hubrig_forget(&h);
    h.source.refused = NULL;
    hubrig_interest(&h, 1, 1, 1, "a*", true);
    hubrig_settle(&h);
    hubrig_expect(&h, 0, "hole1:*:upstream live1:yes");
    hubrig_interest(&h, 2, 1, 1, "abc", false); /* covered at once */
    hubrig_expect(&h, 2, "reset1.1+[!abc:unsubscribed]");
    hubrig_finish(&h);
}

/* Given up and wanted again before the server has read either: messages fall in between. */
static void test_the_end_of_a_subscription_that_is_wanted_again(void **state)
{
    (void)state;
    struct hub_rig h;
    start(&h);
    hubrig_interest(&h, 0, 1, 1, "a", false);
    hubrig_interest(&h, 0, 2, 1, "b*", true);
    hubrig_settle(&h);
    hubrig_drop(&h, 0, 1);
    hubrig_drop(&h, 0, 2);
    hubrig_sleep(&h, 11 * SECOND);
    hubrig_forget(&h);
    hubrig_interest(&h, 0, 1, 2, "a", false);
    hubrig_interest(&h, 0, 2, 2, "b*", true);
    hubrig_expect(&h, 0, "reset1.2-[!a:unsubscribed !a:upstream] reset2.2-[!*:unsubscribed]");
    (void)fake_source_serve(&h.source, 2); /* UNSUBSCRIBE, PUNSUBSCRIBE */
    hubrig_publish(&h, "a", "lost");
    hubrig_publish(&h, "b", "lost");
    hubrig_expect(&h, 0, "");
    hubrig_settle(&h);
    hubrig_expect(&h, 0, "hole1:a:upstream live1:yes hole2:*:upstream live2:yes");
    hubrig_finish(&h);
}

static void test_the_end_of_a_pattern_uncovers_what_hung_on_it(void **state)
{
    (void)state;
    struct hub_rig h;
    start(&h);
    hubrig_interest(&h, 0, 1, 1, "*", true);
    hubrig_settle(&h);
    h.source.refused = "a*";
    hubrig_interest(&h, 1, 1, 1, "a", false);
    hubrig_interest(&h, 1, 2, 1, "a?", true);
    hubrig_settle(&h);
    hubrig_publish(&h, "ab", "1");
    hubrig_publish(&h, "x", "2");
    hubrig_expect(&h, 1, "reset1.1+[!a:unsubscribed] reset2.1+[!*:unsubscribed] frame2:1");
    hubrig_drop(&h, 0, 1);
    hubrig_sleep(&h, 11 * SECOND);
    hubrig_settle(&h);
    expect_words(&h, 1, (const char *const[]){"live1:no", "live2:no", NULL});
    assert_null(strmap_get(&h.registry.channels, "x", 1)); /* nothing listens to it any more */
    h.source.refused = NULL;
    fake_source_retry(&h.source);
    hubrig_settle(&h);
    expect_words(&h, 1,
                 (const char *const[]){"hole1:a:upstream", "hole2:*:upstream", "hole2:ab:upstream",
                                       "live1:yes", "live2:yes", NULL});
    hubrig_finish(&h);
}

/* A pattern whose own subscription is still missing hears of a channel by another one's. What it
 * missed before is announced once its own is there. */
static void test_a_pattern_that_is_not_confirmed_hears_a_part(void **state)
{
    (void)state;
    struct hub_rig h;
    start(&h);
    h.source.refused = "\\*";
    hubrig_interest(&h, 0, 1, 1, "?", true);
    hubrig_settle(&h);
    hubrig_interest(&h, 1, 1, 1, "a*", true);
    hubrig_settle(&h);
    hubrig_forget(&h);
    hubrig_publish(&h, "a", "1");
    hubrig_publish(&h, "a", "2");
    hubrig_expect(&h, 0, "frame1:1 frame1:2");
    hubrig_expect(&h, 1, "frame1:1 frame1:2");
    h.source.refused = NULL;
    fake_source_retry(&h.source);
    hubrig_settle(&h);
    hubrig_expect(&h, 0, "hole1:*:upstream live1:yes");
    hubrig_finish(&h);
}

static void test_what_was_evicted_with_a_stub_is_confessed_all_the_same(void **state)
{
    (void)state;
    struct hub_rig h;
    start(&h);
    hubrig_interest(&h, 0, 1, 1, "*", true);
    hubrig_settle(&h);
    hubrig_publish(&h, "a", "1");
    hubrig_drop(&h, 0, 1); /* lingers, so it still covers all */
    h.config->history_total_bytes = 0;
    registry_tick(&h.registry);
    assert_int_equal(registry_channels(&h.registry), 0);
    h.config->history_total_bytes = 1 << 20;
    hubrig_forget(&h);
    hubrig_interest(&h, 0, 2, 1, "a", false);
    hubrig_expect(&h, 0, "reset2.1+[!a:evicted]");
    hubrig_interest(&h, 0, 1, 2, "*", true);
    expect_words(&h, 0, (const char *const[]){"!*:evicted", NULL});
    hubrig_finish(&h);
}

static void test_an_outage(void **state)
{
    (void)state;
    struct hub_rig h;
    start(&h);
    hubrig_interest(&h, 0, 1, 1, "a", false);
    hubrig_interest(&h, 0, 2, 1, "b", false);
    hubrig_interest(&h, 0, 3, 1, "lingers", false);
    hubrig_settle(&h);
    hubrig_drop(&h, 0, 3);
    hubrig_forget(&h);
    fake_source_lose(&h.source, 0);
    hubrig_sleep(&h, 11 * SECOND); /* given up while nobody could be told */
    assert_int_equal(registry_channels(&h.registry), 3);
    fake_source_connect(&h.source);
    hubrig_settle(&h);
    hubrig_expect(&h, 0, "down hole0:*:upstream up live1:yes live2:yes");
    assert_int_equal(registry_channels(&h.registry), 2);
    hubrig_finish(&h);
}

/* Not everything is answered when the first messages come. Were they relayed, their ids would stand
 * beyond what is still being lost on other channels. */
static void test_messages_while_coming_back(void **state)
{
    (void)state;
    struct hub_rig h;
    start(&h);
    hubrig_interest(&h, 0, 1, 1, "a", false);
    hubrig_settle(&h);
    hubrig_interest(&h, 0, 2, 1, "b", false);
    hubrig_settle(&h);
    fake_source_lose(&h.source, 0);
    fake_source_connect(&h.source);
    hubrig_forget(&h);
    (void)fake_source_serve(&h.source, 1);
    hubrig_publish(&h, "a", "1");
    hubrig_publish(&h, "b", "1");
    hubrig_expect(&h, 0, "");
    hubrig_settle(&h);
    hubrig_expect(&h, 0, "hole0:*:upstream up live1:yes live2:yes");
    hubrig_finish(&h);
}

static void test_no_memory_for_the_subscription(void **state)
{
    (void)state;
    struct hub_rig h;
    start(&h);
    h.source.failing = 1;
    hubrig_interest(&h, 0, 1, 1, "a", false);
    hubrig_expect(&h, 0, "refused1:"); /* so that the worker does not wait for the log */
    assert_int_equal(metrics_get(&h.metrics, METRIC_OUT_OF_MEMORY), 1);
    assert_int_equal(registry_channels(&h.registry), 0);
    hubrig_interest(&h, 0, 1, 2, "a", false);
    hubrig_expect(&h, 0, "reset1.2-[!a:unsubscribed]");
    hubrig_finish(&h);
}

/* At the end nobody lingers, however many there are: the source is closed by then. */
static void test_the_end_does_not_call_the_source(void **state)
{
    (void)state;
    struct hub_rig h;
    char name[16];
    start(&h);
    for (uint32_t i = 0; i < UPSTREAM_LINGER_MAX + 10; i++) {
        (void)snprintf(name, sizeof name, "c%u", i);
        struct note n = {.kind = NOTE_INTEREST, .view = i + 1, .gen = 1};
        n.ref = name_create(name, strlen(name));
        h.workers[0].room = 0;
        registry_request(&h.registry, 0, &n);
    }
    hubrig_finish(&h); /* the fake source would abort */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_channel_is_subscribed_and_confirmed),
        cmocka_unit_test(test_a_history_outlives_its_last_client_by_the_linger),
        cmocka_unit_test(test_taken_again_nothing_is_unsubscribed),
        cmocka_unit_test(test_a_pattern_is_confirmed_late),
        cmocka_unit_test(test_a_pattern_covers_a_channel_first),
        cmocka_unit_test(test_a_shorter_pattern_covers_a_longer_one),
        cmocka_unit_test(test_the_end_of_a_subscription_that_is_wanted_again),
        cmocka_unit_test(test_the_end_of_a_pattern_uncovers_what_hung_on_it),
        cmocka_unit_test(test_a_pattern_that_is_not_confirmed_hears_a_part),
        cmocka_unit_test(test_what_was_evicted_with_a_stub_is_confessed_all_the_same),
        cmocka_unit_test(test_an_outage),
        cmocka_unit_test(test_messages_while_coming_back),
        cmocka_unit_test(test_no_memory_for_the_subscription),
        cmocka_unit_test(test_the_end_does_not_call_the_source),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
