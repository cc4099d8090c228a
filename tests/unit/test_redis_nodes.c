/* The directory of a cluster's nodes, with nodes that say whatever the test wants. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "tickerd/base/log.h"
#include "where_rig.h"

enum { NODES = 3 };

#define OK "$18\r\ncluster_state:ok\r\n\r\n"
#define FAIL "$20\r\ncluster_state:fail\r\n\r\n"
#define DENIED "-NOPERM this user has no permissions\r\n"

struct cluster {
    struct where_rig w;
    struct fake_redis at[NODES];
    const char *state[NODES];
    char nodes[NODES][1024]; /* the answer to CLUSTER NODES */
};

static const char *answer(struct fake_redis *f, const char *command)
{
    struct cluster *c = f->ctx;
    if (strcmp(command, "CLUSTER INFO") == 0)
        return c->state[f - c->at];
    assert_string_equal(command, "CLUSTER NODES");
    return c->nodes[f - c->at];
}

/* How node `i` sees the others: `flags[k]` are those of node k, without `myself`. */
static void sees(struct cluster *c, int i, const char *a, const char *b, const char *d)
{
    const char *flags[NODES] = {a, b, d};
    char text[900] = "";
    size_t n = 0;
    for (int k = 0; k < NODES; k++)
        n += (size_t)snprintf(text + n, sizeof text - n,
                              "id%d 127.0.0.1:%d@1 %s%s - 0 0 1 connected %d\n", k, c->at[k].port,
                              k == i ? "myself," : "", flags[k], k);
    (void)snprintf(c->nodes[i], sizeof c->nodes[i], "$%zu\r\n%s\r\n", n, text);
}

static void cluster_open(struct cluster *c)
{
    memset(c, 0, sizeof *c);
    where_init(&c->w);
    for (int i = 0; i < NODES; i++) {
        c->state[i] = OK;
        fake_redis_start(&c->at[i], &c->w.loop, answer, c);
    }
    for (int i = 0; i < NODES; i++)
        sees(c, i, "master", "master", "master");
    const struct redis_url url = {.addr = fake_redis_addr(&c->at[0])};
    struct redis_options options = {.url = &url};
    where_start(&c->w, &options);
}

static void cluster_close(struct cluster *c)
{
    for (int i = 0; i < NODES; i++)
        fake_redis_stop(&c->at[i]);
    where_finish(&c->w);
}

static void greet(struct cluster *c, enum redis_kind kind)
{
    const struct redis_hello hello = {kind, REDIS_MASTER};
    const char *why = NULL;
    assert_int_equal(c->w.where->ops->greeted(c->w.where, &hello, &why), 0);
}

/* Connected to node 0, which has told of the others. */
static void settle(struct cluster *c)
{
    assert_int_equal(where_ask(&c->w), c->at[0].port);
    greet(c, REDIS_CLUSTER_NODE);
    assert_true(c->w.where->many_orders);
    c->w.where->ops->up(c->w.where);
    WHERE_UNTIL(&c->w, fake_redis_heard(&c->at[0], "CLUSTER NODES\n") == 1);
    where_run(&c->w, 30);
}

static void no_cluster(void **state)
{
    (void)state;
    struct cluster c;
    cluster_open(&c);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(where_ask(&c.w), c.at[0].port);
        if (i > 1) {
            greet(&c, i % 2 == 0 ? REDIS_STANDALONE : REDIS_KIND_UNKNOWN);
            c.w.where->ops->up(c.w.where);
        }
        where_run(&c.w, 20);
        c.w.where->ops->down(c.w.where);
    }
    assert_false(c.w.where->many_orders);
    assert_int_equal(c.at[0].commands, 0);
    const struct redis_hello sentinel = {REDIS_SENTINEL, REDIS_ROLE_UNKNOWN};
    const char *why = NULL;
    assert_int_not_equal(c.w.where->ops->greeted(c.w.where, &sentinel, &why), 0);
    assert_non_null(strstr(why, "redis.sentinels"));
    cluster_close(&c);
}

/* After a loss another node, then the configured one, then those not tried for longest. */
static void another_node_after_a_loss(void **state)
{
    (void)state;
    struct cluster c;
    cluster_open(&c);
    settle(&c);
    int tried[6];
    c.w.where->ops->down(c.w.where);
    for (int i = 0; i < 6; i++) {
        tried[i] = where_ask(&c.w);
        where_run(&c.w, 2);
        c.w.where->ops->down(c.w.where);
    }
    assert_int_not_equal(tried[0], c.at[0].port);
    assert_int_equal(tried[1], c.at[0].port);
    assert_int_not_equal(tried[2], c.at[0].port);
    assert_int_not_equal(tried[2], tried[0]);
    assert_int_equal(tried[3], c.at[0].port);
    assert_int_equal(tried[4], tried[0]);
    cluster_close(&c);
}

