/* Private to net's Redis source. The conversation with the server as a state machine without
 * sockets: bytes in, bytes out, call-backs of broker/source.h in between.
 *
 *   begin → out: AUTH, HELLO, in one go
 *         → feed: the answer to HELLO: on_hello → out: all wanted (P)SUBSCRIBEs, PING, in one go
 *           (where HELLO is unknown, INFO is asked first: it would not be answered any more later)
 *         → feed … feed: acknowledgements, refusals; the answer to PING: on_ready
 *         → feed: messages …
 *   end     when the connection is lost; then begin again with the next one.
 *
 * Replies come in the order of the commands, and an error names no channel: a queue of the
 * commands that are unanswered says what an error is about. */
#ifndef TICKERD_NET_REDIS_PROTO_H
#define TICKERD_NET_REDIS_PROTO_H

#include <stdbool.h>
#include <stddef.h>

#include "redis_hello.h"
#include "tickerd/base/buf.h"
#include "tickerd/broker/source.h"

struct redis_proto_options {
    const char *user;                   /* NULL: none; copied */
    const char *password;               /* NULL: none; copied */
    const struct source_events *events; /* message, acked and refused are called from here */
    void *ctx;
    /* What the server is. Not 0: it will not do, *why is a sentence; this ends the feed with
     * ERR_AGAIN. */
    int (*on_hello)(void *owner, const struct redis_hello *hello, const char **why);
    void (*on_pong)(void *owner);  /* redis_proto_ping has been answered; may be NULL */
    void (*on_ready)(void *owner); /* everything that was wanted has been answered */
    void *owner;
};

struct redis_proto;

/* NULL when memory is out. */
struct redis_proto *redis_proto_create(const struct redis_proto_options *options);
void redis_proto_destroy(struct redis_proto *p);

/* A new connection is open. Returns 0 or ERR_NOMEM. */
int redis_proto_begin(struct redis_proto *p);

/* Bytes from the server. Returns 0, or what ended the conversation: ERR_DENIED (login refused),
 * ERR_AGAIN (the server cannot serve now), ERR_INVALID (it does not speak the protocol),
 * ERR_NOMEM, ERR_CLOSED (redis_proto_stop was called). The caller then closes and calls end. */
int redis_proto_feed(struct redis_proto *p, const char *data, size_t n);

/* Why feed failed, as a sentence for logs, without secrets. Valid until the next begin. */
const char *redis_proto_reason(struct redis_proto *p);

/* The connection is gone. */
void redis_proto_end(struct redis_proto *p);

/* No call-back from now on, not even from the feed that is running. */
void redis_proto_stop(struct redis_proto *p);

/* As in source.h. Commands go to `out`. */
int redis_proto_subscribe(struct redis_proto *p, enum source_sub kind, const char *name,
                          size_t len);
void redis_proto_unsubscribe(struct redis_proto *p, enum source_sub kind, const char *name,
                             size_t len);

/* Ask for a sign of life. False: it is not the time, or such a question is unanswered. */
bool redis_proto_ping(struct redis_proto *p);

/* Whether anything has been acknowledged since redis_proto_begin. */
bool redis_proto_acked(const struct redis_proto *p);

/* Whether commands wait for redis_proto_retry, and sending those again. */
bool redis_proto_refused(const struct redis_proto *p);
void redis_proto_retry(struct redis_proto *p);

/* Names in the table. */
size_t redis_proto_names(const struct redis_proto *p);

/* Bytes for the server; the caller takes them away. If it `failed`, end the connection. */
struct buf *redis_proto_out(struct redis_proto *p);

#endif
