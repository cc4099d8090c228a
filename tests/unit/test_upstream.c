#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config_util.h"
#include "tickerd/base/err.h"
#include "upstream_rig.h"

/* ---- mode all -------------------------------------------------------------------------------- */

static void test_all_is_one_pattern(void **state)
{
    (void)state;
    struct upstream_rig r;
    upstream_rig_init(&r, "all", "sse:");
    assert_true(fake_source_wants(&r.source, SOURCE_PATTERN, "sse:*"));
    rig_want(&r, "a", false);
    rig_want(&r, "a*", true);
    rig_unwant(&r, "a", false, 0);
    rig_unwant(&r, "a", false, 0);
    upstream_tick(&r.up, 1000 * (uint64_t)SECOND);
    assert_int_equal(fake_source_wanted_count(&r.source), 1);
    assert_false(rig_covers(&r, "a"));
    fake_source_settle(&r.source);
    assert_true(rig_covers(&r, "a"));
    assert_true(upstream_covers_pattern(&r.up, "x*", 2));
    rig_publish(&r, "sse:a", "1");
    rig_publish(&r, "sse:", "2");
    rig_publish(&r, "ssx:a", "3");
    rig_expect(&r, "a=1 =2 ");
    size_t len;
    assert_null(upstream_accept(&r.up, NULL, 0, "ss", 2, &len));
    assert_null(upstream_accept(&r.up, NULL, 0, "xxe:a", 5, &len));
    fake_source_lose(&r.source, 0);
    assert_false(rig_covers(&r, "a"));
    upstream_rig_finish(&r);
}

static void test_the_prefix_is_literal(void **state)
{
    (void)state;
    struct upstream_rig r;
    upstream_rig_init(&r, "all", "a[b]*?\\:");
    assert_true(fake_source_wants(&r.source, SOURCE_PATTERN, "a\\[b]\\*\\?\\\\:*"));
    fake_source_settle(&r.source);
    rig_publish(&r, "a[b]*?\\:x", "1");
    rig_publish(&r, "abxy\\:x", "2");
    rig_expect(&r, "x=1 ");
    upstream_rig_finish(&r);
    upstream_rig_init(&r, "all", "");
    assert_true(fake_source_wants(&r.source, SOURCE_PATTERN, "*"));
    fake_source_settle(&r.source);
    rig_publish(&r, "anything", "1");
    rig_expect(&r, "anything=1 ");
    upstream_rig_finish(&r);
}

/* ---- what is subscribed ---------------------------------------------------------------------- */

static void test_patterns_share_their_literal_head(void **state)
{
    (void)state;
    struct upstream_rig r;
    upstream_rig_init(&r, "on-demand", "s[:");
    rig_want(&r, "user.?5", true);
    rig_want(&r, "user.[ab]", true);
    rig_want(&r, "user.*", true);
    rig_want(&r, "u\\*r.*", true);
    assert_int_equal(fake_source_wanted_count(&r.source), 2);
    assert_true(fake_source_wants(&r.source, SOURCE_PATTERN, "s\\[:user.*"));
    assert_true(fake_source_wants(&r.source, SOURCE_PATTERN, "s\\[:u\\*r.*"));
    rig_unwant(&r, "user.?5", true, 0);
    rig_unwant(&r, "user.[ab]", true, 0);
    upstream_tick(&r.up, 61 * SECOND);
    assert_int_equal(fake_source_wanted_count(&r.source), 2);
    rig_unwant(&r, "user.*", true, 61 * SECOND);
    upstream_tick(&r.up, 122 * SECOND);
    assert_int_equal(fake_source_wanted_count(&r.source), 1);
    upstream_rig_finish(&r);
}

static void test_a_channel_and_a_pattern_of_the_same_name(void **state)
{
    (void)state;
    struct upstream_rig r;
    upstream_rig_init(&r, "on-demand", "");
    rig_want(&r, "a", false);
    rig_want(&r, "a", true); /* a pattern without a star still stands for its head */
    assert_true(fake_source_wants(&r.source, SOURCE_CHANNEL, "a"));
    assert_true(fake_source_wants(&r.source, SOURCE_PATTERN, "a*"));
    fake_source_settle(&r.source);
    rig_publish(&r, "a", "1");
    rig_publish(&r, "ab", "2");
    rig_expect(&r, "a=1 ab=2 ");
    upstream_rig_finish(&r);
}

