#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tickerd/base/clock.h"
#include "tickerd/base/err.h"
#include "tickerd/net/http1.h"

enum { REQUEST_MAX = 1000, BIG = 8 * 1024 * 1024, PATIENCE_US = 300 * US_PER_MS };

#define GET "GET / HTTP/1.1\r\nHost: x\r\n\r\n"

/* A server whose answers the test chooses, and one peer of it. */
struct rig {
    uv_loop_t loop;
    struct http1 http;
    int peer;
    const char *answer; /* NULL: hold */
    size_t answer_len;
    struct conn *held;
    unsigned requests, bad, closed;
    int status; /* of the last refusal */
    struct http1_end end;
    char *got;
    size_t got_len;
};

static bool on_peer(void *ctx, struct conn *c, const struct netaddr *peer,
                    const struct netaddr *source)
{
    (void)peer;
    (void)source;
    http1_set_user(c, ctx);
    return true;
}

static void on_request(void *ctx, struct conn *c, const struct httpreq *request)
{
    struct rig *r = ctx;
    struct http_slice body = httpreq_body(request);
    r->requests++;
    if (httpreq_method(request) == HTTP_M_POST) { /* what it said comes back */
        http1_reply(c, body.p, body.len);
        return;
    }
    if (r->answer != NULL) {
        http1_reply(c, r->answer, r->answer_len);
        return;
    }
    r->held = c;
    http1_hold(c, &r->held);
}

static void on_bad_request(void *ctx, struct conn *c, const struct httpreq_error *error,
                           const struct httpreq *partial)
{
    struct rig *r = ctx;
    (void)partial;
    r->bad++;
    r->status = error->status;
    http1_reply(c, "bad", 3);
}

static void on_replay(void *ctx, struct conn *c, size_t bytes)
{
    (void)ctx;
    (void)c;
    (void)bytes;
}

static void on_caught_up(void *ctx, struct conn *c)
{
    (void)ctx;
    (void)c;
}

static void on_closed(void *ctx, const struct http1_end *end)
{
    struct rig *r = ctx;
    r->closed++;
    r->end = *end;
}

static const struct http1_events events = {
    .on_peer = on_peer,
    .on_request = on_request,
    .on_bad_request = on_bad_request,
    .on_replay = on_replay,
    .on_caught_up = on_caught_up,
    .on_closed = on_closed,
};

static void tcp_pair(int fds[2])
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof at;
    int l = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(l, (struct sockaddr *)(void *)&at, len), 0);
    assert_int_equal(listen(l, 1), 0);
    assert_int_equal(getsockname(l, (struct sockaddr *)(void *)&at, &len), 0);
    fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fds[0], (struct sockaddr *)(void *)&at, len), 0);
    fds[1] = accept4(l, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    assert_true(fds[1] >= 0);
    (void)close(l);
}

static void begin(struct rig *r, bool tcp)
{
    int fds[2];
    memset(r, 0, sizeof *r);
    assert_int_equal(uv_loop_init(&r->loop), 0);
    assert_int_equal(http1_init(&r->http, &r->loop, REQUEST_MAX, PATIENCE_US, &events, r), ERR_OK);
    if (tcp)
        tcp_pair(fds);
    else
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    r->peer = fds[0];
    struct netaddr nobody = {.is_unix = true};
    assert_int_equal(http1_accept(&r->http, fds[1], &nobody, false), ERR_OK);
    r->got = malloc(BIG + 1);
    assert_non_null(r->got);
}

static void end(struct rig *r)
{
    http1_close(&r->http);
    (void)uv_run(&r->loop, UV_RUN_DEFAULT);
    http1_finish(&r->http);
    assert_int_equal(uv_loop_close(&r->loop), 0);
    assert_int_equal(r->http.count, 0);
    assert_int_equal(r->closed, 1);
    if (r->peer >= 0)
        (void)close(r->peer);
    free(r->got);
}

static void say(struct rig *r, const char *text, size_t len)
{
    assert_int_equal(send(r->peer, text, len, MSG_NOSIGNAL), (ssize_t)len);
}

/* One turn of the server. */
static void turn(struct rig *r)
{
    (void)uv_run(&r->loop, UV_RUN_NOWAIT);
    http1_tick(&r->http);
}

static void turn_until(struct rig *r, const unsigned *count)
{
    uint64_t late = clock_mono_us() + 5 * US_PER_S;
    while (*count == 0 && clock_mono_us() < late)
        turn(r);
    assert_int_equal(*count, 1);
}

/* The peer reads at most n bytes. False: that was the end. */
static bool hear(struct rig *r, size_t n)
{
    size_t room = BIG + 1 - r->got_len;
    ssize_t got = recv(r->peer, r->got + r->got_len, n < room ? n : room, MSG_DONTWAIT);
    if (got < 0) {
        assert_int_equal(errno, EAGAIN);
        return true;
    }
    r->got_len += (size_t)got;
    return got > 0;
}

