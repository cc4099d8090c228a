#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker_util.h"
#include "prng.h"
#include "ring_model.h"
#include "tickerd/base/err.h"

enum { CHANNELS = 3 };

static struct name *channels[CHANNELS];

static int setup(void **state)
{
    (void)state;
    channels[0] = make_name("a");
    channels[1] = make_name("b");
    channels[2] = make_name("c");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unref_names(channels, CHANNELS);
    return 0;
}

static void push_frame(struct ring *r, uint64_t seq)
{
    assert_int_equal(ring_push_frame(r, make_sized(channels[0], seq, (uint32_t)seq, 3)), ERR_OK);
}

static void push_hole(struct ring *r, uint64_t seq, struct name *channel, enum gap_reason reason)
{
    assert_int_equal(ring_push_hole(r, seq, channel, reason), ERR_OK);
}

static const struct hole *hole_at(const struct ring *r, uint32_t i)
{
    assert_true(i < r->count && entry_is_hole(ring_at(r, i)));
    return ring_at(r, i)->u.hole;
}

static void expect_seqs(const struct ring *r, const uint64_t *seqs, uint32_t count)
{
    assert_int_equal(r->count, count);
    for (uint32_t i = 0; i < count; i++)
        assert_int_equal(entry_seq(ring_at(r, i)), seqs[i]);
}

static void empty_ring_says_nothing(void **state)
{
    (void)state;
    struct ring r;
    ring_init(&r);
    assert_int_equal(ring_head(&r), 0);
    assert_int_equal(ring_after(&r, 0), 0);
    assert_int_equal(ring_newest_hole(&r), 0);
    assert_null(ring_oldest(&r));
    assert_null(ring_evict_oldest(&r, 1));
    assert_false(ring_evict_at(&r, 1, 1));
    assert_int_equal(ring_overhead(&r), 0);
    struct entry none;
    assert_int_equal(ring_copy(&r, &none), ERR_OK);
    ring_finish(&r);
    ring_finish(&r);
}

static void reasons_have_texts(void **state)
{
    (void)state;
    const char *const texts[] = {"evicted", "restart",  "upstream",  "unsubscribed",
                                 "slow",    "oversize", "unknown-id"};
    for (int i = 0; i < GAP_REASON_COUNT; i++)
        assert_string_equal(gap_reason_text((enum gap_reason)i), texts[i]);
}

static void after_is_linear_search(void **state)
{
    (void)state;
    struct prng rng = {11};
    struct ring r;
    ring_init(&r);
    uint64_t seq = 0;
    for (int round = 0; round < 400; round++) {
        seq += 1 + prng_below(&rng, 3);
        if (prng_below(&rng, 5) == 0)
            push_hole(&r, seq, channels[0], (enum gap_reason)prng_below(&rng, GAP_REASON_COUNT));
        else
            push_frame(&r, seq);
        while (ring_frames(&r) > 70)
            frame_unref(ring_evict_oldest(&r, seq));
        for (int k = 0; k < 40; k++) {
            uint64_t p = prng_below(&rng, (size_t)seq + 3);
            uint32_t i = 0;
            while (i < r.count && entry_seq(ring_at(&r, i)) <= p)
                i++;
            assert_int_equal(ring_after(&r, p), i);
        }
    }
    assert_int_equal(ring_after(&r, UINT64_MAX), r.count);
    ring_finish(&r);
}

static void evicting_makes_one_hole(void **state)
{
    (void)state;
    struct ring r;
    ring_init(&r);
    for (uint64_t s = 10; s <= 50; s += 10)
        push_frame(&r, s);
    for (uint64_t s = 10; s <= 40; s += 10) {
        struct frame *f = ring_evict_oldest(&r, 100 + s);
        assert_int_equal(f->seq, s);
        frame_unref(f);
        assert_int_equal(r.count, 6 - s / 10);
        assert_int_equal(entry_seq(ring_at(&r, 0)), s);
        const struct hole *h = hole_at(&r, 0);
        assert_int_equal(h->reason, GAP_EVICTED);
        assert_int_equal(h->evicted_seq, s);
        assert_int_equal(h->evicted_fp, s);
        assert_int_equal(h->evicted_prev, s - 10);
        assert_int_equal(h->made, 100 + s);
        assert_ptr_equal(h->channel, channels[0]);
    }
    ring_finish(&r);
}

