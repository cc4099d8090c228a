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

static const char *const no_jitter[] = {"stream.retry_jitter=0", NULL};

static const char *last_id(const struct world_client *c)
{
    return c->transport.decoder.last_event_id.p;
}

/* ---- the beginning --------------------------------------------------------------------------- */

static void test_open_comes_in_the_same_write_as_the_head(void **state)
{
    (void)state;
    struct world w;
    struct world_client c;
    world_open(&w, no_jitter, &c, "/events/a");
    assert_int_equal(c.transport.writes, 1);
    const char *id = last_id(&c);
    char want[300];
    (void)snprintf(want, sizeof want,
                   "%sretry: 2000\nevent: tickerd:open\ndata: {\"resume\":\"new\"}\nid: %s\n\n",
                   WORLD_HEAD, id);
    assert_string_equal(fake_transport_text(&c.transport), want);
    struct eventid e;
    assert_true(eventid_parse(id, strlen(id), &e));
    assert_int_equal(e.fp, 0);
    assert_int_equal(c.transport.decoder.retries, 1);
    assert_int_equal(metrics_get(&w.workers[0].metrics, METRIC_STREAMS), 1);
    world_disconnect(&c);
    assert_int_equal(metrics_get(&w.workers[0].metrics, METRIC_STREAMS_ENDED), 1);
    world_finish(&w);
}

static void test_the_head_waits_until_all_views_are_ready(void **state)
{
    (void)state;
    struct world w;
    struct world_client c;
    world_start(&w, NULL);
    world_connect(&w, 0, &c, "/events?channel=a&channel=b&pattern=c*", NULL);
    (void)world_requests(&w, 0, 2);
    world_turn(&w, 0);
    assert_int_equal(c.transport.writes, 0);
    (void)world_requests(&w, 0, 1);
    assert_int_equal(c.transport.writes, 0);
    world_publish(&w, "a", "already");
    world_turn(&w, 0);
    assert_int_equal(c.transport.writes, 1);
    world_expect(&c, "open new"); /* what was published before it is not owed */
    world_deliver(&w, "cc", "x");
    world_expect(&c, "open new | x");
    world_disconnect(&c);
    world_finish(&w);
}

static void test_a_view_that_is_there_starts_at_once(void **state)
{
    (void)state;
    struct world w;
    struct world_client c, d;
    world_open(&w, NULL, &c, "/events/a");
    world_connect(&w, 0, &d, "/events/a", NULL);
    world_expect(&d, "open new");
    world_deliver(&w, "a", "x");
    world_expect(&c, "open new | x");
    world_expect(&d, "open new | x");
    world_disconnect(&c);
    world_disconnect(&d);
    world_finish(&w);
}

/* ---- resuming -------------------------------------------------------------------------------- */

static void test_resume_after_an_own_id(void **state)
{
    (void)state;
    struct world w;
    struct world_client c, d;
    world_open(&w, NULL, &c, "/events/a");
    world_deliver(&w, "a", "1");
    char id[64];
    (void)snprintf(id, sizeof id, "%s", last_id(&c));
    world_deliver(&w, "a", "2");
    world_deliver(&w, "b", "other");
    world_deliver(&w, "a", "3");
    world_connect(&w, 0, &d, "/events/a", id);
    world_expect(&d, "open continued | 2 | 3");
    assert_string_equal(world_event(&d, 0)->last_event_id.p, id); /* the client's own, repeated */
    assert_int_equal(d.transport.writes, 1);
    world_disconnect(&d);
    world_connect(&w, 0, &d, "/events/a?history=1", last_id(&c)); /* history is ignored then */
    world_expect(&d, "open continued");
    world_disconnect(&d);
    world_disconnect(&c);
    world_finish(&w);
}

static void test_where_the_last_id_is_looked_for(void **state)
{
    (void)state;
    struct world w;
    struct world_client c, d;
    char url[200], first[64];
    world_open(&w, NULL, &c, "/events/a");
    world_deliver(&w, "a", "1");
    (void)snprintf(first, sizeof first, "%s", last_id(&c));
    world_deliver(&w, "a", "2");
    (void)snprintf(url, sizeof url, "/events/a?last_event_id=%s", first);
    world_connect(&w, 0, &d, url, NULL);
    world_expect(&d, "open continued | 2");
    world_disconnect(&d);
    world_connect(&w, 0, &d, url, last_id(&c)); /* the header wins */
    world_expect(&d, "open continued");
    world_disconnect(&d);
    world_connect(&w, 0, &d, url, ""); /* but not when it is empty */
    world_expect(&d, "open continued | 2");
    world_disconnect(&d);
    world_disconnect(&c);
    world_finish(&w);
}

