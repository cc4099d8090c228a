#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "tickerd/base/clock.h"
#include "tickerd/wire/forwarded.h"

enum { TRUSTED = 4 };

static struct netblock blocks[TRUSTED];
static struct netblocks trusted = {blocks, TRUSTED};

static int set_up(void **state)
{
    (void)state;
    static const char *const texts[TRUSTED] = {"127.0.0.1", "10.0.0.0/8", "fd00::/8", "unix"};
    const char *why = NULL;
    for (size_t i = 0; i < TRUSTED; i++) {
        if (netblock_parse(&blocks[i], texts[i], &why) != 0)
            return -1;
    }
    return 0;
}

static struct netaddr address(const char *text)
{
    struct netaddr a = {.is_unix = strcmp(text, "unix") == 0};
    assert_true(a.is_unix || netaddr_parse(&a, text, strlen(text)));
    return a;
}

/* A header in a block of its exact size; NULL: none. */
static struct http_slice header(const char *text, char **block)
{
    *block = NULL;
    if (text == NULL)
        return (struct http_slice){NULL, 0};
    size_t len = strlen(text);
    *block = malloc(len + 1);
    assert_non_null(*block);
    memcpy(*block, text, len);
    return (struct http_slice){*block, len};
}

static void check(const char *peer, const char *xff, const char *forwarded, const char *expected)
{
    char text[NETADDR_TEXT_MAX], *blocks_of[2];
    struct netaddr from = address(peer);
    struct http_slice x = header(xff, &blocks_of[0]), f = header(forwarded, &blocks_of[1]);
    struct netaddr got = forwarded_client(&trusted, &from, x, f);
    if (strcmp(netaddr_print(&got, text), expected) != 0)
        fail_msg("from %s, '%s', '%s': expected %s, got %s", peer, xff != NULL ? xff : "-",
                 forwarded != NULL ? forwarded : "-", expected, text);
    free(blocks_of[0]);
    free(blocks_of[1]);
}

