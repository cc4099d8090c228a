#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "broker_util.h"
#include "prng.h"

static void expect_sent(const struct rig *g, size_t i, enum note_kind kind, uint32_t view,
                        uint32_t gen)
{
    assert_true(i < g->sent_count);
    assert_int_equal(g->sent[i].kind, kind);
    if (kind == NOTE_RESYNC)
        return;
    assert_int_equal(g->sent[i].view, view);
    assert_int_equal(g->sent[i].gen, gen);
}

static void expect_topic(const struct rig *g, size_t i, const char *topic, bool pattern)
{
    const struct name *n = g->sent[i].ref;
    assert_non_null(n);
    assert_int_equal(n->len, strlen(topic));
    assert_memory_equal(n->bytes, topic, n->len);
    assert_int_equal(g->sent[i].arg, pattern);
}

static void subscribe(struct rig *g, struct sub *sub, const char *topic, bool pattern)
{
    list_init(&sub->link);
    assert_int_equal(replica_subscribe(&g->replica, sub, topic, strlen(topic), pattern), 0);
}

/* A note for (view, gen) as it was when the hub sent it. */
static void late_frame(struct rig *g, uint32_t view, uint32_t gen, struct frame *f)
{
    struct note n = {.kind = NOTE_FRAME, .view = view, .gen = gen, .ref = f};
    replica_apply(&g->replica, &n);
    assert_null(n.ref);
}

static void asks_for_marks_first(void **state)
{
    (void)state;
    struct rig g;
    rig_init(&g);
    assert_int_equal(g.replica.marks->id, VIEW_MARKS);
    assert_true(g.replica.marks->loaded);
    assert_int_equal(g.replica.marks->gen, 1);
    replica_sweep(&g.replica); /* marks are nobody's and stay */
    assert_int_equal(g.sent_count, 0);
    rig_finish(&g);
}

static void shares_views(void **state)
{
    (void)state;
    struct rig g;
    struct sub a, b, c;
    rig_init(&g);
    subscribe(&g, &a, "news", false);
    subscribe(&g, &b, "news", false);
    subscribe(&g, &c, "news", true); /* a pattern of the same text is another topic */
    assert_ptr_equal(a.view, b.view);
    assert_ptr_not_equal(a.view, c.view);
    assert_int_equal(g.sent_count, 2);
    expect_sent(&g, 0, NOTE_INTEREST, a.view->id, 1);
    expect_topic(&g, 0, "news", false);
    expect_sent(&g, 1, NOTE_INTEREST, c.view->id, 1);
    expect_topic(&g, 1, "news", true);
    replica_unsubscribe(&g.replica, &a);
    replica_sweep(&g.replica);
    assert_int_equal(g.sent_count, 2);
    replica_unsubscribe(&g.replica, &b);
    assert_int_equal(g.sent_count, 2);
    replica_sweep(&g.replica);
    expect_sent(&g, 2, NOTE_DROP, 1, 2);
    replica_unsubscribe(&g.replica, &c);
    rig_finish(&g);
}

/* A client that comes straight back finds the view still there. */
static void comes_back_before_the_sweep(void **state)
{
    (void)state;
    struct rig g;
    struct sub a;
    struct name *news = make_name("news");
    rig_init(&g);
    struct view *v = rig_subscribe(&g, &a, "news", false);
    rig_frame(&g, v, make_frame(news, 10, "x"));
    replica_unsubscribe(&g.replica, &a);
    subscribe(&g, &a, "news", false);
    replica_sweep(&g.replica);
    assert_ptr_equal(a.view, v);
    assert_int_equal(ring_frames(&v->ring), 1);
    assert_int_equal(g.sent_count, 1);
    replica_unsubscribe(&g.replica, &a);
    rig_finish(&g);
    name_unref(news);
}

