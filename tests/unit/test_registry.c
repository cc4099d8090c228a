#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "config_util.h"
#include "hub_rig.h"
#include "tickerd/base/log.h"

enum { SECOND = 1000000 };

/* ---- interests ------------------------------------------------------------------------------- */

static void test_the_log_so_far_then_live(void **state)
{
    (void)state;
    struct hub_rig h;
    hubrig_start(&h, NULL);
    hubrig_publish(&h, "a", "1");
    hubrig_publish(&h, "b", "2");
    hubrig_publish(&h, "a", "3");
    hubrig_expect(&h, 0, "");
    hubrig_interest(&h, 0, 1, 7, "a", false);
    hubrig_expect(&h, 0, "reset1.7+[a:1 a:3]");
    hubrig_publish(&h, "a", "4");
    hubrig_publish(&h, "b", "5");
    hubrig_expect(&h, 0, "frame1:4");
    hubrig_interest(&h, 2, 60, 1, "a", false);
    hubrig_interest(&h, 2, 5, 1, "b", false);
    hubrig_expect(&h, 2, "reset60.1+[a:1 a:3 a:4] reset5.1+[b:2 b:5]");
    hubrig_publish(&h, "a", "6");
    hubrig_publish(&h, "b", "7");
    hubrig_expect(&h, 0, "frame1:6");
    hubrig_expect(&h, 1, "");
    hubrig_expect(&h, 2, "frame60:6 frame5:7");
    hubrig_drop(&h, 2, 60);
    hubrig_drop(&h, 2, 60);
    hubrig_drop(&h, 1, 63);
    hubrig_publish(&h, "a", "8");
    hubrig_expect(&h, 0, "frame1:8");
    hubrig_expect(&h, 2, "");
    hubrig_finish(&h);
}

static void test_a_new_channel_is_known_from_its_interest_on(void **state)
{
    (void)state;
    struct hub_rig h;
    hubrig_start(&h, NULL);
    hubrig_interest(&h, 0, 1, 1, "new", false);
    hubrig_expect(&h, 0, "reset1.1+[]");
    assert_int_equal(registry_channels(&h.registry), 1);
    hubrig_drop(&h, 0, 1);
    assert_int_equal(registry_channels(&h.registry), 0); /* nothing is known of it */
    hubrig_finish(&h);
}

static void test_taken_again_with_another_generation(void **state)
{
    (void)state;
    struct hub_rig h;
    hubrig_start(&h, NULL);
    hubrig_interest(&h, 0, 1, 1, "a", false);
    hubrig_interest(&h, 0, 2, 1, "a*", true);
    hubrig_publish(&h, "a", "x");
    hubrig_expect(&h, 0, "reset1.1+[] reset2.1+[] frame1:x frame2:x");
    hubrig_interest(&h, 0, 1, 2, "a", false);
    hubrig_interest(&h, 0, 2, 2, "a*", true);
    hubrig_publish(&h, "a", "y");
    hubrig_expect(&h, 0, "reset1.2+[a:x] reset2.2+[a:x] frame1:y frame2:y");
    hubrig_interest(&h, 0, 1, 3, "b", false); /* the number now stands for something else */
    hubrig_publish(&h, "a", "z");
    hubrig_publish(&h, "b", "z");
    hubrig_expect(&h, 0, "reset1.3+[] frame2:z frame1:z");
    hubrig_finish(&h);
}

static void test_patterns_and_channels_that_come_later(void **state)
{
    (void)state;
    struct hub_rig h;
    hubrig_start(&h, NULL);
    hubrig_publish(&h, "user.1", "old");
    hubrig_publish(&h, "user.22", "two");
    hubrig_interest(&h, 0, 1, 1, "user.?", true);
    hubrig_interest(&h, 0, 2, 1, "*", true);
    hubrig_interest(&h, 0, 3, 1, "user.\\*", true);
    hubrig_interest(&h, 1, 1, 1, "u[st]er.*", true);
    hubrig_expect(&h, 0, "reset1.1+[user.1:old] reset2.1+[user.1:old user.22:two] reset3.1+[]");
    hubrig_expect(&h, 1, "reset1.1+[user.1:old user.22:two]");
    hubrig_publish(&h, "user.2", "new");
    hubrig_expect(&h, 0, "frame2:new frame1:new"); /* by literal head, shortest first */
    hubrig_expect(&h, 1, "frame1:new");
    hubrig_publish(&h, "user.*", "star");
    hubrig_expect(&h, 0, "frame2:star frame1:star frame3:star");
    hubrig_publish(&h, "other", "o");
    hubrig_expect(&h, 0, "frame2:o");
    hubrig_forget(&h);
    hubrig_drop(&h, 0, 1);
    hubrig_drop(&h, 0, 2);
    hubrig_publish(&h, "user.3", "later");
    hubrig_expect(&h, 0, "");
    hubrig_expect(&h, 1, "frame1:later");
    assert_int_equal(strmap_count(&h.registry.heads), 2);
    hubrig_drop(&h, 0, 3);
    hubrig_drop(&h, 1, 1);
    assert_int_equal(strmap_count(&h.registry.heads), 0);
    for (size_t n = 0; n <= TOPIC_MAX; n++)
        assert_int_equal(h.registry.head_lengths[n], 0);
    hubrig_finish(&h);
}

