#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tickerd/base/clock.h"
#include "tickerd/daemon/manager.h"

/* ---- a manager's socket ---------------------------------------------------------------------- */

struct ear {
    int fd;
    char name[100]; /* for NOTIFY_SOCKET */
    char heard[4096];
};

static void ear_open(struct ear *e, bool abstract)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    int len = snprintf(e->name, sizeof e->name, "%stickerd-notify-%d", abstract ? "@" : "/tmp/",
                       (int)getpid());
    memcpy(sa.sun_path, e->name, (size_t)len);
    if (abstract)
        sa.sun_path[0] = '\0';
    e->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)len);
    assert_int_equal(bind(e->fd, (struct sockaddr *)&sa, abstract ? size : sizeof sa), 0);
    assert_int_equal(setenv("NOTIFY_SOCKET", e->name, 1), 0);
}

static const char *ear_next(struct ear *e)
{
    ssize_t n = recv(e->fd, e->heard, sizeof e->heard - 1, 0);
    e->heard[n > 0 ? n : 0] = '\0';
    return n < 0 ? NULL : e->heard;
}

static void ear_close(struct ear *e)
{
    (void)close(e->fd);
    (void)unlink(e->name);
}

/* ---- the protocol ---------------------------------------------------------------------------- */

static void test_paths_and_abstract_names(void **state)
{
    (void)state;
    for (int abstract = 0; abstract < 2; abstract++) {
        struct ear e;
        struct notify n;
        ear_open(&e, abstract);
        notify_init(&n);
        assert_null(getenv("NOTIFY_SOCKET"));
        notify_send(&n, "READY=1\nSTATUS=well", true);
        assert_string_equal(ear_next(&e), "READY=1\nSTATUS=well");
        notify_finish(&n);
        notify_send(&n, "READY=1", true);
        assert_null(ear_next(&e));
        ear_close(&e);
    }
}

static void test_off_where_there_is_nobody(void **state)
{
    (void)state;
    char long_name[300];
    memset(long_name, 'x', sizeof long_name);
    long_name[0] = '/';
    long_name[sizeof long_name - 1] = '\0';
    const char *const bad[] = {NULL, "", "/", "@", "relative", "vsock:2:1234", long_name};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct notify n;
        if (bad[i] != NULL)
            assert_int_equal(setenv("NOTIFY_SOCKET", bad[i], 1), 0);
        assert_int_equal(setenv("WATCHDOG_USEC", "1000000", 1), 0);
        notify_init(&n);
        assert_int_equal(n.fd, -1);
        assert_int_equal(n.watchdog_us, 0);
        assert_null(getenv("NOTIFY_SOCKET"));
        assert_null(getenv("WATCHDOG_USEC"));
        notify_send(&n, "READY=1", true);
        notify_finish(&n);
    }
    struct notify n;
    assert_int_equal(setenv("NOTIFY_SOCKET", "/tmp/tickerd-nobody-is-here", 1), 0);
    notify_init(&n);
    notify_send(&n, "READY=1", true);
    assert_int_equal(n.owed.len, 0); /* there is nobody to owe it to */
    notify_finish(&n);
}

