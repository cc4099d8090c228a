#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tickerd/base/err.h"
#include "tickerd/net/inherit.h"

enum { FIRST = 3, MANY = 8 };

static int place(int fd, int at)
{
    assert_true(fd >= 0);
    if (fd == at)
        return fd;
    assert_int_equal(dup2(fd, at), at);
    assert_int_equal(close(fd), 0);
    return at;
}

static int tcp(int family, int at, bool listens)
{
    int fd = socket(family, SOCK_STREAM, 0);
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    if (family == AF_INET)
        assert_int_equal(bind(fd, (struct sockaddr *)&v4, sizeof v4), 0);
    else if (bind(fd, (struct sockaddr *)&v6, sizeof v6) != 0)
        skip(); /* no IPv6 here */
    if (listens)
        assert_int_equal(listen(fd, 1), 0);
    return place(fd, at);
}

static int local(const char *path, size_t len, int at)
{
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    memcpy(sa.sun_path, path, len);
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, size), 0);
    assert_int_equal(listen(fd, 1), 0);
    return place(fd, at);
}

static void promise(const char *fds, const char *names)
{
    char pid[24];
    (void)snprintf(pid, sizeof pid, "%d", (int)getpid());
    assert_int_equal(setenv("LISTEN_PID", pid, 1), 0);
    assert_int_equal(setenv("LISTEN_FDS", fds, 1), 0);
    if (names != NULL)
        assert_int_equal(setenv("LISTEN_FDNAMES", names, 1), 0);
}

static void assert_unset(void)
{
    assert_null(getenv("LISTEN_PID"));
    assert_null(getenv("LISTEN_FDS"));
    assert_null(getenv("LISTEN_FDNAMES"));
}

static void close_all(void)
{
    for (int fd = FIRST; fd < FIRST + MANY; fd++)
        (void)close(fd);
}

static void assert_refused(const char *because)
{
    struct inheritance in;
    struct buf why = BUF_INIT;
    assert_int_equal(inherit_take(&in, &why), ERR_INVALID);
    if (strstr(buf_cstr(&why), because) == NULL)
        fail_msg("\"%s\" lacks \"%s\"", buf_cstr(&why), because);
    assert_null(in.items);
    assert_unset();
    buf_finish(&why);
}

static void assert_nothing(void)
{
    struct inheritance in;
    struct buf why = BUF_INIT;
    assert_int_equal(inherit_take(&in, &why), ERR_OK);
    assert_int_equal(in.count, 0);
    assert_int_equal(why.len, 0);
    assert_unset();
    inherit_finish(&in);
}

static void test_nothing_is_promised(void **state)
{
    (void)state;
    assert_nothing();
    promise("0", NULL);
    assert_nothing();
    promise("1", "public");
    assert_int_equal(setenv("LISTEN_PID", "1", 1), 0);
    assert_nothing();
    promise("1", NULL);
    assert_int_equal(setenv("LISTEN_PID", "x", 1), 0);
    assert_nothing();
    promise("1", NULL);
    assert_int_equal(unsetenv("LISTEN_PID"), 0);
    assert_nothing();
}

static void assert_ready(int fd)
{
    assert_true((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
    assert_true((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
}

static void test_sockets_and_names(void **state)
{
    (void)state;
    static const char abstract[] = "\0tickerd-inherit-%d";
    char path[64], hidden[sizeof abstract + 12] = "";
    struct inheritance in;
    struct buf why = BUF_INIT, text = BUF_INIT;
    (void)snprintf(path, sizeof path, "/tmp/tickerd-inherit-%d", (int)getpid());
    int len = snprintf(hidden + 1, sizeof hidden - 1, abstract + 1, (int)getpid());
    (void)tcp(AF_INET, FIRST, true);
    (void)local(path, strlen(path), FIRST + 1);
    (void)local(hidden, (size_t)len + 1, FIRST + 2);
    promise("3", "tickerd.socket:admin.socket:");
    assert_int_equal(inherit_take(&in, &why), ERR_OK);
    assert_unset();
    assert_int_equal(in.count, 3);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(in.items[i].fd, FIRST + i);
        assert_int_equal(in.items[i].admin, i == 1);
        assert_ready(FIRST + i);
        addr_print(&text, &in.items[i].addr);
        buf_byte(&text, ' ');
    }
    char expected[256];
    assert_true(in.items[0].addr.port != 0);
    (void)snprintf(expected, sizeof expected, "127.0.0.1:%u unix:%s unix:@%s ",
                   in.items[0].addr.port, path, hidden + 1);
    assert_string_equal(buf_cstr(&text), expected);
    inherit_finish(&in);
    (void)unlink(path);
    buf_finish(&text);
    buf_finish(&why);
    close_all();
}

static void test_ipv6(void **state)
{
    (void)state;
    struct inheritance in;
    struct buf why = BUF_INIT;
    (void)tcp(AF_INET6, FIRST, true);
    promise("1", NULL);
    assert_int_equal(inherit_take(&in, &why), ERR_OK);
    assert_string_equal(in.items[0].addr.host, "::1");
    assert_false(in.items[0].admin);
    inherit_finish(&in);
    close_all();
}

static void test_what_is_of_no_use(void **state)
{
    (void)state;
    static const char *const numbers[] = {"x", "-1", "", "3x", "257", "99999999999999999999"};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        promise(numbers[i], NULL);
        assert_refused("it must be how many sockets are passed on, at most 256");
    }
    close_all();
    promise("1", NULL);
    assert_refused("descriptor 3: it is not open");
    (void)place(open("/dev/null", O_RDONLY), FIRST);
    promise("1", NULL);
    assert_refused("descriptor 3: it is no socket");
    (void)place(socket(AF_INET, SOCK_DGRAM, 0), FIRST);
    promise("1", NULL);
    assert_refused("descriptor 3: it is no stream socket");
    (void)tcp(AF_INET, FIRST, true);
    (void)tcp(AF_INET, FIRST + 1, false);
    promise("2", "a:b");
    assert_refused("descriptor 4: it does not listen");
    promise("2", "a");
    assert_refused("LISTEN_FDNAMES has 1 names for the 2 sockets of LISTEN_FDS");
    close_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_is_promised),
        cmocka_unit_test(test_sockets_and_names),
        cmocka_unit_test(test_ipv6),
        cmocka_unit_test(test_what_is_of_no_use),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
