/* The instance's time line: the hub's hybrid logical clock and its translation to event ids.
 *
 * Inside, `seq` is a position that only ever grows: microseconds on the monotonic clock, set to the
 * wall clock's value when the instance started. Outside, an id shows wall-clock microseconds and
 * the tag of the run. As long as nobody steps the wall clock both numbers are the same; when it is
 * stepped by more than a second a new *epoch* begins, with a tag and an offset of its own, and
 * order inside is untouched. */
#ifndef TICKERD_BROKER_TIMELINE_H
#define TICKERD_BROKER_TIMELINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tickerd/wire/eventid.h"

enum {
    TIMELINE_EPOCHS = 16,
    TIMELINE_STALLS = 8,
    TIMELINE_STEP_US = 1000000,
    TIMELINE_HOLD_US = 250000
};

struct epoch {
    uint64_t start; /* first seq of this epoch */
    uint32_t tag;
    int64_t shift; /* seq + shift = what ids show */
};

/* The hub stood still: what was published in (from, to] may be stamped just above `from`. */
struct stall {
    uint64_t from, to;
};

/* A plain value: copied to workers whenever it changes. The oldest epoch is forgotten when a
 * seventeenth comes; its ids then count as foreign. */
struct timeline {
    struct epoch epochs[TIMELINE_EPOCHS];
    uint32_t count;
    struct stall stalls[TIMELINE_STALLS]; /* the last ones, in any order; zero: none */
    uint32_t stalled;                     /* how many there have been */
    int64_t base;     /* a position less CLOCK_MONOTONIC at that moment, in us */
    bool many_orders; /* other instances may have another order: see struct source */
};

/* The id for a position. */
struct eventid timeline_id(const struct timeline *t, uint64_t seq, uint32_t fp);

/* The position an id of this instance stands for. False when its tag is none of ours, or when it
 * lies behind its epoch's end, so that this instance cannot have given it. */
bool timeline_resolve(const struct timeline *t, const struct eventid *id, uint64_t *seq);

struct span {
    uint64_t lo, hi;
};

/* The positions that wall-clock microseconds (a foreign id's seq) may stand for, if both clocks
 * differ by `slack` at most. It is one position, unless the wall clock was set back: then the same
 * time has been twice, and nothing in the id tells which is meant. */
struct span timeline_from_wall(const struct timeline *t, uint64_t wall_us, uint64_t head,
                               uint64_t slack);

/* The first position that what was published from here on may have: an earlier one where the hub
 * stood still. */
uint64_t timeline_earliest(const struct timeline *t, uint64_t seq);

/* The hub's clock. */
struct hubclock {
    struct timeline line;
    uint64_t last;      /* newest seq given out or reached */
    uint64_t last_turn; /* time of the turn before */
    uint64_t hold;      /* after a stall: `last` does not follow the time until it is this */
};

/* Start the clock and its first epoch. `tag` is random. */
void hubclock_init(struct hubclock *c, uint64_t mono_us, uint64_t wall_us, uint32_t tag);

/* Go on where an earlier run of this instance stopped: on its line, `last` being the newest
 * position it reached. Whatever the wall clock did meanwhile, no position is given twice; as long
 * as it did not go back, time and tag go on as if the instance had been there. Where it did, a new
 * epoch begins with `fresh_tag`. `line` has at least one epoch; its numbers are below 2^60. */
void hubclock_resume(struct hubclock *c, const struct timeline *line, uint64_t last,
                     uint64_t mono_us, uint64_t wall_us, uint32_t fresh_tag);

/* Begin a turn of the loop: note the time. After a stall of over a second (the process was
 * stopped) the time stays that of the turn before for TIMELINE_HOLD_US, since what is read then was
 * sent during the stall, and early stamps err towards duplicates, late ones to loss. Not for one
 * turn only: the loop's timers have theirs before anything is read. Must be called at least twice a
 * second.
 * CLOCK_STEPPED: the wall clock was, and a new epoch (with `fresh_tag`) began. With this as with
 * CLOCK_STALLED the line has changed. */
enum clock_news { CLOCK_SAME, CLOCK_STALLED, CLOCK_STEPPED };
enum clock_news hubclock_turn(struct hubclock *c, uint64_t mono_us, uint64_t wall_us,
                              uint32_t fresh_tag);

/* A fresh position, above all before. */
uint64_t hubclock_next(struct hubclock *c);

/* The position reached: all that is stamped later is above it. */
static inline uint64_t hubclock_now(const struct hubclock *c)
{
    return c->last;
}

#endif