static void hear_all(struct rig *r)
{
    uint64_t late = clock_mono_us() + 20 * US_PER_S;
    while (hear(r, BIG + 1) && clock_mono_us() < late)
        turn(r);
    assert_int_equal(r->got_len, r->answer_len);
    assert_memory_equal(r->got, r->answer, r->answer_len);
}

static char *big_answer(struct rig *r)
{
    char *bytes = malloc(BIG);
    assert_non_null(bytes);
    for (size_t i = 0; i < BIG; i++)
        bytes[i] = (char)(i * 7 + i / 251);
    r->answer = bytes;
    r->answer_len = BIG;
    return bytes;
}

/* An answer of any size arrives whole, then FIN, and only then is the connection gone. */
static void check_answer(bool tcp, size_t len)
{
    struct rig r;
    begin(&r, tcp);
    char *bytes = big_answer(&r);
    r.answer_len = len;
    say(&r, GET, strlen(GET));
    turn_until(&r, &r.requests);
    assert_true(http1_busy(&r.http));
    hear_all(&r);
    assert_int_equal(r.closed, 0); /* lingering */
    assert_true(http1_busy(&r.http));
    (void)close(r.peer);
    r.peer = -1;
    turn_until(&r, &r.closed);
    assert_false(r.end.was_stream);
    assert_ptr_equal(r.end.user, &r);
    assert_null(r.end.holder);
    assert_false(http1_busy(&r.http));
    end(&r);
    free(bytes);
}

static void answers_of_any_size(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 4096, 1024 * 1024, BIG};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        check_answer(false, sizes[i]);
        check_answer(true, sizes[i]);
    }
}

/* The caller may forget the bytes at once. */
static void the_rest_is_a_copy(void **state)
{
    (void)state;
    struct rig r;
    begin(&r, true);
    char *bytes = big_answer(&r);
    char *copy = malloc(BIG);
    assert_non_null(copy);
    memcpy(copy, bytes, BIG);
    r.answer = copy;
    say(&r, GET, strlen(GET));
    turn_until(&r, &r.requests);
    free(copy);
    r.answer = bytes;
    hear_all(&r);
    end(&r);
    free(bytes);
}

/* The deadline is for no progress, not for the whole. */
static void a_slow_reader_is_waited_for(void **state)
{
    (void)state;
    struct rig r;
    begin(&r, false);
    char *bytes = big_answer(&r);
    say(&r, GET, strlen(GET));
    turn_until(&r, &r.requests);
    uint64_t start = clock_mono_us(), now, next = start;
    while ((now = clock_mono_us()) - start < 2 * PATIENCE_US) {
        if (now < next)
            continue;
        (void)hear(&r, BIG); /* so that each turn makes progress, however late it comes */
        turn(&r);
        assert_int_equal(r.closed, 0);
        next = now + PATIENCE_US / 12;
    }
    assert_true(r.got_len < BIG);
    hear_all(&r);
    end(&r);
    free(bytes);
}

static void who_reads_nothing_is_cut(void **state)
{
    (void)state;
    struct rig r;
    begin(&r, false);
    char *bytes = big_answer(&r);
    say(&r, GET, strlen(GET));
    turn_until(&r, &r.requests);
    uint64_t start = clock_mono_us();
    turn_until(&r, &r.closed);
    assert_true(clock_mono_us() - start >= PATIENCE_US / 2);
    end(&r);
    free(bytes);
}

/* Gone in the middle of an answer; and, with the second, cut by us. */
static void an_answer_is_not_finished(void **state)
{
    (void)state;
    for (int closed_by_us = 0; closed_by_us < 2; closed_by_us++) {
        struct rig r;
        begin(&r, true);
        char *bytes = big_answer(&r);
        say(&r, GET, strlen(GET));
        turn_until(&r, &r.requests);
        assert_false(http1_shed(&r.http)); /* it has its place by right */
        if (closed_by_us == 1) {
            http1_close(&r.http);
        } else {
            (void)close(r.peer);
            r.peer = -1;
            turn_until(&r, &r.closed);
        }
        assert_int_equal(r.closed, 1);
        end(&r);
        free(bytes);
    }
}

/* ---- held ------------------------------------------------------------------------------------ */

static void hold(struct rig *r)
{
    begin(r, true);
    say(r, GET, strlen(GET));
    turn_until(r, &r->requests);
    uint64_t start = clock_mono_us();
    while (clock_mono_us() - start < PATIENCE_US + PATIENCE_US / 2) /* no request deadline */
        turn(r);
    assert_int_equal(r->closed, 0);
    assert_true(http1_busy(&r->http));
    assert_false(http1_shed(&r->http));
}

