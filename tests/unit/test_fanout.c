#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tickerd/base/err.h"
#include "tickerd/base/log.h"
#include "world.h"

enum { SECOND = 1000000 };

static struct fanout *fan(struct world *w)
{
    return &w->workers[0].fanout;
}

/* ---- heartbeats ------------------------------------------------------------------------------ */

static void test_heartbeats_after_silence(void **state)
{
    (void)state;
    struct world w;
    struct world_client quiet, busy, stalled;
    world_open(&w, NULL, &quiet, "/events/quiet");
    world_connect(&w, 0, &busy, "/events/busy", NULL);
    world_connect_room(&w, 0, &stalled, "/events/quiet", NULL, 3);
    world_settle(&w);
    world_sleep(&w, 10 * SECOND);
    world_deliver(&w, "busy", "x");
    size_t before = quiet.transport.bytes.len;
    world_sleep(&w, 5 * SECOND);
    assert_string_equal(fake_transport_text(&quiet.transport) + before, ":\n");
    assert_int_equal(busy.transport.decoder.comments, 0);
    world_sleep(&w, 10 * SECOND);
    assert_int_equal(busy.transport.decoder.comments, 1);
    world_sleep(&w, 20 * SECOND);
    assert_int_equal(quiet.transport.decoder.comments, 3);
    assert_int_equal(busy.transport.decoder.comments, 2);
    assert_int_equal(stalled.transport.bytes.len, 3);
    world_deliver(&w, "quiet", "after"); /* the comment does not disturb what follows */
    world_expect(&quiet, "open new | after");
    world_disconnect(&quiet);
    world_disconnect(&busy);
    world_disconnect(&stalled);
    world_finish(&w);
}

static void test_a_heartbeat_in_pieces(void **state)
{
    (void)state;
    struct world w;
    struct world_client c;
    world_open(&w, NULL, &c, "/events/a");
    world_room(&w, &c, 1);
    world_sleep(&w, 16 * SECOND);
    assert_true(c.session.blocked);
    world_deliver(&w, "a", "x");
    world_room(&w, &c, SIZE_MAX);
    world_expect(&c, "open new | x");
    assert_int_equal(c.transport.decoder.comments, 1);
    c.transport.error = ERR_CLOSED;
    world_sleep(&w, 16 * SECOND);
    assert_int_equal(c.transport.closes, 1);
    world_disconnect(&c);
    world_finish(&w);
}

/* The view is being asked for anew while history is replayed from it: a heartbeat in that time is
 * not the end of the replay. */
static void test_a_heartbeat_within_a_replay(void **state)
{
    (void)state;
    struct world w;
    struct world_client c, keeper;
    world_init(&w, world_config(NULL), 1, 8);
    fake_source_connect(&w.source);
    world_settle(&w);
    world_connect(&w, 0, &keeper, "/events/a", NULL);
    world_settle(&w);
    world_deliver(&w, "a", "1");
    world_deliver(&w, "a", "2");
    world_connect_room(&w, 0, &c, "/events/a?history=all", NULL, 30);
    for (int i = 0; i < 20; i++) /* more than the queue holds */
        world_publish(&w, "a", "x");
    world_turn(&w, 0);
    while (c.session.blocked) /* what is in flight, and then nothing for the time being */
        world_room(&w, &c, 1);
    size_t got = c.transport.decoder.count;
    c.transport.room = SIZE_MAX;
    world_sleep(&w, 16 * SECOND);
    assert_true(c.transport.decoder.comments > 0);
    assert_true(got < 4);
    world_room(&w, &c, SIZE_MAX);
    world_settle(&w);
    world_room(&w, &c, SIZE_MAX);
    assert_int_equal(c.transport.decoder.count, 23);
    assert_int_equal(keeper.transport.decoder.count, 23);
    world_disconnect(&c);
    world_disconnect(&keeper);
    world_finish(&w);
}

