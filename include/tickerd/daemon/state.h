/* The file in which histories and positions outlive a clean stop (state.file).
 *
 * At the start the file is taken out of the way before it is read, so that nothing can be read
 * twice: neither by a start after a crash, which must not believe what was true before the last
 * run, nor by one after a crash while reading. At the stop it is written whole or not at all. Two
 * instances cannot share one: a lock beside it says whose it is.
 *
 * Nothing here keeps the daemon from starting or from ending with status 0. What fails is logged,
 * and clients are told by a gap as after a crash. */
#ifndef TICKERD_DAEMON_STATE_H
#define TICKERD_DAEMON_STATE_H

#include "tickerd/daemon/hub.h"

struct state {
    char *file, *temp, *bad, *lock; /* owned paths; all NULL: off */
    int lock_fd;                    /* -1: the lock is not ours */
    uint64_t total_bytes;           /* history.total_bytes */
};

/* Begin, with nothing to do where state.file is not set. ERR_NOMEM: nothing to finish. */
int state_init(struct state *s, const struct config *config);

/* Give up the lock, free the paths. */
void state_finish(struct state *s);

/* Let the hub, not started yet, take up what the file holds; and say now if it will not be possible
 * to write it later. */
void state_load(struct state *s, struct hub *h);

/* Write what the hub, closed by now, knows. */
void state_save(struct state *s, const struct hub *h);

#endif
