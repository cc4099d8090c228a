/* Parameters of queries. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "tickerd/base/err.h"
#include "tickerd/wire/query.h"
#include "tickerd/wire/target.h"

static void finds(const char *query, const char *name, int err, const char *value)
{
    struct buf out = BUF_INIT;
    buf_str(&out, "before");
    int rc = query_find(query, strlen(query), name, &out);
    if (rc != err)
        fail_msg("%s in %s: %d", name, query, rc);
    assert_int_equal(out.len, strlen(value));
    assert_string_equal(buf_cstr(&out), value);
    buf_finish(&out);
}

static void test_parameters(void **state)
{
    (void)state;
    finds("", "a", ERR_UNKNOWN, "");
    finds("a=1", "a", ERR_OK, "1");
    finds("a=1", "b", ERR_UNKNOWN, "");
    finds("aa=1&a=2", "a", ERR_OK, "2");
    finds("a=1&a=2", "a", ERR_OK, "1");
    finds("b&a", "a", ERR_OK, "");
    finds("a=", "a", ERR_OK, "");
    finds("&&a=b=c&", "a", ERR_OK, "b=c");
    finds("a=x+y%2B%20%C3%A9", "a", ERR_OK, "x y+ \xc3\xa9");
    finds("a=%", "a", ERR_INVALID, "");
    finds("a=%4", "a", ERR_INVALID, "");
    finds("a=%4g", "a", ERR_INVALID, "");
    finds("b=%&a=1", "a", ERR_OK, "1"); /* what is not asked for is not decoded */
}

static void splits(const char *text, const char *path, const char *query)
{
    struct target_parts parts;
    struct target_error why;
    assert_int_equal(target_split(&parts, text, strlen(text), &why), ERR_OK);
    assert_int_equal(parts.path_len, strlen(path));
    assert_memory_equal(parts.path, path, parts.path_len);
    assert_int_equal(parts.query_len, strlen(query));
    assert_memory_equal(parts.query, query, parts.query_len);
}

static void test_parts_of_targets(void **state)
{
    (void)state;
    struct target_parts parts;
    struct target_error why;
    splits("/", "/", "");
    splits("/a?b=c?d", "/a", "b=c?d");
    splits("http://h:1/a?b", "/a", "b");
    splits("http://h?b", "", "b");
    assert_int_equal(target_split(&parts, "a", 1, &why), ERR_INVALID);
    assert_int_equal(target_split(&parts, "/#", 2, &why), ERR_INVALID);
    assert_int_equal(target_split(&parts, "http:///", 8, &why), ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parameters),
        cmocka_unit_test(test_parts_of_targets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
