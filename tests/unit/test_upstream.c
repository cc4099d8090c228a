#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config_util.h"
#include "fake_source.h"
#include "prng.h"
#include "tickerd/base/err.h"
#include "tickerd/broker/upstream.h"

enum { SECOND = 1000000 };

struct rig {
    struct config *config;
    struct fake_source source;
    struct upstream up;
    uint64_t clock;
    struct buf accepted; /* "name=payload " of each message that counted */
};

static void on_message(void *ctx, const char *pattern, size_t pattern_len, const char *channel,
                       size_t channel_len, const char *payload, size_t payload_len)
{
    struct rig *r = ctx;
    size_t len = 0;
    const char *name = upstream_accept(&r->up, pattern, pattern_len, channel, channel_len, &len);
    if (name == NULL)
        return;
    buf_append(&r->accepted, name, len);
    buf_byte(&r->accepted, '=');
    buf_append(&r->accepted, payload, payload_len);
    buf_byte(&r->accepted, ' ');
}

static void on_acked(void *ctx, enum source_sub kind, const char *name, size_t len, bool on)
{
    struct rig *r = ctx;
    struct upstream_topic t;
    if (upstream_acked(&r->up, kind, name, len, on, ++r->clock, &t))
        upstream_reap(&r->up, &t);
}

static void on_refused(void *ctx, enum source_sub kind, const char *name, size_t len,
                       const char *error)
{
    (void)ctx;
    (void)kind;
    (void)name;
    (void)len;
    (void)error;
}

static void on_up(void *ctx)
{
    (void)ctx;
}

static void on_down(void *ctx, const char *reason, unsigned long long last_heard_us)
{
    (void)reason;
    (void)last_heard_us;
    upstream_down(&((struct rig *)ctx)->up);
}

static const struct source_events events = {.on_message = on_message,
                                            .on_acked = on_acked,
                                            .on_refused = on_refused,
                                            .on_up = on_up,
                                            .on_down = on_down};

static void rig_make(struct rig *r, const char *mode, const char *prefix)
{
    char set[2][64];
    (void)snprintf(set[0], sizeof set[0], "redis.mode=%s", mode);
    (void)snprintf(set[1], sizeof set[1], "redis.prefix=%s", prefix);
    const char *settings[] = {set[0], set[1], "redis.linger=60s", NULL};
    memset(r, 0, sizeof *r);
    r->config = build_ok(NULL, NULL, settings);
    fake_source_init(&r->source, &events, r);
    assert_int_equal(upstream_init(&r->up, &r->source.source, r->config), ERR_OK);
    fake_source_connect(&r->source);
}

static void rig_free(struct rig *r)
{
    r->source.source.ops->close(&r->source.source);
    upstream_finish(&r->up);
    fake_source_finish(&r->source);
    config_destroy(r->config);
    buf_finish(&r->accepted);
}

static void want(struct rig *r, const char *topic, bool pattern)
{
    assert_int_equal(upstream_want(&r->up, pattern, topic, strlen(topic)), ERR_OK);
}

static void unwant(struct rig *r, const char *topic, bool pattern, uint64_t now)
{
    upstream_unwant(&r->up, pattern, topic, strlen(topic), now);
}

static void publish(struct rig *r, const char *channel, const char *payload)
{
    (void)fake_source_publish(&r->source, channel, strlen(channel), payload, strlen(payload));
    (void)fake_source_deliver(&r->source, SIZE_MAX);
}

static void expect(struct rig *r, const char *accepted)
{
    assert_string_equal(buf_cstr(&r->accepted), accepted);
    buf_reset(&r->accepted);
}

static bool covers(const struct rig *r, const char *name)
{
    return upstream_covers(&r->up, name, strlen(name));
}

/* ---- mode all -------------------------------------------------------------------------------- */

static void test_all_is_one_pattern(void **state)
{
    (void)state;
    struct rig r;
    rig_make(&r, "all", "sse:");
    assert_true(fake_source_wants(&r.source, SOURCE_PATTERN, "sse:*"));
    want(&r, "a", false);
    want(&r, "a*", true);
    unwant(&r, "a", false, 0);
    unwant(&r, "a", false, 0);
    upstream_tick(&r.up, 1000 * (uint64_t)SECOND);
    assert_int_equal(fake_source_wanted_count(&r.source), 1);
    assert_false(covers(&r, "a"));
    fake_source_settle(&r.source);
    assert_true(covers(&r, "a"));
    assert_true(upstream_covers_pattern(&r.up, "x*", 2));
    publish(&r, "sse:a", "1");
    publish(&r, "sse:", "2");
    publish(&r, "ssx:a", "3");
    expect(&r, "a=1 =2 ");
    size_t len;
    assert_null(upstream_accept(&r.up, NULL, 0, "ss", 2, &len));
    assert_null(upstream_accept(&r.up, NULL, 0, "xxe:a", 5, &len));
    fake_source_lose(&r.source, 0);
    assert_false(covers(&r, "a"));
    rig_free(&r);
}

