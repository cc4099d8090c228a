#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "../../src/net/redis_errors.h"
#include "tickerd/base/clock.h"

static struct redis_error classify(const char *text, bool to_auth)
{
    return redis_error_classify(text, strlen(text), to_auth);
}

static void what_ends_a_connection(void **state)
{
    (void)state;
    assert_int_equal(classify("WRONGPASS x", true).verdict, REDIS_LOGIN);
    assert_int_equal(classify("NOAUTH x", false).verdict, REDIS_LOGIN);
    assert_int_equal(classify("LOADING x", false).verdict, REDIS_NOT_NOW);
    assert_int_equal(classify("ERR max number of clients reached", true).verdict, REDIS_NOT_NOW);
    assert_int_equal(classify("NOPERM x", true).verdict, REDIS_LOGIN);
    assert_int_equal(classify("ERR x", true).verdict, REDIS_LOGIN);
    assert_int_equal(classify("", true).verdict, REDIS_LOGIN);
}

static void what_concerns_one_command(void **state)
{
    (void)state;
    assert_int_equal(classify("NOPERM x", false).verdict, REDIS_COMMAND);
    assert_int_equal(classify("BUSY x", false).verdict, REDIS_COMMAND);
    assert_int_equal(classify("ERR x", false).verdict, REDIS_COMMAND);
    assert_int_equal(classify("", false).verdict, REDIS_COMMAND);
    assert_non_null(strstr(classify("NOPERM x", false).todo, "ACL SETUSER"));
}

/* The text is bounded by its length, not by a NUL. */
static void prefix_of_a_prefix(void **state)
{
    (void)state;
    assert_int_equal(redis_error_classify("WRONGPASS", 5, false).verdict, REDIS_COMMAND);
}

static void once_a_minute(void **state)
{
    (void)state;
    const uint64_t minute = 60 * (uint64_t)US_PER_S;
    struct redis_notice n = {0, 0};
    assert_true(redis_notice_due(&n, "a", 0));
    assert_false(redis_notice_due(&n, "a", minute - 1));
    assert_true(redis_notice_due(&n, "a", minute));
    assert_true(redis_notice_due(&n, "b", minute + 1));
    assert_true(redis_notice_due(&n, "a", minute + 2));
    assert_false(redis_notice_due(&n, "a", minute + 3));
    redis_notice_reset(&n);
    assert_true(redis_notice_due(&n, "a", minute + 4));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_ends_a_connection),
        cmocka_unit_test(what_concerns_one_command),
        cmocka_unit_test(prefix_of_a_prefix),
        cmocka_unit_test(once_a_minute),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