static void test_resume_after_a_publishers_id(void **state)
{
    (void)state;
    struct world w;
    struct world_client c, d;
    world_open(&w, NULL, &c, "/events/a");
    world_deliver(&w, "a", "{\"data\":\"1\",\"id\":\"order-7\"}");
    assert_string_equal(last_id(&c), "order-7");
    world_deliver(&w, "a", "2");
    world_connect(&w, 0, &d, "/events/a", "order-7");
    world_expect(&d, "open continued | 2");
    assert_string_equal(world_event(&d, 0)->last_event_id.p, "order-7");
    world_disconnect(&d);
    world_connect(&w, 0, &d, "/events/a", "order-8");
    world_expect(&d, "open gap | gap * unknown-id | 1 | 2");
    /* Its own until it has been told: cut off before that, it would ask again. */
    assert_string_equal(world_event(&d, 0)->last_event_id.p, "order-8");
    assert_string_not_equal(world_event(&d, 1)->last_event_id.p, "order-8");
    assert_int_equal(d.transport.writes, 1);
    world_disconnect(&d);
    world_disconnect(&c);
    world_finish(&w);
}

static void test_resume_behind_what_is_kept(void **state)
{
    (void)state;
    const char *settings[] = {"history.events=2", NULL};
    struct world w;
    struct world_client c, d;
    world_open(&w, settings, &c, "/events/a");
    world_deliver(&w, "a", "1");
    char id[64];
    (void)snprintf(id, sizeof id, "%s", last_id(&c));
    for (int i = '2'; i <= '5'; i++)
        world_deliver(&w, "a", (char[]){(char)i, '\0'});
    world_connect(&w, 0, &d, "/events/a", id);
    world_expect(&d, "open gap | gap a evicted | 4 | 5");
    const struct sse_message *gap = world_event(&d, 1);
    char to[256];
    (void)snprintf(to, sizeof to, "\"from\":\"%s\",\"to\":\"%s\"}", id, gap->last_event_id.p);
    assert_non_null(strstr(gap->data.p, to));
    (void)snprintf(id, sizeof id, "%.40s", gap->last_event_id.p);
    world_disconnect(&d);
    world_connect(&w, 0, &d, "/events/a", id); /* the gap is not told again */
    world_expect(&d, "open continued | 4 | 5");
    world_disconnect(&d);
    (void)snprintf(id, sizeof id, "%.40s", last_id(&c));
    world_connect(&w, 0, &d, "/events/a", id);
    world_expect(&d, "open continued");
    world_disconnect(&d);
    world_disconnect(&c);
    world_finish(&w);
}