static void test_the_prefix_is_literal(void **state)
{
    (void)state;
    struct rig r;
    rig_make(&r, "all", "a[b]*?\\:");
    assert_true(fake_source_wants(&r.source, SOURCE_PATTERN, "a\\[b]\\*\\?\\\\:*"));
    fake_source_settle(&r.source);
    publish(&r, "a[b]*?\\:x", "1");
    publish(&r, "abxy\\:x", "2");
    expect(&r, "x=1 ");
    rig_free(&r);
    rig_make(&r, "all", "");
    assert_true(fake_source_wants(&r.source, SOURCE_PATTERN, "*"));
    fake_source_settle(&r.source);
    publish(&r, "anything", "1");
    expect(&r, "anything=1 ");
    rig_free(&r);
}

/* ---- what is subscribed ---------------------------------------------------------------------- */

static void test_patterns_share_their_literal_head(void **state)
{
    (void)state;
    struct rig r;
    rig_make(&r, "on-demand", "s[:");
    want(&r, "user.?5", true);
    want(&r, "user.[ab]", true);
    want(&r, "user.*", true);
    want(&r, "u\\*r.*", true);
    assert_int_equal(fake_source_wanted_count(&r.source), 2);
    assert_true(fake_source_wants(&r.source, SOURCE_PATTERN, "s\\[:user.*"));
    assert_true(fake_source_wants(&r.source, SOURCE_PATTERN, "s\\[:u\\*r.*"));
    unwant(&r, "user.?5", true, 0);
    unwant(&r, "user.[ab]", true, 0);
    upstream_tick(&r.up, 61 * SECOND);
    assert_int_equal(fake_source_wanted_count(&r.source), 2);
    unwant(&r, "user.*", true, 61 * SECOND);
    upstream_tick(&r.up, 122 * SECOND);
    assert_int_equal(fake_source_wanted_count(&r.source), 1);
    rig_free(&r);
}

static void test_a_channel_and_a_pattern_of_the_same_name(void **state)
{
    (void)state;
    struct rig r;
    rig_make(&r, "on-demand", "");
    want(&r, "a", false);
    want(&r, "a", true); /* a pattern without a star still stands for its head */
    assert_true(fake_source_wants(&r.source, SOURCE_CHANNEL, "a"));
    assert_true(fake_source_wants(&r.source, SOURCE_PATTERN, "a*"));
    fake_source_settle(&r.source);
    publish(&r, "a", "1");
    publish(&r, "ab", "2");
    expect(&r, "a=1 ab=2 ");
    rig_free(&r);
}

static void test_linger(void **state)
{
    (void)state;
    struct rig r;
    rig_make(&r, "on-demand", "");
    want(&r, "a", false);
    want(&r, "a", false);
    want(&r, "b", false);
    fake_source_settle(&r.source);
    unwant(&r, "a", false, 0);
    assert_int_equal(r.up.lingering_count, 0);
    unwant(&r, "a", false, 10 * SECOND);
    unwant(&r, "b", false, 20 * SECOND);
    unwant(&r, "b", false, 20 * SECOND); /* one too many does no harm */
    assert_int_equal(r.up.lingering_count, 2);
    upstream_tick(&r.up, 70 * SECOND - 1);
    assert_int_equal(fake_source_wanted_count(&r.source), 2);
    want(&r, "b", false); /* back in time */
    upstream_tick(&r.up, 200 * SECOND);
    assert_false(fake_source_wants(&r.source, SOURCE_CHANNEL, "a"));
    assert_true(fake_source_wants(&r.source, SOURCE_CHANNEL, "b"));
    assert_int_equal(r.up.lingering_count, 0);
    assert_false(covers(&r, "a")); /* it may have ended at the source */
    publish(&r, "a", "1");
    expect(&r, "a=1 "); /* but what still comes counts, until the source confirms */
    fake_source_settle(&r.source);
    publish(&r, "a", "2");
    expect(&r, "");
    assert_true(covers(&r, "b"));
    assert_int_equal(strmap_count(&r.up.channels), 1);
    rig_free(&r);
}

/* Between the end and the new beginning messages are lost, though the old acknowledgement still
 * stands: nobody may be told that he hears all. */
