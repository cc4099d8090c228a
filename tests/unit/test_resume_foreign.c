/* Two instances behind one balancer receive the same events in Redis's order, each with a clock of
 * its own, outages, evictions; a client goes from one to the other with the id of anything it was
 * sent. It must never lose an event without a gap in front of whatever comes after it, and where
 * payloads do not repeat and nothing is missing it must get each event exactly once. */
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

enum { EVENTS = 60, CHANNELS = 2, ROUNDS = 500, SKEW = 2, DELAY = 2 };

struct instance {
    struct rig rig;
    uint64_t skew, last;
    struct name *names[CHANNELS];
    struct sub subs[CHANNELS + 1]; /* each channel, and all by a pattern */
    uint64_t stamps[EVENTS];       /* when it got each event; 0: it did not */
    bool missed;                   /* there are events it did not get and no mark yet */
    size_t evicted[CHANNELS];      /* events before this one are gone from the log */
    uint64_t marks[EVENTS + 2];
    size_t marks_before[EVENTS + 2]; /* how many events had been published at that mark */
    size_t mark_count;
};

struct world {
    struct prng rng;
    struct instance at[2];
    size_t channel[EVENTS];
    uint64_t time;
    bool unique, whole;
    size_t outage_one_in, evict_one_in;
};

static uint64_t stamp(struct world *w, struct instance *i)
{
    uint64_t now = w->time + i->skew + prng_below(&w->rng, DELAY * S);
    i->last = now > i->last ? now : i->last + 1;
    return i->last;
}

static void add_mark(struct world *w, struct instance *i, size_t published, enum gap_reason why)
{
    uint64_t seq = stamp(w, i);
    rig_mark(&i->rig, seq, why);
    i->marks[i->mark_count] = seq;
    i->marks_before[i->mark_count++] = published;
    i->missed = false;
}

static void instance_init(struct world *w, struct instance *i, uint32_t tag)
{
    memset(i, 0, sizeof *i);
    rig_init(&i->rig);
    struct timeline t = make_timeline();
    t.epochs[0].tag = tag;
    rig_timeline(&i->rig, &t);
    i->skew = prng_below(&w->rng, 2 * SKEW * S);
    i->names[0] = make_name("a");
    i->names[1] = make_name("b");
    (void)rig_subscribe(&i->rig, &i->subs[0], "a", false);
    (void)rig_subscribe(&i->rig, &i->subs[1], "b", false);
    (void)rig_subscribe(&i->rig, &i->subs[2], "*", true);
    add_mark(w, i, 0, GAP_RESTART);
}

static void instance_finish(struct instance *i)
{
    for (size_t k = 0; k < CHANNELS + 1; k++)
        replica_unsubscribe(&i->rig.replica, &i->subs[k]);
    rig_finish(&i->rig);
    unref_names(i->names, CHANNELS);
}

static void receive(struct world *w, struct instance *i, size_t g, const char *payload)
{
    size_t c = w->channel[g];
    i->stamps[g] = stamp(w, i);
    struct frame *f = make_frame(i->names[c], i->stamps[g], payload);
    rig_frame(&i->rig, i->subs[c].view, frame_ref(f));
    rig_frame(&i->rig, i->subs[CHANNELS].view, f);
}

static void evict_some(struct world *w, struct instance *i, size_t published)
{
    size_t c = prng_below(&w->rng, CHANNELS);
    for (size_t n = 1 + prng_below(&w->rng, 4); n > 0; n--) {
        size_t g = i->evicted[c];
        while (g < published && (w->channel[g] != c || i->stamps[g] == 0))
            g++;
        if (g == published)
            return;
        rig_evict(&i->rig, i->subs[c].view, i->stamps[g]);
        rig_evict(&i->rig, i->subs[CHANNELS].view, i->stamps[g]);
        i->evicted[c] = g + 1;
    }
}

