/* Gathering against a naive model: views that overlap are filled as a hub would, then clients of
 * any subset of them walk from any position, and what they get is compared with all entries thrown
 * together, sorted, and freed of duplicates. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "broker_util.h"
#include "config_util.h"
#include "grant_util.h"
#include "prng.h"
#include "tickerd/base/err.h"
#include "tickerd/broker/gather.h"

enum { CHANNELS = 3, VIEWS = 5, LOG = 64 };

static const char *const claims[1 << CHANNELS] = {"", "a", "b", "[ab]", "c", "a c", "b c", "[a-c]"};

/* Which channels each view holds, as bits. */
static const unsigned masks[VIEWS] = {1, 2, 4, 7, 3};
static const char *const topics[VIEWS] = {"a", "b", "c", "[abc]", "[ab]"};

struct world {
    struct prng rng;
    struct rig rig;
    struct batch batch;
    struct frame_stats stats;
    struct name *names[CHANNELS];
    struct sub subs[VIEWS];
    uint64_t kept[CHANNELS][LOG]; /* the seqs of each log, oldest first */
    size_t count[CHANNELS];
    uint64_t seq;
    struct config *config; /* tokens are required */
    struct rights rights;
};

static void world_init(struct world *w)
{
    rig_init(&w->rig);
    assert_int_equal(batch_init(&w->batch, &w->stats), ERR_OK);
    for (size_t i = 0; i < VIEWS; i++)
        (void)rig_subscribe(&w->rig, &w->subs[i], topics[i], i >= CHANNELS);
    for (size_t i = 0; i < CHANNELS; i++)
        w->names[i] = make_name(topics[i]);
    memset(w->count, 0, sizeof w->count);
    w->seq = 0;
    const char *set[] = {"auth.mode=required", "auth.jwks_file=/nowhere", NULL};
    w->config = build_ok(NULL, NULL, set);
    rights_init(&w->rights, w->config);
}

static void world_finish(struct world *w)
{
    for (size_t i = 0; i < VIEWS; i++)
        replica_unsubscribe(&w->rig.replica, &w->subs[i]);
    rights_finish(&w->rights);
    config_destroy(w->config);
    unref_names(w->names, CHANNELS);
    batch_finish(&w->batch);
    rig_finish(&w->rig);
}

static void evict_oldest(struct world *w, size_t c)
{
    if (w->count[c] == 0)
        return;
    for (size_t v = 0; v < VIEWS; v++) {
        if (masks[v] & (1U << c))
            rig_evict(&w->rig, w->subs[v].view, w->kept[c][0]);
    }
    w->count[c]--;
    memmove(w->kept[c], w->kept[c] + 1, w->count[c] * sizeof w->kept[c][0]);
}

static size_t random_len(struct world *w)
{
    static const size_t lens[] = {0, 5, 100, 3900, 4100, 70000};
    size_t dice = prng_below(&w->rng, 200);
    return lens[dice < 100 ? 0 : dice < 190 ? 1 + dice % 2 : 3 + dice % 3];
}

static void step(struct world *w)
{
    size_t c = prng_below(&w->rng, CHANNELS);
    size_t dice = prng_below(&w->rng, 100);
    w->seq += 1 + prng_below(&w->rng, 3);
    if (dice < 60) {
        struct frame *f = make_sized(w->names[c], w->seq, (uint32_t)w->seq, random_len(w));
        for (size_t v = 0; v < VIEWS; v++) {
            if (masks[v] & (1U << c))
                rig_frame(&w->rig, w->subs[v].view, frame_ref(f));
        }
        frame_unref(f);
        w->kept[c][w->count[c]++] = w->seq;
        if (w->count[c] == LOG)
            evict_oldest(w, c);
    } else if (dice < 85) {
        evict_oldest(w, c);
    } else if (dice < 95) {
        for (size_t v = 0; v < VIEWS; v++) {
            if (masks[v] & (1U << c))
                rig_hole(&w->rig, w->subs[v].view, w->seq, w->names[c], GAP_OVERSIZE);
        }
    } else {
        rig_mark(&w->rig, w->seq, GAP_UPSTREAM);
    }
}

/* ---- the model ------------------------------------------------------------------------------- */

struct piece {
    const struct entry *entry;
    size_t order; /* of its ring among the client's: the marks, then the subscriptions */
};

