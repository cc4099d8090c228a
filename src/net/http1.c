#include "tickerd/net/http1.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tickerd/base/clock.h"
#include "tickerd/base/err.h"
#include "tickerd/net/listener.h"
#include "tickerd/net/turns.h"
#include "tickerd/wire/proxyhdr.h"

enum {
    INPUT_SIZE = 16 * 1024,
    LINGER_US = 2 * US_PER_S,
    REQUEST_SOON_US = 200 * US_PER_MS,
    HOLD_US = 60 * US_PER_S,    /* whoever holds a connection has deadlines of his own */
    LINGER_BYTES = 1024 * 1024, /* a peer that never stops sending is cut */
};

enum conn_state {
    CONN_READING,
    CONN_HELD,
    CONN_ANSWERING,
    CONN_STREAMING,
    CONN_LINGERING,
    CONN_CLOSED
};

/* What is needed until the request is there. */
struct reading {
    struct httpreq *request;
    struct netaddr peer;
    bool proxied;   /* a PROXY header comes first */
    bool continued; /* it has been told to send the body */
    struct proxyhdr proxy;
};

/* What of an answer the socket has not taken yet. */
struct rest {
    size_t len, sent;
    char bytes[];
};

struct conn {
    struct transport transport; /* must be first: session calls come back through it */
    uv_poll_t poll;
    struct http1 *http;
    struct link link; /* in the server's list for its state */
    uint64_t since_us;
    struct reading *reading; /* until the request is there */
    struct rest *rest;       /* while answering */
    void *holder;            /* while held */
    void *user;              /* the caller's */
    struct session session;
    int fd;
    uint32_t drained; /* bytes while lingering */
    uint8_t state;
    bool heard; /* it has sent some of its request */
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

static struct reading *reading_create(const struct http1 *h, const struct netaddr *peer,
                                      bool proxied)
{
    struct reading *r = calloc(1, sizeof *r);
    if (r == NULL || (r->request = httpreq_create(h->request_bytes)) == NULL) {
        free(r);
        return NULL;
    }
    httpreq_set_body_max(r->request, h->body_max);
    r->peer = *peer;
    r->proxied = proxied;
    proxyhdr_init(&r->proxy);
    return r;
}

static void reading_destroy(struct reading *r)
{
    if (r == NULL)
        return;
    httpreq_destroy(r->request);
    free(r);
}

static void conn_close(struct conn *c)
{
    if (c->state == CONN_CLOSED)
        return;
    c->state = CONN_CLOSED;
    list_remove(&c->link);
    reading_destroy(c->reading);
    c->reading = NULL;
    free(c->rest);
    c->rest = NULL;
    uv_close((uv_handle_t *)&c->poll, on_closed);
    (void)close(c->fd);
    c->http->count--;
    const struct session *s = &c->session;
    struct http1_end end = {.was_stream = c->was_stream,
                            .events = s->events,
                            .bytes = s->bytes,
                            .why = (enum closing)s->why,
                            .user = c->user,
                            .holder = c->holder};
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

/* What a socket's error says of the peer. */
static int gone(int error)
{
    switch (error) {
    case 0: /* a proper end */
    case EPIPE:
    case ECONNRESET:
        return ERR_CLOSED;
    case ETIMEDOUT: /* of listener_set_patience */
        return ERR_TIMEOUT;
    default:
        return ERR_SYSTEM;
    }
}

static int socket_error(const struct conn *c)
{
    int error = 0;
    socklen_t len = sizeof error;
    (void)getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len);
    return gone(error);
}

static ssize_t send_some(const struct conn *c, struct iovec *iov, int count)
{
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = (size_t)count};
    for (;;) {
        ssize_t n = sendmsg(c->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n >= 0)
            return n;
        if (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS)
            return 0;
        if (errno != EINTR)
            return gone(errno);
    }
}

static ssize_t write_some(struct transport *t, struct iovec *iov, int count)
{
    struct conn *c = conn_of(t);
    ssize_t n = send_some(c, iov, count);
    if (n > 0 && !c->session.live)
        c->http->events->on_replay(c->http->ctx, c, (size_t)n);
    return n;
}

static void want_write(struct transport *t, bool on)
{
    struct conn *c = conn_of(t);
    if (c->state == CONN_STREAMING)
        watch(c, UV_DISCONNECT | (on ? UV_WRITABLE : 0));
}

static void caught_up(struct transport *t)
{
    struct conn *c = conn_of(t);
    c->http->events->on_caught_up(c->http->ctx, c);
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
    .caught_up = caught_up,
    .close = end_stream,
};

