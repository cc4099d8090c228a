#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include "tickerd/base/err.h"
#include "tickerd/broker/frame.h"
#include "tickerd/net/inbox.h"

enum { MIB = 1 << 20, RUN = 200000, FRAME_BYTES = 20000 };

/* An inbox, and the consumer's loop with what it saw. */
struct rig {
    uv_loop_t loop;
    struct inbox inbox;
    unsigned wakes;
    unsigned batch; /* notes taken per wake-up; 0: all */
    uint64_t next;  /* seq of the note expected next */
    bool unordered;
    bool overflown;
    uint64_t last; /* the seq after which the consumer closes */
};

static void take(struct rig *r, const struct note *n)
{
    r->unordered = r->unordered || n->seq != r->next;
    r->next = n->seq + 1;
    if (n->kind == NOTE_FRAME)
        frame_unref(n->ref);
}

static void on_wake(void *ctx)
{
    struct rig *r = ctx;
    struct note n;
    r->wakes++;
    for (unsigned i = 0; (r->batch == 0 || i < r->batch) && inbox_pop(&r->inbox, &n); i++)
        take(r, &n);
    if (!inbox_rewake(&r->inbox) && inbox_overflown(&r->inbox))
        r->overflown = true;
    if (r->last > 0 && r->next > r->last)
        inbox_close(&r->inbox);
}

static void rig_start(struct rig *r)
{
    *r = (struct rig){.next = 0};
    assert_int_equal(uv_loop_init(&r->loop), 0);
    assert_int_equal(inbox_init(&r->inbox, &r->loop, on_wake, r), ERR_OK);
}

static void rig_stop(struct rig *r)
{
    if (!uv_is_closing((uv_handle_t *)&r->inbox.async))
        inbox_close(&r->inbox);
    (void)uv_run(&r->loop, UV_RUN_DEFAULT);
    inbox_finish(&r->inbox);
    assert_int_equal(uv_loop_close(&r->loop), 0);
}

static void turn(struct rig *r)
{
    (void)uv_run(&r->loop, UV_RUN_NOWAIT);
}

static bool push(struct rig *r, uint64_t seq)
{
    struct note n = {.kind = NOTE_EVICT, .seq = seq};
    return inbox_push(&r->inbox, &n);
}

static bool push_frame(struct rig *r, uint64_t seq, size_t bytes)
{
    static char text[MIB];
    char *large = bytes > sizeof text ? calloc(1, bytes) : NULL;
    struct frame *f = frame_wrap(large == NULL ? text : large, bytes);
    assert_non_null(f);
    free(large);
    struct note n = {.kind = NOTE_FRAME, .seq = seq, .ref = f};
    bool pushed = inbox_push(&r->inbox, &n);
    if (!pushed)
        frame_unref(f);
    return pushed;
}

static void test_order_and_one_wake_up_for_many(void **state)
{
    (void)state;
    struct rig r;
    rig_start(&r);
    inbox_wake(&r.inbox); /* nothing was pushed: nobody is woken */
    turn(&r);
    assert_int_equal(r.wakes, 0);
    for (uint64_t i = 0; i < 3 * INBOX_SIZE; i += 1000) {
        for (uint64_t j = 0; j < 1000; j++)
            assert_true(push(&r, i + j));
        inbox_wake(&r.inbox);
        inbox_wake(&r.inbox);
        turn(&r);
        assert_int_equal(r.wakes, i / 1000 + 1);
        assert_int_equal(r.next, i + 1000);
    }
    turn(&r);
    assert_int_equal(r.wakes, 3 * INBOX_SIZE / 1000 + 1);
    assert_false(r.unordered);
    rig_stop(&r);
}

static void test_overflow_is_told_once(void **state)
{
    (void)state;
    struct rig r;
    rig_start(&r);
    for (uint64_t i = 0; i < INBOX_SIZE; i++)
        assert_true(push(&r, i));
    assert_false(inbox_overflown(&r.inbox));
    assert_false(push(&r, INBOX_SIZE));
    assert_false(push(&r, INBOX_SIZE));
    inbox_wake(&r.inbox);
    turn(&r);
    assert_int_equal(r.next, INBOX_SIZE);
    assert_true(r.overflown);
    assert_false(inbox_overflown(&r.inbox));
    assert_true(push(&r, INBOX_SIZE));
    rig_stop(&r);
}

