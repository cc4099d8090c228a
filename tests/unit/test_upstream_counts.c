/* Whatever overlaps and in whatever order it comes and goes: each message counts once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "prng.h"
#include "upstream_rig.h"

static const struct {
    const char *name;
    bool pattern;
} topics[] = {{"ab", false}, {"abc", false}, {"x", false},   {"b", false},  {"ab*", true},
              {"a*", true},  {"*", true},    {"abc?", true}, {"[ab]", true}};

enum { TOPICS = sizeof topics / sizeof topics[0] };

/* Each message counts exactly once if it is covered when it arrives, else once at most: what has
 * been given up may still bring it. Its copies come one right after the other, as Redis sends
 * them. */
static void publish_and_count(struct upstream_rig *r, const char *channel)
{
    (void)fake_source_deliver(&r->source, SIZE_MAX);
    size_t copies = fake_source_publish(&r->source, channel, strlen(channel), "m", 1);
    bool covered = rig_covers(r, channel);
    buf_reset(&r->accepted);
    assert_int_equal(fake_source_deliver(&r->source, SIZE_MAX), copies);
    char once[32];
    (void)snprintf(once, sizeof once, "%s=m ", channel);
    if (covered || r->accepted.len > 0)
        rig_expect(r, once);
    assert_true(!covered || copies > 0);
}

static void random_step(struct upstream_rig *r, struct prng *rng, uint64_t *now)
{
    size_t t = prng_below(rng, TOPICS);
    *now += prng_below(rng, 3) * SECOND;
    switch (prng_below(rng, 8)) {
    case 0:
        rig_want(r, topics[t].name, topics[t].pattern);
        break;
    case 1:
        rig_unwant(r, topics[t].name, topics[t].pattern, *now);
        break;
    case 2:
        upstream_tick(&r->up, *now + prng_below(rng, 80) * SECOND);
        break;
    case 3:
        (void)fake_source_serve(&r->source, 1 + prng_below(rng, 3));
        break;
    case 4:
        (void)fake_source_deliver(&r->source, 1);
        break;
    case 5:
        if (prng_below(rng, 60) == 0) {
            fake_source_lose(&r->source, 0);
            fake_source_connect(&r->source);
        }
        break;
    default:
        publish_and_count(r, topics[prng_below(rng, 4)].name);
        break;
    }
}

static void test_every_message_counts_once(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct upstream_rig r;
        struct prng rng = {seed};
        uint64_t now = 1000 * (uint64_t)SECOND;
        upstream_rig_init(&r, "on-demand", "");
        for (int i = 0; i < 700; i++)
            random_step(&r, &rng, &now);
        upstream_rig_finish(&r);
    }
}

/* Exact and patterns, acknowledged in each order: the count is one from the first of them on. */
static void test_every_order_of_acknowledgements(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        bool pattern;
    } all[3] = {{"abc", false}, {"ab*", true}, {"a*", true}};
    static const int orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
                                     {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    for (size_t up = 0; up < 6; up++) {
        for (size_t down = 0; down < 6; down++) {
            struct upstream_rig r;
            upstream_rig_init(&r, "on-demand", "");
            for (int i = 0; i < 3; i++) {
                publish_and_count(&r, "abc");
                rig_want(&r, all[orders[up][i]].name, all[orders[up][i]].pattern);
                publish_and_count(&r, "abc");
                fake_source_settle(&r.source);
            }
            for (int i = 0; i < 3; i++) {
                publish_and_count(&r, "abc");
                rig_end_now(&r, all[orders[down][i]].name, all[orders[down][i]].pattern, 0);
                publish_and_count(&r, "abc");
                fake_source_settle(&r.source);
            }
            publish_and_count(&r, "abc");
            upstream_rig_finish(&r);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_message_counts_once),
        cmocka_unit_test(test_every_order_of_acknowledgements),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