/* A loss of another kind in front of an evicted frame must not be forgotten: who takes that frame
 * for the one a foreign id names has to know that there may have been another. */
static void evicting_remembers_other_losses(void **state)
{
    (void)state;
    struct ring r;
    ring_init(&r);
    push_frame(&r, 10);
    push_hole(&r, 15, channels[0], GAP_UPSTREAM);
    push_frame(&r, 20);
    frame_unref(ring_evict_oldest(&r, 21));
    expect_seqs(&r, (uint64_t[]){10, 15, 20}, 3);
    frame_unref(ring_evict_oldest(&r, 22));
    expect_seqs(&r, (uint64_t[]){20}, 1);
    assert_int_equal(hole_at(&r, 0)->evicted_seq, 20);
    assert_int_equal(hole_at(&r, 0)->evicted_prev, 15);
    ring_finish(&r);
}

static void pushed_holes_melt(void **state)
{
    (void)state;
    struct ring r;
    ring_init(&r);
    push_hole(&r, 1, channels[0], GAP_OVERSIZE);
    push_hole(&r, 2, channels[0], GAP_OVERSIZE);
    expect_seqs(&r, (uint64_t[]){2}, 1);
    push_hole(&r, 3, channels[1], GAP_OVERSIZE); /* whose they are is kept */
    push_hole(&r, 4, channels[2], GAP_OVERSIZE);
    expect_seqs(&r, (uint64_t[]){2, 3, 4}, 3);
    assert_int_equal(hole_at(&r, 0)->first, 1);
    assert_ptr_equal(hole_at(&r, 1)->channel, channels[1]);
    push_hole(&r, 4, channels[2], GAP_OVERSIZE); /* at the same place */
    expect_seqs(&r, (uint64_t[]){2, 3, 4}, 3);
    push_frame(&r, 5);
    push_hole(&r, 6, channels[2], GAP_OVERSIZE); /* not over a frame */
    push_hole(&r, 7, channels[2], GAP_UPSTREAM);
    expect_seqs(&r, (uint64_t[]){2, 3, 4, 5, 6, 7}, 6);
    push_hole(&r, 8, channels[2], GAP_OVERSIZE); /* two of its stand there already: one now */
    expect_seqs(&r, (uint64_t[]){2, 3, 4, 5, 7, 8}, 6);
    ring_finish(&r);
}

/* A merged log of a few channels: each has one hole in a run of them, at its newest place. */
static void holes_of_a_run_keep_their_channels(void **state)
{
    (void)state;
    struct ring r;
    ring_init(&r);
    for (uint64_t s = 1; s <= 900; s++)
        assert_int_equal(ring_push_frame(&r, make_sized(channels[s % 3], s, 1, 3)), ERR_OK);
    for (uint64_t s = 1; s <= 899; s++)
        assert_true(ring_evict_at(&r, s, s));
    assert_int_equal(ring_frames(&r), 1);
    assert_true(r.holes < 32);
    uint64_t newest[CHANNELS] = {0};
    for (uint32_t i = 0; i < r.holes; i++) {
        const struct entry *e = ring_at(&r, i);
        assert_true(entry_is_hole(e));
        assert_ptr_equal(e->u.hole->channel, channels[e->u.hole->evicted_seq % 3]);
        newest[e->u.hole->evicted_seq % 3] = entry_seq(e);
    }
    for (uint64_t s = 897; s <= 899; s++)
        assert_int_equal(newest[s % 3], s);
    ring_finish(&r);
}

/* Of very many channels that have lost everything only that is kept. */
static void holes_of_many_channels_become_one(void **state)
{
    (void)state;
    struct ring r;
    ring_init(&r);
    for (uint64_t s = 1; s <= 5000; s++) {
        char text[16];
        (void)snprintf(text, sizeof text, "c%u", (unsigned)s);
        struct name *name = make_name(text);
        push_hole(&r, s, name, GAP_OVERSIZE);
        name_unref(name);
        assert_true(r.holes <= 2 * 128 + 17);
    }
    assert_null(hole_at(&r, 0)->channel);
    assert_int_equal(hole_at(&r, 0)->first, 1);
    assert_int_equal(ring_head(&r), 5000);
    ring_finish(&r);
}

/* Outages are remembered one by one, since "was there one between?" is asked; past the bound the
 * oldest go, and what they said stays said. */
