#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "tickerd/base/err.h"
#include "tickerd/wire/addr.h"

static void reads_addresses(void **state)
{
    static const struct {
        const char *text, *host;
        uint16_t port;
        bool is_unix;
    } cases[] = {
        {"127.0.0.1:8090", "127.0.0.1", 8090, false},
        {"0.0.0.0:0", "0.0.0.0", 0, false},
        {"localhost:65535", "localhost", 65535, false},
        {"redis-1.prod_eu.example.org.:1", "redis-1.prod_eu.example.org.", 1, false},
        {"3com.example:00080", "3com.example", 80, false},
        {"[::1]:8090", "::1", 8090, false},
        {"[::]:80", "::", 80, false},
        {"[fe80::1%eth0.1]:80", "fe80::1%eth0.1", 80, false},
        {"[::ffff:1.2.3.4]:80", "::ffff:1.2.3.4", 80, false},
        {"unix:/run/tickerd.sock", "/run/tickerd.sock", 0, true},
        {"unix:/a b:c", "/a b:c", 0, true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct addr a;
        const char *why = NULL;
        assert_int_equal(addr_parse(&a, cases[i].text, &why), 0);
        assert_null(why);
        assert_string_equal(a.host, cases[i].host);
        assert_int_equal(a.port, cases[i].port);
        assert_int_equal(a.is_unix, cases[i].is_unix);
    }
}

static void prints_what_it_reads(void **state)
{
    static const char *const cases[] = {"127.0.0.1:8090", "[::1]:80", "example.org:6379",
                                        "unix:/run/x.sock", "[fe80::1%eth0]:1"};
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct addr a;
        const char *why;
        struct buf out = BUF_INIT;
        assert_int_equal(addr_parse(&a, cases[i], &why), 0);
        addr_print(&out, &a);
        assert_string_equal(buf_cstr(&out), cases[i]);
        buf_finish(&out);
    }
}

static void refuse_addr(const char *text, const char *sentence)
{
    struct addr a;
    const char *why = "";
    assert_int_equal(addr_parse(&a, text, &why), ERR_INVALID);
    assert_string_equal(why, sentence);
}

static void refuses_bad_addresses(void **state)
{
    static const char port[] = "the port must be a number from 0 to 65535";
    static const char name[] = "the host is neither a name nor an IPv4 address";
    static const char v6[] = "what is in brackets is no IPv6 address";
    (void)state;
    refuse_addr("", "the address is empty");
    refuse_addr("localhost", "the port is missing");
    refuse_addr("[::1]", "the port is missing");
    refuse_addr(":80", "the host is missing");
    refuse_addr("[]:80", "the host is missing");
    refuse_addr("localhost:", port);
    refuse_addr("localhost:65536", port);
    refuse_addr("localhost:-1", port);
    refuse_addr("localhost:8o", port);
    refuse_addr("localhost:000080", port);
    refuse_addr("localhost:80 ", port);
    refuse_addr("::1:80", "an IPv6 address needs brackets, as in [::1]:8090");
    refuse_addr("[::1:80", "the bracket of the IPv6 address is not closed");
    refuse_addr("[::1]80", "only a colon and a port may follow the bracket");
    refuse_addr("[1.2.3.4]:80", v6);
    refuse_addr("[::1%]:80", v6);
    refuse_addr("[::1%a/b]:80", v6);
    refuse_addr("[aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa]:80", v6);
    refuse_addr("256.0.0.1:80", name);
    refuse_addr("1.2.3:80", name);
    refuse_addr("a..b:80", name);
    refuse_addr(".a:80", name);
    refuse_addr("*:80", name);
    refuse_addr("a b:80", name);
    refuse_addr("unix:", "the path of a unix socket must be absolute");
    refuse_addr("unix:/", "the path of a unix socket must be absolute");
    refuse_addr("unix:run/x", "the path of a unix socket must be absolute");
    refuse_addr("unix:/a\nb", "the path of a unix socket has no control bytes");
}

static void knows_its_lengths(void **state)
{
    char text[400] = "unix:/";
    struct addr a;
    const char *why;
    (void)state;
    memset(text + 6, 'x', ADDR_PATH_MAX - 1);
    assert_int_equal(addr_parse(&a, text, &why), 0);
    text[5 + ADDR_PATH_MAX] = 'x';
    refuse_addr(text, "the path of a unix socket has at most 107 bytes");

    memset(text, 0, sizeof(text));
    for (size_t i = 0; i < ADDR_HOST_MAX; i++)
        text[i] = i % 50 == 49 ? '.' : 'a';
    memcpy(text + ADDR_HOST_MAX, ":80", 4);
    assert_int_equal(addr_parse(&a, text, &why), 0);
    memcpy(text + ADDR_HOST_MAX, "a:80", 5);
    refuse_addr(text, "the host is too long");

    memset(text, 'a', 64);
    memcpy(text + 64, ":80", 4);
    refuse_addr(text, "the host is neither a name nor an IPv4 address");
}