/* ---- answering ------------------------------------------------------------------------------- */

/* Keep what the socket has not taken. */
static void answer_later(struct conn *c, const char *bytes, size_t len)
{
    c->rest = malloc(sizeof *c->rest + len);
    if (c->rest == NULL) {
        conn_close(c);
        return;
    }
    c->rest->len = len;
    c->rest->sent = 0;
    memcpy(c->rest->bytes, bytes, len);
    enter(c, CONN_ANSWERING, &c->http->answering);
    watch(c, UV_WRITABLE);
}

static void go_on_answering(struct conn *c)
{
    struct rest *r = c->rest;
    struct iovec iov = {.iov_base = r->bytes + r->sent, .iov_len = r->len - r->sent};
    ssize_t n = send_some(c, &iov, 1);
    if (n < 0) {
        conn_close(c);
        return;
    }
    r->sent += (size_t)n;
    if (r->sent == r->len)
        conn_linger(c);
    else if (n > 0)
        enter(c, CONN_ANSWERING, &c->http->answering); /* the deadline is for no progress */
}

/* ---- reading --------------------------------------------------------------------------------- */

static void answer_bad(struct conn *c, const struct httpreq_error *error)
{
    struct http1 *h = c->http;
    struct reading *r = c->reading;
    c->reading = NULL; /* lives until the call-back is done, whatever becomes of the connection */
    h->events->on_bad_request(h->ctx, c, error, r->request);
    reading_destroy(r);
}

/* Whether the connection goes on. */
static bool introduce(struct conn *c, const struct netaddr *source)
{
    struct http1 *h = c->http;
    if (h->events->on_peer(h->ctx, c, &c->reading->peer, source))
        return true;
    conn_close(c);
    return false;
}

/* The bytes that a PROXY header takes. False: the request cannot begin yet, or never. */
static bool take_proxy(struct conn *c, const char *data, size_t len, size_t *used)
{
    struct reading *r = c->reading;
    enum proxyhdr_state state = proxyhdr_feed(&r->proxy, data, len, used);
    if (state == PROXYHDR_MORE)
        return false;
    const struct netaddr *source = r->proxy.local ? &r->peer : &r->proxy.client;
    r->proxied = false;
    if (state == PROXYHDR_DONE)
        return introduce(c, source);
    struct httpreq_error error = {400, "bad_proxy_header", r->proxy.error};
    if (introduce(c, &r->peer))
        answer_bad(c, &error);
    return false;
}

/* A peer that waits for this word sends its body without it after a while; the line is as good as
 * dead if it does not take so little. */
static void tell_to_continue(struct conn *c)
{
    static const char line[] = "HTTP/1.1 100 Continue\r\n\r\n";
    struct iovec iov = {.iov_base = (void *)(uintptr_t)line, .iov_len = sizeof line - 1};
    c->reading->continued = true;
    if (send_some(c, &iov, 1) != (ssize_t)iov.iov_len)
        conn_close(c);
}

static void take_input(struct conn *c, const char *data, size_t len)
{
    struct http1 *h = c->http;
    struct reading *r = c->reading;
    size_t used = 0;
    if (r->proxied && !take_proxy(c, data, len, &used))
        return;
    c->heard = c->heard || used < len;
    enum httpreq_state state = httpreq_feed(r->request, data + used, len - used, NULL);
    if (state == HTTPREQ_ERROR)
        answer_bad(c, httpreq_error(r->request));
    if (state == HTTPREQ_MORE && !r->continued && httpreq_awaits_continue(r->request))
        tell_to_continue(c);
    if (state != HTTPREQ_DONE)
        return;
    c->reading = NULL; /* as in answer_bad */
    h->events->on_request(h->ctx, c, r->request);
    reading_destroy(r);
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
    if (n > 0)
        c->drained += (uint32_t)n;
    if (n <= 0 || c->drained >= LINGER_BYTES)
        conn_close(c);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct conn *c = poll->data;
    turns_mark(c->http->turns);
    switch ((enum conn_state)c->state) {
    case CONN_READING:
        (void)read_request(c);
        break;
    case CONN_HELD: /* all that is watched for is the end */
        conn_close(c);
        break;
    case CONN_ANSWERING:
        if (status < 0)
            conn_close(c);
        else
            go_on_answering(c);
        break;
    case CONN_STREAMING:
        if (status < 0 || (events & UV_DISCONNECT) != 0)
            session_peer_gone(&c->session, socket_error(c));
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
    list_init(&h->held);
    list_init(&h->answering);
    list_init(&h->streaming);
    list_init(&h->lingering);
    h->input = malloc(INPUT_SIZE);
    return h->input == NULL ? ERR_NOMEM : ERR_OK;
}

void http1_set_limits(struct http1 *h, size_t request_bytes, uint64_t request_timeout_us)
{
    h->request_bytes = request_bytes;
    h->request_timeout_us = request_timeout_us;
}

void http1_set_body_max(struct http1 *h, size_t bytes)
{
    h->body_max = bytes;
}

void http1_set_patience(struct http1 *h, uint64_t ms)
{
    struct link *lists[] = {&h->reading, &h->held, &h->answering, &h->streaming};
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        list_each(lists[i], it)
            listener_set_patience(container_of(it, struct conn, link)->fd, ms);
    }
}