/* The source may turn out to be a cluster; the workers know before they hear that it is live. */
static void test_a_source_with_many_orders(void **state)
{
    (void)state;
    struct hub_rig h;
    hubrig_start(&h, NULL);
    for (int many = 1; many >= 0; many--) {
        fake_source_lose(&h.source, 0);
        h.source.source.many_orders = many == 1;
        fake_source_connect(&h.source);
        hubrig_settle(&h);
        hubrig_expect(&h, 0,
                      many ? "down timeline:many hole0:*:upstream up-all"
                           : "down timeline hole0:*:upstream up-all");
    }
    fake_source_lose(&h.source, 0);
    fake_source_connect(&h.source);
    hubrig_settle(&h);
    hubrig_expect(&h, 0, "down hole0:*:upstream up-all"); /* no news, nothing said */
    hubrig_finish(&h);
}

static void test_a_pattern_merges_logs_in_order(void **state)
{
    (void)state;
    const char *settings[] = {"history.events=2", NULL};
    struct hub_rig h;
    hubrig_start(&h, settings);
    for (int i = 0; i < 4; i++) {
        char text[16];
        (void)snprintf(text, sizeof text, "%d", i);
        hubrig_publish(&h, "a", text);
        hubrig_publish(&h, "b", text);
    }
    hubrig_interest(&h, 0, 1, 1, "*", true);
    hubrig_expect(&h, 0, "reset1.1+[!a:evicted !b:evicted a:2 b:2 a:3 b:3]");
    hubrig_finish(&h);
}

/* ---- messages -------------------------------------------------------------------------------- */

static void test_names_that_are_not_allowed(void **state)
{
    (void)state;
    struct hub_rig h;
    char longest[257];
    hubrig_start(&h, NULL);
    hubrig_interest(&h, 0, 1, 1, "*", true);
    hubrig_interest(&h, 0, 2, 1, "$*", true);
    hubrig_forget(&h);
    hubrig_publish(&h, "$sys", "x");
    hubrig_publish(&h, "", "x");
    hubrig_publish(&h, "a\nb", "x");
    hubrig_publish(&h, "a\x7f", "x");
    hubrig_publish(&h, "\xff", "x");
    memset(longest, 'n', 256);
    longest[256] = '\0';
    hubrig_publish(&h, longest, "x");
    hubrig_expect(&h, 0, "");
    assert_int_equal(registry_channels(&h.registry), 0);
    assert_int_equal(metrics_get(&h.metrics, METRIC_IGNORED_NAMES), 6);
    longest[255] = '\0';
    hubrig_publish(&h, longest, "ok");
    hubrig_publish(&h, "a$", "ok2");
    hubrig_publish(&h, "\xc3\xa9", "ok3");
    hubrig_expect(&h, 0, "frame1:ok frame1:ok2 frame1:ok3");
    assert_int_equal(metrics_get(&h.metrics, METRIC_MESSAGES), 9);
    assert_int_equal(metrics_get(&h.metrics, METRIC_IGNORED_NAMES), 6);
    hubrig_finish(&h);
}

static void test_oversize(void **state)
{
    (void)state;
    const char *settings[] = {"limits.message_bytes=4", NULL};
    struct hub_rig h;
    hubrig_start(&h, settings);
    hubrig_interest(&h, 0, 1, 1, "a", false);
    hubrig_publish(&h, "a", "1234");
    hubrig_publish(&h, "a", "12345");
    hubrig_publish(&h, "a", "123456");
    hubrig_publish(&h, "a", "1");
    hubrig_expect(&h, 0, "reset1.1+[] frame1:1234 hole1:a:oversize hole1:a:oversize frame1:1");
    hubrig_interest(&h, 1, 1, 1, "a*", true);
    hubrig_expect(&h, 1, "reset1.1+[a:1234 !a:oversize a:1]");
    hubrig_publish(&h, "alone", "12345"); /* the hole alone makes a channel */
    hubrig_interest(&h, 2, 1, 1, "alone", false);
    hubrig_expect(&h, 2, "reset1.1+[!alone:oversize]");
    assert_int_equal(metrics_get(&h.metrics, METRIC_OVERSIZE), 3);
    hubrig_finish(&h);
}