static void test_linger(void **state)
{
    (void)state;
    struct upstream_rig r;
    upstream_rig_init(&r, "on-demand", "");
    rig_want(&r, "a", false);
    rig_want(&r, "a", false);
    rig_want(&r, "b", false);
    fake_source_settle(&r.source);
    rig_unwant(&r, "a", false, 0);
    assert_int_equal(r.up.lingering_count, 0);
    rig_unwant(&r, "a", false, 10 * SECOND);
    rig_unwant(&r, "b", false, 20 * SECOND);
    rig_unwant(&r, "b", false, 20 * SECOND); /* one too many does no harm */
    assert_int_equal(r.up.lingering_count, 2);
    upstream_tick(&r.up, 70 * SECOND - 1);
    assert_int_equal(fake_source_wanted_count(&r.source), 2);
    rig_want(&r, "b", false); /* back in time */
    upstream_tick(&r.up, 200 * SECOND);
    assert_false(fake_source_wants(&r.source, SOURCE_CHANNEL, "a"));
    assert_true(fake_source_wants(&r.source, SOURCE_CHANNEL, "b"));
    assert_int_equal(r.up.lingering_count, 0);
    assert_false(rig_covers(&r, "a")); /* it may have ended at the source */
    rig_publish(&r, "a", "1");
    rig_expect(&r, "a=1 "); /* but what still comes counts, until the source confirms */
    fake_source_settle(&r.source);
    rig_publish(&r, "a", "2");
    rig_expect(&r, "");
    assert_true(rig_covers(&r, "b"));
    assert_int_equal(strmap_count(&r.up.channels), 1);
    upstream_rig_finish(&r);
}

/* Between the end and the new beginning messages are lost, though the old acknowledgement still
 * stands: nobody may be told that he hears all. */
static void test_wanted_again_is_no_promise(void **state)
{
    (void)state;
    struct upstream_rig r;
    upstream_rig_init(&r, "on-demand", "");
    rig_want(&r, "ab", true);
    fake_source_settle(&r.source);
    rig_unwant(&r, "ab", true, 0);
    upstream_tick(&r.up, 100 * SECOND); /* UNSUBSCRIBE is on its way */
    rig_want(&r, "ab", true);
    assert_false(rig_covers(&r, "abc"));
    assert_false(upstream_covers_pattern(&r.up, "ab*", 3));
    assert_int_equal(upstream_since(&r.up, true, "ab*", 3), 0);
    rig_publish(&r, "abc", "1");
    rig_expect(&r, "abc=1 ");
    fake_source_settle(&r.source);
    assert_true(rig_covers(&r, "abc"));
    assert_true(upstream_since(&r.up, true, "ab*", 3) > 0);
    /* The same across a lost connection. */
    rig_unwant(&r, "ab", true, 200 * SECOND);
    upstream_tick(&r.up, 300 * SECOND);
    rig_want(&r, "ab", true);
    fake_source_lose(&r.source, 0);
    fake_source_connect(&r.source);
    assert_false(rig_covers(&r, "abc"));
    fake_source_settle(&r.source);
    assert_true(rig_covers(&r, "abc"));
    upstream_rig_finish(&r);
}

static void test_at_most_ten_thousand_linger(void **state)
{
    (void)state;
    struct upstream_rig r;
    char name[16];
    upstream_rig_init(&r, "on-demand", "");
    for (int i = 0; i < UPSTREAM_LINGER_MAX + 5; i++) {
        (void)snprintf(name, sizeof name, "c%d", i);
        rig_want(&r, name, false);
    }
    for (int i = 0; i < UPSTREAM_LINGER_MAX + 5; i++) {
        (void)snprintf(name, sizeof name, "c%d", i);
        rig_unwant(&r, name, false, (uint64_t)i);
    }
    assert_int_equal(r.up.lingering_count, UPSTREAM_LINGER_MAX);
    assert_int_equal(fake_source_wanted_count(&r.source), UPSTREAM_LINGER_MAX);
    assert_false(fake_source_wants(&r.source, SOURCE_CHANNEL, "c4"));
    assert_true(fake_source_wants(&r.source, SOURCE_CHANNEL, "c5"));
    upstream_rig_finish(&r);
}

/* ---- acknowledgements ------------------------------------------------------------------------ */

