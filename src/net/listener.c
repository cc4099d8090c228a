#include "tickerd/net/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "tickerd/base/err.h"
#include "tickerd/base/log.h"

enum {
    BACKLOG = 4096,
    ACCEPT_BATCH = 64,
    PAUSE_MS = 100,
    /* A slow client's backlog stays in the shared log, not in kernel buffers. */
    NOTSENT_LOWAT = 128 * 1024,
    /* Clients have nothing to say but a request: what some send behind it waits in their own
     * buffers, not in ours. */
    RECEIVE_BUFFER = 16 * 1024,
};

struct listener {
    uv_poll_t poll;
    uv_timer_t pause;
    int fd;
    int spare;   /* a descriptor in reserve, to shake off connections when there is no other */
    int closing; /* handles still open */
    listener_accepted *accepted;
    void *ctx;
};

static int fail(int fd, struct buf *why, const struct addr *a, const char *what)
{
    int saved = errno;
    buf_str(why, "cannot listen on ");
    addr_print(why, a);
    buf_printf(why, ": %s: %s", what, strerror(saved));
    if (fd >= 0)
        (void)close(fd);
    return ERR_SYSTEM;
}

/* Whether a process answers at this path; a refused connection means nobody does. */
static bool served(const struct sockaddr_un *sa)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return true;
    int rc = connect(fd, (const struct sockaddr *)sa, sizeof *sa);
    bool refused = rc != 0 && errno == ECONNREFUSED;
    (void)close(fd);
    return !refused;
}

static int open_unix(const struct addr *a, mode_t mode, struct buf *why)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    memcpy(sa.sun_path, a->host, strnlen(a->host, sizeof sa.sun_path - 1));
    struct stat st;
    if (stat(sa.sun_path, &st) == 0 && S_ISSOCK(st.st_mode) && !served(&sa))
        (void)unlink(sa.sun_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return fail(fd, why, a, "socket");
    if (bind(fd, (const struct sockaddr *)&sa, sizeof sa) != 0)
        return fail(fd, why, a, "bind");
    /* Nobody can connect before it listens. */
    if (chmod(sa.sun_path, mode) != 0 || listen(fd, BACKLOG) != 0)
        return fail(fd, why, a, "listen");
    return fd;
}

union sockaddr_any {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_un un;
    struct sockaddr_storage room;
};

static void set_flag(int fd, int level, int name)
{
    int on = 1;
    (void)setsockopt(fd, level, name, &on, sizeof on);
}

static int new_socket(int family)
{
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return fd;
    set_flag(fd, SOL_SOCKET, SO_REUSEADDR);
    if (family == AF_INET6) /* else [::]:80 and 0.0.0.0:80 exclude each other */
        set_flag(fd, IPPROTO_IPV6, IPV6_V6ONLY);
    return fd;
}

/* Accepted sockets inherit these, which saves a call each for every connection. */
static void prepare_tcp(int fd)
{
    int lowat = NOTSENT_LOWAT, room = RECEIVE_BUFFER;
    set_flag(fd, SOL_SOCKET, SO_KEEPALIVE);
    set_flag(fd, IPPROTO_TCP, TCP_NODELAY);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &lowat, sizeof lowat);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
}

/* On failure -1 with errno, and *call names the call that failed. */
static int listen_at(const struct sockaddr *sa, socklen_t len, const char **call)
{
    *call = "socket";
    int fd = new_socket(sa->sa_family);
    if (fd < 0)
        return -1;
    set_flag(fd, SOL_SOCKET, SO_REUSEPORT);
    prepare_tcp(fd);
    *call = "bind";
    if (bind(fd, sa, len) == 0) {
        *call = "listen";
        if (listen(fd, BACKLOG) == 0)
            return fd;
    }
    int saved = errno;
    (void)close(fd);
    errno = saved;
    return -1;
}

/* SO_REUSEPORT would let us share the port with another process of this user, which would then get
 * some of our clients. Without it, binding fails where anybody listens. */
static bool is_free(const struct sockaddr *sa, socklen_t len, const char **call)
{
    *call = "socket";
    int fd = new_socket(sa->sa_family);
    if (fd < 0)
        return false;
    *call = "bind";
    int rc = bind(fd, sa, len);
    int saved = errno;
    (void)close(fd);
    errno = saved;
    return rc == 0;
}

