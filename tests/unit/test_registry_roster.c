#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/broker/registry_internal.h"
#include "hub_rig.h"
#include "prng.h"
#include "tickerd/base/log.h"

#define SECOND ((uint64_t)1000000)

/* ---- traffic --------------------------------------------------------------------------------- */

static double rate_at(const struct traffic *t, double seconds)
{
    return traffic_rate(t, (uint64_t)(seconds * (double)SECOND));
}

static void assert_about(double found, double expected, double off)
{
    if (found < expected - off || found > expected + off)
        fail_msg("%f is not about %f", found, expected);
}

static void an_even_rate_is_found(void **state)
{
    (void)state;
    struct traffic t = {0};
    for (uint64_t i = 0; i < 5000; i++) /* a hundred a second, for fifty seconds */
        traffic_count(&t, 1000 * SECOND + i * SECOND / 100, 3);
    assert_int_equal(t.messages, 5000);
    assert_int_equal(t.bytes, 15000);
    assert_about(rate_at(&t, 1050), 100, 1);
    assert_about(rate_at(&t, 1055), 50, 1); /* half of the ten seconds were silent */
    assert_about(rate_at(&t, 1060), 0, 0.001);
    assert_about(rate_at(&t, 5000), 0, 0.001);
    for (int tenths = 10205; tenths < 10500; tenths += 7) {
        double at = tenths / 10.0;
        struct traffic again = {0};
        for (uint64_t i = 0; (double)i / 100 < at - 1000; i++)
            traffic_count(&again, 1000 * SECOND + i * SECOND / 100, 3);
        assert_about(rate_at(&again, at), 100, 1);
    }
}

static void silence_is_not_carried_over(void **state)
{
    (void)state;
    struct traffic t = {0};
    assert_about(rate_at(&t, 12345), 0, 0);
    for (int i = 0; i < 100; i++)
        traffic_count(&t, 1000 * SECOND, 1);
    assert_about(rate_at(&t, 1001), 10, 0.01);
    traffic_count(&t, 1025 * SECOND, 1); /* a window in between was empty */
    assert_about(rate_at(&t, 1025), 0.1, 0.01);
}

/* ---- facts ----------------------------------------------------------------------------------- */

static struct channel_facts facts(struct hub_rig *h, const char *name)
{
    struct channel_facts f;
    struct channel_walk w;
    const struct channel *c;
    channel_walk_start(&h->registry, &w);
    while ((c = channel_walk_next(&h->registry, &w)) != NULL) {
        if (channel_name(c)->len == strlen(name) &&
            memcmp(channel_name(c)->bytes, name, strlen(name)) == 0)
            break;
    }
    assert_non_null(c);
    channel_describe(&h->registry, c, &f);
    channel_walk_stop(&w);
    return f;
}

static void facts_are_told(void **state)
{
    (void)state;
    const char *const settings[] = {"history.events=2", "history.age=10s",
                                    "limits.message_bytes=40", NULL};
    struct hub_rig h;
    hubrig_start(&h, settings);
    hubrig_interest(&h, 0, 1, 1, "silent", false);
    struct channel_facts f = facts(&h, "silent");
    assert_int_equal(f.messages + f.kept_events + f.last_us + f.last_id_len, 0);
    hubrig_publish(&h, "a", "1");
    hubrig_publish(&h, "a", "22");
    hubrig_publish(&h, "a", "333");
    f = facts(&h, "a");
    assert_int_equal(f.messages, 3);
    assert_int_equal(f.bytes, 6);
    assert_int_equal(f.kept_events, 2);
    assert_true(f.kept_bytes > 60);
    assert_about(f.rate, 0.3, 0.01);
    struct eventid id;
    assert_int_equal(f.last_id_len, EVENTID_LEN);
    assert_true(eventid_parse(f.last_id, f.last_id_len, &id));
    assert_int_equal(f.last_us, id.seq);
    hubrig_publish(&h, "a", "{\"data\":\"4\",\"id\":\"mine-1\"}");
    f = facts(&h, "a");
    assert_int_equal(f.last_id_len, 6);
    assert_memory_equal(f.last_id, "mine-1", 6);
    uint64_t last = f.last_us;
    hubrig_publish(&h, "a", "far too large, far too large, far too large"); /* counts as well */
    f = facts(&h, "a");
    assert_int_equal(f.messages, 5);
    assert_int_equal(f.last_us, last);
    hubrig_sleep(&h, 15 * SECOND); /* all are too old: what is known is the time */
    f = facts(&h, "a");
    assert_int_equal(f.kept_events + f.kept_bytes, 0);
    assert_int_equal(f.last_us, last);
    assert_int_equal(f.last_id_len, EVENTID_LEN);
    hubrig_finish(&h);
}

/* ---- walking --------------------------------------------------------------------------------- */

enum { CHANNELS = 30 };

static bool is_there(const struct hub_rig *h, size_t i)
{
    char name[8];
    int len = snprintf(name, sizeof name, "c%zu", i);
    return strmap_get(&h->registry.channels, name, (size_t)len) != NULL;
}

static void make(struct hub_rig *h, size_t i)
{
    char name[8];
    int len = snprintf(name, sizeof name, "c%zu", i);
    assert_non_null(channel_get(&h->registry, name, (size_t)len));
}

static void drop(struct hub_rig *h, size_t i)
{
    char name[8];
    int len = snprintf(name, sizeof name, "c%zu", i);
    channel_destroy(&h->registry, strmap_get(&h->registry.channels, name, (size_t)len));
}

static void disturb(struct hub_rig *h, struct prng *p, bool *stayed)
{
    size_t i = prng_below(p, 2 * CHANNELS);
    if (prng_below(p, 3) == 0) {
        channels_sweep(&h->registry, prng_below(p, 5), UINT64_MAX);
    } else if (is_there(h, i)) {
        stayed[i] = false;
        drop(h, i);
    } else {
        make(h, i);
    }
}

/* Against what is known by name: whoever was there all the time comes, and nobody twice. */
static void a_walk_among_changes(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        struct prng p = {seed};
        struct hub_rig h;
        struct channel_walk w;
        const struct channel *c;
        bool stayed[2 * CHANNELS] = {false};
        unsigned times[2 * CHANNELS] = {0};
        hubrig_start(&h, NULL);
        size_t count = prng_below(&p, CHANNELS);
        for (size_t i = 0; i < count; i++) {
            make(&h, i);
            stayed[i] = true;
        }
        channel_walk_start(&h.registry, &w);
        size_t steps = 0;
        while ((c = channel_walk_next(&h.registry, &w)) != NULL) {
            times[strtoul(channel_name(c)->bytes + 1, NULL, 10)]++;
            assert_true(++steps < 1000);
            for (uint64_t k = prng_below(&p, 4); k > 0; k--)
                disturb(&h, &p, stayed);
        }
        channel_walk_stop(&w);
        for (size_t i = 0; i < (size_t)2 * CHANNELS; i++)
            assert_true(!stayed[i] || times[i] == 1);
        hubrig_finish(&h);
    }
}

int main(void)
{
    log_setup(LOG_ERROR, LOG_TEXT);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_even_rate_is_found),
        cmocka_unit_test(silence_is_not_carried_over),
        cmocka_unit_test(facts_are_told),
        cmocka_unit_test(a_walk_among_changes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
