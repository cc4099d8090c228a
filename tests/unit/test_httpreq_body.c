#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "httpreq_util.h"
#include "tickerd/base/buf.h"
#include "tickerd/wire/httpreq.h"

enum { BODY_MAX = 40 };

#define H "Host: x\r\n"

static const struct {
    const char *text;
    size_t behind; /* bytes that are not its */
    const char *body;
} bodies[] = {
    {"POST / HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\nhelloGET /", 5, "hello"},
    {"POST / HTTP/1.0\r\nContent-Length: 1\r\n\r\n\r", 0, "\r"},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\nx", 1, ""},
    {"POST / HTTP/1.1\r\n" H "\r\nx", 1, ""}, /* RFC 9112 §6.3 */
    {"POST / HTTP/1.1\r\nContent-Length: 000003\r\n" H "\r\n\r\n\n", 0, "\r\n\n"},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 40\r\n\r\n"
     "0123456789012345678901234567890123456789\r\n",
     2, "0123456789012345678901234567890123456789"},
    {"POST / HTTP/1.1\r\n" H "Expect: 100-continue\r\nContent-Length: 2\r\n\r\nab", 0, "ab"},
    {"POST / HTTP/1.1\r\n" H "Expect: something\r\nContent-Length: 2\r\n\r\nab", 0, "ab"},
    {"\r\nPOST / HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\n\xff\x01\x80", 0, "\xff\x01\x80"},
};

static void test_bodies(void **state)
{
    (void)state;
    httpreq_body_max = BODY_MAX;
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        char expected[300];
        size_t len = strlen(bodies[i].text);
        (void)snprintf(expected, sizeof expected, "done %zu 0  [] 0 %d 1.%d '/' body %zu %s",
                       len - bodies[i].behind, (int)HTTP_M_POST,
                       strstr(bodies[i].text, "HTTP/1.1") != NULL, strlen(bodies[i].body),
                       bodies[i].body);
        char *got = httpreq_check_splits(LIMIT, bodies[i].text, len);
        got[strlen(expected)] = '\0'; /* the headers follow */
        assert_string_equal(got, expected);
        free(got);
    }
}

static void test_a_body_may_hold_a_nul(void **state)
{
    (void)state;
    static const char text[] = "POST / HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\na\0b";
    httpreq_body_max = BODY_MAX;
    for (size_t cut = 0; cut < sizeof text; cut++) {
        struct httpreq *r = httpreq_make(LIMIT);
        size_t used = 0;
        (void)httpreq_give(r, text, cut, &used);
        enum httpreq_state end = cut == sizeof text - 1
                                     ? HTTPREQ_DONE
                                     : httpreq_give(r, text + cut, sizeof text - 1 - cut, &used);
        assert_int_equal(end, HTTPREQ_DONE);
        assert_int_equal(httpreq_body(r).len, 3);
        assert_memory_equal(httpreq_body(r).p, "a\0b", 3);
        httpreq_destroy(r);
    }
}

static const struct {
    const char *text;
    int status;
    const char *code;
} bad_bodies[] = {
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n", 411, "length_required"},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: gzip, chunked\r\n\r\n", 411, "length_required"},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 41\r\n\r\n", 413, "body_too_large"},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 18446744073709551615\r\n\r\n", 413, "body_too_large"},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 18446744073709551617\r\n\r\n", 400, "bad_request"},
    {"POST / HTTP/1.1\r\n" H "Expect: 100-continue\r\nContent-Length: 41\r\n\r\n", 413,
     "body_too_large"},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", 400,
     "bad_request"},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 5, 5\r\n\r\nhello", 400, "bad_request"},
    {"POST / HTTP/1.1\r\n" H "Content-Length: +5\r\n\r\nhello", 400, "bad_request"},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 0x5\r\n\r\nhello", 400, "bad_request"},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 5 5\r\n\r\nhello", 400, "bad_request"},
    {"POST / HTTP/1.1\r\n" H "Content-Length:\r\n\r\n", 400, "bad_request"},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400,
     "bad_request"},
    {"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", 400, "missing_host"},
    {"GET / HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\nhello", 400, "unexpected_body"},
};

static void test_bad_bodies(void **state)
{
    (void)state;
    httpreq_body_max = BODY_MAX;
    for (size_t i = 0; i < sizeof bad_bodies / sizeof *bad_bodies; i++)
        httpreq_check_refused(LIMIT, bad_bodies[i].text, strlen(bad_bodies[i].text),
                              bad_bodies[i].status, bad_bodies[i].code);
    /* Other methods are somebody else's business, and so is what they bring along. */
    static const char put[] = "PUT / HTTP/1.1\r\n" H "Content-Length: 99\r\n\r\n";
    char *got = httpreq_check_splits(LIMIT, put, sizeof put - 1);
    assert_memory_equal(got, "done ", 5);
    free(got);
}

static bool awaits(const char *text)
{
    struct httpreq *r = httpreq_make(LIMIT);
    (void)httpreq_feed(r, text, strlen(text), NULL);
    bool yes = httpreq_awaits_continue(r);
    httpreq_destroy(r);
    return yes;
}

static void test_who_waits_for_a_word(void **state)
{
    (void)state;
#define EXPECTS H "Expect: 100-Continue\r\nContent-Length: 5\r\n"
    httpreq_body_max = BODY_MAX;
    assert_true(awaits("POST / HTTP/1.1\r\n" EXPECTS "\r\n"));
    assert_false(awaits("POST / HTTP/1.1\r\n" EXPECTS));         /* not yet */
    assert_false(awaits("POST / HTTP/1.1\r\n" EXPECTS "\r\nh")); /* not any more */
    assert_false(awaits("POST / HTTP/1.1\r\n" EXPECTS "\r\nhello"));
    assert_false(awaits("POST / HTTP/1.0\r\n" EXPECTS "\r\n"));
    assert_false(awaits("POST / HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\n"));
    assert_false(awaits("POST / HTTP/1.1\r\n" H "Expect: 100-continue\r\n\r\n"));
    httpreq_body_max = 0;
    assert_false(awaits("POST / HTTP/1.1\r\n" EXPECTS "\r\n"));
}

static void test_damaged_requests_with_bodies(void **state)
{
    (void)state;
    static const char sound[] = "POST /publish HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
                                "Content-Length: 19\r\nOrigin: d\r\n\r\na body with a\r\n\r\nrest";
    httpreq_body_max = BODY_MAX;
    httpreq_check_damaged(sound, sizeof sound - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bodies),
        cmocka_unit_test(test_a_body_may_hold_a_nul),
        cmocka_unit_test(test_bad_bodies),
        cmocka_unit_test(test_who_waits_for_a_word),
        cmocka_unit_test(test_damaged_requests_with_bodies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
