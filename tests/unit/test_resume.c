#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "broker_util.h"
#include "prng.h"
#include "tickerd/base/err.h"
#include "tickerd/broker/resume.h"

#define S UINT64_C(1000000)
#define W (10 * S)

struct fixture {
    struct rig rig;
    struct name *a, *b;
    struct sub subs[3]; /* a, b, every channel */
    struct view *va, *vb, *all;
};

static void start(struct fixture *f)
{
    memset(f, 0, sizeof *f);
    rig_init(&f->rig);
    f->a = make_name("a");
    f->b = make_name("b");
    f->va = rig_subscribe(&f->rig, &f->subs[0], "a", false);
    f->vb = rig_subscribe(&f->rig, &f->subs[1], "b", false);
    f->all = rig_subscribe(&f->rig, &f->subs[2], "*", true);
}

static void finish(struct fixture *f)
{
    for (int i = 0; i < 3; i++)
        replica_unsubscribe(&f->rig.replica, &f->subs[i]);
    rig_finish(&f->rig);
    name_unref(f->a);
    name_unref(f->b);
}

static void add(struct fixture *f, struct frame *fr)
{
    rig_frame(&f->rig, fr->channel == f->a ? f->va : f->vb, frame_ref(fr));
    rig_frame(&f->rig, f->all, fr);
}

static void frame(struct fixture *f, struct name *channel, uint64_t seq, const char *text)
{
    add(f, make_frame(channel, seq, text));
}

static void published(struct fixture *f, struct name *channel, uint64_t seq, const char *id)
{
    add(f, make_published(channel, seq, "x", id));
}

static void evict(struct fixture *f, struct name *channel, uint64_t seq)
{
    rig_evict(&f->rig, channel == f->a ? f->va : f->vb, seq);
    rig_evict(&f->rig, f->all, seq);
}

static void expect(const struct fixture *f, size_t first, size_t count, const char *id,
                   struct resume want)
{
    const struct scope scope = {&f->rig.replica, &f->subs[first], count, NULL};
    struct resume got = resume_from(&scope, id, strlen(id), W, &(uint64_t){0});
    got = got.behind ? resume_unknown(&scope) : got; /* as who waits no longer does */
    assert_int_equal(got.position, want.position);
    assert_int_equal(got.kind, want.kind);
    assert_int_equal(got.fp, want.fp);
    assert_int_equal(got.unknown, want.unknown);
}

static void expect_each(const struct fixture *f, const char *id, struct resume want)
{
    expect(f, 0, 1, id, want); /* the channel, two, a pattern, and all at once */
    expect(f, 0, 2, id, want);
    expect(f, 2, 1, id, want);
    expect(f, 0, 3, id, want);
}

static struct resume continued(uint64_t position, uint32_t fp)
{
    return (struct resume){.kind = RESUME_CONTINUED, .position = position, .fp = fp};
}

static struct resume gap(uint64_t position, uint32_t fp)
{
    return (struct resume){.kind = RESUME_GAP, .position = position, .fp = fp};
}

static struct resume unknown(uint64_t position)
{
    return (struct resume){.kind = RESUME_GAP, .position = position, .unknown = true};
}

static void kinds_have_words(void **state)
{
    (void)state;
    assert_string_equal(resume_text(RESUME_NEW), "new");
    assert_string_equal(resume_text(RESUME_CONTINUED), "continued");
    assert_string_equal(resume_text(RESUME_GAP), "gap");
}

static void own_ids(void **state)
{
    (void)state;
    struct fixture f;
    start(&f);
    frame(&f, f.a, 100 * S, "1");
    frame(&f, f.a, 110 * S, "2");
    frame(&f, f.a, 120 * S, "3");
    expect_each(&f, make_id(100 * S, TAG_OWN, 7).text, continued(100 * S, 7));
    expect_each(&f, make_id(105 * S, TAG_OWN, 0).text, continued(105 * S, 0));
    expect_each(&f, make_id(120 * S, TAG_OWN, 7).text, continued(120 * S, 7));
    /* Another worker may be ahead of this one. */
    expect_each(&f, make_id(125 * S, TAG_OWN, 7).text, continued(125 * S, 7));
    expect_each(&f, make_id(131 * S, TAG_OWN, 7).text, unknown(100 * S - 1));
    evict(&f, f.a, 100 * S);
    expect_each(&f, make_id(99 * S, TAG_OWN, 7).text, gap(99 * S, 7));
    expect_each(&f, make_id(100 * S, TAG_OWN, 7).text, continued(100 * S, 7));
    expect(&f, 1, 1, make_id(1, TAG_OWN, 7).text, continued(1, 7));
    rig_mark(&f.rig, 121 * S, GAP_UPSTREAM);
    expect_each(&f, make_id(120 * S, TAG_OWN, 7).text, gap(120 * S, 7));
    expect(&f, 1, 1, make_id(1, TAG_OWN, 7).text, gap(1, 7));
    finish(&f);
}

