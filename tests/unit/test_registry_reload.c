/* The hub under a new configuration, and commands on their way to workers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "../../src/broker/registry_internal.h"
#include "hub_rig.h"
#include "tickerd/base/log.h"

#define SET(...) ((const char *const[]){__VA_ARGS__, NULL})

enum { SECOND = 1000000 };

/* Long enough for every channel's turn. */
enum { ROUND = 8 * SECOND };

static void publish_numbers(struct hub_rig *h, const char *channel, int first, int last)
{
    for (int i = first; i <= last; i++) {
        char text[16];
        (void)snprintf(text, sizeof text, "%d", i);
        hubrig_publish(h, channel, text);
    }
}

static void test_bounds_shrink_at_once_for_who_is_there(void **state)
{
    (void)state;
    struct hub_rig h;
    hubrig_start(&h, SET("history.events=5"));
    hubrig_interest(&h, 0, 1, 1, "a", false);
    publish_numbers(&h, "a", 1, 5);
    hubrig_forget(&h);
    hubrig_reload(&h, SET("history.events=2"));
    hubrig_expect(&h, 0, "evict1:1 evict1:2 evict1:3");
    hubrig_publish(&h, "a", "6");
    hubrig_expect(&h, 0, "frame1:6 evict1:4");
    hubrig_interest(&h, 1, 1, 1, "a", false);
    hubrig_expect(&h, 1, "reset1.1+[!a:evicted a:5 a:6]");
    hubrig_reload(&h, SET("history.events=3"));
    publish_numbers(&h, "a", 7, 8);
    hubrig_expect(&h, 0, "frame1:7 frame1:8 evict1:5");
    hubrig_finish(&h);
}

/* So many channels that a reload does not come to those that follow. */
static void fill(struct hub_rig *h)
{
    for (int i = 0; i < 3000; i++) {
        char channel[24];
        (void)snprintf(channel, sizeof channel, "fill.%d", i);
        hubrig_publish(h, channel, "x");
    }
    h->seen_count = 0;
}

static void test_bounds_shrink_for_who_asks_first(void **state)
{
    (void)state;
    struct hub_rig h;
    hubrig_start(&h, NULL);
    fill(&h);
    publish_numbers(&h, "a.1", 1, 3);
    publish_numbers(&h, "b.1", 4, 6);
    hubrig_reload(&h, SET("channels=[{\"match\":\"a.*\",\"history\":{\"events\":1}}]"));
    hubrig_interest(&h, 0, 1, 1, "a.1", false);
    hubrig_interest(&h, 0, 2, 1, "[ab].1", true);
    hubrig_expect(&h, 0,
                  "reset1.1+[!a.1:evicted a.1:3] reset2.1+[!a.1:evicted a.1:3 b.1:4 b.1:5 b.1:6]");
    hubrig_finish(&h);
}

static void test_bounds_shrink_for_who_is_not_used(void **state)
{
    (void)state;
    struct hub_rig h;
    hubrig_start(&h, NULL);
    fill(&h);
    hubrig_interest(&h, 0, 1, 1, "a", false);
    publish_numbers(&h, "a", 1, 3);
    publish_numbers(&h, "b", 1, 200);
    uint64_t cost = h.registry.cost;
    hubrig_forget(&h);
    hubrig_reload(&h, SET("history.events=1"));
    hubrig_expect(&h, 0, "");
    hubrig_sleep(&h, ROUND);
    hubrig_expect(&h, 0, "evict1:1 evict1:2");
    assert_true(h.registry.cost < cost - 199 * 100);
    hubrig_finish(&h);
}

static void test_the_total_shrinks_at_once(void **state)
{
    (void)state;
    struct hub_rig h;
    hubrig_start(&h, NULL);
    publish_numbers(&h, "a", 1, 100);
    publish_numbers(&h, "b", 101, 200);
    hubrig_reload(&h, SET("history.total_bytes=1KiB"));
    assert_true(h.registry.cost <= 1024);
    hubrig_finish(&h);
}

static void test_age(void **state)
{
    (void)state;
    struct hub_rig h;
    hubrig_start(&h, SET("history.age=0s"));
    hubrig_publish(&h, "a", "1");
    hubrig_sleep(&h, 60 * SECOND);
    hubrig_publish(&h, "a", "2");
    hubrig_reload(&h, SET("history.age=30s"));
    hubrig_interest(&h, 0, 1, 1, "a", false);
    hubrig_expect(&h, 0, "reset1.1+[!a:evicted a:2]");
    hubrig_finish(&h);
}

