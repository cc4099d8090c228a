/* Gathering: what a client at position P is owed, as one vector for one write.
 *
 * The walk merges the rings of all views of a client, and the marks, by seq. Small frames are
 * copied side by side into one buffer (one segment is cheaper for the kernel than many), large ones
 * are pointed to.
 *
 * A position says that everything up to it has been sent or told, on this instance or another: so
 * no event goes out while something older is missing untold. Mostly a hole stands before the events
 * that follow its loss. But a hole may reach far back over events of other channels; such losses
 * ahead are announced before those events, and not again where the hole stands.
 *
 * Clients that stand at the same position of the same view get the same batch
 * without walking again: with a thousand clients on a channel the gathering is done once. */
#ifndef TICKERD_BROKER_GATHER_H
#define TICKERD_BROKER_GATHER_H

#include <sys/uio.h>

#include "tickerd/base/strmap.h"
#include "tickerd/broker/replica.h"
#include "tickerd/broker/view.h"

enum { BATCH_BYTES = 256 * 1024, BATCH_ITEMS = 2048, BATCH_SEGMENTS = 64, BATCH_COPY_MAX = 4096 };

/* A moment in the life of a replica: which holes were there already. */
struct moment {
    uint64_t head;      /* the replica's */
    uint64_t evictions; /* the replica's count */
};

/* Losses that a client has been told of before it gets there. */
struct told {
    uint64_t upto; /* holes up to here, if they were there at that moment; 0: none */
    struct moment at;
    uint32_t generation; /* of the rings; another one: forget it all */
};

/* What a stream must remember beyond its position until it has caught up. */
struct replay {
    /* What a first connect with `history=` may see: events up to `until.head` only from where each
     * channel's last N begin, and no holes that were there before the client came. Zero for others.
     */
    struct moment until;
    struct strmap starts; /* channel name -> struct replay_start (owned); empty: all events */
    struct told told;
};

struct replay_start {
    struct name *channel; /* owned reference */
    uint64_t seq;         /* the first event to send */
    uint32_t left;        /* while counting back: how many are still wanted */
};

/* What decides a client's next bytes. */
struct reader {
    uint64_t position;
    uint32_t fp; /* of the event at the position; 0: none */
    enum stream_format format;
    const struct sub *subs;
    size_t sub_count;
    const struct replay *replay; /* NULL: none */
    bool
        behind; /* it is slow or comes back: of channels with the policy `latest` send the newest */
    bool live;  /* it has been at the head: what has been evicted ahead of it, it was slow for */
};

/* One event (or gap event) of a batch. */
struct batch_item {
    uint64_t seq;
    struct frame *frame; /* borrowed; NULL: a gap event, whose bytes are in the copy buffer */
    const char *bytes;   /* start of its bytes */
    uint32_t fp;
    uint32_t end; /* offset in the batch's bytes where it ends */
};

struct cursor {
    const struct ring *ring;
    uint32_t i;
};

struct batch {
    struct iovec iov[1 + BATCH_SEGMENTS]; /* [0] is left free for what is in flight */
    int segments;                         /* in iov[1..] */
    size_t bytes;
    struct batch_item *items; /* BATCH_ITEMS of them */
    uint32_t count;
    uint32_t gaps; /* items that are gap events */
    bool more;     /* the rings hold more than fitted */
    bool failed;   /* memory ran out; the batch is empty */
    bool cut;      /* the reader is too slow for a channel with the policy `disconnect`: end it */
    bool walked;   /* made by batch_gather, not by batch_clear */
    /* Where the reader stands once it has got all of the batch. */
    uint64_t reached;
    uint32_t reached_fp;
    /* Once it has got so many items (0: none), it has been told of this. */
    uint32_t told_items;
    struct told told;

    char *copy; /* BATCH_BYTES */
    size_t copied;
    struct buf text;        /* for gap events */
    struct cursor *cursors; /* where the walk stands in each ring */
    size_t cursor_room;
    struct frame_stats *stats;
    /* What the batch was made for, so that it can serve again. */
    bool valid;
    const struct view *view;
    uint64_t position;
    uint32_t fp;
    enum stream_format format;
    bool behind, live;
};

/* ERR_NOMEM: nothing to finish. `stats` outlives the batch. */
int batch_init(struct batch *b, struct frame_stats *stats);
void batch_finish(struct batch *b);

/* Forget the batch; must be called whenever a ring has changed. */
static inline void batch_invalidate(struct batch *b)
{
    b->valid = false;
}

/* Make the batch empty, to send nothing but what is in flight. */
void batch_clear(struct batch *b);

/* Fill the batch with what the reader is owed next (perhaps nothing). While one of its views is not
 * loaded that is nothing, with `more`: what the others hold may lie behind what that one will. */
void batch_gather(struct batch *b, const struct replica *r, const struct reader *reader);

/* Whether a client that would go on from here has been too slow for a channel with the policy
 * `disconnect`. Costs nothing where there is no such channel. */
bool reader_too_slow(const struct reader *reader);

/* A gap event: nothing is known of `channel` (NULL: all) in (from, to]. */
struct gap {
    const struct name *channel; /* borrowed */
    enum gap_reason reason;
    uint64_t from, to;
    uint32_t from_fp;
    bool ahead; /* events of other channels up to `to` follow: its id is that of `from` */
};

/* Append a gap event's block. */
void gap_encode(struct buf *out, const struct timeline *t, const struct gap *gap);

#endif
