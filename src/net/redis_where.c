#include "redis_where.h"

#include <stdlib.h>
#include <string.h>

#include "tickerd/base/err.h"

enum { INTERVAL_MIN_MS = 250, INTERVAL_MAX_MS = 5000 };

const char redis_is_sentinel[] =
    "it is a Sentinel, which knows no messages: give it in redis.sentinels, with redis.master";

struct redis_where *redis_where_create(uv_loop_t *loop, const struct redis_options *options,
                                       const struct redis_where_events *events, void *owner)
{
    return options->sentinel_count > 0 ? redis_sentinels_create(loop, options, events, owner)
                                       : redis_nodes_create(loop, options, events, owner);
}

int redis_url_copy(struct redis_url *to, const struct redis_url *from)
{
    *to = *from;
    to->user = to->password = NULL;
    if ((from->user != NULL && (to->user = strdup(from->user)) == NULL) ||
        (from->password != NULL && (to->password = strdup(from->password)) == NULL)) {
        redis_url_finish(to);
        return ERR_NOMEM;
    }
    return ERR_OK;
}

uint32_t redis_where_interval_ms(const struct redis_options *options)
{
    uint32_t ms = options->ping_interval_ms;
    if (ms < INTERVAL_MIN_MS)
        return INTERVAL_MIN_MS;
    return ms > INTERVAL_MAX_MS ? INTERVAL_MAX_MS : ms;
}
