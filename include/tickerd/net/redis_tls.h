/* TLS towards Redis (`rediss://`), by OpenSSL: what all connections share. TLS 1.2 or later; the
 * server's certificate and its name are always verified. The connections' part is private to net
 * (src/net/redis_tls_engine.h). */
#ifndef TICKERD_NET_REDIS_TLS_H
#define TICKERD_NET_REDIS_TLS_H

#include "tickerd/base/buf.h"

struct redis_tls_options {   /* NULL or "": none */
    const char *ca;          /* PEM file of the CA certificates to trust; none: the system's */
    const char *cert;        /* PEM file of the client certificate, its chain behind it */
    const char *key;         /* PEM file of the certificate's private key */
    const char *server_name; /* the name or address to verify; none: the address' host */
};

struct redis_tls;

/* Read the files. NULL: `errors` has one line per problem, each naming the key of the configuration
 * (redis.tls.…), the file and the reason. Nothing is read again later. */
struct redis_tls *redis_tls_create(const struct redis_tls_options *options, struct buf *errors);

/* Connections that are still closing need it no longer. NULL is allowed. */
void redis_tls_destroy(struct redis_tls *tls);

#endif
