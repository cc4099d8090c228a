/* Redis Pub/Sub as a source (broker/source.h): RESP2 through hiredis' redisReader over a libuv
 * stream of our own (TCP, IPv6, DNS names, unix sockets, TLS), on one server, on the master that
 * Sentinels name, or on any node of a Redis Cluster. hiredis' async layer is not used: it
 * aborts on push kinds it does not know, drops the connection on one refused SUBSCRIBE, and with
 * 0.14 never reconnects.
 *
 * The process must ignore SIGPIPE: libuv's writes to a server that has gone raise it. */
#ifndef TICKERD_NET_REDIS_H
#define TICKERD_NET_REDIS_H

#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "tickerd/broker/source.h"
#include "tickerd/net/redis_tls.h"
#include "tickerd/wire/addr.h"

/* All that is pointed to is read during redis_source_create only. */
struct redis_options {
    const struct redis_url *url; /* with Sentinels: all but its address */
    const struct redis_tls *tls; /* NULL: no rediss:// anywhere; must outlive the source */
    const struct redis_url *sentinels;
    size_t sentinel_count;
    const char *master;       /* the name by which the Sentinels know it; NULL without them */
    const struct addr *nodes; /* further addresses, should `url` be a node of a cluster */
    size_t node_count;
    uint32_t ping_interval_ms;
    uint32_t ping_timeout_ms; /* also the deadline for connect and login */
    uint32_t backoff_max_ms;
};

/* Make a source on this loop. Call-backs get `ctx`; `events` must outlive the source.
 * Returns NULL when memory is out, or with rediss:// and no `tls`. Ends with ops->close. */
struct source *redis_source_create(uv_loop_t *loop, const struct redis_options *options,
                                   const struct source_events *events, void *ctx);

#endif