static void foreign_events(void **state)
{
    (void)state;
    struct fixture f;
    start(&f);
    uint32_t fp = fingerprint(f.a, "1");
    frame(&f, f.a, 100 * S, "0");
    frame(&f, f.a, 110 * S, "1");
    frame(&f, f.b, 115 * S, "1"); /* another channel, another fingerprint */
    frame(&f, f.a, 118 * S, "1");
    frame(&f, f.a, 200 * S, "2");
    struct resume want = continued(110 * S, fp);
    expect_each(&f, make_id(110 * S, TAG_FOREIGN, fp).text, want);
    expect_each(&f, make_id(120 * S, TAG_FOREIGN, fp).text, want); /* exactly W late */
    expect_each(&f, make_id(100 * S, TAG_FOREIGN, fp).text, want); /* exactly W early */
    want.position = 118 * S;
    expect_each(&f, make_id(120 * S + 1, TAG_FOREIGN, fp).text, want);
    /* Complete and not there. */
    expect_each(&f, make_id(100 * S - 1, TAG_FOREIGN, fp).text, unknown(100 * S - 1));
    expect_each(&f, make_id(110 * S, TAG_FOREIGN, 1).text, unknown(100 * S - 1));
    expect(&f, 1, 1, make_id(110 * S, TAG_FOREIGN, fp).text, unknown(115 * S - 1));
    expect_each(&f, make_id(211 * S, TAG_FOREIGN, fp).text, unknown(100 * S - 1)); /* the future */
    /* A position without an event. */
    expect_each(&f, make_id(112 * S, TAG_FOREIGN, 0).text, continued(102 * S - 1, 0));
    expect_each(&f, make_id(5, TAG_FOREIGN, 0).text, continued(0, 0));
    finish(&f);
}

static void foreign_evicted(void **state)
{
    (void)state;
    struct fixture f;
    start(&f);
    uint32_t fp = fingerprint(f.a, "1");
    uint32_t other = fingerprint(f.a, "0");
    frame(&f, f.a, 100 * S, "0");
    frame(&f, f.a, 130 * S, "1");
    frame(&f, f.a, 135 * S, "2");
    evict(&f, f.a, 100 * S);
    evict(&f, f.a, 130 * S);
    /* The newest evicted one is remembered, and nothing evicted before it is in the window. */
    expect_each(&f, make_id(131 * S, TAG_FOREIGN, fp).text, continued(130 * S, fp));
    /* Not the one before it, but where holes have not melted. */
    expect(&f, 2, 1, make_id(100 * S, TAG_FOREIGN, other).text, gap(100 * S, other));
    expect(&f, 0, 1, make_id(100 * S, TAG_FOREIGN, other).text, gap(90 * S - 1, 0));
    evict(&f, f.a, 135 * S);
    expect(&f, 0, 1, make_id(131 * S, TAG_FOREIGN, fp).text, gap(121 * S - 1, 0));
    /* Here the one evicted before may have been it. */
    uint32_t last = fingerprint(f.a, "2");
    expect(&f, 0, 1, make_id(131 * S, TAG_FOREIGN, last).text, gap(121 * S - 1, 0));
    expect(&f, 0, 1, make_id(141 * S, TAG_FOREIGN, last).text, continued(135 * S, last));
    finish(&f);
}

static void foreign_outages(void **state)
{
    (void)state;
    struct fixture f;
    start(&f);
    uint32_t fp = fingerprint(f.a, "1");
    frame(&f, f.a, 100 * S, "0");
    rig_mark(&f.rig, 105 * S, GAP_UPSTREAM);
    frame(&f, f.a, 110 * S, "1");
    rig_mark(&f.rig, 111 * S, GAP_UPSTREAM);
    /* An equal one may have been missed during the outage. */
    expect_each(&f, make_id(112 * S, TAG_FOREIGN, fp).text, gap(102 * S - 1, 0));
    /* The outage was over by then; the second is still to be told. */
    expect_each(&f, make_id(115 * S + 1, TAG_FOREIGN, fp).text, gap(110 * S, fp));
    /* In an outage, and not there. */
    expect_each(&f, make_id(111 * S, TAG_FOREIGN, 1).text, gap(101 * S - 1, 0));
    finish(&f);
}

