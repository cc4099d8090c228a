#include "tickerd/daemon/notify.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tickerd/base/log.h"

enum { OWED_MAX = 1024 };

/* Vsock addresses, which the protocol knows too, are for virtual machines as a whole. */
static bool read_address(struct notify *n, const char *path)
{
    size_t len = strlen(path);
    if ((path[0] != '/' && path[0] != '@') || len < 2 || len >= sizeof n->to.sun_path)
        return false;
    n->to.sun_family = AF_UNIX;
    memcpy(n->to.sun_path, path, len);
    if (path[0] == '@')
        n->to.sun_path[0] = '\0';
    n->to_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (path[0] == '/'));
    return true;
}

/* The positive number that makes up the whole text; 0: it is none. */
static uint64_t number(const char *text)
{
    char *end;
    errno = 0;
    unsigned long long v = strtoull(text, &end, 10);
    bool fits = errno == 0 && text[0] >= '0' && text[0] <= '9' && *end == '\0' && v < UINT64_MAX;
    return fits ? v : 0;
}

static uint64_t read_watchdog(const char *usec, const char *pid)
{
    if (usec == NULL || (pid != NULL && number(pid) != (uint64_t)getpid()))
        return 0;
    uint64_t interval = number(usec);
    if (interval == 0)
        log_debug("no watchdog: WATCHDOG_USEC is \"%s\"", usec);
    return interval;
}

void notify_init(struct notify *n)
{
    const char *path = getenv("NOTIFY_SOCKET");
    *n = (struct notify){.fd = -1, .owed = BUF_INIT};
    if (path == NULL)
        log_debug("no service manager wants to be told: NOTIFY_SOCKET is not set");
    else if (!read_address(n, path))
        log_debug("no service manager can be told: NOTIFY_SOCKET is \"%s\"", path);
    else
        n->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (n->fd >= 0)
        n->watchdog_us = read_watchdog(getenv("WATCHDOG_USEC"), getenv("WATCHDOG_PID"));
    (void)unsetenv("NOTIFY_SOCKET");
    (void)unsetenv("WATCHDOG_USEC");
    (void)unsetenv("WATCHDOG_PID");
}

void notify_finish(struct notify *n)
{
    if (n->fd >= 0)
        (void)close(n->fd);
    n->fd = -1;
    buf_finish(&n->owed);
}

/* False: there is no room at the moment. */
static bool try_send(const struct notify *n, const char *state, size_t len)
{
    const struct sockaddr *to = (const struct sockaddr *)&n->to;
    if (sendto(n->fd, state, len, MSG_NOSIGNAL, to, n->to_len) >= 0)
        return true;
    if (errno == EAGAIN || errno == ENOBUFS || errno == EINTR)
        return false;
    log_debug("the service manager cannot be told: %s", strerror(errno));
    return true;
}

void notify_catch_up(struct notify *n)
{
    if (n->owed.len > 0 && try_send(n, n->owed.data, n->owed.len))
        buf_reset(&n->owed);
}

bool notify_send(struct notify *n, const char *state, bool must)
{
    if (n->fd < 0)
        return true;
    notify_catch_up(n);
    if (n->owed.len == 0 && try_send(n, state, strlen(state)))
        return true;
    if (must && n->owed.len < OWED_MAX)
        buf_printf(&n->owed, "%s%s", n->owed.len > 0 ? "\n" : "", state);
    return must;
}