static void test_wanted_again_is_no_promise(void **state)
{
    (void)state;
    struct rig r;
    rig_make(&r, "on-demand", "");
    want(&r, "ab", true);
    fake_source_settle(&r.source);
    unwant(&r, "ab", true, 0);
    upstream_tick(&r.up, 100 * SECOND); /* UNSUBSCRIBE is on its way */
    want(&r, "ab", true);
    assert_false(covers(&r, "abc"));
    assert_false(upstream_covers_pattern(&r.up, "ab*", 3));
    assert_int_equal(upstream_since(&r.up, true, "ab*", 3), 0);
    publish(&r, "abc", "1");
    expect(&r, "abc=1 ");
    fake_source_settle(&r.source);
    assert_true(covers(&r, "abc"));
    assert_true(upstream_since(&r.up, true, "ab*", 3) > 0);
    /* The same across a lost connection. */
    unwant(&r, "ab", true, 200 * SECOND);
    upstream_tick(&r.up, 300 * SECOND);
    want(&r, "ab", true);
    fake_source_lose(&r.source, 0);
    fake_source_connect(&r.source);
    assert_false(covers(&r, "abc"));
    fake_source_settle(&r.source);
    assert_true(covers(&r, "abc"));
    rig_free(&r);
}

static void test_at_most_ten_thousand_linger(void **state)
{
    (void)state;
    struct rig r;
    char name[16];
    rig_make(&r, "on-demand", "");
    for (int i = 0; i < UPSTREAM_LINGER_MAX + 5; i++) {
        (void)snprintf(name, sizeof name, "c%d", i);
        want(&r, name, false);
    }
    for (int i = 0; i < UPSTREAM_LINGER_MAX + 5; i++) {
        (void)snprintf(name, sizeof name, "c%d", i);
        unwant(&r, name, false, (uint64_t)i);
    }
    assert_int_equal(r.up.lingering_count, UPSTREAM_LINGER_MAX);
    assert_int_equal(fake_source_wanted_count(&r.source), UPSTREAM_LINGER_MAX);
    assert_false(fake_source_wants(&r.source, SOURCE_CHANNEL, "c4"));
    assert_true(fake_source_wants(&r.source, SOURCE_CHANNEL, "c5"));
    rig_free(&r);
}

/* ---- acknowledgements ------------------------------------------------------------------------ */

static void end_now(struct rig *r, const char *topic, bool pattern, uint64_t at)
{
    unwant(r, topic, pattern, at);
    upstream_tick(&r->up, at + 60 * SECOND);
}

static void test_want_again_while_ending(void **state)
{
    (void)state;
    struct rig r;
    rig_make(&r, "on-demand", "");
    want(&r, "a", false);
    fake_source_settle(&r.source);
    end_now(&r, "a", false, 0);
    want(&r, "a", false);
    assert_int_equal(r.source.sent, 2);
    publish(&r, "a", "1"); /* the server has not read the UNSUBSCRIBE yet */
    expect(&r, "a=1 ");
    (void)fake_source_serve(&r.source, 1);
    publish(&r, "a", "2"); /* now it has */
    assert_false(covers(&r, "a"));
    expect(&r, "");
    fake_source_settle(&r.source);
    assert_true(covers(&r, "a"));
    publish(&r, "a", "3");
    expect(&r, "a=3 ");
    end_now(&r, "a", false, 100 * SECOND);
    fake_source_settle(&r.source);
    assert_int_equal(strmap_count(&r.up.channels), 0);
    rig_free(&r);
}

static void test_acknowledgements_of_the_past(void **state)
{
    (void)state;
    struct rig r;
    rig_make(&r, "on-demand", "");
    want(&r, "a", false);
    want(&r, "p*", true);
    end_now(&r, "a", false, 0); /* before anything was confirmed */
    end_now(&r, "p*", true, 0);
    assert_int_equal(strmap_count(&r.up.channels), 0);
    (void)fake_source_serve(&r.source, 1); /* SUBSCRIBE a */
    publish(&r, "a", "1");
    expect(&r, "");
    want(&r, "a", false);
    fake_source_settle(&r.source); /* on, off, on: of three different times */
    assert_true(covers(&r, "a"));
    assert_false(covers(&r, "px"));
    publish(&r, "a", "2");
    expect(&r, "a=2 ");
    struct upstream_topic t;
    assert_false(upstream_acked(&r.up, SOURCE_CHANNEL, "other", 5, true, 1, &t));
    assert_false(upstream_acked(&r.up, SOURCE_PATTERN, "a", 1, true, 1, &t));
    assert_false(upstream_find(&r.up, SOURCE_PATTERN, "p*", 2, &t));
    rig_free(&r);
}

