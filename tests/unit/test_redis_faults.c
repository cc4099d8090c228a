#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "redis_rig.h"
#include "tickerd/base/clock.h"
#include "tickerd/base/log.h"

/* The source on a server that is killed, stopped, silent, no Redis or not there. */

enum { INTERVAL = 100, TIMEOUT = 250 };

static struct rig_server server;

static int start_server(void **state)
{
    (void)state;
    rig_server_start(&server);
    return 0;
}

static int stop_server(void **state)
{
    (void)state;
    rig_server_stop(&server);
    return 0;
}

static void start_unix(struct rig_client *c)
{
    char url[128];
    (void)snprintf(url, sizeof url, "unix://%s", server.path);
    rig_client_start(c, url, INTERVAL, TIMEOUT);
}

static void start_tcp(struct rig_client *c, const char *host, int port)
{
    char url[128];
    (void)snprintf(url, sizeof url, "redis://%s:%d", host, port);
    rig_client_start(c, url, INTERVAL, TIMEOUT);
}

static void go(struct rig_client *c)
{
    assert_int_equal(c->source->ops->start(c->source), 0);
}

static void go_up(struct rig_client *c)
{
    rig_on(c, SOURCE_CHANNEL, "news");
    rig_on(c, SOURCE_PATTERN, "n*");
    go(c);
    RIG_UNTIL(c, c->up && c->seen[RIG_ON] == 2);
}

/* Up for the nth time, with all acknowledgements, and messages flow. */
static void works_again(struct rig_client *c, size_t nth)
{
    RIG_UNTIL(c, c->seen[RIG_UP] == nth);
    assert_true(rig_is_on(c, SOURCE_CHANNEL, "news") && rig_is_on(c, SOURCE_PATTERN, "n*"));
    assert_int_equal(c->seen[RIG_ON], 2 * nth);
    assert_int_equal(c->seen[RIG_DOWN], nth - 1);
    size_t before = c->seen[RIG_MESSAGE];
    assert_int_equal(rig_command(&server, "PUBLISH news hello"), 2);
    RIG_UNTIL(c, c->seen[RIG_MESSAGE] == before + 2);
}

static void killed_and_run_again(void **state)
{
    (void)state;
    for (int tcp = 0; tcp < 2; tcp++) {
        struct rig_client c;
        if (tcp)
            start_tcp(&c, "localhost", server.port);
        else
            start_unix(&c);
        go_up(&c);
        uint64_t alive = clock_mono_us();
        rig_server_kill(&server);
        RIG_UNTIL(&c, c.seen[RIG_DOWN] == 1);
        assert_true(c.last_heard > alive - 10 * (uint64_t)US_PER_S);
        assert_true(c.last_heard <= clock_mono_us());
        rig_off(&c, SOURCE_CHANNEL, "unheard of");
        rig_server_run(&server);
        works_again(&c, 2);
        rig_client_stop(&c);
    }
}

static void stopped_and_continued(void **state)
{
    (void)state;
    struct rig_client c;
    start_tcp(&c, "127.0.0.1", server.port);
    go_up(&c);
    uint64_t before = clock_mono_us();
    assert_int_equal(kill(server.pid, SIGSTOP), 0);
    RIG_UNTIL(&c, c.seen[RIG_DOWN] == 1);
    uint64_t took = clock_mono_us() - before;
    assert_non_null(strstr(c.reason, "PING"));
    assert_true(took > TIMEOUT * US_PER_MS);
    assert_true(c.last_heard + TIMEOUT * US_PER_MS <= clock_mono_us());
    assert_int_equal(kill(server.pid, SIGCONT), 0);
    works_again(&c, 2);
    rig_client_stop(&c);
}

/* A quiet connection is asked for a sign of life at every interval, be the time-out longer or not.
 */
static void pings_come_at_the_interval(void **state)
{
    (void)state;
    struct rig_client c;
    start_unix(&c);
    go_up(&c);
    size_t heard = c.seen[RIG_BATCH_END];
    uint64_t start = uv_hrtime();
    RIG_UNTIL(&c, c.seen[RIG_BATCH_END] == heard + 5);
    uint64_t took_ms = (uv_hrtime() - start) / 1000000;
    assert_true(took_ms >= 4 * INTERVAL && took_ms < 5 * TIMEOUT - INTERVAL);
    rig_client_stop(&c);
}

