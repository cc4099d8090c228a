#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>
#include <string.h>

#include "grant_util.h"
#include "tickerd/base/log.h"
#include "tickerd/broker/roster.h"
#include "world.h"

#define REQUIRED "auth.mode=required", "auth.keys=[{\"alg\":\"HS256\",\"file\":\"/k\"}]"

static const char *const required[] = {REQUIRED, NULL};

static struct fanout *fan(struct world *w)
{
    return &w->workers[0].fanout;
}

static void assert_lag(const struct world_client *c, uint64_t events, uint64_t bytes)
{
    struct lag lag = session_lag(&c->session);
    assert_int_equal(lag.events, events);
    assert_int_equal(lag.bytes, bytes);
    assert_false(lag.at_least);
}

/* ---- lag ------------------------------------------------------------------------------------- */

/* What it says is owed is what then comes. */
static void what_is_owed_is_what_comes(const char *url, struct grant *grant, const char *settings)
{
    const char *const keys[] = {REQUIRED, settings, NULL};
    struct world w;
    struct world_client c;
    world_start(&w, grant == NULL ? NULL : keys);
    world_connect_granted(&w, 0, &c, url, NULL, SIZE_MAX, grant);
    world_settle(&w);
    world_tick(&w, 0);
    assert_lag(&c, 0, 0);
    assert_string_equal(session_standing(&c.session), "live");
    world_room(&w, &c, 10);
    for (int i = 0; i < 20; i++) {
        world_deliver(&w, "news", "some news");
        world_deliver(&w, "user.1", "mine");
        world_deliver(&w, "user.2", "not mine");
    }
    assert_string_equal(session_standing(&c.session), "stalled");
    struct lag lag = session_lag(&c.session);
    uint64_t events = c.session.events, bytes = c.session.bytes;
    assert_in_range(lag.events, 20, 60);
    world_room(&w, &c, SIZE_MAX);
    assert_int_equal(c.session.events - events, lag.events);
    if (c.session.format == FORMAT_RAW) /* the other form is not made before its time */
        assert_int_equal(c.session.bytes - bytes, lag.bytes);
    assert_int_equal(c.session.gaps, 0);
    assert_lag(&c, 0, 0);
    assert_string_equal(session_standing(&c.session), "live");
    world_disconnect(&c);
    world_finish(&w);
}

static void lag_is_what_is_owed(void **state)
{
    (void)state;
    what_is_owed_is_what_comes("/events/news", NULL, NULL);
    what_is_owed_is_what_comes("/events/news?format=json", NULL, NULL);
    what_is_owed_is_what_comes("/events?channel=news&channel=user.1", NULL, NULL);
    what_is_owed_is_what_comes("/events?channel=news&pattern=*&pattern=u*", NULL, NULL);
    what_is_owed_is_what_comes("/events?pattern=*", grant_of("news user.1", "42", 0), NULL);
    what_is_owed_is_what_comes("/events?pattern=*&channel=news", grant_of("news", NULL, 0),
                               "channels=[{\"match\":\"user.*\",\"slow\":\"latest\"}]");
}

static void what_was_replaced_is_not_owed(void **state)
{
    (void)state;
    const char *const latest[] = {"channels=[{\"match\":\"price\",\"slow\":\"latest\"}]", NULL};
    struct world w;
    struct world_client c;
    world_open(&w, latest, &c, "/events/price");
    world_room(&w, &c, 10);
    for (int i = 0; i < 20; i++)
        world_deliver(&w, "price", "x");
    struct lag lag = session_lag(&c.session);
    assert_int_equal(lag.events, 2); /* the one in flight, and the newest */
    world_disconnect(&c);
    world_finish(&w);
}

static void looks_are_bounded(void **state)
{
    (void)state;
    const char *const large[] = {"history.events=20000", NULL};
    struct world w;
    struct world_client one, two;
    world_open(&w, large, &one, "/events/a");
    world_connect(&w, 0, &two, "/events?channel=a&pattern=*", NULL);
    world_settle(&w);
    world_room(&w, &one, 0);
    world_room(&w, &two, 0);
    for (int i = 0; i < LAG_LOOKS + 100; i++)
        world_deliver(&w, "a", "x");
    struct lag lag = session_lag(&one.session);
    assert_int_equal(lag.events, LAG_LOOKS);
    assert_true(lag.at_least);
    lag = session_lag(&two.session);
    assert_true(lag.at_least);
    assert_in_range(lag.events, LAG_LOOKS / 2, LAG_LOOKS);
    world_disconnect(&one);
    world_disconnect(&two);
    world_finish(&w);
}

static void who_waits_or_leaves_is_owed_nothing(void **state)
{
    (void)state;
    struct world w;
    struct world_client waits, leaves;
    world_open(&w, NULL, &leaves, "/events/a");
    world_room(&w, &leaves, 10);
    world_deliver(&w, "a", "x");
    world_deliver(&w, "a", "y");
    assert_int_equal(session_lag(&leaves.session).events, 2);
    session_leave(&leaves.session, CLOSING_MAX_AGE, w.mono);
    assert_lag(&leaves, 1, session_lag(&leaves.session).bytes); /* but the rest of its frame */
    world_connect(&w, 0, &waits, "/events/b", NULL);
    assert_string_equal(session_standing(&waits.session), "waiting");
    assert_lag(&waits, 0, 0);
    world_disconnect(&waits);
    world_disconnect(&leaves);
    world_finish(&w);
}

