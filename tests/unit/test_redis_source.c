#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "redis_rig.h"
#include "tickerd/base/log.h"

/* The source on a real server that behaves; see test_redis_faults.c for one that does not. */

enum { INTERVAL = 500, TIMEOUT = 3000 };

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

static void start(struct rig_client *c, const char *login)
{
    char url[256];
    (void)snprintf(url, sizeof url, "unix://%s%s", login, server.path);
    rig_client_start(c, url, INTERVAL, TIMEOUT);
}

static void go(struct rig_client *c)
{
    assert_int_equal(c->source->ops->start(c->source), 0);
}

static void converse(const char *url)
{
    struct rig_client c;
    rig_client_start(&c, url, INTERVAL, TIMEOUT);
    rig_on(&c, SOURCE_CHANNEL, "news");
    rig_on(&c, SOURCE_PATTERN, "n*");
    go(&c);
    RIG_UNTIL(&c, c.seen[RIG_UP] == 1);
    assert_int_equal(c.seen[RIG_ON], 2);
    assert_int_equal(c.seen[RIG_DOWN], 0);
    assert_int_equal(rig_command(&server, "PUBLISH news hello"), 2);
    RIG_UNTIL(&c, c.seen[RIG_MESSAGE] == 2);
    assert_string_equal(c.channel, "news");
    assert_string_equal(c.payload, "hello");
    assert_string_equal(c.pattern, "n*");
    assert_true(c.seen[RIG_BATCH_END] > 0);
    rig_off(&c, SOURCE_CHANNEL, "news");
    RIG_UNTIL(&c, c.seen[RIG_OFF] == 1);
    rig_on(&c, SOURCE_CHANNEL, "");
    RIG_UNTIL(&c, c.seen[RIG_ON] == 3);
    assert_int_equal(rig_command(&server, "PUBLISH %b %b", "", (size_t)0, "", (size_t)0), 1);
    RIG_UNTIL(&c, c.seen[RIG_MESSAGE] == 3);
    assert_string_equal(c.pattern, "");
    assert_int_equal(c.payload_len, 0);
    rig_client_stop(&c);
}

static void every_kind_of_address(void **state)
{
    (void)state;
    char url[256];
    (void)snprintf(url, sizeof url, "unix://%s", server.path);
    converse(url);
    (void)snprintf(url, sizeof url, "redis://127.0.0.1:%d", server.port);
    converse(url);
    (void)snprintf(url, sizeof url, "redis://localhost:%d", server.port);
    converse(url);
    (void)snprintf(url, sizeof url, "redis://[::1]:%d", server.port);
    redisContext *v6 = redisConnect("::1", server.port);
    assert_non_null(v6);
    if (v6->err == 0)
        converse(url);
    else
        print_message("this machine has no ::1: IPv6 is not tested\n");
    redisFree(v6);
}

static void passwords(void **state)
{
    (void)state;
    struct rig_client c;
    start(&c, ":nobody-asked@");
    go(&c);
    RIG_UNTIL(&c, c.seen[RIG_DOWN] == 1);
    assert_non_null(strstr(c.reason, "requirepass"));
    rig_command(&server, "CONFIG SET requirepass right");
    rig_client_stop(&c);

    start(&c, ":right@");
    go(&c);
    RIG_UNTIL(&c, c.seen[RIG_UP] == 1);
    rig_client_stop(&c);

    start(&c, "");
    go(&c);
    RIG_UNTIL(&c, c.seen[RIG_DOWN] == 1);
    assert_non_null(strstr(c.reason, "NOAUTH"));
    rig_command(&server, "CONFIG SET requirepass %s", "");
    RIG_UNTIL(&c, c.seen[RIG_UP] == 1);
    rig_client_stop(&c);
}

static long long connections(void)
{
    redisReply *r = redisCommand(server.admin, "INFO stats");
    assert_non_null(r);
    const char *key = "total_connections_received:";
    const char *at = strstr(r->str, key);
    assert_non_null(at);
    long long n = atoll(at + strlen(key));
    freeReplyObject(r);
    return n;
}

