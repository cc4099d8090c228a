/* Private to net's Redis source. A control connection: questions to a Sentinel or a cluster node,
 * and what is published, beside the connection that the messages come by. Few and small replies, as
 * hiredis builds them.
 *
 * It is opened by the first send and then stays open. Whatever goes wrong with it, connecting,
 * login, silence, nonsense, is one call of on_failed; the next send opens it again. */
#ifndef TICKERD_NET_REDIS_CTL_H
#define TICKERD_NET_REDIS_CTL_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "tickerd/net/redis_tls.h"
#include "tickerd/wire/addr.h"

struct redisReply;

struct redis_ctl_events {
    /* A reply, valid during the call; or a message, once something has been subscribed. An error
     * reply that ends the connection (no login, loading, …) is on_failed instead. */
    void (*on_reply)(void *owner, const struct redisReply *reply);
    /* The connection is closed; replies that are due will not come. `why` is a sentence without
     * secrets. */
    void (*on_failed)(void *owner, const char *why);
};

struct redis_ctl;

/* `tls` is for rediss:// and borrowed; NULL if there is none to come. `timeout_ms`: for connecting,
 * login and the first reply together; then for each reply. `key`, a static string, is where in the
 * configuration user and password stand. NULL: out of memory. Call-backs come from the loop only,
 * never from within a call. */
struct redis_ctl *redis_ctl_create(uv_loop_t *loop, const struct redis_tls *tls,
                                   uint32_t timeout_ms, const char *key,
                                   const struct redis_ctl_events *events, void *owner);

/* No call-back comes any more; the memory is freed in a later turn of the loop. */
void redis_ctl_destroy(struct redis_ctl *c);

/* Whom to talk to; borrowed until the next call. Another one than before closes the connection. */
void redis_ctl_point(struct redis_ctl *c, const struct redis_url *url);

/* Send a command of words; `lens` may be NULL: then they are strings. On failure on_failed comes
 * from the loop. */
void redis_ctl_send(struct redis_ctl *c, int argc, const char **argv, const size_t *lens);

/* Whether there is a connection, or one is being made. */
bool redis_ctl_is_open(const struct redis_ctl *c);

void redis_ctl_close(struct redis_ctl *c);

#endif
