#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tickerd/base/clock.h"
#include "tickerd/daemon/process.h"

enum { FILES = 20 };

static void test_open_files(void **state)
{
    (void)state;
    struct process_figures before, during, after;
    int fds[FILES];
    process_take(&before);
    for (size_t i = 0; i < FILES; i++) {
        fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
        assert_true(fds[i] >= 0);
    }
    process_take(&during);
    for (size_t i = 0; i < FILES; i++)
        (void)close(fds[i]);
    process_take(&after);
    assert_true(before.open_fds >= 1);
    assert_int_equal(during.open_fds, before.open_fds + FILES);
    assert_int_equal(after.open_fds, before.open_fds);
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(after.max_fds, limit.rlim_cur == RLIM_INFINITY ? 0 : limit.rlim_cur);
}

static void test_memory_and_time(void **state)
{
    (void)state;
    struct process_figures before, after;
    process_take(&before);
    assert_true(before.resident > 100 * 1024 && before.virtual >= before.resident);
    uint64_t until = clock_mono_us() + 20 * US_PER_MS;
    do
        process_take(&after);
    while (clock_mono_us() < until);
    assert_true(after.cpu_us > before.cpu_us);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open_files),
        cmocka_unit_test(test_memory_and_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
