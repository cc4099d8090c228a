#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdatomic.h>

#include "broker_util.h"
#include "tickerd/base/err.h"

struct fixture {
    struct name *news, *pattern;
    struct view *channel, *merged;
};

static void start(struct fixture *f)
{
    f->news = make_name("news");
    f->pattern = make_name("n*");
    f->channel = view_create(f->news, false, 1, 1);
    f->merged = view_create(f->pattern, true, 2, 1);
    assert_non_null(f->channel);
    assert_non_null(f->merged);
}

static void finish(struct fixture *f)
{
    view_destroy(f->channel);
    view_destroy(f->merged);
    assert_int_equal(atomic_load(&f->news->refs), 1);
    assert_int_equal(atomic_load(&f->pattern->refs), 1);
    name_unref(f->news);
    name_unref(f->pattern);
}

static void apply(struct view *v, struct note n, uint64_t made)
{
    view_apply(v, &n, made);
    assert_null(n.ref);
}

static void append(struct fixture *f, struct view *v, uint64_t seq)
{
    apply(v, (struct note){.kind = NOTE_FRAME, .ref = make_frame(f->news, seq, "x")}, 0);
}

static void begins_unknown(void **state)
{
    (void)state;
    struct fixture f;
    start(&f);
    assert_false(f.channel->loaded);
    assert_false(f.channel->live);
    assert_false(f.channel->ring.distinct);
    struct view *marks = view_create(f.news, false, VIEW_MARKS, 1);
    assert_true(marks->ring.distinct);
    view_destroy(marks);
    view_destroy(NULL);
    finish(&f);
}

static void evicts_a_channel_from_its_start(void **state)
{
    (void)state;
    struct fixture f;
    start(&f);
    for (uint64_t s = 10; s <= 50; s += 10)
        append(&f, f.channel, s);
    apply(f.channel, (struct note){.kind = NOTE_EVICT, .seq = 5}, 1);
    assert_int_equal(ring_frames(&f.channel->ring), 5);
    apply(f.channel, (struct note){.kind = NOTE_EVICT, .seq = 10}, 2);
    assert_int_equal(ring_frames(&f.channel->ring), 4);
    assert_int_equal(ring_at(&f.channel->ring, 0)->u.hole->made, 2);
    /* What an eviction had no memory for goes with the next. */
    apply(f.channel, (struct note){.kind = NOTE_EVICT, .seq = 30}, 3);
    assert_int_equal(ring_frames(&f.channel->ring), 2);
    assert_false(view_holds(f.channel, 30));
    assert_true(view_holds(f.channel, 40));
    assert_false(view_holds(f.channel, 41));
    assert_false(view_holds(f.channel, 9));
    finish(&f);
}

static void evicts_a_pattern_anywhere(void **state)
{
    (void)state;
    struct fixture f;
    start(&f);
    for (uint64_t s = 10; s <= 50; s += 10)
        append(&f, f.merged, s);
    apply(f.merged, (struct note){.kind = NOTE_EVICT, .seq = 30}, 7);
    assert_int_equal(ring_frames(&f.merged->ring), 4);
    assert_false(view_holds(f.merged, 30));
    assert_true(view_holds(f.merged, 10));
    apply(f.merged, (struct note){.kind = NOTE_EVICT, .seq = 31}, 7);
    apply(f.merged, (struct note){.kind = NOTE_EVICT, .seq = 30}, 7);
    assert_int_equal(ring_frames(&f.merged->ring), 4);
    finish(&f);
}

static void takes_holes_and_resets(void **state)
{
    (void)state;
    struct fixture f;
    start(&f);
    append(&f, f.channel, 10);
    struct note n = {.kind = NOTE_HOLE, .seq = 20, .arg = GAP_OVERSIZE, .ref = name_ref(f.news)};
    apply(f.channel, n, 0);
    assert_int_equal(ring_newest_hole(&f.channel->ring), 20);
    struct frame *own = make_published(f.news, 21, "x", "p1");
    apply(f.channel, (struct note){.kind = NOTE_FRAME, .ref = own}, 0);
    assert_int_equal(f.channel->publisher_ids, 1);
    struct snapshot *s = make_snapshot(&f.channel->ring, 30, true);
    apply(f.merged, (struct note){.kind = NOTE_RESET, .ref = s}, 0);
    assert_true(f.merged->loaded);
    assert_true(f.merged->live);
    assert_int_equal(f.merged->publisher_ids, 1);
    assert_int_equal(f.merged->ring.count, 3);
    apply(f.merged, (struct note){.kind = NOTE_RESET, .ref = make_snapshot(NULL, 31, false)}, 0);
    assert_int_equal(f.merged->ring.count, 0);
    assert_int_equal(f.merged->publisher_ids, 0);
    assert_true(f.merged->loaded);
    assert_false(f.merged->live);
    finish(&f);
}

/* Notes that are not a view's own business are released all the same. */
static void releases_what_it_ignores(void **state)
{
    (void)state;
    struct fixture f;
    start(&f);
    apply(f.channel, (struct note){.kind = NOTE_INTEREST, .ref = name_ref(f.news)}, 0);
    apply(f.channel, (struct note){.kind = NOTE_LIVE, .arg = 1}, 0);
    assert_int_equal(f.channel->ring.count, 0);
    finish(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(begins_unknown),
        cmocka_unit_test(evicts_a_channel_from_its_start),
        cmocka_unit_test(evicts_a_pattern_anywhere),
        cmocka_unit_test(takes_holes_and_resets),
        cmocka_unit_test(releases_what_it_ignores),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
