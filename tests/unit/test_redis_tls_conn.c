#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "../../src/net/redis_conn.h"
#include "redis_rig.h"
#include "tickerd/base/err.h"
#include "tls_rig.h"

/* A redis_conn with TLS over a real socket. The peer is driven by hand, between the turns of the
 * loop. */

enum { CHUNK = 1 << 16, BIG = 3 << 20 };
enum call { OPEN, READ, SENT, LOST, CALLS };

static struct tls_rig rig;
static int listener, port;

struct test {
    uv_loop_t loop;
    struct redis_tls *tls;
    struct redis_conn *conn;
    size_t seen[CALLS];
    enum call close_at;
    bool closed;
    struct buf got;
    char why[512];
    /* The peer. */
    int fd;
    struct tls_peer peer;
    struct buf back;
    size_t split; /* how many bytes it sends at a time */
    bool deaf;    /* it does not read */
    bool gone;    /* it has heard the end */
};

static int start_rig(void **state)
{
    (void)state;
    tls_rig_start(&rig);
    listener = rig_listen(&port);
    return signal(SIGPIPE, SIG_IGN) == SIG_ERR;
}

static int stop_rig(void **state)
{
    (void)state;
    (void)close(listener);
    tls_rig_stop(&rig);
    return 0;
}

static void saw(struct test *t, enum call call)
{
    assert_false(t->closed);
    t->seen[call]++;
    if (call == t->close_at || call == LOST) {
        t->closed = true;
        redis_conn_close(t->conn);
    }
}

static void on_open(void *owner)
{
    saw(owner, OPEN);
}

static void on_read(void *owner, const char *data, size_t n)
{
    struct test *t = owner;
    assert_true(t->seen[OPEN] == 1 && n > 0);
    buf_append(&t->got, data, n);
    saw(t, READ);
}

static void on_sent(void *owner)
{
    struct test *t = owner;
    assert_int_equal(t->seen[OPEN], 1);
    saw(t, SENT);
}

static void on_lost(void *owner, const char *why)
{
    struct test *t = owner;
    (void)snprintf(t->why, sizeof t->why, "%s", why);
    saw(t, LOST);
}

static void start(struct test *t, int version)
{
    static const struct redis_conn_events events = {
        .on_open = on_open, .on_read = on_read, .on_sent = on_sent, .on_lost = on_lost};
    struct addr addr = {.host = "127.0.0.1", .port = (uint16_t)port};
    struct buf errors = BUF_INIT;
    const char *why = "";
    *t = (struct test){.split = CHUNK, .close_at = CALLS};
    t->tls = redis_tls_create(&(struct redis_tls_options){.ca = rig.ca_path}, &errors);
    assert_non_null(t->tls);
    assert_int_equal(uv_loop_init(&t->loop), 0);
    t->conn = redis_conn_create(&t->loop, t->tls, &addr, &events, t);
    assert_non_null(t->conn);
    tls_peer_start(&t->peer, &rig, "IP:127.0.0.1", version);
    assert_int_equal(redis_conn_open(t->conn, 5000, &why), 0);
    t->fd = accept(listener, NULL, NULL);
    assert_true(t->fd >= 0 && fcntl(t->fd, F_SETFL, O_NONBLOCK) == 0);
}

static void stop(struct test *t)
{
    redis_conn_destroy(t->conn);
    redis_tls_destroy(t->tls);
    (void)close(t->fd);
    tls_peer_stop(&t->peer);
    while (uv_run(&t->loop, UV_RUN_ONCE) != 0)
        ;
    assert_int_equal(uv_loop_close(&t->loop), 0);
    buf_finish(&t->got);
    buf_finish(&t->back);
}

static void peer_reads(struct test *t)
{
    char data[CHUNK];
    ssize_t n = recv(t->fd, data, sizeof data, 0);
    t->gone = n == 0;
    tls_peer_feed(&t->peer, data, n > 0 ? (size_t)n : 0);
    while (SSL_is_init_finished(t->peer.ssl) &&
           (n = (ssize_t)tls_peer_read(&t->peer, data, sizeof data)) > 0)
        buf_append(&t->back, data, (size_t)n);
}

static void turn(struct test *t)
{
    char data[CHUNK];
    (void)uv_run(&t->loop, UV_RUN_NOWAIT);
    if (!t->deaf && !t->gone)
        peer_reads(t);
    size_t n = tls_peer_out(&t->peer, data, t->split);
    for (size_t at = 0; at < n;) {
        ssize_t sent = send(t->fd, data + at, n - at, 0);
        at += sent > 0 ? (size_t)sent : 0;
        if (sent < 0 && t->closed)
            break;
        (void)uv_run(&t->loop, UV_RUN_NOWAIT);
    }
}

