#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "tickerd/base/buf.h"
#include "tickerd/base/err.h"
#include "tickerd/wire/pack.h"

static int append(void *ctx, const void *bytes, size_t len)
{
    buf_append(ctx, bytes, len);
    return ERR_OK;
}

static struct pack *begin(struct buf *out)
{
    struct pack *p = malloc(sizeof *p);
    assert_non_null(p);
    pack_init(p, append, out);
    return p;
}

static void end(struct pack *p)
{
    assert_int_equal(pack_end(p), ERR_OK);
    free(p);
}

static void test_numbers_are_little_endian_and_the_sum_is_known(void **state)
{
    (void)state;
    struct buf out = BUF_INIT;
    struct pack *p = begin(&out);
    pack_bytes(p, "123456789", 9);
    end(p);
    /* The check value of CRC-32, as every description of it has it. */
    assert_memory_equal(out.data + 9, "\x26\x39\xf4\xcb", 4);
    buf_reset(&out);
    p = begin(&out);
    pack_u8(p, 0x01);
    pack_u16(p, 0x0302);
    pack_u32(p, 0x07060504);
    pack_u64(p, UINT64_C(0x0f0e0d0c0b0a0908));
    end(p);
    assert_int_equal(out.len, 15 + PACK_TRAILER);
    for (int i = 0; i < 15; i++)
        assert_int_equal(out.data[i], i + 1);
    struct unpack u;
    unpack_init(&u, out.data, out.len);
    assert_int_equal(unpack_u8(&u), 0x01);
    assert_true(unpack_intact(&u)); /* at any time, and of everything */
    assert_int_equal(unpack_u16(&u), 0x0302);
    assert_int_equal(unpack_u32(&u), 0x07060504);
    assert_true(unpack_u64(&u) == UINT64_C(0x0f0e0d0c0b0a0908));
    assert_int_equal(unpack_left(&u), 0);
    assert_false(u.failed);
    buf_finish(&out);
}

static void test_more_than_a_buffer(void **state)
{
    (void)state;
    static char block[1000];
    struct buf out = BUF_INIT;
    struct pack *p = begin(&out);
    for (int i = 0; i < 500; i++) {
        memset(block, i, sizeof block);
        pack_bytes(p, block, sizeof block);
    }
    end(p);
    struct unpack u;
    unpack_init(&u, out.data, out.len);
    assert_true(unpack_intact(&u));
    for (int i = 0; i < 500; i++) {
        const char *bytes = unpack_bytes(&u, sizeof block);
        assert_non_null(bytes);
        assert_int_equal(bytes[sizeof block - 1], (char)i);
    }
    assert_int_equal(unpack_left(&u), 0);
    buf_finish(&out);
}

static void test_what_is_not_there_is_zero_from_then_on(void **state)
{
    (void)state;
    struct unpack u;
    unpack_init(&u, "\1\2\3\4\5", 5);
    assert_int_equal(unpack_u32(&u), 0x04030201);
    assert_int_equal(unpack_u16(&u), 0);
    assert_true(u.failed);
    assert_int_equal(unpack_u8(&u), 0); /* though there is a byte left */
    assert_null(unpack_bytes(&u, 0));
    unpack_init(&u, "", 0);
    assert_false(unpack_intact(&u));
}

static void test_counts_are_bounded_by_what_is_left(void **state)
{
    (void)state;
    struct unpack u;
    unpack_init(&u, "\2\0\0\0abcdef", 10);
    assert_int_equal(unpack_count(&u, 3), 2);
    assert_false(u.failed);
    unpack_init(&u, "\3\0\0\0abcdef", 10);
    assert_int_equal(unpack_count(&u, 3), 0);
    assert_true(u.failed);
}

static int calls;

static int refuse(void *ctx, const void *bytes, size_t len)
{
    (void)ctx;
    (void)bytes;
    (void)len;
    calls++;
    return ERR_SYSTEM;
}

static void test_an_error_sticks(void **state)
{
    (void)state;
    static char block[PACK_BUFFER];
    struct pack *p = begin(NULL);
    pack_init(p, refuse, NULL);
    for (int i = 0; i < 10; i++)
        pack_bytes(p, block, sizeof block);
    assert_int_equal(pack_end(p), ERR_SYSTEM);
    assert_int_equal(calls, 1);
    free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers_are_little_endian_and_the_sum_is_known),
        cmocka_unit_test(test_more_than_a_buffer),
        cmocka_unit_test(test_what_is_not_there_is_zero_from_then_on),
        cmocka_unit_test(test_counts_are_bounded_by_what_is_left),
        cmocka_unit_test(test_an_error_sticks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
