/* HTTP/1 connections of one worker: reading one request, answering it or turning the connection
 * into a stream's transport, and closing so that the last bytes arrive.
 *
 * A connection serves one request (`Connection: close`): reading (first a PROXY header, where one
 * is due; one deadline for both) → held, if the answer needs time → answering; or reading →
 * streaming; then, unless the peer is gone, lingering (shut down, draining what the peer still
 * sends, since closing over unread input would be a reset) → closed. */
#ifndef TICKERD_NET_HTTP1_H
#define TICKERD_NET_HTTP1_H

#include <uv.h>

#include "tickerd/base/list.h"
#include "tickerd/broker/session.h"
#include "tickerd/wire/httpreq.h"
#include "tickerd/wire/netblock.h"

struct conn; /* one connection */
struct turns;

/* What became of a connection. */
struct http1_end {
    bool was_stream;
    uint64_t events; /* written to the stream */
    uint64_t bytes;
    enum closing why; /* CLOSING_NONE: it was no stream, or none that began */
    void *user;       /* as set by http1_set_user */
    void *holder;     /* as given to http1_hold, if it was still held; else NULL */
};

struct http1_events {
    /* It is known whose the connection is: `peer` is the socket's, `source` what its PROXY header
     * says, if one was due, else the same. Comes before anything else, and may come during
     * http1_accept. False: close it. */
    bool (*on_peer)(void *ctx, struct conn *c, const struct netaddr *peer,
                    const struct netaddr *source);
    /* A request is complete. Must call http1_reply, http1_stream or http1_hold. The request lives
     * as long as the call. */
    void (*on_request)(void *ctx, struct conn *c, const struct httpreq *request);
    /* It could not be read, or took too long. Must call http1_reply. Only what httpreq.h allows
     * after an ERROR may be asked of `partial`. */
    void (*on_bad_request)(void *ctx, struct conn *c, const struct httpreq_error *error,
                           const struct httpreq *partial);
    /* So many bytes were written to a stream that has not caught up yet; and it has caught up. */
    void (*on_replay)(void *ctx, struct conn *c, size_t bytes);
    void (*on_caught_up)(void *ctx, struct conn *c);
    /* The connection is gone for good; `end` is valid during the call. Comes once for each that
     * http1_accept took over, and may come during that call. */
    void (*on_closed)(void *ctx, const struct http1_end *end);
};

struct http1 {
    uv_loop_t *loop;
    size_t request_bytes;
    size_t body_max;
    uint64_t request_timeout_us;
    const struct http1_events *events;
    void *ctx;
    struct link reading, held, answering, lingering; /* connections by time */
    struct link streaming;
    size_t count;
    struct turns *turns; /* borrowed; NULL: nobody asks */
    char *input;         /* one read's bytes */
};

/* ERR_NOMEM: nothing to finish. */
int http1_init(struct http1 *h, uv_loop_t *loop, size_t request_bytes, uint64_t request_timeout_us,
               const struct http1_events *events, void *ctx);

/* Change the limits, for requests that begin from now on and the time of all. */
void http1_set_limits(struct http1 *h, size_t request_bytes, uint64_t request_timeout_us);

/* Read the bodies of POSTs, of at most so many bytes (httpreq_set_body_max), for connections from
 * now on; the request's deadline is for all of it. 0, as in the beginning: do not. */
void http1_set_body_max(struct http1 *h, size_t bytes);

/* What listener_set_patience set on the socket that they came by, for connections that are there
 * already. One system call for each. */
void http1_set_patience(struct http1 *h, uint64_t ms);

/* Close every connection at once; their memory is freed by the loop. */
void http1_close(struct http1 *h);

/* Bytes of the connections, with their sessions. */
size_t http1_memory(const struct http1 *h);

/* Whether anybody is still owed bytes, an answer or a proper end. */
bool http1_busy(const struct http1 *h);

/* After the loop has run. */
void http1_finish(struct http1 *h);

/* Take over an accepted socket of this peer, who begins with a PROXY header if it is `proxied`.
 * ERR_NOMEM or ERR_SYSTEM: it has been closed, without a call-back. */
int http1_accept(struct http1 *h, int fd, const struct netaddr *peer, bool proxied);

/* Make room: cut the connection that has waited longest without having sent its request, or for its
 * peer to close after the answer. False: there is none. */
bool http1_shed(struct http1 *h);

/* Answer with these bytes (head and body), of any number, and close. What the socket does not take
 * at once is copied and written as it does; a peer that takes nothing of it for request_timeout is
 * cut, and so is he if there is no memory for the copy. */
void http1_reply(struct conn *c, const char *bytes, size_t len);

/* Keep the connection, to call http1_reply later; `holder`, not NULL, tells which one it is. If the
 * peer goes away first, or http1_close comes, or a minute passes, on_closed has the `holder`, and
 * the connection must not be touched any more. Nothing is read meanwhile. */
void http1_hold(struct conn *c, void *holder);

/* Hang something of the caller's on the connection; it comes back in on_closed. */
void http1_set_user(struct conn *c, void *user);
void *http1_user(const struct conn *c);

/* Of a stream: its connection, and the address at the other end, which nothing keeps: one system
 * call. */
struct conn *http1_conn(struct transport *t);
struct netaddr http1_peer(const struct conn *c);

/* Turn the connection into a stream. The session is zeroed memory inside the connection, for
 * session_open with this transport. If session_open fails, call http1_reply. */
struct session *http1_stream(struct conn *c, struct transport **transport);

/* Deadlines of requests, answers and lingering ends. Call a few times a second. */
void http1_tick(struct http1 *h);

#endif