static int compare(const void *x, const void *y)
{
    const struct piece *a = x, *b = y;
    uint64_t s = entry_seq(a->entry), t = entry_seq(b->entry);
    if (s != t)
        return s < t ? -1 : 1;
    if (entry_is_hole(a->entry) != entry_is_hole(b->entry))
        return entry_is_hole(a->entry) ? 1 : -1;
    return a->order < b->order ? -1 : a->order > b->order;
}

static bool hears(const struct reader *reader, const struct entry *e)
{
    const struct name *channel = entry_is_hole(e) ? e->u.hole->channel : e->u.frame->channel;
    return reader->right == NULL || channel == NULL ||
           auth_allows(reader->right->rights->config, reader->right->grant, channel->bytes,
                       channel->len);
}

static size_t all_pieces(const struct world *w, const struct reader *reader, struct piece *out)
{
    size_t n = 0;
    for (size_t k = 0; k <= reader->sub_count; k++) {
        const struct ring *r =
            k == 0 ? &w->rig.replica.marks->ring : &reader->subs[k - 1].view->ring;
        for (uint32_t i = 0; i < r->count; i++) {
            if (entry_seq(ring_at(r, i)) > reader->position && hears(reader, ring_at(r, i)))
                out[n++] = (struct piece){ring_at(r, i), k};
        }
    }
    qsort(out, n, sizeof *out, compare);
    return n;
}

struct model_gap {
    bool open;
    size_t order;
    struct name *channel;
    enum gap_reason reason;
    uint64_t to;
};

/* The newest of these holes that begins before its place; 0: none. */
static uint64_t newest_wide(const struct piece *pieces, size_t n)
{
    while (n > 0) {
        const struct entry *e = pieces[--n].entry;
        if (entry_is_hole(e) && e->u.hole->first < entry_seq(e))
            return entry_seq(e);
    }
    return 0;
}

/* One gap for each channel that has holes up to there, ring by ring, behind the one at hand. */
static void tell_ahead(struct world *w, struct buf *out, const struct model_gap *g,
                       const struct piece *pieces, size_t n, uint64_t upto, const struct reader *at)
{
    struct gap gaps[CHANNELS + 1];
    size_t count = 0, k;
    if (g->open)
        gaps[count++] = (struct gap){g->channel, g->reason, at->position, g->to, at->fp, true};
    for (size_t order = 0; order <= VIEWS; order++) {
        for (size_t i = 0; i < n && entry_seq(pieces[i].entry) <= upto; i++) {
            if (pieces[i].order != order || !entry_is_hole(pieces[i].entry))
                continue;
            const struct hole *h = pieces[i].entry->u.hole;
            for (k = 0; k < count && !name_equal(gaps[k].channel, h->channel); k++)
                continue;
            if (k == count)
                gaps[count++] = (struct gap){h->channel, h->reason, at->position, 0, at->fp, true};
            if (gaps[k].to < entry_seq(pieces[i].entry))
                gaps[k].to = entry_seq(pieces[i].entry);
        }
    }
    for (k = 0; k < count; k++)
        gap_encode(out, &w->rig.replica.timeline, &gaps[k]);
}

/* `pieces` is what comes after it. */
static void end_gap(struct world *w, struct buf *out, struct model_gap *g,
                    const struct piece *pieces, size_t n, uint64_t *told, struct reader *at)
{
    if (!g->open)
        return;
    uint64_t wide = newest_wide(pieces, n);
    if (g->channel != NULL && wide > *told) { /* its end is beyond what else is missing */
        tell_ahead(w, out, g, pieces, n, wide, at);
        *told = wide;
        g->open = false;
        return;
    }
    const struct gap gap = {.channel = g->channel,
                            .reason = g->reason,
                            .from = at->position,
                            .from_fp = at->fp,
                            .to = g->to};
    gap_encode(out, &w->rig.replica.timeline, &gap);
    at->position = g->to;
    at->fp = 0;
    g->open = false;
}