static void wrong_password_corrected(void **state)
{
    (void)state;
    struct rig_client c;
    rig_command(&server, "CONFIG SET requirepass right");
    start(&c, ":left@");
    rig_on(&c, SOURCE_CHANNEL, "news");
    go(&c);
    RIG_UNTIL(&c, c.seen[RIG_DOWN] == 1);
    assert_non_null(strstr(c.reason, "WRONGPASS"));
    assert_null(strstr(c.reason, "left"));
    long long before = connections();
    uint64_t end = uv_hrtime() + 400000000U;
    RIG_UNTIL(&c, uv_hrtime() > end);
    long long attempts = connections() - before;
    assert_true(attempts >= 1 && attempts <= 8); /* every 50 ms at most, then 100 ms */
    rig_command(&server, "CONFIG SET requirepass left");
    RIG_UNTIL(&c, c.seen[RIG_UP] == 1);
    assert_true(rig_is_on(&c, SOURCE_CHANNEL, "news"));
    assert_int_equal(c.seen[RIG_DOWN], 1);
    rig_command(&server, "CONFIG SET requirepass %s", "");
    rig_client_stop(&c);
}

static void user_and_permissions(void **state)
{
    (void)state;
    struct rig_client c;
    rig_command(&server, "ACL SETUSER joe reset on >p@ss &open +subscribe +unsubscribe +psubscribe "
                         "+punsubscribe +ping");
    start(&c, "joe:p%40ss@");
    rig_on(&c, SOURCE_CHANNEL, "shut");
    rig_on(&c, SOURCE_CHANNEL, "open");
    rig_on(&c, SOURCE_PATTERN, "sh*");
    go(&c);
    RIG_UNTIL(&c, c.seen[RIG_UP] == 1);
    assert_int_equal(c.seen[RIG_ON], 1);
    assert_int_equal(c.seen[RIG_REFUSED], 2);
    assert_non_null(strstr(c.reason, "NOPERM"));
    RIG_UNTIL(&c, c.seen[RIG_REFUSED] >= 6);
    rig_command(&server, "ACL SETUSER joe &shut &sh*");
    RIG_UNTIL(&c, c.seen[RIG_ON] == 3);
    assert_true(rig_is_on(&c, SOURCE_PATTERN, "sh*"));
    assert_int_equal(rig_command(&server, "PUBLISH shut up"), 2);
    RIG_UNTIL(&c, c.seen[RIG_MESSAGE] == 2);
    assert_int_equal(c.seen[RIG_DOWN], 0);
    /* A right that is taken away: Redis cuts the connection, and it is refused from then on. */
    size_t refused = c.seen[RIG_REFUSED];
    rig_command(&server, "ACL SETUSER joe resetchannels &open");
    RIG_UNTIL(&c, c.seen[RIG_UP] == 2);
    assert_int_equal(c.seen[RIG_DOWN], 1);
    assert_true(c.seen[RIG_REFUSED] >= refused + 2);
    rig_client_stop(&c);
}

static void too_many_clients(void **state)
{
    (void)state;
    char url[64];
    (void)snprintf(url, sizeof url, "redis://127.0.0.1:%d", server.port);
    rig_command(&server, "CONFIG SET maxclients 1");
    struct rig_client tcp, local;
    rig_client_start(&tcp, url, INTERVAL, TIMEOUT);
    start(&local, "");
    go(&tcp);
    go(&local);
    RIG_UNTIL(&tcp, tcp.seen[RIG_DOWN] == 1);
    RIG_UNTIL(&local, local.seen[RIG_DOWN] == 1);
    assert_non_null(strstr(local.reason, "maxclients"));
    assert_non_null(strstr(tcp.reason, "maxclients"));
    rig_command(&server, "CONFIG SET maxclients 1000");
    RIG_UNTIL(&tcp, tcp.seen[RIG_UP] == 1);
    RIG_UNTIL(&local, local.seen[RIG_UP] == 1);
    rig_client_stop(&tcp);
    rig_client_stop(&local);
}

