#include "redis_conn.h"

#include <netdb.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "redis_names.h"
#include "redis_tls_engine.h"
#include "tickerd/base/clock.h"
#include "tickerd/base/err.h"

/* What libuv holds on to lives in an object of its own, one per socket (struct stream). To let go
 * of it is to take away its `owner` and to close it: it then frees itself in its last call-back.
 * The connection itself never has to wait. */

enum { READ_MAX = 64 * 1024, OUT_KEEP = 64 * 1024, LIST_MAX = 16, LAST_WORDS_MS = 100 };

/* Answers that TLS itself owes a server that does not read them, at most. */
enum { ANSWERS_MAX = 256 * 1024 };

struct stream {
    struct redis_conn *owner; /* NULL: let go */
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } uv;
    uv_timer_t patience; /* with this one address; later, with the rest of the input */
    uv_connect_t connect;
    uv_write_t write;
    struct buf flying; /* being written */
    bool writing;
    bool heard;             /* anything at all */
    struct tls_engine *tls; /* owned; NULL: plain */
    bool secure;            /* the handshake is done, on_open has been called */
    bool held;              /* redis_conn_send was put off without a write in flight */
    int open_handles;
};

struct redis_conn {
    uv_loop_t *loop;
    const struct redis_tls *tls;
    struct addr addr;
    const struct redis_conn_events *events;
    void *owner;
    bool opening;
    struct stream *stream; /* the socket that is connecting or connected; may be NULL */
    struct redis_names *names;
    struct sockaddr_storage list[LIST_MAX];
    size_t listed, tried; /* addresses of this attempt */
    size_t start;         /* the index that is tried first */
    uint64_t deadline_us;
    char why[ADDR_HOST_MAX + 128]; /* why the last address failed */
    char input[READ_MAX];
};

static int connect_next(struct redis_conn *c);
static void on_impatient(uv_timer_t *timer);
static void on_written(uv_write_t *request, int status);

/* Streams. */

static void stream_closed(uv_handle_t *handle)
{
    struct stream *s = handle->data;
    if (--s->open_handles > 0)
        return;
    buf_finish(&s->flying);
    tls_engine_destroy(s->tls);
    free(s);
}

/* The last word of TLS, if it can be written without waiting; nobody depends on it. */
static void say_bye(struct stream *s)
{
    if (s->tls == NULL || !s->secure || s->writing)
        return;
    tls_engine_bye(s->tls);
    struct buf *out = tls_engine_out(s->tls);
    uv_buf_t vector = uv_buf_init(out->data, (unsigned)out->len);
    if (out->len > 0)
        (void)uv_try_write(&s->uv.stream, &vector, 1);
}

static void stream_drop(struct redis_conn *c)
{
    struct stream *s = c->stream;
    if (s == NULL)
        return;
    c->stream = NULL;
    s->owner = NULL;
    say_bye(s);
    uv_close((uv_handle_t *)&s->patience, stream_closed);
    uv_close(&s->uv.handle, stream_closed);
}

static void give_input(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    (void)suggested;
    struct stream *s = handle->data;
    *buf = s->owner != NULL ? uv_buf_init(s->owner->input, READ_MAX) : uv_buf_init(NULL, 0);
}

/* Writes what is in `out`, leaving it empty. No write may be in flight. */
static int start_write(struct stream *s, struct buf *out)
{
    struct buf spare = s->flying;
    s->flying = *out;
    *out = spare;
    if (s->flying.len > UINT32_MAX)
        return ERR_TOO_LONG;
    uv_buf_t vector = uv_buf_init(s->flying.data, (unsigned)s->flying.len);
    if (uv_write(&s->write, &s->uv.stream, &vector, 1, on_written) != 0)
        return ERR_SYSTEM;
    s->writing = true;
    return ERR_OK;
}

/* TLS, between the socket and the owner. Call-backs of the owner may close the connection: then the
 * stream has lost its owner, but it and its engine live on until the loop has closed its handles.
 */

/* What TLS has for the server goes out now, or when the write in flight has ended. */
static int tls_push(struct stream *s)
{
    struct buf *out = tls_engine_out(s->tls);
    if (out->failed)
        return ERR_NOMEM;
    if (out->len == 0)
        return ERR_OK;
    if (!s->writing)
        return start_write(s, out);
    return out->len > ANSWERS_MAX && s->secure ? ERR_TOO_LONG : ERR_OK;
}

