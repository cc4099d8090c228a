/* A registry as bytes and back: nothing changes on the way, and bytes that are not exactly what was
 * saved change nothing. What clients see of a restart is in test_restart.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <glob.h>

#include <stdio.h>
#include <string.h>

#include "../../src/broker/registry_internal.h"
#include "config_util.h"
#include "prng.h"
#include "saved_util.h"
#include "tickerd/base/log.h"

enum { ROUNDS = 60, STEPS = 150, CHANNELS = 12 };

/* ---- comparing ------------------------------------------------------------------------------- */

static void same_hole(const struct hole *a, const struct hole *b)
{
    assert_true(name_equal(a->channel, b->channel));
    assert_int_equal(a->evicted_seq, b->evicted_seq);
    assert_int_equal(a->evicted_prev, b->evicted_prev);
    assert_int_equal(a->evicted_fp, b->evicted_fp);
    assert_int_equal(a->reason, b->reason);
    assert_int_equal(a->never_kept, b->never_kept);
    assert_int_equal(a->superseded, b->superseded);
    assert_int_equal(a->cuts, b->cuts);
    assert_int_equal(a->first, b->first);
    assert_int_equal(a->made, b->made);
}

static void same_frame(const struct frame *a, const struct frame *b)
{
    assert_int_equal(a->fp, b->fp);
    assert_int_equal(a->seq, b->seq);
    assert_true(name_equal(a->channel, b->channel));
    assert_int_equal(a->id_len, b->id_len);
    assert_int_equal(a->publisher_id, b->publisher_id);
    assert_int_equal(a->slow, b->slow);
    assert_int_equal(frame_superseded(a), frame_superseded(b));
    assert_int_equal(a->len, b->len);
    assert_memory_equal(a->block, b->block, a->len);
}

static void same_entries(const struct ring *a, const struct ring *b, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct entry *x = ring_at(a, i), *y = ring_at(b, i);
        assert_int_equal(x->word, y->word);
        if (entry_is_hole(x))
            same_hole(x->u.hole, y->u.hole);
        else
            same_frame(x->u.frame, y->u.frame);
    }
}

static void same_log(const struct channel *a, const struct channel *b)
{
    assert_int_equal(a->log.ring.count, b->log.ring.count);
    assert_int_equal(a->log.ring.holes, b->log.ring.holes);
    assert_int_equal(a->log.ring.newest_hole, b->log.ring.newest_hole);
    assert_true(a->log.ring.newest_loss >= b->log.ring.newest_loss); /* of holes that are there */
    assert_true(a->log.ring.newest_wide >= b->log.ring.newest_wide);
    assert_true(a->log.ring.newest_cut >= b->log.ring.newest_cut);
    assert_int_equal(a->log.bytes, b->log.bytes);
    assert_int_equal(a->log.cost, b->log.cost);
    same_entries(&a->log.ring, &b->log.ring, a->log.ring.count);
}

/* All that `a` remembers is in `b`, and nothing else. */
static void same_channels(const struct registry *a, const struct registry *b)
{
    size_t pos = 0, count = 0;
    const struct channel *c;
    while ((c = strmap_next(&a->channels, &pos)) != NULL) {
        if (!channel_remembers(c))
            continue;
        const struct channel *other = strmap_get(&b->channels, c->name->bytes, c->name->len);
        assert_non_null(other);
        same_log(c, other);
        assert_int_equal(other->counted > 0, true);
        count++;
    }
    assert_int_equal(count, registry_channels(b));
}

/* `b` is `a`, after a restart without a stop. */
static void same(const struct registry *a, const struct registry *b)
{
    same_channels(a, b);
    assert_int_equal(a->watermark, b->watermark);
    assert_int_equal(a->marks.count + 1, b->marks.count);
    same_entries(&a->marks, &b->marks, a->marks.count);
    const struct entry *last = ring_at(&b->marks, b->marks.count - 1);
    assert_true(entry_is_hole(last) && b->marks.distinct);
    assert_int_equal(last->u.hole->reason, GAP_RESTART);
    assert_true(entry_seq(last) > a->clock.last);
    assert_int_equal(a->clock.line.count, b->clock.line.count);
    assert_memory_equal(a->clock.line.epochs, b->clock.line.epochs,
                        a->clock.line.count * sizeof a->clock.line.epochs[0]);
}