static void check_text(const char *found, const char *expected)
{
    if (expected == NULL)
        assert_null(found);
    else
        assert_string_equal(found, expected);
}

static void reads_redis_urls(void **state)
{
    static const struct {
        const char *text, *host;
        uint16_t port;
        bool tls, is_unix;
        const char *user, *password, *printed;
    } cases[] = {
        {"redis://h", "h", 6379, false, false, NULL, NULL, "redis://h:6379"},
        {"REDIS://h:1", "h", 1, false, false, NULL, NULL, "redis://h:1"},
        {"redis://h/", "h", 6379, false, false, NULL, NULL, "redis://h:6379"},
        {"redis://h:7/0", "h", 7, false, false, NULL, NULL, "redis://h:7"},
        {"rediss://[::1]:7", "::1", 7, true, false, NULL, NULL, "rediss://[::1]:7"},
        {"redis://[::1]", "::1", 6379, false, false, NULL, NULL, "redis://[::1]:6379"},
        {"redis://u@h", "h", 6379, false, false, "u", NULL, "redis://u@h:6379"},
        {"redis://u:p@h", "h", 6379, false, false, "u", "p", "redis://u@h:6379"},
        {"redis://u:@h", "h", 6379, false, false, "u", "", "redis://u@h:6379"},
        {"redis://:p@h", "h", 6379, false, false, NULL, "p", "redis://h:6379"},
        {"redis://:@h", "h", 6379, false, false, NULL, NULL, "redis://h:6379"},
        {"redis://@h", "h", 6379, false, false, NULL, NULL, "redis://h:6379"},
        {"redis://:a:b@c@h", "h", 6379, false, false, NULL, "a:b@c", "redis://h:6379"},
        {"redis://a%40b%3a:%2F%25+#@h", "h", 6379, false, false, "a@b:", "/%+#",
         "redis://a%40b%3A@h:6379"},
        {"redis://%c3%a4:x@h", "h", 6379, false, false, "\xc3\xa4", "x", "redis://%C3%A4@h:6379"},
        {"unix:///run/r.sock", "/run/r.sock", 0, false, true, NULL, NULL, "unix:///run/r.sock"},
        {"unix://u:p%20q@/r@s", "/r@s", 0, false, true, "u", "p q", "unix://u@/r@s"},
        {"unix://:p@/r", "/r", 0, false, true, NULL, "p", "unix:///r"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct redis_url u;
        struct buf out = BUF_INIT;
        const char *why = NULL;
        int rc = redis_url_parse(&u, cases[i].text, &why);
        if (rc != 0)
            fail_msg("%s: %s", cases[i].text, why);
        assert_string_equal(u.addr.host, cases[i].host);
        assert_int_equal(u.addr.port, cases[i].port);
        assert_int_equal(u.addr.is_unix, cases[i].is_unix);
        assert_int_equal(u.tls, cases[i].tls);
        check_text(u.user, cases[i].user);
        check_text(u.password, cases[i].password);
        redis_url_print(&out, &u);
        assert_string_equal(buf_cstr(&out), cases[i].printed);
        buf_finish(&out);
        redis_url_finish(&u);
        redis_url_finish(&u);
    }
}

static void refuse_url(const char *text, const char *sentence)
{
    struct redis_url u;
    const char *why = "";
    assert_int_equal(redis_url_parse(&u, text, &why), ERR_INVALID);
    assert_string_equal(why, sentence);
    assert_null(u.user);
    assert_null(u.password);
}

static void refuses_bad_redis_urls(void **state)
{
    static const char scheme[] = "it must begin with redis://, rediss:// or unix://";
    static const char percent[] = "a % in user or password must begin a code such as %40";
    static const char database[] = "Pub/Sub knows no databases: nothing or /0 may follow the port";
    static const char slashes[] = "a unix URL has three slashes, as in unix:///run/redis.sock";
    (void)state;
    refuse_url("", scheme);
    refuse_url("127.0.0.1:6379", scheme);
    refuse_url("http://h", scheme);
    refuse_url("redisx://h", scheme);
    refuse_url("unix:/run/r.sock", scheme);
    refuse_url("redis://", "the host is missing");
    refuse_url("redis://:6379", "the host is missing");
    refuse_url("redis://u:p@", "the host is missing");
    refuse_url("redis://h:0", "the port must be a number from 1 to 65535");
    refuse_url("redis://h:99999", "the port must be a number from 0 to 65535");
    refuse_url("redis://u:p@h:", "the port must be a number from 0 to 65535");
    refuse_url("redis://h/1", database);
    refuse_url("redis://h/00", database);
    refuse_url("redis://h/0/", database);
    refuse_url("redis://h/?x=1", "a Redis URL has no ? and no # part");
    refuse_url("redis://h?x=1", "the host is neither a name nor an IPv4 address");
    refuse_url("redis://h/0#x", "a Redis URL has no ? and no # part");
    refuse_url("redis://u:%4@h", percent);
    refuse_url("redis://u:%@h", percent);
    refuse_url("redis://u:%zz@h", percent);
    refuse_url("redis://u:%00@h", percent);
    refuse_url("redis://u%2:p@h", percent);
    refuse_url("redis://u:p q@h", "blanks and control bytes must be percent-encoded");
    refuse_url("redis://u:p@h\n", "blanks and control bytes must be percent-encoded");
    refuse_url("redis://u:p/q@h", "a / in user or password must be percent-encoded as %2F");
    refuse_url("unix://run/r.sock", slashes);
    refuse_url("unix://u:p/r", slashes);
    refuse_url("unix://", "the path of a unix socket must be absolute");
    refuse_url("unix://u:p@", "the path of a unix socket must be absolute");
    refuse_url("unix:///r?db=0", "a Redis URL has no ? and no # part");
    refuse_url("unix://u:%x@/r", percent);
}

static void refuse_sentinel(const char *text, const char *sentence)
{
    struct redis_url u;
    const char *why = NULL;
    assert_int_not_equal(sentinel_parse(&u, text, &why), 0);
    assert_string_equal(why, sentence);
}

static void reads_sentinels(void **state)
{
    (void)state;
    static const struct {
        const char *text, *url, *password;
    } cases[] = {
        {"h", "redis://h:26379", NULL},
        {"10.0.0.1:5", "redis://10.0.0.1:5", NULL},
        {"[::1]", "redis://[::1]:26379", NULL},
        {"redis://h", "redis://h:26379", NULL},
        {"redis://:p%40w@h:7", "redis://h:7", "p@w"},
        {"rediss://joe:pw@[::1]:7", "rediss://joe@[::1]:7", "pw"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct redis_url u;
        struct buf text = BUF_INIT;
        const char *why = "";
        assert_int_equal(sentinel_parse(&u, cases[i].text, &why), 0);
        redis_url_print(&text, &u);
        assert_string_equal(buf_cstr(&text), cases[i].url);
        assert_int_equal(u.password == NULL, cases[i].password == NULL);
        if (u.password != NULL)
            assert_string_equal(u.password, cases[i].password);
        redis_url_finish(&u);
        buf_finish(&text);
    }
    refuse_sentinel("", "the host is missing");
    refuse_sentinel("h:0", "the port must be a number from 1 to 65535");
    refuse_sentinel("h:x", "the port must be a number from 0 to 65535");
    refuse_sentinel(":pw@h", "with user or password it must be a URL, beginning with redis://");
    refuse_sentinel("http://h", "it must begin with redis://, rediss:// or unix://");
}

static void knows_the_same_place(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b;
        bool same;
    } cases[] = {
        {"h:1", "H:1", true},         {"h:1", "h:2", false},        {"h:1", "i:1", false},
        {"[::1]:1", "[::1]:1", true}, {"unix:/a", "unix:/a", true}, {"unix:/a", "unix:/A", false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct addr a, b;
        const char *why;
        assert_int_equal(addr_parse(&a, cases[i].a, &why), 0);
        assert_int_equal(addr_parse(&b, cases[i].b, &why), 0);
        assert_int_equal(addr_equal(&a, &b), cases[i].same);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_addresses),       cmocka_unit_test(prints_what_it_reads),
        cmocka_unit_test(refuses_bad_addresses), cmocka_unit_test(knows_its_lengths),
        cmocka_unit_test(reads_sentinels),       cmocka_unit_test(knows_the_same_place),
        cmocka_unit_test(reads_redis_urls),      cmocka_unit_test(refuses_bad_redis_urls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
