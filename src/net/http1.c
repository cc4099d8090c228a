#include "tickerd/net/http1.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tickerd/base/clock.h"
#include "tickerd/base/err.h"

enum {
    INPUT_SIZE = 16 * 1024,
    LINGER_US = 2 * US_PER_S,
    REQUEST_SOON_US = 200 * US_PER_MS,
    LINGER_READS = 64, /* a peer that never stops sending is cut */
};

enum conn_state { CONN_READING, CONN_STREAMING, CONN_LINGERING, CONN_CLOSED };

struct conn {
    struct transport transport; /* must be first: session calls come back through it */
    uv_poll_t poll;
    struct http1 *http;
    struct link link; /* in the server's list for its state */
    uint64_t since_us;
    struct httpreq *request; /* while reading */
    void *user;              /* the caller's */
    struct session session;
    int fd;
    uint8_t state;
    uint8_t drained; /* reads while lingering */
    bool heard;      /* it has sent anything */
    bool was_stream;
};

static void on_poll(uv_poll_t *poll, int status, int events);

static struct conn *conn_of(struct transport *t)
{
    return (struct conn *)(void *)t;
}

static void watch(struct conn *c, int events)
{
    (void)uv_poll_start(&c->poll, events, on_poll);
}

static void enter(struct conn *c, enum conn_state state, struct link *list)
{
    list_remove(&c->link);
    list_push(list, &c->link);
    c->state = (uint8_t)state;
    c->since_us = clock_mono_us();
}

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void conn_close(struct conn *c)
{
    if (c->state == CONN_CLOSED)
        return;
    c->state = CONN_CLOSED;
    list_remove(&c->link);
    httpreq_destroy(c->request);
    c->request = NULL;
    uv_close((uv_handle_t *)&c->poll, on_closed);
    (void)close(c->fd);
    c->http->count--;
    struct http1_end end = {c->was_stream, c->session.events, c->session.bytes, c->user};
    c->http->events->on_closed(c->http->ctx, &end);
}

/* All is said: FIN, then wait for the peer's, so that it reads everything before the end. */
static void conn_linger(struct conn *c)
{
    if (shutdown(c->fd, SHUT_WR) != 0) {
        conn_close(c);
        return;
    }
    enter(c, CONN_LINGERING, &c->http->lingering);
    watch(c, UV_READABLE);
}

/* ---- the session's transport ----------------------------------------------------------------- */

static ssize_t write_some(struct transport *t, struct iovec *iov, int count)
{
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = (size_t)count};
    for (;;) {
        ssize_t n = sendmsg(conn_of(t)->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n >= 0)
            return n;
        if (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS)
            return 0;
        if (errno != EINTR)
            return ERR_CLOSED;
    }
}

static void want_write(struct transport *t, bool on)
{
    struct conn *c = conn_of(t);
    if (c->state == CONN_STREAMING)
        watch(c, UV_DISCONNECT | (on ? UV_WRITABLE : 0));
}

static void end_stream(struct transport *t, bool abort)
{
    struct conn *c = conn_of(t);
    if (!abort) {
        conn_linger(c);
        return;
    }
    if (c->session.blocked) {
        /* Nobody reads what the kernel still holds: let it go now rather than in 15 minutes. */
        struct linger now = {.l_onoff = 1, .l_linger = 0};
        (void)setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    }
    conn_close(c);
}

static const struct transport_ops transport_ops = {
    .write = write_some,
    .want_write = want_write,
    .close = end_stream,
};

/* ---- reading --------------------------------------------------------------------------------- */

static void take_input(struct conn *c, const char *data, size_t len)
{
    struct http1 *h = c->http;
    struct httpreq *r = c->request;
    c->heard = true;
    enum httpreq_state state = httpreq_feed(r, data, len, NULL);
    if (state == HTTPREQ_MORE)
        return;
    c->request = NULL; /* lives until the call-back is done, whatever becomes of the connection */
    if (state == HTTPREQ_DONE)
        h->events->on_request(h->ctx, c, r);
    else
        h->events->on_bad_request(h->ctx, c, httpreq_error(r), r);
    httpreq_destroy(r);
}

