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

/* Above limits.message_bytes=1024. */
static void deliver_oversize(struct world *w, const char *channel)
{
    char big[2000];
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    world_deliver(w, channel, big);
}

/* The id of the client's last event, as it would send it. */
static const char *last_id(const struct world_client *c)
{
    return world_event(c, c->transport.decoder.count - 1)->last_event_id.p;
}

struct id {
    char text[64];
};

/* The client goes, if it has not been sent away; what it would come back with. */
static struct id leave(struct world_client *c)
{
    struct id id;
    (void)snprintf(id.text, sizeof id.text, "%s", last_id(c));
    if (c->transport.closes == 0)
        world_disconnect(c);
    else
        fake_transport_finish(&c->transport);
    return id;
}

static void come_back(struct world *w, struct world_client *c, const char *url)
{
    struct id id = leave(c);
    world_connect(w, 0, c, url, id.text);
    world_settle(w);
}

/* ---- latest --------------------------------------------------------------------------------- */

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
    struct id id = leave(&c);
    deliver_numbers(&w, "price", 2, 9); /* its history holds the last three */
    world_connect(&w, 0, &c, "/events/price", id.text);
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
    struct id id = leave(&c);
    deliver_numbers(&w, "price.a", 1, 5);
    deliver_numbers(&w, "price.b", 11, 15);
    deliver_numbers(&w, "log", 21, 22);
    world_connect(&w, 0, &c, "/events?pattern=*", id.text);
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
    struct id id = leave(&c);
    deliver_numbers(&w, "a", 2, 4);
    world_sleep(&w, 10 * WORLD_SECOND);
    world_connect(&w, 0, &c, "/events/a", id.text);
    world_settle(&w);
    world_expect(&c, "open gap | gap a evicted");
    world_disconnect(&c);
    world_finish(&w);
}

static void test_no_gap_is_promised_that_does_not_come(void **state)
{
    (void)state;
    const char *settings[] = {
        "channels=[{\"match\":\"*\",\"slow\":\"latest\",\"history\":{\"events\":2}}]",
        "limits.message_bytes=1024", NULL};
    struct world w;
    struct world_client c;
    world_open(&w, settings, &c, "/events/a");
    deliver_numbers(&w, "a", 1, 1);
    struct id id = leave(&c);
    deliver_oversize(&w, "a");
    deliver_numbers(&w, "a", 2, 5);
    world_connect(&w, 0, &c, "/events/a", id.text);
    world_settle(&w);
    world_expect(&c, "open continued | 5");
    world_disconnect(&c);
    world_finish(&w);
}

static void test_an_expired_event_is_not_missed_once_there_is_a_newer(void **state)
{
    (void)state;
    const char *settings[] = {"channels=[{\"match\":\"*\",\"slow\":\"latest\"}]", "history.age=5s",
                              NULL};
    struct world w;
    struct world_client c;
    world_open(&w, settings, &c, "/events/a");
    deliver_numbers(&w, "a", 1, 1);
    struct id id = leave(&c);
    deliver_numbers(&w, "a", 2, 2);
    world_sleep(&w, 10 * WORLD_SECOND);
    deliver_numbers(&w, "a", 3, 3);
    world_connect(&w, 0, &c, "/events/a", id.text);
    world_settle(&w);
    world_expect(&c, "open continued | 3");
    world_disconnect(&c);
    world_finish(&w);
}

/* ---- disconnect ----------------------------------------------------------------------------- */

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
    assert_int_equal(metrics_closed(&w.workers[0].metrics, CLOSING_SLOW), 1);
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

/* What was evicted behind it melts with what comes later; it has had that all the same. */
static void test_what_has_been_received_is_not_held_against_a_client(void **state)
{
    (void)state;
    const char *settings[] = {
        "channels=[{\"match\":\"log*\",\"slow\":\"disconnect\",\"history\":{\"age\":\"5s\"}}]",
        "limits.message_bytes=1024", NULL};
    struct world w;
    struct world_client c;
    world_open(&w, settings, &c, "/events?pattern=*");
    deliver_numbers(&w, "log1", 1, 1);
    deliver_numbers(&w, "log2", 2, 2);
    world_sleep(&w, 10 * WORLD_SECOND);
    world_expect(&c, "open new | 1 | 2");
    deliver_oversize(&w, "other");
    world_sleep(&w, WORLD_SECOND);
    assert_int_equal(c.transport.closes, 0);
    world_expect(&c, "open new | 1 | 2 | gap other oversize");
    world_disconnect(&c);
    world_finish(&w);
}

