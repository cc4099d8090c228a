#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "prng.h"
#include "tickerd/wire/envelope.h"
#include "tickerd/wire/eventid.h"

/* Parses from memory of the exact size, so that reading past the end is seen. */
struct parsed {
    struct envelope e;
    struct buf scratch;
    char *payload;
};

static void parse(struct parsed *p, enum payload_mode mode, const char *payload, size_t len)
{
    char *copy = malloc(len + (len == 0));
    assert_non_null(copy);
    memcpy(copy, payload, len);
    buf_init(&p->scratch);
    envelope_parse(&p->e, mode, copy, len, &p->scratch);
    p->payload = copy;
}

static void done(struct parsed *p)
{
    buf_finish(&p->scratch);
    free(p->payload);
}

static void expect_slice(const char *got, size_t len, const char *want)
{
    if (want == NULL) {
        assert_null(got);
        return;
    }
    assert_non_null(got);
    if (len != strlen(want) || memcmp(got, want, len) != 0)
        fail_msg("got \"%.*s\", wanted \"%s\"", (int)len, got, want);
}

struct good {
    const char *payload, *data, *event, *id;
    uint32_t retry_ms;
};

static const struct good good_ones[] = {
    {"{\"data\":\"\"}", "", NULL, NULL, 0},
    {"{\"data\":\"hello\"}", "hello", NULL, NULL, 0},
    {" \r\n\t{ \"data\" : \"hello\" } \n", "hello", NULL, NULL, 0},
    {"{\"data\":\"a\\nb\\u00e9\\ud83d\\ude00\"}", "a\nb\xc3\xa9\xf0\x9f\x98\x80", NULL, NULL, 0},
    {"{\"data\":\" \xc3\xa9 \"}", " \xc3\xa9 ", NULL, NULL, 0},
    {"{\"data\":0.1}", "0.1", NULL, NULL, 0},
    {"{\"data\":1E400}", "1E400", NULL, NULL, 0},
    {"{\"data\":123456789012345678901234567890}", "123456789012345678901234567890", NULL, NULL, 0},
    {"{\"data\": true }", "true", NULL, NULL, 0},
    {"{\"data\":false}", "false", NULL, NULL, 0},
    {"{\"data\":null}", "null", NULL, NULL, 0},
    {"{\"data\": { \"a b\" : [ 1.0 , \" \\u0041\" ] } }", "{\"a b\":[1.0,\" \\u0041\"]}", NULL,
     NULL, 0},
    {"{\"data\":[ ]}", "[]", NULL, NULL, 0},
    {"{\"data\":{\"a\":1,\"a\":2}}", "{\"a\":1,\"a\":2}", NULL, NULL, 0},
    {"{\"data\":[\"\\ud800\"]}", "[\"\\ud800\"]", NULL, NULL, 0},
    {"{\"event\":\"tick\",\"data\":1}", "1", "tick", NULL, 0},
    {"{\"event\":\" a:b \",\"data\":1}", "1", " a:b ", NULL, 0},
    {"{\"event\":\"\\u00e9\\\\\",\"data\":\"\\t\",\"id\":\"\\u0041\"}", "\t", "\xc3\xa9\\", "A", 0},
    {"{\"event\":\"tickerd\",\"data\":1}", "1", "tickerd", NULL, 0},
    {"{\"event\":\"opened\",\"data\":1}", "1", "opened", NULL, 0},
    {"{\"event\":\"message\",\"data\":1}", "1", "message", NULL, 0},
    {"{\"id\":\"x 1\",\"data\":1}", "1", NULL, "x 1", 0},
    {"{\"id\":42,\"data\":1}", "1", NULL, "42", 0},
    {"{\"id\":-7,\"data\":1}", "1", NULL, "-7", 0},
    {"{\"id\":0,\"data\":1}", "1", NULL, "0", 0},
    {"{\"id\":99999999999999999999,\"data\":1}", "1", NULL, "99999999999999999999", 0},
    {"{\"retry\":100,\"data\":1}", "1", NULL, NULL, 100},
    {"{\"retry\":3600000,\"data\":1}", "1", NULL, NULL, 3600000},
    {"{\"d\\u0061ta\":1,\"\\u0069\\u0064\":2}", "1", NULL, "2", 0},
    {"{\"\\u0072\\u0065\\u0074\\u0072\\u0079\":1000,\"data\":1}", "1", NULL, NULL, 1000},
};

