#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "tickerd/base/err.h"

#define COUNT_ONE(name, text) +1
enum { CODES = 0 ERR_MAP(COUNT_ONE) };

static void codes_are_dense_and_negative(void **state)
{
    (void)state;
    assert_int_equal(ERR_OK, 0);
    assert_int_equal(ERR_NOMEM, -1);
    assert_int_equal(ERR_SYSTEM, -CODES);
    assert_string_equal(err_name(ERR_OK), "OK");
    assert_string_equal(err_name(ERR_NOMEM), "NOMEM");
    assert_string_equal(err_text(ERR_NOMEM), "out of memory");
}

static void every_code_has_its_own_name_and_text(void **state)
{
    (void)state;
    for (int a = 0; a >= -CODES; a--) {
        assert_string_not_equal(err_name(a), "?");
        assert_true(strlen(err_text(a)) > 0);
        for (int b = 0; b > a; b--) {
            assert_string_not_equal(err_name(a), err_name(b));
            assert_string_not_equal(err_text(a), err_text(b));
        }
    }
}

static void other_numbers_are_no_codes(void **state)
{
    (void)state;
    static const int others[] = {1, 42, -CODES - 1, INT32_MIN, INT32_MAX};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        assert_string_equal(err_name(others[i]), "?");
        assert_non_null(err_text(others[i]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codes_are_dense_and_negative),
        cmocka_unit_test(every_code_has_its_own_name_and_text),
        cmocka_unit_test(other_numbers_are_no_codes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
