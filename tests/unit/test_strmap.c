#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "prng.h"
#include "tickerd/base/err.h"
#include "tickerd/base/strmap.h"

static void starts_empty(void **state)
{
    (void)state;
    struct strmap m;
    size_t pos = 0;
    strmap_init(&m);
    assert_null(m.slots);
    assert_int_equal(strmap_count(&m), 0);
    assert_null(strmap_get(&m, "a", 1));
    assert_null(strmap_del(&m, "a", 1));
    assert_null(strmap_next(&m, &pos));
    strmap_finish(&m);
    strmap_finish(&m);
}

static void puts_gets_and_deletes(void **state)
{
    (void)state;
    struct strmap m;
    int one = 1;
    int two = 2;
    strmap_init(&m);
    assert_int_equal(strmap_put(&m, "a", 1, &one), 0);
    assert_int_equal(strmap_put(&m, "a", 1, &two), ERR_EXISTS);
    assert_ptr_equal(strmap_get(&m, "a", 1), &one);
    assert_int_equal(strmap_put(&m, "", 0, &two), 0);
    assert_int_equal(strmap_put(&m, "a\0", 2, &two), 0);
    assert_int_equal(strmap_put(&m, "a\0b", 3, &one), 0);
    assert_ptr_equal(strmap_get(&m, "", 0), &two);
    assert_ptr_equal(strmap_get(&m, "a\0", 2), &two);
    assert_null(strmap_get(&m, "a\0c", 3));
    assert_int_equal(strmap_count(&m), 4);
    assert_ptr_equal(strmap_del(&m, "a", 1), &one);
    assert_null(strmap_del(&m, "a", 1));
    assert_null(strmap_get(&m, "a", 1));
    assert_int_equal(strmap_count(&m), 3);
    assert_int_equal(strmap_put(&m, "a", 1, &two), 0);
    assert_ptr_equal(strmap_get(&m, "a", 1), &two);
    strmap_finish(&m);
    assert_int_equal(strmap_count(&m), 0);
}

enum { NAMES = 3000 };

struct name {
    char key[16];
    size_t len;
    bool present;
};

static struct name *make_names(void)
{
    struct name *names = calloc(NAMES, sizeof *names);
    assert_non_null(names);
    for (int i = 0; i < NAMES; i++)
        names[i].len = (size_t)snprintf(names[i].key, sizeof names[i].key, "user.%d", i);
    return names;
}

/* Every value once, and no other. */
static void expect_walk(const struct strmap *m, const struct name *names, size_t count)
{
    unsigned char *seen = calloc(NAMES, 1);
    size_t pos = 0;
    size_t walked = 0;
    assert_non_null(seen);
    for (const struct name *n; (n = strmap_next(m, &pos)) != NULL; walked++) {
        assert_true(n->present);
        assert_int_equal(seen[n - names]++, 0);
    }
    assert_int_equal(walked, count);
    assert_int_equal(strmap_count(m), count);
    free(seen);
}

/* Random puts and deletions against a flag per name; the share of puts swings, so that the table
 * grows and shrinks many times. */
static void against_flags(void **state)
{
    (void)state;
    struct strmap m;
    struct name *names = make_names();
    struct prng r = {.state = 47};
    size_t count = 0;
    strmap_init(&m);
    for (int round = 0; round < 200000; round++) {
        struct name *n = &names[prng_below(&r, NAMES)];
        size_t swing = (size_t)(round / 10000) % 2 == 0 ? 90 : 10;
        if (prng_below(&r, 100) < swing) {
            assert_int_equal(strmap_put(&m, n->key, n->len, n), n->present ? ERR_EXISTS : 0);
            count += !n->present;
            n->present = true;
        } else {
            assert_ptr_equal(strmap_del(&m, n->key, n->len), n->present ? n : NULL);
            count -= n->present;
            n->present = false;
        }
        n = &names[prng_below(&r, NAMES)];
        assert_ptr_equal(strmap_get(&m, n->key, n->len), n->present ? n : NULL);
        if (round % 5000 == 0)
            expect_walk(&m, names, count);
    }
    for (int i = 0; i < NAMES; i++)
        assert_ptr_equal(strmap_get(&m, names[i].key, names[i].len),
                         names[i].present ? &names[i] : NULL);
    strmap_finish(&m);
    free(names);
}

/* A burst of names must not keep its memory once they are gone. */
static void shrinks(void **state)
{
    (void)state;
    struct strmap m;
    struct name *names = make_names();
    strmap_init(&m);
    for (int i = 0; i < NAMES; i++)
        assert_int_equal(strmap_put(&m, names[i].key, names[i].len, &names[i]), 0);
    assert_true(m.mask + 1 >= NAMES * 3 / 2);
    for (int i = 1; i < NAMES; i++)
        assert_ptr_equal(strmap_del(&m, names[i].key, names[i].len), &names[i]);
    assert_true(m.mask + 1 <= 16);
    assert_ptr_equal(strmap_get(&m, names[0].key, names[0].len), &names[0]);
    assert_ptr_equal(strmap_del(&m, names[0].key, names[0].len), &names[0]);
    assert_null(m.slots);
    assert_int_equal(strmap_put(&m, names[0].key, names[0].len, &names[0]), 0);
    strmap_finish(&m);
    free(names);
}

/* Two maps place the same names differently: the key is random. */
static void order_is_not_foreseeable(void **state)
{
    (void)state;
    struct strmap m[2];
    struct name *names = make_names();
    size_t pos[2] = {0, 0};
    int differ = 0;
    for (int k = 0; k < 2; k++) {
        strmap_init(&m[k]);
        for (int i = 0; i < NAMES; i++)
            assert_int_equal(strmap_put(&m[k], names[i].key, names[i].len, &names[i]), 0);
    }
    for (int i = 0; i < NAMES; i++)
        differ += strmap_next(&m[0], &pos[0]) != strmap_next(&m[1], &pos[1]);
    assert_true(differ > NAMES / 2);
    strmap_finish(&m[0]);
    strmap_finish(&m[1]);
    free(names);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(starts_empty),
        cmocka_unit_test(puts_gets_and_deletes),
        cmocka_unit_test(against_flags),
        cmocka_unit_test(shrinks),
        cmocka_unit_test(order_is_not_foreseeable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