static void envelopes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof good_ones / sizeof *good_ones; i++) {
        const struct good *g = &good_ones[i];
        for (int mode = PAYLOAD_AUTO; mode <= PAYLOAD_ENVELOPE; mode++) {
            struct parsed p;
            parse(&p, (enum payload_mode)mode, g->payload, strlen(g->payload));
            if (p.e.enveloped != (mode != PAYLOAD_RAW))
                fail_msg("mode %d, wrong verdict for %s", mode, g->payload);
            if (p.e.enveloped) {
                expect_slice(p.e.data, p.e.data_len, g->data);
                expect_slice(p.e.event, p.e.event_len, g->event);
                expect_slice(p.e.id, p.e.id_len, g->id);
                assert_int_equal(p.e.retry_ms, g->retry_ms);
            }
            done(&p);
        }
    }
}

static void expect_raw(const char *payload, size_t len)
{
    for (int mode = PAYLOAD_AUTO; mode <= PAYLOAD_ENVELOPE; mode++) {
        struct parsed p;
        parse(&p, (enum payload_mode)mode, payload, len);
        if (p.e.enveloped)
            fail_msg("mode %d took for an envelope: %.*s", mode, (int)len, payload);
        assert_ptr_equal(p.e.data, p.payload);
        assert_int_equal(p.e.data_len, len);
        assert_null(p.e.event);
        assert_null(p.e.id);
        assert_int_equal(p.e.retry_ms, 0);
        done(&p);
    }
}

static void raw_shapes(void **state)
{
    (void)state;
    static const char *const raw[] = {
        "",
        " ",
        "hello",
        "42",
        "null",
        "\"data\"",
        "[1]",
        "[{\"data\":1}]",
        "{",
        "{}",
        "{ ",
        "{\"",
        "{\"d",
        "{\"data",
        "{\"data\"",
        "{\"data\":",
        "{\"data\":1",
        "{\"data\":1,",
        "{\"data\":1,}",
        "{\"data\":1}x",
        "{\"data\":1}{\"data\":1}",
        "x{\"data\":1}",
        "{data:1}",
        "{'data':1}",
        "{\"data\":}",
        "{\"data\":01}",
        "{\"data\":\"a}",
        "{\"data\":\"\\x\"}",
        "{\"data\":\"\n\"}",
        "{\"data\":\"\xff\"}",
        "{\"data\":[\"\xc3\"]}",
        "{\"data\":\"\\ud83d\"}",
        "{\"id\":1}",
        "{\"id\":1,\"event\":\"x\",\"retry\":100}",
        "{\"Data\":1}",
        "{\"dat\":1}",
        "{\"data \":1}",
        "{\"data\":1,\"data\":2}",
        "{\"data\":1,\"d\\u0061ta\":2}",
        "{\"data\":1,\"id\":1,\"id\":1}",
        "{\"data\":1,\"channel\":\"x\"}",
        "{\"channel\":\"x\",\"data\":1}",
        "{\"data\":1,\"\":2}",
        "\xef\xbb\xbf{\"data\":1}",
        "{\"data\":1}\f",
        "{\"d\\ud83dta\":1}",
        "{\"\\u0000\":1}",
        "{\"\\u0064\\u0061\\u0074\\u0061\\u0061\\u0061\":1}",
    };
    for (size_t i = 0; i < sizeof raw / sizeof *raw; i++)
        expect_raw(raw[i], strlen(raw[i]));
    expect_raw("{\"data\":1}\0", 11);
    expect_raw("{\"data\0\":1}", 11);
}