static void test_short_names_are_not_under_the_prefix(void **state)
{
    (void)state;
    struct rig r;
    rig_make(&r, "on-demand", "sse:");
    struct upstream_topic t;
    assert_false(upstream_find(&r.up, SOURCE_CHANNEL, "ss", 2, &t));
    assert_false(upstream_find(&r.up, SOURCE_CHANNEL, "sse:a", 5, &t));
    want(&r, "a", false);
    assert_true(upstream_find(&r.up, SOURCE_CHANNEL, "sse:a", 5, &t));
    assert_int_equal(t.len, 1);
    assert_false(t.pattern);
    rig_free(&r);
}

static void test_down_and_up(void **state)
{
    (void)state;
    struct rig r;
    rig_make(&r, "on-demand", "");
    want(&r, "kept", false);
    want(&r, "k*", true);
    want(&r, "lingers", false);
    want(&r, "ends", false);
    fake_source_settle(&r.source);
    end_now(&r, "ends", false, 0);
    unwant(&r, "lingers", false, 60 * SECOND);
    fake_source_lose(&r.source, 0);
    assert_false(covers(&r, "kept"));
    assert_int_equal(upstream_since(&r.up, false, "kept", 4), 0);
    assert_int_equal(strmap_count(&r.up.channels), 2); /* what was ending has ended */
    want(&r, "new", false);
    want(&r, "k*", true);
    fake_source_connect(&r.source);
    fake_source_settle(&r.source);
    assert_true(covers(&r, "kept"));
    assert_true(covers(&r, "lingers"));
    assert_true(covers(&r, "new"));
    assert_false(covers(&r, "ends"));
    publish(&r, "kept", "1");
    expect(&r, "kept=1 ");
    upstream_tick(&r.up, 120 * SECOND);
    assert_false(fake_source_wants(&r.source, SOURCE_CHANNEL, "lingers"));
    rig_free(&r);
}

static void test_a_connection_that_ends_before_it_is_up(void **state)
{
    (void)state;
    struct rig r;
    rig_make(&r, "on-demand", "");
    want(&r, "a", false);
    want(&r, "a*", true);
    (void)fake_source_serve(&r.source, 2);
    fake_source_lose(&r.source, 0);
    fake_source_connect(&r.source);
    /* On the second connection something is confirmed, and given up, and then it ends too: nothing
     * of that may be believed on the third. */
    fake_source_settle(&r.source);
    fake_source_lose(&r.source, 0);
    fake_source_connect(&r.source);
    (void)fake_source_serve(&r.source, 1);
    (void)fake_source_deliver(&r.source, 1);
    end_now(&r, "a", false, 0);
    fake_source_lose(&r.source, 0);
    fake_source_connect(&r.source);
    fake_source_settle(&r.source);
    publish(&r, "a", "1");
    expect(&r, "a=1 ");
    assert_int_equal(strmap_count(&r.up.channels), 0);
    rig_free(&r);
}

static void test_since(void **state)
{
    (void)state;
    struct rig r;
    rig_make(&r, "on-demand", "");
    want(&r, "ab*", true);
    fake_source_settle(&r.source); /* at 1 */
    want(&r, "abc", false);
    fake_source_settle(&r.source); /* at 2 */
    want(&r, "*", true);
    fake_source_settle(&r.source); /* at 3 */
    assert_int_equal(upstream_since(&r.up, false, "abc", 3), 1);
    assert_int_equal(upstream_since(&r.up, false, "x", 1), 3);
    assert_int_equal(upstream_since(&r.up, true, "ab*", 3), 1);
    assert_int_equal(upstream_since(&r.up, true, "abc*", 4), 1);
    assert_int_equal(upstream_since(&r.up, true, "a*", 2), 3);
    assert_true(upstream_covers_pattern(&r.up, "[xy]", 4));
    end_now(&r, "ab*", true, 0);
    end_now(&r, "*", true, 0);
    fake_source_settle(&r.source);
    assert_int_equal(upstream_since(&r.up, false, "abc", 3), 2);
    assert_int_equal(upstream_since(&r.up, true, "abc", 3), 0); /* a channel is no pattern */
    assert_false(upstream_covers_pattern(&r.up, "abc", 3));
    rig_free(&r);
}