static void test_history(void **state)
{
    (void)state;
    struct world w;
    struct world_client c, d;
    world_open(&w, NULL, &c, "/events?pattern=*");
    world_deliver(&w, "a", "a1");
    world_deliver(&w, "a", "a2");
    world_deliver(&w, "b", "b1");
    world_deliver(&w, "a", "a3");
    world_deliver(&w, "b", "b2");
    static const struct {
        const char *url, *want;
    } cases[] = {
        {"/events/a?history=2", "open new | a2 | a3"},
        {"/events?channel=a&channel=b&history=1", "open new | a3 | b2"},
        {"/events?pattern=*&history=2", "open new | a2 | b1 | a3 | b2"},
        {"/events?pattern=*&history=all", "open new | a1 | a2 | b1 | a3 | b2"},
        {"/events/none?history=all", "open new"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        world_connect(&w, 0, &d, cases[i].url, NULL);
        world_settle(&w);
        world_expect(&d, cases[i].want);
        assert_int_equal(d.transport.writes, 1);
        assert_null(d.session.replay);
        world_disconnect(&d);
    }
    world_disconnect(&c);
    world_finish(&w);
}

static void test_json(void **state)
{
    (void)state;
    struct world w;
    struct world_client c;
    world_open(&w, NULL, &c, "/events/a?format=json");
    world_deliver(&w, "a", "{\"data\":\"x\\ny\",\"event\":\"kind\"}");
    const struct sse_message *m = world_event(&c, 1);
    assert_string_equal(m->type.p, "message");
    char want[200];
    (void)snprintf(want, sizeof want,
                   "{\"channel\":\"a\",\"id\":\"%s\",\"event\":\"kind\",\"data\":\"x\\ny\"}",
                   last_id(&c));
    assert_string_equal(m->data.p, want);
    world_disconnect(&c);
    world_finish(&w);
}

static void test_printable_ids(void **state)
{
    (void)state;
    char longest[130];
    memset(longest, 'i', sizeof longest);
    assert_true(session_id_printable("a b~", 4));
    assert_true(session_id_printable(longest, 128));
    assert_false(session_id_printable(longest, 129));
    assert_false(session_id_printable("", 0));
    assert_false(session_id_printable("a\nb", 3));
    assert_false(session_id_printable("\x7f", 1));
    assert_false(session_id_printable("\xc3\xa9", 2));
    assert_false(session_id_printable("\0", 1));
}

/* ---- writing --------------------------------------------------------------------------------- */

static void test_one_write_a_turn(void **state)
{
    (void)state;
    struct world w;
    struct world_client c;
    world_open(&w, NULL, &c, "/events?channel=a&pattern=*&channel=b");
    for (int i = 0; i < 5; i++) {
        world_publish(&w, "a", "x");
        world_publish(&w, "b", "y");
        world_publish(&w, "c", "z");
    }
    world_turn(&w, 0);
    assert_int_equal(c.transport.writes, 2);
    assert_int_equal(c.transport.decoder.count, 16); /* and each event once */
    world_turn(&w, 0);
    assert_int_equal(c.transport.writes, 2); /* nothing new, nothing written */
    fake_source_lose(&w.source, 0);
    fake_source_connect(&w.source);
    world_publish(&w, "a", "lost");
    fake_source_settle(&w.source);
    world_publish(&w, "a", "back"); /* marks and views are dirty in the same turn */
    world_turn(&w, 0);
    assert_int_equal(c.transport.writes, 3);
    world_expect(&c, "open new | x | y | z | x | y | z | x | y | z | x | y | z | x | y | z | "
                     "gap * upstream | back");
    world_disconnect(&c);
    world_finish(&w);
}

enum { LARGE = 6000 };

/* Everything that a stream can consist of; returns the id before the first of it. */
static void fill(struct world *w, char id[64])
{
    struct world_client c;
    static char large[LARGE + 1], huge[9000];
    memset(large, 'L', LARGE);
    memset(huge, 'H', sizeof huge - 1);
    world_connect(w, 0, &c, "/events?pattern=*", NULL);
    world_settle(w);
    (void)snprintf(id, 64, "%s", last_id(&c));
    world_publish(w, "a", "one");
    world_publish(w, "b", "two\nlines\n");
    world_publish(w, "a", "{\"data\":\"three\",\"id\":\"mine-3\",\"event\":\"e\"}");
    world_publish(w, "a", huge); /* above limits.message_bytes: a gap in the middle */
    world_publish(w, "a", large);
    world_publish(w, "b", "");
    fake_source_lose(&w->source, 0);
    fake_source_connect(&w->source);
    fake_source_settle(&w->source);
    world_publish(w, "b", "last");
    world_turn(w, 0);
    world_disconnect(&c);
}

enum { DIGEST = 32 };

/* What was dispatched, as a string: the first bytes of each event's data but for the positions. */
static void digest(struct buf *out, const struct world_client *c)
{
    for (size_t i = 0; i < c->transport.decoder.count; i++) {
        const struct sse_message *m = &c->transport.decoder.messages[i];
        if (strcmp(m->type.p, "tickerd:open") == 0)
            continue;
        if (strncmp(m->type.p, "tickerd:", 8) == 0)
            buf_append(out, m->data.p, strcspn(m->data.p, "}") < DIGEST ? 1 : DIGEST);
        else
            buf_append(out, m->data.p, m->data.len < DIGEST ? m->data.len : DIGEST);
        buf_byte(out, '|');
    }
}

static size_t full_stream(struct world *w, const char *url, const char *id, struct buf *want,
                          struct buf *bytes)
{
    struct world_client c;
    world_connect(w, 0, &c, url, id);
    world_settle(w);
    digest(want, &c);
    buf_append(bytes, c.transport.bytes.data, c.transport.bytes.len);
    size_t len = c.transport.bytes.len;
    world_disconnect(&c);
    return len;
}

/* The connection dies after `cut` bytes; the client comes back with the last id it saw. */
static void cut_and_resume(struct world *w, const char *url, const char *id, size_t cut,
                           const char *want)
{
    struct world_client c;
    struct buf got = BUF_INIT;
    char seen[160];
    world_connect_room(w, 0, &c, url, id, cut);
    digest(&got, &c);
    (void)snprintf(seen, sizeof seen, "%s", last_id(&c)[0] == '\0' ? id : last_id(&c));
    world_disconnect(&c);
    world_connect(w, 0, &c, url, seen);
    digest(&got, &c);
    world_disconnect(&c);
    if (strcmp(buf_cstr(&got), want) != 0)
        fail_msg("cut after %zu bytes: %s instead of %s", cut, buf_cstr(&got), want);
    buf_finish(&got);
}

/* The same, but the bytes come later: whatever the pieces, the stream is the same. */
static void stall_and_go_on(struct world *w, const char *url, const char *id, size_t cut,
                            const struct buf *want)
{
    struct world_client c;
    world_connect_room(w, 0, &c, url, id, cut);
    assert_int_equal(c.transport.bytes.len, cut);
    assert_int_equal(c.session.blocked, cut < want->len);
    world_room(w, &c, cut % 3); /* a byte or two */
    world_room(w, &c, SIZE_MAX);
    assert_int_equal(c.transport.bytes.len, want->len);
    assert_memory_equal(c.transport.bytes.data, want->data, want->len);
    assert_false(c.session.blocked);
    assert_null(c.session.inflight);
    world_disconnect(&c);
}

static void every_cut(const char *url)
{
    const char *settings[] = {"stream.retry_jitter=0", "limits.message_bytes=6000", NULL};
    struct world w;
    struct world_client keeper; /* so that the views stay */
    char id[64];
    struct buf want = BUF_INIT, bytes = BUF_INIT;
    world_start(&w, settings);
    world_connect(&w, 0, &keeper, url, NULL);
    world_settle(&w);
    fill(&w, id);
    size_t len = full_stream(&w, url, id, &want, &bytes);
    assert_true(len > LARGE);
    for (size_t cut = 0; cut <= len; cut++) {
        cut_and_resume(&w, url, id, cut, buf_cstr(&want));
        stall_and_go_on(&w, url, id, cut, &bytes);
        if (cut == 1200) /* the inside of the large one is all alike */
            cut = len - 1200;
    }
    world_disconnect(&keeper);
    buf_finish(&want);
    buf_finish(&bytes);
    world_finish(&w);
}

static void test_cut_at_every_byte_one_view(void **state)
{
    (void)state;
    every_cut("/events?pattern=*");
}

static void test_cut_at_every_byte_several_views(void **state)
{
    (void)state;
    every_cut("/events?channel=a&channel=b&pattern=[ab]");
}

static void test_cut_at_every_byte_json(void **state)
{
    (void)state;
    every_cut("/events?channel=a&pattern=*&format=json");
}

/* ---- the end --------------------------------------------------------------------------------- */

static void test_a_failing_write_ends_the_session(void **state)
{
    (void)state;
    struct world w;
    struct world_client c;
    world_open(&w, NULL, &c, "/events/a");
    c.transport.error = ERR_CLOSED;
    world_deliver(&w, "a", "x");
    assert_int_equal(c.session.state, SESSION_ENDED);
    assert_int_equal(c.transport.closes, 1);
    assert_true(c.transport.aborted);
    session_flush(&c.session, w.mono);
    session_writable(&c.session, w.mono);
    session_heartbeat(&c.session, w.mono);
    session_leave(&c.session, CLOSING_MAX_AGE, w.mono);
    session_end(&c.session, CLOSING_MAX_AGE, false);
    assert_int_equal(w.workers[0].fanout.count, 0);
    world_disconnect(&c);
    world_finish(&w);
}

static void test_the_peer_goes_in_every_state(void **state)
{
    (void)state;
    struct world w;
    struct world_client c;
    world_start(&w, NULL);
    world_connect(&w, 0, &c, "/events?channel=a&channel=b", "some-id");
    assert_int_equal(c.session.state, SESSION_WAITING);
    world_disconnect(&c);
    world_settle(&w);
    world_connect_room(&w, 0, &c, "/events?channel=a&channel=b", NULL, 10); /* in the head */
    world_settle(&w);
    assert_non_null(c.session.inflight);
    world_disconnect(&c);
    world_connect(&w, 0, &c, "/events/a", NULL);
    world_settle(&w);
    world_room(&w, &c, 5);
    world_deliver(&w, "a", "in flight");
    assert_false(c.session.raw);
    session_leave(&c.session, CLOSING_MAX_AGE, w.mono);
    assert_int_equal(c.transport.closes, 0);
    world_disconnect(&c);
    world_connect(&w, 0, &c, "/events/a?history=all", NULL); /* while history is replayed */
    world_settle(&w);
    world_disconnect(&c);
    world_connect_room(&w, 0, &c, "/events/a?history=all", NULL, 150);
    world_settle(&w);
    assert_non_null(c.session.replay);
    world_disconnect(&c);
    world_connect(&w, 0, &c, "/events/a", NULL); /* in the last line */
    world_settle(&w);
    world_room(&w, &c, 3);
    session_leave(&c.session, CLOSING_MAX_AGE, w.mono);
    assert_true(c.session.goodbye);
    world_disconnect(&c);
    assert_int_equal(w.workers[0].fanout.count, 0);
    world_finish(&w);
}

static void test_leave_says_when_to_come_back(void **state)
{
    (void)state;
    struct world w;
    struct world_client c;
    world_open(&w, no_jitter, &c, "/events/a");
    world_deliver(&w, "a", "x");
    size_t before = c.transport.bytes.len;
    session_leave(&c.session, CLOSING_MAX_AGE, w.mono);
    assert_string_equal(fake_transport_text(&c.transport) + before, "retry: 2000\n");
    assert_int_equal(c.transport.closes, 1);
    assert_false(c.transport.aborted);
    assert_int_equal(c.transport.decoder.retry_ms, 2000);
    world_disconnect(&c);
    world_connect(&w, 0, &c, "/events/b", NULL); /* one that waits is opened first */
    session_leave(&c.session, CLOSING_MAX_AGE, w.mono);
    world_expect(&c, "open new");
    assert_int_equal(c.transport.decoder.retries, 2);
    assert_int_equal(c.transport.closes, 1);
    world_disconnect(&c);
    world_finish(&w);
}

static void test_leave_at_every_byte_of_a_block(void **state)
{
    (void)state;
    for (size_t room = 0;; room++) {
        struct world w;
        struct world_client c;
        world_open(&w, no_jitter, &c, "/events/a");
        world_room(&w, &c, room);
        world_publish(&w, "a", "first");
        world_publish(&w, "a", "second");
        world_turn(&w, 0);
        bool all = !c.session.blocked;
        session_leave(&c.session, CLOSING_MAX_AGE, w.mono);
        session_leave(&c.session, CLOSING_MAX_AGE, w.mono);
        world_room(&w, &c, 1);
        world_room(&w, &c, SIZE_MAX);
        assert_int_equal(c.transport.closes, 1);
        assert_false(c.transport.aborted);
        const char *text = fake_transport_text(&c.transport);
        assert_string_equal(text + strlen(text) - 14, "\n\nretry: 2000\n");
        assert_false(c.transport.decoder.pending && !all && c.transport.decoder.count == 0);
        /* Whoever comes back misses nothing. */
        struct world_client d;
        size_t got = c.transport.decoder.count;
        world_connect(&w, 0, &d, "/events/a", last_id(&c));
        assert_int_equal(got + d.transport.decoder.count, 1 + 1 + 2);
        world_disconnect(&d);
        world_disconnect(&c);
        world_finish(&w);
        if (all)
            return;
    }
}

static void test_no_memory_is_asked_for_a_client_that_is_gone(void **state)
{
    (void)state;
    struct world w;
    struct world_client c;
    world_start(&w, NULL);
    world_connect(&w, 0, &c, "/events/a", NULL);
    c.transport.error = ERR_CLOSED; /* the very first write fails */
    world_settle(&w);
    assert_int_equal(c.session.state, SESSION_ENDED);
    assert_int_equal(c.transport.closes, 1);
    world_disconnect(&c);
    world_connect(&w, 0, &c, "/events/a", NULL); /* the view is there: the same within the call */
    world_disconnect(&c);
    world_finish(&w);
}

int main(void)
{
    log_setup(LOG_ERROR, LOG_TEXT);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open_comes_in_the_same_write_as_the_head),
        cmocka_unit_test(test_the_head_waits_until_all_views_are_ready),
        cmocka_unit_test(test_a_view_that_is_there_starts_at_once),
        cmocka_unit_test(test_resume_after_an_own_id),
        cmocka_unit_test(test_where_the_last_id_is_looked_for),
        cmocka_unit_test(test_resume_after_a_publishers_id),
        cmocka_unit_test(test_resume_behind_what_is_kept),
        cmocka_unit_test(test_history),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_printable_ids),
        cmocka_unit_test(test_one_write_a_turn),
        cmocka_unit_test(test_cut_at_every_byte_one_view),
        cmocka_unit_test(test_cut_at_every_byte_several_views),
        cmocka_unit_test(test_cut_at_every_byte_json),
        cmocka_unit_test(test_a_failing_write_ends_the_session),
        cmocka_unit_test(test_the_peer_goes_in_every_state),
        cmocka_unit_test(test_leave_says_when_to_come_back),
        cmocka_unit_test(test_leave_at_every_byte_of_a_block),
        cmocka_unit_test(test_no_memory_is_asked_for_a_client_that_is_gone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