static void distinct_holes_stay_apart(void **state)
{
    (void)state;
    struct ring r;
    ring_init(&r);
    r.distinct = true;
    for (uint64_t s = 1; s <= RING_DISTINCT_MAX + 100; s++)
        assert_int_equal(ring_push_mark(&r, s * 10, GAP_UPSTREAM, s * 10), ERR_OK);
    assert_int_equal(r.newest_wide, 1010); /* the oldest, which has swallowed a hundred */
    assert_int_equal(r.holes, RING_DISTINCT_MAX);
    assert_int_equal(r.count, RING_DISTINCT_MAX);
    for (uint32_t i = 0; i < r.count; i++)
        assert_int_equal(entry_seq(ring_at(&r, i)), (i + 101) * 10);
    ring_finish(&r);
    assert_true(r.distinct);
}

/* Two reasons between any two frames: once the frames are gone their holes must not pile up. */
static void holes_do_not_pile_up(void **state)
{
    (void)state;
    struct ring r;
    ring_init(&r);
    for (uint64_t s = 0; s < 3000; s += 3) {
        push_frame(&r, s + 1);
        push_hole(&r, s + 2, channels[0], GAP_OVERSIZE);
        push_hole(&r, s + 3, channels[0], GAP_UPSTREAM);
        if (ring_frames(&r) > 2)
            frame_unref(ring_evict_oldest(&r, s));
        assert_true(r.holes <= 2 * (ring_frames(&r) + 1));
    }
    assert_true(r.mask < 64);
    ring_finish(&r);
}

static void copies_and_assigns(void **state)
{
    (void)state;
    struct ring a, b;
    ring_init(&a);
    ring_init(&b);
    push_frame(&b, 1);
    for (uint64_t s = 1; s <= 21; s++)
        push_frame(&a, s);
    for (int i = 0; i < 5; i++)
        frame_unref(ring_evict_oldest(&a, 30));
    push_hole(&a, 31, NULL, GAP_UPSTREAM);
    struct entry *entries = malloc(a.count * sizeof *entries);
    assert_non_null(entries);
    assert_int_equal(ring_copy(&a, entries), ERR_OK);
    assert_int_equal(ring_assign(&b, entries, a.count), ERR_OK);
    free(entries);
    assert_int_equal(b.count, a.count);
    assert_int_equal(b.holes, a.holes);
    for (uint32_t i = 0; i < a.count; i++) {
        assert_int_equal(ring_at(&a, i)->word, ring_at(&b, i)->word);
        if (!entry_is_hole(ring_at(&a, i)))
            assert_ptr_equal(ring_at(&a, i)->u.frame, ring_at(&b, i)->u.frame);
    }
    const struct hole *x = hole_at(&a, 0);
    const struct hole *y = hole_at(&b, 0);
    assert_ptr_not_equal(x, y);
    assert_true(x->evicted_seq == y->evicted_seq && x->evicted_prev == y->evicted_prev &&
                x->evicted_fp == y->evicted_fp && x->made == y->made && x->reason == y->reason);
    assert_int_equal(ring_assign(&b, NULL, 0), ERR_OK);
    assert_int_equal(b.count, 0);
    push_frame(&b, 1);
    ring_finish(&a);
    ring_finish(&b);
}

static void grows_and_shrinks(void **state)
{
    (void)state;
    struct ring r;
    ring_init(&r);
    for (uint64_t s = 1; s <= 5000; s++)
        push_frame(&r, s);
    size_t most = ring_overhead(&r);
    while (ring_frames(&r) > 0)
        frame_unref(ring_evict_oldest(&r, 1));
    assert_int_equal(r.count, 1);
    assert_true(ring_overhead(&r) < most / 100);
    for (uint64_t s = 5001; s <= 5100; s++)
        push_frame(&r, s);
    assert_int_equal(ring_frames(&r), 100);
    ring_finish(&r);
}

/* ---- against the model ----------------------------------------------------------------------- */

struct world {
    struct prng rng;
    struct ring ring;
    struct ring_model model;
    uint64_t seq;
    size_t channels; /* of all holes and frames, the first so many */
};

