#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "broker_util.h"
#include "sse_decoder.h"

enum { THREADS = 4, FRAMES = 400 };

static void is_the_block(void **state)
{
    (void)state;
    struct name *news = make_name("news");
    struct frame *f = make_frame(news, 7, "one\ntwo");
    struct id_text id = make_id(7, TAG_OWN, f->fp);
    char want[128];
    int len = snprintf(want, sizeof want, "data: one\ndata: two\nid: %s\n\n", id.text);
    assert_int_equal(f->len, len);
    assert_memory_equal(f->block, want, (size_t)len);
    assert_int_equal(f->id_len, EVENTID_LEN);
    assert_memory_equal(frame_id(f), id.text, EVENTID_LEN);
    assert_ptr_equal(f->channel, news);
    assert_true(frame_cost(f) >= sizeof *f + f->len);
    assert_int_equal(frame_extra(f), 0);
    frame_unref(f);
    f = make_published(news, 8, "x", "order-17");
    assert_int_equal(f->id_len, 8);
    assert_memory_equal(frame_id(f), "order-17", 8);
    assert_true(f->publisher_id);
    name_unref(news); /* the frame has a reference of its own */
    assert_memory_equal(f->channel->bytes, "news", 4);
    frame_unref(f);
    frame_unref(NULL);
}

static void counts_repairs(void **state)
{
    (void)state;
    struct name *news = make_name("news");
    struct buf scratch = BUF_INIT;
    buf_str(&scratch, "left over");
    size_t repaired = 9;
    struct sse_event event = {.data = "a\xff\xfe", .data_len = 3, .id = "1", .id_len = 1};
    struct frame *f = frame_create(&event, news, &scratch, &repaired);
    assert_non_null(f);
    assert_int_equal(repaired, 2);
    const char want[] = "data: a\xef\xbf\xbd\xef\xbf\xbd\nid: 1\n\n";
    assert_int_equal(f->len, sizeof want - 1);
    assert_memory_equal(f->block, want, sizeof want - 1);
    frame_unref(f);
    buf_finish(&scratch);
    name_unref(news);
}

static void wraps_bytes(void **state)
{
    (void)state;
    struct frame_stats stats;
    atomic_init(&stats.extra_bytes, 0);
    struct frame *f = frame_wrap("HTTP", 4);
    size_t len = 0;
    assert_memory_equal(frame_bytes(f, FORMAT_RAW, &stats, &len), "HTTP", 4);
    assert_int_equal(len, 4);
    assert_null(f->channel);
    frame_unref(frame_ref(f));
    frame_unref(f);
    assert_int_equal(atomic_load(&stats.extra_bytes), 0);
}

static void makes_json_once(void **state)
{
    (void)state;
    struct frame_stats stats;
    atomic_init(&stats.extra_bytes, 0);
    struct name *news = make_name("new\"s");
    struct frame *f = make_frame(news, 7, "a\"b");
    size_t cost = frame_cost(f);
    size_t len = 0, again = 0;
    const char *json = frame_bytes(f, FORMAT_JSON, &stats, &len);
    assert_ptr_equal(frame_bytes(f, FORMAT_JSON, &stats, &again), json);
    assert_int_equal(len, again);
    assert_int_equal(frame_extra(f), len);
    assert_int_equal(atomic_load(&stats.extra_bytes), len);
    assert_int_equal(frame_cost(f), cost);
    struct sse_decoder d;
    sse_decoder_init(&d);
    sse_decoder_feed(&d, json, len);
    assert_int_equal(d.count, 1);
    char want[160];
    struct id_text id = make_id(7, TAG_OWN, f->fp);
    (void)snprintf(want, sizeof want,
                   "{\"channel\":\"new\\\"s\",\"id\":\"%s\",\"event\":\"message\",\"data\":"
                   "\"a\\\"b\"}",
                   id.text);
    assert_string_equal(d.messages[0].data.p, want);
    assert_string_equal(d.messages[0].last_event_id.p, id.text);
    sse_decoder_finish(&d);
    frame_unref(f);
    assert_int_equal(atomic_load(&stats.extra_bytes), 0);
    name_unref(news);
}

struct shared {
    struct frame **frames;
    struct frame_stats *stats;
    pthread_barrier_t *barrier;
};

/* Every thread asks for every frame's json at about the same time, reads it, and lets go. */
static void *ask(void *arg)
{
    const struct shared *s = arg;
    size_t sum = 0;
    for (size_t i = 0; i < FRAMES; i++) {
        if (i % 20 == 0)
            (void)pthread_barrier_wait(s->barrier);
        size_t len = 0;
        const char *bytes = frame_bytes(s->frames[i], FORMAT_JSON, s->stats, &len);
        if (bytes == NULL || memcmp(bytes, "data: {", 7) != 0 || bytes[len - 1] != '\n')
            return NULL;
        if (frame_extra(s->frames[i]) != len)
            return NULL;
        sum += len;
        frame_unref(s->frames[i]);
    }
    return sum > 0 ? arg : NULL;
}

static void shares_json_between_threads(void **state)
{
    (void)state;
    struct frame_stats stats;
    atomic_init(&stats.extra_bytes, 0);
    struct name *news = make_name("news");
    struct frame *frames[FRAMES];
    for (size_t i = 0; i < FRAMES; i++) {
        frames[i] = make_sized(news, i + 1, 1, i % 300);
        for (int k = 0; k < THREADS; k++)
            (void)frame_ref(frames[i]);
    }
    name_unref(news);
    pthread_barrier_t barrier;
    assert_int_equal(pthread_barrier_init(&barrier, NULL, THREADS), 0);
    struct shared shared = {frames, &stats, &barrier};
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask, &shared), 0);
    for (int i = 0; i < THREADS; i++) {
        void *result = NULL;
        assert_int_equal(pthread_join(threads[i], &result), 0);
        assert_non_null(result);
    }
    size_t extra = 0;
    for (size_t i = 0; i < FRAMES; i++)
        extra += frame_extra(frames[i]);
    assert_int_equal(atomic_load(&stats.extra_bytes), extra);
    for (size_t i = 0; i < FRAMES; i++)
        frame_unref(frames[i]);
    assert_int_equal(atomic_load(&stats.extra_bytes), 0);
    (void)pthread_barrier_destroy(&barrier);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_the_block),
        cmocka_unit_test(counts_repairs),
        cmocka_unit_test(wraps_bytes),
        cmocka_unit_test(makes_json_once),
        cmocka_unit_test(shares_json_between_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