static void test_payload_mode_and_size(void **state)
{
    static const char envelope[] = "{\"data\":\"x\"}";
    (void)state;
    struct hub_rig h;
    hubrig_start(&h, NULL);
    hubrig_interest(&h, 0, 1, 1, "a", false);
    hubrig_forget(&h);
    hubrig_publish(&h, "a", envelope);
    hubrig_expect(&h, 0, "frame1:x");
    hubrig_reload(&h, SET("channels=[{\"match\":\"*\",\"payload\":\"raw\"}]"));
    hubrig_publish(&h, "a", envelope);
    hubrig_expect(&h, 0, "frame1:{\"data\":\"x\"}");
    log_setup(LOG_ERROR, LOG_TEXT);
    hubrig_reload(&h, SET("limits.message_bytes=1024"));
    char large[1026];
    memset(large, 'x', sizeof large);
    large[1025] = '\0';
    hubrig_publish(&h, "a", large);
    hubrig_expect(&h, 0, "hole1:a:oversize");
    hubrig_finish(&h);
}

/* superseded and policy of each kept event, oldest first: "resume", "latest" with a dash before it
 * where a newer one has replaced it. */
static void expect_policies(struct hub_rig *h, const char *name, const char *text)
{
    static const char *const words[] = {"resume", "latest", "disconnect"};
    struct buf out = BUF_INIT;
    const struct channel *c = strmap_get(&h->registry.channels, name, strlen(name));
    assert_non_null(c);
    const struct ring *ring = &c->log.ring;
    for (uint32_t i = 0; i < ring->count; i++) {
        const struct entry *e = ring_at(ring, i);
        if (!entry_is_hole(e))
            buf_printf(&out, " %s%s", frame_superseded(e->u.frame) ? "-" : "",
                       words[frame_slow(e->u.frame)]);
        else
            buf_printf(&out, " %shole", e->u.hole->superseded ? "-" : "");
    }
    assert_string_equal(buf_cstr(&out), text);
    buf_finish(&out);
}

static void test_slow_policy_of_what_is_kept(void **state)
{
    (void)state;
    struct hub_rig h;
    hubrig_start(&h, SET("history.events=3"));
    publish_numbers(&h, "a", 1, 4);
    expect_policies(&h, "a", " hole resume resume resume");
    hubrig_reload(&h, SET("history.events=3", "channels=[{\"match\":\"a\",\"slow\":\"latest\"}]"));
    expect_policies(&h, "a", " -hole -latest -latest latest");
    hubrig_publish(&h, "a", "5");
    expect_policies(&h, "a", " -hole -latest -latest latest");
    /* What has been replaced stays so; what follows does not replace any more. */
    hubrig_reload(&h, SET("history.events=3"));
    hubrig_publish(&h, "a", "6");
    expect_policies(&h, "a", " -hole -resume resume resume");
    hubrig_reload(&h,
                  SET("history.events=3", "channels=[{\"match\":\"*\",\"slow\":\"disconnect\"}]"));
    hubrig_publish(&h, "a", "7");
    expect_policies(&h, "a", " -hole disconnect disconnect disconnect");
    hubrig_finish(&h);
}

/* A rule is never read once its configuration is gone; run under AddressSanitizer. */
static void test_many_reloads_under_way(void **state)
{
    (void)state;
    struct hub_rig h;
    hubrig_start(&h, NULL);
    hubrig_interest(&h, 0, 1, 1, "c*", true);
    for (int i = 0; i < 300; i++) {
        char channel[16], events[32], rules[64];
        (void)snprintf(channel, sizeof channel, "c%d", i % 37);
        (void)snprintf(events, sizeof events, "history.events=%d", 1 + i % 5);
        (void)snprintf(rules, sizeof rules, "channels=[{\"match\":\"c%d*\"}]", i % 4);
        hubrig_reload(&h, SET(events, rules));
        hubrig_publish(&h, channel, "x");
        if (i % 50 == 0)
            fill(&h);
        if (i % 20 == 0)
            hubrig_sleep(&h, SECOND);
        hubrig_forget(&h);
        h.seen_count = 0;
    }
    assert_int_equal(registry_channels(&h.registry), 37 + 3000);
    hubrig_sleep(&h, ROUND);
    hubrig_finish(&h);
}

/* ---- commands -------------------------------------------------------------------------------- */