/* Silence that ends in time, and answers that waited while our own loop was stalled. */
static void silence_that_is_none(void **state)
{
    (void)state;
    struct rig_client c;
    start_tcp(&c, "127.0.0.1", server.port);
    go_up(&c);
    size_t heard = c.seen[RIG_BATCH_END];
    RIG_UNTIL(&c, c.seen[RIG_BATCH_END] >= heard + 2);
    for (int i = 0; i < 3; i++) {
        heard = c.seen[RIG_BATCH_END];
        (void)usleep((INTERVAL + 20) * US_PER_MS);
        (void)uv_run(&c.loop, UV_RUN_NOWAIT); /* this sends PING */
        (void)usleep((TIMEOUT + 50) * US_PER_MS);
        RIG_UNTIL(&c, c.seen[RIG_BATCH_END] > heard);
    }
    assert_int_equal(c.seen[RIG_DOWN], 0);
    rig_client_stop(&c);
}

static void client_kill(void **state)
{
    (void)state;
    struct rig_client c;
    start_unix(&c);
    go_up(&c);
    for (size_t nth = 2; nth <= 4; nth++) {
        assert_int_equal(rig_command(&server, "CLIENT KILL TYPE pubsub"), 1);
        works_again(&c, nth);
    }
    rig_client_stop(&c);
}

static void client_pause(void **state)
{
    (void)state;
    struct rig_client c;
    start_unix(&c);
    go_up(&c);
    rig_command(&server, "CLIENT PAUSE 600 ALL");
    RIG_UNTIL(&c, c.seen[RIG_DOWN] == 1);
    RIG_UNTIL(&c, c.seen[RIG_UP] == 2);
    works_again(&c, 2);
    rig_client_stop(&c);
}

/* Random wishes, of which some are refused, with connections cut in between: in the end the server
 * has what is wanted and allowed. */
static void churn(void **state)
{
    (void)state;
    enum { NAMES = 12, ALLOWED = 10, ROUNDS = 10000 };
    struct rig_client c;
    bool wanted[2][NAMES] = {{false}};
    char name[32], url[128];
    rig_command(&server, "ACL SETUSER joe reset on nopass &last +@pubsub +ping");
    for (int n = 0; n < ALLOWED; n++)
        rig_command(&server, "ACL SETUSER joe &churn.%d", n);
    (void)snprintf(url, sizeof url, "unix://joe:x@%s", server.path);
    rig_client_start(&c, url, INTERVAL, TIMEOUT);
    go(&c);
    srandom(3);
    for (int i = 0; i < ROUNDS; i++) {
        int kind = (int)(random() % 2), n = (int)(random() % NAMES);
        (void)snprintf(name, sizeof name, "churn.%d", n);
        wanted[kind][n] = random() % 2 != 0;
        if (wanted[kind][n])
            rig_on(&c, (enum source_sub)kind, name);
        else
            rig_off(&c, (enum source_sub)kind, name);
        if (random() % 8 == 0)
            (void)uv_run(&c.loop, random() % 2 ? UV_RUN_ONCE : UV_RUN_NOWAIT);
        if (i % (ROUNDS / 5) == 0)
            RIG_UNTIL(&c, c.up);
        if (i % (ROUNDS / 5) == ROUNDS / 10)
            rig_command(&server, "CLIENT KILL TYPE pubsub");
    }
    rig_on(&c, SOURCE_CHANNEL, "last");
    RIG_UNTIL(&c, c.up && rig_is_on(&c, SOURCE_CHANNEL, "last"));
    for (int i = 0; i < 2 * NAMES; i++) {
        enum source_sub kind = i < NAMES ? SOURCE_CHANNEL : SOURCE_PATTERN;
        int n = i % NAMES;
        bool on = wanted[kind][n] && n < ALLOWED;
        (void)snprintf(name, sizeof name, "churn.%d", n);
        RIG_UNTIL(&c, rig_is_on(&c, kind, name) == on);
        if (kind == SOURCE_CHANNEL)
            assert_true(rig_subscribed(&server, name) == on);
    }
    assert_int_equal(rig_command(&server, "PUBSUB NUMPAT"), strmap_count(&c.on[SOURCE_PATTERN]));
    assert_true(c.seen[RIG_REFUSED] > 0 && c.seen[RIG_OFF] > 100 && c.seen[RIG_DOWN] > 0);
    rig_client_stop(&c);
}

static void nobody_there(void **state)
{
    (void)state;
    static const char *const urls[] = {"unix:///nonexistent/socket", "redis://nosuch.invalid:1",
                                       "redis://127.0.0.1:1", "redis://[::1]:1",
                                       "rediss://127.0.0.1:1"};
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        struct rig_client c;
        rig_client_start(&c, urls[i], INTERVAL, TIMEOUT);
        rig_on(&c, SOURCE_CHANNEL, "news");
        go(&c);
        assert_int_equal(c.seen[RIG_DOWN], 0);
        RIG_UNTIL(&c, c.seen[RIG_DOWN] == 1);
        uint64_t end = uv_hrtime() + 200000000U; /* several more attempts, not reported again */
        RIG_UNTIL(&c, uv_hrtime() > end);
        assert_int_equal(c.seen[RIG_DOWN], 1);
        rig_client_stop(&c);
    }
}

