#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "tickerd/daemon/ui.h"

enum { PATH_MAX_LEN = 64 };

static struct ui_asset found(const char *path)
{
    struct ui_asset a = {0};
    if (!ui_find(&a, path, strlen(path)))
        fail_msg("%s is not in the binary", path);
    assert_string_equal(a.path, path);
    assert_true(a.len > 0);
    assert_int_equal(a.bytes[a.len], 0);
    return a;
}

static void test_page(void **state)
{
    (void)state;
    struct ui_asset a = found("/");
    assert_string_equal(a.type, "text/html; charset=utf-8");
    assert_memory_equal(a.bytes, "<!doctype html>", 15);
    assert_string_equal(found("/style.css").type, "text/css; charset=utf-8");
    assert_string_equal(found("/app.js").type, "text/javascript; charset=utf-8");
}

static void test_nothing_else(void **state)
{
    (void)state;
    static const char *const paths[] = {"", "/index.html", "/app", "/app.jsx", "//", "app.js"};
    struct ui_asset a;
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++)
        assert_false(ui_find(&a, paths[i], strlen(paths[i])));
    assert_true(ui_find(&a, "/app.js?", strlen("/app.js")));
}

/* Find each file that is named between `before` and a quotation mark; how many there were. */
static int follow(const char *text, const char *before, char quote)
{
    int count = 0;
    for (const char *at = text; (at = strstr(at, before)) != NULL; count++) {
        at += strlen(before);
        const char *end = strchr(at, quote);
        assert_non_null(end);
        char path[PATH_MAX_LEN] = "/";
        assert_true((size_t)(end - at) < sizeof path - 1);
        memcpy(path + 1, at, (size_t)(end - at));
        struct ui_asset a = found(path);
        if (strstr(a.type, "javascript") != NULL && a.bytes != text)
            count += follow(a.bytes, "from './", '\'');
    }
    return count;
}

static void test_all_that_the_page_loads(void **state)
{
    (void)state;
    const char *page = found("/").bytes;
    assert_true(follow(page, " src=\"", '"') > 5);
    assert_int_equal(follow(page, "rel=\"stylesheet\" href=\"", '"'), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_page),
        cmocka_unit_test(test_nothing_else),
        cmocka_unit_test(test_all_that_the_page_loads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