/* Dropped and taken again: what the hub still sends to the old interest is another generation's. */
static void ignores_older_generations(void **state)
{
    (void)state;
    struct rig g;
    struct sub a;
    struct name *news = make_name("news");
    rig_init(&g);
    struct view *v = rig_subscribe(&g, &a, "news", false);
    uint32_t id = v->id;
    replica_unsubscribe(&g.replica, &a);
    replica_sweep(&g.replica);
    subscribe(&g, &a, "news", false);
    assert_int_equal(a.view->id, id); /* the number is used again */
    assert_int_equal(a.view->gen, 3);
    expect_sent(&g, g.sent_count - 1, NOTE_INTEREST, id, 3);
    struct frame *f = make_frame(news, 10, "x");
    for (uint32_t gen = 0; gen < 3; gen++)
        late_frame(&g, id, gen, frame_ref(f));
    late_frame(&g, id + 1, 1, frame_ref(f)); /* free, and beyond all */
    late_frame(&g, 999, 1, frame_ref(f));
    assert_int_equal(atomic_load(&f->refs), 1);
    assert_int_equal(a.view->ring.count, 0);
    struct note old = {.kind = NOTE_RESET, .view = id, .gen = 1};
    old.ref = make_snapshot(NULL, 5, true);
    replica_apply(&g.replica, &old);
    assert_false(a.view->loaded);
    late_frame(&g, id, 3, f);
    assert_int_equal(a.view->ring.count, 1);
    assert_int_equal(g.replica.head, 10);
    replica_unsubscribe(&g.replica, &a);
    rig_finish(&g);
    name_unref(news);
}

static void says_when_ready(void **state)
{
    (void)state;
    struct rig g;
    struct sub a;
    rig_init(&g);
    size_t before = g.ready;
    subscribe(&g, &a, "news", false);
    struct note n = {.kind = NOTE_RESET, .view = a.view->id, .gen = a.view->gen};
    n.ref = make_snapshot(NULL, 77, false);
    replica_apply(&g.replica, &n);
    assert_int_equal(g.ready, before); /* loaded, not confirmed */
    assert_int_equal(g.replica.head, 77);
    rig_live(&g, a.view, true);
    assert_int_equal(g.ready, before + 1);
    assert_ptr_equal(g.last_ready, a.view);
    rig_live(&g, a.view, true);
    assert_int_equal(g.ready, before + 1);
    n = (struct note){.kind = NOTE_UPSTREAM, .arg = 0};
    replica_apply(&g.replica, &n);
    assert_false(view_ready(a.view));
    n = (struct note){.kind = NOTE_UPSTREAM, .arg = 1};
    replica_apply(&g.replica, &n);
    assert_false(view_ready(a.view)); /* each view is confirmed for itself */
    rig_live(&g, a.view, true);
    assert_int_equal(g.ready, before + 2);
    replica_unsubscribe(&g.replica, &a);
    rig_finish(&g);
}

/* An answer may hold a hole stamped behind the head it names; a first connect must not be told. */
static void reaches_the_newest_entry(void **state)
{
    (void)state;
    struct rig g;
    struct sub a;
    rig_init(&g);
    struct view *v = rig_subscribe(&g, &a, "n*", true);
    struct ring log;
    ring_init(&log);
    assert_int_equal(ring_push_hole(&log, 51, NULL, GAP_UNSUBSCRIBED), 0);
    rig_reset(&g, v, &log, 50);
    assert_int_equal(g.replica.head, 51);
    replica_reached(&g.replica, 40);
    assert_int_equal(g.replica.head, 51);
    replica_reached(&g.replica, 60);
    assert_int_equal(g.replica.head, 60);
    ring_finish(&log);
    replica_unsubscribe(&g.replica, &a);
    rig_finish(&g);
}

