/* Help for tests of the broker's state: frames and rings with given entries, and a rig that plays
 * the hub for a replica. Out of memory aborts: this is a test. */
#ifndef TICKERD_TESTS_BROKER_UTIL_H
#define TICKERD_TESTS_BROKER_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tickerd/broker/replica.h"
#include "tickerd/broker/timeline.h"

enum { TAG_OWN = 0x0a0b0c0d, TAG_FOREIGN = 0x11223344 };

/* ---- names, frames, entries ---- */

struct name *make_name(const char *text);

/* An event with one reference, its id of TAG_OWN at `seq`; the fingerprint is the real one. */
struct frame *make_frame(struct name *channel, uint64_t seq, const char *payload);

/* The same with an id of the publisher's. */
struct frame *make_published(struct name *channel, uint64_t seq, const char *payload,
                             const char *id);

/* The same with `len` bytes of 'x' for a payload and the fingerprint given. */
struct frame *make_sized(struct name *channel, uint64_t seq, uint32_t fp, size_t len);

uint32_t fingerprint(const struct name *channel, const char *payload);

/* Give back the references of several frames or names. */
void unref_names(struct name **names, size_t count);

/* A snapshot of this ring, for a NOTE_RESET. */
struct snapshot *make_snapshot(const struct ring *ring, uint64_t head, bool live);

/* An id as text with a NUL. */
struct id_text {
    char text[EVENTID_LEN + 1];
};
struct id_text make_id(uint64_t seq, uint32_t tag, uint32_t fp);

/* A time line with one epoch: ids show seq itself, with TAG_OWN. */
struct timeline make_timeline(void);

/* ---- a replica with a hub that the test plays ---- */

struct rig {
    struct replica replica;
    struct note *sent; /* every note the replica sent, in order; owned with what they own */
    size_t sent_count, sent_room;
    size_t accept; /* how many more notes the hub's inbox takes */
    size_t ready;  /* calls of replica_events.ready */
    struct view *last_ready;
};

/* A replica with a time line and its marks loaded, empty. */
void rig_init(struct rig *g);
void rig_finish(struct rig *g);

/* Forget the notes sent so far. */
void rig_forget(struct rig *g);

/* Subscribe and, if the view is new, answer with an empty log at the replica's head. */
struct view *rig_subscribe(struct rig *g, struct sub *sub, const char *topic, bool pattern);

/* Notes of the hub's for a view, with its present generation. */
void rig_frame(struct rig *g, const struct view *v, struct frame *f); /* takes the reference */
void rig_hole(struct rig *g, const struct view *v, uint64_t seq, struct name *channel,
              enum gap_reason reason);
void rig_evict(struct rig *g, const struct view *v, uint64_t seq);
void rig_reset(struct rig *g, const struct view *v, const struct ring *log, uint64_t head);
void rig_live(struct rig *g, const struct view *v, bool live);
void rig_mark(struct rig *g, uint64_t seq, enum gap_reason reason);
void rig_timeline(struct rig *g, const struct timeline *t);

#endif
