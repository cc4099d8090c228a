#include "tickerd/net/desk.h"

#include <string.h>

#include "tickerd/base/err.h"
#include "tickerd/base/log.h"
#include "tickerd/net/turns.h"

static struct errand *take(struct desk *d)
{
    (void)pthread_mutex_lock(&d->lock);
    struct errand *e = d->first;
    if (e != NULL)
        d->first = e->next;
    (void)pthread_mutex_unlock(&d->lock);
    return e;
}

/* Returns whether the desk is open. */
static bool put(struct desk *d, struct errand *e)
{
    e->next = NULL;
    (void)pthread_mutex_lock(&d->lock);
    bool open = !d->closed;
    if (open) {
        if (d->first == NULL)
            d->first = e;
        else
            d->last->next = e;
        d->last = e;
        /* Within the lock, so that the handle is not closed meanwhile. */
        (void)uv_async_send(&d->async);
    }
    (void)pthread_mutex_unlock(&d->lock);
    return open;
}

/* One piece a turn: whoever else uses the loop gets his turn in between. */
static void on_async(uv_async_t *async)
{
    struct desk *d = async->data;
    struct errand *e = take(d);
    turns_mark(d->turns);
    if (e == NULL)
        return;
    if (!e->run(e, d->ctx)) {
        desk_post(d, e);
        return;
    }
    (void)pthread_mutex_lock(&d->lock);
    if (d->first != NULL && !d->closed)
        (void)uv_async_send(&d->async);
    (void)pthread_mutex_unlock(&d->lock);
}

int desk_init(struct desk *d, uv_loop_t *loop, void *ctx)
{
    memset(d, 0, sizeof *d);
    d->ctx = ctx;
    int rc = uv_async_init(loop, &d->async, on_async);
    if (rc != 0) {
        log_error("cannot set up a desk: uv_async_init: %s", uv_strerror(rc));
        return ERR_SYSTEM;
    }
    d->async.data = d;
    (void)pthread_mutex_init(&d->lock, NULL); /* cannot fail without attributes */
    return ERR_OK;
}

void desk_post(struct desk *d, struct errand *e)
{
    if (!put(d, e))
        e->cancel(e);
}

void desk_close(struct desk *d)
{
    (void)pthread_mutex_lock(&d->lock);
    d->closed = true;
    uv_close((uv_handle_t *)&d->async, NULL);
    (void)pthread_mutex_unlock(&d->lock);
    struct errand *e;
    while ((e = take(d)) != NULL)
        e->cancel(e);
}

void desk_finish(struct desk *d)
{
    (void)pthread_mutex_destroy(&d->lock);
}
