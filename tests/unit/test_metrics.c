#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "tickerd/base/log.h"
#include "world.h"

static const char *const helps[] = {
#define HELP(name, help) help,
    METRICS(HELP)
#undef HELP
};

static void test_each_counts_for_itself(void **state)
{
    (void)state;
    struct metrics m;
    memset(&m, 0, sizeof m);
    for (unsigned i = 0; i < METRIC_COUNT; i++)
        metrics_add(&m, (enum metric)i, i + 1);
    metrics_add(&m, METRIC_BYTES, UINT64_C(1) << 40);
    metrics_add(&m, METRIC_BYTES, 0);
    for (unsigned i = 0; i < METRIC_COUNT; i++)
        assert_int_equal(metrics_get(&m, (enum metric)i),
                         i + 1 + (i == METRIC_BYTES ? UINT64_C(1) << 40 : 0));
}

static void test_each_has_a_text_of_its_own(void **state)
{
    (void)state;
    assert_int_equal(sizeof helps / sizeof helps[0], METRIC_COUNT);
    for (unsigned i = 0; i < METRIC_COUNT; i++) {
        assert_true(strlen(helps[i]) > 10);
        for (unsigned j = 0; j < i; j++)
            assert_string_not_equal(helps[i], helps[j]);
    }
}

static void test_refusals_by_status(void **state)
{
    (void)state;
    static const struct {
        int status;
        enum refusal why;
        const char *text;
    } cases[] = {
        {400, REFUSAL_BAD_REQUEST, "bad_request"}, {401, REFUSAL_UNAUTHORISED, "unauthorised"},
        {403, REFUSAL_FORBIDDEN, "forbidden"},     {404, REFUSAL_BAD_REQUEST, "bad_request"},
        {429, REFUSAL_TOO_MANY, "too_many"},       {431, REFUSAL_BAD_REQUEST, "bad_request"},
        {503, REFUSAL_UNAVAILABLE, "unavailable"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(refusal_of(cases[i].status), cases[i].why);
        assert_string_equal(refusal_text(cases[i].why), cases[i].text);
    }
}

/* ---- what a stream counts is what its client sees ------------------------------------------- */

struct seen {
    uint64_t events, gaps, bytes;
};

static void look(struct seen *seen, const struct world_client *c)
{
    const struct sse_decoder *d = &c->transport.decoder;
    for (size_t i = 0; i < d->count; i++) {
        seen->events += strncmp(d->messages[i].type.p, "tickerd:", 8) != 0;
        seen->gaps += strcmp(d->messages[i].type.p, "tickerd:gap") == 0;
    }
    seen->bytes += c->transport.bytes.len;
}

static void compare(const struct world *w, const struct seen *seen)
{
    const struct metrics *m = &w->workers[0].metrics;
    assert_int_equal(metrics_get(m, METRIC_DELIVERIES), seen->events);
    assert_int_equal(metrics_gaps(m), seen->gaps);
    assert_int_equal(metrics_get(m, METRIC_BYTES), seen->bytes);
}

static void test_events_gaps_and_bytes(void **state)
{
    (void)state;
    const char *settings[] = {"history.events=2", "limits.message_bytes=20", NULL};
    struct world w;
    struct world_client c, d;
    struct seen seen = {0, 0, 0};
    world_start(&w, settings);
    world_connect(&w, 0, &c, "/events/a", NULL);
    world_connect(&w, 0, &d, "/events?channel=a&pattern=*&format=json", "nobody-knows-it");
    world_settle(&w);
    world_publish(&w, "a", "1");
    world_publish(&w, "a", "above the limit of twenty bytes");
    world_turn(&w, 0);
    for (size_t room = 0; room < 900; room += 37) { /* in pieces */
        world_room(&w, &c, room % 100);
        world_publish(&w, "a", "x");
        world_publish(&w, "a", "y");
        world_turn(&w, 0);
    }
    world_room(&w, &c, SIZE_MAX);
    assert_true(c.transport.decoder.count > 5);
    look(&seen, &c);
    look(&seen, &d);
    assert_true(seen.gaps > 3);
    compare(&w, &seen);
    assert_int_equal(c.session.events + d.session.events, seen.events);
    assert_int_equal(c.session.bytes + d.session.bytes, seen.bytes);
    assert_int_equal(c.session.gaps + d.session.gaps, seen.gaps);
    assert_int_equal(metrics_get(&w.metrics, METRIC_OVERSIZE), 1);
    assert_int_equal(metrics_get(&w.metrics, METRIC_MESSAGES), 52);
    assert_int_equal(metrics_get(&w.workers[0].metrics, METRIC_STREAMS), 2);
    world_disconnect(&c);
    world_disconnect(&d);
    assert_int_equal(metrics_get(&w.workers[0].metrics, METRIC_STREAMS_ENDED), 2);
    assert_int_equal(metrics_closed(&w.workers[0].metrics, CLOSING_CLIENT), 2);
    world_finish(&w);
}

static void test_heartbeats_and_goodbyes_are_bytes_only(void **state)
{
    (void)state;
    struct world w;
    struct world_client c;
    struct seen seen = {0, 0, 0};
    world_start(&w, NULL);
    world_connect(&w, 0, &c, "/events/a", NULL);
    world_settle(&w);
    session_heartbeat(&c.session, w.mono);
    session_leave(&c.session, CLOSING_MAX_AGE, w.mono);
    assert_int_equal(c.transport.closes, 1);
    look(&seen, &c);
    assert_int_equal(seen.events, 0);
    compare(&w, &seen);
    world_disconnect(&c);
    assert_int_equal(metrics_get(&w.workers[0].metrics, METRIC_STREAMS_ENDED), 1);
    assert_int_equal(metrics_closed(&w.workers[0].metrics, CLOSING_MAX_AGE), 1);
    assert_int_equal(metrics_closed(&w.workers[0].metrics, CLOSING_CLIENT), 0);
    world_connect(&w, 0, &c, "/events/b", NULL); /* gone before it began: no stream at all */
    world_disconnect(&c);
    assert_int_equal(metrics_get(&w.workers[0].metrics, METRIC_STREAMS), 1);
    assert_int_equal(metrics_get(&w.workers[0].metrics, METRIC_STREAMS_ENDED), 1);
    world_finish(&w);
}

int main(void)
{
    log_setup(LOG_ERROR, LOG_TEXT);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_counts_for_itself),
        cmocka_unit_test(test_each_has_a_text_of_its_own),
        cmocka_unit_test(test_refusals_by_status),
        cmocka_unit_test(test_events_gaps_and_bytes),
        cmocka_unit_test(test_heartbeats_and_goodbyes_are_bytes_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
