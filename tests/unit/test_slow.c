/* Slow clients: the three policies, and losses that are announced ahead of their place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "tickerd/base/log.h"
#include "world.h"

static void deliver_numbers(struct world *w, const char *channel, int from, int to)
{
    char text[16];
    for (int i = from; i <= to; i++) {
        (void)snprintf(text, sizeof text, "%d", i);
        world_deliver(w, channel, text);
    }
}

/* The id of the client's last event, as it would send it. */
static const char *last_id(const struct world_client *c)
{
    return world_event(c, c->transport.decoder.count - 1)->last_event_id.p;
}

static void come_back(struct world *w, struct world_client *c, const char *url)
{
    char id[64];
    (void)snprintf(id, sizeof id, "%s", last_id(c));
    if (c->transport.closes == 0) {
        world_disconnect(c);
    } else {
        fake_transport_finish(&c->transport);
    }
    world_connect(w, 0, c, url, id);
    world_settle(w);
}

/* ---- latest ------------------------------------------------------------------------------------
 */

static const char *const latest[] = {
    "channels=[{\"match\":\"price*\",\"slow\":\"latest\",\"history\":{\"events\":3}}]", NULL};

static void test_who_keeps_up_sees_every_event(void **state)
{
    (void)state;
    struct world w;
    struct world_client c;
    world_open(&w, latest, &c, "/events/price");
    deliver_numbers(&w, "price", 1, 3);
    for (int i = 4; i <= 12; i++) /* a burst within one turn, larger than the history */
        world_publish(&w, "price", i < 12 ? "x" : "y");
    world_turn(&w, 0);
    world_expect(&c, "open new | 1 | 2 | 3 | x | x | x | x | x | x | x | x | y");
    world_disconnect(&c);
    world_finish(&w);
}

static void test_who_does_not_gets_the_newest(void **state)
{
    (void)state;
    struct world w;
    struct world_client c;
    world_open(&w, latest, &c, "/events?channel=price&channel=news");
    world_room(&w, &c, 0);
    deliver_numbers(&w, "price", 1, 2);
    world_deliver(&w, "news", "a");
    deliver_numbers(&w, "price", 3, 9);
    world_deliver(&w, "news", "b");
    world_room(&w, &c, SIZE_MAX);
    world_expect(&c, "open new | a | 9 | b");
    deliver_numbers(&w, "price", 10, 11); /* it has caught up */
    world_expect(&c, "open new | a | 9 | b | 10 | 11");
    world_disconnect(&c);
    world_finish(&w);
}

static void test_what_is_on_its_way_is_finished(void **state)
{
    (void)state;
    struct world w;
    struct world_client c;
    world_open(&w, latest, &c, "/events?pattern=price*");
    world_room(&w, &c, 10); /* into the first block */
    deliver_numbers(&w, "price", 1, 9);
    deliver_numbers(&w, "price2", 1, 9);
    world_room(&w, &c, SIZE_MAX);
    world_expect(&c, "open new | 1 | 9 | 9");
    world_disconnect(&c);
    world_finish(&w);
}

static void test_a_resume_brings_the_newest(void **state)
{
    (void)state;
    struct world w;
    struct world_client c;
    world_open(&w, latest, &c, "/events/price");
    deliver_numbers(&w, "price", 1, 1);
    char id[64];
    (void)snprintf(id, sizeof id, "%s", last_id(&c));
    world_disconnect(&c);
    deliver_numbers(&w, "price", 2, 9); /* its history holds the last three */
    world_connect(&w, 0, &c, "/events/price", id);
    world_settle(&w);
    world_expect(&c, "open continued | 9");
    deliver_numbers(&w, "price", 10, 10);
    world_expect(&c, "open continued | 9 | 10");
    come_back(&w, &c, "/events/price");
    world_expect(&c, "open continued");
    world_disconnect(&c);
    world_finish(&w);
}

static void test_a_pattern_resumes_with_the_newest_of_each(void **state)
{
    (void)state;
    struct world w;
    struct world_client c;
    world_open(&w, latest, &c, "/events?pattern=*");
    char id[64];
    (void)snprintf(id, sizeof id, "%s", last_id(&c));
    world_disconnect(&c);
    deliver_numbers(&w, "price.a", 1, 5);
    deliver_numbers(&w, "price.b", 11, 15);
    deliver_numbers(&w, "log", 21, 22);
    world_connect(&w, 0, &c, "/events?pattern=*", id);
    world_settle(&w);
    world_expect(&c, "open continued | 5 | 15 | 21 | 22");
    world_disconnect(&c);
    world_finish(&w);
}