static void seeds(void **state)
{
    (void)state;
    struct cluster c;
    cluster_open(&c);
    where_close(&c.w);
    c.w.closed = false;
    const struct redis_url url = {.addr = fake_redis_addr(&c.at[0])};
    const struct addr more[] = {fake_redis_addr(&c.at[1]), fake_redis_addr(&c.at[0]),
                                fake_redis_addr(&c.at[2])};
    struct redis_options options = {.url = &url, .nodes = more, .node_count = 3};
    where_start(&c.w, &options);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(where_ask(&c.w), c.at[i % 3].port);
        where_run(&c.w, 2);
        c.w.where->ops->down(c.w.where);
    }
    cluster_close(&c);
}

/* Slots are missing, but the node sees most of the others: Pub/Sub is fine. */
static void failing_is_not_cut_off(void **state)
{
    (void)state;
    struct cluster c;
    cluster_open(&c);
    settle(&c);
    c.state[0] = FAIL;
    sees(&c, 0, "master", "master,fail", "master");
    where_run(&c.w, 800);
    assert_true(fake_redis_heard(&c.at[0], "CLUSTER NODES\n") > 2);
    assert_int_equal(c.w.seen[WHERE_CHANGED], 0);
    assert_int_equal(c.at[2].commands, 0);
    cluster_close(&c);
}

static void cut_off(struct cluster *c)
{
    for (int i = 0; i < NODES; i++)
        c->state[i] = FAIL;
    sees(c, 0, "master", "master,fail?", "master,fail?");
}

static void to_a_better_one(void **state)
{
    (void)state;
    struct cluster c;
    cluster_open(&c);
    settle(&c);
    cut_off(&c);
    sees(&c, 1, "master,fail", "master", "master,fail?"); /* no better off */
    sees(&c, 2, "master,fail", "master", "master");
    WHERE_UNTIL(&c.w, c.w.seen[WHERE_CHANGED] == 1);
    assert_non_null(strstr(c.w.why, "cut off"));
    c.w.where->ops->down(c.w.where);
    assert_int_equal(where_ask(&c.w), c.at[2].port);
    cluster_close(&c);
}

/* There is no better one: kept, and left once it is whole again. */
static void whole_again(void **state)
{
    (void)state;
    struct cluster c;
    cluster_open(&c);
    settle(&c);
    cut_off(&c);
    sees(&c, 1, "master,fail", "master", "master,fail?");
    fake_redis_stop(&c.at[2]);
    where_run(&c.w, 1200);
    assert_true(fake_redis_heard(&c.at[1], "CLUSTER NODES\n") > 0);
    assert_int_equal(c.w.seen[WHERE_CHANGED], 0);
    c.state[0] = OK;
    sees(&c, 0, "master", "master", "master");
    WHERE_UNTIL(&c.w, c.w.seen[WHERE_CHANGED] == 1);
    assert_non_null(strstr(c.w.why, "with its cluster again"));
    c.w.where->ops->down(c.w.where);
    assert_int_equal(where_ask(&c.w), c.at[0].port);
    cluster_close(&c);
}

static void denied(void **state)
{
    (void)state;
    struct cluster c;
    cluster_open(&c);
    c.state[0] = DENIED;
    (void)snprintf(c.nodes[0], sizeof c.nodes[0], DENIED);
    settle(&c);
    size_t commands = c.at[0].commands;
    where_run(&c.w, 800);
    assert_int_equal(c.at[0].commands, commands);
    c.w.where->ops->down(c.w.where);
    assert_int_equal(where_ask(&c.w), c.at[0].port);
    cluster_close(&c);
}

/* A control connection that fails is no reason to leave; it is made anew. */
static void no_answers(void **state)
{
    (void)state;
    static const char *const answers[] = {NULL,     "",  "nonsense", "+OK\r\n", "$3\r\nabc\r\n",
                                          "*0\r\n", FAIL};
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
        struct cluster c;
        cluster_open(&c);
        settle(&c);
        c.state[0] = answers[i];
        (void)snprintf(c.nodes[0], sizeof c.nodes[0], "$3\r\nabc\r\n");
        where_run(&c.w, 900);
        assert_int_equal(c.w.seen[WHERE_CHANGED], 0);
        assert_true(c.at[0].commands < 60);
        size_t commands = c.at[0].commands;
        c.state[0] = OK;
        WHERE_UNTIL(&c.w, c.at[0].commands > commands + 2);
        cluster_close(&c);
    }
}

static void closed_in_a_call_back(void **state)
{
    (void)state;
    struct cluster c;
    cluster_open(&c);
    settle(&c);
    c.w.close_at = WHERE_CHANGED;
    cut_off(&c);
    WHERE_UNTIL(&c.w, c.w.closed);
    where_run(&c.w, 50);
    cluster_close(&c);
}

int main(void)
{
    log_setup(LOG_ERROR, LOG_TEXT);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_cluster),
        cmocka_unit_test(another_node_after_a_loss),
        cmocka_unit_test(seeds),
        cmocka_unit_test(failing_is_not_cut_off),
        cmocka_unit_test(to_a_better_one),
        cmocka_unit_test(whole_again),
        cmocka_unit_test(denied),
        cmocka_unit_test(no_answers),
        cmocka_unit_test(closed_in_a_call_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