/* ---- slow clients ---------------------------------------------------------------------------- */

static void test_a_stalled_client_lags_in_the_log(void **state)
{
    (void)state;
    const char *settings[] = {"history.events=50", NULL};
    struct world w;
    struct world_client slow, quick;
    char text[16];
    world_open(&w, settings, &slow, "/events/a");
    world_connect(&w, 0, &quick, "/events/a", NULL);
    world_room(&w, &slow, 0);
    for (int i = 0; i < 40; i++) {
        (void)snprintf(text, sizeof text, "%d", i);
        world_deliver(&w, "a", text);
    }
    assert_int_equal(quick.transport.decoder.count, 41);
    assert_int_equal(slow.transport.writes, 2); /* once it was full nobody tries in vain */
    world_room(&w, &slow, SIZE_MAX);
    assert_int_equal(slow.transport.decoder.count, 41);
    assert_int_equal(slow.transport.writes, 3);
    assert_string_equal(world_event(&slow, 40)->data.p, "39");
    world_disconnect(&slow);
    world_disconnect(&quick);
    world_finish(&w);
}

static void test_off_the_tail_there_is_a_gap(void **state)
{
    (void)state;
    const char *settings[] = {"history.events=3", NULL};
    struct world w;
    struct world_client c;
    char text[16];
    world_open(&w, settings, &c, "/events/a");
    world_room(&w, &c, 20); /* into the first one's block */
    for (int i = 0; i < 10; i++) {
        (void)snprintf(text, sizeof text, "%d", i);
        world_deliver(&w, "a", text);
    }
    assert_int_equal(c.session.inflight->refs, 1); /* all it holds of what the log let go */
    world_room(&w, &c, SIZE_MAX);
    world_expect(&c, "open new | 0 | gap a slow | 7 | 8 | 9");
    world_deliver(&w, "a", "10");
    world_expect(&c, "open new | 0 | gap a slow | 7 | 8 | 9 | 10");
    world_disconnect(&c);
    world_finish(&w);
}

static void test_write_timeout(void **state)
{
    (void)state;
    const char *settings[] = {"limits.write_timeout=10s", NULL};
    struct world w;
    struct world_client stuck, alive;
    world_open(&w, settings, &stuck, "/events/a");
    world_connect(&w, 0, &alive, "/events/a", NULL);
    world_room(&w, &stuck, 0);
    world_room(&w, &alive, 0);
    for (int i = 0; i < 20; i++)
        world_publish(&w, "a", "0123456789");
    world_turn(&w, 0);
    world_sleep(&w, 6 * SECOND);
    world_room(&w, &alive, 200); /* a few events through */
    world_sleep(&w, 5 * SECOND);
    assert_int_equal(stuck.transport.closes, 1);
    assert_true(stuck.transport.aborted);
    assert_int_equal(alive.transport.closes, 0);
    world_sleep(&w, 4 * SECOND);
    world_room(&w, &alive, SIZE_MAX);
    assert_int_equal(alive.transport.decoder.count, 21);
    world_sleep(&w, 20 * SECOND);
    assert_int_equal(alive.transport.closes, 0);
    assert_int_equal(metrics_closed(&w.workers[0].metrics, CLOSING_TIMEOUT), 1);
    world_disconnect(&stuck);
    world_disconnect(&alive);
    world_finish(&w);
}

/* A byte now and then is progress as long as the log keeps the frame anyway; once the frame has
 * left the log it must be finished within write_timeout. */
