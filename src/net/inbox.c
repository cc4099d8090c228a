#include "tickerd/net/inbox.h"

#include <stdlib.h>

#include "tickerd/base/err.h"

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
    atomic_init(&b->overflown, false);
    b->seen_head = 0;
    b->unannounced = false;
    b->wake = wake;
    b->ctx = ctx;
    if (uv_async_init(consumer, &b->async, on_async) != 0) {
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

bool inbox_push(struct inbox *b, const struct note *n)
{
    uint32_t tail = atomic_load_explicit(&b->tail, memory_order_relaxed);
    if (tail - b->seen_head == INBOX_SIZE)
        b->seen_head = atomic_load_explicit(&b->head, memory_order_acquire);
    b->unannounced = true;
    if (tail - b->seen_head == INBOX_SIZE) {
        atomic_store_explicit(&b->overflown, true, memory_order_release);
        return false;
    }
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

bool inbox_pop(struct inbox *b, struct note *n)
{
    uint32_t head = atomic_load_explicit(&b->head, memory_order_relaxed);
    if (head == atomic_load_explicit(&b->tail, memory_order_acquire))
        return false;
    *n = b->slots[head % INBOX_SIZE];
    atomic_store_explicit(&b->head, head + 1, memory_order_release);
    return true;
}

bool inbox_overflown(struct inbox *b)
{
    return atomic_load_explicit(&b->overflown, memory_order_relaxed) &&
           atomic_exchange_explicit(&b->overflown, false, memory_order_acq_rel);
}
