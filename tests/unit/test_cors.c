#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "tickerd/wire/cors.h"

static char *const rules[] = {"https://app.example", "https://*.example.org",
                              "https://*.example.net:8443", "http://[::1]:3000"};
static const struct strings list = {(char **)rules, sizeof rules / sizeof *rules};

static void allows_what_the_list_names(void **state)
{
    static const char *const good[] = {
        "https://app.example",           "https://a.example.org",
        "https://a.b-c.d_e.example.org", "https://xn--bcher-kva.example.org",
        "https://a.example.net:8443",    "http://[::1]:3000",
    };
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        if (!cors_allows(&list, good[i], strlen(good[i])))
            fail_msg("%s", good[i]);
    }
}

static void refuses_look_alikes(void **state)
{
    static const char *const bad[] = {
        "",
        "null",
        "*",
        "https://",
        /* of the exact rule */
        "http://app.example",
        "https://app.example.",
        "https://app.example:443",
        "https://app.example:8443",
        "https://app.example/",
        "https://App.example",
        "HTTPS://app.example",
        "https://a.app.example",
        "https://app.example.evil.com",
        "https://app.example@evil.com",
        "https://app.exampl",
        "https://app.examplee",
        "https://app.example https://evil.com",
        "https://evil.com https://app.example",
        "https://app.example, https://app.example",
        "https://app.example\t",
        " https://app.example",
        "https://app\xe3\x80\x82"
        "example",
        "https://\xd0\xb0pp.example",
        /* of the rule with an asterisk */
        "https://example.org",
        "https://.example.org",
        "https://..example.org",
        "https://a..example.org",
        "https://.a.example.org",
        "https://a.example.org.",
        "https://*.example.org",
        "https://evilexample.org",
        "https://a.evilexample.org",
        "https://example.org.evil.com",
        "https://a.example.org.evil.com",
        "https://a.example.org:443",
        "https://a.example.org:8443",
        "https://a.example.org@evil.com",
        "https://evil.com/.example.org",
        "https://evil.com#.example.org",
        "https://evil.com?.example.org",
        "https://evil.com\\.example.org",
        "https://evil.com:443.example.org",
        "https://evil.com:1@a.example.org",
        "https://evil@a.example.org",
        "https://evil.com https://a.example.org",
        "https://evil.com,https://a.example.org",
        "https://[::1].example.org",
        "https://a%2e.example.org",
        "https://A.example.org",
        "https://a.Example.org",
        "https://b\xc3\xbc.example.org",
        "http://a.example.org",
        "wss://a.example.org",
        "https:/a.example.org",
        "https:///a.example.org",
        "a.example.org",
        "//a.example.org",
        /* of the rule with asterisk and port */
        "https://a.example.net",
        "https://a.example.net:443",
        "https://a.example.net:84430",
        "https://a.example.net:08443",
        "https://a:8443.example.net:8443",
        "http://[::1]:3001",
        "http://[::1]",
        "http://[0::1]:3000",
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (cors_allows(&list, bad[i], strlen(bad[i])))
            fail_msg("%s", bad[i]);
    }
    assert_false(cors_allows(&list, "https://app.example\0", 20));
    assert_false(cors_allows(&list, "https://a\0.example.org", 22));
}

static void an_asterisk_allows_all_and_no_list_nothing(void **state)
{
    char *star[] = {"*"};
    const struct strings all = {star, 1}, none = {NULL, 0};
    (void)state;
    assert_true(cors_allows(&all, "null", 4));
    assert_true(cors_allows(&all, "https://x", 9));
    assert_false(cors_allows(&none, "https://x", 9));
}

static void knows_its_own(void **state)
{
    static const struct {
        const char *origin, *host;
        bool own;
    } cases[] = {
        {"https://example.org", "example.org", true},
        {"http://example.org", "example.org", true},
        {"https://example.org", "Example.ORG", true},
        {"https://example.org", "example.org:443", true},
        {"http://example.org", "example.org:80", true},
        {"https://example.org:8443", "example.org:8443", true},
        {"http://[::1]:8090", "[::1]:8090", true},
        {"http://[::1]", "[::1]:80", true},
        {"https://example.org", "example.org:80", false},
        {"http://example.org", "example.org:443", false},
        {"https://example.org:8443", "example.org", false},
        {"https://example.org", "example.org:8443", false},
        {"https://example.org", "a.example.org", false},
        {"https://a.example.org", "example.org", false},
        {"https://example.org.", "example.org", false},
        {"https://example.org", "", false},
        {"https://", "", false},
        {"https://", ":443", false},
        {"null", "null", false},
        {"", "", false},
        {"ftp://example.org", "example.org", false},
        {"chrome-extension://example.org", "example.org", false},
        {"HTTPS://example.org", "example.org", false},
        {"https://example.org/", "example.org", false},
        {"https://u@example.org", "example.org", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (cors_own(cases[i].origin, strlen(cases[i].origin), cases[i].host,
                     strlen(cases[i].host)) != cases[i].own)
            fail_msg("%s at %s", cases[i].origin, cases[i].host);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(allows_what_the_list_names),
        cmocka_unit_test(refuses_look_alikes),
        cmocka_unit_test(an_asterisk_allows_all_and_no_list_nothing),
        cmocka_unit_test(knows_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
