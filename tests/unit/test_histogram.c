#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "tickerd/broker/histogram.h"

static const uint32_t bounds[] = HISTOGRAM_BOUNDS;

static void test_bounds_grow(void **state)
{
    (void)state;
    assert_int_equal(sizeof bounds / sizeof bounds[0], HISTOGRAM_BOUND_COUNT);
    assert_int_equal(bounds[0], 50);
    assert_int_equal(bounds[HISTOGRAM_BOUND_COUNT - 1], 10000000);
    for (size_t i = 1; i < HISTOGRAM_BOUND_COUNT; i++)
        assert_true(bounds[i] >= 2 * bounds[i - 1]);
}

static void test_a_bound_is_in_its_bucket(void **state)
{
    (void)state;
    assert_int_equal(histogram_bucket(0), 0);
    for (size_t i = 0; i < HISTOGRAM_BOUND_COUNT; i++) {
        assert_int_equal(histogram_bucket(bounds[i] - 1), i);
        assert_int_equal(histogram_bucket(bounds[i]), i);
        assert_int_equal(histogram_bucket(bounds[i] + 1), i + 1);
    }
    assert_int_equal(histogram_bucket(UINT64_MAX), HISTOGRAM_BUCKETS - 1);
}

static void test_counts_and_sum(void **state)
{
    (void)state;
    struct histogram h;
    struct histogram_sums sums = {.counts = {[0] = 1}, .sum_us = 7};
    memset(&h, 0, sizeof h);
    histogram_add(&h, 30, 1);
    histogram_add(&h, 60, 3);
    histogram_add(&h, 20000000, 2);
    histogram_add(&h, 20000000, 0);
    histogram_sum(&h, &sums);
    assert_int_equal(sums.counts[0], 2);
    assert_int_equal(sums.counts[1], 3);
    assert_int_equal(sums.counts[HISTOGRAM_BUCKETS - 1], 2);
    assert_int_equal(sums.sum_us, 7 + 30 + 3 * 60 + 2 * 20000000);
    uint64_t all = 0;
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        all += sums.counts[i];
    assert_int_equal(all, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bounds_grow),
        cmocka_unit_test(test_a_bound_is_in_its_bucket),
        cmocka_unit_test(test_counts_and_sum),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