static void test_trickle_readers(void **state)
{
    (void)state;
    const char *settings[] = {"limits.write_timeout=10s", "history.events=2", NULL};
    struct world w;
    struct world_client c;
    world_open(&w, settings, &c, "/events/a");
    world_room(&w, &c, 1);
    world_deliver(&w, "a", "0123456789012345678901234567890123456789");
    for (int i = 0; i < 10; i++) { /* 60 s */
        world_sleep(&w, 6 * SECOND);
        world_room(&w, &c, 1);
    }
    assert_int_equal(c.transport.closes, 0);
    for (int i = 0; i < 3; i++)
        world_deliver(&w, "a", "more");
    for (int i = 0; i < 2; i++) {
        assert_int_equal(c.transport.closes, 0);
        world_sleep(&w, 6 * SECOND);
        world_room(&w, &c, 1);
    }
    assert_int_equal(c.transport.closes, 1);
    assert_true(c.transport.aborted);
    world_disconnect(&c);
    world_finish(&w);
}

static void test_trickle_readers_who_finish_in_time(void **state)
{
    (void)state;
    const char *settings[] = {"limits.write_timeout=10s", "history.events=2", NULL};
    struct world w;
    struct world_client c;
    world_open(&w, settings, &c, "/events/a");
    world_room(&w, &c, 1);
    world_deliver(&w, "a", "0123456789012345678901234567890123456789");
    for (int i = 0; i < 3; i++)
        world_deliver(&w, "a", "more");
    world_sleep(&w, 6 * SECOND);
    world_room(&w, &c, 1);
    world_sleep(&w, 3 * SECOND);
    world_room(&w, &c, 150); /* the rest of it and into the gap event */
    world_sleep(&w, 6 * SECOND);
    assert_int_equal(c.transport.closes, 0);
    world_sleep(&w, 5 * SECOND); /* a gap event belongs to this client alone: the same rule */
    assert_int_equal(c.transport.closes, 1);
    world_disconnect(&c);
    world_finish(&w);
}

/* ---- waiting --------------------------------------------------------------------------------- */

static void test_the_head_waits_for_ping_timeout_at_most(void **state)
{
    (void)state;
    struct world w;
    struct world_client c, d;
    world_init(&w, world_config(NULL), 1, WORLD_QUEUE);
    world_settle(&w); /* no Redis at all */
    world_connect(&w, 0, &c, "/events/a", NULL);
    world_sleep(&w, 1500000);
    world_connect(&w, 0, &d, "/events/a", "gone-id");
    world_settle(&w);
    world_sleep(&w, SECOND);
    assert_int_equal(c.transport.writes, 0);
    world_sleep(&w, SECOND);
    world_expect(&c, "open new");
    assert_int_equal(d.transport.writes, 0);
    world_sleep(&w, 15 * SECOND);
    assert_true(c.transport.decoder.comments > 0); /* heartbeats all the same */
    world_expect(&d, "open gap | gap * unknown-id");
    fake_source_connect(&w.source);
    world_settle(&w);
    world_publish(&w, "a", "x");
    world_settle(&w);
    world_expect(&c, "open new | gap * upstream | x");
    world_expect(&d, "open gap | gap * unknown-id | gap * upstream | x");
    world_disconnect(&c);
    world_disconnect(&d);
    world_finish(&w);
}

static void test_a_subscription_that_is_confirmed_late(void **state)
{
    (void)state;
    const char *settings[] = {"redis.mode=on-demand", NULL};
    struct world w;
    struct world_client early, late;
    world_start(&w, settings);
    w.source.refused = "*"; /* say, by an ACL that is put right later */
    world_connect(&w, 0, &early, "/events/a", NULL);
    world_settle(&w);
    world_sleep(&w, 3500000);
    world_expect(&early, "open new");
    world_publish(&w, "a", "nobody hears it");
    world_connect(&w, 0, &late, "/events/a", NULL);
    world_settle(&w);
    w.source.refused = NULL;
    fake_source_retry(&w.source);
    world_settle(&w);
    world_publish(&w, "a", "x");
    world_settle(&w);
    world_expect(&early, "open new | gap a upstream | x");
    world_expect(&late, "open new | x");
    world_disconnect(&early);
    world_disconnect(&late);
    world_finish(&w);
}

/* ---- walking lists while they change --------------------------------------------------------- */

