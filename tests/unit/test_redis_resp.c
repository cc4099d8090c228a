#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/net/redis_resp.h"
#include "tickerd/base/buf.h"
#include "tickerd/base/err.h"

enum { MAX = 1024 * 1024 };

struct taken {
    struct buf text;
    int stop_at; /* replies until take says stop; 0: never */
    int replies;
};

static int take(void *ctx, const struct resp_reply *r)
{
    struct taken *t = ctx;
    static const char *const kinds[] = {"status", "error", "string", "array", "other"};
    buf_str(&t->text, kinds[r->kind]);
    if (r->kind != RESP_OTHER) {
        for (size_t i = 0; i < r->count; i++) {
            buf_byte(&t->text, i == 0 ? ' ' : ',');
            buf_append(&t->text, r->part[i].p, r->part[i].n);
        }
    }
    buf_byte(&t->text, '\n');
    t->replies++;
    return t->replies == t->stop_at ? ERR_CLOSED : ERR_OK;
}

/* Feeds `input` in pieces of `step` bytes; the code of the last feed. */
static int run(struct taken *t, const char *input, size_t n, size_t step)
{
    struct resp_reader *r = resp_create(take, t, MAX);
    assert_non_null(r);
    int rc = ERR_OK;
    for (size_t at = 0; at < n && rc == ERR_OK; at += step) {
        /* A copy of the exact size, so that reading past it is found out. */
        size_t len = n - at < step ? n - at : step;
        char *piece = malloc(len);
        assert_non_null(piece);
        memcpy(piece, input + at, len);
        rc = resp_feed(r, piece, len);
        free(piece);
    }
    if (rc == ERR_INVALID)
        assert_true(strlen(resp_error(r)) > 0);
    resp_destroy(r);
    return rc;
}

static void expect(const char *input, const char *text, int code)
{
    for (size_t step = 1; step <= strlen(input); step++) {
        struct taken t = {.text = BUF_INIT};
        assert_int_equal(run(&t, input, strlen(input), step), code);
        assert_string_equal(buf_cstr(&t.text), text);
        buf_finish(&t.text);
    }
}

static void flat_replies_however_split(void **state)
{
    (void)state;
    expect("+OK\r\n-ERR no\r\n*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$5\r\nhe\r\no\r\n"
           "*4\r\n$8\r\npmessage\r\n$2\r\nc*\r\n$1\r\nc\r\n$0\r\n\r\n"
           "*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:12\r\n*2\r\n$4\r\npong\r\n$0\r\n\r\n"
           "*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n*1\r\n+x\r\n",
           "status OK\nerror ERR no\narray message,c,he\r\no\narray pmessage,c*,c,\n"
           "array subscribe,c,\narray pong,\narray unsubscribe,,\narray x\n",
           ERR_OK);
}

static void odd_replies(void **state)
{
    (void)state;
    expect(":1\r\n$-1\r\n*-1\r\n*0\r\n$3\r\nabc\r\n+a\r\n",
           "other\nother\nother\nother\nstring abc\nstatus a\n", ERR_OK);
    expect("*17\r\n:1\r\n:2\r\n:3\r\n:4\r\n:5\r\n:6\r\n:7\r\n:8\r\n:9\r\n:10\r\n:11\r\n:12\r\n"
           ":13\r\n:14\r\n:15\r\n:16\r\n:17\r\n+a\r\n",
           "other\nstatus a\n", ERR_OK);
    expect("*5\r\n:1\r\n+b\r\n:3\r\n:4\r\n+c\r\n+a\r\n", "array ,b,,,c\nstatus a\n", ERR_OK);
    expect("*2\r\n*-1\r\n*-1\r\n+a\r\n", "array ,\nstatus a\n", ERR_OK);
}

/* Only that there is an array is told, not what is in it. */
static void nested_replies(void **state)
{
    (void)state;
    expect("*2\r\n*1\r\n:1\r\n$1\r\nb\r\n+a\r\n", "array ,b\nstatus a\n", ERR_OK);
    expect("*2\r\n$1\r\nb\r\n*2\r\n+x\r\n+y\r\n+a\r\n", "array b,\nstatus a\n", ERR_OK);
    expect("*1\r\n*0\r\n+a\r\n", "array \nstatus a\n", ERR_OK);
    expect("*3\r\n+b\r\n*2\r\n*1\r\n+x\r\n*1\r\n$1\r\ny\r\n+c\r\n+a\r\n", "array b,,c\nstatus a\n",
           ERR_OK);
}

