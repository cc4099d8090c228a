#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "naive_utf8.h"
#include "prng.h"
#include "sse_decoder.h"
#include "tickerd/wire/sse.h"

enum { PAYLOAD_LONGEST = 400 };

static struct sse_event message(const char *data, size_t len)
{
    return (struct sse_event){.data = data, .data_len = len};
}

static void expect_block(const struct sse_event *e, const char *want)
{
    struct buf out = BUF_INIT;
    (void)sse_encode(&out, e);
    assert_string_equal(buf_cstr(&out), want);
    buf_finish(&out);
}

static void exact_bytes(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"", "data: \n\n"},
        {"hello", "data: hello\n\n"},
        {" x", "data:  x\n\n"},
        {":x", "data: :x\n\n"},
        {"a\nb", "data: a\ndata: b\n\n"},
        {"a\r\nb\rc", "data: a\ndata: b\ndata: c\n\n"},
        {"\n", "data: \ndata: \n\n"},
        {"a\n\r", "data: a\ndata: \ndata: \n\n"},
        {"\r\r\n\n", "data: \ndata: \ndata: \ndata: \n\n"},
        {"\xef\xbb\xbfx", "data: \xef\xbb\xbfx\n\n"},
        {"\xff\r\xc3\n\xa9", "data: \xef\xbf\xbd\ndata: \xef\xbf\xbd\ndata: \xef\xbf\xbd\n\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sse_event e = message(cases[i][0], strlen(cases[i][0]));
        expect_block(&e, cases[i][1]);
    }
}

static void field_order(void **state)
{
    (void)state;
    struct sse_event e = {.data = "a\nb",
                          .data_len = 3,
                          .event = "tick",
                          .event_len = 4,
                          .id = "42",
                          .id_len = 2,
                          .retry_ms = 2000};
    expect_block(&e, "event: tick\nretry: 2000\ndata: a\ndata: b\nid: 42\n\n");
    e.retry_ms = UINT32_MAX;
    e.event = NULL;
    expect_block(&e, "retry: 4294967295\ndata: a\ndata: b\nid: 42\n\n");
    e.retry_ms = 1;
    e.id = NULL;
    expect_block(&e, "retry: 1\ndata: a\ndata: b\n\n");
    e = message(NULL, 0);
    expect_block(&e, "data: \n\n");
}

static void appends_and_counts(void **state)
{
    (void)state;
    struct buf out = BUF_INIT;
    struct sse_event e = message("\xff"
                                 "a\xc3",
                                 3);
    buf_str(&out, SSE_HEARTBEAT);
    assert_int_equal(sse_encode(&out, &e), 2);
    e = message("b", 1);
    assert_int_equal(sse_encode(&out, &e), 0);
    assert_string_equal(buf_cstr(&out), ":\ndata: \xef\xbf\xbd"
                                        "a\xef\xbf\xbd\n\ndata: b\n\n");
    out.failed = true;
    size_t before = out.len;
    (void)sse_encode(&out, &e);
    assert_true(out.failed);
    assert_int_equal(out.len, before);
    buf_finish(&out);
}

/* The decoder against the examples of the text it is written from. */
static void decoder_follows_the_text(void **state)
{
    (void)state;
    static const char stream[] = "\xef\xbb\xbf: test stream\n\ndata: first event\nid: 1\n\n"
                                 "data:second event\nid\n\ndata:  third event\n\n"
                                 "data\r\rdata\r\ndata\r\n\r\nevent: add\rdata: 73857293\r\n\n"
                                 "event:x\nid: 9\n\nretry: 10\nretry: 1x\nretry:\nid: a\0b\n"
                                 "Data: no\ndata : no\nother\n\ndata: y\n\ndata: cut";
    static const char *const want[][3] = {
        {"message", "first event", "1"}, {"message", "second event", ""},
        {"message", " third event", ""}, {"message", "", ""},
        {"message", "\n", ""},           {"add", "73857293", ""},
        {"message", "y", "9"},
    };
    for (size_t split = 1; split < 20; split++) {
        struct sse_decoder d;
        sse_decoder_init(&d);
        for (size_t i = 0; i < sizeof stream - 1; i += split)
            sse_decoder_feed(&d, stream + i,
                             i + split > sizeof stream - 1 ? sizeof stream - 1 - i : split);
        assert_int_equal(d.count, sizeof want / sizeof *want);
        for (size_t i = 0; i < d.count; i++) {
            assert_string_equal(d.messages[i].type.p, want[i][0]);
            assert_string_equal(d.messages[i].data.p, want[i][1]);
            assert_string_equal(d.messages[i].last_event_id.p, want[i][2]);
        }
        assert_string_equal(d.last_event_id.p, "9");
        assert_int_equal(d.retry_ms, 10);
        assert_int_equal(d.comments, 1);
        assert_false(d.pending);
        sse_decoder_finish(&d);
    }
}

