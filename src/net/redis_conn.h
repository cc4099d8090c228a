/* Private to net's Redis source. A reliable stream of bytes to one address: resolve, connect,
 * write, read, close; with TLS or without. All that is known of sockets is here.
 *
 * One redis_conn serves one connection after another. Call-backs come from the loop only, never
 * from within a call. After redis_conn_close no call-back comes until the next open. */
#ifndef TICKERD_NET_REDIS_CONN_H
#define TICKERD_NET_REDIS_CONN_H

#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "tickerd/base/buf.h"
#include "tickerd/net/redis_tls.h"
#include "tickerd/wire/addr.h"

struct redis_conn_events {
    /* Connected, and with TLS the server is who it should be: write now. */
    void (*on_open)(void *owner);
    /* Bytes arrived; valid during the call. May close the connection. */
    void (*on_read)(void *owner, const char *data, size_t n);
    /* What redis_conn_send took has been written: it may be called again. */
    void (*on_sent)(void *owner);
    /* It could not be opened, or it ended; `why` is a sentence. Close it. */
    void (*on_lost)(void *owner, const char *why);
};

struct redis_conn;

/* `tls` is borrowed (NULL: plain), `addr` is copied. NULL when memory is out. */
struct redis_conn *redis_conn_create(uv_loop_t *loop, const struct redis_tls *tls,
                                     const struct addr *addr,
                                     const struct redis_conn_events *events, void *owner);

/* Close, and free what can be freed; handles and requests of the loop free themselves later. Not
 * from within a call-back of this connection. */
void redis_conn_destroy(struct redis_conn *c);

/* Resolve, connect and, with TLS, shake hands, trying each address in turn so that all get a share
 * of `timeout_ms`. (The caller watches the whole.) A name that was still being looked up when the
 * last attempt was given up is not looked up again: a slow resolver only has to be faster than
 * several attempts. Returns 0, and on_open or on_lost will follow; or an ERR_ code and in *why a
 * sentence that is valid until the next open. */
int redis_conn_open(struct redis_conn *c, uint32_t timeout_ms, const char **why);

/* The next open goes there: as in redis_conn_create. Close first. */
void redis_conn_point(struct redis_conn *c, const struct redis_tls *tls, const struct addr *addr);

/* Write all of `out`, leaving it empty, unless a write is still in flight: then nothing happens,
 * and on_sent will say when to call again. (With TLS a renegotiation can be in the way as well.)
 * Returns 0, or an ERR_ code: close. */
int redis_conn_send(struct redis_conn *c, struct buf *out);

/* What is being waited for between open and on_open, to be said when the time is over: "no answer
 * to …". Static. */
const char *redis_conn_awaits(const struct redis_conn *c);

/* The peer is fit: start with the first address the next time. Without this, the next attempt
 * starts with the address behind the one that connected, but was of no use. */
void redis_conn_good(struct redis_conn *c);

void redis_conn_close(struct redis_conn *c);

#endif
