#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "prng.h"
#include "tickerd/broker/timeline.h"

#define SECOND UINT64_C(1000000)
#define HOUR (3600 * SECOND)
#define WALL UINT64_C(1700000000000000)

/* A host whose clocks the test turns; tags count up from 1. */
struct host {
    struct hubclock clock;
    uint64_t mono, wall;
    uint32_t tag;
};

static void host_init(struct host *h)
{
    h->mono = 5 * HOUR;
    h->wall = WALL;
    h->tag = 1;
    hubclock_init(&h->clock, h->mono, h->wall, h->tag);
}

static bool turn(struct host *h, uint64_t passed)
{
    h->mono += passed;
    h->wall += passed;
    if (hubclock_turn(&h->clock, h->mono, h->wall, h->tag + 1) != CLOCK_STEPPED)
        return false;
    h->tag++;
    return true;
}

static struct eventid id_of(const struct host *h, uint64_t seq)
{
    return timeline_id(&h->clock.line, seq, 77);
}

static void assert_resolves(const struct host *h, uint64_t seq)
{
    struct eventid id = id_of(h, seq);
    uint64_t back = 0;
    assert_true(timeline_resolve(&h->clock.line, &id, &back));
    assert_int_equal(back, seq);
}

/* What a foreign id with this time may stand for, clocks being exact. */
static void assert_from_wall(const struct host *h, uint64_t wall, uint64_t lo, uint64_t hi)
{
    struct span span = timeline_from_wall(&h->clock.line, wall, hubclock_now(&h->clock), 10);
    assert_int_equal(span.lo, lo);
    assert_int_equal(span.hi, hi);
}

static void shows_the_wall_clock(void **state)
{
    (void)state;
    struct host h;
    host_init(&h);
    assert_int_equal(hubclock_now(&h.clock), WALL);
    assert_false(turn(&h, 100000));
    assert_int_equal(hubclock_now(&h.clock), WALL + 100000);
    uint64_t seq = hubclock_next(&h.clock);
    assert_int_equal(seq, WALL + 100001);
    struct eventid id = id_of(&h, seq);
    assert_int_equal(id.seq, seq);
    assert_int_equal(id.tag, 1);
    assert_int_equal(id.fp, 77);
    assert_resolves(&h, seq);
    assert_from_wall(&h, WALL + 9, WALL + 9, WALL + 9);
    struct eventid foreign = {.seq = seq, .tag = 99};
    uint64_t out = 5;
    assert_false(timeline_resolve(&h.clock.line, &foreign, &out));
}

/* More events in a turn than microseconds: the clock runs ahead and never turns back. */
static void grows_strictly(void **state)
{
    (void)state;
    struct host h;
    host_init(&h);
    uint64_t before = hubclock_now(&h.clock);
    for (int t = 0; t < 100; t++) {
        (void)turn(&h, 10);
        for (int i = 0; i < 50; i++) {
            uint64_t seq = hubclock_next(&h.clock);
            assert_true(seq > before);
            before = seq;
        }
    }
    assert_int_equal(before, WALL + 10 + 50 + 99 * 50);
}

static void small_steps_change_nothing(void **state)
{
    (void)state;
    struct host h;
    host_init(&h);
    h.wall += SECOND;
    assert_false(turn(&h, 1000));
    h.wall -= 2 * SECOND;
    assert_false(turn(&h, 1000));
    assert_int_equal(id_of(&h, hubclock_next(&h.clock)).tag, 1);
    h.wall -= 1; /* small ones add up */
    assert_true(turn(&h, 1000));
    assert_int_equal(id_of(&h, hubclock_next(&h.clock)).tag, 2);
}