static size_t random_payload(struct prng *r, char *out)
{
    static const char *const pieces[] = {"\r",   "\n",         "\r\n",         "\n\r",
                                         ":",    " ",          "\xef\xbb\xbf", "\xc3\xa9",
                                         "\xff", "\xe2\x82",   "\xf0\x9f\x98", "\xed\xa0\x80",
                                         "a",    "some words", "data: x",      "id: 7",
                                         "\x7f", "\t",         "event:e",      "\xf0\x9f\x98\x80"};
    size_t len = 0;
    size_t bias = prng_below(r, 3);
    for (size_t n = prng_below(r, bias == 0 ? 3 : 14); n > 0; n--) {
        if (prng_below(r, 12) == 0) {
            out[len++] = '\0';
        } else if (bias == 2 && prng_below(r, 3) == 0) {
            out[len++] = (char)prng_next(r);
        } else {
            const char *piece = pieces[prng_below(r, sizeof pieces / sizeof *pieces)];
            memcpy(out + len, piece, strlen(piece));
            len += strlen(piece);
        }
    }
    return len;
}

static void feed_in_pieces(struct sse_decoder *d, const struct buf *bytes, struct prng *r)
{
    for (size_t i = 0; i < bytes->len;) {
        size_t n = 1 + prng_below(r, 40);
        n = n > bytes->len - i ? bytes->len - i : n;
        sse_decoder_feed(d, bytes->data + i, n);
        i += n;
    }
}

static void expect_text(const struct sse_text *got, const char *want, size_t len)
{
    if (got->len != len || memcmp(got->p, want, len) != 0) {
        for (size_t i = 0; i < len; i++)
            print_error("%02x ", (unsigned char)want[i]);
        fail_msg("wanted the %zu bytes above, got %zu: %s", len, got->len, got->p);
    }
}

/* One stream of many random events, among heartbeats, read whole and in pieces. */
static void round_trip_batch(struct prng *r)
{
    enum { BATCH = 100 };
    struct {
        char data[3 * PAYLOAD_LONGEST];
        size_t len;
        const char *event;
        char id[8];
        uint32_t retry_ms;
    } *sent = calloc(BATCH, sizeof *sent);
    struct buf out = BUF_INIT;
    struct sse_decoder whole;
    struct sse_decoder pieces;
    assert_non_null(sent);
    for (size_t i = 0; i < BATCH; i++) {
        char payload[PAYLOAD_LONGEST];
        size_t len = random_payload(r, payload);
        size_t errors;
        struct sse_event e = message(payload, len);
        sent[i].len = naive_event_data(sent[i].data, payload, len, NULL);
        sent[i].event = e.event = prng_below(r, 3) == 0 ? " na:me" : NULL;
        e.event_len = e.event == NULL ? 0 : strlen(e.event);
        sent[i].id[0] = (char)('a' + prng_below(r, 26));
        e.id = sent[i].id;
        e.id_len = 1;
        e.retry_ms = i == BATCH / 2 ? 1234 : 0;
        char scratch[3 * PAYLOAD_LONGEST];
        (void)naive_utf8_repair(scratch, payload, len, &errors);
        assert_int_equal(sse_encode(&out, &e), errors);
        if (prng_below(r, 5) == 0)
            buf_str(&out, SSE_HEARTBEAT);
    }
    sse_decoder_init(&whole);
    sse_decoder_init(&pieces);
    sse_decoder_feed(&whole, out.data, out.len);
    feed_in_pieces(&pieces, &out, r);
    assert_int_equal(whole.count, BATCH);
    assert_int_equal(pieces.count, BATCH);
    assert_int_equal(whole.bad_utf8, 0);
    assert_int_equal(whole.retry_ms, 1234);
    assert_int_equal(whole.retries, 1);
    for (size_t i = 0; i < BATCH; i++) {
        const char *type = sent[i].event == NULL ? "message" : sent[i].event;
        const struct sse_message *both[] = {&whole.messages[i], &pieces.messages[i]};
        for (int k = 0; k < 2; k++) {
            expect_text(&both[k]->data, sent[i].data, sent[i].len);
            expect_text(&both[k]->type, type, strlen(type));
            expect_text(&both[k]->last_event_id, sent[i].id, 1);
        }
    }
    sse_decoder_finish(&whole);
    sse_decoder_finish(&pieces);
    buf_finish(&out);
    free(sent);
}

static void round_trips(void **state)
{
    (void)state;
    struct prng r = {.state = 31};
    for (int i = 0; i < 500; i++)
        round_trip_batch(&r);
}

static void long_lines(void **state)
{
    (void)state;
    enum { LONG = 1 << 20 };
    char *data = malloc(LONG);
    struct buf out = BUF_INIT;
    assert_non_null(data);
    memset(data, 'x', LONG);
    struct sse_event e = message(data, LONG);
    (void)sse_encode(&out, &e);
    assert_int_equal(out.len, LONG + 8);
    buf_reset(&out);
    /* Only line ends of one kind: searching for the other must not start over at each line. */
    memset(data, '\r', LONG);
    (void)sse_encode(&out, &e);
    assert_int_equal(out.len, (LONG + 1) * 7 + 1);
    buf_reset(&out);
    memset(data, 0xff, LONG);
    assert_int_equal(sse_encode(&out, &e), LONG);
    assert_int_equal(out.len, 3 * LONG + 8);
    buf_finish(&out);
    free(data);
}

