#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdatomic.h>

#include "broker_util.h"
#include "prng.h"
#include "ring_model.h"
#include "tickerd/base/err.h"
#include "tickerd/broker/chanlog.h"

/* A log, the model of it, and what the log said it evicted. */
struct world {
    struct prng rng;
    struct chanlog log;
    struct ring_model model;
    struct history_limits limits;
    struct name *channel;
    uint64_t seq;
    bool appending;
};

/* The log tells its evictions in order: each is the model's oldest. */
static void evicted(void *ctx, uint64_t seq)
{
    struct world *w = ctx;
    struct model_entry *e = model_oldest(&w->model);
    assert_non_null(e);
    assert_int_equal(e->seq, seq);
    if (w->appending) { /* nothing goes that the limits would hold */
        bool old = w->limits.age_ms > 0 && w->seq - seq > w->limits.age_ms * 1000;
        assert_true(w->model.kept > 1);
        assert_true(w->model.kept > w->limits.events || w->model.bytes > w->limits.bytes || old);
    }
    model_evict(&w->model, e);
}

static void world_init(struct world *w, uint64_t seed)
{
    *w = (struct world){.rng = {seed}, .channel = make_name("news")};
    chanlog_init(&w->log);
    model_init(&w->model);
    w->limits = (struct history_limits){.events = 10, .bytes = 1 << 20, .age_ms = 0};
}

static void world_finish(struct world *w)
{
    chanlog_finish(&w->log);
    model_finish(&w->model);
    name_unref(w->channel);
}

static void append(struct world *w, size_t len)
{
    struct frame *f = make_sized(w->channel, ++w->seq, (uint32_t)prng_next(&w->rng), len);
    model_append(&w->model, f);
    w->appending = true;
    assert_int_equal(chanlog_append(&w->log, f, &w->limits, evicted, w), ERR_OK);
    w->appending = false;
}

static uint64_t cost_of_frames(const struct ring *r)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < r->count; i++) {
        if (!entry_is_hole(ring_at(r, i)))
            sum += frame_cost(ring_at(r, i)->u.frame);
    }
    return sum;
}

static void check(const struct world *w, uint64_t position)
{
    model_check(&w->model, &w->log.ring, position);
    assert_int_equal(w->log.bytes, w->model.bytes);
    assert_true(w->log.ring.holes <= 2 * (w->model.kept + 1));
}

static void events_are_exact(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 1);
    for (size_t i = 1; i <= 100; i++) {
        append(&w, 5);
        assert_int_equal(ring_frames(&w.log.ring), i < 10 ? i : 10);
    }
    w.limits.events = 3; /* a reload tightened it */
    append(&w, 5);
    assert_int_equal(ring_frames(&w.log.ring), 3);
    w.limits.events = 0;
    append(&w, 5);
    assert_int_equal(ring_frames(&w.log.ring), 1);
    check(&w, 0);
    world_finish(&w);
}

static void newest_stays_whatever_its_size(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 2);
    w.limits.bytes = 1000;
    for (int i = 0; i < 5; i++)
        append(&w, 100);
    append(&w, 5000);
    assert_int_equal(ring_frames(&w.log.ring), 1);
    assert_int_equal(ring_oldest(&w.log.ring)->seq, 6);
    append(&w, 1);
    assert_int_equal(ring_frames(&w.log.ring), 1);
    assert_int_equal(ring_oldest(&w.log.ring)->seq, 7);
    check(&w, 0);
    world_finish(&w);
}

/* Exactly the limit fits. */
static void bytes_are_exact(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 3);
    append(&w, 100);
    w.limits.bytes = 3 * w.log.bytes;
    append(&w, 100);
    append(&w, 100);
    assert_int_equal(ring_frames(&w.log.ring), 3);
    w.limits.bytes--;
    append(&w, 100);
    assert_int_equal(ring_frames(&w.log.ring), 2);
    world_finish(&w);
}

static void ages(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 4);
    w.limits.age_ms = 5;
    w.seq = 999;
    append(&w, 1);
    w.seq = 1999;
    append(&w, 1);
    chanlog_expire(&w.log, &w.limits, 6000, evicted, &w); /* exactly 5 ms old: still kept */
    assert_int_equal(ring_frames(&w.log.ring), 2);
    chanlog_expire(&w.log, &w.limits, 6001, evicted, &w);
    assert_int_equal(ring_frames(&w.log.ring), 1);
    chanlog_expire(&w.log, &w.limits, 500, evicted, &w); /* before its time: nothing */
    assert_int_equal(ring_frames(&w.log.ring), 1);
    chanlog_expire(&w.log, &w.limits, 100000, evicted, &w); /* the newest too */
    assert_int_equal(ring_frames(&w.log.ring), 0);
    assert_int_equal(w.log.ring.count, 1); /* the stub */
    assert_int_equal(w.log.bytes, 0);
    w.limits.age_ms = 0;
    append(&w, 1);
    chanlog_expire(&w.log, &w.limits, UINT64_MAX >> 1, evicted, &w);
    assert_int_equal(ring_frames(&w.log.ring), 1);
    check(&w, 0);
    world_finish(&w);
}

