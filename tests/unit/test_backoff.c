#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tickerd/wire/backoff.h"

static void test_doubles_up_to_the_maximum(void **state)
{
    (void)state;
    static const uint32_t steps[] = {100, 200, 400, 800, 1000, 1000, 1000};
    for (uint64_t seed = 0; seed < 500; seed++) {
        struct backoff b;
        backoff_init(&b, 100, 1000, seed);
        for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
            assert_in_range(backoff_next(&b), steps[i] / 2, steps[i]);
    }
}

static void test_reset_starts_again_but_not_the_jitter(void **state)
{
    (void)state;
    struct backoff b;
    backoff_init(&b, 1000, 60000, 7);
    int same = 0;
    for (int i = 0; i < 20; i++) {
        uint32_t first = backoff_next(&b);
        assert_in_range(first, 500, 1000);
        (void)backoff_next(&b);
        assert_in_range(backoff_next(&b), 2000, 4000);
        backoff_reset(&b);
        uint32_t again = backoff_next(&b);
        assert_in_range(again, 500, 1000);
        same += first == again;
        backoff_reset(&b);
    }
    assert_true(same < 5);
}

static void test_the_seed_decides(void **state)
{
    (void)state;
    struct backoff a, b, c;
    backoff_init(&a, 10, 1000000, 42);
    backoff_init(&b, 10, 1000000, 42);
    backoff_init(&c, 10, 1000000, 43);
    int differing = 0;
    for (int i = 0; i < 30; i++) {
        uint32_t x = backoff_next(&a);
        assert_int_equal(x, backoff_next(&b));
        differing += x != backoff_next(&c);
    }
    assert_true(differing > 10);
}

static void test_draws_are_spread_evenly(void **state)
{
    (void)state;
    unsigned hits[5] = {0};
    for (uint64_t seed = 0; seed < 10000; seed++) {
        struct backoff b;
        backoff_init(&b, 8, 8, seed);
        uint32_t d = backoff_next(&b);
        assert_in_range(d, 4, 8);
        hits[d - 4]++;
    }
    for (int i = 0; i < 5; i++)
        assert_in_range(hits[i], 1800, 2200);
}

static void test_extremes(void **state)
{
    (void)state;
    struct backoff b;
    backoff_init(&b, 1, 1, 0);
    for (int i = 0; i < 100; i++)
        assert_int_equal(backoff_next(&b), 1);
    backoff_init(&b, 3000000000U, UINT32_MAX, 1);
    assert_in_range(backoff_next(&b), 1500000000U, 3000000000U);
    for (int i = 0; i < 100; i++)
        assert_in_range(backoff_next(&b), UINT32_MAX / 2, UINT32_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_doubles_up_to_the_maximum),
        cmocka_unit_test(test_reset_starts_again_but_not_the_jitter),
        cmocka_unit_test(test_the_seed_decides),
        cmocka_unit_test(test_draws_are_spread_evenly),
        cmocka_unit_test(test_extremes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
