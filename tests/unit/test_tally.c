#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "prng.h"
#include "tickerd/base/clock.h"
#include "tickerd/daemon/tally.h"

enum { BUDGET = 16000 };

static const uint64_t minute = (uint64_t)60 * US_PER_S;

static struct tally_entry *entry(struct tally *t, const char *text)
{
    struct netaddr a = {.is_unix = strcmp(text, "unix") == 0};
    assert_true(a.is_unix || netaddr_parse(&a, text, strlen(text)));
    struct tally_entry *e = tally_address(t, &a);
    assert_non_null(e);
    return e;
}

static void test_who_shares_an_entry(void **state)
{
    (void)state;
    struct tally *t = tally_create();
    static const char *const same[][2] = {
        {"192.0.2.1", "::ffff:192.0.2.1"},
        {"2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff"},
        {"unix", "unix"},
    };
    static const char *const others[] = {"192.0.2.2", "2001:db8:1:3::1",
                                         "2001:db8:1:1::", "::", "::1:0:0:0:1"};
    struct tally_entry *held[3][2], *rest[5];
    for (int i = 0; i < 3; i++) {
        held[i][0] = entry(t, same[i][0]);
        held[i][1] = entry(t, same[i][1]);
        assert_ptr_equal(held[i][0], held[i][1]);
    }
    for (int i = 0; i < 5; i++)
        rest[i] = entry(t, others[i]);
    assert_int_equal(tally_count(t), 3 + 5);
    struct tally_entry *s = tally_subject(t, "192", 3), *none = tally_subject(t, "", 0);
    assert_ptr_equal(s, tally_subject(t, "192.0", 3));
    assert_ptr_not_equal(none, held[2][0]);
    assert_int_equal(tally_count(t), 3 + 5 + 2);
    for (int i = 0; i < 3; i++) {
        tally_give_back(t, held[i][0], 1);
        tally_give_back(t, held[i][1], 1);
    }
    for (int i = 0; i < 5; i++)
        tally_give_back(t, rest[i], 1);
    tally_give_back(t, s, 1);
    tally_give_back(t, s, 1);
    tally_give_back(t, none, 1);
    assert_int_equal(tally_count(t), 0);
    tally_destroy(t);
}

static void test_counts(void **state)
{
    (void)state;
    struct tally *t = tally_create();
    struct tally_entry *e = entry(t, "192.0.2.1");
    for (int i = 0; i < 3; i++)
        assert_true(tally_enter(t, e, TALLY_STREAMS, 3));
    assert_false(tally_enter(t, e, TALLY_STREAMS, 3));
    assert_true(tally_enter(t, e, TALLY_STREAMS, 0));
    assert_true(tally_enter(t, e, TALLY_REQUESTS, 1));
    assert_false(tally_enter(t, e, TALLY_REQUESTS, 1));
    tally_leave(t, e, TALLY_STREAMS);
    assert_false(tally_enter(t, e, TALLY_STREAMS, 3));
    tally_leave(t, e, TALLY_STREAMS);
    assert_true(tally_enter(t, e, TALLY_STREAMS, 3));
    tally_give_back(t, e, 1);
    tally_destroy(t);
}

static void test_budget(void **state)
{
    (void)state;
    struct tally *t = tally_create();
    struct tally_entry *e = entry(t, "192.0.2.1");
    uint64_t now = 7 * US_PER_S;
    assert_int_equal(tally_replay_begin(t, e, now), 0);
    tally_replay_spend(t, e, BUDGET, BUDGET / 2, now);
    tally_leave(t, e, TALLY_REPLAYS);
    assert_int_equal(tally_replay_begin(t, e, now), 0); /* half is left */
    tally_replay_spend(t, e, BUDGET, BUDGET, now);      /* overdrawn by the other half */
    tally_leave(t, e, TALLY_REPLAYS);
    uint64_t wait = tally_replay_begin(t, e, now);
    assert_in_range(wait, minute / 2, minute / 2 + 10);
    assert_true(tally_replay_begin(t, e, now + wait - 2) > 0);
    assert_int_equal(tally_replay_begin(t, e, now + wait), 0);
    tally_leave(t, e, TALLY_REPLAYS);
    tally_replay_spend(t, e, BUDGET, SIZE_MAX / 2, now); /* nobody waits for ever */
    assert_in_range(tally_replay_begin(t, e, now), 14 * minute, 16 * minute);
    tally_give_back(t, e, now);
    assert_int_equal(tally_count(t), 1); /* a new connection does not bring a new budget */
    e = entry(t, "192.0.2.1");
    assert_true(tally_replay_begin(t, e, now) > 0);
    tally_give_back(t, e, now);
    e = entry(t, "192.0.2.2");
    tally_give_back(t, e, now + 17 * minute);
    assert_int_equal(tally_count(t), 0);
    tally_destroy(t);
}

/* A crowd that comes at once does not each get the whole budget. */
static void test_a_crowd(void **state)
{
    (void)state;
    struct tally *t = tally_create();
    struct tally_entry *e = entry(t, "192.0.2.1");
    int begun = 0;
    while (tally_replay_begin(t, e, 5) == 0)
        begun++;
    assert_int_equal(begun, 16);
    tally_leave(t, e, TALLY_REPLAYS); /* one has caught up, at little cost */
    assert_int_equal(tally_replay_begin(t, e, 5), 0);
    tally_give_back(t, e, 5);
    tally_destroy(t);
}

/* Addresses that have spent something are kept for it, but not any number of them. */
static void test_bounded(void **state)
{
    (void)state;
    enum { MANY = 70000, MOST = 65536 };
    struct tally *t = tally_create();
    for (int i = 0; i < MANY; i++) {
        char name[16];
        int n = snprintf(name, sizeof name, "%d", i);
        struct tally_entry *e = tally_subject(t, name, (size_t)n);
        assert_int_equal(tally_replay_begin(t, e, 5), 0);
        tally_replay_spend(t, e, BUDGET, BUDGET, 5);
        tally_leave(t, e, TALLY_REPLAYS);
        tally_give_back(t, e, 5);
    }
    assert_in_range(tally_count(t), MOST, MOST + 1);
    tally_destroy(t);
}

static void *rush(void *arg)
{
    struct tally *t = arg;
    struct prng r = {(uint64_t)(uintptr_t)&r};
    for (int i = 0; i < 20000; i++) {
        char name = (char)('a' + prng_below(&r, 4));
        struct tally_entry *e = tally_subject(t, &name, 1);
        if (tally_enter(t, e, TALLY_STREAMS, 2))
            tally_leave(t, e, TALLY_STREAMS);
        tally_give_back(t, e, 1);
    }
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    struct tally *t = tally_create();
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, rush, t), 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(tally_count(t), 0);
    tally_destroy(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_who_shares_an_entry),
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_budget),
        cmocka_unit_test(test_a_crowd),
        cmocka_unit_test(test_bounded),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
