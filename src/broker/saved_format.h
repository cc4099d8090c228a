/* What registry_save.c and registry_restore.c must agree on. A change of any of this, or of the
 * order in GAP_REASONS, is a new SAVED_VERSION. */
#ifndef TICKERD_BROKER_SAVED_FORMAT_H
#define TICKERD_BROKER_SAVED_FORMAT_H

#include "tickerd/broker/saved.h"

#define SAVED_MAGIC "tkstate\n"

enum { SAVED_MAGIC_LEN = sizeof SAVED_MAGIC - 1 };

_Static_assert(GAP_REASON_COUNT == 7, "reasons are saved by number");

/* The plain fields of struct hole, by the width they are saved in. What is added to it is added
 * here. Beside them stand its reason and whether it names the log's channel. */
#define SAVED_HOLE_FIELDS(X)                                                                       \
    X(u64, evicted_seq)                                                                            \
    X(u64, evicted_prev)                                                                           \
    X(u32, evicted_fp)                                                                             \
    X(u8, never_kept)                                                                              \
    X(u8, superseded)                                                                              \
    X(u8, cuts)                                                                                    \
    X(u64, first)                                                                                  \
    X(u64, made)

/* The least that can stand for one of each; so many cannot follow in fewer bytes. */
enum {
    SAVED_ENTRY_MIN = 8 + 4, /* position and, at least, the fingerprint */
    SAVED_CHANNEL_MIN = 1 + 1 + 4,
    SAVED_SUBSCRIPTION_MIN = 1 + 1 + 8,
};

/* No log has more: history.events ends well below. */
enum { SAVED_ENTRIES_MAX = 1 << 26 };

/* Positions and shifts beyond are damage: far from any overflow, and from any clock. */
#define SAVED_POSITION_MAX ((uint64_t)1 << 60)

#endif
