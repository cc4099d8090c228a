/* Private to net's Redis source. TLS on one connection as a state machine without sockets: sealed
 * bytes of the server in, plain ones out, and the reverse.
 *
 *   handshake → out: take it to the server
 *   feed, handshake, out: until the handshake is done and the certificate verified
 *   feed, read … read, out: plain bytes come, until there are none; write, out: plain bytes go
 *
 * Any of them may leave something in `out`, an alert in the case of an error as well. */
#ifndef TICKERD_NET_REDIS_TLS_ENGINE_H
#define TICKERD_NET_REDIS_TLS_ENGINE_H

#include <stddef.h>

#include "tickerd/base/buf.h"
#include "tickerd/net/redis_tls.h"
#include "tickerd/wire/addr.h"

struct tls_engine;

/* An engine for one connection. The name to verify is that of the context's options, else the host
 * of `addr` as it is now; it is sent to the server (SNI) unless it is an address. NULL when memory
 * is out. */
struct tls_engine *tls_engine_create(const struct redis_tls *tls, const struct addr *addr);
void tls_engine_destroy(struct tls_engine *e);

/* Take bytes from the server; then call handshake or read. Returns 0 or ERR_NOMEM. */
int tls_engine_feed(struct tls_engine *e, const char *data, size_t n);

/* Go on with the handshake. Returns 0 when it is done and the server is who it should be, ERR_AGAIN
 * when it takes more bytes, or an ERR_ code: it failed, for tls_engine_reason. */
int tls_engine_handshake(struct tls_engine *e);

/* The next plain bytes: *n of them at *data, valid until the next call; *n is 0 when it takes more
 * sealed ones. Returns 0, ERR_CLOSED (the server said goodbye), or another ERR_ code; both are for
 * tls_engine_reason, and final. */
int tls_engine_read(struct tls_engine *e, const char **data, size_t *n);

/* Seal n bytes. Returns 0, or ERR_AGAIN (nothing was taken, as the server renegotiates: again after
 * the next read), or an ERR_ code. */
int tls_engine_write(struct tls_engine *e, const char *data, size_t n);

/* Say goodbye, if the connection is fit for it. */
void tls_engine_bye(struct tls_engine *e);

/* Sealed bytes for the server; the caller takes them away. */
struct buf *tls_engine_out(struct tls_engine *e);

/* Why it failed, as a sentence for logs. Valid as long as the engine. */
const char *tls_engine_reason(const struct tls_engine *e);

#endif