static void eviction_tells_what_it_freed(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 5);
    struct frame_stats stats;
    atomic_init(&stats.extra_bytes, 0);
    append(&w, 300);
    struct frame *f = ring_oldest(&w.log.ring);
    size_t len = 0;
    assert_non_null(frame_bytes(f, FORMAT_JSON, &stats, &len));
    size_t cost = frame_cost(f);
    uint64_t before = chanlog_cost(&w.log);
    assert_true(before >= cost);
    assert_int_equal(chanlog_evict(&w.log, 9, evicted, &w), cost + len);
    assert_int_equal(atomic_load(&stats.extra_bytes), 0);
    assert_int_equal(chanlog_evict(&w.log, 9, evicted, &w), 0);
    assert_true(chanlog_cost(&w.log) <= before - cost + 64); /* a hole took its place */
    world_finish(&w);
}

/* ---- random operations ----------------------------------------------------------------------- */

static void push_hole(struct world *w)
{
    static const enum gap_reason reasons[] = {GAP_OVERSIZE, GAP_UPSTREAM, GAP_UNSUBSCRIBED,
                                              GAP_EVICTED};
    struct name *channel = prng_below(&w->rng, 4) == 0 ? NULL : w->channel;
    enum gap_reason reason = reasons[prng_below(&w->rng, 4)];
    assert_int_equal(ring_push_hole(&w->log.ring, ++w->seq, channel, reason), ERR_OK);
    model_hole(&w->model, w->seq);
}

static void new_limits(struct world *w)
{
    static const uint32_t events[] = {0, 1, 2, 7, 30, 100};
    static const uint64_t bytes[] = {1, 500, 3000, 1 << 20};
    w->limits.events = events[prng_below(&w->rng, 6)];
    w->limits.bytes = bytes[prng_below(&w->rng, 4)];
    w->limits.age_ms = prng_below(&w->rng, 3) == 0 ? 1 + prng_below(&w->rng, 3) : 0;
}

/* What the limits say, without how the log does it. */
static void check_limits(const struct world *w)
{
    uint32_t frames = ring_frames(&w->log.ring);
    assert_true(frames >= 1);
    if (frames == 1)
        return;
    assert_true(frames <= w->limits.events);
    assert_true(w->log.bytes <= w->limits.bytes);
    uint64_t oldest = ring_oldest(&w->log.ring)->seq;
    assert_true(w->limits.age_ms == 0 || w->seq - oldest <= w->limits.age_ms * 1000);
}

static void step(struct world *w)
{
    size_t dice = prng_below(&w->rng, 1000);
    w->seq += prng_below(&w->rng, 20) == 0 ? prng_below(&w->rng, 2000) : 0;
    if (dice < 700) {
        append(w, prng_below(&w->rng, 60));
        check_limits(w);
    } else if (dice < 850) {
        push_hole(w);
    } else if (dice < 900) {
        (void)chanlog_evict(&w->log, w->seq, evicted, w);
    } else if (dice < 990) {
        chanlog_expire(&w->log, &w->limits, w->seq + prng_below(&w->rng, 5000), evicted, w);
    } else {
        new_limits(w);
    }
}

static void agrees_with_the_model(void **state)
{
    (void)state;
    const uint64_t seed = 31337;
    print_message("seed %llu\n", (unsigned long long)seed);
    struct world w;
    world_init(&w, seed);
    for (int i = 0; i < 250000; i++) {
        step(&w);
        uint64_t back = prng_below(&w.rng, 60);
        check(&w, w.seq > back ? w.seq - back : 0);
        if (i % 100 == 0) {
            model_check_shape(&w.model, &w.log.ring);
            assert_int_equal(w.log.cost, cost_of_frames(&w.log.ring));
        }
        if (i % 20000 == 0)
            check(&w, 0);
    }
    world_finish(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_are_exact),
        cmocka_unit_test(newest_stays_whatever_its_size),
        cmocka_unit_test(bytes_are_exact),
        cmocka_unit_test(ages),
        cmocka_unit_test(eviction_tells_what_it_freed),
        cmocka_unit_test(agrees_with_the_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