static void raw_fields(void **state)
{
    (void)state;
    static const char *const fields[] = {
        "\"event\":\"\"",
        "\"event\":\"open\"",
        "\"event\":\"error\"",
        "\"event\":\"tickerd:\"",
        "\"event\":\"tickerd:gap\"",
        "\"event\":\"o\\u0070en\"",
        "\"event\":\"a\\nb\"",
        "\"event\":\"a\\r\"",
        "\"event\":\"a\\u0000\"",
        "\"event\":1",
        "\"event\":null",
        "\"event\":[\"a\"]",
        "\"event\":\"\\ud800\"",
        "\"id\":\"\"",
        "\"id\":\" a\"",
        "\"id\":\"a \"",
        "\"id\":\"a\\u007f\"",
        "\"id\":\"a\\n\"",
        "\"id\":\"\\u00e9\"",
        "\"id\":\"\xc3\xa9\"",
        "\"id\":\"a\\u0000\"",
        "\"id\":1.0",
        "\"id\":1e3",
        "\"id\":1E3",
        "\"id\":true",
        "\"id\":null",
        "\"id\":{}",
        "\"id\":\"6012345678abc-deadbeef-0000001f\"",
        "\"id\":\"6012345678abc-deadbeef-00000000\"",
        "\"id\":\"6012345678ab\\u0063-deadbeef-0000001f\"",
        "\"retry\":0",
        "\"retry\":99",
        "\"retry\":3600001",
        "\"retry\":-100",
        "\"retry\":-0",
        "\"retry\":1000.0",
        "\"retry\":1e3",
        "\"retry\":\"1000\"",
        "\"retry\":null",
        "\"retry\":4294968296",
        "\"retry\":18446744073709552616",
        "\"retry\":1000000000000000000000000000",
    };
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        char text[256];
        int n = snprintf(text, sizeof text, "{\"data\":1,%s}", fields[i]);
        expect_raw(text, (size_t)n);
        n = snprintf(text, sizeof text, "{%s,\"data\":1}", fields[i]);
        expect_raw(text, (size_t)n);
    }
}

static void id_lengths(void **state)
{
    (void)state;
    char id[ENVELOPE_ID_MAX + 2];
    char text[256];
    memset(id, 'x', sizeof id);
    assert_false(envelope_id_ok(id, 0));
    assert_true(envelope_id_ok(id, 1));
    assert_true(envelope_id_ok(id, ENVELOPE_ID_MAX));
    assert_false(envelope_id_ok(id, ENVELOPE_ID_MAX + 1));
    for (size_t len = ENVELOPE_ID_MAX; len <= ENVELOPE_ID_MAX + 1; len++) {
        struct parsed p;
        int n = snprintf(text, sizeof text, "{\"data\":1,\"id\":\"%.*s\"}", (int)len, id);
        parse(&p, PAYLOAD_AUTO, text, (size_t)n);
        assert_int_equal(p.e.enveloped, len == ENVELOPE_ID_MAX);
        done(&p);
    }
    for (int c = 0; c < 256; c++) {
        char byte = (char)c;
        assert_int_equal(envelope_id_ok(&byte, 1), c > 0x20 && c < 0x7f);
    }
}

static void event_names(void **state)
{
    (void)state;
    assert_true(envelope_event_ok("x", 1));
    assert_true(envelope_event_ok("\xc3\xa9", 2));
    assert_true(envelope_event_ok("tickerd", 7));
    assert_true(envelope_event_ok("Open", 4));
    assert_true(envelope_event_ok("errors", 6));
    assert_false(envelope_event_ok("", 0));
    assert_false(envelope_event_ok("a\nb", 3));
    assert_false(envelope_event_ok("a\rb", 3));
    assert_false(envelope_event_ok("a\0b", 3));
    assert_false(envelope_event_ok("\xff", 1));
    assert_false(envelope_event_ok("open", 4));
    assert_false(envelope_event_ok("error", 5));
    assert_false(envelope_event_ok("tickerd:x", 9));
}

