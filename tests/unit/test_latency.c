#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "world.h"

static const uint64_t *fake_time; /* what the clock shows */
static unsigned reads;            /* how often it was looked at */

static uint64_t fake_clock(void)
{
    reads++;
    return *fake_time;
}

static void watch(struct world *w)
{
    fake_time = &w->mono;
    reads = 0;
    w->workers[0].fanout.latency.clock = fake_clock;
}

static struct histogram_sums counted(const struct world *w)
{
    struct histogram_sums sums = {.sum_us = 0};
    histogram_sum(&w->workers[0].metrics.latency, &sums);
    return sums;
}

static uint64_t total(const struct histogram_sums *sums)
{
    uint64_t n = 0;
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        n += sums->counts[i];
    return n;
}

/* The hub stamps it, and the worker has its turn so much later. */
static void deliver_after(struct world *w, const char *payload, uint64_t us)
{
    world_publish(w, "a", payload);
    w->mono += us;
    world_turn(w, 0);
}

static void test_from_the_stamp_to_the_write(void **state)
{
    (void)state;
    struct world w;
    struct world_client c;
    world_open(&w, NULL, &c, "/events/a");
    watch(&w);
    deliver_after(&w, "1", 3000);
    deliver_after(&w, "2", 400);
    struct histogram_sums sums = counted(&w);
    assert_int_equal(total(&sums), 2);
    assert_int_equal(sums.counts[histogram_bucket(2990)], 1);
    assert_int_equal(sums.counts[histogram_bucket(390)], 1);
    assert_in_range(sums.sum_us, 3390, 3400);
    world_disconnect(&c);
    world_finish(&w);
}

/* What a stream begins with is history. */
static void test_a_replay_is_not_counted(void **state)
{
    (void)state;
    struct world w;
    struct world_client first, late;
    world_open(&w, NULL, &first, "/events/a");
    watch(&w);
    deliver_after(&w, "1", 100);
    deliver_after(&w, "2", 100);
    world_sleep(&w, 5 * WORLD_SECOND);
    world_connect(&w, 0, &late, "/events/a?history=all", NULL);
    world_settle(&w);
    world_expect(&late, "open new | 1 | 2");
    struct histogram_sums sums = counted(&w);
    assert_int_equal(total(&sums), 2);
    deliver_after(&w, "3", 100);
    sums = counted(&w);
    assert_int_equal(total(&sums), 4);
    assert_int_equal(sums.counts[histogram_bucket(95)], 4);
    world_disconnect(&first);
    world_disconnect(&late);
    world_finish(&w);
}

/* An event that goes out in parts counts once, when its last byte is out. */
static void test_when_the_last_byte_is_out(void **state)
{
    (void)state;
    struct world w;
    struct world_client c;
    world_open(&w, NULL, &c, "/events/a");
    watch(&w);
    world_room(&w, &c, 10);
    deliver_after(&w, "slow", 100);
    deliver_after(&w, "behind", 100);
    struct histogram_sums sums = counted(&w);
    assert_int_equal(total(&sums), 0);
    w.mono += 2 * WORLD_SECOND;
    world_room(&w, &c, 1 << 20);
    sums = counted(&w);
    assert_int_equal(total(&sums), 2);
    assert_int_equal(sums.counts[histogram_bucket(2 * WORLD_SECOND + 150)], 2);
    world_disconnect(&c);
    world_finish(&w);
}

/* Many clients of one batch, and of batches of their own: each event and client counts, and the
 * clock is not read for each. */
static void test_many_clients(void **state)
{
    (void)state;
    enum { SHARED = 100, OWN = 20, EVENTS = 3 };
    static struct world_client clients[SHARED + OWN];
    struct world w;
    world_open(&w, NULL, &clients[0], "/events/a");
    for (size_t i = 1; i < SHARED + OWN; i++)
        world_connect(&w, 0, &clients[i], i < SHARED ? "/events/a" : "/events?channel=a&channel=b",
                      NULL);
    world_settle(&w);
    watch(&w);
    for (int i = 0; i < EVENTS; i++)
        world_publish(&w, "a", "x");
    w.mono += 700;
    world_turn(&w, 0);
    struct histogram_sums sums = counted(&w);
    assert_int_equal(total(&sums), EVENTS * (SHARED + OWN));
    assert_int_equal(sums.counts[histogram_bucket(695)], EVENTS * (SHARED + OWN));
    assert_true(reads <= (SHARED + OWN) / 10);
    assert_int_equal(metrics_get(&w.workers[0].metrics, METRIC_DELIVERIES),
                     EVENTS * (SHARED + OWN));
    for (size_t i = 0; i < SHARED + OWN; i++)
        world_disconnect(&clients[i]);
    world_finish(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_from_the_stamp_to_the_write),
        cmocka_unit_test(test_a_replay_is_not_counted),
        cmocka_unit_test(test_when_the_last_byte_is_out),
        cmocka_unit_test(test_many_clients),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