/* Accepts, by the kernel's backlog, and says nothing; then says something that is not RESP. */
static void silent_or_no_redis(void **state)
{
    (void)state;
    int port;
    int listener = rig_listen(&port);
    struct rig_client c;
    start_tcp(&c, "127.0.0.1", port);
    go(&c);
    RIG_UNTIL(&c, c.seen[RIG_DOWN] == 1);
    assert_non_null(strstr(c.reason, "no answer"));
    rig_client_stop(&c);
    (void)close(listener);

    listener = rig_listen(&port);
    start_tcp(&c, "127.0.0.1", port);
    go(&c);
    static const char page[] = "HTTP/1.0 400 Bad Request\r\n\r\n";
    (void)uv_run(&c.loop, UV_RUN_ONCE);
    int peer = accept(listener, NULL, NULL);
    assert_true(peer >= 0);
    assert_int_equal(write(peer, page, sizeof page - 1), sizeof page - 1);
    RIG_UNTIL(&c, c.seen[RIG_DOWN] == 1);
    assert_non_null(strstr(c.reason, "not the Redis protocol"));
    (void)close(peer);
    rig_client_stop(&c);
    (void)close(listener);
}

static void close_after_some_turns(void **state)
{
    (void)state;
    const char *const hosts[] = {"127.0.0.1", "localhost"};
    for (int kind = 0; kind < 4; kind++) {
        for (int turns = -1; turns < 20; turns++) {
            struct rig_client c;
            if (kind == 3)
                start_unix(&c);
            else if (kind == 2)
                start_tcp(&c, "127.0.0.1", 1);
            else
                start_tcp(&c, hosts[kind], server.port);
            rig_on(&c, SOURCE_CHANNEL, "news");
            rig_on(&c, SOURCE_PATTERN, "n*");
            if (turns >= 0)
                go(&c);
            for (int i = 0; i < turns; i++)
                (void)uv_run(&c.loop, UV_RUN_ONCE);
            rig_client_stop(&c);
        }
    }
}

static void close_in_each_callback(void **state)
{
    (void)state;
    rig_command(&server, "ACL SETUSER joe reset on nopass &news +subscribe +unsubscribe +ping");
    for (int at = 0; at < RIGS; at++) {
        struct rig_client c;
        char url[128];
        (void)snprintf(url, sizeof url, "unix://joe:x@%s", server.path);
        rig_client_start(&c, url, INTERVAL, TIMEOUT);
        c.close_at = (enum rig_event)at;
        rig_on(&c, SOURCE_CHANNEL, "news");
        if (at == RIG_REFUSED)
            rig_on(&c, SOURCE_CHANNEL, "shut");
        go(&c);
        RIG_UNTIL(&c, c.closed || c.up);
        if (at == RIG_OFF)
            rig_off(&c, SOURCE_CHANNEL, "news");
        if (at == RIG_MESSAGE)
            rig_command(&server, "PUBLISH news hello");
        if (at == RIG_DOWN)
            rig_command(&server, "CLIENT KILL TYPE pubsub");
        RIG_UNTIL(&c, c.closed);
        assert_int_equal(c.seen[at], 1);
        rig_client_stop(&c);
    }
}

static void close_at_the_first_down(void **state)
{
    (void)state;
    static const char *const urls[] = {"unix:///nonexistent/socket", "redis://nosuch.invalid:1",
                                       "redis://localhost:1", "redis://127.0.0.1:1"};
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        struct rig_client c;
        rig_client_start(&c, urls[i], INTERVAL, TIMEOUT);
        c.close_at = RIG_DOWN;
        go(&c);
        RIG_UNTIL(&c, c.closed);
        rig_client_stop(&c);
    }
}

int main(void)
{
    log_setup(LOG_ERROR, LOG_TEXT);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(killed_and_run_again),
        cmocka_unit_test(stopped_and_continued),
        cmocka_unit_test(pings_come_at_the_interval),
        cmocka_unit_test(silence_that_is_none),
        cmocka_unit_test(client_kill),
        cmocka_unit_test(client_pause),
        cmocka_unit_test(churn),
        cmocka_unit_test(nobody_there),
        cmocka_unit_test(silent_or_no_redis),
        cmocka_unit_test(close_after_some_turns),
        cmocka_unit_test(close_in_each_callback),
        cmocka_unit_test(close_at_the_first_down),
    };
    return cmocka_run_group_tests(tests, start_server, stop_server);
}