static void note_port(int fd, struct addr *a)
{
    union sockaddr_any sa = {.room = {0}};
    socklen_t len = sizeof sa;
    if (getsockname(fd, &sa.any, &len) == 0)
        a->port = ntohs(sa.any.sa_family == AF_INET6 ? sa.v6.sin6_port : sa.v4.sin_port);
}

/* A name may stand for addresses that this host has not (::1 where IPv6 is off): then the next one
 * is tried. One that is in use is an error: the name's clients would still go to who uses it. */
static int open_tcp(struct addr *a, struct buf *why)
{
    char port[8];
    (void)snprintf(port, sizeof port, "%u", a->port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    int rc = getaddrinfo(a->host, port, &hints, &found);
    if (rc != 0) {
        buf_str(why, "cannot listen on ");
        addr_print(why, a);
        buf_printf(why, ": %s", gai_strerror(rc));
        return ERR_SYSTEM;
    }
    int fd = -1;
    const char *call = "";
    for (const struct addrinfo *it = found; it != NULL && fd < 0; it = it->ai_next) {
        if (a->port == 0 || is_free(it->ai_addr, it->ai_addrlen, &call))
            fd = listen_at(it->ai_addr, it->ai_addrlen, &call);
        if (fd < 0 && errno == EADDRINUSE)
            break;
    }
    int saved = errno;
    freeaddrinfo(found);
    errno = saved;
    if (fd < 0)
        return fail(-1, why, a, call);
    note_port(fd, a);
    return fd;
}

int listener_open(struct addr *a, mode_t mode, struct buf *why)
{
    return a->is_unix ? open_unix(a, mode, why) : open_tcp(a, why);
}

int listener_open_beside(int first, const struct addr *a, struct buf *why)
{
    union sockaddr_any sa = {.room = {0}};
    socklen_t len = sizeof sa;
    const char *call = "getsockname";
    int fd = getsockname(first, &sa.any, &len) == 0 ? listen_at(&sa.any, len, &call) : -1;
    return fd >= 0 ? fd : fail(-1, why, a, call);
}

/* Where a bound socket is, as a user would write it. An abstract name begins with @. */
static bool read_address(const union sockaddr_any *sa, socklen_t len, struct addr *a)
{
    *a = (struct addr){.is_unix = sa->any.sa_family == AF_UNIX};
    if (a->is_unix) {
        size_t room = len - offsetof(struct sockaddr_un, sun_path);
        bool abstract = room > 0 && sa->un.sun_path[0] == '\0';
        size_t n = abstract ? room : strnlen(sa->un.sun_path, room);
        memcpy(a->host, sa->un.sun_path, n < sizeof a->host ? n : sizeof a->host - 1);
        if (abstract)
            a->host[0] = '@';
        return n > 0;
    }
    if (sa->any.sa_family != AF_INET && sa->any.sa_family != AF_INET6)
        return false;
    a->port = ntohs(sa->any.sa_family == AF_INET6 ? sa->v6.sin6_port : sa->v4.sin_port);
    return getnameinfo(&sa->any, len, a->host, sizeof a->host, NULL, 0, NI_NUMERICHOST) == 0;
}

/* What keeps an inherited descriptor from being a listener, or NULL. */
static const char *unfit(int fd, struct addr *a)
{
    union sockaddr_any sa = {.room = {0}};
    socklen_t len = sizeof sa, int_len = sizeof(int);
    int type = 0, listens = 0;
    if (fcntl(fd, F_GETFD) < 0)
        return "it is not open";
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &int_len) != 0)
        return "it is no socket";
    if (type != SOCK_STREAM)
        return "it is no stream socket (ListenStream=)";
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &int_len) != 0 || listens == 0)
        return "it does not listen; with Accept=yes a socket unit passes on connections: use "
               "Accept=no";
    if (getsockname(fd, &sa.any, &len) != 0 || !read_address(&sa, len, a))
        return "it is neither a TCP nor a unix socket";
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0 ||
        fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
        return strerror(errno);
    return NULL;
}

int listener_adopt(int fd, struct addr *a, struct buf *why)
{
    const char *problem = unfit(fd, a);
    if (problem != NULL) {
        buf_printf(why, "cannot listen on the inherited descriptor %d: %s", fd, problem);
        return ERR_INVALID;
    }
    if (!a->is_unix)
        prepare_tcp(fd);
    return ERR_OK;
}

