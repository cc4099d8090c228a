/* The listening sockets: of the admin listener, and of the public ones for all workers: those the
 * configuration asks for, or in their place those the service manager passes on.
 *
 * Of its own, each worker has one per TCP address, so that the kernel spreads the connections; a
 * unix socket, and any that is inherited, is one descriptor that all workers poll. */
#ifndef TICKERD_DAEMON_SOCKETS_H
#define TICKERD_DAEMON_SOCKETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tickerd/net/inherit.h"
#include "tickerd/wire/addr.h"
#include "tickerd/wire/config.h"

struct sockets {
    size_t count;       /* addresses listened on */
    bool inherited;     /* they are the service manager's, and so is what queues on them */
    struct addr *addrs; /* owned */
    int *fds;           /* owned: per worker, then per address; -1: not open */
    uint32_t workers;
    struct inherited admin; /* the admin listener's, once open; fd -1: there is none */
    bool admin_inherited;
};

/* Find out what there will be, before there are threads. Anything but ERR_OK has been logged, and
 * there is nothing to finish. */
int sockets_init(struct sockets *s, const struct config *config, uint32_t workers);

/* Open those that are not inherited. Failure has been logged. */
int sockets_open(struct sockets *s, const struct config *config);

/* Whether there will be an admin listener: one is passed on, or the configuration asks for one. */
bool sockets_has_admin(const struct sockets *s, const struct config *config);

/* The descriptors of one worker, one per address. */
const int *sockets_of(const struct sockets *s, uint32_t worker);

/* See listener_set_patience. */
void sockets_set_patience(const struct sockets *s, uint64_t ms);

/* Say in the log where it listens. */
void sockets_announce(const struct sockets *s);

/* Close all and remove the files of own unix sockets. */
void sockets_finish(struct sockets *s);

#endif
