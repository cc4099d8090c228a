#include "tickerd/broker/frame.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { MALLOC_OVERHEAD = 16 };

struct frame_form {
    struct frame_stats *stats;
    size_t len;
    char bytes[];
};

struct frame *frame_wrap(const char *bytes, size_t len)
{
    struct frame *f = len > UINT32_MAX ? NULL : malloc(sizeof *f + len);
    if (f == NULL)
        return NULL;
    atomic_init(&f->refs, 1);
    atomic_init(&f->json, NULL);
    f->fp = 0;
    f->seq = 0;
    f->channel = NULL;
    f->len = (uint32_t)len;
    f->id_len = 0;
    f->publisher_id = false;
    atomic_init(&f->slow, SLOW_RESUME);
    atomic_init(&f->superseded, false);
    memcpy(f->block, bytes, len);
    return f;
}

struct frame *frame_create(const struct sse_event *event, struct name *channel, struct buf *scratch,
                           size_t *repaired)
{
    buf_reset(scratch);
    size_t n = sse_encode(scratch, event);
    if (repaired != NULL)
        *repaired = n;
    struct frame *f = scratch->failed ? NULL : frame_wrap(scratch->data, scratch->len);
    if (f == NULL)
        return NULL;
    f->channel = name_ref(channel);
    f->id_len = (uint16_t)event->id_len;
    return f;
}

struct frame *frame_ref(struct frame *f)
{
    (void)atomic_fetch_add_explicit(&f->refs, 1, memory_order_relaxed);
    return f;
}

void frame_supersede(struct frame *f)
{
    atomic_store_explicit(&f->superseded, true, memory_order_relaxed);
}

bool frame_superseded(const struct frame *f)
{
    return atomic_load_explicit(&f->superseded, memory_order_relaxed);
}

static void form_destroy(struct frame_form *form)
{
    if (form == NULL)
        return;
    (void)atomic_fetch_sub_explicit(&form->stats->extra_bytes, form->len, memory_order_relaxed);
    free(form);
}

void frame_unref(struct frame *f)
{
    if (f == NULL || atomic_fetch_sub_explicit(&f->refs, 1, memory_order_acq_rel) != 1)
        return;
    form_destroy(atomic_load_explicit(&f->json, memory_order_relaxed));
    name_unref(f->channel);
    free(f);
}

static struct frame_form *json_form(struct frame *f, struct frame_stats *stats)
{
    struct frame_form *made = NULL;
    struct buf out = BUF_INIT;
    sse_encode_json(&out, f->block, f->len, f->channel->bytes, f->channel->len);
    if (!out.failed)
        made = malloc(sizeof *made + out.len);
    if (made != NULL) {
        made->stats = stats;
        made->len = out.len;
        memcpy(made->bytes, out.data, out.len);
    }
    buf_finish(&out);
    return made;
}

const char *frame_bytes(struct frame *f, enum stream_format format, struct frame_stats *stats,
                        size_t *len)
{
    if (format == FORMAT_RAW) {
        *len = f->len;
        return f->block;
    }
    struct frame_form *form = atomic_load_explicit(&f->json, memory_order_acquire);
    if (form == NULL) {
        struct frame_form *made = json_form(f, stats);
        if (made == NULL)
            return NULL;
        (void)atomic_fetch_add_explicit(&stats->extra_bytes, made->len, memory_order_relaxed);
        /* Two workers may make it at the same moment: one wins, both use the winner's. */
        if (atomic_compare_exchange_strong_explicit(&f->json, &form, made, memory_order_acq_rel,
                                                    memory_order_acquire))
            form = made;
        else
            form_destroy(made);
    }
    *len = form->len;
    return form->bytes;
}

size_t frame_cost(const struct frame *f)
{
    return sizeof *f + f->len + MALLOC_OVERHEAD;
}

size_t frame_extra(const struct frame *f)
{
    const struct frame_form *form = atomic_load_explicit(&f->json, memory_order_acquire);
    return form == NULL ? 0 : form->len;
}