/* What a turn brings and evicts at once must be there until the turn has been flushed. */
static void evictions_wait_for_the_end_of_the_turn(void **state)
{
    struct rig g;
    struct sub sub;
    (void)state;
    rig_init(&g);
    list_init(&sub.link);
    struct view *v = rig_subscribe(&g, &sub, "news", false);
    struct name *news = make_name("news");
    rig_frame(&g, v, make_frame(news, 10, "x"));
    rig_frame(&g, v, make_frame(news, 11, "x"));
    struct note evict = {.kind = NOTE_EVICT, .view = v->id, .gen = v->gen, .seq = 10};
    replica_apply(&g.replica, &evict);
    assert_true(view_holds(v, 10));
    replica_settle(&g.replica);
    assert_false(view_holds(v, 10));
    assert_true(view_holds(v, 11));
    evict.seq = 11;
    replica_apply(&g.replica, &evict);
    rig_reset(&g, v, NULL, 12); /* the same generation, as the test's hub sends it */
    replica_settle(&g.replica);
    assert_int_equal(ring_frames(&v->ring), 0);
    name_unref(news);
    replica_unsubscribe(&g.replica, &sub);
    rig_finish(&g);
}

static void news_makes_dirty(void **state)
{
    (void)state;
    struct rig g;
    struct sub a;
    struct name *news = make_name("news");
    rig_init(&g);
    struct view *v = rig_subscribe(&g, &a, "news", false);
    list_remove(&v->dirty);
    list_remove(&g.replica.marks->dirty);
    rig_live(&g, v, true);
    assert_true(list_empty(&g.replica.dirty));
    rig_frame(&g, v, make_frame(news, 10, "x"));
    rig_frame(&g, v, make_frame(news, 11, "x"));
    assert_ptr_equal(list_first(&g.replica.dirty), &v->dirty);
    list_remove(&v->dirty);
    assert_true(list_empty(&g.replica.dirty));
    rig_evict(&g, v, 10);
    assert_true(list_empty(&g.replica.dirty));
    assert_int_equal(g.replica.evictions, 1);
    rig_mark(&g, 20, GAP_UPSTREAM);
    assert_ptr_equal(list_first(&g.replica.dirty), &g.replica.marks->dirty);
    replica_unsubscribe(&g.replica, &a);
    replica_sweep(&g.replica);
    rig_finish(&g);
    name_unref(news);
}

/* ---- no room in the hub's inbox -------------------------------------------------------------- */

static void waits_for_room(void **state)
{
    (void)state;
    struct rig g;
    struct sub a, b, c;
    rig_init(&g);
    g.accept = 0;
    subscribe(&g, &a, "a", false);
    subscribe(&g, &b, "b", false);
    subscribe(&g, &c, "c", false);
    assert_int_equal(g.sent_count, 0);
    g.accept = 1;
    replica_pump(&g.replica);
    expect_topic(&g, 0, "a", false);
    replica_unsubscribe(&g.replica, &b); /* the hub never heard of it: nothing to say */
    replica_sweep(&g.replica);
    g.accept = 10;
    replica_pump(&g.replica);
    replica_pump(&g.replica);
    assert_int_equal(g.sent_count, 2);
    expect_topic(&g, 1, "c", false);
    replica_unsubscribe(&g.replica, &a);
    replica_unsubscribe(&g.replica, &c);
    rig_finish(&g);
}

/* The drop of a view waits for room while its topic is wanted again: two views for a while. */
static void drops_and_takes_again_without_room(void **state)
{
    (void)state;
    struct rig g;
    struct sub a;
    rig_init(&g);
    struct view *v = rig_subscribe(&g, &a, "news", false);
    uint32_t old = v->id;
    rig_forget(&g);
    g.accept = 0;
    replica_unsubscribe(&g.replica, &a);
    replica_sweep(&g.replica);
    subscribe(&g, &a, "news", false);
    assert_int_not_equal(a.view->id, old);
    struct note n = {.kind = NOTE_RESET, .view = old, .gen = 2};
    n.ref = make_snapshot(NULL, 5, true);
    replica_apply(&g.replica, &n); /* to what is only waiting to go */
    g.accept = 10;
    replica_pump(&g.replica);
    expect_sent(&g, 0, NOTE_DROP, old, 2);
    expect_sent(&g, 1, NOTE_INTEREST, a.view->id, 1);
    assert_int_equal(g.sent_count, 2);
    replica_unsubscribe(&g.replica, &a);
    rig_finish(&g);
}