static void steps_begin_epochs(void **state)
{
    (void)state;
    const int64_t steps[] = {(int64_t)HOUR, -3 * (int64_t)HOUR, (int64_t)SECOND + 1};
    struct host h;
    host_init(&h);
    uint64_t seqs[4];
    struct eventid ids[4];
    for (size_t i = 0; i < 4; i++) {
        if (i > 0)
            h.wall += (uint64_t)steps[i - 1];
        assert_int_equal(turn(&h, 1000), i > 0);
        assert_false(turn(&h, 1000)); /* once per step */
        seqs[i] = hubclock_next(&h.clock);
        ids[i] = id_of(&h, seqs[i]);
        assert_int_equal(ids[i].tag, i + 1);
        assert_int_equal(ids[i].seq, h.wall + 1);
        assert_true(i == 0 || seqs[i] > seqs[i - 1]);
        /* Set back to before the start: it may also be an id from before this run. */
        assert_from_wall(&h, h.wall, i >= 2 ? h.wall : seqs[i] - 1, seqs[i] - 1);
    }
    for (size_t i = 0; i < 4; i++) {
        struct eventid now = id_of(&h, seqs[i]);
        assert_int_equal(now.seq, ids[i].seq);
        assert_int_equal(now.tag, ids[i].tag);
        assert_resolves(&h, seqs[i]);
    }
}

/* Ids of another instance, whose clock was stepped as ours was. */
static void foreign_times_around_a_step_forth(void **state)
{
    (void)state;
    struct host h;
    host_init(&h);
    (void)turn(&h, SECOND);
    h.wall += 3 * HOUR;
    assert_true(turn(&h, SECOND));
    (void)turn(&h, SECOND);
    uint64_t now = WALL + 3 * SECOND;
    assert_int_equal(hubclock_now(&h.clock), now);
    assert_from_wall(&h, WALL - HOUR, WALL - HOUR, WALL - HOUR);
    assert_from_wall(&h, WALL + SECOND, WALL + SECOND, WALL + SECOND);
    assert_from_wall(&h, now + 3 * HOUR, now, now);
    assert_from_wall(&h, now + 3 * HOUR - SECOND, now - SECOND, now - SECOND);
    /* A time that was left out: rather too early than too late. */
    assert_from_wall(&h, WALL + HOUR, WALL - 2 * HOUR, WALL - 2 * HOUR);
    assert_from_wall(&h, now + 4 * HOUR, now + HOUR, now + HOUR); /* of the future */
}

static void foreign_times_around_a_step_back(void **state)
{
    (void)state;
    struct host h;
    host_init(&h);
    (void)turn(&h, SECOND);
    h.wall -= HOUR;
    assert_true(turn(&h, 0));
    uint64_t step = WALL + SECOND;
    /* Before the step, the whole hour that is to come again has been once. */
    assert_from_wall(&h, step - SECOND, step - SECOND, step - SECOND);
    for (int i = 0; i < 3600; i++)
        (void)turn(&h, SECOND);
    /* By now it has been twice. */
    assert_from_wall(&h, step - HOUR / 2, step - HOUR / 2, step + HOUR / 2);
    for (int i = 0; i < 60; i++)
        (void)turn(&h, SECOND);
    assert_from_wall(&h, step + 30 * SECOND, step + HOUR + 30 * SECOND, step + HOUR + 30 * SECOND);
    assert_from_wall(&h, step - 2 * HOUR, step - 2 * HOUR, step - 2 * HOUR);
}

static void forgets_the_oldest_epoch(void **state)
{
    (void)state;
    struct host h;
    host_init(&h);
    enum { STEPS = 40 };
    struct eventid ids[STEPS];
    uint64_t seqs[STEPS];
    for (size_t i = 0; i < STEPS; i++) {
        seqs[i] = hubclock_next(&h.clock);
        ids[i] = id_of(&h, seqs[i]);
        h.wall += i % 2 == 0 ? HOUR : (uint64_t) - (int64_t)(HOUR / 2);
        assert_true(turn(&h, 500));
    }
    assert_int_equal(h.clock.line.count, TIMELINE_EPOCHS);
    for (size_t i = 0; i < STEPS; i++) {
        uint64_t seq = 0;
        /* The present epoch has no event yet: fifteen of those seen are left. */
        bool known = i >= STEPS - (TIMELINE_EPOCHS - 1);
        assert_int_equal(timeline_resolve(&h.clock.line, &ids[i], &seq), known);
        if (known)
            assert_int_equal(seq, seqs[i]);
        assert_resolves(&h, seqs[i]); /* even those are shown so that they come back */
    }
}

