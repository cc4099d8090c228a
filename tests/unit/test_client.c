#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "config_util.h"
#include "tickerd/base/clock.h"
#include "tickerd/daemon/access.h"
#include "tickerd/daemon/client.h"

enum { MANY = CLIENT_REQUESTS_EXTRA + 8 };

static uint64_t now;

struct place {
    struct config *config;
    struct tally *tally;
};

static void begin(struct place *p, const char *const *settings)
{
    p->config = build_ok(NULL, NULL, settings);
    p->tally = tally_create();
    assert_non_null(p->tally);
}

static void end(struct place *p)
{
    assert_int_equal(tally_count(p->tally), 0);
    tally_destroy(p->tally);
    config_destroy(p->config);
}

static struct netaddr address(const char *text)
{
    struct netaddr a = {.is_unix = strcmp(text, "unix") == 0};
    assert_true(a.is_unix || netaddr_parse(&a, text, strlen(text)));
    return a;
}

static struct client *come(struct place *p, const char *peer)
{
    struct netaddr a = address(peer);
    return client_create(p->config, p->tally, &a, &a);
}

/* It asks, with these headers ("": none). */
static void ask(struct place *p, struct client *c, const char *headers)
{
    char text[400];
    int n = snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: x\r\n%s\r\n", headers);
    struct httpreq *r = httpreq_create(1000);
    assert_int_equal(httpreq_feed(r, text, (size_t)n, NULL), HTTPREQ_DONE);
    assert_true(client_asks(c, p->config, r));
    httpreq_destroy(r);
}

static enum client_verdict enter(struct place *p, struct client *c)
{
    uint64_t wait;
    return client_enter(c, p->config, true, now, &wait);
}

static struct client *open_one(struct place *p, const char *peer, const char *headers,
                               const char *sub, enum client_verdict expected)
{
    struct client *c = come(p, peer);
    assert_non_null(c);
    ask(p, c, headers);
    client_subject(c, sub, sub == NULL ? 0 : strlen(sub));
    assert_int_equal(enter(p, c), expected);
    return c;
}

static void leave(struct client *c)
{
    client_destroy(c, NULL, now);
}

static void test_wanted(void **state)
{
    (void)state;
    static const char *const keys[][3] = {{NULL},
                                          {"proxy.trusted=[\"unix\"]", "admin=null", NULL},
                                          {"proxy.trusted=[\"unix\"]", NULL}, /* it is shown */
                                          {"log.access=true", NULL},
                                          {"limits.clients_per_ip=1", NULL},
                                          {"limits.clients_per_subject=1", NULL},
                                          {"limits.replay_per_minute=1", NULL}};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        struct config *c = build_ok(NULL, NULL, keys[i]);
        assert_int_equal(client_wanted(c), i >= 2);
        config_destroy(c);
    }
    uint64_t wait;
    struct config *c = build_ok(NULL, NULL, keys[6]);
    assert_true(client_asks(NULL, c, NULL));
    assert_int_equal(client_enter(NULL, c, true, now, &wait), CLIENT_WELCOME);
    client_status(NULL, 200);
    client_subject(NULL, "x", 1);
    client_replayed(NULL, c, 1, now);
    client_caught_up(NULL);
    client_destroy(NULL, NULL, now);
    config_destroy(c);
}

static void test_subjects(void **state)
{
    (void)state;
    const char *settings[] = {"limits.clients_per_subject=2", "limits.clients_per_ip=3", NULL};
    struct place p;
    begin(&p, settings);
    struct client *a = open_one(&p, "192.0.2.1", "", "alice", CLIENT_WELCOME);
    struct client *b = open_one(&p, "192.0.2.2", "", "alice", CLIENT_WELCOME);
    leave(open_one(&p, "192.0.2.3", "", "alice", CLIENT_TOO_MANY_OF_SUBJECT));
    struct client *c = open_one(&p, "192.0.2.1", "", "bob", CLIENT_WELCOME);
    struct client *d = open_one(&p, "192.0.2.1", "", NULL, CLIENT_WELCOME);
    leave(open_one(&p, "192.0.2.1", "", "carol", CLIENT_TOO_MANY_OF_ADDRESS));
    leave(open_one(&p, "192.0.2.1", "", "alice", CLIENT_TOO_MANY_OF_ADDRESS));
    leave(a);
    a = open_one(&p, "192.0.2.1", "", "alice", CLIENT_WELCOME);
    leave(a);
    leave(b);
    leave(c);
    leave(d);
    end(&p);
}