/* ---- the hub gave up ------------------------------------------------------------------------- */

static void restarts(void **state)
{
    (void)state;
    struct rig g;
    struct sub a, b;
    struct name *news = make_name("a");
    rig_init(&g);
    struct view *v = rig_subscribe(&g, &a, "a", false);
    (void)rig_subscribe(&g, &b, "b*", true);
    rig_frame(&g, v, make_frame(news, 10, "x"));
    rig_forget(&g);
    g.accept = 2;
    replica_restart(&g.replica);
    assert_false(v->loaded); /* incomplete, until the hub answers */
    expect_sent(&g, 0, NOTE_RESYNC, 0, 0);
    expect_sent(&g, 1, NOTE_INTEREST, VIEW_MARKS, 2); /* the marks come first */
    assert_int_equal(g.sent_count, 2);
    g.accept = 10;
    replica_pump(&g.replica);
    expect_sent(&g, 2, NOTE_INTEREST, a.view->id, 2);
    expect_sent(&g, 3, NOTE_INTEREST, b.view->id, 2);
    assert_int_equal(g.sent_count, 4);
    late_frame(&g, v->id, 1, make_frame(news, 11, "x"));
    assert_int_equal(ring_frames(&v->ring), 1);
    rig_reset(&g, v, NULL, 20);
    assert_true(v->loaded);
    assert_int_equal(v->ring.count, 0);
    replica_unsubscribe(&g.replica, &a);
    replica_unsubscribe(&g.replica, &b);
    rig_finish(&g);
    name_unref(news);
}

static void restarts_without_room(void **state)
{
    (void)state;
    struct rig g;
    struct sub a, b;
    rig_init(&g);
    (void)rig_subscribe(&g, &a, "a", false);
    (void)rig_subscribe(&g, &b, "b", false);
    rig_forget(&g);
    g.accept = 0;
    replica_restart(&g.replica);
    replica_unsubscribe(&g.replica, &b);
    replica_sweep(&g.replica); /* known to the hub: its number must be given back */
    replica_restart(&g.replica);
    g.accept = 10;
    replica_pump(&g.replica);
    assert_int_equal(g.sent_count, 4); /* each once */
    expect_sent(&g, 0, NOTE_RESYNC, 0, 0);
    expect_sent(&g, 1, NOTE_INTEREST, VIEW_MARKS, 3);
    expect_sent(&g, 2, NOTE_INTEREST, 1, 3);
    expect_sent(&g, 3, NOTE_DROP, 2, 4);
    replica_unsubscribe(&g.replica, &a);
    rig_finish(&g);
}

/* ---- at random, against a hub that keeps interests by (view, gen) --------------------------- */

enum { TOPICS = 8, SUBS = 24, NUMBERS = 64 };

struct fake_hub {
    char topic[NUMBERS][8]; /* "" where the number stands for nothing */
    uint32_t gen[NUMBERS];
    size_t read;
};

static void hub_reads(struct fake_hub *h, struct rig *g, size_t most)
{
    for (; h->read < g->sent_count && most > 0; h->read++, most--) {
        const struct note *n = &g->sent[h->read];
        if (n->kind == NOTE_RESYNC)
            continue;
        assert_true(n->view < NUMBERS);
        assert_true(n->gen > h->gen[n->view]); /* every request raises it */
        h->gen[n->view] = n->gen;
        h->topic[n->view][0] = '\0';
        if (n->kind != NOTE_INTEREST)
            continue;
        const struct name *topic = n->ref;
        (void)snprintf(h->topic[n->view], sizeof h->topic[0], "%.*s", (int)topic->len,
                       topic->bytes);
        struct note answer = {.kind = NOTE_RESET, .view = n->view, .gen = n->gen};
        answer.ref = make_snapshot(NULL, 1, true);
        replica_apply(&g->replica, &answer);
    }
}

