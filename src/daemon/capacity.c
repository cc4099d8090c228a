#include "tickerd/daemon/capacity.h"

#include <sys/resource.h>

#include "tickerd/base/clock.h"
#include "tickerd/base/err.h"
#include "tickerd/base/log.h"

enum {
    FILES_OWN = 24,         /* stdio, the hub's loop, signals, Redis, looking up names */
    FILES_PER_LOOP = 6,     /* epoll, an eventfd, a pipe for signals; newer libuv: io_uring */
    FILES_PER_LISTENER = 2, /* its socket, and the spare one to shake connections off with */
    FILES_FOR_CLIENTS = 16, /* below that there is no point in starting */
    FILES_DEFAULT = 1024,
};

enum { TELL_US = 10 * US_PER_S };

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

static void reset_counts(struct capacity *c)
{
    atomic_init(&c->streams, 0);
    atomic_init(&c->connections, 0);
    atomic_init(&c->told_us, 0);
    atomic_init(&c->told_shed_us, 0);
}

int capacity_init(struct capacity *c, uint32_t clients, uint32_t workers, size_t listeners,
                  bool admin)
{
    size_t files = open_file_limit();
    size_t own = FILES_OWN + workers * (FILES_PER_LOOP + listeners * FILES_PER_LISTENER);
    if (admin)
        own += FILES_PER_LOOP + FILES_PER_LISTENER + CAPACITY_ADMIN_CONNECTIONS;
    if (files < own + FILES_FOR_CLIENTS) {
        log_error("the limit of open files is %zu, but %u worker%s on %zu address%s need at least "
                  "%zu: raise it (LimitNOFILE= of the service, or ulimit -n) or set fewer workers",
                  files, workers, workers == 1 ? "" : "s", listeners, listeners == 1 ? "" : "es",
                  own + FILES_FOR_CLIENTS);
        return ERR_RANGE;
    }
    c->tally = tally_create();
    if (c->tally == NULL)
        return ERR_NOMEM;
    size_t room = files - own;
    size_t spare = room / 20 + 1; /* for answering those who find no room */
    reset_counts(c);
    c->max_connections = room;
    c->room = room - spare;
    capacity_set_clients(c, clients);
    return ERR_OK;
}

void capacity_init_admin(struct capacity *c)
{
    c->tally = NULL;
    reset_counts(c);
    c->max_connections = CAPACITY_ADMIN_CONNECTIONS;
    c->room = CAPACITY_ADMIN_STREAMS;
    capacity_set_clients(c, 0);
}

void capacity_finish(struct capacity *c)
{
    tally_destroy(c->tally);
    c->tally = NULL;
}

void capacity_set_clients(struct capacity *c, uint32_t clients)
{
    atomic_store(&c->max_streams, clients > 0 && clients < c->room ? clients : c->room);
}

bool capacity_enter(_Atomic size_t *count, size_t max)
{
    /* Never more than max, not even for a moment: another thread would find no room then. */
    size_t n = atomic_load_explicit(count, memory_order_relaxed);
    while (n < max) {
        if (atomic_compare_exchange_weak_explicit(count, &n, n + 1, memory_order_relaxed,
                                                  memory_order_relaxed))
            return true;
    }
    return false;
}

void capacity_leave(_Atomic size_t *count)
{
    (void)atomic_fetch_sub_explicit(count, 1, memory_order_relaxed);
}

/* Whether it is this thread's turn to say so. */
static bool is_due(_Atomic uint64_t *told_us, uint64_t now_us)
{
    uint64_t told = atomic_load_explicit(told_us, memory_order_relaxed);
    if (told != 0 && now_us < told + TELL_US)
        return false;
    return atomic_compare_exchange_strong(told_us, &told, now_us); /* else another worker does */
}

void capacity_tell(struct capacity *c, uint64_t now_us)
{
    if (!is_due(&c->told_us, now_us))
        return;
    if (c->tally == NULL)
        log_warn("all %d connections or %d streams of the admin listener are taken",
                 CAPACITY_ADMIN_CONNECTIONS, CAPACITY_ADMIN_STREAMS);
    else
        log_warn("all %zu places for streams are taken: clients are told to come back later; raise "
                 "limits.clients or the open-file limit (LimitNOFILE)",
                 atomic_load(&c->max_streams));
}

void capacity_tell_shed(struct capacity *c, uint64_t now_us)
{
    if (c->tally != NULL && is_due(&c->told_shed_us, now_us))
        log_warn("all places are taken: connections without a request make room, the oldest first; "
                 "limits.clients_per_ip bounds what one address may have");
}