/* ---- a registry with a past ------------------------------------------------------------------ */

static void publish(struct hub_rig *h, struct prng *rng)
{
    char channel[16], payload[64];
    (void)snprintf(channel, sizeof channel, "c%zu", prng_below(rng, CHANNELS));
    switch (prng_below(rng, 8)) {
    case 0:
        (void)snprintf(payload, sizeof payload, "{\"data\":\"%zu\",\"id\":\"p%zu\"}",
                       prng_below(rng, 100), prng_below(rng, 1000));
        break;
    case 1: /* oversize */
        (void)snprintf(payload, sizeof payload, "%050zu", prng_below(rng, 100));
        break;
    case 2:
        (void)snprintf(payload, sizeof payload, "%zu\nlines", prng_below(rng, 100));
        break;
    default:
        (void)snprintf(payload, sizeof payload, "%zu", prng_below(rng, 1000000));
        break;
    }
    hubrig_publish(h, channel, payload);
    h->seen_count = 0;
}

static void live_for_a_while(struct hub_rig *h, struct prng *rng)
{
    for (int i = 0; i < STEPS; i++) {
        switch (prng_below(rng, 30)) {
        case 0:
            if (h->source.connected)
                fake_source_lose(&h->source, 0);
            break;
        case 1:
        case 2:
            if (!h->source.connected)
                fake_source_connect(&h->source);
            break;
        case 3:
            hubrig_sleep(h, prng_below(rng, 3000000));
            break;
        default:
            publish(h, rng);
            break;
        }
        hubrig_settle(h);
    }
    hubrig_forget(h);
}

static struct config *small_config(struct prng *rng)
{
    struct config *c = build_ok(NULL, NULL, NULL);
    c->limits.message_bytes = 40;
    c->rule_default.history.events = (uint32_t)(1 + prng_below(rng, 20));
    c->rule_default.history.age_ms = prng_below(rng, 3) == 0 ? 4000 : 0;
    c->rule_default.slow = (enum slow_policy)prng_below(rng, 3);
    if (prng_below(rng, 3) == 0)
        c->history_total_bytes = 2000 + prng_below(rng, 8000);
    return c;
}

static struct config *copy_of(const struct config *c)
{
    struct config *copy = build_ok(NULL, NULL, NULL);
    copy->limits = c->limits;
    copy->rule_default.history = c->rule_default.history;
    copy->rule_default.slow = c->rule_default.slow;
    copy->history_total_bytes = c->history_total_bytes;
    return copy;
}

static void test_what_is_saved_comes_back(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= ROUNDS; seed++) {
        struct prng rng = {seed};
        struct hub_rig a, b;
        struct buf first = BUF_INIT, second = BUF_INIT;
        hubrig_init(&a, small_config(&rng));
        fake_source_connect(&a.source);
        hubrig_settle(&a);
        live_for_a_while(&a, &rng);
        hubrig_sleep(&a, 1); /* what is too old is looked for at the load, too */
        saved_take(&first, &a.registry);
        hubrig_init(&b, copy_of(a.config));
        b.mono = a.mono;
        assert_null(saved_restore(&b, first.data, first.len, 0));
        same(&a.registry, &b.registry);
        live_for_a_while(&b, &rng); /* it lives on, and can be saved again */
        saved_take(&second, &b.registry);
        hubrig_finish(&a);
        hubrig_finish(&b);
        buf_finish(&first);
        buf_finish(&second);
    }
}

/* ---- bytes that are not what was saved ------------------------------------------------------- */

static const char *const plain[] = {"log.level=error", NULL};

static void save_something(struct buf *out)
{
    struct hub_rig h;
    hubrig_start(&h, plain);
    hubrig_publish(&h, "a", "1");
    hubrig_publish(&h, "b", "{\"data\":\"2\",\"id\":\"own\",\"event\":\"e\",\"retry\":1000}");
    hubrig_publish(&h, "a", "3\n4");
    fake_source_lose(&h.source, 0);
    fake_source_connect(&h.source);
    hubrig_settle(&h);
    saved_take(out, &h.registry);
    hubrig_finish(&h);
}

