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

#define H "Host: x\r\n"

/* All of these are followed by more bytes than belong to them. */
static const struct {
    const char *head;
    enum http_method method;
    int minor;
    const char *target;
} accepted[] = {
    {"GET /events/a HTTP/1.1\r\n" H "\r\n", HTTP_M_GET, 1, "/events/a"},
    {"GET / HTTP/1.0\r\n\r\n", HTTP_M_GET, 0, "/"},
    {"HEAD /a?b=c&d#e HTTP/1.1\r\n" H "\r\n", HTTP_M_HEAD, 1, "/a?b=c&d#e"},
    {"OPTIONS * HTTP/1.1\r\n" H "\r\n", HTTP_M_OPTIONS, 1, "*"},
    {"GET http://x:80/a HTTP/1.1\r\nhOsT:x\r\n\r\n", HTTP_M_GET, 1, "http://x:80/a"},
    {"GET / HTTP/1.1\r\nHost:\r\n\r\n", HTTP_M_GET, 1, "/"},
    {"GET / HTTP/1.1\r\nHost: [::1]:8090\r\n\r\n", HTTP_M_GET, 1, "/"},
    {"\r\n\r\nGET / HTTP/1.1\r\n" H "\r\n", HTTP_M_GET, 1, "/"},
    {"GET / HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\n", HTTP_M_GET, 1, "/"},
    {"GET / HTTP/1.1\r\n" H "Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n", HTTP_M_GET, 1,
     "/"},
    {"GET / HTTP/1.1\r\n" H "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n"
     "HTTP2-Settings: x\r\n\r\n",
     HTTP_M_GET, 1, "/"},
    {"GET / HTTP/1.1\r\n" H "Connection: close\r\nX:\r\nY: \t \r\nZ: a\tb \xff\r\n\r\n", HTTP_M_GET,
     1, "/"},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\n", HTTP_M_POST, 1, "/"},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n", HTTP_M_POST, 1, "/"},
    {"PUT /events/a HTTP/1.1\r\n" H "Content-Length: 99999\r\n\r\n", HTTP_M_OTHER, 1, "/events/a"},
    {"PATCH / HTTP/1.1\r\n" H "\r\n", HTTP_M_OTHER, 1, "/"},
    {"DELETE / HTTP/1.0\r\n\r\n", HTTP_M_OTHER, 0, "/"},
    {"TRACE / HTTP/1.1\r\n" H "\r\n", HTTP_M_OTHER, 1, "/"},
};

static void test_accepted(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof accepted / sizeof *accepted; i++) {
        char text[400], expected[400];
        size_t n = strlen(accepted[i].head);
        int all = snprintf(text, sizeof text, "%sGET /next HTTP/1.1\r\n\r\n", accepted[i].head);
        int want = snprintf(expected, sizeof expected, "done %zu 0  [] 0 %d 1.%d '%s'", n,
                            (int)accepted[i].method, accepted[i].minor, accepted[i].target);
        char *got = httpreq_check_splits(LIMIT, text, (size_t)all);
        if (strncmp(got, expected, (size_t)want) != 0)
            fail_msg("%s\nexpected %s\ngot %s", accepted[i].head, expected, got);
        free(got);
    }
}

