#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tickerd/daemon/exposition.h"

/* ---- a reader of the format, as strict as it is small ---------------------------------------- */

enum { LINES_MAX = 512 };

struct text {
    struct buf buf;
    char *lines[LINES_MAX];
    size_t count;
};

static void print(struct text *t, const struct figures *f)
{
    memset(t, 0, sizeof *t);
    buf_init(&t->buf);
    exposition_print(&t->buf, f);
    assert_false(t->buf.failed);
    assert_true(t->buf.len > 0 && t->buf.data[t->buf.len - 1] == '\n');
    buf_byte(&t->buf, '\0');
    char *rest = NULL;
    for (char *l = strtok_r(t->buf.data, "\n", &rest); l != NULL; l = strtok_r(NULL, "\n", &rest)) {
        assert_true(t->count < LINES_MAX);
        t->lines[t->count++] = l;
    }
}

static bool has(const struct text *t, const char *line)
{
    for (size_t i = 0; i < t->count; i++) {
        if (strcmp(t->lines[i], line) == 0)
            return true;
    }
    return false;
}

static void expect(const struct text *t, const char *const *lines)
{
    for (; *lines != NULL; lines++) {
        if (!has(t, *lines))
            fail_msg("missing: %s", *lines);
    }
}

static size_t name_len(const char *s)
{
    return strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789_");
}

static bool ends_with(const char *s, size_t len, const char *end)
{
    size_t n = strlen(end);
    return len >= n && memcmp(s + len - n, end, n) == 0;
}

/* Whether a sample of this name belongs to the family. */
static bool is_of(const char *sample, size_t len, const char *family, const char *type)
{
    size_t n = strlen(family);
    if (len < n || memcmp(sample, family, n) != 0)
        return false;
    if (strcmp(type, "histogram") != 0)
        return len == n;
    return ends_with(sample, len, "_bucket") || ends_with(sample, len, "_sum") ||
           ends_with(sample, len, "_count");
}

/* ---- tests ----------------------------------------------------------------------------------- */

static struct figures *numbered(void)
{
    struct figures *f = calloc(1, sizeof *f);
    assert_non_null(f);
    uint64_t n = 1000;
    for (size_t i = 0; i < METRIC_COUNT; i++)
        f->value[i] = ++n;
    for (size_t i = 0; i < GAUGE_COUNT; i++)
        f->gauge[i] = ++n;
    for (size_t i = 0; i < GAP_REASON_COUNT; i++)
        f->gaps[i] = i + 1;
    for (size_t i = 0; i < CLOSING_COUNT; i++)
        f->closed[i] = i + 10;
    for (size_t i = 0; i < REFUSAL_COUNT; i++)
        f->refused[i] = i + 30;
    for (size_t i = 0; i < MEMORY_COUNT; i++)
        f->memory[i] = i + 50;
    f->worker_count = 2;
    f->workers[1] = (struct worker_figures){.clients = 7, .deliveries = 8};
    f->clients_max = 99;
    return f;
}

/* Every family has HELP and TYPE, once and before its samples; nothing else is printed. */
static void test_every_line_belongs_to_a_family(void **state)
{
    (void)state;
    struct figures *f = numbered();
    struct text t;
    print(&t, f);
    char family[128] = "", type[32] = "";
    size_t families = 0, samples = 0;
    for (size_t i = 0; i < t.count; i++) {
        const char *l = t.lines[i];
        if (strncmp(l, "# HELP ", 7) == 0) {
            assert_true(i + 1 < t.count);
            (void)snprintf(family, sizeof family, "%.*s", (int)name_len(l + 7), l + 7);
            assert_true(strlen(l + 7 + strlen(family)) > 2);
            for (size_t k = 0; k < i; k++)
                assert_false(strncmp(t.lines[k], l, 8 + strlen(family)) == 0);
            assert_int_equal(sscanf(t.lines[++i], "# TYPE %*s %31s", type), 1);
            assert_true(strncmp(t.lines[i] + 7, family, strlen(family)) == 0);
            assert_int_equal(strcmp(type, "counter") == 0,
                             ends_with(family, strlen(family), "_total"));
            families++;
            continue;
        }
        assert_true(is_of(l, name_len(l), family, type));
        assert_true(strstr(l, " ") != NULL);
        samples++;
    }
    assert_true(families > 35 && samples > families);
    buf_finish(&t.buf);
    free(f);
}

