#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tickerd/base/clock.h"
#include "tickerd/base/err.h"
#include "tickerd/daemon/watchdog.h"

enum { THREADS = 3, MS = US_PER_MS };

static const uint64_t start = UINT64_C(5000000);

/* A run of so many looks, in which each thread moves but for the one that hangs (THREADS: none). */
struct play {
    struct watchdog w;
    uint64_t now, value;
};

static bool look(struct play *p, size_t hangs)
{
    p->now += watchdog_period_ms(&p->w) * MS;
    p->value++;
    for (size_t i = 0; i < THREADS; i++) {
        if (i != hangs)
            watchdog_see(&p->w, i, p->value, p->now);
    }
    return watchdog_feed(&p->w, p->now);
}

static void play_init(struct play *p, uint64_t interval_us)
{
    *p = (struct play){.now = start};
    assert_int_equal(watchdog_init(&p->w, interval_us, THREADS, start), ERR_OK);
}

static void test_how_often_it_looks(void **state)
{
    (void)state;
    static const uint64_t cases[][2] = {{0, 1000},         {1, 1},
                                        {1000 * MS, 250},  {3999 * MS, 999},
                                        {4000 * MS, 1000}, {UINT64_C(60000) * MS, 1000}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct watchdog w = {.interval_us = cases[i][0]};
        assert_int_equal(watchdog_period_ms(&w), cases[i][1]);
    }
}

static void test_fed_at_half_of_any_interval(void **state)
{
    (void)state;
    static const uint64_t intervals[] = {200 * MS, 1000 * MS, 1700 * MS, 30000 * MS,
                                         UINT64_C(180000) * MS};
    for (size_t i = 0; i < sizeof intervals / sizeof intervals[0]; i++) {
        struct play p;
        play_init(&p, intervals[i]);
        uint64_t last = start;
        for (int n = 0; n < 2000; n++) {
            if (!look(&p, THREADS))
                continue;
            if (last != start)
                assert_true(p.now - last >= intervals[i] / 2);
            assert_true(p.now - last <= intervals[i] * 3 / 4 + MS);
            last = p.now;
        }
        assert_true(last > start + intervals[i]);
        watchdog_finish(&p.w);
    }
}

static void test_one_that_hangs_stops_it(void **state)
{
    (void)state;
    for (size_t hangs = 0; hangs < THREADS; hangs++) {
        struct play p;
        unsigned fed = 0;
        play_init(&p, 10000 * MS);
        for (int n = 0; n < 100; n++)
            (void)look(&p, THREADS);
        uint64_t stopped = p.now;
        for (int n = 0; n < 100; n++)
            fed += look(&p, hangs) && p.now > stopped + 5000 * MS;
        assert_int_equal(fed, 0);
        assert_int_equal(watchdog_hangs_since(&p.w, p.now), stopped);
        assert_true(look(&p, THREADS)); /* at once when it moves again */
        assert_int_equal(watchdog_hangs_since(&p.w, p.now), 0);
        watchdog_finish(&p.w);
    }
}

static void test_one_that_never_moved(void **state)
{
    (void)state;
    struct play p;
    unsigned fed = 0;
    play_init(&p, 4000 * MS);
    for (int n = 0; n < 10; n++)
        fed += look(&p, 1) && p.now > start + 2000 * MS;
    assert_int_equal(fed, 0);
    watchdog_finish(&p.w);
}

static void test_without_a_watchdog(void **state)
{
    (void)state;
    struct play p;
    play_init(&p, 0);
    for (int n = 0; n < 100; n++)
        assert_false(look(&p, 0));
    assert_int_equal(watchdog_hangs_since(&p.w, p.now), 0);
    watchdog_finish(&p.w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_how_often_it_looks),
        cmocka_unit_test(test_fed_at_half_of_any_interval),
        cmocka_unit_test(test_one_that_hangs_stops_it),
        cmocka_unit_test(test_one_that_never_moved),
        cmocka_unit_test(test_without_a_watchdog),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
