#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <time.h>

#include "tickerd/base/clock.h"

static void units_agree(void **state)
{
    (void)state;
    assert_int_equal(US_PER_S, US_PER_MS * MS_PER_S);
}

static void mono_never_goes_back(void **state)
{
    (void)state;
    uint64_t last = clock_mono_us();
    for (int i = 0; i < 100000; i++) {
        uint64_t now = clock_mono_us();
        assert_true(now >= last);
        last = now;
    }
}

static void mono_counts_microseconds(void **state)
{
    (void)state;
    const struct timespec pause = {.tv_sec = 0, .tv_nsec = 20 * 1000 * 1000};
    uint64_t before = clock_mono_us();
    assert_int_equal(nanosleep(&pause, NULL), 0);
    uint64_t passed = clock_mono_us() - before;
    assert_true(passed >= 20 * US_PER_MS);
    assert_true(passed < 60 * (uint64_t)US_PER_S);
}

static void wall_is_the_time_of_day(void **state)
{
    (void)state;
    uint64_t before = (uint64_t)time(NULL);
    uint64_t now = clock_wall_us();
    uint64_t after = (uint64_t)time(NULL);
    /* time() may read a coarser clock that is a tick behind. */
    assert_in_range(now / US_PER_S, before, after + 1);
}

static void times_are_printed(void **state)
{
    (void)state;
    char out[CLOCK_TEXT_MAX];
    assert_string_equal(clock_print(0, out), "1970-01-01T00:00:00.000Z");
    assert_string_equal(clock_print(UINT64_C(1795201199999999), out), "2026-11-20T18:59:59.999Z");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(units_agree),
        cmocka_unit_test(mono_never_goes_back),
        cmocka_unit_test(mono_counts_microseconds),
        cmocka_unit_test(wall_is_the_time_of_day),
        cmocka_unit_test(times_are_printed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
