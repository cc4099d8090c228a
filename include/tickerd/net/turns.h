/* How long the turns of a loop take, without the time that it waits for something to happen: a turn
 * that takes long holds up whatever comes meanwhile. The loop counts its waiting itself
 * (UV_METRICS_IDLE_TIME); what is left of the time between two turns is work. */
#ifndef TICKERD_NET_TURNS_H
#define TICKERD_NET_TURNS_H

#include <uv.h>

#include "tickerd/broker/histogram.h"

struct turns {
    uv_prepare_t prepare;
    struct histogram *histogram; /* borrowed */
    uint64_t at_ns, idle_ns; /* when the last turn ended, and the waiting until then; 0: never */
};

/* On a loop that has not run yet. It does not keep the loop alive. */
void turns_start(struct turns *t, uv_loop_t *loop, struct histogram *histogram);

/* The memory must stay until the loop has run. */
void turns_close(struct turns *t);

#endif