static void tls_lost(struct stream *s, int rc)
{
    struct redis_conn *c = s->owner;
    const char *why = tls_engine_reason(s->tls);
    if (why[0] == '\0')
        why = rc == ERR_TOO_LONG ? "the server does not read what it asked for" : err_text(rc);
    (void)snprintf(c->why, sizeof c->why, "%s", why);
    c->events->on_lost(c->owner, c->why);
}

/* Everything that is plain by now goes to the owner. */
static int tls_deliver(struct stream *s)
{
    const char *data;
    size_t n = 1;
    int rc = ERR_OK;
    while (rc == ERR_OK && n > 0 && s->owner != NULL) {
        rc = tls_engine_read(s->tls, &data, &n);
        if (rc == ERR_OK && n > 0)
            s->owner->events->on_read(s->owner->owner, data, n);
    }
    return rc;
}

/* Goes on after input, or at the start without any. */
static void tls_step(struct stream *s, const char *data, size_t n)
{
    int rc = n > 0 ? tls_engine_feed(s->tls, data, n) : ERR_OK;
    if (rc == ERR_OK && !s->secure) {
        rc = tls_engine_handshake(s->tls);
        int sent = tls_push(s);
        if (rc == ERR_OK && sent == ERR_OK) {
            s->secure = true;
            s->owner->events->on_open(s->owner->owner);
        }
        rc = rc == ERR_OK ? sent : rc;
    }
    if (rc == ERR_OK)
        rc = tls_deliver(s);
    if (s->owner == NULL)
        return;
    int sent = tls_push(s); /* an alert, if something is wrong */
    if (rc == ERR_OK || rc == ERR_AGAIN)
        rc = sent;
    if (rc != ERR_OK) {
        tls_lost(s, rc);
    } else if (s->held) {
        s->held = false;
        s->owner->events->on_sent(s->owner->owner);
    }
}

static int tls_send(struct stream *s, struct buf *out)
{
    if (!s->secure)
        return ERR_OK;
    int rc = tls_engine_write(s->tls, out->data, out->len);
    s->held = rc == ERR_AGAIN;
    if (rc == ERR_OK)
        buf_reset(out);
    return rc == ERR_OK || rc == ERR_AGAIN ? tls_push(s) : rc;
}

/* How a port that wants TLS answers plain bytes. */
static const char *hint(const struct stream *s)
{
    bool tcp = s->tls == NULL && !s->owner->addr.is_unix;
    return tcp && !s->heard ? " without a word (does that port want TLS, rediss://?)" : "";
}

static const char *why_ended(const struct stream *s)
{
    if (s->tls == NULL)
        return "the server closed the connection";
    return s->secure ? "the connection was cut: the server sent no TLS close_notify"
                     : "the server closed the connection during the TLS handshake";
}

/* The socket. */

static void on_input(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct stream *s = stream->data;
    struct redis_conn *c = s->owner;
    if (c == NULL || n == 0)
        return;
    if (n > 0) {
        s->heard = true;
        if (s->tls == NULL)
            c->events->on_read(c->owner, buf->base, (size_t)n);
        else
            tls_step(s, buf->base, (size_t)n);
        return;
    }
    if (n == UV_EOF)
        (void)snprintf(c->why, sizeof c->why, "%s%s", why_ended(s), hint(s));
    else
        (void)snprintf(c->why, sizeof c->why, "read: %s%s", uv_strerror((int)n), hint(s));
    c->events->on_lost(c->owner, c->why);
}

static void on_written(uv_write_t *request, int status)
{
    struct stream *s = request->data;
    struct redis_conn *c = s->owner;
    if (s->flying.cap > OUT_KEEP)
        buf_finish(&s->flying);
    buf_reset(&s->flying);
    if (c == NULL)
        return;
    if (status == 0) {
        s->writing = false;
        int rc = s->tls != NULL ? tls_push(s) : ERR_OK;
        if (rc != ERR_OK)
            tls_lost(s, rc);
        else if (!s->writing && (s->tls == NULL || s->secure))
            c->events->on_sent(c->owner);
        return;
    }
    /* Before it hung up the server may have said why (`-ERR max number of clients reached`): the
     * bytes still wait to be read, and the end of them will be the end of the connection. */
    (void)snprintf(c->why, sizeof c->why, "write: %s", uv_strerror(status));
    (void)uv_timer_start(&s->patience, on_impatient, LAST_WORDS_MS, 0);
}

/* A TCP connection to a local port that nobody listens on can, by chance, be connected to itself;
 * it would even keep the server from binding its port. */
