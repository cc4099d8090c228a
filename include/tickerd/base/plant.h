/* Planted bugs, to show that the torture test catches them (tests/faults). They exist only in a
 * build with PLANTS=1, where the environment variable TICKERD_PLANT names one of them: drop, twice,
 * gap, torn, resume, upstream or needless. In every other build all of this is a constant. */
#ifndef TICKERD_BASE_PLANT_H
#define TICKERD_BASE_PLANT_H

#include <stdbool.h>

enum plant {
    PLANT_DROP,     /* a client is not sent an event that it is owed */
    PLANT_TWICE,    /* a client is sent an event twice */
    PLANT_GAP,      /* a client is not told of a loss */
    PLANT_TORN,     /* a byte is left out where a write was cut */
    PLANT_RESUME,   /* a stream begins with what is new, whatever its client has missed */
    PLANT_UPSTREAM, /* an outage leaves no trace */
    PLANT_NEEDLESS, /* an outage is announced that never was */
};

#ifdef TICKERD_PLANTS
/* Whether this bug strikes now: every so many calls, if it is the one that was asked for. */
bool plant_strikes(enum plant which);
#else
static inline bool plant_strikes(enum plant which)
{
    (void)which;
    return false;
}
#endif

#endif