/* Half of them before the connection, half after. */
static void ten_thousand_subscriptions(void **state)
{
    (void)state;
    enum { MANY = 10000 };
    struct rig_client c;
    char name[32];
    start(&c, "");
    for (int i = 0; i < MANY; i++) {
        if (i == MANY / 2) {
            go(&c);
            RIG_UNTIL(&c, c.seen[RIG_UP] == 1);
            assert_int_equal(c.seen[RIG_ON], MANY / 2);
        }
        (void)snprintf(name, sizeof name, "channel.%d", i);
        rig_on(&c, SOURCE_CHANNEL, name);
    }
    RIG_UNTIL(&c, c.seen[RIG_ON] == MANY);
    assert_int_equal(rig_command(&server, "PUBSUB CHANNELS"), MANY);
    for (int i = 0; i < MANY; i++) {
        (void)snprintf(name, sizeof name, "channel.%d", i);
        rig_off(&c, SOURCE_CHANNEL, name);
    }
    RIG_UNTIL(&c, c.seen[RIG_OFF] == MANY);
    assert_int_equal(rig_command(&server, "PUBSUB CHANNELS"), 0);
    rig_client_stop(&c);
}

static void five_megabytes(void **state)
{
    (void)state;
    enum { SIZE = 5 * 1024 * 1024 };
    char *big = malloc(SIZE);
    assert_non_null(big);
    uint64_t sum = 0;
    for (size_t i = 0; i < SIZE; i++) {
        big[i] = (char)('a' + i % 26);
        sum += (unsigned char)big[i];
    }
    struct rig_client c;
    start(&c, "");
    rig_on(&c, SOURCE_CHANNEL, "big");
    go(&c);
    RIG_UNTIL(&c, c.seen[RIG_UP] == 1);
    for (size_t i = 1; i <= 2; i++) {
        assert_int_equal(rig_command(&server, "PUBLISH big %b", big, (size_t)SIZE), 1);
        RIG_UNTIL(&c, c.seen[RIG_MESSAGE] == 2 * i - 1);
        assert_int_equal(c.payload_len, SIZE);
        assert_true(c.sum == sum);
        assert_int_equal(rig_command(&server, "PUBLISH big small"), 1);
        RIG_UNTIL(&c, c.seen[RIG_MESSAGE] == 2 * i);
        assert_string_equal(c.payload, "small");
    }
    rig_client_stop(&c);
    free(big);
}

static void hundred_thousand_in_order(void **state)
{
    (void)state;
    enum { MANY = 100000, BATCH = 5000 };
    struct rig_client c;
    start(&c, "");
    rig_on(&c, SOURCE_CHANNEL, "count");
    go(&c);
    RIG_UNTIL(&c, c.seen[RIG_UP] == 1);
    for (int i = 0; i < MANY; i += BATCH) {
        for (int k = i; k < i + BATCH; k++)
            assert_int_equal(redisAppendCommand(server.admin, "PUBLISH count %d", k), REDIS_OK);
        for (int k = 0; k < BATCH; k++) {
            void *reply = NULL;
            assert_int_equal(redisGetReply(server.admin, &reply), REDIS_OK);
            freeReplyObject(reply);
        }
        (void)uv_run(&c.loop, UV_RUN_NOWAIT);
    }
    RIG_UNTIL(&c, c.seen[RIG_MESSAGE] == MANY);
    assert_int_equal(c.out_of_order, 0);
    assert_true(c.seen[RIG_BATCH_END] < MANY / 10);
    rig_client_stop(&c);
}

int main(void)
{
    log_setup(LOG_ERROR, LOG_TEXT);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_address),    cmocka_unit_test(passwords),
        cmocka_unit_test(wrong_password_corrected), cmocka_unit_test(user_and_permissions),
        cmocka_unit_test(too_many_clients),         cmocka_unit_test(ten_thousand_subscriptions),
        cmocka_unit_test(five_megabytes),           cmocka_unit_test(hundred_thousand_in_order),
    };
    return cmocka_run_group_tests(tests, start_server, stop_server);
}