static void test_want_again_while_ending(void **state)
{
    (void)state;
    struct upstream_rig r;
    upstream_rig_init(&r, "on-demand", "");
    rig_want(&r, "a", false);
    fake_source_settle(&r.source);
    rig_end_now(&r, "a", false, 0);
    rig_want(&r, "a", false);
    assert_int_equal(r.source.sent, 2);
    rig_publish(&r, "a", "1"); /* the server has not read the UNSUBSCRIBE yet */
    rig_expect(&r, "a=1 ");
    (void)fake_source_serve(&r.source, 1);
    rig_publish(&r, "a", "2"); /* now it has */
    assert_false(rig_covers(&r, "a"));
    rig_expect(&r, "");
    fake_source_settle(&r.source);
    assert_true(rig_covers(&r, "a"));
    rig_publish(&r, "a", "3");
    rig_expect(&r, "a=3 ");
    rig_end_now(&r, "a", false, 100 * SECOND);
    fake_source_settle(&r.source);
    assert_int_equal(strmap_count(&r.up.channels), 0);
    upstream_rig_finish(&r);
}

static void test_acknowledgements_of_the_past(void **state)
{
    (void)state;
    struct upstream_rig r;
    upstream_rig_init(&r, "on-demand", "");
    rig_want(&r, "a", false);
    rig_want(&r, "p*", true);
    rig_end_now(&r, "a", false, 0); /* before anything was confirmed */
    rig_end_now(&r, "p*", true, 0);
    assert_int_equal(strmap_count(&r.up.channels), 0);
    (void)fake_source_serve(&r.source, 1); /* SUBSCRIBE a */
    rig_publish(&r, "a", "1");
    rig_expect(&r, "");
    rig_want(&r, "a", false);
    fake_source_settle(&r.source); /* on, off, on: of three different times */
    assert_true(rig_covers(&r, "a"));
    assert_false(rig_covers(&r, "px"));
    rig_publish(&r, "a", "2");
    rig_expect(&r, "a=2 ");
    struct upstream_topic t;
    assert_false(upstream_acked(&r.up, SOURCE_CHANNEL, "other", 5, true, 1, &t));
    assert_false(upstream_acked(&r.up, SOURCE_PATTERN, "a", 1, true, 1, &t));
    assert_false(upstream_find(&r.up, SOURCE_PATTERN, "p*", 2, &t));
    upstream_rig_finish(&r);
}

static void test_short_names_are_not_under_the_prefix(void **state)
{
    (void)state;
    struct upstream_rig r;
    upstream_rig_init(&r, "on-demand", "sse:");
    struct upstream_topic t;
    assert_false(upstream_find(&r.up, SOURCE_CHANNEL, "ss", 2, &t));
    assert_false(upstream_find(&r.up, SOURCE_CHANNEL, "sse:a", 5, &t));
    rig_want(&r, "a", false);
    assert_true(upstream_find(&r.up, SOURCE_CHANNEL, "sse:a", 5, &t));
    assert_int_equal(t.len, 1);
    assert_false(t.pattern);
    upstream_rig_finish(&r);
}

static void test_down_and_up(void **state)
{
    (void)state;
    struct upstream_rig r;
    upstream_rig_init(&r, "on-demand", "");
    rig_want(&r, "kept", false);
    rig_want(&r, "k*", true);
    rig_want(&r, "lingers", false);
    rig_want(&r, "ends", false);
    fake_source_settle(&r.source);
    rig_end_now(&r, "ends", false, 0);
    rig_unwant(&r, "lingers", false, 60 * SECOND);
    fake_source_lose(&r.source, 0);
    assert_false(rig_covers(&r, "kept"));
    assert_int_equal(upstream_since(&r.up, false, "kept", 4), 0);
    assert_int_equal(strmap_count(&r.up.channels), 2); /* what was ending has ended */
    rig_want(&r, "new", false);
    rig_want(&r, "k*", true);
    fake_source_connect(&r.source);
    fake_source_settle(&r.source);
    assert_true(rig_covers(&r, "kept"));
    assert_true(rig_covers(&r, "lingers"));
    assert_true(rig_covers(&r, "new"));
    assert_false(rig_covers(&r, "ends"));
    rig_publish(&r, "kept", "1");
    rig_expect(&r, "kept=1 ");
    upstream_tick(&r.up, 120 * SECOND);
    assert_false(fake_source_wants(&r.source, SOURCE_CHANNEL, "lingers"));
    upstream_rig_finish(&r);
}

