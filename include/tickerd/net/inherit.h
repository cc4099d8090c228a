/* Listening sockets that the service manager has opened and passes on (sd_listen_fds(3)). They
 * outlive the process: who connects between two runs waits in the kernel's queue for the next. */
#ifndef TICKERD_NET_INHERIT_H
#define TICKERD_NET_INHERIT_H

#include <stdbool.h>
#include <stddef.h>

#include "tickerd/base/buf.h"
#include "tickerd/wire/addr.h"

struct inherited {
    int fd;
    bool admin; /* its name begins with "admin": it is no public one */
    struct addr addr;
};

struct inheritance {
    struct inherited *items; /* owned; the descriptors are the caller's */
    size_t count;
};

/* Take over what LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES of the environment promise to this
 * process, and unset them, since nobody else is meant. Before there are threads. Nothing promised:
 * ERR_OK and none. ERR_INVALID: something passed on is of no use here; ERR_NOMEM; both with a
 * sentence in `why`, and nothing to finish. */
int inherit_take(struct inheritance *in, struct buf *why);

void inherit_finish(struct inheritance *in);

#endif