/* ---- walking --------------------------------------------------------------------------------- */

enum { MANY = 40 };

/* Half of them go while two walkers stand anywhere among them, and some come. */
static void walkers_survive_removals(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed < 60; seed++) {
        struct world w;
        struct world_client c[MANY], late;
        struct walker slow, quick;
        uint64_t last = 0;
        bool seen[MANY] = {false}, gone[MANY] = {false};
        world_start(&w, NULL);
        for (size_t i = 0; i < MANY; i++)
            world_connect(&w, 0, &c[i], "/events/a", NULL);
        walker_start(&slow, fan(&w));
        walker_start(&quick, fan(&w));
        struct session *s;
        for (unsigned turn = 0; (s = walker_next(&slow)) != NULL; turn++) {
            assert_true(s->started_us > last); /* oldest first, and no two at the same time */
            last = s->started_us;
            for (size_t i = 0; i < MANY; i++)
                seen[i] = seen[i] || s == &c[i].session;
            for (unsigned k = 0; k < turn % 3; k++)
                (void)walker_next(&quick);
            size_t at = (turn * seed * 7 + seed) % MANY;
            if (!gone[at] && at % 2 == 0) {
                gone[at] = true;
                world_disconnect(&c[at]);
            }
        }
        for (size_t i = 0; i < MANY; i++)
            assert_true(seen[i] || gone[i]);
        world_connect(&w, 0, &late, "/events/b", NULL);
        assert_ptr_equal(walker_next(&slow), NULL); /* its end was the list's */
        walker_stop(&slow);
        walker_stop(&quick);
        world_disconnect(&late);
        for (size_t i = 0; i < MANY; i++) {
            if (!gone[i])
                world_disconnect(&c[i]);
        }
        world_finish(&w);
    }
}

/* ---- a row ----------------------------------------------------------------------------------- */

static json_t *row(const struct world_client *c)
{
    struct buf text = BUF_INIT;
    session_put_json(&text, &c->session, "192.0.2.1", 3);
    assert_null(memchr(text.data, ' ', text.len));
    json_t *json = json_loadb(text.data, text.len, JSON_REJECT_DUPLICATES, NULL);
    buf_finish(&text);
    assert_non_null(json);
    assert_int_equal(json_object_size(json), 12);
    return json;
}

static const char *text_of(const json_t *row, const char *key)
{
    return json_string_value(json_object_get(row, key));
}

static void a_row_says_who_and_since_when(void **state)
{
    (void)state;
    struct world w;
    struct world_client c;
    world_start(&w, required);
    world_tick(&w, 0);
    world_connect_granted(&w, 0, &c, "/events?channel=a%22b&channel=%C3%A4&pattern=*x%5C%5C", NULL,
                          SIZE_MAX, grant_of("*", "4\"2", 0));
    json_t *json = row(&c);
    assert_string_equal(text_of(json, "state"), "waiting");
    assert_true(json_is_null(json_object_get(json, "last_id")));
    json_decref(json);
    world_settle(&w);
    world_deliver(&w, "a\"b", "1");
    json = row(&c);
    assert_string_equal(text_of(json, "address"), "192.0.2.1");
    assert_string_equal(text_of(json, "subject"), "4\"2");
    const json_t *channels = json_object_get(json, "channels");
    assert_int_equal(json_array_size(channels), 2);
    assert_string_equal(json_string_value(json_array_get(channels, 0)), "a\"b");
    assert_string_equal(json_string_value(json_array_get(channels, 1)), "\xc3\xa4");
    assert_string_equal(json_string_value(json_array_get(json_object_get(json, "patterns"), 0)),
                        "*x\\"); /* canonical */
    assert_memory_equal(text_of(json, "since"), "2023-11-14T22:", 14);
    const struct sse_message *m = world_event(&c, 1);
    assert_int_equal(m->last_event_id.len, strlen(text_of(json, "last_id")));
    assert_memory_equal(text_of(json, "last_id"), m->last_event_id.p, m->last_event_id.len);
    assert_int_equal(json_integer_value(json_object_get(json, "events")), 1);
    assert_int_equal(json_integer_value(json_object_get(json, "gaps")), 0);
    assert_int_equal(json_integer_value(json_object_get(json, "worker")), 3);
    assert_string_equal(text_of(json, "state"), "live");
    json_decref(json);
    world_disconnect(&c);
    world_finish(&w);
}

static void names_are_what_was_asked_for(void **state)
{
    (void)state;
    struct world w;
    struct world_client c;
    world_open(&w, NULL, &c, "/events?channel=news&pattern=n*");
    assert_true(session_names(&c.session, "news", 4));
    assert_true(session_names(&c.session, "n*", 2));
    assert_false(session_names(&c.session, "new", 3));
    assert_false(session_names(&c.session, "nine", 4));
    assert_null(session_subject(&c.session));
    json_t *json = row(&c);
    assert_true(json_is_null(json_object_get(json, "subject")));
    json_decref(json);
    world_disconnect(&c);
    world_finish(&w);
}

int main(void)
{
    log_setup(LOG_ERROR, LOG_TEXT);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lag_is_what_is_owed),
        cmocka_unit_test(what_was_replaced_is_not_owed),
        cmocka_unit_test(looks_are_bounded),
        cmocka_unit_test(who_waits_or_leaves_is_owed_nothing),
        cmocka_unit_test(walkers_survive_removals),
        cmocka_unit_test(a_row_says_who_and_since_when),
        cmocka_unit_test(names_are_what_was_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