static void test_the_watchdog_is_for_us(void **state)
{
    (void)state;
    char own[24];
    (void)snprintf(own, sizeof own, "%d", (int)getpid());
    const struct {
        const char *usec, *pid;
        uint64_t expected;
    } cases[] = {{"30000000", NULL, 30000000},
                 {"30000000", own, 30000000},
                 {"30000000", "1", 0},
                 {"30000000", "x", 0},
                 {"", NULL, 0},
                 {"0", own, 0},
                 {"-5", own, 0},
                 {"5s", own, 0},
                 {" 5", own, 0},
                 {"99999999999999999999", own, 0},
                 {NULL, own, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct ear e;
        struct notify n;
        ear_open(&e, true);
        if (cases[i].usec != NULL)
            assert_int_equal(setenv("WATCHDOG_USEC", cases[i].usec, 1), 0);
        if (cases[i].pid != NULL)
            assert_int_equal(setenv("WATCHDOG_PID", cases[i].pid, 1), 0);
        notify_init(&n);
        assert_int_equal(n.watchdog_us, cases[i].expected);
        assert_null(getenv("WATCHDOG_PID"));
        notify_finish(&n);
        ear_close(&e);
    }
}

/* The manager does not read: what must arrive does so when it reads again, in order. */
static void test_a_full_queue(void **state)
{
    (void)state;
    struct ear e;
    struct notify n;
    ear_open(&e, true);
    notify_init(&n);
    bool sent = true;
    for (int i = 0; i < 10000; i++)
        sent = notify_send(&n, "STATUS=full", false);
    assert_false(sent);
    assert_int_equal(n.owed.len, 0);
    assert_true(notify_send(&n, "RELOADING=1", true));
    assert_false(notify_send(&n, "WATCHDOG=1", false));
    notify_send(&n, "READY=1", true);
    for (int i = 0; i < 10000; i++)
        notify_send(&n, "STOPPING=1", true);
    assert_true(n.owed.len < 2000);
    notify_catch_up(&n);
    assert_true(n.owed.len > 0);
    while (ear_next(&e) != NULL)
        assert_string_equal(e.heard, "STATUS=full");
    notify_catch_up(&n);
    assert_int_equal(n.owed.len, 0);
    assert_true(notify_send(&n, "STATUS=last", false));
    static const char begin[] = "RELOADING=1\nREADY=1\nSTOPPING=1";
    assert_non_null(ear_next(&e));
    assert_memory_equal(e.heard, begin, sizeof begin - 1);
    assert_string_equal(ear_next(&e), "STATUS=last");
    assert_null(ear_next(&e));
    notify_finish(&n);
    ear_close(&e);
}

/* ---- the line -------------------------------------------------------------------------------- */

static void assert_line(const struct manager_facts *facts, const char *expected)
{
    struct buf line = BUF_INIT;
    manager_describe(&line, facts);
    assert_string_equal(buf_cstr(&line), expected);
    buf_finish(&line);
}

static void test_the_line(void **state)
{
    (void)state;
    struct manager_facts f = {.clients = 12034, .channels = 318, .refused = ""};
    assert_line(&f, "12,034 clients, 318 channels, redis up");
    f.clients = 1;
    f.channels = 1000;
    f.redis_away_us = 1;
    assert_line(&f, "1 client, 1,000 channels, redis away for 0 s");
    f.clients = 0;
    f.channels = 1;
    f.redis_away_us = 119 * (uint64_t)US_PER_S;
    assert_line(&f, "0 clients, 1 channel, redis away for 119 s");
    f.redis_away_us = 7199 * (uint64_t)US_PER_S;
    assert_line(&f, "0 clients, 1 channel, redis away for 119 min");
    f.redis_away_us = 86400 * (uint64_t)US_PER_S;
    f.clients = UINT64_C(1000000);
    assert_line(&f, "1,000,000 clients, 1 channel, redis away for 24 h");
    f.redis_away_us = 0;
    f.refused = "a.json:3: no";
    assert_line(&f, "1,000,000 clients, 1 channel, redis up; reload refused: a.json:3: no");
    f.draining = true;
    assert_line(&f, "draining, 1,000,000 clients left");
}

static void test_the_reason_of_a_refusal(void **state)
{
    (void)state;
    char long_one[1000];
    struct manager m;
    manager_init(&m); /* nobody is there; the reason is noted all the same */
    manager_reloaded(&m, "first\nsecond\n");
    assert_string_equal(buf_cstr(&m.refused), "first");
    manager_reloaded(&m, "tab\there \xff\x1b[m");
    assert_string_equal(buf_cstr(&m.refused), "tab?here \xef\xbf\xbd?[m");
    memset(long_one, 'x', sizeof long_one);
    memcpy(long_one + 199, "\xc3\xa4", 2);
    long_one[sizeof long_one - 1] = '\0';
    manager_reloaded(&m, long_one);
    assert_int_equal(m.refused.len, 199 + 3);
    assert_string_equal(buf_cstr(&m.refused) + 196, "xxx...");
    manager_reloaded(&m, NULL);
    assert_int_equal(m.refused.len, 0);
    manager_reloading(&m);
    manager_stopping(&m, 1);
    manager_close(&m);
    manager_finish(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paths_and_abstract_names),
        cmocka_unit_test(test_off_where_there_is_nobody),
        cmocka_unit_test(test_the_watchdog_is_for_us),
        cmocka_unit_test(test_a_full_queue),
        cmocka_unit_test(test_the_line),
        cmocka_unit_test(test_the_reason_of_a_refusal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