/* A refused push alone wakes the consumer, too: it has something to be told. */
static void test_a_refused_push_wakes(void **state)
{
    (void)state;
    struct rig r;
    rig_start(&r);
    for (uint64_t i = 0; i < INBOX_SIZE; i++)
        assert_true(push(&r, i));
    inbox_wake(&r.inbox);
    assert_false(push(&r, INBOX_SIZE));
    turn(&r);
    unsigned before = r.wakes;
    inbox_wake(&r.inbox);
    turn(&r);
    assert_int_equal(r.wakes, before + 1);
    rig_stop(&r);
}

static void test_bytes_are_bounded(void **state)
{
    (void)state;
    struct rig r;
    rig_start(&r);
    uint64_t seq = 0;
    for (int round = 0; round < 3; round++) {
        uint64_t from = seq;
        while (push_frame(&r, seq, MIB))
            seq++;
        assert_int_equal(seq - from, INBOX_BYTES / MIB - 1); /* a frame costs a little more */
        assert_true(push(&r, seq));                          /* holds no bytes */
        seq++;
        assert_false(push_frame(&r, seq, MIB));
        inbox_wake(&r.inbox);
        turn(&r);
        assert_int_equal(r.next, seq);
        assert_true(r.overflown);
        r.overflown = false;
    }
    assert_false(r.unordered);
    rig_stop(&r);
}

/* Else a frame above the bound could never be sent at all. */
static void test_an_empty_inbox_takes_any_frame(void **state)
{
    (void)state;
    struct rig r;
    rig_start(&r);
    assert_true(push_frame(&r, 0, INBOX_BYTES + 1));
    assert_false(push_frame(&r, 1, 1));
    inbox_wake(&r.inbox);
    turn(&r);
    assert_true(push_frame(&r, 1, 1));
    rig_stop(&r);
}

static void test_a_consumer_may_take_it_in_parts(void **state)
{
    (void)state;
    struct rig r;
    rig_start(&r);
    r.batch = 10;
    for (uint64_t i = 0; i < 25; i++)
        assert_true(push(&r, i));
    inbox_wake(&r.inbox);
    for (uint64_t want = 10; want <= 30; want += 10) {
        turn(&r);
        assert_int_equal(r.next, want > 25 ? 25 : want);
    }
    turn(&r);
    assert_int_equal(r.wakes, 3);
    assert_false(r.unordered);
    rig_stop(&r);
}

/* Some notes with frames, some without, in bursts that often fill the inbox, by its bytes first. */
static void *produce(void *arg)
{
    struct rig *r = arg;
    for (uint64_t seq = 0; seq <= RUN; seq++) {
        while (!(seq % 3 == 0 ? push_frame(r, seq, FRAME_BYTES) : push(r, seq))) {
            inbox_wake(&r->inbox);
            (void)sched_yield();
        }
        if (seq % 100 == 0 || seq == RUN)
            inbox_wake(&r->inbox);
    }
    return NULL;
}

static void test_two_threads(void **state)
{
    (void)state;
    struct rig r;
    pthread_t producer;
    rig_start(&r);
    r.batch = 1000;
    r.last = RUN;
    assert_int_equal(pthread_create(&producer, NULL, produce, &r), 0);
    (void)uv_run(&r.loop, UV_RUN_DEFAULT);
    assert_int_equal(pthread_join(producer, NULL), 0);
    assert_int_equal(r.next, RUN + 1);
    assert_false(r.unordered);
    rig_stop(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_and_one_wake_up_for_many),
        cmocka_unit_test(test_overflow_is_told_once),
        cmocka_unit_test(test_a_refused_push_wakes),
        cmocka_unit_test(test_bytes_are_bounded),
        cmocka_unit_test(test_an_empty_inbox_takes_any_frame),
        cmocka_unit_test(test_a_consumer_may_take_it_in_parts),
        cmocka_unit_test(test_two_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