enum { MANY = 12 };

/* Every other client dies by its write, during the walk over the view or over all sessions. */
static void some_fail(bool marks)
{
    struct world w;
    struct world_client c[MANY];
    world_start(&w, NULL);
    for (size_t i = 0; i < MANY; i++) {
        world_connect(&w, 0, &c[i], i % 3 == 0 ? "/events?channel=a&pattern=*" : "/events/a", NULL);
        world_settle(&w);
    }
    for (size_t i = 0; i < MANY; i++)
        c[i].transport.error = i % 2 == 0 || i == MANY - 1 ? ERR_CLOSED : 0;
    if (marks) {
        fake_source_lose(&w.source, 0);
        fake_source_connect(&w.source);
        fake_source_settle(&w.source);
    }
    world_publish(&w, "a", "x");
    world_turn(&w, 0);
    for (size_t i = 0; i < MANY; i++) {
        bool dead = i % 2 == 0 || i == MANY - 1;
        assert_int_equal(c[i].transport.closes, dead);
        assert_int_equal(c[i].transport.writes, 2);
        if (!dead)
            world_expect(&c[i], marks ? "open new | gap * upstream | x" : "open new | x");
    }
    assert_int_equal(fan(&w)->count, MANY / 2 - 1);
    for (size_t i = 0; i < MANY; i++)
        world_disconnect(&c[i]);
    world_tick(&w, 0);
    world_finish(&w);
}

static void test_some_fail_while_a_view_is_walked(void **state)
{
    (void)state;
    some_fail(false);
}

static void test_some_fail_while_all_are_walked(void **state)
{
    (void)state;
    some_fail(true);
}

static void test_all_fail_when_they_start(void **state)
{
    (void)state;
    struct world w;
    struct world_client c[MANY];
    world_start(&w, NULL);
    for (size_t i = 0; i < MANY; i++) {
        world_connect(&w, 0, &c[i], "/events?channel=a&channel=b", NULL);
        c[i].transport.error = i == 5 ? 0 : ERR_CLOSED;
    }
    world_settle(&w);
    for (size_t i = 0; i < MANY; i++)
        assert_int_equal(c[i].transport.closes, i != 5);
    for (size_t i = 0; i < MANY; i++)
        world_disconnect(&c[i]);
    world_finish(&w);
}

static void test_views_without_clients_are_dropped(void **state)
{
    (void)state;
    struct world w;
    struct world_client c;
    world_open(&w, NULL, &c, "/events?channel=a&pattern=a*");
    world_disconnect(&c);
    world_connect(&w, 0, &c, "/events/a", NULL); /* straight back: the view is still there */
    world_expect(&c, "open new");
    world_tick(&w, 0);
    assert_int_equal(strmap_count(&fan(&w)->replica.channels), 1);
    assert_int_equal(strmap_count(&fan(&w)->replica.patterns), 0);
    world_disconnect(&c);
    world_tick(&w, 0);
    world_connect(&w, 0, &c, "/events/a", NULL); /* dropped, and taken again at once */
    assert_int_equal(c.transport.writes, 0);
    world_publish(&w, "a", "between");
    world_settle(&w);
    world_publish(&w, "a", "x");
    world_settle(&w);
    world_expect(&c, "open new | x");
    world_disconnect(&c);
    world_finish(&w);
}

static void test_a_thousand_share_one_batch(void **state)
{
    (void)state;
    enum { CROWD = 1000 };
    struct world w;
    struct world_client *c = calloc(CROWD, sizeof *c);
    assert_non_null(c);
    world_start(&w, NULL);
    for (size_t i = 0; i < CROWD; i++)
        world_connect(&w, 0, &c[i], i % 2 == 0 ? "/events/a" : "/events/a?format=json", NULL);
    world_settle(&w);
    for (size_t i = 0; i < CROWD; i += 10)
        world_room(&w, &c[i], 7 * (i % 30));
    for (int i = 0; i < 3; i++) {
        world_publish(&w, "a", "x");
        world_publish(&w, "a", "y");
        world_turn(&w, 0);
    }
    for (size_t i = 0; i < CROWD; i++) {
        world_room(&w, &c[i], SIZE_MAX);
        assert_int_equal(c[i].transport.decoder.count, 7);
        world_disconnect(&c[i]);
    }
    free(c);
    world_finish(&w);
}