/* The first instance never evicts: its client is always at the head and has seen everything. */
static void publish(struct world *w, size_t g)
{
    char payload[16];
    w->time +=
        prng_below(&w->rng, 3) == 0 ? prng_below(&w->rng, 5 * S) : prng_below(&w->rng, S / 10);
    w->channel[g] = prng_below(&w->rng, CHANNELS);
    (void)snprintf(payload, sizeof payload, "%zu", w->unique ? g : prng_below(&w->rng, 3));
    for (size_t k = 0; k < 2; k++) {
        struct instance *i = &w->at[k];
        bool away = !w->whole && prng_below(&w->rng, i->missed ? 2 : w->outage_one_in) == 0;
        if (!away && i->missed)
            add_mark(w, i, g, GAP_UPSTREAM);
        i->missed = i->missed || away;
        if (!away)
            receive(w, i, g, payload);
        if (k == 1 && !w->whole && prng_below(&w->rng, w->evict_one_in) == 0)
            evict_some(w, i, g + 1);
    }
}

static void world_init(struct world *w, bool unique, bool whole)
{
    w->unique = unique;
    w->whole = whole;
    w->time = 1000 * S;
    w->outage_one_in = 10 + prng_below(&w->rng, 100);
    w->evict_one_in = 3 + prng_below(&w->rng, 60);
    instance_init(w, &w->at[0], TAG_FOREIGN);
    instance_init(w, &w->at[1], TAG_OWN);
    w->time += 30 * S;
    for (size_t g = 0; g < EVENTS; g++)
        publish(w, g);
    if (w->at[0].missed)
        add_mark(w, &w->at[0], EVENTS, GAP_UPSTREAM);
}

static void world_finish(struct world *w)
{
    instance_finish(&w->at[0]);
    instance_finish(&w->at[1]);
}

/* ---- what a client is sent ------------------------------------------------------------------ */

struct item {
    bool gap;
    size_t event; /* which; of a gap at the first instance: what was published by then */
    bool all;     /* a gap of all channels, or of this one: */
    size_t channel;
    uint64_t seq;
    uint32_t fp;
};

struct stream {
    struct item items[2 * EVENTS + 8];
    size_t count;
};

static size_t event_at(const struct instance *i, uint64_t seq)
{
    size_t g = 0;
    while (g < EVENTS && i->stamps[g] != seq)
        g++;
    assert_true(g < EVENTS);
    return g;
}

static size_t published_by(const struct instance *i, uint64_t seq)
{
    for (size_t m = 0; m < i->mark_count; m++) {
        if (i->marks[m] == seq)
            return i->marks_before[m];
    }
    return 0; /* an evicted event: only at the second, where nobody asks */
}

static void collect(const struct instance *i, struct batch *b, struct reader *reader,
                    struct stream *out)
{
    batch_invalidate(b);
    batch_gather(b, &i->rig.replica, reader);
    assert_false(b->more || b->failed);
    for (uint32_t k = 0; k < b->count; k++) {
        const struct batch_item *from = &b->items[k];
        struct item *to = &out->items[out->count++];
        *to = (struct item){.gap = from->frame == NULL, .seq = from->seq, .fp = from->fp};
        to->event = to->gap ? published_by(i, from->seq) : event_at(i, from->seq);
        char text[512] = "";
        size_t start = k == 0 ? 0 : b->items[k - 1].end;
        size_t len = from->end - start;
        assert_true(len < sizeof text);
        memcpy(text, from->bytes, len);
        to->all = strstr(text, "\"channel\":null") != NULL;
        to->channel = strstr(text, "\"channel\":\"b\"") != NULL ? 1 : 0;
    }
}

/* ---- the properties ------------------------------------------------------------------------- */

struct choice {
    size_t first, count; /* subscriptions */
};

static bool wanted(const struct world *w, struct choice c, size_t g)
{
    return c.first + c.count > CHANNELS ||
           (w->channel[g] >= c.first && w->channel[g] < c.first + c.count);
}

/* Event g is there, or a gap that speaks for it, before any later event: the client may go on to a
 * third instance with the id of any. */
static void check_event(const struct world *w, const struct stream *s, size_t g)
{
    for (size_t k = 0; k < s->count; k++) {
        const struct item *i = &s->items[k];
        if (i->gap ? i->all || i->channel == w->channel[g] : i->event == g)
            return;
        if (!i->gap && i->event > g)
            break;
    }
    fail_msg("event %zu of channel %zu is lost and nothing says so", g, w->channel[g]);
}