static void no_resp(void **state)
{
    (void)state;
    expect("HTTP/1.0 400 Bad Request\r\n", "", ERR_INVALID);
    expect("+a\r\n$-7\r\n", "status a\n", ERR_INVALID);
    expect("*99999999999999999999\r\n", "", ERR_INVALID);
    expect("$9999999999999999999999\r\n", "", ERR_INVALID);
}

static void too_long(void **state)
{
    (void)state;
    struct buf in = BUF_INIT;
    buf_printf(&in, "$%d\r\n", 64 * MAX);
    while (in.len < 2 * MAX)
        buf_str(&in, "0123456789");
    struct taken t = {.text = BUF_INIT};
    assert_int_equal(run(&t, in.data, in.len, 65536), ERR_INVALID);
    assert_int_equal(t.replies, 0);
    buf_finish(&in);
    buf_finish(&t.text);
}

/* The limit is for all parts of a reply together, not for each. */
static void too_long_in_parts(void **state)
{
    (void)state;
    struct buf in = BUF_INIT;
    buf_str(&in, "*4\r\n");
    for (int part = 0; part < 4; part++) {
        buf_printf(&in, "$%d\r\n", MAX / 3);
        for (int i = 0; i < MAX / 3; i++)
            buf_byte(&in, 'x');
        buf_str(&in, "\r\n");
    }
    struct taken t = {.text = BUF_INIT};
    assert_int_equal(run(&t, in.data, in.len, 65536), ERR_INVALID);
    assert_int_equal(t.replies, 0);
    buf_finish(&in);
    buf_finish(&t.text);
}

static void take_can_stop_the_feed(void **state)
{
    (void)state;
    struct taken t = {.text = BUF_INIT, .stop_at = 2};
    const char *in = "+a\r\n+b\r\n+c\r\n";
    assert_int_equal(run(&t, in, strlen(in), 100), ERR_CLOSED);
    assert_string_equal(buf_cstr(&t.text), "status a\nstatus b\n");
    buf_finish(&t.text);
}

/* Long names before the payload, over many feeds, between short replies. */
static void long_parts(void **state)
{
    (void)state;
    struct buf in = BUF_INIT, name = BUF_INIT;
    while (name.len < 200000)
        buf_str(&name, "abcdefg");
    for (int i = 0; i < 3; i++) {
        buf_printf(&in, "*3\r\n$7\r\nmessage\r\n$%zu\r\n", name.len);
        buf_append(&in, name.data, name.len);
        buf_printf(&in, "\r\n$%zu\r\n", name.len);
        buf_append(&in, name.data, name.len);
        buf_str(&in, "\r\n+OK\r\n");
    }
    struct taken t = {.text = BUF_INIT};
    assert_int_equal(run(&t, in.data, in.len, 1000), ERR_OK);
    assert_int_equal(t.replies, 6);
    assert_int_equal(t.text.len, 3 * (strlen("array message,,\nstatus OK\n") + 2 * name.len));
    buf_finish(&in);
    buf_finish(&name);
    buf_finish(&t.text);
}

/* Whatever comes: no crash, and the same outcome however it is split. */
static void noise(void **state)
{
    (void)state;
    static const char *const words[] = {
        "*3\r\n",  "*2\r\n", "*1\r\n",  "*0\r\n", "*-1\r\n", "$3\r\n", "abc", "\r\n", ":7\r\n",
        "+OK\r\n", "-E\r\n", "$-1\r\n", "$0\r\n", "*4\r\n",  "*9\r\n", "\r",  "x",    "-1"};
    srandom(7);
    for (int round = 0; round < 4000; round++) {
        struct buf in = BUF_INIT;
        for (long n = random() % 30; n >= 0; n--)
            buf_str(&in, words[(size_t)random() % (sizeof words / sizeof words[0])]);
        struct taken whole = {.text = BUF_INIT}, split = {.text = BUF_INIT};
        int a = run(&whole, in.data, in.len, in.len);
        int b = run(&split, in.data, in.len, 1);
        assert_int_equal(a, b);
        assert_string_equal(buf_cstr(&whole.text), buf_cstr(&split.text));
        buf_finish(&in);
        buf_finish(&whole.text);
        buf_finish(&split.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flat_replies_however_split),
        cmocka_unit_test(odd_replies),
        cmocka_unit_test(nested_replies),
        cmocka_unit_test(no_resp),
        cmocka_unit_test(too_long),
        cmocka_unit_test(too_long_in_parts),
        cmocka_unit_test(take_can_stop_the_feed),
        cmocka_unit_test(long_parts),
        cmocka_unit_test(noise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