/* A loss of another kind right before the newest evicted event stands in the same hole. */
static void foreign_evicted_behind_a_loss(void **state)
{
    (void)state;
    struct fixture f;
    start(&f);
    uint32_t fp = fingerprint(f.a, "1");
    frame(&f, f.a, 100 * S, "0");
    rig_hole(&f.rig, f.va, 115 * S, f.a, GAP_UPSTREAM);
    frame(&f, f.a, 120 * S, "1");
    evict(&f, f.a, 100 * S);
    evict(&f, f.a, 120 * S);
    expect(&f, 0, 1, make_id(119 * S, TAG_FOREIGN, fp).text, gap(109 * S - 1, 0));
    expect(&f, 0, 1, make_id(126 * S, TAG_FOREIGN, fp).text, continued(120 * S, fp));
    finish(&f);
}

/* A worker that fell behind reads its logs anew, one after the other: the position it has reached
 * by one says nothing of what another will bring. */
static void foreign_waits_for_a_log_that_is_read_anew(void **state)
{
    (void)state;
    struct fixture f;
    start(&f);
    struct id_text id = make_id(119 * S, TAG_FOREIGN, fingerprint(f.a, "1"));
    uint64_t looked = 0;
    const struct scope scope = {&f.rig.replica, &f.subs[0], 1, NULL};
    f.va->loaded = false;
    replica_reached(&f.rig.replica, 121 * S);
    assert_true(resume_from(&scope, id.text, EVENTID_LEN, W, &looked).behind);
    frame(&f, f.a, 120 * S, "1");
    f.va->loaded = true;
    struct resume r = resume_from(&scope, id.text, EVENTID_LEN, W, &looked);
    assert_false(r.behind || r.unknown);
    assert_int_equal(r.position, 120 * S);
    finish(&f);
}

static void publisher_ids(void **state)
{
    (void)state;
    struct fixture f;
    start(&f);
    frame(&f, f.a, 10, "x");
    published(&f, f.b, 20, "p1");
    published(&f, f.a, 30, "p1");
    published(&f, f.a, 40, "p2");
    published(&f, f.a, 50, "p1");
    uint32_t fa = fingerprint(f.a, "x");
    uint32_t fb = fingerprint(f.b, "x");
    expect(&f, 0, 1, "p1", continued(30, fa));
    expect(&f, 1, 1, "p1", continued(20, fb));
    expect(&f, 0, 2, "p1", continued(20, fb)); /* the earliest of all */
    expect(&f, 2, 1, "p1", continued(20, fb));
    expect_each(&f, "p2", continued(40, fa));
    expect(&f, 0, 1, "p3", unknown(9));
    expect(&f, 1, 1, "p2", unknown(19));
    expect(&f, 0, 3, "p", unknown(9));
    expect(&f, 0, 3, "p11", unknown(9));
    /* Own ids belong to events without one of the publisher's. */
    expect(&f, 0, 1, "\xff\n", unknown(9));
    evict(&f, f.a, 10);
    evict(&f, f.a, 30);
    expect(&f, 0, 1, "p1", continued(50, fa));
    rig_mark(&f.rig, 60, GAP_UPSTREAM);
    expect(&f, 0, 1, "p2", gap(40, fa));
    evict(&f, f.a, 40);
    evict(&f, f.a, 50);
    expect(&f, 0, 1, "p1", unknown(60)); /* nothing kept: the head */
    finish(&f);
}

/* Where each instance has an order of its own, a foreign id says only roughly where to begin. */
static void many_orders(void **state)
{
    (void)state;
    struct fixture f;
    start(&f);
    uint32_t fp = fingerprint(f.a, "1");
    frame(&f, f.a, 100 * S, "0");
    frame(&f, f.a, 110 * S, "1");
    published(&f, f.b, 115 * S, "mine");
    frame(&f, f.a, 200 * S, "2");
    struct timeline t = make_timeline();
    t.many_orders = true;
    rig_timeline(&f.rig, &t);
    expect_each(&f, make_id(110 * S, TAG_FOREIGN, fp).text, unknown(100 * S - 1));
    expect_each(&f, make_id(112 * S, TAG_FOREIGN, 0).text, unknown(102 * S - 1));
    expect_each(&f, make_id(5, TAG_FOREIGN, 0).text, unknown(0));
    expect_each(&f, make_id(211 * S, TAG_FOREIGN, fp).text, unknown(100 * S - 1)); /* the future */
    expect_each(&f, make_id(110 * S, TAG_OWN, fp).text, continued(110 * S, fp));
    expect(&f, 0, 2, "mine", continued(105 * S - 1, 0));
    expect(&f, 0, 1, "unheard of", unknown(100 * S - 1));
    t.many_orders = false;
    rig_timeline(&f.rig, &t);
    expect_each(&f, make_id(110 * S, TAG_FOREIGN, fp).text, continued(110 * S, fp));
    expect(&f, 0, 2, "mine", continued(115 * S, fingerprint(f.b, "x")));
    finish(&f);
}