#define UNTIL(t, expression)                                                                       \
    do {                                                                                           \
        uint64_t end = uv_hrtime() + 20000000000U;                                                 \
        while (!(expression)) {                                                                    \
            assert_true(uv_hrtime() < end);                                                        \
            turn(t);                                                                               \
        }                                                                                          \
    } while (0)

static void go_open(struct test *t, int version)
{
    start(t, version);
    UNTIL(t, t->seen[OPEN] == 1 && SSL_is_init_finished(t->peer.ssl));
}

static void put(struct test *t, const char *data, size_t n, size_t left)
{
    struct buf out = BUF_INIT;
    buf_append(&out, data, n);
    assert_int_equal(redis_conn_send(t->conn, &out), 0);
    assert_int_equal(out.len, left);
    buf_finish(&out);
}

static void both_ways(void **state)
{
    (void)state;
    static const size_t splits[] = {1, 5, 1000, CHUNK};
    for (size_t i = 0; i < 8; i++) {
        struct test t;
        start(&t, i % 2 ? TLS1_3_VERSION : TLS1_2_VERSION);
        t.split = splits[i / 2];
        UNTIL(&t, t.seen[OPEN] == 1 && SSL_is_init_finished(t.peer.ssl));
        tls_peer_write(&t.peer, "hello", 5);
        UNTIL(&t, t.got.len == 5);
        put(&t, "world", 5, 0);
        UNTIL(&t, t.back.len == 5);
        assert_memory_equal(t.back.data, "world", 5);
        stop(&t);
    }
}

/* More than sockets take at once: the second write has to wait, and is asked for. */
static void large_writes(void **state)
{
    (void)state;
    struct test t;
    char *data = malloc(BIG);
    assert_non_null(data);
    for (size_t i = 0; i < BIG; i++)
        data[i] = (char)(i % 253);
    go_open(&t, 0);
    (void)uv_run(&t.loop, UV_RUN_NOWAIT);
    size_t before = t.seen[SENT];
    t.deaf = true;
    for (int i = 0; i < 8; i++) /* the first are taken by the kernel, or in flight */
        put(&t, data, BIG, i == 0 ? 0 : BIG);
    t.deaf = false;
    UNTIL(&t, t.seen[SENT] == before + 1);
    put(&t, "end", 3, 0);
    UNTIL(&t, t.back.len == BIG + 3);
    assert_memory_equal(t.back.data, data, BIG);
    tls_peer_write(&t.peer, data, BIG);
    UNTIL(&t, t.got.len == BIG);
    assert_memory_equal(t.got.data, data, BIG);
    stop(&t);
    free(data);
}

