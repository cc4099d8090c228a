/* How many connections and streams the process may hold, counted across all workers; and what each
 * address and subject has of them. */
#ifndef TICKERD_DAEMON_CAPACITY_H
#define TICKERD_DAEMON_CAPACITY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tickerd/daemon/tally.h"

/* What the admin listener may have. */
enum { CAPACITY_ADMIN_CONNECTIONS = 64, CAPACITY_ADMIN_STREAMS = 32 };

struct capacity {
    _Atomic size_t streams;
    _Atomic size_t connections;
    _Atomic size_t max_streams;
    size_t room; /* for streams, by the open-file limit */
    size_t max_connections;
    struct tally *tally; /* NULL: the admin listener's, where nobody has limits */
    /* When the log last said that there is no room, and that some made room; 0: never. */
    _Atomic uint64_t told_us, told_shed_us;
};

/* Raise the soft open-file limit to the hard one and set the maxima: `clients` (limits.clients, 0:
 * what the limit allows), some descriptors kept for everything else and for telling clients that
 * there is no room. ERR_NOMEM; ERR_RANGE: the limit is too low for so many workers and addresses to
 * listen on, which has been logged. With `admin`, there is room for the admin listener, too. */
int capacity_init(struct capacity *c, uint32_t clients, uint32_t workers, size_t listeners,
                  bool admin);

/* That of the admin listener: small, and its own, so that neither crowds the other out. */
void capacity_init_admin(struct capacity *c);

/* After all clients have gone. */
void capacity_finish(struct capacity *c);

/* Change the number of streams allowed (limits.clients); those above it stay. From any thread. */
void capacity_set_clients(struct capacity *c, uint32_t clients);

/* Take one if there is room. Each true is to be followed by one capacity_leave. */
bool capacity_enter(_Atomic size_t *count, size_t max);
void capacity_leave(_Atomic size_t *count);

/* Say in the log that somebody found no room: at once, and then every ten seconds at most. */
void capacity_tell(struct capacity *c, uint64_t now_us);

/* The same where room was made by cutting a connection without a request. */
void capacity_tell_shed(struct capacity *c, uint64_t now_us);

#endif
