#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/net/redis_replies.h"
#include "tickerd/base/err.h"

static redisReply *reply(const char *bytes)
{
    redisReader *reader = redisReaderCreate();
    void *r = NULL;
    assert_int_equal(redisReaderFeed(reader, bytes, strlen(bytes)), REDIS_OK);
    assert_int_equal(redisReaderGetReply(reader, &r), REDIS_OK);
    assert_non_null(r);
    redisReaderFree(reader);
    return r;
}

static void check_addr(const struct addr *a, const char *expected)
{
    struct buf text = BUF_INIT;
    addr_print(&text, a);
    assert_string_equal(buf_cstr(&text), expected);
    buf_finish(&text);
}

static void the_master_s_address(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        enum redis_master_answer answer;
        const char *addr;
    } cases[] = {
        {"*2\r\n$8\r\n10.0.0.1\r\n$4\r\n6379\r\n", REDIS_MASTER_AT, "10.0.0.1:6379"},
        {"*2\r\n$5\r\nfe::1\r\n$5\r\n65535\r\n", REDIS_MASTER_AT, "[fe::1]:65535"},
        {"*2\r\n+redis-1.example.org\r\n$1\r\n7\r\n", REDIS_MASTER_AT, "redis-1.example.org:7"},
        {"*-1\r\n", REDIS_MASTER_NIL, NULL},
        {"$-1\r\n", REDIS_MASTER_NIL, NULL},
        {"-IDONTKNOW I have not enough information\r\n", REDIS_MASTER_ERROR, NULL},
        {"-ERR no\r\n", REDIS_MASTER_ERROR, NULL},
        {"*2\r\n$8\r\n10.0.0.1\r\n:6379\r\n", REDIS_MASTER_NONSENSE, NULL},
        {"*2\r\n$8\r\n10.0.0.1\r\n$5\r\n65536\r\n", REDIS_MASTER_NONSENSE, NULL},
        {"*2\r\n$8\r\n10.0.0.1\r\n$1\r\n0\r\n", REDIS_MASTER_NONSENSE, NULL},
        {"*2\r\n$8\r\n10.0.0.1\r\n$0\r\n\r\n", REDIS_MASTER_NONSENSE, NULL},
        {"*2\r\n$0\r\n\r\n$4\r\n6379\r\n", REDIS_MASTER_NONSENSE, NULL},
        {"*2\r\n$3\r\na\nb\r\n$4\r\n6379\r\n", REDIS_MASTER_NONSENSE, NULL},
        {"*3\r\n$1\r\nh\r\n$1\r\n7\r\n$1\r\nx\r\n", REDIS_MASTER_NONSENSE, NULL},
        {"*2\r\n*-1\r\n*0\r\n", REDIS_MASTER_NONSENSE, NULL},
        {"*0\r\n", REDIS_MASTER_NONSENSE, NULL},
        {"+OK\r\n", REDIS_MASTER_NONSENSE, NULL},
        {":7\r\n", REDIS_MASTER_NONSENSE, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct addr a;
        redisReply *r = reply(cases[i].bytes);
        assert_int_equal(redis_read_master(r, &a), cases[i].answer);
        if (cases[i].addr != NULL)
            check_addr(&a, cases[i].addr);
        freeReplyObject(r);
    }
}

static bool read_switch(const char *text, struct addr *to)
{
    char bytes[512];
    (void)snprintf(bytes, sizeof bytes,
                   "*3\r\n$7\r\nmessage\r\n$14\r\n+switch-master\r\n$%zu\r\n%s\r\n", strlen(text),
                   text);
    redisReply *r = reply(bytes);
    bool is = redis_read_switch(r, "m", to);
    freeReplyObject(r);
    return is;
}

