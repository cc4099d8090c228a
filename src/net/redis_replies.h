/* Private to net's Redis source. What Sentinels and cluster nodes answer, read without believing
 * any of it: pure functions on replies and texts. */
#ifndef TICKERD_NET_REDIS_REPLIES_H
#define TICKERD_NET_REDIS_REPLIES_H

#include <stdbool.h>
#include <stddef.h>

#include "tickerd/wire/addr.h"

struct redisReply;

/* ---- Sentinel ---- */

enum redis_master_answer {
    REDIS_MASTER_AT,      /* the address is filled in */
    REDIS_MASTER_NIL,     /* it knows no such master */
    REDIS_MASTER_ERROR,   /* an error reply */
    REDIS_MASTER_NONSENSE /* anything else */
};

/* The answer to SENTINEL get-master-addr-by-name. */
enum redis_master_answer redis_read_master(const struct redisReply *r, struct addr *master);

/* A message `+switch-master` about this master; `to` is filled in with its new address. */
bool redis_read_switch(const struct redisReply *r, const char *master, struct addr *to);

/* The acknowledgement of a SUBSCRIBE. */
bool redis_is_subscribed(const struct redisReply *r);

/* ---- Cluster ---- */

enum { REDIS_NODES_MAX = 256 };

/* What CLUSTER NODES says. */
struct redis_cluster {
    struct addr *nodes; /* owned; those that can be connected to, as far as the server knows */
    size_t count;
    size_t self;            /* the index of the server itself; `count`: it is not among them */
    size_t voters, reached; /* masters with slots; of them those that are not failing */
};

/* Read the text. Lines that make no sense are left out; of very many nodes, the first
 * REDIS_NODES_MAX are listed. A node that does not know its own address, or another's host, is at
 * `via`, where the text was had from. ERR_NOMEM, ERR_INVALID (no line makes sense): nothing to
 * finish. */
int redis_cluster_read(struct redis_cluster *c, const char *text, size_t len,
                       const struct addr *via);
void redis_cluster_finish(struct redis_cluster *c);

/* Whether the server is with the majority of the cluster. One that is not is cut off: what is
 * published elsewhere does not reach it. */
bool redis_cluster_has_majority(const struct redis_cluster *c);

enum redis_cluster_state { REDIS_STATE_OK, REDIS_STATE_FAIL, REDIS_STATE_NONSENSE };

/* What CLUSTER INFO says. REDIS_STATE_NONSENSE: it is no such text. */
enum redis_cluster_state redis_cluster_read_state(const char *text, size_t len);

#endif
