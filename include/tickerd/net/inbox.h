/* A bounded queue of notes from one thread to another, with a wake-up. One producer, one consumer;
 * wait-free on both sides. The wake-up coalesces (uv_async), so the consumer drains all of it, or
 * wakes itself again.
 *
 * Bounded in notes and in the bytes of the frames they carry: a frame that only waits here keeps
 * its memory although no history counts it any more. */
#ifndef TICKERD_NET_INBOX_H
#define TICKERD_NET_INBOX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "tickerd/broker/protocol.h"

enum {
    INBOX_SIZE = 16384,             /* notes */
    INBOX_BYTES = 64 * 1024 * 1024, /* of the frames in them; a single one may be larger */
};

struct inbox {
    uv_async_t async; /* on the consumer's loop; data = the inbox */
    struct note *slots;
    _Atomic uint32_t head;  /* next to read; written by the consumer */
    _Atomic uint32_t tail;  /* next to write; written by the producer */
    _Atomic uint64_t taken; /* bytes of frames popped so far; written by the consumer */
    uint64_t pushed;        /* bytes of frames pushed so far; the producer's own */
    uint32_t seen_head;     /* the producer's copies, refreshed when it looks full */
    uint64_t seen_taken;
    bool unannounced;       /* the producer pushed since its last inbox_wake */
    _Atomic bool overflown; /* the producer gave up; cleared by the consumer */
    void (*wake)(void *ctx);
    void *ctx;
};

/* Make an inbox whose consumer runs on this loop; wake(ctx) is called there.
 * ERR_NOMEM or ERR_SYSTEM: nothing to finish. */
int inbox_init(struct inbox *b, uv_loop_t *consumer, void (*wake)(void *ctx), void *ctx);

/* Close the handle (consumer's thread); the memory is to stay until the loop has run. */
void inbox_close(struct inbox *b);

/* Release what is left and free. After the loop has run, both threads done. */
void inbox_finish(struct inbox *b);

/* Producer: append. False: full; the note stays the caller's and the consumer will be told. */
bool inbox_push(struct inbox *b, const struct note *n);

/* Producer: wake the consumer if anything was pushed since the last call. */
void inbox_wake(struct inbox *b);

/* Producer: the memory of the queue and of the frames in it. */
size_t inbox_memory(const struct inbox *b);

/* Consumer: take the oldest note; false when empty. */
bool inbox_pop(struct inbox *b, struct note *n);

/* Consumer that stops before it has drained all: if anything is left, wake itself, so that other
 * handles of the loop get their turn in between. Returns whether anything is left. */
bool inbox_rewake(struct inbox *b);

/* Consumer, after draining: whether the producer had to give up since the last call. */
bool inbox_overflown(struct inbox *b);

#endif