/* ---- falling behind the hub ------------------------------------------------------------------ */

enum { VIEWS_EACH = 60, BROAD = 50 };

static void connect_broadly(struct world *w, struct world_client *c, int first)
{
    char url[64 * 20] = "/events?";
    size_t len = strlen(url);
    for (int i = 0; i < VIEWS_EACH; i++)
        len += (size_t)snprintf(url + len, sizeof url - len, "channel=c%d&", first + i);
    world_connect(w, 0, c, url, NULL);
}

/* Each of the answers to "everything again" is a note itself: they must not overflow in their turn.
 */
static void test_more_views_than_the_queue_holds(void **state)
{
    (void)state;
    struct world w;
    struct world_client *c = calloc(BROAD, sizeof *c);
    assert_non_null(c);
    world_init(&w, world_config(NULL), 1, 2 * REPLICA_UNANSWERED);
    fake_source_connect(&w.source);
    world_settle(&w);
    for (int i = 0; i < BROAD; i++)
        connect_broadly(&w, &c[i], i * VIEWS_EACH);
    world_settle(&w);
    assert_int_equal(metrics_get(&w.metrics, METRIC_STALE), 0);
    for (int i = 0; i < 3 * REPLICA_UNANSWERED; i++)
        world_publish(&w, "c3", "x");
    assert_int_equal(metrics_get(&w.metrics, METRIC_STALE), 1);
    for (int i = 0; i < 2 * BROAD * VIEWS_EACH / REPLICA_UNANSWERED + 4; i++) {
        world_turn(&w, 0);
        (void)world_requests(&w, 0, SIZE_MAX);
    }
    world_publish(&w, "c3", "last of c3");
    world_publish(&w, "c2999", "last of all");
    world_turn(&w, 0);
    assert_int_equal(metrics_get(&w.metrics, METRIC_STALE), 1);
    const struct sse_decoder *first = &c[0].transport.decoder, *other = &c[49].transport.decoder;
    assert_string_equal(first->messages[first->count - 1].data.p, "last of c3");
    assert_string_equal(other->messages[other->count - 1].data.p, "last of all");
    for (int i = 0; i < BROAD; i++)
        world_disconnect(&c[i]);
    free(c);
    world_finish(&w);
}

int main(void)
{
    log_setup(LOG_ERROR, LOG_TEXT);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_heartbeats_after_silence),
        cmocka_unit_test(test_a_heartbeat_in_pieces),
        cmocka_unit_test(test_a_heartbeat_within_a_replay),
        cmocka_unit_test(test_a_stalled_client_lags_in_the_log),
        cmocka_unit_test(test_off_the_tail_there_is_a_gap),
        cmocka_unit_test(test_write_timeout),
        cmocka_unit_test(test_trickle_readers),
        cmocka_unit_test(test_trickle_readers_who_finish_in_time),
        cmocka_unit_test(test_the_head_waits_for_ping_timeout_at_most),
        cmocka_unit_test(test_a_subscription_that_is_confirmed_late),
        cmocka_unit_test(test_some_fail_while_a_view_is_walked),
        cmocka_unit_test(test_some_fail_while_all_are_walked),
        cmocka_unit_test(test_all_fail_when_they_start),
        cmocka_unit_test(test_views_without_clients_are_dropped),
        cmocka_unit_test(test_a_thousand_share_one_batch),
        cmocka_unit_test(test_more_views_than_the_queue_holds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