static void check_order(const struct stream *s)
{
    for (size_t k = 1; k < s->count; k++)
        assert_true(s->items[k].seq + (s->items[k].gap ? 1 : 0) > s->items[k - 1].seq);
}

/* Everything above `seen` once, nothing else. */
static void check_exact(const struct world *w, const struct stream *s, struct choice c, size_t seen)
{
    size_t k = 0;
    for (size_t g = seen; g < EVENTS; g++) {
        if (!wanted(w, c, g))
            continue;
        assert_true(k < s->count);
        assert_false(s->items[k].gap);
        assert_int_equal(s->items[k].event, g);
        k++;
    }
    assert_int_equal(k, s->count);
}

static void switch_over(struct world *w, struct batch *b, struct choice c, size_t *resumed)
{
    static struct stream before, after;
    struct instance *a = &w->at[0];
    struct reader reader = {.subs = &a->subs[c.first], .sub_count = c.count};
    before.count = 0;
    collect(a, b, &reader, &before);
    for (size_t n = 0; n < before.count; n++) {
        const struct item *last = &before.items[prng_below(&w->rng, before.count)];
        size_t seen = last->gap ? last->event : last->event + 1;
        struct id_text id = make_id(last->seq, TAG_FOREIGN, last->fp);
        struct instance *other = &w->at[1];
        const struct scope scope = {&other->rig.replica, &other->subs[c.first], c.count, NULL};
        struct resume r = resume_from(&scope, id.text, EVENTID_LEN, W, &(uint64_t){0});
        r = r.behind ? resume_unknown(&scope) : r;
        reader = (struct reader){.position = r.position,
                                 .fp = r.fp,
                                 .subs = &other->subs[c.first],
                                 .sub_count = c.count};
        after.count = 0;
        if (r.unknown)
            after.items[after.count++] = (struct item){.gap = true, .all = true, .seq = r.position};
        collect(other, b, &reader, &after);
        if (other->missed) { /* it was away when the client came, and comes back now */
            add_mark(w, other, EVENTS, GAP_UPSTREAM);
            if (after.count > 0)
                reader.position = after.items[after.count - 1].seq;
            collect(other, b, &reader, &after);
        }
        check_order(&after);
        assert_true(r.kind == RESUME_GAP || r.kind == RESUME_CONTINUED);
        for (size_t g = seen; g < EVENTS; g++) {
            if (wanted(w, c, g))
                check_event(w, &after, g);
        }
        if (w->unique && w->whole && last->fp != 0)
            check_exact(w, &after, c, seen);
        resumed[r.unknown ? 2 : r.kind == RESUME_GAP ? 1 : 0]++;
    }
}

static void simulate(uint64_t seed, bool unique, bool whole)
{
    static const struct choice choices[] = {{0, 1}, {1, 1}, {0, 2}, {2, 1}, {1, 2}, {0, 3}};
    print_message("seed %llu\n", (unsigned long long)seed);
    struct world w = {.rng = {seed}};
    struct frame_stats stats;
    struct batch batch;
    size_t resumed[3] = {0, 0, 0};
    memset(&stats, 0, sizeof stats);
    assert_int_equal(batch_init(&batch, &stats), ERR_OK);
    for (int round = 0; round < ROUNDS; round++) {
        world_init(&w, unique, whole);
        switch_over(&w, &batch, choices[prng_below(&w.rng, 6)], resumed);
        world_finish(&w);
    }
    batch_finish(&batch);
    print_message("continued %zu, gap %zu, unknown %zu\n", resumed[0], resumed[1], resumed[2]);
}

static void exactly_once_when_whole(void **state)
{
    (void)state;
    simulate(7, true, true);
}

static void never_silent_when_payloads_repeat(void **state)
{
    (void)state;
    simulate(8, false, true);
}

static void never_silent_with_outages(void **state)
{
    (void)state;
    simulate(9, true, false);
}

static void never_silent_with_both(void **state)
{
    (void)state;
    simulate(10, false, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exactly_once_when_whole),
        cmocka_unit_test(never_silent_when_payloads_repeat),
        cmocka_unit_test(never_silent_with_outages),
        cmocka_unit_test(never_silent_with_both),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
