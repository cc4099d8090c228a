#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "prng.h"
#include "sse_decoder.h"
#include "tickerd/ctl/reader.h"

struct seen {
    struct buf text; /* "type|data|id\n" for each event, "#\n" a comment, "retry=n\n" */
    size_t comments;
};

static void on_event(void *ctx, const struct reader_event *e)
{
    struct seen *s = ctx;
    assert_true(strlen(e->type) <= e->type_len && strlen(e->id) == e->id_len);
    buf_append(&s->text, e->type, e->type_len);
    buf_byte(&s->text, '|');
    buf_append(&s->text, e->data, e->data_len);
    buf_byte(&s->text, '|');
    buf_append(&s->text, e->id, e->id_len);
    buf_byte(&s->text, '\n');
}

static void on_comment(void *ctx)
{
    ((struct seen *)ctx)->comments++;
}

static void on_retry(void *ctx, uint32_t ms)
{
    buf_printf(&((struct seen *)ctx)->text, "retry=%u\n", ms);
}

static const struct reader_ops all = {.event = on_event, .comment = on_comment, .retry = on_retry};
static const struct reader_ops events = {.event = on_event};

static void expect(const char *stream, size_t len, size_t piece, const char *want)
{
    struct seen s = {.text = BUF_INIT};
    struct reader r;
    reader_init(&r, &all, &s);
    for (size_t i = 0; i < len; i += piece)
        assert_true(reader_feed(&r, stream + i, len - i < piece ? len - i : piece));
    assert_string_equal(buf_cstr(&s.text), want);
    reader_finish(&r);
    buf_finish(&s.text);
}

static void what_the_standard_says(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"data: YHOO\ndata: +2\ndata: 10\n\n", "message|YHOO\n+2\n10|\n"},
        {": c\n\ndata: 1\nid: 1\n\ndata:2\nid\n\ndata:  3\n\n",
         "message|1|1\nmessage|2|\nmessage| 3|\n"},
        {"data\n\ndata\ndata\n\ndata:", "message||\nmessage|\n|\n"},
        {"data:test\n\ndata: test\n\n", "message|test|\nmessage|test|\n"},
        {"\xef\xbb\xbf"
         "data: a\n\n",
         "message|a|\n"},
        {"event: e\rdata: a\r\rdata: b\r\n\r\n", "e|a|\nmessage|b|\n"},
        {"id: 7\n\ndata: a\n\n", "message|a|7\n"},
        {"retry: 100\nretry: x\nretry: 1e3\nretry:\nretry: 99999999999999999999999\n",
         "retry=100\nretry=4294967295\n"},
        {"Data: a\n data: b\ndata : c\ndata: d\n\n", "message|d|\n"},
        {"event: e\n\ndata: a\n\n", "message|a|\n"},
        {"data: cut off\nid: 9\n", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (size_t piece = 1; piece < 8; piece++)
            expect(cases[i][0], strlen(cases[i][0]), piece, cases[i][1]);
    }
    static const char nul[] = "id: 7\ndata: a\n\nid: a\0b\ndata: b\n\n";
    expect(nul, sizeof nul - 1, 3, "message|a|7\nmessage|b|7\n");
}

static void heartbeats_are_comments(void **state)
{
    (void)state;
    struct seen s = {.text = BUF_INIT};
    struct reader r;
    reader_init(&r, &all, &s);
    assert_true(reader_feed(&r, ":\n:\ndata: a\n:\ndata: b\n\n", 23));
    assert_int_equal(s.comments, 3);
    assert_string_equal(buf_cstr(&s.text), "message|a\nb|\n");
    reader_finish(&r);
    buf_finish(&s.text);
}

static void a_new_connection_keeps_only_the_id(void **state)
{
    (void)state;
    struct seen s = {.text = BUF_INIT};
    struct reader r;
    static const char first[] = "data: a\nid: 1\n\ndata: half\nevent: e\nid: 2\nda";
    reader_init(&r, &events, &s);
    assert_true(reader_feed(&r, first, sizeof first - 1));
    reader_restart(&r);
    assert_string_equal(buf_cstr(&r.last_id), "1");
    assert_true(reader_feed(&r,
                            "\xef\xbb\xbf"
                            "data: b\n\n",
                            12));
    assert_string_equal(buf_cstr(&s.text), "message|a|1\nmessage|b|1\n");
    reader_finish(&r);
    buf_finish(&s.text);
}

static void a_line_without_end_is_given_up(void **state)
{
    (void)state;
    enum { PIECE = 1024 * 1024 };
    struct seen s = {.text = BUF_INIT};
    struct reader r;
    char *piece = calloc(1, PIECE);
    size_t fed = 0;
    assert_non_null(piece);
    reader_init(&r, &events, &s);
    while (reader_feed(&r, piece, PIECE) && fed <= READER_EVENT_MAX)
        fed += PIECE;
    assert_int_equal(fed, READER_EVENT_MAX);
    reader_finish(&r);
    buf_finish(&s.text);
    free(piece);
}

/* Against the tests' own decoder, on streams of the bytes that matter. */
static void same_as_another_decoder(void **state)
{
    (void)state;
    static const char *const parts[] = {"data", "id",   "event", "retry", ":", " ",           "\n",
                                        "\r",   "\r\n", "\n\n",  "x",     "7", "\xef\xbb\xbf"};
    for (uint64_t seed = 1; seed <= 20000; seed++) {
        struct prng random = {seed};
        struct buf stream = BUF_INIT, want = BUF_INIT;
        struct seen s = {.text = BUF_INIT};
        struct sse_decoder d;
        struct reader r;
        sse_decoder_init(&d);
        reader_init(&r, &events, &s);
        for (size_t n = prng_below(&random, 40); n > 0; n--)
            buf_str(&stream, parts[prng_below(&random, sizeof parts / sizeof *parts)]);
        for (size_t i = 0; i < stream.len;) {
            size_t piece = 1 + prng_below(&random, 5);
            piece = stream.len - i < piece ? stream.len - i : piece;
            sse_decoder_feed(&d, stream.data + i, piece);
            assert_true(reader_feed(&r, stream.data + i, piece));
            i += piece;
        }
        for (size_t i = 0; i < d.count; i++)
            buf_printf(&want, "%s|%s|%s\n", d.messages[i].type.p, d.messages[i].data.p,
                       d.messages[i].last_event_id.p);
        assert_string_equal(buf_cstr(&s.text), buf_cstr(&want));
        assert_int_equal(s.comments, 0);
        sse_decoder_finish(&d);
        reader_finish(&r);
        buf_finish(&s.text);
        buf_finish(&want);
        buf_finish(&stream);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_standard_says),
        cmocka_unit_test(heartbeats_are_comments),
        cmocka_unit_test(a_new_connection_keeps_only_the_id),
        cmocka_unit_test(a_line_without_end_is_given_up),
        cmocka_unit_test(same_as_another_decoder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