static void nul_in_data(void **state)
{
    (void)state;
    const char *text = "{\"data\":\"a\\u0000b\"}";
    struct parsed p;
    parse(&p, PAYLOAD_AUTO, text, strlen(text));
    assert_true(p.e.enveloped);
    assert_int_equal(p.e.data_len, 3);
    assert_memory_equal(p.e.data, "a\0b", 3);
    done(&p);
}

/* Raw payloads, and envelopes without escapes, are read in place. */
static void plain_text_allocates_nothing(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "hello",
        "{\"price\":1.5}",
        "{\"data\":\"x\",\"event\":\"e\",\"id\":\"7\",\"retry\":200}",
        "{\"data\":12}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct parsed p;
        parse(&p, PAYLOAD_AUTO, texts[i], strlen(texts[i]));
        assert_null(p.scratch.data);
        done(&p);
    }
}

/* All parts decoded into one scratch buffer, itself reused: nothing may move behind a slice. */
static void many_parts_share_the_scratch(void **state)
{
    (void)state;
    struct buf scratch = BUF_INIT;
    struct buf text = BUF_INIT;
    for (size_t n = 1; n < 3000; n = n * 3 / 2 + 1) {
        buf_reset(&text);
        buf_str(&text, "{\"ev\\u0065nt\":\"");
        for (size_t i = 0; i < n; i++)
            buf_str(&text, "\\u20ac");
        buf_str(&text, "\",\"id\":\"\\u0041\\/\",\"data\":\"");
        for (size_t i = 0; i < n; i++)
            buf_str(&text, "\\n\\u0416");
        buf_str(&text, "\"}");
        struct envelope e;
        envelope_parse(&e, PAYLOAD_AUTO, text.data, text.len, &scratch);
        assert_true(e.enveloped);
        assert_int_equal(e.event_len, 3 * n);
        assert_int_equal(e.data_len, 3 * n);
        expect_slice(e.id, e.id_len, "A/");
        for (size_t i = 0; i < n; i++) {
            assert_memory_equal(e.event + 3 * i, "\xe2\x82\xac", 3);
            assert_memory_equal(e.data + 3 * i, "\n\xd0\x96", 3);
        }
    }
    buf_finish(&scratch);
    buf_finish(&text);
}

/* Whatever is fed, the outcome is a whole payload or slices that pass the rules. */
static void mutations_keep_the_rules(void **state)
{
    (void)state;
    static const char alphabet[] = "{}[]:,\"\\u0019-.e dataeventidretry\n\xc3\xa9\xff";
    struct prng r = {.state = 21};
    size_t enveloped = 0;
    for (int round = 0; round < 200000; round++) {
        char text[200];
        const char *seed = good_ones[prng_below(&r, sizeof good_ones / sizeof *good_ones)].payload;
        size_t len = strlen(seed);
        memcpy(text, seed, len);
        for (size_t n = prng_below(&r, 3); n > 0; n--)
            text[prng_below(&r, len)] = alphabet[prng_below(&r, sizeof alphabet - 1)];
        len -= prng_below(&r, 10) == 0 ? prng_below(&r, len) : 0;
        struct parsed p;
        parse(&p, prng_below(&r, 2) == 0 ? PAYLOAD_AUTO : PAYLOAD_ENVELOPE, text, len);
        enveloped += p.e.enveloped;
        assert_non_null(p.e.data);
        if (!p.e.enveloped)
            assert_true(p.e.data == p.payload && p.e.data_len == len);
        if (p.e.id != NULL)
            assert_true(envelope_id_ok(p.e.id, p.e.id_len));
        if (p.e.event != NULL)
            assert_true(envelope_event_ok(p.e.event, p.e.event_len));
        done(&p);
    }
    assert_true(enveloped > 50000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(envelopes),
        cmocka_unit_test(raw_shapes),
        cmocka_unit_test(raw_fields),
        cmocka_unit_test(id_lengths),
        cmocka_unit_test(event_names),
        cmocka_unit_test(nul_in_data),
        cmocka_unit_test(plain_text_allocates_nothing),
        cmocka_unit_test(many_parts_share_the_scratch),
        cmocka_unit_test(mutations_keep_the_rules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