/* ---- losses ahead --------------------------------------------------------------------------- */

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
    struct id id = leave(&c);
    world_sleep(&w, 10 * WORLD_SECOND); /* the view is gone, and will be asked for again */
    deliver_numbers(&w, "calm", 1, 1);
    deliver_numbers(&w, "busy1", 1, 4);
    deliver_numbers(&w, "calm", 2, 2);
    deliver_numbers(&w, "busy2", 11, 15);
    deliver_numbers(&w, "calm", 3, 3);
    world_connect(&w, 0, &c, "/events?pattern=*", id.text);
    world_settle(&w);
    world_expect(&c,
                 "open gap | gap busy1 evicted | gap busy2 evicted | 1 | 3 | 4 | 2 | 14 | 15 | 3");
    world_disconnect(&c);
    world_finish(&w);
}

/* Nothing follows what is told ahead: then the client's id becomes the end of it. */
static void test_what_was_told_last_is_not_told_to_who_comes_back(void **state)
{
    (void)state;
    const char *settings[] = {"history.age=5s", NULL};
    struct world w;
    struct world_client c;
    world_open(&w, settings, &c, "/events?channel=a&channel=b");
    struct id id = leave(&c);
    deliver_numbers(&w, "a", 1, 3);
    deliver_numbers(&w, "b", 1, 3);
    world_sleep(&w, 10 * WORLD_SECOND);
    world_connect(&w, 0, &c, "/events?channel=a&channel=b", id.text);
    world_settle(&w);
    world_expect(&c, "open gap | gap a evicted | gap b evicted");
    come_back(&w, &c, "/events?channel=a&channel=b");
    world_expect(&c, "open continued");
    world_disconnect(&c);
    world_finish(&w);
}

/* The evictions of one event reach two views in two turns; in one of them holes of other channels
 * have melted into the one that is at the event's very place in the other. */
static void pass_time(struct world *w, int turns, bool worker)
{
    for (int i = 0; i < turns; i++) {
        w->mono += WORLD_SECOND / 5;
        world_hub_tick(w);
        if (worker)
            world_turn(w, 0);
    }
}

static void test_a_hole_at_the_place_of_an_event(void **state)
{
    (void)state;
    const char *settings[] = {"channels=[{\"match\":\"x*\",\"history\":{\"age\":\"5s\"}}]", NULL};
    struct world w;
    struct world_client c;
    world_open(&w, settings, &c, "/events?pattern=*&channel=x9");
    world_deliver(&w, "k", "first");
    world_room(&w, &c, 0);
    for (int i = 0; i < 18; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "x%d", 10 + i);
        world_deliver(&w, name, "lost");
    }
    pass_time(&w, 5, true);
    world_deliver(&w, "x9", "kept");
    pass_time(&w, 22, true); /* x10 to x27 are gone */
    struct world_queue *q = &w.workers[0].notes;
    while (q->count == 0)
        pass_time(&w, 1, false); /* x9 goes: one note for each view */
    assert_int_equal(q->count, 2);
    q->count--; /* the worker wakes up between the two */
    world_turn(&w, 0);
    world_room(&w, &c, SIZE_MAX);
    q->count++;
    world_turn(&w, 0);
    world_expect(&c, "open new | first | gap * slow | kept");
    world_disconnect(&c);
    world_finish(&w);
}

/* While a subscription may yet be confirmed, each event of another is behind a gap; one that is
 * refused is told of no more, until it is granted. */
static void test_a_refused_subscription_makes_no_noise(void **state)
{
    (void)state;
    const char *settings[] = {"redis.mode=on-demand", NULL};
    struct world w;
    struct world_client c;
    world_start(&w, settings);
    w.source.refused = "sse:b";
    world_connect(&w, 0, &c, "/events?channel=a&channel=b", NULL);
    world_settle(&w);
    world_sleep(&w, 3 * WORLD_SECOND + WORLD_SECOND / 2); /* it is let in without Redis' word */
    deliver_numbers(&w, "a", 1, 1);
    world_expect(&c, "open new | gap b upstream | 1");
    world_sleep(&w, 8 * WORLD_SECOND);
    deliver_numbers(&w, "a", 2, 4);
    world_expect(&c, "open new | gap b upstream | 1 | 2 | 3 | 4");
    w.source.refused = NULL;
    fake_source_retry(&w.source);
    world_settle(&w);
    deliver_numbers(&w, "b", 5, 5);
    world_expect(&c, "open new | gap b upstream | 1 | 2 | 3 | 4 | gap b upstream | 5");
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
        cmocka_unit_test(test_no_gap_is_promised_that_does_not_come),
        cmocka_unit_test(test_an_expired_event_is_not_missed_once_there_is_a_newer),
        cmocka_unit_test(test_what_has_been_received_is_not_held_against_a_client),
        cmocka_unit_test(test_what_was_told_last_is_not_told_to_who_comes_back),
        cmocka_unit_test(test_a_hole_at_the_place_of_an_event),
        cmocka_unit_test(test_a_refused_subscription_makes_no_noise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
