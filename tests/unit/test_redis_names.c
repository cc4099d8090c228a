/* Look-ups of host names, with a resolver that answers when the test says so. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/net/redis_names.h"
#include "tickerd/base/err.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int asked, allowed; /* calls that came, and that may return */

/* In place of the system's. `x7` is 10.0.0.7; names that begin otherwise do not exist. What it
 * returns is freed by the system's freeaddrinfo, which frees block by block. */
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                struct addrinfo **found)
{
    (void)hints;
    (void)pthread_mutex_lock(&lock);
    int turn = asked++;
    (void)pthread_cond_broadcast(&changed);
    while (turn >= allowed)
        (void)pthread_cond_wait(&changed, &lock);
    (void)pthread_mutex_unlock(&lock);
    if (node[0] != 'x')
        return EAI_NONAME;
    struct addrinfo *a = calloc(1, sizeof *a + sizeof(struct sockaddr_in));
    if (a == NULL)
        return EAI_MEMORY;
    struct sockaddr_in *in = (struct sockaddr_in *)(a + 1);
    *in = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(service))};
    in->sin_addr.s_addr = htonl(0x0a000000U + (uint32_t)atoi(node + 1));
    *a = (struct addrinfo){.ai_family = AF_INET,
                           .ai_socktype = SOCK_STREAM,
                           .ai_addrlen = sizeof *in,
                           .ai_addr = (struct sockaddr *)in};
    *found = a;
    return 0;
}

static void allow(int calls)
{
    (void)pthread_mutex_lock(&lock);
    allowed += calls;
    (void)pthread_cond_broadcast(&changed);
    (void)pthread_mutex_unlock(&lock);
}

static int calls_so_far(void)
{
    (void)pthread_mutex_lock(&lock);
    int n = asked;
    (void)pthread_mutex_unlock(&lock);
    return n;
}

struct desk {
    uv_loop_t loop;
    struct redis_names *names;
    bool waits; /* for `wanted` */
    struct addr wanted;
    int calls, status;
    uint32_t ip; /* of what it waited for */
};

static uint32_t ip_of(const struct addrinfo *a)
{
    return ntohl(((const struct sockaddr_in *)a->ai_addr)->sin_addr.s_addr);
}

static bool found_one(void *owner, const struct addr *addr, int status,
                      const struct addrinfo *found)
{
    struct desk *d = owner;
    d->calls++;
    d->status = status;
    if (!d->waits || !addr_equal(addr, &d->wanted))
        return false;
    d->waits = false;
    d->ip = status == 0 ? ip_of(found) : 0;
    return true;
}

static struct addr host(const char *name)
{
    struct addr a = {.is_unix = false, .port = 6379};
    (void)snprintf(a.host, sizeof a.host, "%s", name);
    return a;
}

static void open_desk(struct desk *d)
{
    memset(d, 0, sizeof *d);
    asked = allowed = 0;
    assert_int_equal(uv_loop_init(&d->loop), 0);
    d->names = redis_names_create(&d->loop, found_one, d);
    assert_non_null(d->names);
}

static void close_desk(struct desk *d)
{
    redis_names_destroy(d->names);
    allow(1000);
    (void)uv_run(&d->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&d->loop), 0);
}

/* Until so many look-ups have ended. */
static void run(struct desk *d, int calls)
{
    while (d->calls < calls)
        (void)uv_run(&d->loop, UV_RUN_ONCE);
}

static int ask(struct desk *d, const char *name)
{
    struct addrinfo *found = NULL;
    d->wanted = host(name);
    int rc = redis_names_ask(d->names, &d->wanted, &found);
    d->waits = rc == ERR_AGAIN;
    if (rc == ERR_OK) {
        d->ip = ip_of(found);
        uv_freeaddrinfo(found);
    }
    return rc;
}

static void who_waits_is_told(void **state)
{
    (void)state;
    struct desk d;
    open_desk(&d);
    allow(2);
    assert_int_equal(ask(&d, "x1"), ERR_AGAIN);
    run(&d, 1);
    assert_false(d.waits);
    assert_int_equal(d.ip, 0x0a000001);
    assert_int_equal(ask(&d, "x1"), ERR_AGAIN); /* it has been used: a fresh one */
    run(&d, 2);
    close_desk(&d);
}

/* Three names in turn, each given up before its answer comes: the answers serve the next round. */
static void a_slow_resolver_serves_the_next_round(void **state)
{
    (void)state;
    struct desk d;
    open_desk(&d);
    const char *const names[] = {"x1", "x2", "x3"};
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < 3; i++)
            assert_int_equal(ask(&d, names[i]), ERR_AGAIN);
    }
    d.waits = false; /* a back-off */
    allow(3);
    run(&d, 3);
    assert_int_equal(calls_so_far(), 3); /* none was asked for twice */
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(ask(&d, names[i]), ERR_OK);
        assert_int_equal(d.ip, 0x0a000001 + i);
    }
    close_desk(&d);
}

static void a_failure_is_not_kept(void **state)
{
    (void)state;
    struct desk d;
    open_desk(&d);
    allow(3);
    assert_int_equal(ask(&d, "nowhere"), ERR_AGAIN);
    run(&d, 1);
    assert_false(d.waits);
    assert_int_equal(d.status, UV_EAI_NONAME);
    assert_int_equal(ask(&d, "nowhere"), ERR_AGAIN);
    d.waits = false;
    run(&d, 2);
    assert_int_equal(ask(&d, "nowhere"), ERR_AGAIN);
    run(&d, 3);
    close_desk(&d);
}

static void ever_new_names_are_not_all_kept(void **state)
{
    (void)state;
    struct desk d;
    open_desk(&d);
    allow(1000);
    char name[16];
    for (int i = 1; i <= 40; i++) {
        (void)snprintf(name, sizeof name, "x%d", i);
        assert_int_equal(ask(&d, name), ERR_AGAIN);
        d.waits = false;
        run(&d, i);
    }
    assert_int_equal(ask(&d, "x40"), ERR_OK);
    assert_int_equal(ask(&d, "x1"), ERR_AGAIN);
    run(&d, 41);
    close_desk(&d);
}

static void gone_while_looking(void **state)
{
    (void)state;
    struct desk d;
    open_desk(&d);
    for (int i = 0; i < 10; i++) { /* more than there are threads: some have not begun */
        char name[16];
        (void)snprintf(name, sizeof name, "x%d", i);
        assert_int_equal(ask(&d, name), ERR_AGAIN);
    }
    redis_names_destroy(d.names);
    d.names = NULL;
    close_desk(&d);
    assert_int_equal(d.calls, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_waits_is_told),
        cmocka_unit_test(a_slow_resolver_serves_the_next_round),
        cmocka_unit_test(a_failure_is_not_kept),
        cmocka_unit_test(ever_new_names_are_not_all_kept),
        cmocka_unit_test(gone_while_looking),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
