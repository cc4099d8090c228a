/* Private to net's Redis source. Addresses of host names. A look-up outlives the attempt to connect
 * that asked for it, and an answer that came too late serves the next attempt: so a slow resolver
 * has to be faster than several attempts only, also where they go to several names in turn. */
#ifndef TICKERD_NET_REDIS_NAMES_H
#define TICKERD_NET_REDIS_NAMES_H

#include <stdbool.h>
#include <uv.h>

#include "tickerd/wire/addr.h"

/* A look-up has ended, with libuv's status; what it found is valid during the call. True: that is
 * what the owner waited for. False: keep it. Comes from the loop only. */
typedef bool redis_names_found(void *owner, const struct addr *addr, int status,
                               const struct addrinfo *found);

struct redis_names;

/* NULL when memory is out. */
struct redis_names *redis_names_create(uv_loop_t *loop, redis_names_found *found, void *owner);

/* Those that are running free themselves later. NULL is allowed. */
void redis_names_destroy(struct redis_names *n);

/* ERR_OK: *found is what is known, the caller's, to be freed by uv_freeaddrinfo. ERR_AGAIN: the
 * call-back will come. Else it cannot be looked up. */
int redis_names_ask(struct redis_names *n, const struct addr *addr, struct addrinfo **found);

#endif
