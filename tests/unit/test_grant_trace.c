/* What a client may not hear leaves no trace: of two replicas, one has the events of a forbidden
 * channel and the other never had them. A client of the first that may not hear them begins, goes
 * on and is told of losses exactly as one of the second, whatever id it comes with: also ids made
 * of forbidden events. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "broker_util.h"
#include "config_util.h"
#include "grant_util.h"
#include "prng.h"
#include "tickerd/base/err.h"
#include "tickerd/broker/resume.h"

#define S UINT64_C(1000000)
#define W (10 * S)

enum { A, B, SECRET, CHANNELS, VIEWS = 3, EVENTS = 40, HOLES = 14, EVENTS_ROOM = EVENTS + 2 };

static const char *const names[CHANNELS] = {"a", "b", "secret"};
static const char *const topics[VIEWS] = {"*", "[abs]*", "a"};

struct event {
    size_t channel;
    uint64_t seq;
    uint32_t fp;
    char payload[16], id[16]; /* "": none of the publisher's */
    bool evicted;
};

struct side {
    struct rig rig;
    struct batch batch;
    struct frame_stats stats;
    struct sub subs[VIEWS];
    bool whole; /* has the forbidden events too */
};

struct world {
    struct prng rng;
    struct side sides[2];
    struct name *channels[CHANNELS];
    struct event events[EVENTS_ROOM];
    size_t count, holes;
    uint64_t seq;
    struct config *config;
    struct rights rights;
};

static bool is_in(size_t view, size_t channel)
{
    return view < 2 || channel == A;
}

static void begin(struct world *w)
{
    static const char *const set[] = {"auth.mode=required", "auth.jwks_file=/nowhere", NULL};
    w->count = w->holes = 0;
    w->seq = 1000 * S;
    w->config = build_ok(NULL, NULL, set);
    rights_init(&w->rights, w->config);
    for (size_t c = 0; c < CHANNELS; c++)
        w->channels[c] = make_name(names[c]);
    for (size_t k = 0; k < 2; k++) {
        struct side *s = &w->sides[k];
        memset(s, 0, sizeof *s);
        s->whole = k == 0;
        rig_init(&s->rig);
        assert_int_equal(batch_init(&s->batch, &s->stats), ERR_OK);
        for (size_t v = 0; v < VIEWS; v++)
            (void)rig_subscribe(&s->rig, &s->subs[v], topics[v], v < 2);
    }
}

static void end(struct world *w)
{
    for (size_t k = 0; k < 2; k++) {
        struct side *s = &w->sides[k];
        for (size_t v = 0; v < VIEWS; v++)
            replica_unsubscribe(&s->rig.replica, &s->subs[v]);
        batch_finish(&s->batch);
        rig_finish(&s->rig);
    }
    unref_names(w->channels, CHANNELS);
    rights_finish(&w->rights);
    config_destroy(w->config);
}

/* ---- what happens ---------------------------------------------------------------------------- */

static void publish(struct world *w, size_t channel)
{
    struct event *e = &w->events[w->count++];
    *e = (struct event){.channel = channel, .seq = w->seq};
    /* Some are the same on all channels, or come again. */
    (void)snprintf(e->payload, sizeof e->payload, "x%zu", prng_below(&w->rng, 6));
    e->fp = fingerprint(w->channels[channel], e->payload);
    if (prng_below(&w->rng, 4) == 0)
        (void)snprintf(e->id, sizeof e->id, "p%zu", prng_below(&w->rng, 6));
    struct frame *f = e->id[0] == '\0'
                          ? make_frame(w->channels[channel], e->seq, e->payload)
                          : make_published(w->channels[channel], e->seq, e->payload, e->id);
    for (size_t k = 0; k < 2; k++) {
        struct side *s = &w->sides[k];
        for (size_t v = 0; v < VIEWS; v++) {
            if ((s->whole || channel != SECRET) && is_in(v, channel))
                rig_frame(&s->rig, s->subs[v].view, frame_ref(f));
        }
    }
    frame_unref(f);
}

/* The oldest of a channel, in one view sooner than in the other. */
static void evict(struct world *w, size_t channel)
{
    size_t i = 0;
    while (i < w->count && (w->events[i].channel != channel || w->events[i].evicted))
        i++;
    if (i == w->count)
        return;
    w->events[i].evicted = true;
    for (size_t k = 0; k < 2; k++) {
        struct side *s = &w->sides[k];
        for (size_t v = 0; v < VIEWS; v++) {
            if ((s->whole || channel != SECRET) && is_in(v, channel))
                rig_evict(&s->rig, s->subs[v].view, w->events[i].seq);
        }
    }
}

static void lose(struct world *w, size_t channel)
{
    enum gap_reason reason = prng_below(&w->rng, 2) == 0 ? GAP_OVERSIZE : GAP_UNSUBSCRIBED;
    for (size_t k = 0; k < 2; k++) {
        struct side *s = &w->sides[k];
        for (size_t v = 0; v < VIEWS; v++) {
            if ((s->whole || channel != SECRET) && is_in(v, channel))
                rig_hole(&s->rig, s->subs[v].view, w->seq, w->channels[channel], reason);
        }
    }
}

