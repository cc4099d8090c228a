/* By which names the admin listener may be called, and whose orders count. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "tickerd/daemon/admin_guard.h"
#include "tickerd/wire/addr.h"

static bool fits(const char *host)
{
    char *items[] = {"ops.example", "b"};
    const struct strings names = {items, 2};
    return admin_host_fits(&names, (struct http_slice){host, strlen(host)});
}

static void test_names_that_nobody_else_can_own(void **state)
{
    (void)state;
    static const char *const good[] = {
        "127.0.0.1",    "127.0.0.1:8091",  "0.0.0.0:1",     "255.255.255.255",
        "[::1]",        "[::1]:8091",      "[2001:DB8::a]", "localhost",
        "LocalHost:80", "localhost.",      "a.localhost:1", "a.localhost.",
        "ops.example",  "OPS.example:443", "ops.example.",  "b",
        "B:1",          "[::ffff:1.2.3.4]"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        if (!fits(good[i]))
            fail_msg("%s is refused", good[i]);
    }
}

static void test_names_that_others_may_own(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      ".",
                                      ":",
                                      ":80",
                                      "evil.example",
                                      "127.0.0.1.evil.example",
                                      "127.1",
                                      "0x7f.0.0.1",
                                      "2130706433",
                                      "127.0.0.1:80:80",
                                      "127.0.0.1:x",
                                      "[127.0.0.1]",
                                      "[::1",
                                      "::1",
                                      "[::1]x",
                                      "[::1]:x",
                                      "[]",
                                      "xlocalhost",
                                      ".localhost",
                                      "localhost..",
                                      "localhostx",
                                      "localhost.evil.example",
                                      "ops.example..",
                                      "xops.example",
                                      "ops.exampl",
                                      "c",
                                      "[fe80::1%25eth0]",
                                      "[::1]:80:80"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (fits(bad[i]))
            fail_msg("%s is let in", bad[i]);
    }
    assert_false(admin_host_fits(&(struct strings){NULL, 0}, (struct http_slice){NULL, 0}));
}

static bool order_fits(const char *headers)
{
    char text[300];
    int n = snprintf(text, sizeof text, "POST / HTTP/1.1\r\nHost: h:8091\r\n%s\r\n", headers);
    struct httpreq *r = httpreq_create(4096);
    assert_non_null(r);
    assert_int_equal(httpreq_feed(r, text, (size_t)n, NULL), HTTPREQ_DONE);
    bool result = admin_order_fits(r);
    httpreq_destroy(r);
    return result;
}

static void test_whose_orders_count(void **state)
{
    (void)state;
    assert_true(order_fits(""));
    assert_true(order_fits("Origin: http://h:8091\r\n"));
    assert_true(order_fits("Origin: https://H:8091\r\n"));
    assert_true(order_fits("Sec-Fetch-Site: same-origin\r\n"));
    assert_true(order_fits("Sec-Fetch-Site: none\r\n"));
    assert_false(order_fits("Origin: http://h:8090\r\n"));
    assert_false(order_fits("Origin: http://h\r\n"));
    assert_false(order_fits("Origin: null\r\n"));
    assert_false(order_fits("Origin:\r\n"));
    assert_false(order_fits("Origin: http://h:8091.evil.example\r\n"));
    assert_false(order_fits("Sec-Fetch-Site: same-site\r\n"));
    assert_false(order_fits("Sec-Fetch-Site: cross-site\r\n"));
    assert_false(order_fits("Sec-Fetch-Site:\r\n"));
    assert_false(order_fits("Origin: http://h:8091\r\nSec-Fetch-Site: cross-site\r\n"));
}

static void test_what_is_local(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool local;
    } cases[] = {
        {"127.0.0.1:1", true},  {"127.9.9.9:1", true},  {"[::1]:1", true},
        {"localhost:1", true},  {"unix:/x", true},      {"0.0.0.0:1", false},
        {"[::]:1", false},      {"10.0.0.1:1", false},  {"example.org:1", false},
        {"[fe80::1]:1", false}, {"128.0.0.1:1", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct addr a;
        const char *why;
        assert_int_equal(addr_parse(&a, cases[i].text, &why), 0);
        if (addr_is_local(&a) != cases[i].local)
            fail_msg("%s", cases[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_that_nobody_else_can_own),
        cmocka_unit_test(test_names_that_others_may_own),
        cmocka_unit_test(test_whose_orders_count),
        cmocka_unit_test(test_what_is_local),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
