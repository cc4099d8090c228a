#include "tickerd/net/turns.h"

enum { NS_PER_US = 1000 };

/* Just before the loop asks the kernel what there is to do. */
static void on_prepare(uv_prepare_t *handle)
{
    struct turns *t = handle->data;
    uint64_t now = uv_hrtime();
    uint64_t idle = uv_metrics_idle_time(handle->loop);
    uint64_t passed = now - t->at_ns, waited = idle - t->idle_ns;
    if (t->at_ns != 0)
        histogram_add(t->histogram, passed > waited ? (passed - waited) / NS_PER_US : 0, 1);
    t->at_ns = now;
    t->idle_ns = idle;
}

void turns_start(struct turns *t, uv_loop_t *loop, struct histogram *histogram)
{
    *t = (struct turns){.histogram = histogram};
    (void)uv_loop_configure(loop, UV_METRICS_IDLE_TIME); /* cannot fail on Linux */
    (void)uv_prepare_init(loop, &t->prepare);            /* cannot fail, nor can what follows */
    t->prepare.data = t;
    (void)uv_prepare_start(&t->prepare, on_prepare);
    uv_unref((uv_handle_t *)&t->prepare);
}

void turns_close(struct turns *t)
{
    uv_close((uv_handle_t *)&t->prepare, NULL);
}