static void test_a_connection_that_ends_before_it_is_up(void **state)
{
    (void)state;
    struct upstream_rig r;
    upstream_rig_init(&r, "on-demand", "");
    rig_want(&r, "a", false);
    rig_want(&r, "a*", true);
    (void)fake_source_serve(&r.source, 2);
    fake_source_lose(&r.source, 0);
    fake_source_connect(&r.source);
    /* On the second connection something is confirmed, and given up, and then it ends too: nothing
     * of that may be believed on the third. */
    fake_source_settle(&r.source);
    fake_source_lose(&r.source, 0);
    fake_source_connect(&r.source);
    (void)fake_source_serve(&r.source, 1);
    (void)fake_source_deliver(&r.source, 1);
    rig_end_now(&r, "a", false, 0);
    fake_source_lose(&r.source, 0);
    fake_source_connect(&r.source);
    fake_source_settle(&r.source);
    rig_publish(&r, "a", "1");
    rig_expect(&r, "a=1 ");
    assert_int_equal(strmap_count(&r.up.channels), 0);
    upstream_rig_finish(&r);
}

static void test_since(void **state)
{
    (void)state;
    struct upstream_rig r;
    upstream_rig_init(&r, "on-demand", "");
    rig_want(&r, "ab*", true);
    fake_source_settle(&r.source); /* at 1 */
    rig_want(&r, "abc", false);
    fake_source_settle(&r.source); /* at 2 */
    rig_want(&r, "*", true);
    fake_source_settle(&r.source); /* at 3 */
    assert_int_equal(upstream_since(&r.up, false, "abc", 3), 1);
    assert_int_equal(upstream_since(&r.up, false, "x", 1), 3);
    assert_int_equal(upstream_since(&r.up, true, "ab*", 3), 1);
    assert_int_equal(upstream_since(&r.up, true, "abc*", 4), 1);
    assert_int_equal(upstream_since(&r.up, true, "a*", 2), 3);
    assert_true(upstream_covers_pattern(&r.up, "[xy]", 4));
    rig_end_now(&r, "ab*", true, 0);
    rig_end_now(&r, "*", true, 0);
    fake_source_settle(&r.source);
    assert_int_equal(upstream_since(&r.up, false, "abc", 3), 2);
    assert_int_equal(upstream_since(&r.up, true, "abc", 3), 0); /* a channel is no pattern */
    assert_false(upstream_covers_pattern(&r.up, "abc", 3));
    upstream_rig_finish(&r);
}

static void test_out_of_memory_changes_nothing(void **state)
{
    (void)state;
    struct upstream_rig r;
    upstream_rig_init(&r, "on-demand", "");
    r.source.failing = 2;
    assert_int_equal(upstream_want(&r.up, false, "a", 1), ERR_NOMEM);
    assert_int_equal(upstream_want(&r.up, true, "a*", 2), ERR_NOMEM);
    assert_int_equal(strmap_count(&r.up.channels) + strmap_count(&r.up.patterns), 0);
    assert_int_equal(strmap_count(&r.up.wire), 0);
    rig_want(&r, "a", false);
    fake_source_settle(&r.source);
    rig_end_now(&r, "a", false, 0);
    r.source.failing = 1;
    assert_int_equal(upstream_want(&r.up, false, "a", 1), ERR_NOMEM);
    fake_source_settle(&r.source); /* it goes on ending */
    assert_int_equal(strmap_count(&r.up.channels), 0);
    rig_want(&r, "a", false);
    upstream_rig_finish(&r);
    const char *settings[] = {"redis.mode=all", NULL};
    memset(&r, 0, sizeof r);
    r.config = build_ok(NULL, NULL, settings);
    static const struct source_events none; /* nothing is delivered */
    fake_source_init(&r.source, &none, &r);
    r.source.failing = 1;
    assert_int_equal(upstream_init(&r.up, &r.source.source, r.config), ERR_NOMEM);
    fake_source_finish(&r.source);
    config_destroy(r.config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_is_one_pattern),
        cmocka_unit_test(test_the_prefix_is_literal),
        cmocka_unit_test(test_patterns_share_their_literal_head),
        cmocka_unit_test(test_a_channel_and_a_pattern_of_the_same_name),
        cmocka_unit_test(test_linger),
        cmocka_unit_test(test_wanted_again_is_no_promise),
        cmocka_unit_test(test_at_most_ten_thousand_linger),
        cmocka_unit_test(test_want_again_while_ending),
        cmocka_unit_test(test_acknowledgements_of_the_past),
        cmocka_unit_test(test_short_names_are_not_under_the_prefix),
        cmocka_unit_test(test_down_and_up),
        cmocka_unit_test(test_a_connection_that_ends_before_it_is_up),
        cmocka_unit_test(test_since),
        cmocka_unit_test(test_out_of_memory_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
