/* What hub and workers tell each other. Notes are plain values that go through bounded inboxes;
 * neither side ever sees the other's structures.
 *
 * Rules:
 *  1. A worker numbers its views; (view, gen) names one interest. The worker raises `gen` with
 *     every request, and ignores notes that carry another one: else a view that is dropped and
 *     taken again could miss what fell between.
 *  2. The hub answers NOTE_INTEREST by NOTE_RESET in the same FIFO in which live notes follow, so
 *     replay and live meet without gap or duplicate; or by NOTE_REFUSED, which nothing follows.
 *  3. Frames, evictions and holes come only from the hub, in its order.
 *  4. At a full inbox the hub stops sending to that worker. The worker, once it has drained,
 *     says NOTE_RESYNC and asks for all its views again.
 *     Only commands are kept for it meanwhile, and follow behind the answer to that.
 *  5. Whoever takes a note out of an inbox owns its `ref`. */
#ifndef TICKERD_BROKER_PROTOCOL_H
#define TICKERD_BROKER_PROTOCOL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tickerd/broker/ring.h"
#include "tickerd/broker/timeline.h"
#include "tickerd/wire/control.h"

enum note_kind {
    /* hub to worker */
    NOTE_FRAME,    /* view, gen, ref: struct frame: append it */
    NOTE_EVICT,    /* view, gen, seq: the frame at seq left the log */
    NOTE_HOLE,     /* view, gen, seq, ref: struct name or NULL, arg: enum gap_reason */
    NOTE_MARK,     /* view (VIEW_MARKS), gen, seq, arg: enum gap_reason, first: see struct hole */
    NOTE_RESET,    /* view, gen, ref: struct snapshot: this is the whole log */
    NOTE_LIVE,     /* view, gen, arg: whether the upstream subscription is confirmed */
    NOTE_REFUSED,  /* view, gen: no memory, or no room, for this view: send its clients away */
    NOTE_UPSTREAM, /* arg: whether the upstream is live; UPSTREAM_ALL: every view is, too; seq: the
                      last message before it was last lost */
    NOTE_TIMELINE, /* ref: struct timeline (from malloc) */
    NOTE_COMMAND,  /* ref: struct command, or NULL: disconnect everybody */
    /* worker to hub */
    NOTE_INTEREST, /* view, gen, ref: struct name: the topic; arg: whether it is a pattern */
    NOTE_DROP,     /* view, gen */
    NOTE_RESYNC,   /* everything you sent after the overflow is lost */
};

enum { UPSTREAM_DOWN, UPSTREAM_UP, UPSTREAM_ALL };

/* The view number that stands for the instance's own log: outages that concern every channel. */
enum { VIEW_MARKS = 0 };

struct note {
    uint8_t kind;
    uint8_t arg;
    uint32_t view;
    uint32_t gen;
    uint64_t seq;
    union {
        void *ref;
        uint64_t first;
    };
};

/* A whole log at one moment; made by malloc. */
struct snapshot {
    bool live;     /* the upstream subscription is confirmed */
    uint64_t head; /* the time line's position at that moment */
    size_t count;
    struct entry entries[]; /* owned references; by seq, but for patterns in any order */
};

/* A command for all workers, shared by them. */
struct command {
    _Atomic uint32_t refs;
    _Atomic uint64_t streams; /* how many it has ended so far */
    struct control what;      /* owned */
    /* Told of the end by command_destroy, on whatever thread; NULL: nobody. */
    void (*done)(void *ctx, uint64_t streams);
    void *ctx;
};

/* With one reference, taking over `what`. NULL: out of memory, `what` stays the caller's. */
struct command *command_create(const struct control *what);
struct command *command_ref(struct command *c);
/* Give a reference back, having ended so many streams. True for the last one: *total is how many
 * there were in all, and the command is the caller's to destroy. */
bool command_done(struct command *c, uint64_t streams, uint64_t *total);
void command_destroy(struct command *c);

/* Release what a note owns, for notes that cannot be delivered. */
void note_release(struct note *n);

#endif