/* History is what was asked for. */
static void test_history_is_not_conflated(void **state)
{
    (void)state;
    struct world w;
    struct world_client c;
    world_start(&w, latest);
    deliver_numbers(&w, "price", 1, 5);
    world_connect(&w, 0, &c, "/events/price?history=2", NULL);
    world_settle(&w);
    world_expect(&c, "open new | 4 | 5");
    world_disconnect(&c);
    world_finish(&w);
}

static void test_without_the_newest_there_is_a_gap(void **state)
{
    (void)state;
    const char *settings[] = {"channels=[{\"match\":\"*\",\"slow\":\"latest\"}]", "history.age=5s",
                              NULL};
    struct world w;
    struct world_client c;
    world_open(&w, settings, &c, "/events/a");
    deliver_numbers(&w, "a", 1, 1);
    char id[64];
    (void)snprintf(id, sizeof id, "%s", last_id(&c));
    world_disconnect(&c);
    deliver_numbers(&w, "a", 2, 4);
    world_sleep(&w, 10 * WORLD_SECOND);
    world_connect(&w, 0, &c, "/events/a", id);
    world_settle(&w);
    world_expect(&c, "open gap | gap a evicted");
    world_disconnect(&c);
    world_finish(&w);
}

/* ---- disconnect --------------------------------------------------------------------------------
 */

static const char *const cutting[] = {
    "channels=[{\"match\":\"log*\",\"slow\":\"disconnect\",\"history\":{\"events\":3}}]",
    "history.events=2", NULL};

static void test_off_the_tail_the_stream_ends(void **state)
{
    (void)state;
    struct world w;
    struct world_client slow, quick;
    world_open(&w, cutting, &slow, "/events/log");
    world_connect(&w, 0, &quick, "/events/log", NULL);
    world_room(&w, &slow, 0);
    deliver_numbers(&w, "log", 1, 3);
    world_sleep(&w, WORLD_SECOND);
    assert_int_equal(slow.transport.closes, 0); /* all it needs is still there */
    deliver_numbers(&w, "log", 4, 4);
    world_sleep(&w, WORLD_SECOND);
    assert_int_equal(slow.transport.closes, 1);
    assert_int_equal(quick.transport.closes, 0);
    assert_int_equal(metrics_get(&w.workers[0].metrics, METRIC_SLOW_CUT), 1);
    come_back(&w, &slow, "/events/log");
    world_expect(&slow, "open gap | gap log evicted | 2 | 3 | 4");
    world_disconnect(&slow);
    world_disconnect(&quick);
    world_finish(&w);
}

static void test_it_ends_too_when_it_wakes_up_late(void **state)
{
    (void)state;
    struct world w;
    struct world_client c;
    world_open(&w, cutting, &c, "/events?pattern=log*");
    world_room(&w, &c, 0);
    deliver_numbers(&w, "log", 1, 9);
    world_room(&w, &c, SIZE_MAX); /* before the next look at those who are stalled */
    assert_int_equal(c.transport.closes, 1);
    world_expect(&c, "open new");
    fake_transport_finish(&c.transport);
    world_finish(&w);
}

static void test_another_channel_does_not_count(void **state)
{
    (void)state;
    struct world w;
    struct world_client c;
    world_open(&w, cutting, &c, "/events?channel=log&channel=a");
    world_room(&w, &c, 0);
    deliver_numbers(&w, "log", 1, 1);
    deliver_numbers(&w, "a", 1, 9);
    world_sleep(&w, WORLD_SECOND);
    assert_int_equal(c.transport.closes, 0);
    world_room(&w, &c, SIZE_MAX);
    world_expect(&c, "open new | gap a slow | 1 | 8 | 9");
    world_disconnect(&c);
    world_finish(&w);
}

/* ---- losses ahead ------------------------------------------------------------------------------
 */

static const char *const short_history[] = {
    "channels=[{\"match\":\"busy*\",\"history\":{\"events\":2}}]", NULL};

static void lag_behind(struct world *w, struct world_client *c)
{
    world_open(w, short_history, c, "/events?channel=busy&channel=calm");
    world_room(w, c, 0);
    for (int i = 1; i <= 4; i++) {
        deliver_numbers(w, "busy", 10 * i, 10 * i + 1);
        deliver_numbers(w, "calm", i, i);
    }
}

