#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "prng.h"
#include "tickerd/base/list.h"

struct item {
    int number;
    struct link link;
};

static int number_of(const struct link *l)
{
    return container_of(l, const struct item, link)->number;
}

/* The list holds exactly these numbers, read in both directions. */
static void expect(const struct link *list, const int *numbers, size_t n)
{
    const struct link *l = list->next;
    for (size_t i = 0; i < n; i++, l = l->next) {
        assert_ptr_not_equal(l, list);
        assert_int_equal(number_of(l), numbers[i]);
    }
    assert_ptr_equal(l, list);
    l = list->prev;
    for (size_t i = n; i-- > 0; l = l->prev)
        assert_int_equal(number_of(l), numbers[i]);
    assert_ptr_equal(l, list);
    assert_int_equal(list_empty(list), n == 0);
    assert_true((list_first(list) == NULL) == (n == 0));
    if (n > 0)
        assert_int_equal(number_of(list_first(list)), numbers[0]);
}

static void pushes_and_removes(void **state)
{
    (void)state;
    struct link list;
    struct item items[4];
    list_init(&list);
    expect(&list, NULL, 0);
    for (int i = 0; i < 4; i++) {
        items[i].number = i;
        list_init(&items[i].link);
        assert_true(list_empty(&items[i].link));
        list_push(&list, &items[i].link);
    }
    expect(&list, (int[]){0, 1, 2, 3}, 4);
    list_remove(&items[1].link);
    expect(&list, (int[]){0, 2, 3}, 3);
    list_remove(&items[1].link);
    expect(&list, (int[]){0, 2, 3}, 3);
    list_insert(&items[2].link, &items[1].link);
    expect(&list, (int[]){0, 1, 2, 3}, 4);
    list_remove(&items[3].link);
    list_insert(list.next, &items[3].link);
    expect(&list, (int[]){3, 0, 1, 2}, 4);
    for (int i = 0; i < 4; i++)
        list_remove(&items[i].link);
    expect(&list, NULL, 0);
}

static void splices(void **state)
{
    (void)state;
    struct link a;
    struct link b;
    struct item items[4];
    list_init(&a);
    list_init(&b);
    list_splice(&a, &b);
    expect(&a, NULL, 0);
    for (int i = 0; i < 4; i++) {
        items[i].number = i;
        list_push(i < 2 ? &b : &a, &items[i].link);
    }
    list_splice(&a, &b);
    expect(&a, (int[]){2, 3, 0, 1}, 4);
    expect(&b, NULL, 0);
    list_splice(&a, &b);
    expect(&a, (int[]){2, 3, 0, 1}, 4);
    list_splice(&b, &a);
    expect(&b, (int[]){2, 3, 0, 1}, 4);
    expect(&a, NULL, 0);
}

static void walk_may_free(void **state)
{
    (void)state;
    struct link list;
    int next = 0;
    list_init(&list);
    for (int i = 0; i < 10; i++) {
        struct item *item = malloc(sizeof *item);
        assert_non_null(item);
        item->number = i;
        list_push(&list, &item->link);
    }
    list_each(&list, it) {
        assert_int_equal(number_of(it), next++);
        if (number_of(it) % 2 == 0) {
            list_remove(it);
            free(container_of(it, struct item, link));
        }
    }
    assert_int_equal(next, 10);
    expect(&list, (int[]){1, 3, 5, 7, 9}, 5);
    list_each(&list, it) {
        list_remove(it);
        free(container_of(it, struct item, link));
    }
    expect(&list, NULL, 0);
    list_each(&list, it)
        fail_msg("an empty list has no element %p", (void *)it);
}

/* Moving to the tail again and again, as a list ordered by time is used, against an array. */
static void against_an_array(void **state)
{
    (void)state;
    enum { ITEMS = 20 };
    struct link list;
    struct item items[ITEMS];
    int order[ITEMS];
    struct prng r = {.state = 43};
    list_init(&list);
    for (int i = 0; i < ITEMS; i++) {
        order[i] = items[i].number = i;
        list_push(&list, &items[i].link);
    }
    for (int round = 0; round < 5000; round++) {
        size_t at = prng_below(&r, ITEMS);
        int moved = order[at];
        for (; at + 1 < ITEMS; at++)
            order[at] = order[at + 1];
        order[ITEMS - 1] = moved;
        list_remove(&items[moved].link);
        list_push(&list, &items[moved].link);
        expect(&list, order, ITEMS);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pushes_and_removes),
        cmocka_unit_test(splices),
        cmocka_unit_test(walk_may_free),
        cmocka_unit_test(against_an_array),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