static void ends(void **state)
{
    (void)state;
    static const struct {
        bool bye;
        const char *junk;
        size_t len;
        const char *why;
    } cases[] = {
        {true, "", 0, "the server closed the connection"},
        {false, "", 0, "was cut: the server sent no TLS close_notify"},
        {false, "\x17\x03\x03", 3, "was cut"},
        {false,
         "\x17\x03\x03\x00\x20"
         "0123456789012345678901234567890",
         37, "damaged on its way"},
        {false, "-ERR out of turn\r\n", 18, "no valid TLS"},
        {false, "\x15\x03\x03\x00\x02\x02\x28", 7, "what the server sent"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct test t;
        go_open(&t, 0);
        tls_peer_write(&t.peer, "last", 4);
        UNTIL(&t, t.got.len == 4);
        if (cases[i].bye)
            (void)SSL_shutdown(t.peer.ssl);
        turn(&t);
        ssize_t len = (ssize_t)cases[i].len;
        assert_int_equal(send(t.fd, cases[i].junk, cases[i].len, 0), len);
        assert_int_equal(shutdown(t.fd, SHUT_WR), 0);
        UNTIL(&t, t.seen[LOST] == 1);
        if (strstr(t.why, cases[i].why) == NULL)
            fail_msg("case %zu: %s", i, t.why);
        stop(&t);
    }
}

static void cut_at_every_byte_of_the_handshake(void **state)
{
    (void)state;
    for (size_t cut = 0; cut < 2000; cut = cut < 20 ? cut + 1 : cut + 97) {
        struct test t;
        char data[CHUNK];
        start(&t, TLS1_3_VERSION);
        while (BIO_ctrl_pending(t.peer.out) == 0) {
            (void)uv_run(&t.loop, UV_RUN_NOWAIT);
            peer_reads(&t);
        }
        size_t n = tls_peer_out(&t.peer, data, sizeof data);
        if (cut >= n) {
            stop(&t);
            break;
        }
        if (cut > 0)
            assert_int_equal(send(t.fd, data, cut, 0), cut);
        assert_int_equal(shutdown(t.fd, SHUT_WR), 0);
        while (t.seen[LOST] == 0)
            (void)uv_run(&t.loop, UV_RUN_ONCE);
        assert_int_equal(t.seen[OPEN], 0);
        assert_non_null(strstr(t.why, "during the TLS handshake"));
        stop(&t);
    }
}

static void close_in_each_callback(void **state)
{
    (void)state;
    for (enum call at = OPEN; at <= LOST; at++) {
        struct test t;
        start(&t, TLS1_3_VERSION);
        t.close_at = at;
        UNTIL(&t, t.seen[OPEN] == 1 && (t.closed || SSL_is_init_finished(t.peer.ssl)));
        if (at == READ)
            tls_peer_write(&t.peer, "hello", 5);
        if (at == SENT && !t.closed)
            put(&t, "hello", 5, 0);
        if (at == LOST)
            assert_int_equal(shutdown(t.fd, SHUT_RDWR), 0);
        UNTIL(&t, t.closed);
        assert_int_equal(t.seen[at], 1);
        if (at == READ) { /* the peer is told that it was on purpose */
            UNTIL(&t, t.gone);
            assert_true(SSL_get_shutdown(t.peer.ssl) & SSL_RECEIVED_SHUTDOWN);
        }
        stop(&t);
    }
}

static void close_after_some_turns(void **state)
{
    (void)state;
    for (int turns = 0; turns < 8; turns++) {
        struct test t;
        start(&t, 0);
        for (int i = 0; i < turns; i++)
            turn(&t);
        redis_conn_close(t.conn);
        t.closed = true;
        stop(&t);
    }
}

/* A server that asks for answers of TLS itself, and never reads them. */
static void answers_are_bounded(void **state)
{
    (void)state;
    struct test t;
    char *data = calloc(1, 4 * BIG);
    assert_non_null(data);
    go_open(&t, TLS1_3_VERSION);
    (void)uv_run(&t.loop, UV_RUN_NOWAIT);
    t.deaf = true;
    put(&t, data, (size_t)4 * BIG, 0);
    size_t asked = 0;
    for (; t.seen[LOST] == 0 && asked < 100000; asked++) {
        assert_int_equal(SSL_key_update(t.peer.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
        assert_int_equal(SSL_do_handshake(t.peer.ssl), 1);
        turn(&t);
    }
    assert_int_equal(t.seen[LOST], 1);
    assert_string_equal(t.why, "the server does not read what it asked for");
    assert_true(asked > 1000);
    stop(&t);
    free(data);
}

static void a_renegotiation_holds_a_write(void **state)
{
    (void)state;
    struct test t;
    struct buf out = BUF_INIT;
    char data[CHUNK];
    go_open(&t, TLS1_2_VERSION);
    assert_int_equal(SSL_renegotiate(t.peer.ssl), 1);
    assert_int_equal(SSL_do_handshake(t.peer.ssl), 1);
    size_t n = tls_peer_out(&t.peer, data, sizeof data);
    assert_int_equal(send(t.fd, data, n, 0), n);
    while (recv(t.fd, data, 1, MSG_PEEK) != 1) /* its hello has come */
        (void)uv_run(&t.loop, UV_RUN_NOWAIT);
    (void)uv_run(&t.loop, UV_RUN_NOWAIT);
    size_t before = t.seen[SENT];
    buf_str(&out, "waits");
    assert_int_equal(redis_conn_send(t.conn, &out), 0);
    assert_int_equal(out.len, 5);
    UNTIL(&t, t.seen[SENT] > before);
    for (int i = 0; i < 10000 && out.len > 0; i++) {
        turn(&t);
        assert_int_equal(redis_conn_send(t.conn, &out), 0);
    }
    assert_int_equal(out.len, 0);
    UNTIL(&t, t.back.len == 5);
    buf_finish(&out);
    stop(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_ways),
        cmocka_unit_test(large_writes),
        cmocka_unit_test(ends),
        cmocka_unit_test(cut_at_every_byte_of_the_handshake),
        cmocka_unit_test(close_in_each_callback),
        cmocka_unit_test(close_after_some_turns),
        cmocka_unit_test(answers_are_bounded),
        cmocka_unit_test(a_renegotiation_holds_a_write),
    };
    return cmocka_run_group_tests(tests, start_rig, stop_rig);
}
