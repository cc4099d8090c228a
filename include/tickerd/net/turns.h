/* How long the turns of a loop take, without the time that it waits for something to happen: a turn
 * that takes long holds up whatever comes meanwhile.
 *
 * A loop does most of its work in call-backs from within its wait, and does not say when that ended
 * (but for UV_METRICS_IDLE_TIME, which costs a system call a turn). So the call-backs that work say
 * turns_mark: the first of them is where the turn begins. It ends before the next wait. */
#ifndef TICKERD_NET_TURNS_H
#define TICKERD_NET_TURNS_H

#include <uv.h>

#include "tickerd/broker/histogram.h"

struct turns {
    uv_prepare_t prepare;
    uv_check_t check;
    struct histogram *histogram; /* borrowed */
    uint64_t began_ns;           /* 0: nothing has been done since the loop last waited */
};

/* On a loop that does not run yet. Does not keep it alive. */
void turns_start(struct turns *t, uv_loop_t *loop, struct histogram *histogram);

/* The memory must stay until the loop has run. */
void turns_close(struct turns *t);

/* Work begins, or goes on. NULL is allowed. */
static inline void turns_mark(struct turns *t)
{
    if (t != NULL && t->began_ns == 0)
        t->began_ns = uv_hrtime();
}

#endif