static bool talks_to_itself(const struct stream *s)
{
    struct sockaddr_storage here = {0}, there = {0};
    int here_len = sizeof here, there_len = sizeof there;
    return uv_tcp_getsockname(&s->uv.tcp, (struct sockaddr *)&here, &here_len) == 0 &&
           uv_tcp_getpeername(&s->uv.tcp, (struct sockaddr *)&there, &there_len) == 0 &&
           here_len == there_len && memcmp(&here, &there, (size_t)here_len) == 0;
}

static void address_failed(struct redis_conn *c, int status)
{
    (void)snprintf(c->why, sizeof c->why, "cannot connect to %s: %s", c->addr.host,
                   uv_strerror(status));
    stream_drop(c);
    if (connect_next(c) != ERR_OK)
        c->events->on_lost(c->owner, c->why);
}

static void on_connected(uv_connect_t *request, int status)
{
    struct stream *s = request->data;
    struct redis_conn *c = s->owner;
    if (c == NULL)
        return;
    (void)uv_timer_stop(&s->patience);
    if (status == 0 && !c->addr.is_unix) {
        if (talks_to_itself(s))
            status = UV_ECONNREFUSED;
        else
            (void)uv_tcp_nodelay(&s->uv.tcp, 1);
    }
    if (status == 0)
        status = uv_read_start(&s->uv.stream, give_input, on_input);
    if (status != 0) {
        address_failed(c, status);
        return;
    }
    c->opening = false;
    c->start = c->listed > 0 ? (c->start + c->tried) % c->listed : 0;
    if (s->tls != NULL)
        tls_step(s, NULL, 0);
    else
        c->events->on_open(c->owner);
}

static void on_impatient(uv_timer_t *timer)
{
    struct stream *s = timer->data;
    struct redis_conn *c = s->owner;
    if (c == NULL)
        return;
    if (c->opening)
        address_failed(c, UV_ETIMEDOUT);
    else
        c->events->on_lost(c->owner, c->why);
}

static struct stream *stream_create(struct redis_conn *c)
{
    struct stream *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    if (c->tls != NULL && (s->tls = tls_engine_create(c->tls, &c->addr)) == NULL) {
        free(s);
        return NULL;
    }
    int rc =
        c->addr.is_unix ? uv_pipe_init(c->loop, &s->uv.pipe, 0) : uv_tcp_init(c->loop, &s->uv.tcp);
    if (rc != 0) {
        tls_engine_destroy(s->tls);
        free(s);
        return NULL;
    }
    (void)uv_timer_init(c->loop, &s->patience);
    s->open_handles = 2;
    s->uv.handle.data = s->patience.data = s->connect.data = s->write.data = s;
    s->owner = c;
    return s;
}

/* Addresses. */

/* What is left of the time, shared by the addresses that are left. */
static uint64_t patience_ms(const struct redis_conn *c)
{
    uint64_t now = clock_mono_us();
    uint64_t left = c->deadline_us > now ? (c->deadline_us - now) / US_PER_MS : 0;
    return left / (c->listed - c->tried + 1);
}

/* Starts on the next address that can be started on. An error: none is left; c->why says why. */
static int connect_next(struct redis_conn *c)
{
    while (c->tried < c->listed) {
        const struct sockaddr_storage *to = &c->list[(c->start + c->tried) % c->listed];
        c->tried++;
        c->stream = stream_create(c);
        if (c->stream == NULL) {
            (void)snprintf(c->why, sizeof c->why, "%s", err_text(ERR_NOMEM));
            return ERR_NOMEM;
        }
        int rc = uv_tcp_connect(&c->stream->connect, &c->stream->uv.tcp,
                                (const struct sockaddr *)to, on_connected);
        if (rc == 0) {
            /* The last one may take all the time there is: the caller watches that. */
            if (c->tried < c->listed)
                (void)uv_timer_start(&c->stream->patience, on_impatient, patience_ms(c), 0);
            return ERR_OK;
        }
        (void)snprintf(c->why, sizeof c->why, "cannot connect to %s: %s", c->addr.host,
                       uv_strerror(rc));
        stream_drop(c);
    }
    return ERR_SYSTEM;
}

