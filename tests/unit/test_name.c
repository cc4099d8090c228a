#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <string.h>

#include "broker_util.h"

enum { THREADS = 4, TURNS = 20000 };

static void keeps_its_bytes(void **state)
{
    (void)state;
    const char bytes[] = {'a', '\0', 'b'};
    struct name *n = name_create(bytes, sizeof bytes);
    assert_non_null(n);
    assert_int_equal(n->len, 3);
    assert_memory_equal(n->bytes, bytes, 3);
    name_unref(n);
    n = name_create("", 0);
    assert_int_equal(n->len, 0);
    name_unref(n);
}

static void nothing_is_allowed(void **state)
{
    (void)state;
    assert_null(name_ref(NULL));
    name_unref(NULL);
}

static void compares(void **state)
{
    (void)state;
    struct name *n[] = {make_name("news"), make_name("news"), make_name("new"), make_name("newt"),
                        make_name("")};
    assert_true(name_equal(n[0], n[0]));
    assert_true(name_equal(n[0], n[1]));
    assert_false(name_equal(n[0], n[2]));
    assert_false(name_equal(n[2], n[0]));
    assert_false(name_equal(n[0], n[3]));
    assert_false(name_equal(n[0], n[4]));
    assert_false(name_equal(n[4], NULL));
    assert_false(name_equal(NULL, n[0]));
    assert_true(name_equal(NULL, NULL));
    unref_names(n, 5);
}

static void *churn(void *arg)
{
    struct name *n = arg;
    for (int i = 0; i < TURNS; i++)
        name_unref(name_ref(n));
    name_unref(n);
    return NULL;
}

/* Any thread may drop the last reference: the leak checker or a double free would tell. */
static void counts_across_threads(void **state)
{
    (void)state;
    struct name *n = make_name("shared");
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, churn, name_ref(n)), 0);
    name_unref(n);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_its_bytes),
        cmocka_unit_test(nothing_is_allowed),
        cmocka_unit_test(compares),
        cmocka_unit_test(counts_across_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