static void json_form(void **state)
{
    (void)state;
    static const struct {
        const char *block, *channel, *want;
    } cases[] = {
        {"data: hi\nid: 7\n\n", "news",
         "data: {\"channel\":\"news\",\"id\":\"7\",\"event\":\"message\",\"data\":\"hi\"}\n"
         "id: 7\n\n"},
        {"event: tick\nretry: 99\ndata: a\"b\ndata: \ndata:  c\nid: \\\n\n", "a\"b",
         "retry: 99\ndata: {\"channel\":\"a\\\"b\",\"id\":\"\\\\\",\"event\":\"tick\","
         "\"data\":\"a\\\"b\\n\\n c\"}\nid: \\\n\n"},
        {"data: \n\n", "\xc3\xa9",
         "data: {\"channel\":\"\xc3\xa9\",\"id\":null,\"event\":\"message\",\"data\":\"\"}\n\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf out = BUF_INIT;
        sse_encode_json(&out, cases[i].block, strlen(cases[i].block), cases[i].channel,
                        strlen(cases[i].channel));
        assert_string_equal(buf_cstr(&out), cases[i].want);
        buf_finish(&out);
    }
}

static void expect_member(const json_t *root, const char *key, const struct sse_text *want)
{
    const json_t *value = json_object_get(root, key);
    assert_true(json_is_string(value));
    expect_text(want, json_string_value(value), json_string_length(value));
}

/* Both forms of an event, each through the decoder, say the same. */
static void knows_its_own_blocks(void **state)
{
    (void)state;
    static const struct {
        const char *block;
        size_t id_len;
        bool valid;
    } cases[] = {
        {"data: a\nid: 12\n\n", 2, true},
        {"event: e\nretry: 5\ndata: a\ndata: \nid: \n\n", 0, true},
        {"data: a\nid: 12\n\n", 1, false},
        {"data: a\nid: 12\n\n", 3, false},
        {"data: a\n\n", 0, false},
        {"id: 12\n\n", 2, false},
        {"data: a\nid: 12\n", 2, false},
        {"data: a\nid: 12", 2, false},
        {"data: a\nid: 12\n\n\n", 2, false},
        {"data: a\nid: 12\n\ndata: b\n", 2, false},
        {"data: a\nevent: e\nid: 12\n\n", 2, false},
        {"data: a\nid: 1\ndata: b\nid: 12\n\n", 2, false},
        {"retry: 5\nevent: e\ndata: a\nid: 12\n\n", 2, false},
        {": a\ndata: a\nid: 12\n\n", 2, false},
        {"data:a\nid: 12\n\n", 2, false},
        {"", 0, false},
        {"\n", 0, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(sse_block_valid(cases[i].block, strlen(cases[i].block), cases[i].id_len),
                         cases[i].valid);
}

static void json_form_says_the_same(void **state)
{
    (void)state;
    struct prng r = {.state = 32};
    for (int round = 0; round < 20000; round++) {
        char payload[PAYLOAD_LONGEST];
        struct sse_event e = message(payload, random_payload(&r, payload));
        struct sse_text channel = {.p = (char[]){"caf\xc3\xa9 \"x\""}, .len = 9};
        struct buf block = BUF_INIT;
        struct buf json = BUF_INIT;
        struct sse_decoder plain;
        struct sse_decoder wrapped;
        e.id = "k-1";
        e.id_len = 3;
        e.event = prng_below(&r, 2) == 0 ? "up\"date" : NULL;
        e.event_len = e.event == NULL ? 0 : strlen(e.event);
        (void)sse_encode(&block, &e);
        assert_true(sse_block_valid(block.data, block.len, e.id_len));
        sse_encode_json(&json, block.data, block.len, channel.p, channel.len);
        sse_decoder_init(&plain);
        sse_decoder_init(&wrapped);
        sse_decoder_feed(&plain, block.data, block.len);
        sse_decoder_feed(&wrapped, json.data, json.len);
        assert_int_equal(wrapped.count, 1);
        assert_string_equal(wrapped.messages[0].type.p, "message");
        assert_string_equal(wrapped.messages[0].last_event_id.p, "k-1");
        json_t *root = json_loadb(wrapped.messages[0].data.p, wrapped.messages[0].data.len,
                                  JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, NULL);
        assert_int_equal(json_object_size(root), 4);
        expect_member(root, "channel", &channel);
        expect_member(root, "id", &plain.messages[0].last_event_id);
        expect_member(root, "event", &plain.messages[0].type);
        expect_member(root, "data", &plain.messages[0].data);
        json_decref(root);
        sse_decoder_finish(&plain);
        sse_decoder_finish(&wrapped);
        buf_finish(&block);
        buf_finish(&json);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exact_bytes),
        cmocka_unit_test(field_order),
        cmocka_unit_test(appends_and_counts),
        cmocka_unit_test(decoder_follows_the_text),
        cmocka_unit_test(round_trips),
        cmocka_unit_test(long_lines),
        cmocka_unit_test(knows_its_own_blocks),
        cmocka_unit_test(json_form),
        cmocka_unit_test(json_form_says_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
