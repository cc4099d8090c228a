/* Private to net's Redis source. What a server says of itself when it is greeted: HELLO, or INFO
 * where the server is older than Redis 6. */
#ifndef TICKERD_NET_REDIS_HELLO_H
#define TICKERD_NET_REDIS_HELLO_H

#include <stddef.h>

#include "redis_resp.h"

enum redis_kind { REDIS_KIND_UNKNOWN, REDIS_STANDALONE, REDIS_CLUSTER_NODE, REDIS_SENTINEL };
enum redis_role { REDIS_ROLE_UNKNOWN, REDIS_MASTER, REDIS_REPLICA };

struct redis_hello {
    enum redis_kind kind;
    enum redis_role role;
};

/* The answer to `HELLO 2`: names and values in turn. */
struct redis_hello redis_hello_parse(const struct resp_slice *part, size_t count);

/* The answer to `INFO`: lines `name:value`. */
struct redis_hello redis_hello_parse_info(const char *text, size_t len);

#endif
