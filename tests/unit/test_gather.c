#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker_util.h"
#include "sse_decoder.h"
#include "tickerd/base/err.h"
#include "tickerd/broker/resume.h"

struct fixture {
    struct rig rig;
    struct batch batch;
    struct frame_stats stats;
    struct name *a, *b;
    struct sub subs[3];
    struct view *va, *vb, *all;
    struct reader reader;
    struct buf out;
};

static void start(struct fixture *f)
{
    memset(f, 0, sizeof *f);
    rig_init(&f->rig);
    assert_int_equal(batch_init(&f->batch, &f->stats), ERR_OK);
    f->a = make_name("a");
    f->b = make_name("b");
    f->va = rig_subscribe(&f->rig, &f->subs[0], "a", false);
    f->vb = rig_subscribe(&f->rig, &f->subs[1], "b", false);
    f->all = rig_subscribe(&f->rig, &f->subs[2], "*", true);
    f->reader = (struct reader){.subs = f->subs, .sub_count = 1};
}

static void finish(struct fixture *f)
{
    for (int i = 0; i < 3; i++)
        replica_unsubscribe(&f->rig.replica, &f->subs[i]);
    batch_finish(&f->batch);
    rig_finish(&f->rig);
    buf_finish(&f->out);
    name_unref(f->a);
    name_unref(f->b);
    assert_int_equal(atomic_load(&f->stats.extra_bytes), 0);
}

/* What the vector says agrees with what the items say. */
static void check_batch(const struct batch *b)
{
    size_t bytes = 0;
    assert_true(b->segments <= BATCH_SEGMENTS && b->count <= BATCH_ITEMS);
    for (int i = 1; i <= b->segments; i++)
        bytes += b->iov[i].iov_len;
    assert_int_equal(bytes, b->bytes);
    assert_true(b->bytes <= BATCH_BYTES || b->count == 1);
    assert_int_equal(b->count == 0 ? 0 : b->items[b->count - 1].end, b->bytes);
    uint32_t gaps = 0;
    for (uint32_t i = 0; i < b->count; i++) {
        gaps += b->items[i].frame == NULL ? 1 : 0;
        assert_true(i == 0 || b->items[i].seq > b->items[i - 1].seq);
        assert_true(b->items[i].end > (i == 0 ? 0 : b->items[i - 1].end));
        assert_memory_equal(b->items[i].bytes + b->items[i].end - (i ? b->items[i - 1].end : 0) - 1,
                            "\n", 1);
    }
    assert_int_equal(gaps, b->gaps);
}

/* Walk to the end as a session does; returns the number of batches that held something. */
static int walk(struct fixture *f)
{
    buf_reset(&f->out);
    for (int batches = 0;; batches++) {
        batch_gather(&f->batch, &f->rig.replica, &f->reader);
        assert_false(f->batch.failed);
        check_batch(&f->batch);
        for (int i = 1; i <= f->batch.segments; i++)
            buf_append(&f->out, f->batch.iov[i].iov_base, f->batch.iov[i].iov_len);
        if (f->batch.count == 0) {
            assert_false(f->batch.more);
            return batches;
        }
        f->reader.position = f->batch.items[f->batch.count - 1].seq;
        f->reader.fp = f->batch.items[f->batch.count - 1].fp;
    }
}

static void expect(struct fixture *f, uint64_t position, const char *want)
{
    f->reader.position = position;
    f->reader.fp = 0;
    batch_invalidate(&f->batch);
    (void)walk(f);
    struct sse_decoder d;
    struct buf got = BUF_INIT;
    sse_decoder_init(&d);
    sse_decoder_feed(&d, f->out.data, f->out.len);
    for (size_t i = 0; i < d.count; i++) {
        struct eventid id;
        assert_true(
            eventid_parse(d.messages[i].last_event_id.p, d.messages[i].last_event_id.len, &id));
        const char *comma = strstr(d.messages[i].data.p, ",\"from\"");
        int len =
            (int)(comma == NULL ? d.messages[i].data.len : (size_t)(comma - d.messages[i].data.p));
        buf_printf(&got, "%llu:%.*s ", (unsigned long long)id.seq, len, d.messages[i].data.p);
    }
    assert_string_equal(buf_cstr(&got), want);
    buf_finish(&got);
    sse_decoder_finish(&d);
}

#define GAP(channel, reason) "{\"channel\":" channel ",\"reason\":\"" reason "\" "

static void frame(struct fixture *f, struct name *channel, uint64_t seq, const char *text)
{
    struct frame *fr = make_frame(channel, seq, text);
    rig_frame(&f->rig, channel == f->a ? f->va : f->vb, frame_ref(fr));
    rig_frame(&f->rig, f->all, fr);
}

