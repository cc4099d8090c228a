/* A batch: the bytes for one write, and what is to be noted once they are on their way. Small
 * frames are copied side by side into one buffer (one segment is cheaper for the kernel than many),
 * large ones are pointed to. */
#ifndef TICKERD_BROKER_BATCH_H
#define TICKERD_BROKER_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "tickerd/base/buf.h"
#include "tickerd/broker/frame.h"
#include "tickerd/broker/ring.h"
#include "tickerd/broker/timeline.h"

struct cursor;
struct latency;
struct view;

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

/* One event (or gap event) of a batch. */
struct batch_item {
    uint64_t seq;
    struct frame *frame; /* borrowed; NULL: a gap event, whose bytes are in the copy buffer */
    const char *bytes;   /* start of its bytes */
    uint32_t fp;
    uint32_t end; /* offset in the batch's bytes where it ends */
    /* Of gap events only. */
    struct name *channel; /* borrowed; NULL: all */
    enum gap_reason reason;
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
    uint64_t passed; /* and so far it has gone by everything, for struct right; unless `more` */
    /* Once it has got so many items (0: none), it has been told of this. */
    uint32_t told_items;
    struct told told;

    char *copy; /* BATCH_BYTES */
    size_t copied;
    struct buf text;        /* for gap events */
    struct cursor *cursors; /* where the walk stands in each ring */
    size_t cursor_room;
    struct frame_stats *stats;
    struct latency *latency; /* borrowed; NULL: nobody asks */
    uint32_t owed;           /* clients that took all of it and are not counted there yet */
    /* What the batch was made for, so that it can serve again. */
    bool valid;
    const struct view *view;
    uint64_t position;
    uint32_t fp;
    enum stream_format format;
    bool behind, live;
    bool restricted; /* for readers without a token whose patterns are decided by the rules */
    uint64_t start;  /* where the walk began */
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

/* ---- making one: gather.c ---- */

/* Whether so many more bytes fit; the first item always does. */
bool batch_fits(const struct batch *b, size_t len);

/* Add an event that fits. */
void batch_add(struct batch *b, struct frame *f, const char *bytes, size_t len);

/* A gap event: nothing is known of `channel` (NULL: all) in (from, to]. */
struct gap {
    struct name *channel; /* borrowed */
    enum gap_reason reason;
    uint64_t from, to;
    uint32_t from_fp;
    bool ahead; /* events of other channels up to `to` follow: its id is that of `from` */
};

/* Add a gap event that fits; `text` is its block, which is copied. The reader stands at (seq, fp)
 * behind it. */
void batch_add_gap(struct batch *b, const struct gap *gap, const struct buf *text, uint64_t seq,
                   uint32_t fp);

/* Give the last item, a gap that was announced ahead, `seq` as its end and id. */
void batch_end_at(struct batch *b, const struct timeline *t, uint64_t seq);

/* Append a gap event's block. */
void gap_encode(struct buf *out, const struct timeline *t, const struct gap *gap);

#endif
