#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "tickerd/broker/recent_gaps.h"

#define SECOND ((uint64_t)1000000)
#define START (UINT64_C(1700000000) * SECOND)

static void note(struct recent_gaps *r, uint64_t at, enum gap_reason reason, const char *channel,
                 size_t len)
{
    struct name *name = channel == NULL ? NULL : name_create(channel, len);
    recent_gaps_note(r, at, reason, name);
    name_unref(name);
}

static void expect(const struct recent_gap *g, uint64_t at, enum gap_reason reason,
                   const char *channel, uint64_t clients)
{
    assert_int_equal(g->at_us, at);
    assert_int_equal(g->reason, reason);
    assert_int_equal(g->clients, clients);
    if (channel == NULL)
        assert_null(g->channel);
    else
        assert_memory_equal(g->channel->bytes, channel, g->channel->len);
}

static void test_equal_ones_of_a_second_are_one(void **state)
{
    (void)state;
    struct recent_gaps r;
    struct recent_gap out[RECENT_GAPS];
    recent_gaps_init(&r);
    assert_int_equal(recent_gaps_merge(&r, out, 0), 0);
    for (uint64_t i = 0; i < 1000; i++)
        note(&r, START + i * 999, GAP_UPSTREAM, NULL, 0);
    note(&r, START + 5, GAP_EVICTED, NULL, 0);
    note(&r, START + 6, GAP_EVICTED, "a", 1);
    note(&r, START + 7, GAP_UPSTREAM, NULL, 0);
    note(&r, START + SECOND, GAP_EVICTED, "a", 1);
    size_t n = recent_gaps_merge(&r, out, 0);
    assert_int_equal(n, 4);
    expect(&out[0], START + SECOND, GAP_EVICTED, "a", 1);
    expect(&out[1], START + 6, GAP_EVICTED, "a", 1);
    expect(&out[2], START + 5, GAP_EVICTED, NULL, 1);
    expect(&out[3], START, GAP_UPSTREAM, NULL, 1001);
    recent_gaps_release(out, n);
    recent_gaps_finish(&r);
}

static void test_the_oldest_go(void **state)
{
    (void)state;
    struct recent_gaps r;
    struct recent_gap out[RECENT_GAPS];
    char name[16];
    recent_gaps_init(&r);
    for (unsigned i = 0; i < 3 * RECENT_GAPS; i++) {
        size_t len = (size_t)snprintf(name, sizeof name, "c%u", i);
        note(&r, START + i, GAP_SLOW, name, len);
    }
    size_t n = recent_gaps_merge(&r, out, 0);
    assert_int_equal(n, RECENT_GAPS);
    for (size_t i = 0; i < n; i++) {
        (void)snprintf(name, sizeof name, "c%u", (unsigned)(3 * RECENT_GAPS - 1 - i));
        expect(&out[i], START + 3 * RECENT_GAPS - 1 - i, GAP_SLOW, name, 1);
    }
    recent_gaps_release(out, n);
    recent_gaps_finish(&r);
}

/* What several workers noted is one list, in order, and what is the same is added up. */
static void test_of_several_workers(void **state)
{
    (void)state;
    struct recent_gaps r[3];
    struct recent_gap out[RECENT_GAPS];
    for (size_t w = 0; w < 3; w++) {
        recent_gaps_init(&r[w]);
        for (uint64_t i = 0; i < 40; i++)
            note(&r[w], START + (3 * i + w) * SECOND, GAP_OVERSIZE, "x", 1);
        note(&r[w], START + 1000 * SECOND + w, GAP_UPSTREAM, NULL, 0);
    }
    size_t n = 0;
    for (size_t w = 0; w < 3; w++)
        n = recent_gaps_merge(&r[w], out, n);
    assert_int_equal(n, RECENT_GAPS);
    assert_int_equal(out[0].clients, 3);
    assert_int_equal(out[0].reason, GAP_UPSTREAM);
    for (size_t i = 1; i < n; i++)
        expect(&out[i], START + (120 - i) * SECOND, GAP_OVERSIZE, "x", 1);
    recent_gaps_release(out, n);
    for (size_t w = 0; w < 3; w++)
        recent_gaps_finish(&r[w]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equal_ones_of_a_second_are_one),
        cmocka_unit_test(test_the_oldest_go),
        cmocka_unit_test(test_of_several_workers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