static void test_x_forwarded_for(void **state)
{
    (void)state;
    static const struct {
        const char *peer, *value, *client;
    } cases[] = {
        {"127.0.0.1", NULL, "127.0.0.1"},
        {"127.0.0.1", "", "127.0.0.1"},
        {"127.0.0.1", "192.0.2.1", "192.0.2.1"},
        {"127.0.0.1", " \t192.0.2.1\t ", "192.0.2.1"},
        {"unix", "192.0.2.1", "192.0.2.1"},
        {"192.0.2.9", "192.0.2.1", "192.0.2.9"}, /* not a proxy of ours */
        {"127.0.0.1", "198.51.100.1, 192.0.2.1", "192.0.2.1"},
        {"127.0.0.1", "198.51.100.1,192.0.2.1, 10.1.2.3,127.0.0.1", "192.0.2.1"},
        {"127.0.0.1", "10.9.9.9, 10.1.2.3", "10.9.9.9"},
        {"127.0.0.1", "10.9.9.9, 10.1.2.3,, ,", "10.9.9.9"},
        {"127.0.0.1", "2001:db8::1", "2001:db8::1"},
        {"127.0.0.1", "2001:DB8:0::1, fd00::7", "2001:db8::1"},
        {"127.0.0.1", "::ffff:192.0.2.1", "192.0.2.1"},
        {"::ffff:127.0.0.1", "192.0.2.1", "192.0.2.1"},
        {"127.0.0.1", "192.0.2.1:567", "192.0.2.1"},
        {"127.0.0.1", "[2001:db8::1]", "2001:db8::1"},
        {"127.0.0.1", "[2001:db8::1]:567", "2001:db8::1"},
        /* What cannot be read ends the walk at the last address that can be believed. */
        {"127.0.0.1", "nonsense", "127.0.0.1"},
        {"127.0.0.1", "192.0.2.1, nonsense", "127.0.0.1"},
        {"127.0.0.1", "192.0.2.1, nonsense, 10.0.0.7", "10.0.0.7"},
        {"127.0.0.1", "nonsense, 192.0.2.1, 10.0.0.7", "192.0.2.1"},
        {"127.0.0.1", "unknown", "127.0.0.1"},
        {"127.0.0.1", "192.0.2.1 10.0.0.1", "127.0.0.1"},
        {"127.0.0.1", "192.0.2.1:", "127.0.0.1"},
        {"127.0.0.1", "192.0.2.1:x", "127.0.0.1"},
        {"127.0.0.1", "192.0.2.1:123456", "127.0.0.1"},
        {"127.0.0.1", "[192.0.2.1]", "127.0.0.1"},
        {"127.0.0.1", "[2001:db8::1", "127.0.0.1"},
        {"127.0.0.1", "[2001:db8::1]x", "127.0.0.1"},
        {"127.0.0.1", "[]", "127.0.0.1"},
        {"127.0.0.1", "[", "127.0.0.1"},
        {"127.0.0.1", ":", "127.0.0.1"},
        {"127.0.0.1", "2001:db8::1%eth0", "127.0.0.1"},
        {"127.0.0.1", "192.0.2.1/32", "127.0.0.1"},
        {"127.0.0.1", "3221225985", "127.0.0.1"}, /* other spellings that some readers know */
        {"127.0.0.1", "0xc0.0.2.1", "127.0.0.1"},
        {"127.0.0.1", "192.0.513", "127.0.0.1"},
        {"127.0.0.1", "\"192.0.2.1\"", "127.0.0.1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check(cases[i].peer, cases[i].value, NULL, cases[i].client);
}

static void test_forwarded(void **state)
{
    (void)state;
    static const struct {
        const char *value, *client;
    } cases[] = {
        {"for=192.0.2.1", "192.0.2.1"},
        {"FOR=192.0.2.1", "192.0.2.1"},
        {"for=\"192.0.2.1\"", "192.0.2.1"},
        {"for=192.0.2.1:4711", "192.0.2.1"},
        {"for=\"192.0.2.1:4711\"", "192.0.2.1"},
        {"for=\"[2001:db8::1]:4711\"", "2001:db8::1"},
        {"for=\"[2001:db8::1]\"", "2001:db8::1"},
        {"for=\"[2001:db8::1]:_hidden.port-1\"", "2001:db8::1"},
        {"for=192.0.2.1;proto=https;by=203.0.113.43", "192.0.2.1"},
        {"proto=https;host=\"a,b;for=9.9.9.9\"; For=192.0.2.1", "192.0.2.1"},
        {"host=\"\\\", for=9.9.9.9, \\\"\";for=192.0.2.1", "192.0.2.1"},
        {"for=9.9.9.9, for=192.0.2.1, for=10.0.0.1", "192.0.2.1"},
        {"for=10.0.0.2,for=10.0.0.1", "10.0.0.2"},
        /* Nothing that a client sends swallows what the proxy adds behind it. */
        {"for=\"9.9.9.9, for=192.0.2.1", "192.0.2.1"},
        {"for=\"9.9.9.9\\, for=\"[2001:db8::1]\"", "2001:db8::1"},
        {"\"\"\", for=192.0.2.1;host=\"x\"", "192.0.2.1"},
        {"\\\\\\\", for=192.0.2.1", "192.0.2.1"},
        /* Nobody that could be named. */
        {"for=unknown", "127.0.0.1"},
        {"for=_hidden", "127.0.0.1"},
        {"for=192.0.2.1, for=unknown", "127.0.0.1"},
        {"for=192.0.2.1, for=_hidden, for=10.0.0.5", "10.0.0.5"},
        {"proto=https", "127.0.0.1"},
        {"192.0.2.1", "127.0.0.1"},
        {"for=", "127.0.0.1"},
        {"for=\"\"", "127.0.0.1"},
        {"for=\"", "127.0.0.1"},
        {"for=\"192.0.2.1", "127.0.0.1"},
        {"for=192.0.2.1\"", "127.0.0.1"},
        {"for=\"192.0.2.\\1\"", "127.0.0.1"},
        {"for=2001:db8::1", "127.0.0.1"}, /* needs brackets: RFC 7239 §6 */
        {"for=\"2001:db8::1\"", "127.0.0.1"},
        {"for =192.0.2.1", "127.0.0.1"},
        {"for= 192.0.2.1", "127.0.0.1"},
        {"for=192.0.2.1;for=192.0.2.2", "127.0.0.1"},
        {"for=\"[2001:db8::1]:_\"", "127.0.0.1"},
        {"for=\"[2001:db8::1]:_x y\"", "127.0.0.1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        check("127.0.0.1", NULL, cases[i].value, cases[i].client);
        check("192.0.2.9", NULL, cases[i].value, "192.0.2.9");
    }
}

static void test_both(void **state)
{
    (void)state;
    check("127.0.0.1", "192.0.2.1", "for=192.0.2.1", "192.0.2.1");
    check("127.0.0.1", "9.9.9.9, 192.0.2.1", "for=192.0.2.1;proto=http", "192.0.2.1");
    check("127.0.0.1", "192.0.2.1", "for=9.9.9.9", "127.0.0.1");
    check("unix", "192.0.2.1", "for=9.9.9.9", "unix");
    check("127.0.0.1", "192.0.2.1", "for=unknown", "127.0.0.1");
    check("127.0.0.1", "", "for=192.0.2.1", "127.0.0.1");
    check("192.0.2.9", "192.0.2.1", "for=192.0.2.1", "192.0.2.9");
}

/* A list that is all trusted is walked for so many elements and no further; and the longest header
 * there can be takes a moment at most, whatever is in it. */
static void test_bounded(void **state)
{
    (void)state;
    enum { SIZE = 9 * 116508 }; /* whole elements */
    static const char *const fillers[] = {"10.0.0.1,", "\\\"", "\"", "\\", ",", "for=\"", ";", ":"};
    char *text = malloc(SIZE + 1);
    assert_non_null(text);
    for (size_t f = 0; f < sizeof fillers / sizeof *fillers; f++) {
        size_t n = strlen(fillers[f]);
        for (size_t i = 0; i < SIZE; i++)
            text[i] = fillers[f][i % n];
        text[SIZE] = '\0';
        uint64_t started = clock_mono_us();
        check("127.0.0.1", text, NULL, f == 0 ? "10.0.0.1" : "127.0.0.1");
        check("127.0.0.1", NULL, text, "127.0.0.1");
        assert_true(clock_mono_us() - started < 2 * US_PER_S);
    }
    free(text);
    char list[2000] = "192.0.2.1";
    for (int i = 0; i < FORWARDED_HOPS_MAX - 1; i++)
        strcat(list, ", 10.0.0.1");
    check("127.0.0.1", list, NULL, "192.0.2.1");
    strcat(list, ", 10.0.0.1");
    check("127.0.0.1", list, NULL, "10.0.0.1");
}

static void test_blocks(void **state)
{
    (void)state;
    struct netaddr a = address("10.255.0.1"), b = address("11.0.0.1"), u = address("unix");
    assert_true(netblocks_contain(&trusted, &a));
    assert_false(netblocks_contain(&trusted, &b));
    assert_true(netblocks_contain(&trusted, &u));
    static const struct netblocks none;
    assert_false(netblocks_contain(&none, &u));
    assert_true(netaddr_equal(&a, &a));
    assert_false(netaddr_equal(&a, &b));
    assert_false(netaddr_equal(&a, &u));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_x_forwarded_for),
        cmocka_unit_test(test_forwarded),
        cmocka_unit_test(test_both),
        cmocka_unit_test(test_bounded),
        cmocka_unit_test(test_blocks),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
