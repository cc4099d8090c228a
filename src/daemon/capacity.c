#include "tickerd/daemon/capacity.h"

#include <sys/resource.h>

enum { FILES_OWN = 48, FILES_PER_WORKER = 12, FILES_DEFAULT = 1024 };

static size_t open_file_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return FILES_DEFAULT;
    if (limit.rlim_cur < limit.rlim_max) {
        rlim_t before = limit.rlim_cur;
        limit.rlim_cur = limit.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
            limit.rlim_cur = before;
    }
    return limit.rlim_cur > SIZE_MAX / 2 ? SIZE_MAX / 2 : (size_t)limit.rlim_cur;
}

void capacity_init(struct capacity *c, uint32_t clients, uint32_t workers)
{
    size_t files = open_file_limit();
    size_t own = FILES_OWN + (size_t)workers * FILES_PER_WORKER;
    size_t room = files > own * 2 ? files - own : files / 2;
    size_t spare = room / 20 + 1; /* for answering those who find no room */
    atomic_init(&c->streams, 0);
    atomic_init(&c->connections, 0);
    c->max_connections = room;
    c->max_streams = room - spare;
    if (clients > 0 && clients < c->max_streams)
        c->max_streams = clients;
}

bool capacity_enter(_Atomic size_t *count, size_t max)
{
    if (atomic_fetch_add_explicit(count, 1, memory_order_relaxed) < max)
        return true;
    capacity_leave(count);
    return false;
}

void capacity_leave(_Atomic size_t *count)
{
    (void)atomic_fetch_sub_explicit(count, 1, memory_order_relaxed);
}