/* The subject has a budget of its own; without one it is the address's. */
static void test_who_pays(void **state)
{
    (void)state;
    const char *settings[] = {"limits.replay_per_minute=1000", NULL};
    struct place p;
    begin(&p, settings);
    const uint64_t later = now + 100ULL * 60 * US_PER_S;
    struct client *a = open_one(&p, "192.0.2.1", "", "alice", CLIENT_WELCOME);
    client_replayed(a, p.config, 5000, now);
    client_caught_up(a);
    client_replayed(a, p.config, 5000, now); /* live by now: costs nothing more */
    struct client *b = open_one(&p, "192.0.2.2", "", "alice", CLIENT_REPLAYED_TOO_MUCH);
    struct client *c = open_one(&p, "192.0.2.1", "", "bob", CLIENT_WELCOME);
    struct client *d = open_one(&p, "192.0.2.1", "", NULL, CLIENT_WELCOME);
    client_replayed(d, p.config, 1001, now);
    struct client *e = open_one(&p, "192.0.2.1", "", NULL, CLIENT_REPLAYED_TOO_MUCH);
    struct client *f = open_one(&p, "192.0.2.1", "", "carol", CLIENT_WELCOME);
    struct client *all[] = {a, b, c, d, e, f};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        leave(all[i]);
    assert_int_equal(tally_count(p.tally), 2); /* alice and the address are in debt */
    a = open_one(&p, "192.0.2.9", "", NULL, CLIENT_WELCOME);
    client_destroy(a, NULL, later);
    end(&p);
}

/* A crowd that waits for its views holds back nothing, nor does a budget that is spent keep out who
 * wants none of it. */
static void test_who_wants_nothing_old_pays_nothing(void **state)
{
    (void)state;
    const char *settings[] = {"limits.replay_per_minute=1000", NULL};
    struct place p;
    struct client *crowd[40];
    uint64_t wait;
    begin(&p, settings);
    struct client *payer = open_one(&p, "192.0.2.1", "", NULL, CLIENT_WELCOME);
    for (size_t i = 0; i < 40; i++) {
        crowd[i] = come(&p, "192.0.2.1");
        ask(&p, crowd[i], "");
        assert_int_equal(client_enter(crowd[i], p.config, false, now, &wait), CLIENT_WELCOME);
        client_replayed(crowd[i], p.config, 1, now);
        client_caught_up(crowd[i]);
        if (i == 20)
            client_replayed(payer, p.config, 1001, now);
    }
    leave(open_one(&p, "192.0.2.1", "", NULL, CLIENT_REPLAYED_TOO_MUCH));
    leave(payer);
    for (size_t i = 0; i < 40; i++)
        client_destroy(crowd[i], NULL, now + 2ULL * 60 * US_PER_S);
    end(&p);
}

static void test_waiting_for_requests(void **state)
{
    (void)state;
    const char *settings[] = {"limits.clients_per_ip=8", "proxy.trusted=[\"10.0.0.1\"]", NULL};
    struct place p;
    struct client *held[MANY + 1];
    begin(&p, settings);
    for (int i = 0; i < MANY; i++)
        held[i] = come(&p, "192.0.2.1");
    assert_null(come(&p, "192.0.2.1"));
    ask(&p, held[0], "");
    held[MANY] = come(&p, "192.0.2.1");
    for (int i = 0; i <= MANY; i++) {
        assert_non_null(held[i]);
        leave(held[i]);
    }
    for (int i = 0; i <= MANY; i++) /* whose they are is not known yet */
        assert_non_null(held[i] = come(&p, "10.0.0.1"));
    for (int i = 0; i <= MANY; i++)
        leave(held[i]);
    end(&p);
}

/* Peers of a unix socket are not limited, unless a header says whose they are, or lies. */
static void test_unix_peers(void **state)
{
    (void)state;
    const char *settings[] = {"limits.clients_per_ip=1", "proxy.trusted=[\"unix\"]", NULL};
    struct place p;
    begin(&p, settings);
    struct client *a = open_one(&p, "unix", "", NULL, CLIENT_WELCOME);
    struct client *b = open_one(&p, "unix", "", NULL, CLIENT_WELCOME);
    struct client *c = open_one(&p, "unix", "X-Forwarded-For: 192.0.2.1\r\n", NULL, CLIENT_WELCOME);
    struct client *d =
        open_one(&p, "unix", "X-Forwarded-For: 192.0.2.1\r\n", NULL, CLIENT_TOO_MANY_OF_ADDRESS);
    const char *lie = "X-Forwarded-For: 192.0.2.1\r\nForwarded: for=192.0.2.2\r\n";
    struct client *e = open_one(&p, "unix", lie, NULL, CLIENT_WELCOME);
    struct client *f = open_one(&p, "unix", lie, NULL, CLIENT_TOO_MANY_OF_ADDRESS);
    struct client *all[] = {a, b, c, d, e, f};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        leave(all[i]);
    end(&p);
}

int main(void)
{
    now = clock_mono_us();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wanted),
        cmocka_unit_test(test_subjects),
        cmocka_unit_test(test_who_pays),
        cmocka_unit_test(test_who_wants_nothing_old_pays_nothing),
        cmocka_unit_test(test_waiting_for_requests),
        cmocka_unit_test(test_unix_peers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
