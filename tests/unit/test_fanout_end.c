/* How the fan-out sends its clients away. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tickerd/base/log.h"
#include "world.h"

enum { SECOND = 1000000 };

static struct fanout *fan(struct world *w)
{
    return &w->workers[0].fanout;
}

static void test_max_age(void **state)
{
    (void)state;
    const char *settings[] = {"stream.max_age=60s", NULL};
    struct world w;
    struct world_client old, young;
    world_open(&w, settings, &old, "/events/a");
    world_sleep(&w, 30 * SECOND);
    world_connect(&w, 0, &young, "/events/a", NULL);
    world_sleep(&w, 29 * SECOND);
    assert_int_equal(old.transport.closes, 0);
    world_sleep(&w, 2 * SECOND);
    assert_int_equal(old.transport.closes, 1);
    assert_false(old.transport.aborted);
    assert_int_equal(old.transport.decoder.retries, 2);
    assert_int_equal(young.transport.closes, 0);
    world_sleep(&w, 30 * SECOND);
    assert_int_equal(young.transport.closes, 1);
    world_disconnect(&old);
    world_disconnect(&young);
    world_finish(&w);
}

static void test_retry_is_spread(void **state)
{
    (void)state;
    struct world w;
    uint32_t low = UINT32_MAX, high = 0;
    world_start(&w, NULL);
    for (int i = 0; i < 2000; i++) {
        uint32_t ms = fanout_retry_ms(fan(&w), w.mono);
        low = ms < low ? ms : low;
        high = ms > high ? ms : high;
    }
    assert_in_range(low, 1000, 1050);
    assert_in_range(high, 2950, 3000);
    w.config->stream.retry_ms = 100;
    assert_in_range(fanout_retry_ms(fan(&w), w.mono), 1, 1100);
    w.config->stream.retry_ms = w.config->stream.retry_jitter_ms = 0;
    assert_int_equal(fanout_retry_ms(fan(&w), w.mono), 1); /* 0 is no value to rely on */
    fanout_drain(fan(&w), w.mono);
    assert_int_equal(fanout_retry_ms(fan(&w), w.mono + 4 * SECOND), 6000);
    /* Only those who take nothing keep it from ending: nobody is to wait for them in vain. */
    assert_int_equal(fanout_retry_ms(fan(&w), w.mono + 11 * SECOND), FANOUT_GRACE_US / 1000);
    world_finish(&w);
}

enum { GUESTS = 20 };

static void test_drain_is_spread(void **state)
{
    (void)state;
    struct world w;
    struct world_client c[GUESTS];
    world_start(&w, NULL);
    for (size_t i = 0; i < GUESTS; i++)
        world_connect(&w, 0, &c[i], "/events/a", NULL);
    world_settle(&w);
    world_room(&w, &c[0], 4); /* the oldest is stuck: the others need not wait for it */
    world_publish(&w, "a", "x");
    world_turn(&w, 0);
    fanout_drain(fan(&w), w.mono);
    fanout_drain(fan(&w), w.mono + 5); /* once is enough */
    for (uint64_t s = 1; s <= 10; s++) {
        world_sleep(&w, SECOND);
        size_t may_stay = GUESTS - GUESTS * s / 10;
        assert_in_range(fan(&w)->count, may_stay, may_stay + 1); /* with the stuck one */
        world_deliver(&w, "a", "goes on for who is here");
    }
    assert_int_equal(fan(&w)->count, 1);
    assert_int_equal(c[0].transport.closes, 0);
    world_room(&w, &c[0], SIZE_MAX);
    assert_int_equal(c[0].transport.closes, 1);
    for (size_t i = 0; i < GUESTS; i++) {
        assert_false(c[i].transport.aborted);
        assert_int_equal(c[i].transport.decoder.retries, 2);
        assert_int_equal(c[i].transport.bytes.data[c[i].transport.bytes.len - 1], '\n');
        if (i > 0) /* nobody comes back before it is over */
            assert_true((uint64_t)c[i].transport.decoder.retry_ms >=
                        (10 - 10 * i / GUESTS) * 1000 - 1000);
        world_disconnect(&c[i]);
    }
    world_finish(&w);
}

static void test_drain_without_time(void **state)
{
    (void)state;
    const char *settings[] = {"drain.timeout=0s", NULL};
    struct world w;
    struct world_client a, b, c;
    world_open(&w, settings, &a, "/events/a");
    world_connect_room(&w, 0, &b, "/events/a", NULL, 12);
    world_connect(&w, 0, &c, "/events/other", NULL); /* still waiting */
    fanout_drain(fan(&w), w.mono);
    assert_int_equal(a.transport.closes, 1);
    assert_int_equal(c.transport.closes, 1);
    world_expect(&c, "open new");
    assert_int_equal(b.transport.closes, 0); /* first what is in flight */
    world_room(&w, &b, SIZE_MAX);
    assert_int_equal(b.transport.closes, 1);
    assert_false(b.transport.aborted);
    world_disconnect(&a);
    world_disconnect(&b);
    world_disconnect(&c);
    world_finish(&w);
}

static void test_finish_ends_everybody(void **state)
{
    (void)state;
    struct world w;
    struct world_client a, b, c;
    world_open(&w, NULL, &a, "/events/a");
    world_connect(&w, 0, &b, "/events?channel=x&channel=y", NULL);
    world_connect_room(&w, 0, &c, "/events/a", NULL, 5);
    struct world_client *all[] = {&a, &b, &c};
    world_finish(&w);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(all[i]->transport.closes, 1);
        assert_true(all[i]->transport.aborted);
        world_disconnect(all[i]);
    }
}

int main(void)
{
    log_setup(LOG_ERROR, LOG_TEXT);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_max_age),
        cmocka_unit_test(test_retry_is_spread),
        cmocka_unit_test(test_drain_is_spread),
        cmocka_unit_test(test_drain_without_time),
        cmocka_unit_test(test_finish_ends_everybody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