static void step(struct world *w)
{
    size_t dice = prng_below(&w->rng, 100), channel = prng_below(&w->rng, CHANNELS);
    w->seq += 1 + prng_below(&w->rng, prng_below(&w->rng, 3) == 0 ? 8 * S : 100);
    if (dice < 75) {
        publish(w, channel);
    } else if (dice < 88 && w->holes < HOLES) { /* more of them would melt */
        evict(w, channel);
        w->holes++;
    } else if (dice < 95 && w->holes < HOLES) {
        publish(w, A); /* side by side they would melt, too */
        w->seq++;
        lose(w, channel);
        w->holes++;
        w->seq++;
        publish(w, A);
    } else if (dice >= 98) {
        rig_mark(&w->sides[0].rig, w->seq, GAP_UPSTREAM);
        rig_mark(&w->sides[1].rig, w->seq, GAP_UPSTREAM);
    }
    for (size_t k = 0; k < 2; k++)
        replica_reached(&w->sides[k].rig.replica, w->seq);
}

/* ---- what clients are told ------------------------------------------------------------------- */

static struct id_text any_id(struct world *w)
{
    struct event nothing = {.seq = w->seq};
    const struct event *e = w->count == 0 ? &nothing : &w->events[prng_below(&w->rng, w->count)];
    struct id_text id;
    uint64_t off = prng_below(&w->rng, 3) == 0 ? prng_below(&w->rng, 3 * S) : 0;
    switch (prng_below(&w->rng, 3)) {
    case 0:
        return make_id(e->seq + off, TAG_OWN, e->fp);
    case 1:
        return make_id(e->seq + off, TAG_FOREIGN, e->fp);
    default:
        (void)snprintf(id.text, sizeof id.text, "p%zu", prng_below(&w->rng, 7));
        return id;
    }
}

static void walk(struct side *s, struct reader at, struct buf *out)
{
    for (int i = 0; i < 100; i++) {
        batch_invalidate(&s->batch);
        batch_gather(&s->batch, &s->rig.replica, &at);
        assert_false(s->batch.failed);
        for (int k = 1; k <= s->batch.segments; k++)
            buf_append(out, s->batch.iov[k].iov_base, s->batch.iov[k].iov_len);
        at.position = s->batch.reached;
        at.fp = s->batch.reached_fp;
        if (!s->batch.more)
            return;
    }
    fail();
}

struct visit {
    size_t first, count; /* of the views */
    bool resumes;
    uint32_t history;
    struct id_text id;
    bool behind;
};

/* All that a client gets to see. */
static void tell(struct side *s, const struct visit *v, struct right *right, struct buf *out)
{
    struct resume where;
    struct replay *replay = NULL;
    uint64_t looked = 0;
    const struct scope scope = {&s->rig.replica, &s->subs[v->first], v->count, right};
    bool behind = false;
    if (v->resumes) {
        where = resume_from(&scope, v->id.text, strlen(v->id.text), W, &looked);
        behind = where.behind;
        where = behind ? resume_unknown(&scope) : where;
    } else {
        assert_int_equal(resume_new(&scope, v->history, &where, &replay), ERR_OK);
    }
    buf_printf(out, "%s at %llu fp %x%s%s\n", resume_text(where.kind),
               (unsigned long long)where.position, where.fp, where.unknown ? " unknown" : "",
               behind ? " behind" : "");
    walk(s,
         (struct reader){.position = where.position,
                         .fp = where.fp,
                         .subs = scope.subs,
                         .sub_count = scope.count,
                         .replay = replay,
                         .right = right,
                         .behind = v->behind},
         out);
    replay_destroy(replay);
}

static size_t compare(struct world *w)
{
    static const size_t firsts[] = {0, 1, 0, 1, 0}, counts[] = {1, 1, 2, 2, 3};
    size_t k = prng_below(&w->rng, 5);
    struct visit v = {.first = firsts[k], .count = counts[k], .id = any_id(w)};
    v.resumes = prng_below(&w->rng, 4) != 0;
    v.behind = prng_below(&w->rng, 2) == 0;
    static const uint32_t histories[] = {0, 1, 2, 5, HISTORY_ALL};
    v.history = histories[prng_below(&w->rng, 5)];
    struct right *right = right_create(&w->rights, grant_of("a b*", NULL, 0), NULL);
    struct buf all = BUF_INIT, some = BUF_INIT;
    tell(&w->sides[0], &v, right, &some);
    tell(&w->sides[1], &v, NULL, &all);
    if (strcmp(buf_cstr(&some), buf_cstr(&all)) != 0) {
        (void)fprintf(stderr, "%s\nwhere there is nothing secret:\n%s\n", buf_cstr(&some),
                      buf_cstr(&all));
        fail_msg("with id %s", v.resumes ? v.id.text : "-");
    }
    size_t len = all.len;
    right_destroy(right);
    buf_finish(&all);
    buf_finish(&some);
    return len;
}

static void the_forbidden_leaves_no_trace(void **state)
{
    (void)state;
    static struct world w;
    size_t bytes = 0;
    w.rng.state = 4711;
    for (int round = 0; round < 400; round++) {
        begin(&w);
        while (w.count < EVENTS) {
            step(&w);
            for (int i = 0; i < 8; i++)
                bytes += compare(&w);
        }
        end(&w);
    }
    assert_true(bytes > 1000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_forbidden_leaves_no_trace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
