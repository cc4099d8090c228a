#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "prng.h"
#include "tickerd/wire/proxyhdr.h"

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"

/* What came of these bytes, as text: "192.0.2.1 44", "local 15", "more" or "error <sentence>". The
 * first `cut` bytes come at once, the rest `step` at a time, each from a block of its exact size.
 */
static void outcome(char out[120], const char *data, size_t len, size_t cut, size_t step)
{
    struct proxyhdr p;
    size_t total = 0, at = 0;
    char text[NETADDR_TEXT_MAX];
    proxyhdr_init(&p);
    while (at < len && p.state == PROXYHDR_MORE) {
        size_t n = at < cut ? cut - at : step;
        n = n < len - at ? n : len - at;
        char *exact = malloc(n);
        assert_non_null(exact);
        memcpy(exact, data + at, n);
        size_t used = 0;
        enum proxyhdr_state state = proxyhdr_feed(&p, exact, n, &used);
        assert_int_equal(state, p.state);
        assert_true(used <= n && (state != PROXYHDR_MORE || used == n));
        total += used;
        at += n;
        free(exact);
    }
    if (p.state == PROXYHDR_ERROR)
        (void)snprintf(out, 120, "error %s", p.error);
    else if (p.state == PROXYHDR_MORE)
        (void)snprintf(out, 120, "more");
    else
        (void)snprintf(out, 120, "%s %zu", p.local ? "local" : netaddr_print(&p.client, text),
                       total);
}

/* The outcome, the same however the bytes are split. */
static void check(const char *data, size_t len, const char *expected)
{
    char whole[120], other[120];
    outcome(whole, data, len, len, 1);
    if (strcmp(whole, expected) != 0)
        fail_msg("'%.*s': expected %s, got %s", (int)len, data, expected, whole);
    outcome(other, data, len, 0, 1);
    assert_string_equal(other, whole);
    for (size_t cut = 1; cut < len && cut < 300; cut++) {
        outcome(other, data, len, cut, len);
        if (strcmp(other, whole) != 0)
            fail_msg("cut at %zu: %s, whole: %s", cut, other, whole);
    }
}

static void check_line(const char *line, const char *expected)
{
    check(line, strlen(line), expected);
}

#define MALFORMED "error The PROXY header is malformed."
#define TOO_LONG "error The PROXY header is too long."
#define NONE "error Expected a PROXY header from this address (proxy.protocol)."
#define LONG_V6 "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fff1"