static void assert_untouched(const struct hub_rig *h, uint64_t last)
{
    assert_int_equal(registry_channels(&h->registry), 0);
    assert_int_equal(h->registry.marks.count, 1);
    assert_int_equal(h->registry.cost, 0);
    assert_int_equal(h->registry.watermark, 0);
    assert_int_equal(h->registry.clock.last, last);
}

static void test_every_flipped_bit_is_noticed(void **state)
{
    (void)state;
    struct hub_rig h;
    struct buf b = BUF_INIT;
    save_something(&b);
    hubrig_init(&h, build_ok(NULL, NULL, plain));
    uint64_t last = h.registry.clock.last;
    for (size_t bit = 0; bit < b.len * 8; bit++) {
        b.data[bit / 8] = (char)(b.data[bit / 8] ^ (1 << bit % 8));
        assert_non_null(saved_restore(&h, b.data, b.len, 0));
        assert_untouched(&h, last);
        b.data[bit / 8] = (char)(b.data[bit / 8] ^ (1 << bit % 8));
    }
    assert_null(saved_restore(&h, b.data, b.len, 0));
    hubrig_finish(&h);
    buf_finish(&b);
}

static void test_every_truncation_is_noticed(void **state)
{
    (void)state;
    struct hub_rig h;
    struct buf b = BUF_INIT;
    save_something(&b);
    hubrig_init(&h, build_ok(NULL, NULL, plain));
    for (size_t len = 0; len < b.len; len++) {
        char *exact = malloc(len + 1); /* so that one byte too far is seen */
        assert_non_null(exact);
        memcpy(exact, b.data, len);
        assert_non_null(saved_restore(&h, exact, len, 0));
        free(exact);
    }
    buf_byte(&b, 'x');
    assert_non_null(saved_restore(&h, b.data, b.len, 0));
    assert_untouched(&h, h.registry.clock.last);
    hubrig_finish(&h);
    buf_finish(&b);
}

/* Whatever the bytes say, with a checksum that is right: it is taken or refused whole, and what is
 * taken can be used. */
static void use(struct hub_rig *h, const struct buf *b)
{
    struct registry *r = &h->registry;
    uint64_t last = r->clock.last;
    if (saved_restore(h, b->data, b->len, 0) != NULL) {
        assert_untouched(h, last);
        return;
    }
    size_t pos = 0, len;
    const struct channel *c;
    while ((c = strmap_next(&r->channels, &pos)) != NULL) {
        for (uint32_t i = 0; i < c->log.ring.count; i++) {
            const struct entry *e = ring_at(&c->log.ring, i);
            if (!entry_is_hole(e))
                assert_non_null(frame_bytes(e->u.frame, FORMAT_JSON, r->stats, &len));
        }
    }
    hubrig_interest(h, 0, VIEW_MARKS, 1, "", false);
    fake_source_connect(&h->source);
    hubrig_settle(h);
    registry_tick(r);
    struct buf again = BUF_INIT;
    saved_take(&again, r);
    buf_finish(&again);
}

static void mutate(struct buf *b, struct prng *rng)
{
    for (size_t n = 1 + prng_below(rng, 3); n > 0; n--) {
        size_t at = prng_below(rng, b->len - PACK_TRAILER);
        static const unsigned char odd[] = {0, 1, 2, 3, 0x7f, 0x80, 0xff, '\n', ' ', 'd'};
        b->data[at] = (char)odd[prng_below(rng, sizeof odd)];
    }
    if (prng_below(rng, 6) == 0)
        b->len -= prng_below(rng, b->len / 2);
    saved_reseal(b);
}

static void test_bytes_that_lie_do_no_harm(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    struct prng rng = {7};
    save_something(&b);
    for (int i = 0; i < 4000; i++) {
        struct hub_rig h;
        struct buf lie = BUF_INIT;
        const char *tiny[] = {"history.total_bytes=1024", "log.level=error", NULL};
        buf_append(&lie, b.data, b.len);
        mutate(&lie, &rng);
        hubrig_init(&h, build_ok(NULL, NULL, i % 2 == 0 ? plain : tiny));
        use(&h, &lie);
        hubrig_finish(&h);
        buf_finish(&lie);
    }
    buf_finish(&b);
}

