/* One event, encoded once. A frame is immutable and reference-counted; its bytes go to every
 * client of every thread. The `format=json` form is made when the first such client asks and then
 * belongs to the frame too.
 *
 *     struct frame | block: "event: …\n" "data: …\n" … "id: <id>" "\n\n"
 *                                                       ^ len - 2 - id_len
 */
#ifndef TICKERD_BROKER_FRAME_H
#define TICKERD_BROKER_FRAME_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tickerd/broker/name.h"
#include "tickerd/wire/config.h"
#include "tickerd/wire/sse.h"
#include "tickerd/wire/target.h"

/* Bytes held by the lazily made forms of all frames of a process, for the bound on histories. */
struct frame_stats {
    _Atomic size_t extra_bytes;
};

struct frame_form; /* another form of the same event */

struct frame {
    _Atomic uint32_t refs;
    uint32_t fp;  /* fingerprint of channel and payload */
    uint64_t seq; /* position on the instance's time line */
    struct name *channel;
    _Atomic(struct frame_form *) json; /* NULL until asked for */
    uint32_t len;                      /* of the block */
    uint16_t id_len;
    bool publisher_id;       /* the id line is the publisher's, not ours */
    _Atomic uint8_t slow;    /* enum slow_policy of the channel; a reload may change it */
    _Atomic bool superseded; /* with the policy `latest`: the channel has a newer event */
    char block[];
};

/* Encode an event into a new frame with one reference, the caller's. `scratch` is reset and used.
 * Takes a reference on `channel` of its own. `repaired` (may be NULL) gets the number of U+FFFD
 * that took the place of invalid UTF-8. Returns NULL when memory is out. */
struct frame *frame_create(const struct sse_event *event, struct name *channel, struct buf *scratch,
                           size_t *repaired);

/* A frame around bytes that belong to one client only (a head, a gap event in flight): no channel,
 * no other forms. NULL when memory is out. */
struct frame *frame_wrap(const char *bytes, size_t len);

struct frame *frame_ref(struct frame *f);
void frame_unref(struct frame *f);

/* The bytes to send for a format, valid as long as the caller's reference. NULL when memory for
 * the first making of a form is out. `stats` outlives all frames. */
const char *frame_bytes(struct frame *f, enum stream_format format, struct frame_stats *stats,
                        size_t *len);

/* What happens to clients that are too slow for this event. */
static inline enum slow_policy frame_slow(const struct frame *f)
{
    return (enum slow_policy)atomic_load_explicit(&f->slow, memory_order_relaxed);
}

static inline void frame_set_slow(struct frame *f, enum slow_policy slow)
{
    atomic_store_explicit(&f->slow, (uint8_t)slow, memory_order_relaxed);
}

/* With the policy `latest`: a newer event of the channel has come. For good; from any thread. */
void frame_supersede(struct frame *f);
bool frame_superseded(const struct frame *f);

/* The text of the frame's id line. */
static inline const char *frame_id(const struct frame *f)
{
    return f->block + f->len - 2 - f->id_len;
}

/* Bytes of memory a log pays for keeping the frame: block, head and the allocator's share; the
 * other forms are counted in frame_stats. */
size_t frame_cost(const struct frame *f);

/* Bytes that other forms of this frame hold at this moment. */
size_t frame_extra(const struct frame *f);

#endif
