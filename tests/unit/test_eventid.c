#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "prng.h"
#include "tickerd/wire/eventid.h"

static void format_is_fixed(void **state)
{
    (void)state;
    char out[EVENTID_LEN];
    eventid_format(out, &(struct eventid){.seq = 0x6012345678abc, .tag = 0xdeadbeef, .fp = 0x1f});
    assert_memory_equal(out, "6012345678abc-deadbeef-0000001f", EVENTID_LEN);
    eventid_format(out, &(struct eventid){.seq = 0, .tag = 0, .fp = 0});
    assert_memory_equal(out, "0000000000000-00000000-00000000", EVENTID_LEN);
    eventid_format(out, &(struct eventid){EVENTID_SEQ_MAX, UINT32_MAX, UINT32_MAX});
    assert_memory_equal(out, "fffffffffffff-ffffffff-ffffffff", EVENTID_LEN);
}

static void round_trip(void **state)
{
    (void)state;
    struct prng r = {.state = 11};
    for (int i = 0; i < 20000; i++) {
        struct eventid in = {.seq = prng_next(&r) & EVENTID_SEQ_MAX,
                             .tag = (uint32_t)prng_next(&r),
                             .fp = (uint32_t)prng_next(&r)};
        struct eventid back = {0, 0, 0};
        char text[EVENTID_LEN];
        eventid_format(text, &in);
        assert_true(eventid_parse(text, sizeof text, &back));
        assert_true(back.seq == in.seq && back.tag == in.tag && back.fp == in.fp);
    }
}

static void order_of_text_is_order_of_seq(void **state)
{
    (void)state;
    struct prng r = {.state = 12};
    for (int i = 0; i < 1000; i++) {
        struct eventid a = {.seq = prng_next(&r) & EVENTID_SEQ_MAX, .tag = 1, .fp = 1};
        struct eventid b = {.seq = prng_next(&r) & EVENTID_SEQ_MAX, .tag = 1, .fp = 1};
        char ta[EVENTID_LEN];
        char tb[EVENTID_LEN];
        eventid_format(ta, &a);
        eventid_format(tb, &b);
        assert_true((memcmp(ta, tb, EVENTID_LEN) < 0) == (a.seq < b.seq));
    }
}

static void other_ids_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "42",
        "6012345678abc-deadbeef-0000001",
        "6012345678abc-deadbeef-0000001f0",
        "6012345678ABC-deadbeef-0000001f",
        "6012345678abc-DEADBEEF-0000001f",
        " 012345678abc-deadbeef-0000001f",
        "6012345678abc-deadbeef-0000001 ",
        "6012345678abc_deadbeef-0000001f",
        "6012345678abc-deadbeef_0000001f",
        "6012345678abcd-eadbeef-0000001f",
        "6012345678abc-deadbee-f0000001f",
        "6012345678abg-deadbeef-0000001f",
        "6012345678abc-+eadbeef-0000001f",
        "0x12345678abc-deadbeef-0000001f",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct eventid id = {1, 2, 3};
        assert_false(eventid_parse(bad[i], strlen(bad[i]), &id));
        assert_true(id.seq == 1 && id.tag == 2 && id.fp == 3);
    }
}

/* Any single byte changed to one outside the grammar makes it somebody else's id. */
static void every_byte_counts(void **state)
{
    (void)state;
    static const char good[] = "6012345678abc-deadbeef-0000001f";
    for (size_t at = 0; at < EVENTID_LEN; at++) {
        for (int c = 0; c < 256; c++) {
            char s[EVENTID_LEN];
            struct eventid id;
            memcpy(s, good, sizeof s);
            s[at] = (char)c;
            bool hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
            bool dash = at == 13 || at == 22;
            assert_int_equal(eventid_parse(s, sizeof s, &id), dash ? c == '-' : hex);
        }
    }
}

/* Bit by bit from the polynomial, to be independent of zlib. */
static uint32_t crc_bytes(uint32_t crc, const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        crc ^= (unsigned char)s[i];
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xedb88320U : 0);
    }
    return crc;
}

static void fingerprint_known_answers(void **state)
{
    (void)state;
    /* Computed outside this program: crc32 of "news\0hello", "\0", "a\0" and "news\0caf\xc3\xa9".
     */
    assert_int_equal(eventid_fingerprint("news", 4, "hello", 5), 0xb1779bfa);
    assert_int_equal(eventid_fingerprint("", 0, "", 0), 0xd202ef8d);
    assert_int_equal(eventid_fingerprint("a", 1, NULL, 0), 0x3d3f4819);
    assert_int_equal(eventid_fingerprint("news", 4, "caf\xc3\xa9", 5), 0x1fca7fc9);
}

static void fingerprint_equals_plain_crc(void **state)
{
    (void)state;
    struct prng r = {.state = 13};
    char bytes[300];
    for (int round = 0; round < 2000; round++) {
        for (size_t i = 0; i < sizeof bytes; i++)
            bytes[i] = (char)prng_next(&r);
        size_t channel_len = prng_below(&r, 100);
        size_t len = prng_below(&r, 200);
        uint32_t crc = crc_bytes(0xffffffffU, bytes, channel_len);
        crc = crc_bytes(crc, "", 1);
        crc = ~crc_bytes(crc, bytes + channel_len, len);
        assert_int_equal(eventid_fingerprint(bytes, channel_len, bytes + channel_len, len),
                         crc == 0 ? 1 : crc);
    }
}

/* A CRC is invertible: four bytes can be found that bring any state to zero. */
static void fingerprint_is_never_zero(void **state)
{
    (void)state;
    uint32_t before = crc_bytes(0xffffffffU, "news", 5);
    /* Running the register backwards from its final value, all ones, over 32 zero bits. */
    uint32_t wanted = 0xffffffffU;
    for (int bit = 0; bit < 32; bit++)
        wanted = (wanted & 0x80000000U) != 0 ? (wanted ^ 0xedb88320U) << 1 | 1 : wanted << 1;
    uint32_t patch = before ^ wanted;
    char payload[4];
    for (int i = 0; i < 4; i++)
        payload[i] = (char)(patch >> (8 * i));
    assert_int_equal(~crc_bytes(before, payload, 4), 0);
    assert_int_equal(eventid_fingerprint("news", 4, payload, 4), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(format_is_fixed),
        cmocka_unit_test(round_trip),
        cmocka_unit_test(order_of_text_is_order_of_seq),
        cmocka_unit_test(other_ids_are_refused),
        cmocka_unit_test(every_byte_counts),
        cmocka_unit_test(fingerprint_known_answers),
        cmocka_unit_test(fingerprint_equals_plain_crc),
        cmocka_unit_test(fingerprint_is_never_zero),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
