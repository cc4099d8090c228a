/* Private to net's Redis source. Where the server is: asked before each attempt to connect, told
 * what became of it, and free to say at any time that the answer has changed.
 *
 *     ask → on_found ─ dial ─ greeted → up … down → ask → …
 *         → on_none  ─ back-off ─────────────────→ ask → …
 *     on_changed at any time: leave what there is, and ask again
 *
 * Two kinds: Sentinels (redis_sentinels.c) say who is the master; otherwise (redis_nodes.c) it is
 * the configured address, and if that turns out to be a node of a cluster, any other node. */
#ifndef TICKERD_NET_REDIS_WHERE_H
#define TICKERD_NET_REDIS_WHERE_H

#include <stdbool.h>
#include <uv.h>

#include "redis_hello.h"
#include "tickerd/net/redis.h"
#include "tickerd/wire/addr.h"

struct redis_where_events {
    /* The answers to ask; may come from within it. `addr` is valid during the call. */
    void (*on_found)(void *owner, const struct addr *addr);
    void (*on_none)(void *owner, const char *why);
    /* The server at hand, if any, is not the one to be at, or was not for a while; ask again
     * without delay. Only from the loop. `why` is a sentence. */
    void (*on_changed)(void *owner, const char *why);
};

struct redis_where;

struct redis_where_ops {
    /* Find the server to connect to next. One answer follows, unless close comes first. */
    void (*ask)(struct redis_where *w);
    /* It is connected to and said what it is. Not 0: it will not do, *why is a static sentence. */
    int (*greeted)(struct redis_where *w, const struct redis_hello *hello, const char **why);
    /* It serves us. */
    void (*up)(struct redis_where *w);
    /* The connection, or the attempt to make it, has ended. */
    void (*down)(struct redis_where *w);
    /* No call-back comes any more; the memory is freed in a later turn of the loop. */
    void (*close)(struct redis_where *w);
};

/* First member of both kinds. */
struct redis_where {
    const struct redis_where_ops *ops;
    bool many_orders; /* as in struct source */
};

/* NULL when memory is out. */
struct redis_where *redis_where_create(uv_loop_t *loop, const struct redis_options *options,
                                       const struct redis_where_events *events, void *owner);

/* The two kinds. */
struct redis_where *redis_sentinels_create(uv_loop_t *loop, const struct redis_options *options,
                                           const struct redis_where_events *events, void *owner);
struct redis_where *redis_nodes_create(uv_loop_t *loop, const struct redis_options *options,
                                       const struct redis_where_events *events, void *owner);

/* A deep copy. ERR_NOMEM: nothing to finish. */
int redis_url_copy(struct redis_url *to, const struct redis_url *from);

/* Said to whoever connects to a Sentinel instead of a server; static. */
extern const char redis_is_sentinel[];

/* How often a directory looks whether it is still right. */
uint32_t redis_where_interval_ms(const struct redis_options *options);

#endif