static void test_out_of_memory_changes_nothing(void **state)
{
    (void)state;
    struct rig r;
    rig_make(&r, "on-demand", "");
    r.source.failing = 2;
    assert_int_equal(upstream_want(&r.up, false, "a", 1), ERR_NOMEM);
    assert_int_equal(upstream_want(&r.up, true, "a*", 2), ERR_NOMEM);
    assert_int_equal(strmap_count(&r.up.channels) + strmap_count(&r.up.patterns), 0);
    assert_int_equal(strmap_count(&r.up.wire), 0);
    want(&r, "a", false);
    fake_source_settle(&r.source);
    end_now(&r, "a", false, 0);
    r.source.failing = 1;
    assert_int_equal(upstream_want(&r.up, false, "a", 1), ERR_NOMEM);
    fake_source_settle(&r.source); /* it goes on ending */
    assert_int_equal(strmap_count(&r.up.channels), 0);
    want(&r, "a", false);
    rig_free(&r);
    const char *settings[] = {"redis.mode=all", NULL};
    memset(&r, 0, sizeof r);
    r.config = build_ok(NULL, NULL, settings);
    fake_source_init(&r.source, &events, &r);
    r.source.failing = 1;
    assert_int_equal(upstream_init(&r.up, &r.source.source, r.config), ERR_NOMEM);
    fake_source_finish(&r.source);
    config_destroy(r.config);
}

/* ---- counted once ---------------------------------------------------------------------------- */

static const struct {
    const char *name;
    bool pattern;
} topics[] = {{"ab", false}, {"abc", false}, {"x", false},   {"b", false},  {"ab*", true},
              {"a*", true},  {"*", true},    {"abc?", true}, {"[ab]", true}};

enum { TOPICS = sizeof topics / sizeof topics[0] };

/* Each message counts exactly once if it is covered when it arrives, else once at most: what has
 * been given up may still bring it. Its copies come one right after the other, as Redis sends
 * them. */
static void publish_and_count(struct rig *r, const char *channel)
{
    (void)fake_source_deliver(&r->source, SIZE_MAX);
    size_t copies = fake_source_publish(&r->source, channel, strlen(channel), "m", 1);
    bool covered = covers(r, channel);
    buf_reset(&r->accepted);
    assert_int_equal(fake_source_deliver(&r->source, SIZE_MAX), copies);
    char once[32];
    (void)snprintf(once, sizeof once, "%s=m ", channel);
    if (covered || r->accepted.len > 0)
        expect(r, once);
    assert_true(!covered || copies > 0);
    assert_true(!covered || copies > 0);
}

static void random_step(struct rig *r, struct prng *rng, uint64_t *now)
{
    size_t t = prng_below(rng, TOPICS);
    *now += prng_below(rng, 3) * SECOND;
    switch (prng_below(rng, 8)) {
    case 0:
        want(r, topics[t].name, topics[t].pattern);
        break;
    case 1:
        unwant(r, topics[t].name, topics[t].pattern, *now);
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
        struct rig r;
        struct prng rng = {seed};
        uint64_t now = 1000 * (uint64_t)SECOND;
        rig_make(&r, "on-demand", "");
        for (int i = 0; i < 700; i++)
            random_step(&r, &rng, &now);
        rig_free(&r);
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
            struct rig r;
            rig_make(&r, "on-demand", "");
            for (int i = 0; i < 3; i++) {
                publish_and_count(&r, "abc");
                want(&r, all[orders[up][i]].name, all[orders[up][i]].pattern);
                publish_and_count(&r, "abc");
                fake_source_settle(&r.source);
            }
            for (int i = 0; i < 3; i++) {
                publish_and_count(&r, "abc");
                end_now(&r, all[orders[down][i]].name, all[orders[down][i]].pattern, 0);
                publish_and_count(&r, "abc");
                fake_source_settle(&r.source);
            }
            publish_and_count(&r, "abc");
            rig_free(&r);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_is_one_pattern),
        cmocka_unit_test(test_the_prefix_is_literal),
        cmocka_unit_test(test_patterns_share_their_literal_head),
        cmocka_unit_test(test_a_channel_and_a_pattern_of_the_same_name),
        cmocka_unit_test(test_linger),
        cmocka_unit_test(test_wanted_again_is_no_promise),
        cmocka_unit_test(test_at_most_ten_thousand_linger),
        cmocka_unit_test(test_want_again_while_ending),
        cmocka_unit_test(test_acknowledgements_of_the_past),
        cmocka_unit_test(test_short_names_are_not_under_the_prefix),
        cmocka_unit_test(test_down_and_up),
        cmocka_unit_test(test_a_connection_that_ends_before_it_is_up),
        cmocka_unit_test(test_since),
        cmocka_unit_test(test_out_of_memory_changes_nothing),
        cmocka_unit_test(test_every_message_counts_once),
        cmocka_unit_test(test_every_order_of_acknowledgements),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