static void test_envelopes_and_repairs(void **state)
{
    (void)state;
    const char *settings[] = {"channels=[{\"match\":\"raw.*\",\"payload\":\"raw\"}]", NULL};
    struct hub_rig h;
    hubrig_start(&h, settings);
    hubrig_interest(&h, 0, 1, 1, "*", true);
    hubrig_forget(&h);
    hubrig_publish(&h, "a", "{\"data\":\"x\",\"id\":\"mine\"}");
    hubrig_publish(&h, "raw.a", "{\"data\":\"x\"}");
    hubrig_publish(&h, "a", "bad \xff\xfe");
    hubrig_expect(&h, 0, "frame1:x frame1:{\"data\":\"x\"} frame1:bad \xef\xbf\xbd\xef\xbf\xbd");
    assert_int_equal(metrics_get(&h.metrics, METRIC_REPAIRED), 2);
    hubrig_finish(&h);
}

/* ---- bounds ---------------------------------------------------------------------------------- */

static void test_evictions_follow_the_frame(void **state)
{
    (void)state;
    const char *settings[] = {"history.events=2", NULL};
    struct hub_rig h;
    hubrig_start(&h, settings);
    hubrig_interest(&h, 0, 1, 1, "a", false);
    hubrig_interest(&h, 0, 2, 1, "*", true);
    hubrig_publish(&h, "a", "1");
    hubrig_publish(&h, "a", "2");
    hubrig_forget(&h);
    hubrig_publish(&h, "a", "3");
    hubrig_expect(&h, 0, "frame1:3 frame2:3 evict1:1 evict2:1");
    assert_int_equal(metrics_get(&h.metrics, METRIC_EVICTED), 1);
    hubrig_interest(&h, 1, 1, 1, "a", false);
    hubrig_expect(&h, 1, "reset1.1+[!a:evicted a:2 a:3]");
    hubrig_finish(&h);
}

static void test_the_newest_stays_whatever_its_size(void **state)
{
    (void)state;
    const char *settings[] = {"history.bytes=1024", NULL};
    struct hub_rig h;
    hubrig_start(&h, settings);
    h.config->rule_default.history.bytes = 100;
    hubrig_interest(&h, 0, 1, 1, "a", false);
    hubrig_publish(&h, "a", "small");
    hubrig_publish(&h, "a", "large-large-large-large-large");
    hubrig_expect(&h, 0,
                  "reset1.1+[] frame1:small frame1:large-large-large-large-large evict1:small");
    hubrig_finish(&h);
}

static void test_age(void **state)
{
    (void)state;
    const char *settings[] = {"history.age=10s", NULL};
    struct hub_rig h;
    hubrig_start(&h, settings);
    hubrig_interest(&h, 0, 1, 1, "a", false);
    hubrig_publish(&h, "a", "1");
    hubrig_publish(&h, "b", "b1");
    hubrig_sleep(&h, 6 * SECOND);
    hubrig_publish(&h, "a", "2");
    hubrig_sleep(&h, 4 * SECOND);
    hubrig_expect(&h, 0, "reset1.1+[] frame1:1 frame1:2");
    hubrig_sleep(&h, SECOND);
    hubrig_expect(&h, 0, "evict1:1");
    hubrig_sleep(&h, 6 * SECOND);
    hubrig_expect(&h, 0, "evict1:2"); /* even the newest */
    hubrig_interest(&h, 1, 1, 1, "b", false);
    hubrig_expect(&h, 1, "reset1.1+[!b:evicted]"); /* a stub remembers */
    assert_int_equal(registry_channels(&h.registry), 2);
    hubrig_finish(&h);
}