static void list_addresses(struct redis_conn *c, const struct addrinfo *found)
{
    c->listed = c->tried = 0;
    for (const struct addrinfo *a = found; a != NULL && c->listed < LIST_MAX; a = a->ai_next) {
        if ((a->ai_family != AF_INET && a->ai_family != AF_INET6) ||
            a->ai_addrlen > sizeof c->list[0])
            continue;
        memcpy(&c->list[c->listed++], a->ai_addr, a->ai_addrlen);
    }
    c->start = c->listed > 0 ? c->start % c->listed : 0;
}

/* Nobody waits during a back-off, or after having been pointed elsewhere. */
static bool on_found(void *owner, const struct addr *addr, int status, const struct addrinfo *found)
{
    struct redis_conn *c = owner;
    if (!c->opening || c->stream != NULL || !addr_equal(&c->addr, addr))
        return false;
    (void)snprintf(c->why, sizeof c->why, "cannot find the address of %s: %s", c->addr.host,
                   status != 0 ? uv_strerror(status) : "it has none");
    list_addresses(c, status == 0 ? found : NULL);
    if (connect_next(c) != ERR_OK)
        c->events->on_lost(c->owner, c->why);
    return true;
}

static int open_name(struct redis_conn *c)
{
    struct addrinfo *found;
    int rc = redis_names_ask(c->names, &c->addr, &found);
    if (rc != ERR_OK)
        return rc == ERR_AGAIN ? ERR_OK : rc; /* on_found will be called */
    list_addresses(c, found);
    uv_freeaddrinfo(found);
    return connect_next(c);
}

/* A literal address needs no thread of the pool, where a hanging resolver may be in the way. */
static bool read_literal(struct redis_conn *c)
{
    c->tried = 0;
    c->listed = 1;
    return uv_ip4_addr(c->addr.host, c->addr.port, (struct sockaddr_in *)&c->list[0]) == 0 ||
           uv_ip6_addr(c->addr.host, c->addr.port, (struct sockaddr_in6 *)&c->list[0]) == 0;
}

static int open_unix(struct redis_conn *c)
{
    c->stream = stream_create(c);
    if (c->stream == NULL)
        return ERR_NOMEM;
    uv_pipe_connect(&c->stream->connect, &c->stream->uv.pipe, c->addr.host, on_connected);
    return ERR_OK;
}

/* The interface. */

struct redis_conn *redis_conn_create(uv_loop_t *loop, const struct redis_tls *tls,
                                     const struct addr *addr,
                                     const struct redis_conn_events *events, void *owner)
{
    struct redis_conn *c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    c->loop = loop;
    c->tls = tls;
    c->addr = *addr;
    c->events = events;
    c->owner = owner;
    c->names = redis_names_create(loop, on_found, c);
    if (c->names == NULL) {
        free(c);
        return NULL;
    }
    return c;
}

void redis_conn_destroy(struct redis_conn *c)
{
    if (c == NULL)
        return;
    redis_conn_close(c);
    redis_names_destroy(c->names);
    free(c);
}

void redis_conn_point(struct redis_conn *c, const struct redis_tls *tls, const struct addr *addr)
{
    c->tls = tls;
    if (addr_equal(&c->addr, addr))
        return;
    c->addr = *addr;
    c->start = 0;
}

int redis_conn_open(struct redis_conn *c, uint32_t timeout_ms, const char **why)
{
    c->opening = true;
    c->deadline_us = clock_mono_us() + (uint64_t)timeout_ms * US_PER_MS;
    c->why[0] = '\0';
    int rc = ERR_OK;
    if (c->addr.is_unix) {
        c->listed = c->tried = 0;
        rc = open_unix(c);
    } else if (read_literal(c)) {
        rc = connect_next(c);
    } else {
        rc = open_name(c);
    }
    if (rc != ERR_OK) {
        *why = c->why[0] != '\0' ? c->why : err_text(rc);
        redis_conn_close(c);
    }
    return rc;
}

int redis_conn_send(struct redis_conn *c, struct buf *out)
{
    struct stream *s = c->stream;
    if (s == NULL || c->opening || s->writing || out->len == 0)
        return ERR_OK;
    return s->tls != NULL ? tls_send(s, out) : start_write(s, out);
}

const char *redis_conn_awaits(const struct redis_conn *c)
{
    bool shaking = c->stream != NULL && c->stream->tls != NULL && !c->opening;
    return shaking ? "the TLS handshake (does that port speak TLS?)" : "the attempt to connect";
}

void redis_conn_good(struct redis_conn *c)
{
    c->start = 0;
}

void redis_conn_close(struct redis_conn *c)
{
    c->opening = false;
    stream_drop(c);
}
