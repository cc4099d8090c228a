/* The sequence of entries that logs and views are made of, ordered by `seq`:
 *
 *     | hole | frame | frame | hole | frame |  …  | frame |
 *       ^ what was evicted                          ^ newest
 *
 * A *frame* is an event. A *hole* says: up to and including this position something may be
 * missing. A client holds nothing but a position P, and what it is owed is simply every entry
 * whose seq is above P: frames are sent, holes become gap events. That makes live fan-out, replay,
 * lagging and every kind of loss one and the same walk, and a client that has passed a hole (its
 * gap event carries the hole's seq as its id) can never be told twice nor miss it.
 *
 * Evicting a frame turns it into a hole, and holes that touch melt into one, so that there are
 * never more holes than twice the frames plus a few, and what is evicted costs nothing but its one
 * mark. In a merged log those of one channel melt, since not everybody may hear of all. */
#ifndef TICKERD_BROKER_RING_H
#define TICKERD_BROKER_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tickerd/broker/frame.h"

#define GAP_REASONS(X)                                                                             \
    X(EVICTED, "evicted")                                                                          \
    X(RESTART, "restart")                                                                          \
    X(UPSTREAM, "upstream")                                                                        \
    X(UNSUBSCRIBED, "unsubscribed")                                                                \
    X(SLOW, "slow")                                                                                \
    X(OVERSIZE, "oversize")                                                                        \
    X(UNKNOWN_ID, "unknown-id")

enum gap_reason {
#define GAP_ENUM(name, text) GAP_##name,
    GAP_REASONS(GAP_ENUM)
#undef GAP_ENUM
        GAP_REASON_COUNT
};

/* The reason as it stands in a gap event. Static. */
const char *gap_reason_text(enum gap_reason reason);

struct hole {
    struct name *channel;  /* owned reference; NULL: all channels */
    uint64_t evicted_seq;  /* newest evicted event under this hole; 0: none */
    uint64_t evicted_prev; /* newest loss of any kind before that one; 0: none */
    uint32_t evicted_fp;
    enum gap_reason reason;
    bool never_kept; /* under it is more than evictions: a stream with `history` is told of it */
    bool superseded; /* under it is nothing that a newer event of a channel with the slow-client
                        policy `latest` has not replaced: nobody needs to be told */
    bool cuts;       /* under it is an event of a channel with the policy `disconnect` */
    uint64_t first; /* nothing before this position is missing under it; 0: that is not known. Below
                       the hole's own seq the hole is called *wide* */
    uint64_t made;  /* the time line's position when the hole came into being or last grew; where a
                     worker's own evictions made it, their count and HOLE_COUNTED */
};

/* Evictions reach a worker without a position of their own, perhaps many at the position it has
 * reached long since; so it counts them, to tell which of two things came first. */
#define HOLE_COUNTED ((uint64_t)1 << 63)

/* seq in the low bits, the kind in the top one: 16 bytes an entry. */
struct entry {
    uint64_t word;
    union {
        struct frame *frame; /* owned reference */
        struct hole *hole;   /* owned */
    } u;
};

#define ENTRY_HOLE ((uint64_t)1 << 63)

static inline uint64_t entry_seq(const struct entry *e)
{
    return e->word & ~ENTRY_HOLE;
}

static inline bool entry_is_hole(const struct entry *e)
{
    return (e->word & ENTRY_HOLE) != 0;
}

struct ring {
    struct entry *slots; /* a power of two of them; NULL while empty */
    uint32_t mask;
    uint32_t start;
    uint32_t count;       /* entries */
    uint32_t holes;       /* of which holes */
    uint64_t newest_hole; /* its seq; 0: none */
    uint64_t newest_loss; /* the same of those that are not superseded */
    uint64_t newest_wide; /* the same of wide holes */
    uint64_t newest_cut;  /* the same of holes that cut */
    uint32_t apart;       /* holes that the last pass could not melt, up to a bound */
    uint32_t generation;  /* how often ring_assign has replaced everything */
    bool distinct;        /* of marks: they do not melt but for the oldest, to keep within
                             RING_DISTINCT_MAX */
};

/* How many outages an instance remembers one by one. */
enum { RING_DISTINCT_MAX = 1024 };

void ring_init(struct ring *r);
void ring_finish(struct ring *r);

static inline struct entry *ring_at(const struct ring *r, uint32_t i)
{
    return &r->slots[(r->start + i) & r->mask];
}

static inline uint32_t ring_frames(const struct ring *r)
{
    return r->count - r->holes;
}

/* The newest entry's seq, or 0 when empty. */
static inline uint64_t ring_head(const struct ring *r)
{
    return r->count == 0 ? 0 : entry_seq(ring_at(r, r->count - 1));
}

/* The index of the first entry with a seq above `seq`, or `count`. Looks from the newest backwards
 * in growing steps first, since that is where nearly every client is. */
uint32_t ring_after(const struct ring *r, uint64_t seq);

/* The newest hole's seq, or 0. */
static inline uint64_t ring_newest_hole(const struct ring *r)
{
    return r->newest_hole;
}

/* Append a frame with a seq above all others; takes over the caller's reference.
 * ERR_NOMEM: nothing changed, the reference stays the caller's. */
int ring_push_frame(struct ring *r, struct frame *f);

/* Append a hole at a seq at or above all others. Takes a reference on channel. It melts with a
 * hole at the end of the same channel and reason; where two others stand there, not of
 * different channels, those become one.
 * ERR_NOMEM: nothing changed. */
int ring_push_hole(struct ring *r, uint64_t seq, struct name *channel, enum gap_reason reason);

/* The same for a ring that is `distinct`: all channels, and nothing before `first` is missing. */
int ring_push_mark(struct ring *r, uint64_t seq, enum gap_reason reason, uint64_t first);

/* What a mark costs no memory for: the newest one, which must be the newest entry, now reaches up
 * to `seq`, for reason GAP_EVICTED. */
void ring_stretch_mark(struct ring *r, uint64_t seq);

/* The oldest and the newest frame, still owned by the ring, or NULL. */
struct frame *ring_oldest(const struct ring *r);
struct frame *ring_newest(const struct ring *r);

/* For rings of one channel: turn the oldest frame into (part of) the hole at the start; `made` is
 * what that hole's `made` shall say. Returns the frame, the ring's reference now the caller's, or
 * NULL if there is no frame. Needs no memory where the ring already starts with a hole; elsewhere a
 * failed allocation returns NULL too and changes nothing. */
struct frame *ring_evict_oldest(struct ring *r, uint64_t made);

/* For rings of one channel with the policy `latest`, when a frame is pushed: what has been evicted
 * is of no interest any more. */
void ring_supersede(struct ring *r);

/* Turn the frame at exactly `seq` into a hole. False if there is none or memory is out (then it
 * simply stays). Used by merged views, where evictions come in any order. */
bool ring_evict_at(struct ring *r, uint64_t seq, uint64_t made);

/* Append copies (with references of their own) of all entries to out[0..count). */
int ring_copy(const struct ring *r, struct entry *out);

/* Replace the contents by `count` entries in order of seq, taking over what they own. On
 * ERR_NOMEM the ring is empty but for nothing and the entries are released. */
int ring_assign(struct ring *r, struct entry *entries, size_t count);

/* Give back what an entry owns. */
void entry_release(struct entry *e);

/* Order entries by seq, for qsort. */
int entry_compare(const void *a, const void *b);

/* Bytes the ring itself holds (slots and holes, not frames). */
size_t ring_overhead(const struct ring *r);

#endif
