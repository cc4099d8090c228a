#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "tickerd/base/clock.h"
#include "tickerd/net/turns.h"

/* Ends a wait of 50 ms, then works for 20 ms, twice. */
struct rig {
    uv_timer_t timer;
    struct turns turns;
    int left;
};

static void work(uint64_t us)
{
    uint64_t until = clock_mono_us() + us;
    while (clock_mono_us() < until)
        ;
}

static void on_timer(uv_timer_t *timer)
{
    struct rig *r = timer->data;
    work(20 * US_PER_MS);
    if (--r->left > 0) {
        (void)uv_timer_start(timer, on_timer, 50, 0);
        return;
    }
    turns_close(&r->turns);
    uv_close((uv_handle_t *)timer, NULL);
}

static void test_work_without_waiting(void **state)
{
    (void)state;
    uv_loop_t loop;
    struct rig r = {.left = 2};
    struct histogram h;
    struct histogram_sums sums = {.sum_us = 0};
    memset(&h, 0, sizeof h);
    assert_int_equal(uv_loop_init(&loop), 0);
    turns_start(&r.turns, &loop, &h);
    assert_int_equal(uv_timer_init(&loop, &r.timer), 0);
    r.timer.data = &r;
    uint64_t begin = clock_mono_us();
    assert_int_equal(uv_timer_start(&r.timer, on_timer, 50, 0), 0);
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    uint64_t took = clock_mono_us() - begin;
    assert_int_equal(uv_loop_close(&loop), 0);
    histogram_sum(&h, &sums);
    /* Of the last turn nothing is known: its end is the loop's. */
    assert_true(sums.sum_us >= 20 * US_PER_MS);
    assert_true(sums.sum_us <= took - 90 * US_PER_MS);
    assert_true(sums.counts[histogram_bucket(20 * US_PER_MS)] +
                    sums.counts[histogram_bucket(40 * US_PER_MS)] +
                    sums.counts[histogram_bucket(200 * US_PER_MS)] >=
                1);
}

/* They do not keep a loop alive. */
static void test_a_loop_without_anything_ends(void **state)
{
    (void)state;
    uv_loop_t loop;
    struct turns turns;
    struct histogram h;
    memset(&h, 0, sizeof h);
    assert_int_equal(uv_loop_init(&loop), 0);
    turns_start(&turns, &loop, &h);
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    turns_close(&turns);
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&loop), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_work_without_waiting),
        cmocka_unit_test(test_a_loop_without_anything_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
