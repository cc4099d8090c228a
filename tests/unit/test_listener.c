#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tickerd/net/listener.h"

/* Instead of libc's, so that a name may have addresses that this host has not: 203.0.113.1 is kept
 * for documentation (RFC 5737). */
static struct sockaddr_in places[3];
static struct addrinfo answers[3];
static size_t answer_count;
static unsigned lookups;

int getaddrinfo(const char *host, const char *port, const struct addrinfo *hints,
                struct addrinfo **found)
{
    (void)host;
    lookups++;
    for (size_t i = 0; i < answer_count; i++) {
        places[i].sin_family = AF_INET;
        places[i].sin_port = htons((uint16_t)strtoul(port, NULL, 10));
        answers[i] = (struct addrinfo){.ai_family = AF_INET,
                                       .ai_socktype = hints->ai_socktype,
                                       .ai_addr = (struct sockaddr *)(void *)&places[i],
                                       .ai_addrlen = sizeof places[i],
                                       .ai_next = i + 1 < answer_count ? &answers[i + 1] : NULL};
    }
    *found = answers;
    return 0;
}

void freeaddrinfo(struct addrinfo *found)
{
    (void)found;
}

static void resolve(const char *first, const char *second)
{
    answer_count = second == NULL ? 1 : 2;
    assert_int_equal(inet_pton(AF_INET, first, &places[0].sin_addr), 1);
    if (second != NULL)
        assert_int_equal(inet_pton(AF_INET, second, &places[1].sin_addr), 1);
}

static struct addr name(unsigned port)
{
    struct addr a = {.port = (uint16_t)port};
    memcpy(a.host, "name", 5);
    return a;
}

static void check_bound(int fd, const char *host, unsigned port)
{
    struct sockaddr_in sa;
    socklen_t len = sizeof sa;
    char text[INET_ADDRSTRLEN];
    assert_true(fd >= 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)(void *)&sa, &len), 0);
    assert_string_equal(inet_ntop(AF_INET, &sa.sin_addr, text, sizeof text), host);
    assert_int_equal(ntohs(sa.sin_port), port);
}

static void test_the_next_address_of_a_name(void **state)
{
    (void)state;
    struct buf why = BUF_INIT;
    struct addr a = name(0);
    resolve("203.0.113.1", "127.0.0.1");
    int first = listener_open(&a, 0666, &why);
    assert_int_equal(why.len, 0);
    assert_int_not_equal(a.port, 0);
    check_bound(first, "127.0.0.1", a.port);
    lookups = 0;
    int second = listener_open_beside(first, &a, &why);
    check_bound(second, "127.0.0.1", a.port);
    assert_int_equal(lookups, 0); /* the answer could be another one by now */
    (void)close(first);
    (void)close(second);
    buf_finish(&why);
}

static void test_an_address_in_use(void **state)
{
    (void)state;
    struct buf why = BUF_INIT;
    struct addr a = name(0);
    resolve("127.0.0.1", "127.0.0.2");
    int first = listener_open(&a, 0666, &why);
    check_bound(first, "127.0.0.1", a.port);
    struct addr again = a;
    assert_true(listener_open(&again, 0666, &why) < 0); /* not at 127.0.0.2 instead */
    assert_non_null(strstr(buf_cstr(&why), "in use"));
    (void)close(first);
    first = listener_open(&again, 0666, &why);
    check_bound(first, "127.0.0.1", a.port);
    (void)close(first);
    buf_finish(&why);
}

static void test_no_address_at_all(void **state)
{
    (void)state;
    struct buf why = BUF_INIT;
    struct addr a = name(8090);
    resolve("203.0.113.1", "203.0.113.2");
    assert_true(listener_open(&a, 0666, &why) < 0);
    assert_non_null(strstr(buf_cstr(&why), "cannot listen on name:8090: bind: "));
    buf_finish(&why);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_next_address_of_a_name),
        cmocka_unit_test(test_an_address_in_use),
        cmocka_unit_test(test_no_address_at_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