static void evict(struct fixture *f, struct name *channel, uint64_t seq)
{
    rig_evict(&f->rig, channel == f->a ? f->va : f->vb, seq);
    rig_evict(&f->rig, f->all, seq);
}

static void hole(struct fixture *f, struct name *channel, uint64_t seq)
{
    rig_hole(&f->rig, channel == f->a ? f->va : f->vb, seq, channel, GAP_OVERSIZE);
    rig_hole(&f->rig, f->all, seq, channel, GAP_OVERSIZE);
}

static void encodes_gaps(void **state)
{
    (void)state;
    struct timeline t = make_timeline();
    struct buf out = BUF_INIT;
    struct name *odd = make_name("a\"b");
    gap_encode(&out, &t, &(struct gap){odd, GAP_EVICTED, 1, 3, 2, false});
    assert_string_equal(buf_cstr(&out), "event: tickerd:gap\n"
                                        "data: {\"channel\":\"a\\\"b\",\"reason\":\"evicted\","
                                        "\"from\":\"0000000000001-0a0b0c0d-00000002\","
                                        "\"to\":\"0000000000003-0a0b0c0d-00000000\"}\n"
                                        "id: 0000000000003-0a0b0c0d-00000000\n\n");
    buf_reset(&out);
    gap_encode(&out, &t, &(struct gap){NULL, GAP_UPSTREAM, 1, 3, 2, false});
    assert_non_null(strstr(buf_cstr(&out), "{\"channel\":null,\"reason\":\"upstream\","));
    buf_finish(&out);
    name_unref(odd);
}

static void walks_one_view(void **state)
{
    (void)state;
    struct fixture f;
    start(&f);
    expect(&f, 0, "");
    frame(&f, f.a, 10, "x");
    frame(&f, f.b, 20, "y");
    frame(&f, f.a, 30, "z");
    expect(&f, 0, "10:x 30:z ");
    expect(&f, 10, "30:z ");
    expect(&f, 29, "30:z ");
    expect(&f, 30, "");
    evict(&f, f.a, 10);
    hole(&f, f.a, 40);
    expect(&f, 0, "10:" GAP("\"a\"", "evicted") "30:z 40:" GAP("\"a\"", "oversize"));
    expect(&f, 10, "30:z 40:" GAP("\"a\"", "oversize"));
    rig_mark(&f.rig, 50, GAP_UPSTREAM);
    expect(&f, 30, "50:" GAP("null", "oversize")); /* adjacent: one, of all channels */
    expect(&f, 40, "50:" GAP("null", "upstream"));
    finish(&f);
}

static void merges_views(void **state)
{
    (void)state;
    struct fixture f;
    start(&f);
    f.reader.sub_count = 2;
    frame(&f, f.a, 10, "x");
    frame(&f, f.b, 20, "y");
    rig_mark(&f.rig, 25, GAP_UPSTREAM);
    rig_mark(&f.rig, 26, GAP_UPSTREAM);
    frame(&f, f.a, 30, "z");
    frame(&f, f.b, 40, "w");
    expect(&f, 0, "10:x 20:y 26:" GAP("null", "upstream") "30:z 40:w ");
    f.reader.sub_count = 3; /* all of it once more in the pattern's view */
    expect(&f, 0, "10:x 20:y 26:" GAP("null", "upstream") "30:z 40:w ");
    expect(&f, 25, "26:" GAP("null", "upstream") "30:z 40:w ");
    evict(&f, f.a, 10);
    evict(&f, f.b, 20);
    expect(&f, 26, "30:z 40:w ");
    f.reader.sub_count = 2;
    expect(&f, 0, "10:" GAP("\"a\"", "evicted") "26:" GAP("null", "evicted") "30:z 40:w ");
    finish(&f);
}

static void keeps_channels_apart(void **state)
{
    (void)state;
    struct fixture f;
    start(&f);
    f.reader.sub_count = 2;
    hole(&f, f.a, 10);
    hole(&f, f.b, 11);
    expect(&f, 0, "10:" GAP("\"a\"", "oversize") "11:" GAP("\"b\"", "oversize"));
    finish(&f);
}

/* In the pattern's view b's loss has melted into a's; a's own view says only a at the same place,
 * and must not speak for both. */
static void names_all_at_one_place(void **state)
{
    (void)state;
    struct fixture f;
    start(&f);
    f.reader.sub_count = 3;
    f.reader.subs = f.subs;
    frame(&f, f.a, 50, "x");
    struct ring log;
    ring_init(&log);
    assert_int_equal(ring_push_hole(&log, 50, NULL, GAP_EVICTED), ERR_OK);
    rig_reset(&f.rig, f.all, &log, 50);
    rig_evict(&f.rig, f.va, 50);
    expect(&f, 0, "50:" GAP("null", "evicted"));
    ring_finish(&log);
    finish(&f);
}

