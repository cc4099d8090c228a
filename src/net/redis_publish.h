/* Private to net's Redis source. Publishing: a connection that subscribes cannot do anything else
 * in RESP2, so there is another one beside it, to the same server. It is opened when something is
 * published, and closed when nothing has been for a while. */
#ifndef TICKERD_NET_REDIS_PUBLISH_H
#define TICKERD_NET_REDIS_PUBLISH_H

#include "tickerd/broker/source.h"
#include "tickerd/net/redis.h"

struct redis_publisher;

/* In the beginning stopped. NULL: out of memory. */
struct redis_publisher *redis_publisher_create(uv_loop_t *loop,
                                               const struct redis_options *options);

/* What is under way is done with an error; the memory is freed in a later turn of the loop. */
void redis_publisher_destroy(struct redis_publisher *p);

/* The subscribed connection is live at this server. */
void redis_publisher_start(struct redis_publisher *p, const struct addr *addr);

/* It is so no longer: what is under way, and what comes, is done with an error that says `why`. */
void redis_publisher_stop(struct redis_publisher *p, const char *why);

/* As source_ops.publish. */
void redis_publisher_send(struct redis_publisher *p, const char *channel, size_t channel_len,
                          const char *payload, size_t payload_len, source_published *done,
                          void *ctx);

#endif