static void test_a_command_goes_to_all(void **state)
{
    (void)state;
    struct hub_rig h;
    hubrig_start(&h, NULL);
    hubrig_disconnect(&h, "42");
    for (uint32_t w = 0; w < HUB_WORKERS; w++)
        hubrig_expect(&h, w, "disconnect:42");
    hubrig_finish(&h);
}

static void test_a_command_waits_for_a_worker_that_is_behind(void **state)
{
    (void)state;
    struct hub_rig h;
    hubrig_start(&h, NULL);
    hubrig_interest(&h, 1, 1, 1, "a", false);
    hubrig_forget(&h);
    h.workers[1].room = 1;
    hubrig_disconnect(&h, "a");
    hubrig_disconnect(&h, "b"); /* finds the inbox full */
    h.workers[1].room = 100;
    hubrig_publish(&h, "a", "x"); /* it is not listening */
    hubrig_disconnect(&h, "c");
    hubrig_expect(&h, 0, "disconnect:a disconnect:b disconnect:c");
    hubrig_expect(&h, 1, "disconnect:a");
    hubrig_resync(&h, 1);
    hubrig_expect(&h, 1, "timeline up disconnect:b disconnect:c");
    hubrig_disconnect(&h, "d");
    hubrig_expect(&h, 1, "disconnect:d");
    hubrig_resync(&h, 1); /* not told again */
    hubrig_expect(&h, 1, "timeline up");
    hubrig_finish(&h);
}

static void test_a_worker_that_is_behind_again(void **state)
{
    (void)state;
    struct hub_rig h;
    hubrig_start(&h, NULL);
    h.workers[0].room = 0;
    hubrig_disconnect(&h, "a");
    hubrig_disconnect(&h, "b");
    h.workers[0].room = 3; /* for the greeting and one more */
    hubrig_resync(&h, 0);
    hubrig_expect(&h, 0, "timeline up disconnect:a");
    h.workers[0].room = 100;
    hubrig_disconnect(&h, "c");
    hubrig_expect(&h, 0, "");
    hubrig_resync(&h, 0);
    hubrig_expect(&h, 0, "timeline up disconnect:b disconnect:c");
    hubrig_finish(&h);
}

static void test_too_many_commands_become_one(void **state)
{
    (void)state;
    struct hub_rig h;
    hubrig_start(&h, NULL);
    h.workers[0].room = h.workers[2].room = 0;
    for (int i = 0; i < 1000; i++)
        hubrig_disconnect(&h, "a");
    h.workers[0].room = 2;
    hubrig_resync(&h, 0);
    hubrig_expect(&h, 0, "timeline up"); /* and full again */
    h.workers[0].room = 100;
    hubrig_resync(&h, 0);
    hubrig_expect(&h, 0, "timeline up disconnect:*");
    hubrig_disconnect(&h, "b");
    hubrig_expect(&h, 0, "disconnect:b");
    hubrig_finish(&h); /* worker 2 never listened again */
}

static void test_the_last_one_sums_up(void **state)
{
    (void)state;
    struct control what = {.sub = strdup("42")};
    struct command *c = command_create(&what);
    uint64_t total = 99;
    assert_non_null(c);
    struct note lost = {.kind = NOTE_COMMAND, .ref = command_ref(c)};
    assert_ptr_equal(command_ref(c), c);
    assert_false(command_done(c, 3, &total));
    note_release(&lost);
    assert_int_equal(total, 99);
    assert_true(command_done(c, 4, &total));
    assert_int_equal(total, 7);
    command_destroy(c);
    command_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bounds_shrink_at_once_for_who_is_there),
        cmocka_unit_test(test_bounds_shrink_for_who_asks_first),
        cmocka_unit_test(test_bounds_shrink_for_who_is_not_used),
        cmocka_unit_test(test_the_total_shrinks_at_once),
        cmocka_unit_test(test_age),
        cmocka_unit_test(test_payload_mode_and_size),
        cmocka_unit_test(test_slow_policy_of_what_is_kept),
        cmocka_unit_test(test_many_reloads_under_way),
        cmocka_unit_test(test_a_command_goes_to_all),
        cmocka_unit_test(test_a_command_waits_for_a_worker_that_is_behind),
        cmocka_unit_test(test_a_worker_that_is_behind_again),
        cmocka_unit_test(test_too_many_commands_become_one),
        cmocka_unit_test(test_the_last_one_sums_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