/* When all is sent and read, hub and worker agree on every number. */
static void settle(struct fake_hub *h, struct rig *g)
{
    g->accept = SIZE_MAX;
    replica_pump(&g->replica);
    hub_reads(h, g, SIZE_MAX);
    assert_true(list_empty(&g->replica.outgoing));
    for (uint32_t i = 0; i < NUMBERS; i++) {
        const struct view *v = i < g->replica.slot_count ? g->replica.slots[i].view : NULL;
        if (v == NULL) {
            assert_string_equal(h->topic[i], "");
            continue;
        }
        assert_true(v->loaded);
        assert_int_equal(v->gen, h->gen[i]);
        assert_int_equal(v->topic->len, strlen(h->topic[i]));
        assert_memory_equal(v->topic->bytes, h->topic[i], v->topic->len);
    }
    rig_forget(g);
    h->read = 0;
}

static void random_step(struct prng *rng, struct rig *g, struct fake_hub *h, struct sub *subs)
{
    struct sub *sub = &subs[prng_below(rng, SUBS)];
    char topic[8];
    int len = snprintf(topic, sizeof topic, "t%zu", prng_below(rng, TOPICS));
    size_t dice = prng_below(rng, 100);
    g->accept = prng_below(rng, 3);
    if (dice < 60 && sub->view == NULL)
        assert_int_equal(
            replica_subscribe(&g->replica, sub, topic, (size_t)len, prng_below(rng, 2) == 0), 0);
    else if (dice < 60)
        replica_unsubscribe(&g->replica, sub);
    else if (dice < 75)
        replica_sweep(&g->replica);
    else if (dice < 78)
        replica_restart(&g->replica);
    else if (dice < 90)
        hub_reads(h, g, prng_below(rng, 4));
    else
        replica_pump(&g->replica);
}

static void agrees_with_the_hub(void **state)
{
    (void)state;
    const uint64_t seed = 4711;
    print_message("seed %llu\n", (unsigned long long)seed);
    struct prng rng = {seed};
    struct rig g;
    struct sub subs[SUBS];
    struct fake_hub hub;
    memset(&hub, 0, sizeof hub);
    memset(subs, 0, sizeof subs);
    for (size_t i = 0; i < SUBS; i++)
        list_init(&subs[i].link);
    rig_init(&g);
    hub.gen[0] = 1;
    for (int i = 0; i < 60000; i++) {
        random_step(&rng, &g, &hub, subs);
        if (i % 64 == 0)
            settle(&hub, &g);
    }
    for (size_t i = 0; i < SUBS; i++) {
        if (subs[i].view != NULL)
            replica_unsubscribe(&g.replica, &subs[i]);
    }
    replica_sweep(&g.replica);
    settle(&hub, &g);
    for (uint32_t i = 1; i < g.replica.slot_count; i++)
        assert_null(g.replica.slots[i].view);
    rig_finish(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(asks_for_marks_first),
        cmocka_unit_test(shares_views),
        cmocka_unit_test(comes_back_before_the_sweep),
        cmocka_unit_test(ignores_older_generations),
        cmocka_unit_test(says_when_ready),
        cmocka_unit_test(reaches_the_newest_entry),
        cmocka_unit_test(evictions_wait_for_the_end_of_the_turn),
        cmocka_unit_test(news_makes_dirty),
        cmocka_unit_test(waits_for_room),
        cmocka_unit_test(drops_and_takes_again_without_room),
        cmocka_unit_test(restarts),
        cmocka_unit_test(restarts_without_room),
        cmocka_unit_test(agrees_with_the_hub),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
