/* Rights by subject and by their ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "config_util.h"
#include "grant_util.h"
#include "prng.h"
#include "tickerd/base/clock.h"
#include "tickerd/broker/rights.h"

enum { COUNT = 300 };

struct fixture {
    struct config *config;
    struct rights rights;
};

static void start(struct fixture *f)
{
    f->config = build_ok(NULL, NULL, NULL);
    rights_init(&f->rights, f->config);
}

static void finish(struct fixture *f)
{
    assert_int_equal(strmap_count(&f->rights.subjects), 0);
    assert_int_equal(f->rights.end_count, 0);
    rights_finish(&f->rights);
    config_destroy(f->config);
}

static size_t count_of(const struct fixture *f, const char *sub)
{
    size_t n = 0;
    struct link *rights = rights_of(&f->rights, sub, strlen(sub));
    if (rights == NULL)
        return 0;
    list_each(rights, it) {
        assert_string_equal(grant_subject(container_of(it, struct right, peers)->grant), sub);
        n++;
    }
    return n;
}

static void subjects(void **state)
{
    (void)state;
    struct fixture f;
    start(&f);
    struct right *a = right_create(&f.rights, grant_of("x", "anna", 0), NULL);
    struct right *b = right_create(&f.rights, grant_of("x", "ben", 0), NULL);
    struct right *a2 = right_create(&f.rights, grant_of("y", "anna", 0), NULL);
    struct right *nobody = right_create(&f.rights, grant_of("y", NULL, 0), NULL);
    struct right *none = right_create(&f.rights, NULL, NULL);
    assert_int_equal(count_of(&f, "anna"), 2);
    assert_int_equal(count_of(&f, "ben"), 1);
    assert_int_equal(count_of(&f, "ann"), 0);
    assert_int_equal(count_of(&f, ""), 0);
    right_destroy(a); /* whose name the others share */
    assert_int_equal(count_of(&f, "anna"), 1);
    right_destroy(a2);
    assert_null(rights_of(&f.rights, "anna", 4));
    right_destroy(b);
    right_destroy(nobody);
    right_destroy(none);
    right_destroy(NULL);
    finish(&f);
}

/* Against a look at all of them. */
static void ends_in_order(void **state)
{
    (void)state;
    struct prng rng = {.state = 5};
    struct fixture f;
    struct right *rights[COUNT] = {NULL};
    int64_t now = 1000;
    size_t over = 0;
    start(&f);
    for (int step = 0; step < 20000; step++) {
        size_t i = prng_below(&rng, COUNT);
        if (rights[i] == NULL) {
            int64_t exp = prng_below(&rng, 8) == 0 ? 0 : now + (int64_t)prng_below(&rng, 400) - 50;
            rights[i] = right_create(&f.rights, grant_of("x", NULL, exp), NULL);
        } else if (prng_below(&rng, 3) == 0) {
            right_destroy(rights[i]);
            rights[i] = NULL;
        } else if (prng_below(&rng, 30) == 0) {
            now += (int64_t)prng_below(&rng, 200) - 80; /* also back */
        }
        int64_t us = now * US_PER_S + (int64_t)prng_below(&rng, US_PER_S);
        struct right *r;
        while ((r = rights_over(&f.rights, us)) != NULL) {
            assert_true(grant_ends_s(r->grant) <= now);
            for (i = 0; rights[i] != r; i++)
                continue;
            if (prng_below(&rng, 2) == 0) {
                right_settle(r);
                assert_int_equal(r->place, 0);
            }
            right_destroy(r);
            rights[i] = NULL;
            over++;
        }
        for (i = 0; i < COUNT; i++)
            assert_false(rights[i] != NULL && right_is_over(rights[i], us));
    }
    assert_true(over > 1000);
    for (size_t i = 0; i < COUNT; i++)
        right_destroy(rights[i]);
    finish(&f);
}

static void the_end_is_a_moment(void **state)
{
    (void)state;
    struct fixture f;
    start(&f);
    struct right *r = right_create(&f.rights, grant_of("x", NULL, 5000), NULL);
    const int64_t end = 5000 * (int64_t)US_PER_S;
    assert_null(rights_over(&f.rights, end - 1));
    assert_ptr_equal(rights_over(&f.rights, end), r);
    right_settle(r);
    assert_null(rights_over(&f.rights, end));
    right_settle(r); /* once more does no harm */
    assert_true(right_is_over(r, end));
    right_destroy(r);
    r = right_create(&f.rights, grant_of("x", NULL, INT64_MAX / 2), NULL); /* no time reaches it */
    assert_null(rights_over(&f.rights, INT64_MAX));
    right_destroy(r);
    finish(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(subjects),
        cmocka_unit_test(ends_in_order),
        cmocka_unit_test(the_end_is_a_moment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