void http1_close(struct http1 *h)
{
    struct link *lists[] = {&h->reading, &h->held, &h->answering, &h->streaming, &h->lingering};
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        list_each(lists[i], it) {
            struct conn *c = container_of(it, struct conn, link);
            if (c->state == CONN_STREAMING)
                session_end(&c->session, CLOSING_SHUTDOWN, true);
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

size_t http1_memory(const struct http1 *h)
{
    return h->count * sizeof(struct conn) + INPUT_SIZE;
}

bool http1_busy(const struct http1 *h)
{
    return !list_empty(&h->held) || !list_empty(&h->answering) || !list_empty(&h->streaming) ||
           !list_empty(&h->lingering) || expects_request(h);
}

void http1_finish(struct http1 *h)
{
    free(h->input);
    h->input = NULL;
}

int http1_accept(struct http1 *h, int fd, const struct netaddr *peer, bool proxied)
{
    struct conn *c = calloc(1, sizeof *c);
    struct reading *reading = c == NULL ? NULL : reading_create(h, peer, proxied);
    if (reading == NULL || uv_poll_init(h->loop, &c->poll, fd) != 0) {
        int err = reading == NULL ? ERR_NOMEM : ERR_SYSTEM;
        reading_destroy(reading);
        free(c);
        (void)close(fd);
        return err;
    }
    c->transport.ops = &transport_ops;
    c->poll.data = c;
    c->http = h;
    c->fd = fd;
    c->reading = reading;
    list_init(&c->link);
    h->count++;
    enter(c, CONN_READING, &h->reading);
    /* The request is usually there already: no need to be told by the loop. */
    if ((proxied || introduce(c, peer)) && read_request(c))
        watch(c, UV_READABLE);
    return ERR_OK;
}

static struct conn *oldest(const struct link *list)
{
    struct link *first = list_first(list);
    return first == NULL ? NULL : container_of(first, struct conn, link);
}

bool http1_shed(struct http1 *h)
{
    struct conn *c = oldest(&h->reading), *lingers = oldest(&h->lingering);
    if (c == NULL || (lingers != NULL && lingers->since_us < c->since_us))
        c = lingers;
    if (c != NULL)
        conn_close(c);
    return c != NULL;
}

void http1_reply(struct conn *c, const char *bytes, size_t len)
{
    c->holder = NULL;
    struct iovec iov = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = len};
    ssize_t n = send_some(c, &iov, 1);
    if (n < 0)
        conn_close(c);
    else if ((size_t)n < len)
        answer_later(c, bytes + n, len - (size_t)n);
    else
        conn_linger(c);
}

void http1_hold(struct conn *c, void *holder)
{
    c->holder = holder;
    enter(c, CONN_HELD, &c->http->held);
    watch(c, UV_DISCONNECT);
}

void http1_set_user(struct conn *c, void *user)
{
    c->user = user;
}

void *http1_user(const struct conn *c)
{
    return c->user;
}

struct conn *http1_conn(struct transport *t)
{
    return conn_of(t);
}

struct netaddr http1_peer(const struct conn *c)
{
    return listener_peer(c->fd);
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
    if (c->heard)
        answer_bad(c, &late);
    else /* opened in advance; an answer could be taken for that of its next request */
        conn_close(c);
}

void http1_tick(struct http1 *h)
{
    uint64_t now = clock_mono_us();
    struct conn *c;
    while ((c = oldest(&h->reading)) != NULL && now - c->since_us >= h->request_timeout_us)
        time_out_request(c);
    while ((c = oldest(&h->held)) != NULL && now - c->since_us >= HOLD_US)
        conn_close(c);
    while ((c = oldest(&h->answering)) != NULL && now - c->since_us >= h->request_timeout_us)
        conn_close(c);
    while ((c = oldest(&h->lingering)) != NULL && now - c->since_us >= LINGER_US)
        conn_close(c);
}