/* A number of entries that the bytes cannot hold is not allocated for. */
static void test_counts_are_not_believed(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    save_something(&b);
    for (size_t at = 0; at + 4 <= b.len - PACK_TRAILER; at++) {
        struct hub_rig h;
        struct buf lie = BUF_INIT;
        buf_append(&lie, b.data, b.len);
        memset(lie.data + at, 0xff, 4);
        saved_reseal(&lie);
        hubrig_init(&h, build_ok(NULL, NULL, plain));
        use(&h, &lie);
        hubrig_finish(&h);
        buf_finish(&lie);
    }
    buf_finish(&b);
}

static void refused(const struct buf *b, const char *const *settings, const char *source,
                    const char *expected)
{
    struct hub_rig h;
    struct saved_summary sum;
    const char *why = "";
    hubrig_init(&h, build_ok(NULL, NULL, settings));
    struct saved_now now = {h.mono, h.mono + SAVED_WALL, SAVED_FRESH_TAG};
    assert_int_equal(registry_restore(&h.registry, source, b->data, b->len, &now, &sum, &why),
                     ERR_INVALID);
    assert_string_equal(why, expected);
    assert_untouched(&h, h.registry.clock.last);
    hubrig_finish(&h);
}

static void test_what_is_not_ours_is_refused(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    save_something(&b);
    const char *prefix[] = {"redis.prefix=push:", NULL};
    const char *mode[] = {"redis.mode=on-demand", NULL};
    refused(&b, prefix, "here", "it was written with another redis.prefix");
    refused(&b, plain, "there", "it was written with another Redis server");
    refused(&b, mode, "here", "it was written with another redis.mode");
    b.data[8]++; /* the version stands behind the magic */
    refused(&b, plain, "here", "another version of tickerd wrote it");
    saved_reseal(&b);
    refused(&b, plain, "here", "another version of tickerd wrote it");
    b.data[8]--;
    refused(&b, plain, "here", "it is damaged or incomplete");
    b.data[0]++;
    refused(&b, plain, "here", "it is no state file of tickerd");
    buf_finish(&b);
}

/* ---- other limits than before ---------------------------------------------------------------- */

/* What a client gets that asks for channel a after a restart with these settings. */
static void restored(const struct buf *b, const char *const *settings, uint64_t down_us,
                     const char *expected)
{
    struct hub_rig h;
    hubrig_init(&h, build_ok(NULL, NULL, settings));
    h.mono += 10 * SAVED_SECOND + down_us;
    assert_null(saved_restore(&h, b->data, b->len, 0));
    registry_tick(&h.registry);
    assert_true(h.registry.cost <= h.config->history_total_bytes);
    hubrig_interest(&h, 0, 1, 1, "a", false);
    hubrig_expect(&h, 0, expected);
    hubrig_finish(&h);
}

static void test_limits_in_force_now_hold(void **state)
{
    (void)state;
    struct hub_rig h;
    struct buf b = BUF_INIT;
    hubrig_start(&h, plain);
    for (int i = 1; i <= 4; i++) {
        char text[16];
        (void)snprintf(text, sizeof text, "%d", i);
        hubrig_publish(&h, "a", text);
        hubrig_publish(&h, "b", text);
        hubrig_sleep(&h, 2 * SAVED_SECOND);
    }
    saved_take(&b, &h.registry);
    hubrig_finish(&h);
    const char *events[] = {"history.events=2", NULL};
    const char *age[] = {"history.age=5s", NULL};
    const char *bytes[] = {"history.bytes=60", NULL};
    const char *rule[] = {"channels=[{\"match\":\"a\",\"history\":{\"events\":1}}]", NULL};
    const char *total[] = {"history.total_bytes=1024", NULL};
    restored(&b, plain, 0, "reset1.1-[a:1 a:2 a:3 a:4]");
    restored(&b, events, 0, "reset1.1-[!a:evicted a:3 a:4]");
    restored(&b, bytes, 0, "reset1.1-[!a:evicted a:4]");
    restored(&b, rule, 0, "reset1.1-[!a:evicted a:4]");
    restored(&b, age, 0, "reset1.1-[!a:evicted a:4]");
    restored(&b, age, 60 * SAVED_SECOND, "reset1.1-[!a:evicted]"); /* the time away counts */
    restored(&b, total, 0, "reset1.1-[!a:evicted]");
    buf_finish(&b);
}