static void first_connects(void **state)
{
    (void)state;
    struct fixture f;
    struct resume where;
    struct replay *p;
    start(&f);
    for (uint64_t s = 10; s <= 50; s += 10)
        frame(&f, s == 30 ? f.b : f.a, s, "x");
    replica_reached(&f.rig.replica, 99);
    const struct {
        size_t first, count;
        uint32_t history;
        uint64_t position;
    } cases[] = {
        {0, 1, 0, 99},          {0, 1, 1, 49}, {0, 1, 2, 39},  {0, 1, 4, 9},  {0, 1, 9, 9},
        {0, 1, HISTORY_ALL, 9}, {1, 1, 2, 29}, {0, 2, 1, 29},  {2, 1, 1, 29}, {2, 1, 2, 29},
        {2, 1, 3, 19},          {0, 3, 3, 19}, {0, 3, 100, 9},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct scope scope = {&f.rig.replica, &f.subs[cases[i].first], cases[i].count, NULL};
        assert_int_equal(resume_new(&scope, cases[i].history, &where, &p), ERR_OK);
        assert_int_equal(where.kind, RESUME_NEW);
        assert_int_equal(where.position, cases[i].position);
        assert_int_equal(p == NULL, cases[i].history == 0);
        replay_destroy(p);
    }
    finish(&f);
}

/* Very many channels under one pattern: the table of starts stays bounded, all that is kept is
 * sent instead. */
static void history_of_very_many_channels(void **state)
{
    (void)state;
    struct fixture f;
    struct resume where;
    struct replay *p;
    start(&f);
    for (uint64_t i = 0; i < 3000; i++) {
        char text[16];
        (void)snprintf(text, sizeof text, "c%llu", (unsigned long long)(i % 1500));
        struct name *name = make_name(text);
        rig_frame(&f.rig, f.all, make_frame(name, 10 + i, "x"));
        name_unref(name);
    }
    const struct scope scope = {&f.rig.replica, &f.subs[2], 1, NULL};
    assert_int_equal(resume_new(&scope, 1, &where, &p), ERR_OK);
    assert_int_equal(where.position, 9);
    assert_int_equal(strmap_count(&p->starts), 0);
    assert_int_equal(p->until.head, f.rig.replica.head);
    replay_destroy(p);
    finish(&f);
}

/* ---- own ids at random: exactly once -------------------------------------------------------- */

/* Whatever was evicted or lost, a client at an own position gets the rest or is told. */
static void own_ids_at_random(void **state)
{
    (void)state;
    const uint64_t seed = 99;
    print_message("seed %llu\n", (unsigned long long)seed);
    struct prng rng = {seed};
    for (int round = 0; round < 300; round++) {
        struct fixture f;
        start(&f);
        uint64_t oldest[2] = {1, 1};
        uint64_t newest_loss = 0;
        for (uint64_t s = 1; s <= 60; s++) {
            frame(&f, s % 2 == 0 ? f.a : f.b, s * 10, "x");
            size_t which = prng_below(&rng, 2);
            while (prng_below(&rng, 3) == 0 && oldest[which] <= s) {
                if (oldest[which] % 2 == which) {
                    evict(&f, which == 0 ? f.a : f.b, oldest[which] * 10);
                    newest_loss =
                        oldest[which] * 10 > newest_loss ? oldest[which] * 10 : newest_loss;
                }
                oldest[which]++;
            }
        }
        for (uint64_t p = 0; p <= 601; p++) {
            struct resume want = p < newest_loss ? gap(p, 5) : continued(p, 5);
            struct id_text id = make_id(p, TAG_OWN, 5);
            expect(&f, 0, 2, id.text, want);
            expect(&f, 2, 1, id.text, want);
        }
        finish(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kinds_have_words),
        cmocka_unit_test(own_ids),
        cmocka_unit_test(foreign_events),
        cmocka_unit_test(foreign_evicted),
        cmocka_unit_test(foreign_outages),
        cmocka_unit_test(foreign_evicted_behind_a_loss),
        cmocka_unit_test(foreign_waits_for_a_log_that_is_read_anew),
        cmocka_unit_test(publisher_ids),
        cmocka_unit_test(many_orders),
        cmocka_unit_test(first_connects),
        cmocka_unit_test(history_of_very_many_channels),
        cmocka_unit_test(own_ids_at_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
