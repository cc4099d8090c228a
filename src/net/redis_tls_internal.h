/* Shared by the redis_tls*.c files only: what knows OpenSSL's types. */
#ifndef TICKERD_NET_REDIS_TLS_INTERNAL_H
#define TICKERD_NET_REDIS_TLS_INTERNAL_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>

#include "tickerd/net/redis_tls.h"
#include "tickerd/wire/addr.h"

/* A client's SSL that verifies the server by the name it puts into `name`. NULL: out of memory. */
SSL *redis_tls_open(const struct redis_tls *tls, const struct addr *addr,
                    char name[ADDR_HOST_MAX + 1]);

/* What the newest error of OpenSSL's queue means, as a sentence into `out`. `name` is what was
 * verified; `shaking` says that the handshake was not done. Names nothing that the server sent. */
void redis_tls_explain(char *out, size_t size, const SSL *ssl, const char *name, bool shaking);

#endif
