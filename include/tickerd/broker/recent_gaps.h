/* The last gap announcements of one worker, for people who look: those of the same second, reason
 * and channel are one entry with the number of clients. Noting one costs the same however many
 * there are. Locked, so that another thread may read; gaps are rare. */
#ifndef TICKERD_BROKER_RECENT_GAPS_H
#define TICKERD_BROKER_RECENT_GAPS_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#include "tickerd/broker/name.h"
#include "tickerd/broker/ring.h"

enum { RECENT_GAPS = 50 };

struct recent_gap {
    uint64_t at_us;       /* the wall clock at the first of them */
    struct name *channel; /* NULL: all */
    uint64_t clients;
    enum gap_reason reason;
};

struct recent_gaps {
    pthread_mutex_t lock;                /* of what follows */
    struct recent_gap ring[RECENT_GAPS]; /* of owned references */
    size_t newest, count;
};

void recent_gaps_init(struct recent_gaps *r);
void recent_gaps_finish(struct recent_gaps *r);

/* A client is told of a gap; takes a reference on channel. */
void recent_gaps_note(struct recent_gaps *r, uint64_t at_us, enum gap_reason reason,
                      struct name *channel);

/* From any thread: merge them into `out`, which holds `count` entries, newest first, and has room
 * for RECENT_GAPS. The oldest go where there are more. Returns how many it holds then. The caller
 * ends with recent_gaps_release. */
size_t recent_gaps_merge(struct recent_gaps *r, struct recent_gap *out, size_t count);
void recent_gaps_release(struct recent_gap *gaps, size_t count);

#endif