static const struct {
    const char *head;
    int status;
    const char *code;
} refused[] = {
    {"GET /\r\n", 505, "http_version"},
    {"GET / HTTP/0.9\r\n" H "\r\n", 505, "http_version"},
    {"GET / HTTP/2.0\r\n" H "\r\n", 505, "http_version"},
    {"GET / HTTP/1.2\r\n" H "\r\n", 505, "http_version"},
    {"GET / HTTP/3.0\r\n" H "\r\n", 505, "http_version"},
    {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "http_version"},
    {"GET / HTTP/1\r\n" H "\r\n", 400, "bad_request"},
    {"GET / HTTP/11\r\n" H "\r\n", 400, "bad_request"},
    {"GET / HTTP/1.11\r\n" H "\r\n", 400, "bad_request"},
    {"GET / http/1.1\r\n" H "\r\n", 400, "bad_request"},
    {"GET / RTSP/1.0\r\n" H "\r\n", 400, "bad_request"},
    {"GET / HTTP/1.1 \r\n" H "\r\n", 400, "bad_request"},
    {"GET /a b HTTP/1.1\r\n" H "\r\n", 400, "bad_request"},
    {"GET  / HTTP/1.1\r\n" H "\r\n", 400, "bad_request"},
    {"GET \r\n" H "\r\n", 400, "bad_request"},
    {"GET\r\n" H "\r\n", 400, "bad_request"},
    {" GET / HTTP/1.1\r\n" H "\r\n", 400, "bad_request"},
    {"GET\t/ HTTP/1.1\r\n" H "\r\n", 400, "bad_request"},
    {"GET /\ta HTTP/1.1\r\n" H "\r\n", 400, "bad_request"},
    {"GET /caf\xc3\xa9 HTTP/1.1\r\n" H "\r\n", 400, "bad_request"},
    {"GET events HTTP/1.1\r\n" H "\r\n", 400, "bad_request"},
    {"G(T / HTTP/1.1\r\n" H "\r\n", 400, "bad_request"},
    {"\x16\x03\x01\x02", 400, "bad_request"},
    {"\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\n" H "\r\n", 400, "bad_request"},
    {"\nGET / HTTP/1.1\r\n" H "\r\n", 400, "bad_request"},
    {"CONNECT x:443 HTTP/1.1\r\n" H "\r\n", 501, "not_implemented"},
    {"PROPFIND / HTTP/1.1\r\n" H "\r\n", 501, "not_implemented"},
    {"SOURCE / HTTP/1.1\r\n" H "\r\n", 501, "not_implemented"},
    {"BREW / HTTP/1.1\r\n" H "\r\n", 501, "not_implemented"},
    {"get / HTTP/1.1\r\n" H "\r\n", 501, "not_implemented"},
    {"GETGETGETGETGETGETGETGETGETGETGETGET", 501, "not_implemented"},
    {"GET / HTTP/1.1\r\n\r\n", 400, "missing_host"},
    {"POST / HTTP/1.1\r\n\r\n", 400, "missing_host"},
    {"GET http://x/ HTTP/1.1\r\n\r\n", 400, "missing_host"},
    {"GET / HTTP/1.1\r\n" H H "\r\n", 400, "bad_request"},
    {"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400, "bad_request"},
    {"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, "bad_request"},
    {"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400, "bad_request"},
    {"GET / HTTP/1.1\r\n" H "Content-Length: 1\r\n\r\nx", 400, "unexpected_body"},
    {"HEAD / HTTP/1.1\r\n" H "Content-Length: 10\r\n\r\n", 400, "unexpected_body"},
    {"OPTIONS / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n", 400, "unexpected_body"},
    {"GET / HTTP/1.1\r\n" H "transfer-encoding: identity\r\n\r\n", 400, "unexpected_body"},
    {"GET / HTTP/1.1\r\n" H "Content-Length: 0\r\nContent-Length: 0\r\n\r\n", 400, "bad_request"},
    {"GET / HTTP/1.1\r\n" H "Content-Length:\r\n\r\n", 400, "bad_request"},
    {"GET / HTTP/1.1\r\n" H "Content-Length: -1\r\n\r\n", 400, "bad_request"},
    {"GET / HTTP/1.1\r\n" H "Content-Length: 0, 0\r\n\r\n", 400, "bad_request"},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 99999999999999999999999\r\n\r\n", 400, "bad_request"},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400,
     "bad_request"},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", 400,
     "bad_request"},
    {"GET / HTTP/1.1\r\n" H "Authorization: a\r\nAuthorization: a\r\n\r\n", 400, "bad_request"},
    {"GET / HTTP/1.1\r\n" H "Origin: a\r\nOrigin: b\r\n\r\n", 400, "bad_request"},
    {"GET / HTTP/1.1\r\n" H "Last-Event-ID: a\r\nlast-event-id: b\r\n\r\n", 400, "bad_request"},
    {"GET / HTTP/1.1\r\nX: a\r Y: b\r\n" H "\r\n", 400, "bad_request"},
    {"GET / HTTP/1.1\rHost: x\r\n\r\n", 400, "bad_request"},
    {"GET / HTTP/1.1\nHost: x\n\n", 400, "bad_request"},
    {"GET / HTTP/1.1\r\nHost: x\n\r\n", 400, "bad_request"},
    {"GET / HTTP/1.1\r\n" H "\n", 400, "bad_request"},
    {"GET / HTTP/1.1\r\n" H "\rx", 400, "bad_request"},
    {"GET / HTTP/1.1\r\n" H "X: a\r\n b\r\n\r\n", 400, "bad_request"},
    {"GET / HTTP/1.1\r\n" H "X: a\r\n\tb\r\n\r\n", 400, "bad_request"},
    {"GET / HTTP/1.1\r\n " H "\r\n", 400, "bad_request"},
    {"GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400, "bad_request"},
    {"GET / HTTP/1.1\r\nHost\t: x\r\n\r\n", 400, "bad_request"},
    {"GET / HTTP/1.1\r\n" H ": x\r\n\r\n", 400, "bad_request"},
    {"GET / HTTP/1.1\r\n" H "nonsense\r\n\r\n", 400, "bad_request"},
    {"GET / HTTP/1.1\r\n" H "a b: c\r\n\r\n", 400, "bad_request"},
    {"GET / HTTP/1.1\r\n" H "a(: c\r\n\r\n", 400, "bad_request"},
    {"GET / HTTP/1.1\r\n" H "a: \x01\r\n\r\n", 400, "bad_request"},
    {"GET / HTTP/1.1\r\n" H "a: \x7f\r\n\r\n", 400, "bad_request"},
};

static void test_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        httpreq_check_refused(LIMIT, refused[i].head, strlen(refused[i].head), refused[i].status,
                              refused[i].code);
    static const char nul[] = "GET / HTTP/1.1\r\n" H "a: b\0c\r\n\r\n";
    httpreq_check_refused(LIMIT, nul, sizeof nul - 1, 400, "bad_request");
    static const char early[] = "\0";
    httpreq_check_refused(LIMIT, early, 1, 400, "bad_request");
}

static void test_incomplete_wants_more(void **state)
{
    (void)state;
    static const char head[] = "\r\nGET /events/a HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n";
    for (size_t n = 0; n < sizeof head - 1; n++) {
        char *got = httpreq_check_splits(LIMIT, head, n);
        assert_memory_equal(got, "more ", 5);
        free(got);
    }
    httpreq_destroy(NULL);
}

static void check_header(const char *lines, enum httpreq_header which, const char *expected)
{
    struct buf b = BUF_INIT;
    buf_printf(&b, "GET /target HTTP/1.1\r\nHost: x\r\n%s\r\n", lines);
    free(httpreq_check_splits(LIMIT, b.data, b.len));
    struct httpreq *r = httpreq_create(LIMIT);
    assert_int_equal(httpreq_feed(r, b.data, b.len, NULL), HTTPREQ_DONE);
    struct http_slice v = httpreq_header(r, which);
    if (expected == NULL) {
        assert_null(v.p);
    } else {
        assert_non_null(v.p);
        assert_int_equal(v.len, strlen(expected));
        assert_memory_equal(v.p, expected, v.len);
    }
    assert_memory_equal(httpreq_target(r).p, "/target", 7);
    assert_memory_equal(httpreq_header(r, HTTPREQ_HOST).p, "x", 1);
    httpreq_destroy(r);
    buf_finish(&b);
}

static void test_header_values(void **state)
{
    (void)state;
    check_header("", HTTPREQ_ACCEPT, NULL);
    check_header("X-Accept: a\r\nAccept-: b\r\n", HTTPREQ_ACCEPT, NULL);
    check_header("ACCEPT: \t a b\t \r\n", HTTPREQ_ACCEPT, "a b");
    check_header("accept:a\r\n", HTTPREQ_ACCEPT, "a");
    check_header("Accept:\r\n", HTTPREQ_ACCEPT, "");
    check_header("Accept:   \t\r\n", HTTPREQ_ACCEPT, "");
    check_header("Last-Event-ID: a:b\xff\r\n", HTTPREQ_LAST_EVENT_ID, "a:b\xff");
    check_header("Origin: null\r\n", HTTPREQ_ORIGIN, "null");
    check_header("Authorization: Bearer x.y.z\r\n", HTTPREQ_AUTHORIZATION, "Bearer x.y.z");
    check_header("Access-Control-Request-Method: GET\r\n", HTTPREQ_ACR_METHOD, "GET");
}

static void test_lists_are_joined(void **state)
{
    (void)state;
    static const char lines[] =
        "Cookie: a=1\r\nAccept: x\r\nCookie: b=2\r\nX-Forwarded-For: 1.1.1.1\r\n"
        "Accept:\r\nCookie: c=3\r\nAccept: z\r\nForwarded: for=a\r\n"
        "Accept-Encoding: gzip\r\nX-Forwarded-For: 2.2.2.2\r\n"
        "Forwarded: for=b\r\nAccept-Encoding: br\r\n"
        "Access-Control-Request-Headers: p\r\n"
        "Access-Control-Request-Headers: q\r\n";
    check_header(lines, HTTPREQ_COOKIE, "a=1; b=2; c=3");
    check_header(lines, HTTPREQ_ACCEPT, "x, , z");
    check_header(lines, HTTPREQ_X_FORWARDED_FOR, "1.1.1.1, 2.2.2.2");
    check_header(lines, HTTPREQ_FORWARDED, "for=a, for=b");
    check_header(lines, HTTPREQ_ACCEPT_ENCODING, "gzip, br");
    check_header(lines, HTTPREQ_ACR_HEADERS, "p, q");
}

/* An empty value takes no room: it ends where it begins, and where others do. */
static void test_lists_that_begin_empty(void **state)
{
    (void)state;
    static const char lines[] = "Accept:\r\nCookie:\r\nX-Forwarded-For:\r\nAccept: a\r\n"
                                "X-Forwarded-For: 1.1.1.1\r\nCookie: b\r\nAccept: c\r\nOrigin:\r\n"
                                "Forwarded:\r\nCookie: d\r\nForwarded:\r\nForwarded: e\r\n";
    check_header(lines, HTTPREQ_ACCEPT, ", a, c");
    check_header(lines, HTTPREQ_COOKIE, "; b; d");
    check_header(lines, HTTPREQ_X_FORWARDED_FOR, ", 1.1.1.1");
    check_header(lines, HTTPREQ_ORIGIN, "");
    check_header(lines, HTTPREQ_FORWARDED, ", , e");
}

/* A value is kept where the name of its line stood, and must not be taken for one. */
static void test_values_that_are_names(void **state)
{
    (void)state;
    static const char lines[] = "Accept: Origin: a\r\nAccept-Encoding: X-Forwarded-For\r\n"
                                "Accept: Cookie=b\r\n";
    check_header(lines, HTTPREQ_ACCEPT, "Origin: a, Cookie=b");
    check_header(lines, HTTPREQ_ACCEPT_ENCODING, "X-Forwarded-For");
    check_header(lines, HTTPREQ_ORIGIN, NULL);
    check_header(lines, HTTPREQ_X_FORWARDED_FOR, NULL);
    check_header(lines, HTTPREQ_COOKIE, NULL);
}

static void repeat(struct buf *b, const char *text, size_t n)
{
    while (n-- > 0)
        buf_str(b, text);
}

static void test_the_head_may_be_exactly_the_limit(void **state)
{
    (void)state;
    for (size_t fill = 0; fill < 300; fill += 60) {
        struct buf b = BUF_INIT;
        buf_str(&b, "\r\nGET / HTTP/1.1\r\n" H "X: ");
        repeat(&b, "y", fill);
        buf_str(&b, "\r\n\r\n");
        char *got = httpreq_check_splits(b.len, b.data, b.len);
        assert_memory_equal(got, "done ", 5);
        free(got);
        for (size_t less = 1; less < b.len; less += 7)
            httpreq_check_refused(b.len - less, b.data, b.len, 431, "headers_too_large");
        buf_finish(&b);
    }
}

static void test_414_means_the_target(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    buf_str(&b, "OPTIONS /");
    repeat(&b, "a", 999);
    size_t endless = b.len;
    buf_str(&b, " HTTP/1.1\r\n" H "\r\n");
    httpreq_check_refused(999, b.data, b.len, 414, "uri_too_long");
    httpreq_check_refused(999, b.data, endless, 414, "uri_too_long");
    httpreq_check_refused(1000, b.data, b.len, 431, "headers_too_large");
    httpreq_check_refused(b.len - 1, b.data, b.len, 431, "headers_too_large");
    free(httpreq_check_splits(1000, b.data, endless));
    char *got = httpreq_check_splits(b.len, b.data, b.len);
    assert_memory_equal(got, "done ", 5);
    free(got);
    buf_finish(&b);
}

static void test_the_number_of_headers(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    buf_str(&b, "GET / HTTP/1.1\r\n" H "Accept: text/event-stream\r\n");
    repeat(&b, "Cookie: a\r\n", HTTPREQ_HEADERS_MAX - 2);
    size_t full = b.len;
    buf_str(&b, "\r\n");
    char *got = httpreq_check_splits(LIMIT, b.data, b.len);
    assert_memory_equal(got, "done ", 5);
    free(got);
    b.len = full;
    buf_str(&b, "x: y\r\n\r\n");
    httpreq_check_refused(LIMIT, b.data, b.len, 431, "headers_too_large");
    buf_finish(&b);
}

static bool accepts(const char *value)
{
    struct buf b = BUF_INIT;
    buf_printf(&b, "GET / HTTP/1.1\r\nHost: x\r\nAccept: %s\r\n\r\n", value);
    struct httpreq *r = httpreq_create(LIMIT);
    assert_int_equal(httpreq_feed(r, b.data, b.len, NULL), HTTPREQ_DONE);
    bool yes = httpreq_accepts_stream(r);
    httpreq_destroy(r);
    buf_finish(&b);
    return yes;
}

static void test_accept(void **state)
{
    (void)state;
    assert_true(accepts("text/event-stream"));
    assert_true(accepts("Text/Event-STREAM"));
    assert_true(accepts("text/html, text/event-stream;q=0.5, */*"));
    assert_true(accepts("text/event-stream ; charset=utf-8"));
    assert_true(accepts(",,text/event-stream"));
    assert_true(accepts("text/event-stream;q=1"));
    assert_true(accepts("text/event-stream;q=0.001"));
    assert_true(accepts("text/event-stream;x=\"a,b;q=0\""));
    assert_true(accepts("text/event-stream;q=0, text/event-stream"));
    assert_true(accepts("text/event-stream;"));
    assert_false(accepts(""));
    assert_false(accepts("*/*"));
    assert_false(accepts("text/*"));
    assert_false(accepts("text/event-streams"));
    assert_false(accepts("text/event"));
    assert_false(accepts("text/event-stream;q=0"));
    assert_false(accepts("text/event-stream; charset=x ; Q=0.000 , */*"));
    assert_false(accepts("text/html;a=\"text/event-stream, text/event-stream\""));
    assert_false(accepts("text/html;x=\"\\\",text/event-stream"));
}

static void test_accept_is_known_after_an_error(void **state)
{
    (void)state;
    static const char before[] = "GET / HTTP/1.1\r\nAccept: text/event-stream\r\nbad\r\n";
    static const char after[] = "GET / HTTP/1.1\r\nbad\r\nAccept: text/event-stream\r\n";
    struct httpreq *r = httpreq_create(LIMIT);
    assert_int_equal(httpreq_feed(r, before, sizeof before - 1, NULL), HTTPREQ_ERROR);
    assert_true(httpreq_accepts_stream(r));
    httpreq_destroy(r);
    r = httpreq_create(LIMIT);
    assert_int_equal(httpreq_feed(r, after, sizeof after - 1, NULL), HTTPREQ_ERROR);
    assert_false(httpreq_accepts_stream(r));
    httpreq_destroy(r);
}

static void test_the_method_is_known_after_an_error(void **state)
{
    (void)state;
    static const struct {
        const char *head;
        enum http_method method;
    } cases[] = {
        {"HEAD / HTTP/1.1\r\nbad\r\n", HTTP_M_HEAD},
        {"\r\nHEAD / HTTP/2.0\r\n", HTTP_M_HEAD},
        {"HEAD /\r\n", HTTP_M_HEAD},
        {"HEAD /\t", HTTP_M_HEAD},
        {"GET /\t", HTTP_M_GET},
        {"POST /\t", HTTP_M_POST},
        {"BREW / HTTP/1.1\r\n", HTTP_M_OTHER},
        {"HEAD\r", HTTP_M_OTHER},
        {"GET\r", HTTP_M_OTHER},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct httpreq *r = httpreq_create(LIMIT);
        assert_non_null(r);
        assert_int_equal(httpreq_feed(r, cases[i].head, strlen(cases[i].head), NULL),
                         HTTPREQ_ERROR);
        assert_int_equal(httpreq_method(r), cases[i].method);
        httpreq_destroy(r);
    }
}

static void test_damaged_requests(void **state)
{
    (void)state;
    static const char sound[] =
        "GET /events/a?b=c HTTP/1.1\r\nHost: x\r\nCookie: a\r\nAccept: b\r\n"
        "Cookie: c\r\nContent-Length: 0\r\nAccept: d\r\n\r\nrest";
    httpreq_check_damaged(sound, sizeof sound - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepted),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_incomplete_wants_more),
        cmocka_unit_test(test_header_values),
        cmocka_unit_test(test_lists_are_joined),
        cmocka_unit_test(test_lists_that_begin_empty),
        cmocka_unit_test(test_values_that_are_names),
        cmocka_unit_test(test_the_head_may_be_exactly_the_limit),
        cmocka_unit_test(test_414_means_the_target),
        cmocka_unit_test(test_the_number_of_headers),
        cmocka_unit_test(test_accept),
        cmocka_unit_test(test_accept_is_known_after_an_error),
        cmocka_unit_test(test_the_method_is_known_after_an_error),
        cmocka_unit_test(test_damaged_requests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
