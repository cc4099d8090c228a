#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "prng.h"
#include "tickerd/base/buf.h"

static void starts_empty(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    assert_null(b.data);
    assert_int_equal(b.len, 0);
    buf_append(&b, NULL, 0);
    buf_str(&b, "");
    buf_consume(&b, 0);
    assert_null(b.data);
    assert_string_equal(buf_cstr(&b), "");
    assert_int_equal(b.len, 0);
    buf_finish(&b);
    assert_null(b.data);
    buf_finish(&b);
}

static void appends(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b);
    buf_str(&b, "ab");
    buf_byte(&b, '-');
    buf_append(&b, "c\0d", 3);
    buf_printf(&b, "%s=%d", "x", 42);
    buf_printf(&b, "%s", "");
    assert_int_equal(b.len, 10);
    assert_memory_equal(b.data, "ab-c\0dx=42", 10);
    buf_cstr(&b);
    assert_int_equal(b.len, 10);
    assert_int_equal(b.data[10], '\0');
    buf_finish(&b);
}

static void reset_keeps_the_memory(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    buf_str(&b, "hello");
    char *data = b.data;
    buf_reset(&b);
    assert_int_equal(b.len, 0);
    buf_str(&b, "bye");
    assert_ptr_equal(b.data, data);
    assert_string_equal(buf_cstr(&b), "bye");
    buf_finish(&b);
}

static void reserve_is_room(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    assert_true(buf_reserve(&b, 0));
    buf_str(&b, "x");
    assert_true(buf_reserve(&b, 1000));
    assert_true(b.cap - b.len >= 1000);
    char *data = b.data;
    for (int i = 0; i < 1000; i++)
        buf_byte(&b, 'y');
    assert_ptr_equal(b.data, data);
    buf_finish(&b);
}

/* Sizes that no allocation can have: the sum wraps, or no power of two reaches it. */
static void failure_sticks(void **state)
{
    (void)state;
    static const size_t impossible[] = {SIZE_MAX, SIZE_MAX - 1, SIZE_MAX - 10};
    for (size_t i = 0; i < sizeof impossible / sizeof *impossible; i++) {
        struct buf b = BUF_INIT;
        buf_str(&b, "kept");
        assert_false(buf_reserve(&b, impossible[i]));
        assert_true(b.failed);
        buf_str(&b, "x");
        buf_byte(&b, 'x');
        buf_printf(&b, "%d", 1);
        buf_json(&b, "x\n", 2);
        assert_false(buf_reserve(&b, 0));
        assert_int_equal(b.len, 4);
        assert_memory_equal(b.data, "kept", 4);
        assert_string_equal(buf_cstr(&b), "");
        buf_reset(&b);
        assert_false(b.failed);
        buf_str(&b, "again");
        assert_string_equal(buf_cstr(&b), "again");
        buf_finish(&b);
        assert_false(b.failed);
    }
}

static void consumes(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    buf_str(&b, "0123456789");
    buf_consume(&b, 0);
    buf_consume(&b, 3);
    assert_string_equal(buf_cstr(&b), "3456789");
    buf_str(&b, "x");
    buf_consume(&b, 7);
    assert_string_equal(buf_cstr(&b), "x");
    buf_consume(&b, 1);
    assert_int_equal(b.len, 0);
    buf_finish(&b);
}

/* Random appends and cuts against a plain array. */
static void against_an_array(void **state)
{
    (void)state;
    enum { ROOM = 1 << 16 };
    static char want[ROOM];
    struct prng r = {.state = 41};
    struct buf b = BUF_INIT;
    size_t len = 0;
    for (int round = 0; round < 20000; round++) {
        char piece[300];
        size_t n = prng_below(&r, sizeof piece);
        memset(piece, (int)('a' + prng_below(&r, 26)), sizeof piece);
        if (len + n > ROOM || prng_below(&r, 3) == 0) {
            n = prng_below(&r, len + 1);
            buf_consume(&b, n);
            len -= n;
            memmove(want, want + n, len);
        } else {
            buf_append(&b, piece, n);
            memcpy(want + len, piece, n);
            len += n;
        }
        assert_int_equal(b.len, len);
        assert_true(b.len <= b.cap);
    }
    if (len > 0)
        assert_memory_equal(b.data, want, len);
    buf_finish(&b);
}

static void json_escapes(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    buf_json(&b, "a\"b\\c/\b\f\n\r\t\x01\x1f\0\x7f\xc3\xa9", 17);
    assert_string_equal(buf_cstr(&b),
                        "a\\\"b\\\\c/\\b\\f\\n\\r\\t\\u0001\\u001f\\u0000\\u007f\xc3\xa9");
    buf_finish(&b);
}

static void json_comes_back(void **state)
{
    (void)state;
    for (int c = 0; c < 0x80; c++) {
        const char text[] = {'<', (char)c, (char)c, '>'};
        struct buf b = BUF_INIT;
        buf_byte(&b, '"');
        buf_json(&b, text, sizeof text);
        buf_byte(&b, '"');
        json_t *value = json_loadb(b.data, b.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        assert_non_null(value);
        assert_int_equal(json_string_length(value), sizeof text);
        assert_memory_equal(json_string_value(value), text, sizeof text);
        json_decref(value);
        buf_finish(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(starts_empty),           cmocka_unit_test(appends),
        cmocka_unit_test(reset_keeps_the_memory), cmocka_unit_test(reserve_is_room),
        cmocka_unit_test(failure_sticks),         cmocka_unit_test(consumes),
        cmocka_unit_test(against_an_array),       cmocka_unit_test(json_escapes),
        cmocka_unit_test(json_comes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
