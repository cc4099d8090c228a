#include "tickerd/net/inbox.h"

#include <stdlib.h>

#include "tickerd/base/err.h"
#include "tickerd/base/log.h"
#include "tickerd/broker/frame.h"

static void on_async(uv_async_t *handle)
{
    struct inbox *b = handle->data;
    b->wake(b->ctx);
}

int inbox_init(struct inbox *b, uv_loop_t *consumer, void (*wake)(void *ctx), void *ctx)
{
    b->slots = malloc(INBOX_SIZE * sizeof *b->slots);
    if (b->slots == NULL)
        return ERR_NOMEM;
    atomic_init(&b->head, 0);
    atomic_init(&b->tail, 0);
    atomic_init(&b->taken, 0);
    atomic_init(&b->overflown, false);
    b->pushed = 0;
    b->seen_head = 0;
    b->seen_taken = 0;
    b->unannounced = false;
    b->wake = wake;
    b->ctx = ctx;
    int rc = uv_async_init(consumer, &b->async, on_async);
    if (rc != 0) {
        log_error("cannot set up an inbox: uv_async_init: %s", uv_strerror(rc));
        free(b->slots);
        return ERR_SYSTEM;
    }
    b->async.data = b;
    return ERR_OK;
}

void inbox_close(struct inbox *b)
{
    uv_close((uv_handle_t *)&b->async, NULL);
}

void inbox_finish(struct inbox *b)
{
    struct note n;
    while (inbox_pop(b, &n))
        note_release(&n);
    free(b->slots);
    b->slots = NULL;
}

static size_t bytes_of(const struct note *n)
{
    return n->kind == NOTE_FRAME ? frame_cost(n->ref) : 0;
}

/* Whether there is no room, as far as the producer knows. */
static bool looks_full(const struct inbox *b, uint32_t tail, size_t bytes)
{
    uint32_t queued = tail - b->seen_head;
    return queued == INBOX_SIZE ||
           (queued > 0 && bytes > 0 && b->pushed - b->seen_taken + bytes > INBOX_BYTES);
}

bool inbox_push(struct inbox *b, const struct note *n)
{
    uint32_t tail = atomic_load_explicit(&b->tail, memory_order_relaxed);
    size_t bytes = bytes_of(n);
    if (looks_full(b, tail, bytes)) {
        b->seen_head = atomic_load_explicit(&b->head, memory_order_acquire);
        b->seen_taken = atomic_load_explicit(&b->taken, memory_order_relaxed);
    }
    b->unannounced = true;
    if (looks_full(b, tail, bytes)) {
        atomic_store_explicit(&b->overflown, true, memory_order_release);
        return false;
    }
    b->pushed += bytes;
    b->slots[tail % INBOX_SIZE] = *n;
    atomic_store_explicit(&b->tail, tail + 1, memory_order_release);
    return true;
}

void inbox_wake(struct inbox *b)
{
    if (!b->unannounced)
        return;
    b->unannounced = false;
    (void)uv_async_send(&b->async);
}

size_t inbox_memory(const struct inbox *b)
{
    uint64_t waiting = b->pushed - atomic_load_explicit(&b->taken, memory_order_relaxed);
    return INBOX_SIZE * sizeof *b->slots + (size_t)waiting;
}

bool inbox_pop(struct inbox *b, struct note *n)
{
    uint32_t head = atomic_load_explicit(&b->head, memory_order_relaxed);
    if (head == atomic_load_explicit(&b->tail, memory_order_acquire))
        return false;
    *n = b->slots[head % INBOX_SIZE];
    uint64_t taken = atomic_load_explicit(&b->taken, memory_order_relaxed) + bytes_of(n);
    atomic_store_explicit(&b->taken, taken, memory_order_relaxed); /* nobody else writes it */
    atomic_store_explicit(&b->head, head + 1, memory_order_release);
    return true;
}

bool inbox_rewake(struct inbox *b)
{
    if (atomic_load_explicit(&b->head, memory_order_relaxed) ==
        atomic_load_explicit(&b->tail, memory_order_acquire))
        return false;
    (void)uv_async_send(&b->async);
    return true;
}

bool inbox_overflown(struct inbox *b)
{
    return atomic_load_explicit(&b->overflown, memory_order_relaxed) &&
           atomic_exchange_explicit(&b->overflown, false, memory_order_acq_rel);
}