static void a_held_request_is_answered_later(void **state)
{
    (void)state;
    struct rig r;
    hold(&r);
    char *bytes = big_answer(&r);
    http1_reply(r.held, bytes, BIG);
    hear_all(&r);
    (void)close(r.peer);
    r.peer = -1;
    turn_until(&r, &r.closed);
    assert_null(r.end.holder);
    end(&r);
    free(bytes);
}

static void the_holder_learns_that_the_peer_is_gone(void **state)
{
    (void)state;
    for (int how = 0; how < 3; how++) {
        struct rig r;
        hold(&r);
        if (how == 0) {
            (void)close(r.peer);
            r.peer = -1;
        } else if (how == 1) {
            (void)shutdown(r.peer, SHUT_WR);
        } else {
            http1_close(&r.http);
        }
        turn_until(&r, &r.closed);
        assert_ptr_equal(r.end.holder, &r.held);
        end(&r);
    }
}

/* ---- bodies ---------------------------------------------------------------------------------- */

static void begin_posts(struct rig *r, size_t body_max)
{
    begin(r, true);
    http1_close(&r->http); /* that one came too early */
    (void)close(r->peer);
    r->closed = 0;
    int fds[2];
    struct netaddr nobody = {.is_unix = true};
    http1_set_body_max(&r->http, body_max);
    tcp_pair(fds);
    r->peer = fds[0];
    assert_int_equal(http1_accept(&r->http, fds[1], &nobody, false), ERR_OK);
}

static void say_length(struct rig *r, size_t len, const char *headers)
{
    char head[200];
    int n = snprintf(head, sizeof head,
                     "POST / HTTP/1.1\r\nHost: x\r\n%sContent-Length: %zu\r\n\r\n", headers, len);
    say(r, head, (size_t)n);
}

static void a_body_is_read_whole(void **state)
{
    (void)state;
    struct rig r;
    begin_posts(&r, BIG);
    char *bytes = big_answer(&r);
    r.answer_len = 1024 * 1024;
    say_length(&r, r.answer_len, "");
    for (size_t sent = 0; sent < r.answer_len;) {
        ssize_t n = send(r.peer, bytes + sent, r.answer_len - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        assert_true(n > 0 || errno == EAGAIN);
        sent += n > 0 ? (size_t)n : 0;
        turn(&r);
    }
    hear_all(&r);
    assert_int_equal(r.requests, 1);
    end(&r);
    free(bytes);
}

static void who_waits_is_told_to_continue(void **state)
{
    (void)state;
    struct rig r;
    begin_posts(&r, BIG);
    say_length(&r, 4, "Expect: 100-continue\r\n");
    r.answer = "HTTP/1.1 100 Continue\r\n\r\nbody";
    r.answer_len = strlen(r.answer);
    uint64_t late = clock_mono_us() + 5 * US_PER_S;
    while (r.got_len == 0 && clock_mono_us() < late) {
        turn(&r);
        (void)hear(&r, BIG);
    }
    assert_int_equal(r.got_len, r.answer_len - 4);
    for (size_t i = 0; i < 4; i++) { /* told once */
        say(&r, "body" + i, 1);
        turn(&r);
    }
    hear_all(&r);
    end(&r);
}

static void check_refused(size_t body_max, const char *headers, size_t len, int status)
{
    struct rig r;
    begin_posts(&r, body_max);
    say_length(&r, len, headers);
    turn_until(&r, &r.bad);
    assert_int_equal(r.status, status);
    assert_int_equal(r.requests, 0);
    r.answer = "bad";
    r.answer_len = 3;
    hear_all(&r);
    end(&r);
}

static void bodies_that_are_refused(void **state)
{
    (void)state;
    check_refused(100, "", 101, 413);
    check_refused(100, "Expect: 100-continue\r\n", 101, 413);
    check_refused(100, "Content-Length: 3\r\n", 3, 400);
    check_refused(100, "", 100, 408); /* it never comes */
}

static void without_a_bound_no_body_is_read(void **state)
{
    (void)state;
    struct rig r;
    begin_posts(&r, 0);
    say_length(&r, 1000 * 1000, "Expect: 100-continue\r\n");
    turn_until(&r, &r.requests);
    hear_all(&r); /* nothing */
    end(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_of_any_size),
        cmocka_unit_test(the_rest_is_a_copy),
        cmocka_unit_test(a_slow_reader_is_waited_for),
        cmocka_unit_test(who_reads_nothing_is_cut),
        cmocka_unit_test(an_answer_is_not_finished),
        cmocka_unit_test(a_held_request_is_answered_later),
        cmocka_unit_test(the_holder_learns_that_the_peer_is_gone),
        cmocka_unit_test(a_body_is_read_whole),
        cmocka_unit_test(who_waits_is_told_to_continue),
        cmocka_unit_test(bodies_that_are_refused),
        cmocka_unit_test(without_a_bound_no_body_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