/* Returns whether the connection still waits for input. */
static bool read_request(struct conn *c)
{
    ssize_t n = recv(c->fd, c->http->input, INPUT_SIZE, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return true;
    if (n <= 0) {
        conn_close(c);
        return false;
    }
    take_input(c, c->http->input, (size_t)n);
    return c->state == CONN_READING;
}

static void drain_input(struct conn *c)
{
    ssize_t n = recv(c->fd, c->http->input, INPUT_SIZE, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0 || ++c->drained == LINGER_READS)
        conn_close(c);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct conn *c = poll->data;
    switch ((enum conn_state)c->state) {
    case CONN_READING:
        (void)read_request(c);
        break;
    case CONN_STREAMING:
        if (status < 0 || (events & UV_DISCONNECT) != 0)
            session_peer_gone(&c->session);
        else if ((events & UV_WRITABLE) != 0)
            session_writable(&c->session, clock_mono_us());
        break;
    case CONN_LINGERING:
        if (status < 0)
            conn_close(c);
        else
            drain_input(c);
        break;
    case CONN_CLOSED:
        break;
    }
}

/* ---- public ---------------------------------------------------------------------------------- */

int http1_init(struct http1 *h, uv_loop_t *loop, size_t request_bytes, uint64_t request_timeout_us,
               const struct http1_events *events, void *ctx)
{
    *h = (struct http1){.loop = loop,
                        .request_bytes = request_bytes,
                        .request_timeout_us = request_timeout_us,
                        .events = events,
                        .ctx = ctx};
    list_init(&h->reading);
    list_init(&h->lingering);
    list_init(&h->streaming);
    h->input = malloc(INPUT_SIZE);
    return h->input == NULL ? ERR_NOMEM : ERR_OK;
}

void http1_close(struct http1 *h)
{
    struct link *lists[] = {&h->reading, &h->lingering, &h->streaming};
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        list_each(lists[i], it) {
            struct conn *c = container_of(it, struct conn, link);
            if (c->state == CONN_STREAMING)
                session_end(&c->session, true);
            else
                conn_close(c);
        }
    }
}

/* A connection that has sent nothing for a while is one that a browser opened in advance. */
static bool expects_request(const struct http1 *h)
{
    if (list_empty(&h->reading))
        return false;
    const struct conn *newest = container_of(h->reading.prev, struct conn, link);
    return clock_mono_us() - newest->since_us < REQUEST_SOON_US;
}

bool http1_busy(const struct http1 *h)
{
    return !list_empty(&h->streaming) || !list_empty(&h->lingering) || expects_request(h);
}

void http1_finish(struct http1 *h)
{
    free(h->input);
    h->input = NULL;
}

int http1_accept(struct http1 *h, int fd)
{
    struct conn *c = calloc(1, sizeof *c);
    struct httpreq *request = c == NULL ? NULL : httpreq_create(h->request_bytes);
    if (request == NULL || uv_poll_init(h->loop, &c->poll, fd) != 0) {
        int err = request == NULL ? ERR_NOMEM : ERR_SYSTEM;
        httpreq_destroy(request);
        free(c);
        (void)close(fd);
        return err;
    }
    c->transport.ops = &transport_ops;
    c->poll.data = c;
    c->http = h;
    c->fd = fd;
    c->request = request;
    list_init(&c->link);
    h->count++;
    enter(c, CONN_READING, &h->reading);
    /* The request is usually there already: no need to be told by the loop. */
    if (read_request(c))
        watch(c, UV_READABLE);
    return ERR_OK;
}

void http1_reply(struct conn *c, const char *bytes, size_t len)
{
    /* Answers are small and the socket's buffer is empty: a short write means a dead peer. */
    struct iovec iov = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = len};
    if (write_some(&c->transport, &iov, 1) != (ssize_t)len)
        conn_close(c);
    else
        conn_linger(c);
}

int http1_fd(const struct conn *c)
{
    return c->fd;
}

void http1_set_user(struct conn *c, void *user)
{
    c->user = user;
}

void *http1_user(const struct conn *c)
{
    return c->user;
}

struct session *http1_stream(struct conn *c, struct transport **transport)
{
    enter(c, CONN_STREAMING, &c->http->streaming);
    watch(c, UV_DISCONNECT);
    c->was_stream = true;
    *transport = &c->transport;
    return &c->session;
}

static void time_out_request(struct conn *c)
{
    static const struct httpreq_error late = {
        408, "request_timeout", "The request took longer than limits.request_timeout."};
    struct http1 *h = c->http;
    struct httpreq *r = c->request;
    if (!c->heard) { /* opened in advance; an answer could be taken for that of its next request */
        conn_close(c);
        return;
    }
    c->request = NULL;
    h->events->on_bad_request(h->ctx, c, &late, r);
    httpreq_destroy(r);
}

void http1_tick(struct http1 *h)
{
    uint64_t now = clock_mono_us();
    struct link *it;
    while ((it = list_first(&h->reading)) != NULL) {
        struct conn *c = container_of(it, struct conn, link);
        if (now - c->since_us < h->request_timeout_us)
            break;
        time_out_request(c);
    }
    while ((it = list_first(&h->lingering)) != NULL) {
        struct conn *c = container_of(it, struct conn, link);
        if (now - c->since_us < LINGER_US)
            break;
        conn_close(c);
    }
}