static void test_age_is_looked_at_when_a_log_is_asked_for(void **state)
{
    (void)state;
    const char *settings[] = {"history.age=10s", NULL};
    struct hub_rig h;
    hubrig_start(&h, settings);
    hubrig_publish(&h, "a", "1");
    for (int i = 0; i < 60; i++) { /* the clock goes on, but no tick comes */
        h.mono += SECOND / 5;
        hubrig_drop(&h, 0, 9);
    }
    hubrig_interest(&h, 0, 1, 1, "a", false);
    hubrig_interest(&h, 0, 2, 1, "*", true);
    hubrig_expect(&h, 0, "reset1.1+[!a:evicted] reset2.1+[!a:evicted]");
    hubrig_finish(&h);
}

static void test_total_takes_from_the_idle_first(void **state)
{
    (void)state;
    struct hub_rig h;
    hubrig_start(&h, NULL);
    hubrig_interest(&h, 0, 1, 1, "used", false);
    hubrig_publish(&h, "used", "u1");
    hubrig_publish(&h, "idle1", "i1");
    hubrig_publish(&h, "idle2", "i2");
    hubrig_publish(&h, "idle1", "i1b"); /* now idle2 is the one used longest ago */
    hubrig_forget(&h);
    h.config->history_total_bytes = h.registry.cost - 1;
    registry_tick(&h.registry);
    hubrig_interest(&h, 1, 1, 1, "idle1", false);
    hubrig_interest(&h, 1, 2, 1, "idle2", false);
    hubrig_expect(&h, 1, "reset1.1+[idle1:i1 idle1:i1b] reset2.1+[!idle2:evicted]");
    hubrig_drop(&h, 1, 1);
    hubrig_drop(&h, 1, 2);
    h.config->history_total_bytes = 1;
    registry_tick(&h.registry);
    hubrig_expect(&h, 0, ""); /* the newest event of all stays */
    assert_int_equal(registry_channels(&h.registry), 1);
    hubrig_publish(&h, "used", "u2");
    hubrig_expect(&h, 0, "frame1:u2 evict1:u1");
    hubrig_interest(&h, 1, 1, 2, "idle1", false); /* its stub is gone: nobody knows */
    hubrig_interest(&h, 1, 3, 1, "never", false);
    hubrig_expect(&h, 1, "reset1.2+[!idle1:evicted] reset3.1+[!never:evicted]");
    hubrig_drop(&h, 1, 1);
    hubrig_drop(&h, 1, 3);
    registry_tick(&h.registry); /* those stubs go too */
    hubrig_interest(&h, 1, 4, 1, "*", true);
    hubrig_expect(&h, 1, "reset4.1+[!used:evicted !*:evicted used:u2]");
    hubrig_finish(&h);
}

/* What an eviction leaves behind has its price, too: one look is enough to come below any limit. */
static void test_total_counts_the_holes(void **state)
{
    (void)state;
    struct hub_rig h;
    hubrig_start(&h, NULL);
    for (int i = 0; i < 8; i++) {
        const char name[] = {(char)('a' + i), '\0'};
        hubrig_publish(&h, name, "x");
    }
    while (registry_channels(&h.registry) > 1) {
        h.config->history_total_bytes = h.registry.cost / 10 * 9;
        registry_tick(&h.registry);
        assert_true(h.registry.cost <= h.config->history_total_bytes);
    }
    hubrig_finish(&h);
}

static void test_total_goes_by_last_use(void **state)
{
    (void)state;
    struct hub_rig h;
    hubrig_start(&h, NULL);
    hubrig_interest(&h, 0, 1, 1, "a", false);
    hubrig_interest(&h, 0, 2, 1, "b", false);
    hubrig_interest(&h, 0, 3, 1, "empty", false);
    hubrig_publish(&h, "a", "a1");
    hubrig_publish(&h, "b", "b1");
    hubrig_publish(&h, "b", "b2");
    hubrig_publish(&h, "a", "a2");
    hubrig_forget(&h);
    h.config->history_total_bytes = h.registry.cost - 1;
    registry_tick(&h.registry);
    hubrig_expect(&h, 0, "evict2:b1");
    h.config->history_total_bytes = 1;
    registry_tick(&h.registry);
    hubrig_expect(&h, 0, "evict2:b2 evict1:a1");
    /* The bare records exceed the limit, and yet what is published gets through. */
    hubrig_publish(&h, "b", "b3");
    hubrig_expect(&h, 0, "frame2:b3 evict1:a2");
    hubrig_publish(&h, "b", "b4");
    hubrig_expect(&h, 0, "frame2:b4 evict2:b3");
    hubrig_publish(&h, "empty", "e");
    hubrig_expect(&h, 0, "frame3:e evict2:b4");
    hubrig_finish(&h);
}