/* After the hub gave up on a worker, views come back one by one. What one holds already may lie
 * behind what another is still to bring: going on would pass over that. */
static void waits_for_all_views(void **state)
{
    (void)state;
    struct fixture f;
    start(&f);
    f.reader.sub_count = 2;
    f.reader.position = 5;
    frame(&f, f.a, 10, "x");
    replica_restart(&f.rig.replica);
    struct ring log;
    ring_init(&log);
    assert_int_equal(ring_push_frame(&log, make_frame(f.a, 30, "late")), ERR_OK);
    rig_reset(&f.rig, f.va, &log, 30);
    batch_gather(&f.batch, &f.rig.replica, &f.reader);
    assert_int_equal(f.batch.count, 0);
    assert_int_equal(f.batch.segments, 0);
    assert_true(f.batch.more);
    ring_finish(&log);
    assert_int_equal(ring_push_frame(&log, make_frame(f.b, 20, "early")), ERR_OK);
    rig_reset(&f.rig, f.vb, &log, 31);
    ring_finish(&log);
    expect(&f, 5, "20:early 30:late ");
    finish(&f);
}

/* ---- sizes ----------------------------------------------------------------------------------- */

static void fill(struct fixture *f, size_t count, size_t len, struct buf *want)
{
    for (size_t i = 0; i < count; i++) {
        struct frame *fr = make_sized(f->a, f->rig.replica.head + 1, 7, len);
        buf_append(want, fr->block, fr->len);
        rig_frame(&f->rig, f->va, fr);
    }
}

static void splits_what_is_too_much(void **state)
{
    (void)state;
    static const struct {
        size_t count, len;
        int batches;
    } cases[] = {
        {BATCH_ITEMS, 1, 1},
        {BATCH_ITEMS + 1, 1, 2},       /* items */
        {BATCH_SEGMENTS + 1, 4096, 2}, /* segments: each frame is pointed to, and bytes */
        {300, 1000, 2},                /* bytes */
        {3, BATCH_BYTES, 3},           /* each above BATCH_BYTES */
        {BATCH_SEGMENTS * 2, 4090, 3}, /* around BATCH_COPY_MAX */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fixture f;
        struct buf want = BUF_INIT;
        start(&f);
        fill(&f, cases[i].count, cases[i].len, &want);
        assert_int_equal(walk(&f), cases[i].batches);
        assert_int_equal(f.out.len, want.len);
        assert_memory_equal(f.out.data, want.data, want.len);
        buf_finish(&want);
        finish(&f);
    }
}

/* Copied frames share a segment, large ones get their own. */
static void shares_segments(void **state)
{
    (void)state;
    struct fixture f;
    struct buf want = BUF_INIT;
    start(&f);
    fill(&f, 10, 10, &want);
    fill(&f, 1, 10000, &want);
    fill(&f, 10, 10, &want);
    batch_gather(&f.batch, &f.rig.replica, &f.reader);
    assert_int_equal(f.batch.segments, 3);
    assert_int_equal(f.batch.count, 21);
    batch_clear(&f.batch);
    assert_int_equal(walk(&f), 1);
    assert_int_equal(f.out.len, want.len);
    assert_memory_equal(f.out.data, want.data, want.len);
    buf_finish(&want);
    finish(&f);
}

static void caches(void **state)
{
    (void)state;
    struct fixture f;
    start(&f);
    frame(&f, f.a, 10, "x");
    batch_gather(&f.batch, &f.rig.replica, &f.reader);
    assert_int_equal(f.batch.count, 1);
    frame(&f, f.a, 20, "y"); /* not told of it, so still the same batch */
    batch_gather(&f.batch, &f.rig.replica, &f.reader);
    assert_int_equal(f.batch.count, 1);
    f.reader.fp = 1;
    batch_gather(&f.batch, &f.rig.replica, &f.reader);
    assert_int_equal(f.batch.count, 2);
    batch_invalidate(&f.batch);
    frame(&f, f.a, 30, "z");
    batch_gather(&f.batch, &f.rig.replica, &f.reader);
    assert_int_equal(f.batch.count, 3);
    f.reader.format = FORMAT_JSON;
    batch_gather(&f.batch, &f.rig.replica, &f.reader);
    assert_memory_equal(f.batch.items[0].bytes, "data: {\"channel\":\"a\"", 19);
    f.reader.subs = &f.subs[1];
    batch_gather(&f.batch, &f.rig.replica, &f.reader);
    assert_int_equal(f.batch.count, 0);
    f.reader.subs = f.subs;
    f.reader.position = 10;
    batch_gather(&f.batch, &f.rig.replica, &f.reader);
    assert_int_equal(f.batch.count, 2);
    batch_clear(&f.batch);
    assert_int_equal(f.batch.count + f.batch.bytes, 0);
    batch_gather(&f.batch, &f.rig.replica, &f.reader);
    assert_int_equal(f.batch.count, 2);
    finish(&f);
}

