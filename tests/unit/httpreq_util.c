#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "httpreq_util.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "prng.h"
#include "tickerd/base/buf.h"

/* What the readers of this test take of a POST's body. */
size_t httpreq_body_max;

/* Feed bytes from a block of exactly their size, so that a read beyond them is found. */
enum httpreq_state httpreq_give(struct httpreq *r, const char *data, size_t len, size_t *total)
{
    char *exact = malloc(len == 0 ? 1 : len);
    assert_non_null(exact);
    if (len > 0)
        memcpy(exact, data, len);
    size_t used = 0;
    enum httpreq_state state = httpreq_feed(r, exact, len, &used);
    assert_true(used <= len);
    assert_true(state != HTTPREQ_MORE || used == len);
    *total += used;
    free(exact);
    return state;
}

struct httpreq *httpreq_make(size_t limit)
{
    struct httpreq *r = httpreq_create(limit);
    assert_non_null(r);
    httpreq_set_body_max(r, httpreq_body_max);
    return r;
}

/* Everything a caller can learn, as text: `<status> <code>` and more, or `<used> <target> …`. */
static void describe(struct buf *out, const struct httpreq *r, enum httpreq_state state,
                     size_t used)
{
    static const char *const states[] = {"more", "done", "error"};
    const struct httpreq_error *error = httpreq_error(r);
    buf_printf(out, "%s %zu %d %s [%s] %d %d", states[state], used, error->status, error->code,
               error->message, httpreq_accepts_stream(r), (int)httpreq_method(r));
    if (state == HTTPREQ_DONE) {
        struct http_slice target = httpreq_target(r);
        buf_printf(out, " 1.%d '%.*s'", httpreq_minor(r), (int)target.len, target.p);
        struct http_slice body = httpreq_body(r);
        buf_printf(out, " body %zu ", body.len);
        buf_append(out, body.p, body.len);
    }
    buf_str(out, httpreq_awaits_continue(r) ? " awaits" : "");
    for (int i = 0; i < HTTPREQ_HEADER_COUNT; i++) {
        struct http_slice v = httpreq_header(r, (enum httpreq_header)i);
        if (v.p != NULL)
            buf_printf(out, " %d='%.*s'", i, (int)v.len, v.p);
    }
}

/* The outcome of bytes that come in pieces: the first `cut`, then the rest `step` at a time. */
static void outcome(struct buf *out, size_t limit, const char *data, size_t len, size_t cut,
                    size_t step)
{
    struct httpreq *r = httpreq_make(limit);
    size_t used = 0;
    enum httpreq_state state = httpreq_give(r, data, cut, &used);
    for (size_t i = cut; i < len && state == HTTPREQ_MORE; i += step)
        state = httpreq_give(r, data + i, len - i < step ? len - i : step, &used);
    describe(out, r, state, used);
    httpreq_destroy(r);
}

/* The outcome, after checking that it is the same however the bytes are split. */
char *httpreq_check_splits(size_t limit, const char *data, size_t len)
{
    struct buf whole = BUF_INIT, other = BUF_INIT;
    outcome(&whole, limit, data, len, len, 1);
    outcome(&other, limit, data, len, 0, 1);
    assert_string_equal(buf_cstr(&other), buf_cstr(&whole));
    /* Beyond some size every split is a waste; the ends and some in between will do. */
    for (size_t cut = 0; cut <= len; cut += len < 2000 || cut < 100 || len - cut < 100 ? 1 : 53) {
        buf_reset(&other);
        outcome(&other, limit, data, len, cut, len + 1);
        if (strcmp(buf_cstr(&other), buf_cstr(&whole)) != 0)
            fail_msg("cut at %zu: %s\nwhole: %s", cut, buf_cstr(&other), buf_cstr(&whole));
    }
    buf_finish(&other);
    char *text = strdup(buf_cstr(&whole));
    assert_non_null(text);
    buf_finish(&whole);
    return text;
}

void httpreq_check_refused(size_t limit, const char *data, size_t len, int status, const char *code)
{
    char *got = httpreq_check_splits(limit, data, len);
    size_t used;
    int got_status;
    char got_code[40];
    if (sscanf(got, "error %zu %d %39s", &used, &got_status, got_code) != 3 ||
        got_status != status || strcmp(got_code, code) != 0)
        fail_msg("expected %d %s of:\n%.*s\ngot %s", status, code, (int)len, data, got);
    free(got);
}

/* Requests with random damage: never a crash, and always the same however they are split. */
void httpreq_check_damaged(const char *sound, size_t sound_len)
{
    static const char damage[] = "\r\n\t :0/\x80;H";
    struct prng random = {4711};
    for (int round = 0; round < 3000; round++) {
        char text[300];
        size_t len = sound_len;
        memcpy(text, sound, len);
        for (int n = 0; n <= round % 3; n++) {
            size_t at = prng_below(&random, len);
            if (prng_below(&random, 2) == 0)
                text[at] = damage[prng_below(&random, sizeof damage)];
            else
                memmove(text + at, text + at + 1, --len - at);
        }
        free(httpreq_check_splits(80 + prng_below(&random, 80), text, len));
    }
}
