/* Between the parts of gathering. */
#ifndef TICKERD_BROKER_GATHER_INTERNAL_H
#define TICKERD_BROKER_GATHER_INTERNAL_H

#include "tickerd/broker/gather.h"

static inline uint64_t max_seq(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* A gap being gathered: holes that follow one another without an event between become one. */
struct pending_gap {
    bool open;
    const struct ring *ring;
    struct name *channel;
    enum gap_reason reason;
    uint64_t to;
};

struct cursor {
    const struct view *view;
    const struct ring *ring; /* its */
    uint32_t i;
    bool decide; /* which of its channels the reader may hear */
};

struct walk {
    struct batch *b;
    const struct replica *r;
    const struct reader *reader;
    struct cursor *cursors; /* where it stands in each ring */
    size_t cursor_count;
    uint64_t start; /* where it began */
    uint64_t position;
    uint32_t fp;
    struct pending_gap gap;
    const struct cursor *marks; /* of the cursors; NULL: none lies ahead */
    uint64_t wide; /* the newest wide hole but for the marks; 0: none ahead, or all are told */
    /* Beyond this more may be missing than holes say: of a subscription that is not confirmed, or
     * of all in an outage that goes on. Without such, or once it is told, UINT64_MAX. */
    uint64_t doubtful;
    struct told told;
};

/* ---- gather.c: the walk ---- */

/* Add a gap event to the batch; if it is not for losses ahead the reader stands at its end then.
 * False: it did not fit, or memory ran out. */
bool walk_add_gap(struct walk *w, const struct gap *gap);

/* Whether the reader is not sent this frame, which lies ahead of it; `decide` as in struct cursor.
 */
bool reader_skips(const struct reader *reader, bool decide, const struct frame *f);

/* Whether the reader is not told of this hole, for whatever reason. */
bool walk_hole_passes(const struct walk *w, const struct cursor *c, uint64_t seq,
                      const struct hole *h);

/* The reason it is told. */
enum gap_reason walk_reason(const struct walk *w, const struct hole *h);

/* ---- gather_ahead.c: losses ahead ---- */

/* Whether what is published on this view's topic, and the reader may hear, is being lost. */
bool walk_unheard(const struct walk *w, const struct view *v);

/* Names the present contents of all rings of a reader. */
uint32_t walk_generation(const struct replica *r, const struct reader *reader);

/* Whether something older may be missing untold when the client's position becomes this. */
bool walk_reaches_over(const struct walk *w, uint64_t seq);

/* Then tell of it. False as with walk_add_gap. */
bool walk_announce_ahead(struct walk *w, uint64_t seq);

#endif
