#include "tickerd/net/turns.h"

enum { NS_PER_US = 1000 };

/* Just before the loop waits. */
static void on_prepare(uv_prepare_t *handle)
{
    struct turns *t = handle->data;
    if (t->began_ns != 0)
        histogram_add(t->histogram, (uv_hrtime() - t->began_ns) / NS_PER_US, 1);
    t->began_ns = 0;
}

/* After the wait and what was called from there; timers follow. */
static void on_check(uv_check_t *handle)
{
    turns_mark(handle->data);
}

void turns_start(struct turns *t, uv_loop_t *loop, struct histogram *histogram)
{
    *t = (struct turns){.histogram = histogram};
    (void)uv_prepare_init(loop, &t->prepare); /* cannot fail, nor can what follows */
    (void)uv_check_init(loop, &t->check);
    t->prepare.data = t->check.data = t;
    (void)uv_prepare_start(&t->prepare, on_prepare);
    (void)uv_check_start(&t->check, on_check);
    uv_unref((uv_handle_t *)&t->prepare);
    uv_unref((uv_handle_t *)&t->check);
}

void turns_close(struct turns *t)
{
    uv_close((uv_handle_t *)&t->prepare, NULL);
    uv_close((uv_handle_t *)&t->check, NULL);
}