static void stalls_keep_the_time_before(void **state)
{
    (void)state;
    struct host h;
    host_init(&h);
    assert_false(turn(&h, 500000));
    uint64_t before = hubclock_now(&h.clock);
    assert_false(turn(&h, SECOND)); /* exactly a second is none */
    assert_int_equal(hubclock_now(&h.clock), before + SECOND);
    before = hubclock_now(&h.clock);
    assert_false(turn(&h, 30 * SECOND));
    assert_int_equal(hubclock_now(&h.clock), before);
    assert_int_equal(hubclock_next(&h.clock), before + 1);
    /* The loop's timers had that turn; what waited in the socket is read in the next ones. */
    assert_false(turn(&h, 50));
    assert_int_equal(hubclock_next(&h.clock), before + 2);
    assert_false(turn(&h, TIMELINE_HOLD_US));
    assert_int_equal(hubclock_now(&h.clock), before + 30 * SECOND + 50 + TIMELINE_HOLD_US);
}

/* What was published while the hub stood still is stamped from before it: whoever comes from
 * another instance with a position of that while must be served from there. */
static void what_a_stall_may_hide(void **state)
{
    (void)state;
    struct host h;
    host_init(&h);
    (void)turn(&h, SECOND / 2);
    uint64_t before = hubclock_now(&h.clock);
    (void)turn(&h, 3 * SECOND);
    (void)turn(&h, TIMELINE_HOLD_US / 2);
    (void)turn(&h, 2 * SECOND); /* still held from the one before: the same */
    uint64_t woken = before + 5 * SECOND + TIMELINE_HOLD_US / 2;
    const struct timeline *t = &h.clock.line;
    assert_int_equal(t->stalled, 1);
    assert_int_equal(timeline_earliest(t, before), before);
    assert_int_equal(timeline_earliest(t, before + 2), before + 1);
    assert_int_equal(timeline_earliest(t, before + 4 * SECOND), before + 1);
    assert_int_equal(timeline_earliest(t, woken + TIMELINE_HOLD_US), before + 1);
    assert_int_equal(timeline_earliest(t, woken + TIMELINE_HOLD_US + 1),
                     woken + TIMELINE_HOLD_US + 1);
    for (int i = 0; i < TIMELINE_STALLS; i++) { /* the oldest is forgotten */
        (void)turn(&h, SECOND / 2);
        (void)turn(&h, 2 * SECOND);
    }
    assert_int_equal(timeline_earliest(&h.clock.line, before + 2), before + 2);
}

/* A stall and a step at once: the process slept while somebody set the clock. */
static void steps_during_stalls(void **state)
{
    (void)state;
    struct host h;
    host_init(&h);
    uint64_t first = hubclock_next(&h.clock);
    h.wall -= 2 * HOUR;
    assert_true(turn(&h, HOUR));
    uint64_t second = hubclock_next(&h.clock);
    assert_true(second > first);
    assert_int_equal(id_of(&h, first).tag, 1);
    assert_int_equal(id_of(&h, second).tag, 2);
    /* Shown in the new clock's terms, as of the time before the stall. */
    assert_int_equal(id_of(&h, second).seq, second - 2 * HOUR);
    assert_resolves(&h, first);
    assert_resolves(&h, second);
}

/* Stop, and start again with clocks of any kind. */
static void resume(struct host *h, uint64_t mono, uint64_t wall)
{
    struct timeline line = h->clock.line;
    uint64_t last = hubclock_now(&h->clock);
    h->mono = mono;
    h->wall = wall;
    hubclock_resume(&h->clock, &line, last, mono, wall, h->tag + 1);
    h->tag = h->clock.line.epochs[h->clock.line.count - 1].tag;
    assert_true(hubclock_now(&h->clock) >= last);
}