static void test_the_cost_is_what_the_channels_cost(void **state)
{
    (void)state;
    const char *settings[] = {"history.events=3", NULL};
    struct hub_rig h;
    hubrig_start(&h, settings);
    assert_int_equal(h.registry.cost, 0);
    hubrig_interest(&h, 0, 1, 1, "c1", false);
    for (int i = 0; i < 40; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "c%d", i % 7);
        hubrig_publish(&h, name, "0123456789");
    }
    hubrig_interest(&h, 0, 2, 1, "*", true);
    hubrig_drop(&h, 0, 1);
    hubrig_drop(&h, 0, 2);
    assert_int_equal(registry_channels(&h.registry), 7);
    assert_true(h.registry.cost > 7 * 3 * 60);
    h.config->history_total_bytes = 0;
    registry_tick(&h.registry);
    assert_int_equal(registry_channels(&h.registry), 0);
    assert_int_equal(h.registry.cost, 0);
    hubrig_finish(&h);
}

static void test_other_forms_count(void **state)
{
    (void)state;
    struct hub_rig h;
    hubrig_start(&h, NULL);
    hubrig_publish(&h, "a", "1");
    hubrig_publish(&h, "b", "2");
    h.config->history_total_bytes = h.registry.cost + 50;
    registry_tick(&h.registry);
    assert_int_equal(registry_channels(&h.registry), 2);
    h.stats.extra_bytes += 51; /* somebody asked for format=json */
    registry_tick(&h.registry);
    h.stats.extra_bytes -= 51;
    hubrig_interest(&h, 0, 1, 1, "*", true);
    hubrig_expect(&h, 0, "reset1.1+[!a:evicted b:2]");
    hubrig_finish(&h);
}

/* ---- outages and full inboxes ---------------------------------------------------------------- */

static void test_the_first_connection(void **state)
{
    (void)state;
    struct hub_rig h;
    hubrig_init(&h, build_ok(NULL, NULL, NULL));
    hubrig_interest(&h, 0, VIEW_MARKS, 1, "", false);
    hubrig_interest(&h, 0, 1, 1, "a", false);
    hubrig_interest(&h, 0, 2, 1, "*", true);
    hubrig_expect(&h, 0, "reset0.1-[!*:restart] reset1.1-[] reset2.1-[]");
    fake_source_connect(&h.source);
    hubrig_settle(&h);
    hubrig_expect(&h, 0, "hole0:*:upstream up-all");
    hubrig_expect(&h, 1, "up-all"); /* it has not asked for the marks yet */
    hubrig_interest(&h, 1, VIEW_MARKS, 1, "", false);
    hubrig_expect(&h, 1, "reset0.1+[!*:restart !*:upstream]");
    hubrig_finish(&h);
}

static void test_one_outage_one_mark(void **state)
{
    (void)state;
    struct hub_rig h;
    hubrig_start(&h, NULL);
    hubrig_interest(&h, 0, 1, 1, "a", false);
    hubrig_forget(&h);
    fake_source_lose(&h.source, 0);
    hubrig_expect(&h, 0, "down");
    assert_int_equal(metrics_get(&h.metrics, METRIC_OUTAGES), 1);
    hubrig_interest(&h, 0, 2, 1, "b", false);
    hubrig_expect(&h, 0, "reset2.1-[]");
    fake_source_connect(&h.source);
    hubrig_settle(&h);
    hubrig_expect(&h, 0, "hole0:*:upstream up-all");
    fake_source_lose(&h.source, 0);
    fake_source_connect(&h.source);
    (void)fake_source_serve(&h.source, 1); /* subscribed, but not everything is answered yet */
    hubrig_publish(&h, "a", "early");
    hubrig_publish(&h, "a", "early too");
    hubrig_expect(&h, 0, "down"); /* the outage is not over: they are a part of it */
    hubrig_settle(&h);
    hubrig_expect(&h, 0, "hole0:*:upstream up-all");
    hubrig_finish(&h);
}

static void test_lost_again_before_it_is_up(void **state)
{
    (void)state;
    struct hub_rig h;
    hubrig_start(&h, NULL);
    hubrig_interest(&h, 0, 1, 1, "a", false);
    hubrig_forget(&h);
    fake_source_lose(&h.source, 0);
    fake_source_connect(&h.source);
    (void)fake_source_serve(&h.source, 1);
    hubrig_publish(&h, "a", "1");
    fake_source_lose(&h.source, 0);
    fake_source_connect(&h.source);
    (void)fake_source_serve(&h.source, 1);
    hubrig_publish(&h, "a", "2");
    hubrig_expect(&h, 0, "down down");
    hubrig_settle(&h);
    hubrig_expect(&h, 0, "hole0:*:upstream up-all");
    hubrig_finish(&h);
}

