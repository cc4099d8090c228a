#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "config_util.h"
#include "tickerd/daemon/origin.h"

#define SET(...) ((const char *const[]){__VA_ARGS__, NULL})

#define APP "Origin: https://app.example\r\n"
#define EVIL "Origin: https://evil.example\r\n"
#define COOKIE "Cookie: a=b\r\n"

/* A request to tickerd.test with these further header lines. */
static struct httpreq *request(const char *lines)
{
    struct buf text = BUF_INIT;
    buf_printf(&text, "GET /events/a HTTP/1.1\r\nHost: tickerd.test\r\n%s\r\n", lines);
    struct httpreq *r = httpreq_create(4096);
    assert_non_null(r);
    assert_int_equal(httpreq_feed(r, text.data, text.len, NULL), HTTPREQ_DONE);
    buf_finish(&text);
    return r;
}

static bool abuses(const struct config *c, const char *lines)
{
    struct httpreq *r = request(lines);
    bool result = origin_abuses_cookies(c, r);
    httpreq_destroy(r);
    return result;
}

static void cookies_of_a_foreign_page_are_abuse(void **state)
{
    static const char *const bad[] = {
        EVIL COOKIE,
        EVIL "Cookie: \r\n",
        EVIL COOKIE "Sec-Fetch-Site: cross-site\r\n",
        EVIL COOKIE "Sec-Fetch-Site: same-site\r\nSec-Fetch-Mode: navigate\r\n",
        EVIL COOKIE "Sec-Fetch-Site: none\r\n",
        EVIL COOKIE "Sec-Fetch-Site: same-origin\r\nSec-Fetch-Site: cross-site\r\n",
        EVIL COOKIE "Sec-Fetch-Site: Same-Origin\r\n",
        "Origin: null\r\n" COOKIE,
        "Origin: \r\n" COOKIE,
        "Origin: https://app.example https://tickerd.test\r\n" COOKIE,
        "Origin: https://tickerd.test.evil.example\r\n" COOKIE,
        "Origin: https://tickerd.test:8443\r\n" COOKIE,
        /* a page that asks without CORS */
        COOKIE "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\n",
        COOKIE "Sec-Fetch-Site: same-site\r\n",
    };
    static const char *const good[] = {
        "",
        EVIL,
        COOKIE,
        APP COOKIE,
        APP COOKIE "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: cors\r\n",
        EVIL COOKIE "Sec-Fetch-Site: same-origin\r\n",
        "Origin: https://tickerd.test\r\n" COOKIE,
        "Origin: http://tickerd.test\r\n" COOKIE "Sec-Fetch-Site: cross-site\r\n",
        COOKIE "Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: no-cors\r\n",
        COOKIE "Sec-Fetch-Site: none\r\nSec-Fetch-Mode: navigate\r\n",
        COOKIE "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\n",
        "Sec-Fetch-Site: cross-site\r\n",
    };
    (void)state;
    struct config *c = build_ok(NULL, NULL, SET("cors.origins=[\"https://app.example\"]"));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (!abuses(c, bad[i]))
            fail_msg("let through: %s", bad[i]);
    }
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        if (abuses(c, good[i]))
            fail_msg("refused: %s", good[i]);
    }
    config_destroy(c);
}

static void without_credentials_no_other_page_may_bring_cookies(void **state)
{
    (void)state;
    struct config *c = build_ok(
        NULL, NULL, SET("cors.origins=[\"https://app.example\"]", "cors.credentials=false"));
    assert_true(abuses(c, APP COOKIE));
    assert_false(abuses(c, APP));
    config_destroy(c);
    c = build_ok(NULL, NULL, SET("cors.origins=[\"*\"]", "cors.credentials=false"));
    assert_true(abuses(c, APP COOKIE));
    assert_false(abuses(c, "Origin: https://tickerd.test\r\n" COOKIE));
    config_destroy(c);
    c = build_ok(NULL, NULL, NULL);
    assert_true(abuses(c, APP COOKIE));
    assert_false(abuses(c, "Origin: https://tickerd.test\r\n" COOKIE));
    config_destroy(c);
}

static void check_lines(const struct config *c, const char *lines, int status, const char *expected)
{
    struct httpreq *r = lines == NULL ? NULL : request(lines);
    struct buf out = BUF_INIT;
    origin_put_headers(&out, c, r, status);
    assert_string_equal(buf_cstr(&out), expected);
    buf_finish(&out);
    httpreq_destroy(r);
}

static void check_preflight(const struct config *c, const char *lines, const char *expected)
{
    struct httpreq *r = request(lines);
    struct buf out = BUF_INIT;
    origin_put_preflight(&out, c, r);
    assert_string_equal(buf_cstr(&out), expected);
    buf_finish(&out);
    httpreq_destroy(r);
}

#define VARY "Vary: Origin\r\n"
#define ALLOW "Access-Control-Allow-Origin: https://app.example\r\n"
#define CREDENTIALS "Access-Control-Allow-Credentials: true\r\n"
#define EXPOSE "Access-Control-Expose-Headers: Retry-After, WWW-Authenticate\r\n"

static void only_allowed_origins_may_read(void **state)
{
    (void)state;
    struct config *c = build_ok(NULL, NULL, SET("cors.origins=[\"https://app.example\"]"));
    check_lines(c, NULL, 400, VARY);
    check_lines(c, "", 200, VARY);
    check_lines(c, EVIL, 200, VARY);
    check_lines(c, APP, 200, VARY ALLOW CREDENTIALS);
    check_lines(c, APP, 401, VARY ALLOW CREDENTIALS EXPOSE);
    config_destroy(c);
    c = build_ok(NULL, NULL, SET("cors.origins=[\"*\"]", "cors.credentials=false"));
    check_lines(c, "", 200, VARY);
    check_lines(c, EVIL, 200, VARY "Access-Control-Allow-Origin: *\r\n");
    config_destroy(c);
    c = build_ok(NULL, NULL, NULL);
    check_lines(c, APP, 401, "");
    config_destroy(c);
}

#define ASKS "Access-Control-Request-Method: GET\r\n"
#define VARY_ASKED "Vary: Access-Control-Request-Method, Access-Control-Request-Headers\r\n"

static void only_allowed_origins_preflight(void **state)
{
    (void)state;
    struct config *c = build_ok(NULL, NULL, SET("cors.origins=[\"https://app.example\"]"));
    check_preflight(c, EVIL ASKS, VARY_ASKED);
    check_preflight(c, APP, VARY_ASKED);
    check_preflight(c, ASKS, VARY_ASKED);
    check_preflight(c, APP ASKS,
                    VARY_ASKED
                    "Access-Control-Allow-Methods: GET, HEAD, OPTIONS\r\n"
                    "Access-Control-Allow-Headers: Authorization, Last-Event-ID, Cache-Control\r\n"
                    "Access-Control-Max-Age: 7200\r\n");
    config_destroy(c);
    c = build_ok(NULL, NULL, NULL);
    check_preflight(c, APP ASKS, "");
    config_destroy(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cookies_of_a_foreign_page_are_abuse),
        cmocka_unit_test(without_credentials_no_other_page_may_bring_cookies),
        cmocka_unit_test(only_allowed_origins_may_read),
        cmocka_unit_test(only_allowed_origins_preflight),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