static void model_walk(struct world *w, struct reader at, struct buf *out)
{
    static struct piece pieces[8192];
    struct model_gap g = {.open = false};
    size_t n = all_pieces(w, &at, pieces);
    uint64_t told = 0;
    for (size_t i = 0; i < n; i++) {
        const struct entry *e = pieces[i].entry;
        uint64_t seq = entry_seq(e);
        if (entry_is_hole(e) && seq <= told)
            continue;
        if (!entry_is_hole(e)) {
            end_gap(w, out, &g, pieces + i, n - i, &told, &at);
            if (seq == at.position)
                continue; /* the same from another view */
            uint64_t wide = newest_wide(pieces + i, n - i);
            if (wide > told) {
                tell_ahead(w, out, &g, pieces + i, n - i, wide, &at);
                told = wide;
            }
            size_t len = 0;
            const char *bytes = frame_bytes(e->u.frame, at.format, &w->stats, &len);
            buf_append(out, bytes, len);
            at.position = seq;
            at.fp = e->u.frame->fp;
            continue;
        }
        if (seq == at.position)
            continue; /* one view still had it */
        struct name *channel = e->u.hole->channel;
        bool joins = g.open && (g.order == pieces[i].order || g.to == seq || channel == NULL ||
                                g.channel == NULL || name_equal(g.channel, channel));
        if (!joins) {
            end_gap(w, out, &g, pieces + i, n - i, &told, &at);
            if (seq <= told)
                continue;
            g = (struct model_gap){true, pieces[i].order, channel, e->u.hole->reason, seq};
        }
        if (!name_equal(g.channel, channel))
            g.channel = NULL;
        g.to = seq;
    }
    end_gap(w, out, &g, pieces + n, 0, &told, &at);
}

/* ---- comparing ------------------------------------------------------------------------------- */

static void real_walk(struct world *w, struct reader at, struct buf *out)
{
    struct replay memory = {.told = {.upto = 0}};
    strmap_init(&memory.starts);
    at.replay = &memory;
    for (;;) {
        batch_invalidate(&w->batch);
        batch_gather(&w->batch, &w->rig.replica, &at);
        assert_false(w->batch.failed);
        for (int i = 1; i <= w->batch.segments; i++)
            buf_append(out, w->batch.iov[i].iov_base, w->batch.iov[i].iov_len);
        if (w->batch.count == 0) {
            assert_false(w->batch.more);
            return;
        }
        /* Now and then only a part is taken. */
        size_t taken = w->batch.count;
        if (prng_below(&w->rng, 4) == 0) {
            taken = 1 + prng_below(&w->rng, taken);
            taken = taken < w->batch.told_items ? w->batch.told_items : taken;
            out->len -= w->batch.bytes - w->batch.items[taken - 1].end;
        }
        if (at.right != NULL && !w->batch.more && taken == w->batch.count)
            at.right->passed = w->batch.passed;
        at.position = w->batch.items[taken - 1].seq;
        at.fp = w->batch.items[taken - 1].fp;
        if (w->batch.told_items > 0)
            memory.told = w->batch.told;
    }
}

static void compare_walks(struct world *w)
{
    struct sub subs[VIEWS];
    struct buf want = BUF_INIT, got = BUF_INIT;
    struct reader reader = {.subs = subs};
    unsigned choice = 1 + (unsigned)prng_below(&w->rng, (1 << VIEWS) - 1);
    unsigned allowed = (unsigned)prng_below(&w->rng, 1 << CHANNELS);
    bool restricted = prng_below(&w->rng, 2) == 0;
    for (size_t v = 0; v < VIEWS; v++) {
        if (restricted && v < CHANNELS && (allowed & masks[v]) == 0)
            continue; /* it would not have been let in */
        if (choice & (1U << v))
            subs[reader.sub_count++].view = w->subs[v].view;
    }
    if (reader.sub_count == 0)
        return;
    if (restricted)
        reader.right = right_create(&w->rights, grant_of(claims[allowed], NULL, 0), NULL);
    reader.position = prng_below(&w->rng, (size_t)w->seq + 1);
    reader.format = prng_below(&w->rng, 8) == 0 ? FORMAT_JSON : FORMAT_RAW;
    model_walk(w, reader, &want);
    real_walk(w, reader, &got);
    assert_int_equal(got.len, want.len);
    if (want.len > 0)
        assert_memory_equal(got.data, want.data, want.len);
    right_destroy(reader.right);
    buf_finish(&want);
    buf_finish(&got);
}

static void agrees_with_the_model(void **state)
{
    (void)state;
    const uint64_t seed = 123;
    print_message("seed %llu\n", (unsigned long long)seed);
    struct world w;
    memset(&w, 0, sizeof w);
    w.rng.state = seed;
    for (int round = 0; round < 15; round++) {
        world_init(&w);
        for (int i = 0; i < 600; i++) {
            step(&w);
            if (i % 4 == 0)
                compare_walks(&w);
        }
        world_finish(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_the_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