static void test_a_full_inbox_stops_everything_until_resync(void **state)
{
    (void)state;
    struct hub_rig h;
    hubrig_start(&h, NULL);
    hubrig_interest(&h, 0, 1, 1, "a", false);
    hubrig_interest(&h, 1, 1, 1, "a", false);
    hubrig_forget(&h);
    h.workers[0].room = 1;
    hubrig_publish(&h, "a", "1");
    hubrig_publish(&h, "a", "2");
    h.workers[0].room = SIZE_MAX; /* room again, but what follows would stand behind a hole */
    hubrig_publish(&h, "a", "3");
    hubrig_interest(&h, 0, 2, 1, "b", false);
    fake_source_lose(&h.source, 0);
    hubrig_expect(&h, 0, "frame1:1");
    hubrig_expect(&h, 1, "frame1:1 frame1:2 frame1:3 down");
    assert_int_equal(metrics_get(&h.metrics, METRIC_STALE), 1);
    hubrig_resync(&h, 0);
    hubrig_interest(&h, 0, 1, 2, "a", false);
    hubrig_expect(&h, 0, "timeline down reset1.2-[a:1 a:2 a:3]");
    fake_source_connect(&h.source);
    hubrig_settle(&h);
    hubrig_expect(&h, 0, "hole0:*:upstream up-all");
    hubrig_finish(&h);
}

static void test_an_overflow_within_the_answer(void **state)
{
    (void)state;
    struct hub_rig h;
    hubrig_start(&h, NULL);
    hubrig_publish(&h, "a", "1");
    h.workers[0].room = 0;
    hubrig_interest(&h, 0, 1, 1, "a", false);
    hubrig_expect(&h, 0, "");
    hubrig_resync(&h, 0); /* still no room: stopped again */
    assert_int_equal(metrics_get(&h.metrics, METRIC_STALE), 2);
    h.workers[0].room = SIZE_MAX;
    hubrig_publish(&h, "a", "2");
    hubrig_expect(&h, 0, "");
    hubrig_resync(&h, 0);
    hubrig_interest(&h, 0, 1, 2, "a", false);
    hubrig_expect(&h, 0, "timeline up reset1.2+[a:1 a:2]");
    hubrig_finish(&h);
}

static void test_a_new_epoch_is_told_to_all(void **state)
{
    (void)state;
    struct hub_rig h;
    hubrig_start(&h, NULL);
    registry_timeline(&h.registry);
    for (uint32_t w = 0; w < HUB_WORKERS; w++)
        hubrig_expect(&h, w, "timeline");
    hubrig_finish(&h);
}

int main(void)
{
    log_setup(LOG_ERROR, LOG_TEXT);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_log_so_far_then_live),
        cmocka_unit_test(test_a_new_channel_is_known_from_its_interest_on),
        cmocka_unit_test(test_taken_again_with_another_generation),
        cmocka_unit_test(test_patterns_and_channels_that_come_later),
        cmocka_unit_test(test_a_source_with_many_orders),
        cmocka_unit_test(test_a_pattern_merges_logs_in_order),
        cmocka_unit_test(test_names_that_are_not_allowed),
        cmocka_unit_test(test_oversize),
        cmocka_unit_test(test_envelopes_and_repairs),
        cmocka_unit_test(test_evictions_follow_the_frame),
        cmocka_unit_test(test_the_newest_stays_whatever_its_size),
        cmocka_unit_test(test_age),
        cmocka_unit_test(test_age_is_looked_at_when_a_log_is_asked_for),
        cmocka_unit_test(test_total_takes_from_the_idle_first),
        cmocka_unit_test(test_total_counts_the_holes),
        cmocka_unit_test(test_total_goes_by_last_use),
        cmocka_unit_test(test_the_cost_is_what_the_channels_cost),
        cmocka_unit_test(test_other_forms_count),
        cmocka_unit_test(test_the_first_connection),
        cmocka_unit_test(test_one_outage_one_mark),
        cmocka_unit_test(test_lost_again_before_it_is_up),
        cmocka_unit_test(test_a_full_inbox_stops_everything_until_resync),
        cmocka_unit_test(test_an_overflow_within_the_answer),
        cmocka_unit_test(test_a_new_epoch_is_told_to_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