static void resumes_where_it_stopped(void **state)
{
    (void)state;
    struct host h;
    host_init(&h);
    uint64_t first = hubclock_next(&h.clock);
    resume(&h, 3, h.wall + HOUR); /* after a reboot, an hour later */
    assert_int_equal(h.tag, 1);
    assert_int_equal(hubclock_now(&h.clock), WALL + HOUR);
    assert_false(turn(&h, 100000));
    uint64_t second = hubclock_next(&h.clock);
    assert_int_equal(second, WALL + HOUR + 100001);
    resume(&h, 9 * HOUR, h.wall - SECOND / 2); /* a little back: the ids run ahead, as in a turn */
    assert_int_equal(h.tag, 1);
    assert_int_equal(hubclock_next(&h.clock), second + 1);
    resume(&h, 9 * HOUR, h.wall - 2 * HOUR);
    assert_int_equal(h.tag, 2);
    uint64_t third = hubclock_next(&h.clock);
    assert_int_equal(third, second + 2);
    assert_int_equal(id_of(&h, third).tag, 2);
    assert_int_equal(id_of(&h, third).seq, h.wall + 1);
    assert_resolves(&h, first);
    assert_resolves(&h, second);
    assert_resolves(&h, third);
    assert_false(turn(&h, 100000));
}

/* What is shown under a tag whose epoch had ended by then was never given by this instance. */
static void ids_beyond_their_epoch_are_not_ours(void **state)
{
    (void)state;
    struct host h;
    host_init(&h);
    uint64_t last = hubclock_next(&h.clock), seq;
    resume(&h, h.mono, h.wall - HOUR);
    struct eventid id = {.seq = last, .tag = 1};
    assert_true(timeline_resolve(&h.clock.line, &id, &seq));
    id.seq = last + 1;
    assert_false(timeline_resolve(&h.clock.line, &id, &seq));
    id.seq = last + 5 * HOUR;
    assert_false(timeline_resolve(&h.clock.line, &id, &seq));
}

static void holds_at_random(void **state)
{
    (void)state;
    const uint64_t seed = 20250207;
    print_message("seed %llu\n", (unsigned long long)seed);
    struct prng rng = {seed};
    struct host h;
    host_init(&h);
    uint64_t last = hubclock_now(&h.clock);
    struct eventid last_id = id_of(&h, last);
    for (int i = 0; i < 20000; i++) {
        size_t dice = prng_below(&rng, 200);
        if (dice == 0)
            h.wall += prng_below(&rng, 10 * HOUR);
        else if (dice == 1)
            h.wall -= prng_below(&rng, 10 * HOUR);
        else if (dice == 3)
            resume(&h, prng_below(&rng, 100 * HOUR), h.wall + prng_below(&rng, HOUR) - HOUR / 2);
        (void)turn(&h, dice == 2 ? prng_below(&rng, 5 * SECOND) : prng_below(&rng, 400));
        for (size_t n = prng_below(&rng, 4); n > 0; n--) {
            uint64_t seq = hubclock_next(&h.clock);
            struct eventid id = id_of(&h, seq);
            assert_true(seq > last);
            assert_true(id.tag >= last_id.tag);
            assert_true(id.tag != last_id.tag || id.seq > last_id.seq);
            assert_resolves(&h, seq);
            last = seq;
            last_id = id;
        }
        assert_true(hubclock_now(&h.clock) >= last);
        assert_resolves(&h, last - prng_below(&rng, 2 * HOUR));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shows_the_wall_clock),
        cmocka_unit_test(grows_strictly),
        cmocka_unit_test(small_steps_change_nothing),
        cmocka_unit_test(steps_begin_epochs),
        cmocka_unit_test(foreign_times_around_a_step_forth),
        cmocka_unit_test(foreign_times_around_a_step_back),
        cmocka_unit_test(forgets_the_oldest_epoch),
        cmocka_unit_test(stalls_keep_the_time_before),
        cmocka_unit_test(resumes_where_it_stopped),
        cmocka_unit_test(ids_beyond_their_epoch_are_not_ours),
        cmocka_unit_test(what_a_stall_may_hide),
        cmocka_unit_test(steps_during_stalls),
        cmocka_unit_test(holds_at_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