static void more_views_than_any_array(void **state)
{
    (void)state;
    enum { MANY = 3000 };
    struct fixture f;
    start(&f);
    struct sub *subs = calloc(MANY, sizeof *subs);
    assert_non_null(subs);
    for (size_t i = 0; i < MANY; i++) {
        char topic[16];
        (void)snprintf(topic, sizeof topic, "c%zu", i);
        struct view *v = rig_subscribe(&f.rig, &subs[i], topic, false);
        rig_frame(&f.rig, v, make_sized(v->topic, f.rig.replica.head + 1, 1, 1));
    }
    f.reader.subs = subs;
    f.reader.sub_count = MANY;
    batch_gather(&f.batch, &f.rig.replica, &f.reader);
    assert_int_equal(f.batch.count, BATCH_ITEMS);
    f.reader.position = f.batch.items[BATCH_ITEMS - 1].seq;
    batch_gather(&f.batch, &f.rig.replica, &f.reader);
    assert_int_equal(f.batch.count, MANY - BATCH_ITEMS);
    for (size_t i = 0; i < MANY; i++)
        replica_unsubscribe(&f.rig.replica, &subs[i]);
    free(subs);
    finish(&f);
}

/* ---- history --------------------------------------------------------------------------------- */

static struct replay *replay(struct fixture *f, uint32_t history, uint64_t *position)
{
    struct resume where;
    struct replay *p = NULL;
    const struct scope scope = {&f->rig.replica, f->reader.subs, f->reader.sub_count,
                                f->reader.right};
    assert_int_equal(resume_new(&scope, history, &where, &p), ERR_OK);
    assert_int_equal(where.kind, RESUME_NEW);
    *position = where.position;
    f->reader.replay = p;
    return p;
}

static void replays_the_last_of_each(void **state)
{
    (void)state;
    struct fixture f;
    uint64_t from;
    start(&f);
    f.reader.sub_count = 2;
    for (uint64_t s = 10; s <= 50; s += 10)
        frame(&f, f.a, s, "a");
    frame(&f, f.b, 55, "b");
    hole(&f, f.b, 56);
    evict(&f, f.a, 10);
    struct replay *p = replay(&f, 2, &from);
    expect(&f, from, "40:a 50:a 55:b 56:" GAP("\"b\"", "oversize"));
    replay_destroy(p);
    p = replay(&f, HISTORY_ALL, &from);
    frame(&f, f.a, 60, "live");
    expect(&f, from, "20:a 30:a 40:a 50:a 55:b 56:" GAP("\"b\"", "oversize") "60:live ");
    replay_destroy(p);
    f.reader.subs = &f.subs[2]; /* by the pattern */
    f.reader.sub_count = 1;
    p = replay(&f, 1, &from);
    expect(&f, from, "55:b 56:" GAP("\"b\"", "oversize") "60:live ");
    replay_destroy(p);
    finish(&f);
}

/* What was gone before the client came it is not told; what goes while it is served it is, even if
 * the time line has not moved since. */
static void tells_what_goes_meanwhile(void **state)
{
    (void)state;
    for (size_t first = 0; first < 3; first += 2) { /* a channel's view, a pattern's */
        struct fixture f;
        uint64_t from;
        start(&f);
        f.reader.subs = &f.subs[first];
        for (uint64_t s = 10; s <= 50; s += 10)
            frame(&f, f.a, s, "a");
        evict(&f, f.a, 10);
        struct replay *p = replay(&f, HISTORY_ALL, &from);
        expect(&f, from, "20:a 30:a 40:a 50:a ");
        evict(&f, f.a, 20);
        evict(&f, f.a, 30);
        expect(&f, from, "30:" GAP("\"a\"", "evicted") "40:a 50:a ");
        replay_destroy(p);
        p = replay(&f, HISTORY_ALL, &from); /* who comes now is not */
        expect(&f, from, "40:a 50:a ");
        replay_destroy(p);
        finish(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(encodes_gaps),
        cmocka_unit_test(walks_one_view),
        cmocka_unit_test(merges_views),
        cmocka_unit_test(keeps_channels_apart),
        cmocka_unit_test(names_all_at_one_place),
        cmocka_unit_test(waits_for_all_views),
        cmocka_unit_test(splits_what_is_too_much),
        cmocka_unit_test(shares_segments),
        cmocka_unit_test(caches),
        cmocka_unit_test(more_views_than_any_array),
        cmocka_unit_test(replays_the_last_of_each),
        cmocka_unit_test(tells_what_goes_meanwhile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
