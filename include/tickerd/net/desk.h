/* Errands from one thread to another, for what is rare and has to be asked where the data is: a
 * report, an order. Any thread may post; the errand runs on the desk's loop, a bounded piece a
 * turn, so that nothing there waits long for it. An answer is the same thing posted the other way:
 * the errand's last piece posts itself to the desk of whoever asked.
 *
 * An errand is the poster's memory. It belongs to the desk from desk_post until one of its two
 * functions lets go of it: `run` by returning true, or `cancel`. */
#ifndef TICKERD_NET_DESK_H
#define TICKERD_NET_DESK_H

#include <pthread.h>
#include <stdbool.h>
#include <uv.h>

struct turns;

struct errand {
    struct errand *next; /* the desk's */
    /* Do a piece, of a millisecond at most. True: done, the desk lets go of it (it may have been
     * freed, or posted elsewhere, during the call). False: call again next turn. `ctx` is the
     * desk's. Mandatory. */
    bool (*run)(struct errand *e, void *ctx);
    /* The desk has closed before it was done; called on the thread that closes it, or, where that
     * had happened before, by desk_post itself. Mandatory. */
    void (*cancel)(struct errand *e);
};

struct desk {
    uv_async_t async;
    pthread_mutex_t lock; /* of what follows */
    struct errand *first, *last;
    bool closed;
    void *ctx;
    struct turns *turns; /* borrowed, of the same loop; NULL, as after desk_init: nobody asks */
};

/* On this loop; `ctx` is for errand.run. ERR_SYSTEM: nothing to finish, has been logged. */
int desk_init(struct desk *d, uv_loop_t *loop, void *ctx);

/* From any thread, as long as the memory of the desk is there. Errands are run in turn. */
void desk_post(struct desk *d, struct errand *e);

/* On the loop's thread: cancel what is left and what is posted from now on. The memory must stay
 * until the loop has run. Once. */
void desk_close(struct desk *d);

/* After the loop has run and nobody posts any more. */
void desk_finish(struct desk *d);

#endif