void listener_set_patience(int fd, uint64_t ms)
{
    unsigned patience = ms > INT_MAX ? INT_MAX : (unsigned)ms;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &patience, sizeof patience);
}

void listener_unlink(const struct addr *a)
{
    if (a->is_unix)
        (void)unlink(a->host);
}

static int spare_open(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void on_readable(uv_poll_t *poll, int status, int events);

static void on_pause_over(uv_timer_t *timer)
{
    struct listener *l = timer->data;
    (void)uv_poll_start(&l->poll, UV_READABLE, on_readable);
}

/* Out of descriptors: the waiting connection would keep the socket readable for ever. Use the spare
 * one to close it (its EventSource tries again), and look away for a moment. */
static void shake_off(struct listener *l)
{
    (void)close(l->spare);
    int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0)
        (void)close(fd);
    l->spare = spare_open();
    (void)uv_poll_stop(&l->poll);
    (void)uv_timer_start(&l->pause, on_pause_over, PAUSE_MS, 0);
}

static struct netaddr address_of(const union sockaddr_any *sa)
{
    struct netaddr a = {.is_unix = false};
    uint8_t v4[4];
    memcpy(v4, &sa->v4.sin_addr, sizeof v4);
    if (sa->any.sa_family == AF_INET)
        return netaddr_v4(v4);
    if (sa->any.sa_family == AF_INET6)
        memcpy(a.bytes, &sa->v6.sin6_addr, sizeof a.bytes);
    else
        a.is_unix = true;
    return a;
}

struct netaddr listener_peer(int fd)
{
    union sockaddr_any sa = {.room = {0}};
    socklen_t len = sizeof sa;
    if (getpeername(fd, &sa.any, &len) != 0) /* it has gone by now */
        return (struct netaddr){.is_unix = false};
    return address_of(&sa);
}

/* Hand over the next connection that is queued. False, with errno: there is none. */
static bool accept_one(struct listener *l)
{
    union sockaddr_any sa = {.room = {0}};
    socklen_t len = sizeof sa;
    int fd = accept4(l->fd, &sa.any, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return false;
    struct netaddr peer = address_of(&sa);
    l->accepted(l->ctx, fd, &peer);
    return true;
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct listener *l = poll->data;
    (void)status;
    (void)events;
    for (int i = 0; i < ACCEPT_BATCH; i++) {
        if (accept_one(l) || errno == EINTR || errno == ECONNABORTED)
            continue;
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            log_warn("cannot accept a connection: %s; raise the open-file limit (LimitNOFILE)",
                     strerror(errno));
            shake_off(l);
        }
        return;
    }
}

struct listener *listener_start(uv_loop_t *loop, int fd, listener_accepted *accepted, void *ctx)
{
    struct listener *l = calloc(1, sizeof *l);
    int spare = spare_open();
    int rc = l == NULL ? UV_ENOMEM : spare < 0 ? uv_translate_sys_error(errno) : 0;
    const char *call = l == NULL ? "calloc" : "open /dev/null";
    if (rc == 0) {
        call = "uv_poll_init";
        rc = uv_poll_init(loop, &l->poll, fd);
    }
    if (rc != 0) {
        log_error("cannot set up a listener: %s: %s", call, uv_strerror(rc));
        if (spare >= 0)
            (void)close(spare);
        free(l);
        return NULL;
    }
    (void)uv_timer_init(loop, &l->pause); /* cannot fail */
    l->fd = fd;
    l->spare = spare;
    l->accepted = accepted;
    l->ctx = ctx;
    l->poll.data = l->pause.data = l;
    l->closing = 2;
    (void)uv_poll_start(&l->poll, UV_READABLE, on_readable);
    return l;
}

void listener_sweep(struct listener *l)
{
    for (int i = 0; i < BACKLOG && accept_one(l); i++)
        ;
}

static void on_closed(uv_handle_t *handle)
{
    struct listener *l = handle->data;
    if (--l->closing == 0)
        free(l);
}

void listener_close(struct listener *l)
{
    if (l == NULL)
        return;
    uv_close((uv_handle_t *)&l->poll, on_closed);
    uv_close((uv_handle_t *)&l->pause, on_closed);
    if (l->spare >= 0)
        (void)close(l->spare);
}