static void test_version_1(void **state)
{
    (void)state;
    static const struct {
        const char *line, *expected;
    } lines[] = {
        {"PROXY TCP4 192.0.2.1 10.0.0.1 56324 443\r\nGET /", "192.0.2.1 41"},
        {"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255 56"},
        {"PROXY TCP4 192.0.2.1 10.0.0.1 0 0\r\n", "192.0.2.1 35"},
        {"PROXY TCP6 2001:db8::1 ::1 56324 443\r\n", "2001:db8::1 38"},
        {"PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n", "192.0.2.1 37"},
        {"PROXY TCP6 " LONG_V6 " " LONG_V6 " 65535 65535\r\nx", LONG_V6 " 104"},
        {"PROXY UNKNOWN\r\nGET", "local 15"},
        {"PROXY UNKNOWN " LONG_V6 " " LONG_V6 " 65535 65535\r\n", "local 107"},
        {"PROXY UNKNOWN TCP4 nonsense\r\n", "local 29"},
        {"PROXY UNKNOWNS\r\n", MALFORMED},
        {"PROXY\r\n", NONE},
        {"PROXY  TCP4 192.0.2.1 10.0.0.1 1 2\r\n", MALFORMED},
        {"PROXY \r\n", MALFORMED},
        {"PROXY TCP4\r\n", MALFORMED},
        {"PROXY tcp4 192.0.2.1 10.0.0.1 1 2\r\n", MALFORMED},
        {"PROXY TCP5 192.0.2.1 10.0.0.1 1 2\r\n", MALFORMED},
        {"PROXY TCP4 192.0.2.1 10.0.0.1 1\r\n", MALFORMED},
        {"PROXY TCP4 192.0.2.1 10.0.0.1 1 2 3\r\n", MALFORMED},
        {"PROXY TCP4 192.0.2.1 10.0.0.1 1 2 \r\n", MALFORMED},
        {"PROXY TCP4  192.0.2.1 10.0.0.1 1 2\r\n", MALFORMED},
        {"PROXY TCP4 192.0.2.1  1 2\r\n", MALFORMED},
        {"PROXY TCP4 192.0.2.1\t10.0.0.1 1 2\r\n", MALFORMED},
        {"PROXY TCP4 192.0.2.256 10.0.0.1 1 2\r\n", MALFORMED},
        {"PROXY TCP4 192.0.2 10.0.0.1 1 2\r\n", MALFORMED},
        {"PROXY TCP4 192.0.2.01 10.0.0.1 1 2\r\n", MALFORMED},
        {"PROXY TCP4 2001:db8::1 ::1 1 2\r\n", MALFORMED},
        {"PROXY TCP4 ::ffff:192.0.2.1 10.0.0.1 1 2\r\n", MALFORMED},
        {"PROXY TCP6 192.0.2.1 10.0.0.1 1 2\r\n", MALFORMED},
        {"PROXY TCP6 [::1] ::1 1 2\r\n", MALFORMED},
        {"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n", MALFORMED},
        {"PROXY TCP4 192.0.2.1 10.0.0.1 65536 2\r\n", MALFORMED},
        {"PROXY TCP4 192.0.2.1 10.0.0.1 1 -2\r\n", MALFORMED},
        {"PROXY TCP4 192.0.2.1 10.0.0.1 01 2\r\n", MALFORMED},
        {"PROXY TCP4 192.0.2.1 10.0.0.1 1 2\n", MALFORMED},
        {"PROXY TCP4 192.0.2.1 10.0.0.1 1 2\rx", MALFORMED},
        {"PROXY TCP4 192.0.2.1 10.0.0.1 1 2\r\r\n", MALFORMED},
        {"PROXY TCP4 192.0.2.1 10.0.0.1 1 2\x01\r\n", MALFORMED},
        {"PROXY UNKNOWN \xc3\xbc\r\n", MALFORMED},
        {"PROXY UNKNOWN " LONG_V6 " " LONG_V6 " 65535 65535 \r\n", TOO_LONG},
        {"GET / HTTP/1.1\r\n", NONE},
        {"proxy TCP4 192.0.2.1 10.0.0.1 1 2\r\n", NONE},
        {" PROXY TCP4 192.0.2.1 10.0.0.1 1 2\r\n", NONE},
        {"\r\nGET / HTTP/1.1\r\n", NONE},
        {"", "more"},
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        check_line(lines[i].line, lines[i].expected);
    check("PROXY \0TCP4 192.0.2.1 10.0.0.1 1 2\r\n", 36, MALFORMED);
}

/* Made like one of version 2: version and command, family, length, then `body` with `more` bytes
 * behind it. */
static size_t make_v2(char *out, unsigned command, unsigned family, size_t length, const void *body,
                      size_t body_len)
{
    size_t n = sizeof SIGNATURE - 1;
    memcpy(out, SIGNATURE, n);
    out[n++] = (char)command;
    out[n++] = (char)family;
    out[n++] = (char)(length >> 8);
    out[n++] = (char)length;
    if (body_len > 0)
        memcpy(out + n, body, body_len);
    return n + body_len;
}

static const char v4[12] = {(char)192, 0, 2, 1, 10, 0, 0, 1, 1, 2, 3, 4};
static const char v6[36] = {0x20, 1, 0xd, (char)0xb8, [15] = 1, [31] = 1};
static const char mapped[36] = {[10] = (char)0xff, (char)0xff, (char)192, 0, 2, 7};
static const char nothing[5000];

static void test_version_2(void **state)
{
    (void)state;
    static const struct {
        unsigned command, family;
        size_t length;
        const char *body, *expected;
    } cases[] = {
        {0x21, 0x11, 12, v4, "192.0.2.1 28"},
        {0x21, 0x21, 36, v6, "2001:db8::1 52"},
        {0x21, 0x21, 36, mapped, "192.0.2.7 52"},
        {0x20, 0x00, 0, nothing, "local 16"},
        {0x20, 0x11, 12, v4, "local 28"}, /* §2.2: LOCAL, whatever follows */
        {0x20, 0x77, 3, nothing, "local 19"},
        {0x21, 0x00, 0, nothing, "local 16"},
        {0x21, 0x00, 40, nothing, "local 56"},
        {0x21, 0x12, 12, v4, "local 28"}, /* a datagram */
        {0x21, 0x22, 36, v6, "local 52"},
        {0x21, 0x31, 216, nothing, "local 232"},
        {0x21, 0x32, 216, nothing, "local 232"},
        {0x21, 0x11, 4096, nothing, "0.0.0.0 4112"},
        {0x20, 0x00, 4096, nothing, "local 4112"},
        {0x21, 0x11, 4097, nothing, TOO_LONG},
        {0x20, 0x00, 65535, nothing, TOO_LONG},
        {0x21, 0x11, 11, v4, MALFORMED},
        {0x21, 0x11, 0, nothing, MALFORMED},
        {0x21, 0x21, 35, v6, MALFORMED},
        {0x21, 0x31, 215, nothing, MALFORMED},
        {0x11, 0x11, 12, v4, MALFORMED}, /* version 1 in the clothes of 2 */
        {0x31, 0x11, 12, v4, MALFORMED},
        {0x22, 0x11, 12, v4, MALFORMED}, /* no such command */
        {0x21, 0x10, 12, v4, MALFORMED}, /* no such families */
        {0x21, 0x01, 12, v4, MALFORMED},
        {0x21, 0x13, 12, v4, MALFORMED},
        {0x21, 0x41, 216, nothing, MALFORMED},
    };
    char bytes[6000];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *body = cases[i].body;
        size_t has = body == v4 ? sizeof v4 : body == nothing ? sizeof nothing : sizeof v6;
        size_t n = make_v2(bytes, cases[i].command, cases[i].family, cases[i].length, body,
                           cases[i].length < has ? cases[i].length : has);
        memcpy(bytes + n, "GET / HTTP", 10); /* is not its own */
        check(bytes, n + 10, cases[i].expected);
        if (strncmp(cases[i].expected, "error", 5) == 0)
            continue;
        for (size_t cut = 1; cut < n && cut < 60; cut++)
            check(bytes, cut, "more");
        check(bytes, n - 1, "more");
    }
}