static void a_switch_of_masters(void **state)
{
    (void)state;
    static const char *const others[] = {
        "n 1.1.1.1 1 2.2.2.2 2",
        "mm 1.1.1.1 1 2.2.2.2 2",
        "m 1.1.1.1 1 2.2.2.2",
        "m",
        "m 1.1.1.1 1 2.2.2.2 x",
        "",
        " ",
        "m 1 2 3 4 5",
        "m 1.1.1.1 1  2",
        "M 1.1.1.1 1 2.2.2.2 2",
    };
    struct addr to;
    assert_true(read_switch("m 1.1.1.1 1 2.2.2.2 2", &to));
    check_addr(&to, "2.2.2.2:2");
    assert_true(read_switch("m a 1 ::2 2", &to));
    check_addr(&to, "[::2]:2");
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        assert_false(read_switch(others[i], &to));
    static const char *const odd[] = {
        "*2\r\n$4\r\npong\r\n$0\r\n\r\n",
        "*3\r\n:1\r\n:2\r\n:3\r\n",
        "+OK\r\n",
        "*3\r\n$7\r\nmessage\r\n$14\r\n+switch-master\r\n$-1\r\n",
        "*3\r\n$7\r\nmessage\r\n$5\r\n+sdown\r\n$21\r\nm 1.1.1.1 1 2.2.2.2 2\r\n",
    };
    for (size_t i = 0; i < 4; i++) {
        redisReply *r = reply(odd[i]);
        assert_false(redis_read_switch(r, "m", &to));
        assert_false(redis_is_subscribed(r));
        freeReplyObject(r);
    }
    redisReply *r = reply("*3\r\n$9\r\nsubscribe\r\n$14\r\n+switch-master\r\n:1\r\n");
    assert_true(redis_is_subscribed(r));
    freeReplyObject(r);
}

/* ---- CLUSTER NODES ---- */

static const struct addr via = {.host = "seed", .port = 7};

/* The addresses, the one of the server itself with a star. */
static void check_nodes(const char *text, const char *expected, size_t reached, size_t voters)
{
    struct redis_cluster c;
    struct buf found = BUF_INIT;
    char *exact = strndup(text, strlen(text)); /* so that reading past it is found out */
    assert_int_equal(redis_cluster_read(&c, exact, strlen(text), &via), ERR_OK);
    free(exact);
    for (size_t i = 0; i < c.count; i++) {
        buf_printf(&found, "%s%s", i > 0 ? " " : "", i == c.self ? "*" : "");
        addr_print(&found, &c.nodes[i]);
    }
    assert_string_equal(buf_cstr(&found), expected);
    assert_int_equal(c.reached, reached);
    assert_int_equal(c.voters, voters);
    bool alone = voters == 0 && c.count == 1; /* as after CLUSTER RESET */
    assert_int_equal(redis_cluster_has_majority(&c),
                     !alone && (voters == 0 || 2 * reached > voters));
    redis_cluster_finish(&c);
    buf_finish(&found);
}

static void nodes_of_a_cluster(void **state)
{
    (void)state;
    check_nodes("a 10.0.0.1:7000@17000 myself,master - 0 0 1 connected 0-5460\n"
                "b 10.0.0.2:7000@17000 master - 0 1 2 connected 5461-10922 [5462->-abc]\n"
                "c 10.0.0.3:7000@17000 master - 0 1 3 connected 10923-16383\n"
                "d 10.0.0.4:7000@17000 slave a 0 1 3 connected\n",
                "*10.0.0.1:7000 10.0.0.2:7000 10.0.0.3:7000 10.0.0.4:7000", 3, 3);
    /* Before Redis 4 there was no port of the bus; CRLF does no harm. */
    check_nodes("a 10.0.0.1:7000 master - 0 0 1 connected 1\r\n"
                "b 10.0.0.2:7000 myself,master - 0 1 2 connected 2\r\n",
                "10.0.0.1:7000 *10.0.0.2:7000", 2, 2);
    /* IPv6, names, and what newer versions append. */
    check_nodes("a fd00::1:7000@17000 myself,master - 0 0 1 connected 1\n"
                "b fd00::2:7000@17000,redis-2.example.org master - 0 0 1 connected 2\n"
                "c 10.0.0.3:7000@17000,,tls-port=0,shard-id=5 master - 0 0 1 connected 3\n",
                "*[fd00::1]:7000 [fd00::2]:7000 10.0.0.3:7000", 3, 3);
    /* A node that nobody has told its address is where we found it. */
    check_nodes("a :7000@17000 myself,master - 0 0 1 connected\n", "*seed:7000", 0, 0);
    check_nodes("a ?:7000@17000,redis-1 master - 0 0 1 connected\n"
                "b :7001@17001,redis-2 myself,master - 0 0 1 connected\n",
                "redis-1:7000 *redis-2:7001", 0, 0);
}