/* Nobody gets an id beyond what it has been told: the loss reaches over events of another channel,
 * is told before them, and not again. */
static void test_a_loss_is_told_before_what_it_reaches_over(void **state)
{
    (void)state;
    struct world w;
    struct world_client c;
    lag_behind(&w, &c);
    const char *before = last_id(&c);
    world_room(&w, &c, SIZE_MAX);
    world_expect(&c, "open new | gap busy slow | 1 | 2 | 3 | 40 | 41 | 4");
    assert_string_equal(world_event(&c, 1)->last_event_id.p, before); /* nothing is skipped by it */
    deliver_numbers(&w, "busy", 50, 55);
    deliver_numbers(&w, "calm", 5, 5);
    world_expect(
        &c, "open new | gap busy slow | 1 | 2 | 3 | 40 | 41 | 4 | 50 | 51 | 52 | 53 | 54 | 55 | 5");
    world_disconnect(&c);
    world_finish(&w);
}

/* However the bytes are cut, what has been told is not told again, and all that follows comes. */
static void test_told_once_however_it_is_cut(void **state)
{
    (void)state;
    for (size_t room = 1; room < 700; room += 3) {
        struct world w;
        struct world_client c;
        lag_behind(&w, &c);
        world_room(&w, &c, room);
        world_turn(&w, 0);
        world_room(&w, &c, SIZE_MAX);
        world_expect(&c, "open new | gap busy slow | 1 | 2 | 3 | 40 | 41 | 4");
        world_disconnect(&c);
        world_finish(&w);
    }
}

/* What is lost while the client is on its way to the announced end is a loss of its own. */
static void test_a_further_loss_is_told_again(void **state)
{
    (void)state;
    struct world w;
    struct world_client c;
    lag_behind(&w, &c);
    world_room(&w, &c, 240); /* the gap event, and into the second one */
    deliver_numbers(&w, "busy", 50, 53);
    world_room(&w, &c, SIZE_MAX);
    world_expect(&c, "open new | gap busy slow | 1 | 2 | gap busy slow | 3 | 4 | 52 | 53");
    world_disconnect(&c);
    world_finish(&w);
}

/* The log of each channel of a pattern has an evicted past of its own. */
static void test_a_pattern_is_told_of_each_channel(void **state)
{
    (void)state;
    struct world w;
    struct world_client c;
    world_open(&w, short_history, &c, "/events?pattern=*");
    char id[64];
    (void)snprintf(id, sizeof id, "%s", last_id(&c));
    world_disconnect(&c);
    world_sleep(&w, 10 * WORLD_SECOND); /* the view is gone, and will be asked for again */
    deliver_numbers(&w, "calm", 1, 1);
    deliver_numbers(&w, "busy1", 1, 4);
    deliver_numbers(&w, "calm", 2, 2);
    deliver_numbers(&w, "busy2", 11, 15);
    deliver_numbers(&w, "calm", 3, 3);
    world_connect(&w, 0, &c, "/events?pattern=*", id);
    world_settle(&w);
    world_expect(&c,
                 "open gap | gap busy1 evicted | gap busy2 evicted | 1 | 3 | 4 | 2 | 14 | 15 | 3");
    world_disconnect(&c);
    world_finish(&w);
}

int main(void)
{
    log_setup(LOG_ERROR, LOG_TEXT);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_who_keeps_up_sees_every_event),
        cmocka_unit_test(test_who_does_not_gets_the_newest),
        cmocka_unit_test(test_what_is_on_its_way_is_finished),
        cmocka_unit_test(test_a_resume_brings_the_newest),
        cmocka_unit_test(test_a_pattern_resumes_with_the_newest_of_each),
        cmocka_unit_test(test_history_is_not_conflated),
        cmocka_unit_test(test_without_the_newest_there_is_a_gap),
        cmocka_unit_test(test_off_the_tail_the_stream_ends),
        cmocka_unit_test(test_it_ends_too_when_it_wakes_up_late),
        cmocka_unit_test(test_another_channel_does_not_count),
        cmocka_unit_test(test_a_loss_is_told_before_what_it_reaches_over),
        cmocka_unit_test(test_told_once_however_it_is_cut),
        cmocka_unit_test(test_a_further_loss_is_told_again),
        cmocka_unit_test(test_a_pattern_is_told_of_each_channel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
