#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "naive_utf8.h"
#include "prng.h"
#include "tickerd/wire/utf8.h"

enum { LONGEST = 200, RANDOM_ROUNDS = 100000 };

static struct buf repaired;

static void compare(const char *s, size_t len)
{
    char want[3 * LONGEST];
    size_t want_errors;
    size_t want_len = naive_utf8_repair(want, s, len, &want_errors);
    buf_reset(&repaired);
    size_t errors = utf8_repair(&repaired, s, len);
    if (utf8_valid_prefix(s, len) != naive_utf8_prefix(s, len) || errors != want_errors ||
        repaired.len != want_len || (len > 0 && memcmp(repaired.data, want, want_len) != 0)) {
        for (size_t i = 0; i < len; i++)
            print_error("%02x ", (unsigned char)s[i]);
        fail_msg("wrong for the %zu bytes above", len);
    }
    if (utf8_valid(s, len) != (errors == 0))
        fail_msg("valid and repaired are not opposites");
}

static void known_cases(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t prefix;
        const char *repaired;
    } cases[] = {
        {"", 0, ""},
        {"plain", 5, "plain"},
        {"12345678\xc3\xa9", 10, "12345678\xc3\xa9"},
        {"\xef\xbb\xbf", 3, "\xef\xbb\xbf"},
        {"\xf4\x8f\xbf\xbf", 4, "\xf4\x8f\xbf\xbf"},
        {"\xf4\x90\x80\x80", 0, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {"a\xc0\xaf", 1, "a\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xed\xa0\x80", 0, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {"x\xe2\x82", 1, "x\xef\xbf\xbd"},
        {"\xf0\x9f\x98y", 0, "\xef\xbf\xbdy"},
        {"\xe2\x82\xe2\x82\xac", 0, "\xef\xbf\xbd\xe2\x82\xac"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t len = strlen(cases[i].bytes);
        struct buf out = BUF_INIT;
        assert_int_equal(utf8_valid_prefix(cases[i].bytes, len), cases[i].prefix);
        (void)utf8_repair(&out, cases[i].bytes, len);
        assert_string_equal(buf_cstr(&out), cases[i].repaired);
        buf_finish(&out);
    }
    assert_true(utf8_valid("\0", 1));
}

static void all_short_sequences(void **state)
{
    (void)state;
    for (unsigned a = 0; a < 256; a++) {
        char s[3] = {(char)a, 0, 0};
        compare(s, 1);
        for (unsigned b = 0; b < 256; b++) {
            s[1] = (char)b;
            compare(s, 2);
            for (unsigned c = 0; c < 256; c++) {
                s[2] = (char)c;
                compare(s, 3);
            }
        }
    }
}

/* Bytes near every edge of the ranges, so that random strings hit well- and ill-formed ones. */
static void random_sequences(void **state)
{
    (void)state;
    static const unsigned char edges[] = {0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0,
                                          0xbf, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xed, 0xef,
                                          0xf0, 0xf1, 0xf4, 0xf5, 0xff, 0x80, 0xbf, 0x90};
    struct prng r = {.state = 7};
    char s[LONGEST];
    for (int round = 0; round < RANDOM_ROUNDS; round++) {
        size_t len = prng_below(&r, round % 8 == 0 ? LONGEST : 12);
        for (size_t i = 0; i < len; i++)
            s[i] = prng_below(&r, 4) == 0 ? (char)prng_next(&r)
                                          : (char)edges[prng_below(&r, sizeof edges)];
        compare(s, len);
    }
}

/* One bad byte at each place of a long ASCII or two-byte text: the eight-byte steps must not jump
 * over it wherever the words begin. */
static void one_bad_byte(void **state)
{
    (void)state;
    char s[64];
    for (size_t shift = 0; shift < 2; shift++) {
        for (size_t at = 0; at < sizeof s; at++) {
            memset(s, 'a', sizeof s);
            if (shift == 1)
                memcpy(s, "\xc3\xa9", 2);
            s[at] = (char)0xff;
            compare(s, sizeof s);
        }
    }
}

static int finish(void **state)
{
    (void)state;
    buf_finish(&repaired);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_cases),
        cmocka_unit_test(all_short_sequences),
        cmocka_unit_test(random_sequences),
        cmocka_unit_test(one_bad_byte),
    };
    return cmocka_run_group_tests(tests, NULL, finish);
}