static void nodes_that_fail(void **state)
{
    (void)state;
    check_nodes("a 10.0.0.1:1@2 myself,master - 0 0 1 connected 1\n"
                "b 10.0.0.2:1@2 master,fail? - 0 1 2 connected 2\n"
                "c 10.0.0.3:1@2 master,fail - 0 1 3 disconnected 3\n"
                "d :0@0 master,noaddr - 0 1 3 disconnected 4\n"
                "e 10.0.0.5:1@2 handshake - 0 0 0 disconnected\n"
                "f 10.0.0.6:0@0 slave,noflags b 0 0 0 disconnected\n",
                "*10.0.0.1:1 10.0.0.2:1", 2, 4);
    check_nodes("a 10.0.0.1:1@2 myself,slave b 0 0 1 connected\n"
                "b 10.0.0.2:1@2 master,fail? - 0 1 2 connected 2\n"
                "c 10.0.0.3:1@2 master - 0 1 3 connected 3\n"
                "d 10.0.0.4:1@2 master - 0 1 3 connected 4\n",
                "*10.0.0.1:1 10.0.0.2:1 10.0.0.3:1 10.0.0.4:1", 2, 3);
}

static void nonsense_about_nodes(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "\n\n",
        "a",
        "a b c",
        "a b c d e f g h",
        "cluster_state:ok\r\ncluster_size:3\r\n",
        "a 10.0.0.1:1@2 myself,master - 0 0 1",
    };
    struct redis_cluster c;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        assert_int_equal(redis_cluster_read(&c, texts[i], strlen(texts[i]), &via), ERR_INVALID);
    check_nodes("a nothing myself,master - 0 0 1 connected 1\nb a\"b:7 master - 0 0 1 connected 1\n"
                "c h:70000 master - 0 0 1 connected 1\nd :1 slave - 0 0 1 disconnected",
                "seed:1", 3, 3);
    const struct addr local = {.is_unix = true, .host = "/run/redis.sock"};
    const char *text = "a :7000@17000 myself,master - 0 0 1 connected\n";
    assert_int_equal(redis_cluster_read(&c, text, strlen(text), &local), ERR_OK);
    assert_int_equal(c.count, 0);
    redis_cluster_finish(&c);
}

static void more_nodes_than_are_kept(void **state)
{
    (void)state;
    struct buf text = BUF_INIT;
    for (int i = 1; i <= 1000; i++)
        buf_printf(&text, "n%d h:%d@1 %smaster - 0 0 1 connected %d\n", i, i,
                   i == 900 ? "myself," : "", i);
    struct redis_cluster c;
    assert_int_equal(redis_cluster_read(&c, text.data, text.len, &via), ERR_OK);
    assert_int_equal(c.count, REDIS_NODES_MAX);
    assert_int_equal(c.self, c.count);
    assert_int_equal(c.voters, 1000);
    assert_int_equal(c.reached, 1000);
    redis_cluster_finish(&c);
    buf_finish(&text);
}

static void the_cluster_s_state(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum redis_cluster_state expected;
    } cases[] = {
        {"cluster_state:ok\r\ncluster_slots_assigned:16384\r\n", REDIS_STATE_OK},
        {"cluster_enabled:1\r\ncluster_state:fail\r\n", REDIS_STATE_FAIL},
        {"cluster_state:\r\n", REDIS_STATE_FAIL},
        {"cluster_state:ok", REDIS_STATE_OK},
        {"a 10.0.0.1:1@2 myself,master - 0 0 1 connected 1\n", REDIS_STATE_NONSENSE},
        {"", REDIS_STATE_NONSENSE},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(redis_cluster_read_state(cases[i].text, strlen(cases[i].text)),
                         cases[i].expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_master_s_address), cmocka_unit_test(a_switch_of_masters),
        cmocka_unit_test(nodes_of_a_cluster),   cmocka_unit_test(nodes_that_fail),
        cmocka_unit_test(nonsense_about_nodes), cmocka_unit_test(more_nodes_than_are_kept),
        cmocka_unit_test(the_cluster_s_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