static void test_version_2_skips_fields(void **state)
{
    (void)state;
    char bytes[600], body[200];
    memcpy(body, v4, sizeof v4);
    memset(body + sizeof v4, 0x7e, sizeof body - sizeof v4);
    size_t n = make_v2(bytes, 0x21, 0x11, sizeof body, body, sizeof body);
    memcpy(bytes + n, "GET", 3);
    check(bytes, n + 3, "192.0.2.1 216");
}

static void test_signature_is_exact(void **state)
{
    (void)state;
    char bytes[64];
    size_t n = make_v2(bytes, 0x21, 0x11, sizeof v4, v4, sizeof v4);
    for (size_t i = 0; i < sizeof SIGNATURE - 1; i++) {
        bytes[i] ^= 1;
        check(bytes, n, NONE);
        bytes[i] ^= 1;
    }
}

/* Whatever comes, it ends within bounds and the same way however it is split. */
static void test_random_bytes(void **state)
{
    (void)state;
    struct prng r = {7};
    static const char line[] = "PROXY TCP4 192.0.2.1 10.0.0.1 56324 443\r\nGET /";
    char bytes[200], out[120];
    for (int round = 0; round < 20000; round++) {
        size_t n = sizeof line - 1;
        memcpy(bytes, line, n);
        if (round % 2 == 0)
            n = make_v2(bytes, 0x21, 0x11, 60, nothing, 100);
        for (size_t k = prng_below(&r, 4); k > 0; k--)
            bytes[prng_below(&r, n)] = (char)prng_next(&r);
        outcome(out, bytes, n, n, 1);
        char other[120];
        outcome(other, bytes, n, prng_below(&r, n), 1 + prng_below(&r, 9));
        assert_string_equal(other, out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_version_1),
        cmocka_unit_test(test_version_2),
        cmocka_unit_test(test_version_2_skips_fields),
        cmocka_unit_test(test_signature_is_exact),
        cmocka_unit_test(test_random_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