static void test_values(void **state)
{
    (void)state;
    struct figures *f = numbered();
    f->value[METRIC_MESSAGES] = UINT64_MAX;
    f->gauge[GAUGE_UPSTREAM] = UPSTREAM_STATE_UP;
    f->gauge[GAUGE_UPSTREAM_SINCE] = 1700000000250000;
    f->gauge[GAUGE_ROUND_TRIP] = 1;
    f->process.cpu_us = 12500000;
    struct text t;
    print(&t, f);
    const char *const lines[] = {
        "tickerd_build_info{version=\"" TICKERD_VERSION "\",libuv=\"",
        NULL,
    };
    assert_memory_equal(t.lines[2], lines[0], strlen(lines[0]));
    expect(&t, (const char *const[]){
                   "tickerd_messages_total 18446744073709551615", "tickerd_redis_connected 1",
                   "tickerd_redis_up 1", "tickerd_redis_since_timestamp_seconds 1700000000.25",
                   "tickerd_redis_round_trip_seconds 0.000001", "process_cpu_seconds_total 12.5",
                   "tickerd_gaps_total{reason=\"evicted\"} 1",
                   "tickerd_gaps_total{reason=\"unknown-id\"} 7",
                   "tickerd_streams_closed_total{reason=\"client\"} 11",
                   "tickerd_refused_total{why=\"bad_request\"} 30",
                   "tickerd_memory_bytes{part=\"histories\"} 50",
                   "tickerd_memory_bytes{part=\"inboxes\"} 54", "tickerd_clients_max 99",
                   "tickerd_worker_clients{worker=\"1\"} 7",
                   "tickerd_worker_deliveries_total{worker=\"1\"} 8", NULL});
    buf_finish(&t.buf);
    free(f);
}

static void test_what_is_unknown_is_left_out(void **state)
{
    (void)state;
    struct figures *f = calloc(1, sizeof *f);
    assert_non_null(f);
    struct text t;
    print(&t, f);
    expect(&t, (const char *const[]){"tickerd_redis_connected 0", "tickerd_redis_up 0", NULL});
    for (size_t i = 0; i < t.count; i++)
        assert_null(strstr(t.lines[i], "round_trip"));
    f->gauge[GAUGE_UPSTREAM] = UPSTREAM_STATE_PARTLY;
    buf_finish(&t.buf);
    print(&t, f);
    expect(&t, (const char *const[]){"tickerd_redis_connected 1", "tickerd_redis_up 0", NULL});
    buf_finish(&t.buf);
    free(f);
}

static void test_histograms_are_cumulative(void **state)
{
    (void)state;
    struct figures *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->latency.counts[0] = 3;
    f->latency.counts[4] = 2;
    f->latency.counts[HISTOGRAM_BUCKETS - 1] = 1;
    f->latency.sum_us = 30001500;
    f->hub_turns.counts[1] = 4;
    struct text t;
    print(&t, f);
    expect(&t,
           (const char *const[]){"tickerd_delivery_latency_seconds_bucket{le=\"0.00005\"} 3",
                                 "tickerd_delivery_latency_seconds_bucket{le=\"0.0005\"} 3",
                                 "tickerd_delivery_latency_seconds_bucket{le=\"0.001\"} 5",
                                 "tickerd_delivery_latency_seconds_bucket{le=\"0.0025\"} 5",
                                 "tickerd_delivery_latency_seconds_bucket{le=\"10\"} 5",
                                 "tickerd_delivery_latency_seconds_bucket{le=\"+Inf\"} 6",
                                 "tickerd_delivery_latency_seconds_sum 30.0015",
                                 "tickerd_delivery_latency_seconds_count 6",
                                 "tickerd_loop_turn_seconds_bucket{thread=\"hub\",le=\"0.0001\"} 4",
                                 "tickerd_loop_turn_seconds_count{thread=\"hub\"} 4",
                                 "tickerd_loop_turn_seconds_sum{thread=\"worker\"} 0", NULL});
    buf_finish(&t.buf);
    free(f);
}

static void test_labels_are_escaped(void **state)
{
    (void)state;
    struct buf out = BUF_INIT;
    exposition_label(&out, "a\"b\\c\nd");
    assert_string_equal(buf_cstr(&out), "\"a\\\"b\\\\c\\nd\"");
    buf_reset(&out);
    exposition_label(&out, "");
    assert_string_equal(buf_cstr(&out), "\"\"");
    buf_finish(&out);
}

static void test_seconds(void **state)
{
    (void)state;
    static const struct {
        uint64_t us;
        const char *text;
    } cases[] = {{0, "0"},         {1, "0.000001"},  {50, "0.00005"},       {1000000, "1"},
                 {2500000, "2.5"}, {10000000, "10"}, {1000001, "1.000001"}, {999999, "0.999999"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buf out = BUF_INIT;
        exposition_seconds(&out, cases[i].us);
        assert_string_equal(buf_cstr(&out), cases[i].text);
        buf_finish(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_line_belongs_to_a_family),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_what_is_unknown_is_left_out),
        cmocka_unit_test(test_histograms_are_cumulative),
        cmocka_unit_test(test_labels_are_escaped),
        cmocka_unit_test(test_seconds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