static void step_append(struct world *w)
{
    struct name *channel = channels[prng_below(&w->rng, w->channels)];
    struct frame *f = make_sized(channel, w->seq, (uint32_t)prng_next(&w->rng), 1);
    model_append(&w->model, f);
    assert_int_equal(ring_push_frame(&w->ring, f), ERR_OK);
}

static void step_hole(struct world *w)
{
    size_t c = w->channels == 1 ? 0 : prng_below(&w->rng, CHANNELS + 1);
    enum gap_reason reason = (enum gap_reason)prng_below(&w->rng, GAP_REASON_COUNT);
    push_hole(&w->ring, w->seq, c == CHANNELS ? NULL : channels[c], reason);
    model_hole(&w->model, w->seq);
}

static void step_evict_oldest(struct world *w)
{
    struct model_entry *e = model_oldest(&w->model);
    struct frame *f = ring_evict_oldest(&w->ring, w->seq);
    assert_true((e == NULL) == (f == NULL));
    if (e == NULL)
        return;
    assert_int_equal(f->seq, e->seq);
    model_evict(&w->model, e);
    frame_unref(f);
}

static void step_evict_at(struct world *w)
{
    if (w->ring.count == 0)
        return;
    uint64_t seq = entry_seq(ring_at(&w->ring, (uint32_t)prng_below(&w->rng, w->ring.count)));
    if (prng_below(&w->rng, 10) == 0)
        seq++; /* very likely nothing, or a neighbour */
    struct model_entry *e = model_find(&w->model, seq);
    assert_int_equal(ring_evict_at(&w->ring, seq, w->seq), e != NULL);
    if (e != NULL)
        model_evict(&w->model, e);
}

static void check_somewhere(struct world *w, int i)
{
    uint64_t back = prng_below(&w->rng, w->model.kept + 10);
    model_check(&w->model, &w->ring, w->seq > back ? w->seq - back : 0);
    if (i % 50 == 0)
        model_check_shape(&w->model, &w->ring);
    if (i % 10000 == 0)
        model_check(&w->model, &w->ring, 0);
}

/* The ring of a channel's log (evicted from its start) or of a merged one (evicted anywhere). */
static void run_model(uint64_t seed, bool merged, int steps)
{
    print_message("seed %llu\n", (unsigned long long)seed);
    struct world w = {.rng = {seed}, .channels = merged ? CHANNELS : 1};
    ring_init(&w.ring);
    model_init(&w.model);
    size_t limit = 20;
    for (int i = 0; i < steps; i++) {
        if (i % 2000 == 0)
            limit = 1 + prng_below(&w.rng, 120);
        size_t dice = prng_below(&w.rng, 100);
        w.seq++;
        if (dice < 50)
            step_append(&w);
        else if (dice < 65)
            step_hole(&w);
        else if (merged)
            step_evict_at(&w);
        while (w.model.kept > limit || (!merged && dice >= 90 && prng_below(&w.rng, 3) > 0)) {
            size_t kept = w.model.kept;
            merged ? step_evict_at(&w) : step_evict_oldest(&w);
            if (!merged && kept == 0)
                break;
        }
        /* Merged: a run between two frames may hold one of each channel, and more until they melt
         * the next time. */
        assert_true(w.ring.holes <= 2 * (w.model.kept + 1) + (merged ? 2 * 128 + 16 : 0));
        check_somewhere(&w, i);
    }
    ring_finish(&w.ring);
    model_finish(&w.model);
}

static void agrees_with_the_model(void **state)
{
    (void)state;
    run_model(1001, false, 150000);
}

static void merged_agrees_with_the_model(void **state)
{
    (void)state;
    run_model(2002, true, 100000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_ring_says_nothing),
        cmocka_unit_test(reasons_have_texts),
        cmocka_unit_test(after_is_linear_search),
        cmocka_unit_test(evicting_makes_one_hole),
        cmocka_unit_test(evicting_remembers_other_losses),
        cmocka_unit_test(pushed_holes_melt),
        cmocka_unit_test(holes_of_a_run_keep_their_channels),
        cmocka_unit_test(holes_of_many_channels_become_one),
        cmocka_unit_test(distinct_holes_stay_apart),
        cmocka_unit_test(holes_do_not_pile_up),
        cmocka_unit_test(copies_and_assigns),
        cmocka_unit_test(grows_and_shrinks),
        cmocka_unit_test(agrees_with_the_model),
        cmocka_unit_test(merged_agrees_with_the_model),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
