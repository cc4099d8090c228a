/* Between the files of the ring. */
#ifndef TICKERD_BROKER_RING_INTERNAL_H
#define TICKERD_BROKER_RING_INTERNAL_H

#include "tickerd/broker/ring.h"

/* Keep what is known of the newest holes up to date: this one is new, or has grown. */
void ring_note_hole(struct ring *r, const struct entry *e);

/* Let the newer hole swallow the older one; the result stands at the newer's place. Where the older
 * one stood is remembered as a loss before the newest evicted event. */
void ring_melt(struct ring *r, const struct entry *into, const struct entry *from);

/* Whether there are so many holes that a pass over all entries is due. */
bool ring_is_crowded(const struct ring *r);

/* That pass: of each run of holes, those of the same channel melt into one. A hole without a name
 * may be of any channel, and whoever may hear some of them is told of it, so names are given up
 * only where very many channels have holes. */
void ring_melt_runs(struct ring *r);

/* A channel that was busy once must not keep the slots for ever. A failure to shrink is harmless.
 */
void ring_shrink(struct ring *r);

#endif