/* ---- the fuzz target's seeds -------------------------------------------------------------------
 */

/* Run at the top of the source, as tests are. A new SAVED_VERSION wants new seeds: make fuzz-seeds.
 */
static void test_the_seeds_for_fuzzing_are_taken(void **state)
{
    (void)state;
    glob_t files;
    assert_int_equal(glob("tests/fuzz/corpus/state/valid-*", 0, NULL, &files), 0);
    for (size_t i = 0; i < files.gl_pathc; i++) {
        const char *demand[] = {"redis.mode=on-demand", NULL};
        struct hub_rig h;
        struct buf b = BUF_INIT;
        FILE *f = fopen(files.gl_pathv[i], "rbe");
        assert_non_null(f);
        assert_true(buf_reserve(&b, 1 << 16));
        b.len = fread(b.data, 1, 1 << 16, f);
        assert_int_equal(fclose(f), 0);
        bool on_demand = strstr(files.gl_pathv[i], "on-demand") != NULL;
        hubrig_init(&h, build_ok(NULL, NULL, on_demand ? demand : plain));
        const char *why = saved_restore(&h, b.data, b.len, 0);
        if (why != NULL)
            fail_msg("%s: %s", files.gl_pathv[i], why);
        hubrig_finish(&h);
        buf_finish(&b);
    }
    globfree(&files);
}

/* ---- the clocks ------------------------------------------------------------------------------ */

static void check_clock(const struct buf *b, uint64_t reached, int64_t wall_us, bool epoch)
{
    struct hub_rig h;
    hubrig_init(&h, build_ok(NULL, NULL, plain));
    assert_null(saved_restore(&h, b->data, b->len, wall_us));
    const struct hubclock *c = &h.registry.clock;
    assert_true(c->last > reached);
    struct eventid id = timeline_id(&c->line, hubclock_next(&h.registry.clock), 0);
    assert_int_equal(id.tag, epoch ? (uint32_t)SAVED_FRESH_TAG : (uint32_t)SAVED_TAG);
    int64_t off = (int64_t)id.seq - ((int64_t)(h.mono + SAVED_WALL) + wall_us);
    assert_true(off >= 0 && off <= TIMELINE_STEP_US);
    uint64_t seq; /* what was given before still means what it did */
    assert_true(timeline_resolve(&c->line, &(struct eventid){reached - 5, SAVED_TAG, 0}, &seq));
    assert_int_equal(seq, reached - 5);
    uint64_t wall = (uint64_t)((int64_t)h.mono + (int64_t)SAVED_WALL + wall_us);
    assert_int_equal(hubclock_turn(&h.registry.clock, h.mono, wall, SAVED_FRESH_TAG + 1),
                     CLOCK_SAME);
    hubrig_finish(&h);
}

static void test_clocks_may_have_gone_anywhere(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    struct hub_rig h;
    hubrig_start(&h, plain); /* at the same monotonic time as the rigs to come */
    hubrig_publish(&h, "a", "1");
    saved_take(&b, &h.registry);
    uint64_t reached = h.registry.clock.last;
    hubrig_finish(&h);
    check_clock(&b, reached, 0, false);
    check_clock(&b, reached, -500000, false); /* nothing that would be called a step */
    check_clock(&b, reached, 3600 * 1000000LL, false);
    check_clock(&b, reached, 1000 * 86400 * 1000000LL, false);
    check_clock(&b, reached, -2000000, true);
    check_clock(&b, reached, -1600000000 * 1000000LL, true);
    buf_finish(&b);
}

int main(void)
{
    log_setup(LOG_ERROR, LOG_TEXT);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_saved_comes_back),
        cmocka_unit_test(test_every_flipped_bit_is_noticed),
        cmocka_unit_test(test_every_truncation_is_noticed),
        cmocka_unit_test(test_bytes_that_lie_do_no_harm),
        cmocka_unit_test(test_counts_are_not_believed),
        cmocka_unit_test(test_what_is_not_ours_is_refused),
        cmocka_unit_test(test_limits_in_force_now_hold),
        cmocka_unit_test(test_the_seeds_for_fuzzing_are_taken),
        cmocka_unit_test(test_clocks_may_have_gone_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
