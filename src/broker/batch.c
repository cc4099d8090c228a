#include "tickerd/broker/batch.h"

#include <stdlib.h>
#include <string.h>

#include "tickerd/base/err.h"
#include "tickerd/base/plant.h"
#include "tickerd/broker/latency.h"

int batch_init(struct batch *b, struct frame_stats *stats)
{
    memset(b, 0, sizeof *b);
    b->stats = stats;
    buf_init(&b->text);
    b->items = malloc(BATCH_ITEMS * sizeof *b->items);
    b->copy = malloc(BATCH_BYTES);
    if (b->items == NULL || b->copy == NULL) {
        batch_finish(b);
        return ERR_NOMEM;
    }
    return ERR_OK;
}

void batch_finish(struct batch *b)
{
    free(b->items);
    free(b->copy);
    free(b->cursors);
    b->cursors = NULL;
    b->cursor_room = 0;
    buf_finish(&b->text);
    b->items = NULL;
    b->copy = NULL;
}

static void put_id(struct buf *out, const struct timeline *t, uint64_t seq, uint32_t fp)
{
    char text[EVENTID_LEN];
    struct eventid id = timeline_id(t, seq, fp);
    eventid_format(text, &id);
    buf_append(out, text, sizeof text);
}

void gap_encode(struct buf *out, const struct timeline *t, const struct gap *gap)
{
    buf_str(out, "event: tickerd:gap\ndata: {\"channel\":");
    if (gap->channel == NULL) {
        buf_str(out, "null");
    } else {
        buf_byte(out, '"');
        buf_json(out, gap->channel->bytes, gap->channel->len);
        buf_byte(out, '"');
    }
    buf_printf(out, ",\"reason\":\"%s\",\"from\":\"", gap_reason_text(gap->reason));
    put_id(out, t, gap->from, gap->from_fp);
    buf_str(out, "\",\"to\":\"");
    put_id(out, t, gap->to, 0);
    buf_str(out, "\"}\nid: ");
    if (gap->ahead)
        put_id(out, t, gap->from, gap->from_fp);
    else
        put_id(out, t, gap->to, 0);
    buf_str(out, "\n\n");
}

void batch_clear(struct batch *b)
{
    if (b->latency != NULL)
        latency_settle(b->latency, b);
    b->segments = 0;
    b->bytes = b->copied = 0;
    b->count = b->gaps = 0;
    b->more = b->failed = b->valid = b->cut = b->walked = false;
    b->told_items = 0;
}

bool batch_fits(const struct batch *b, size_t len)
{
    if (b->count == 0)
        return true;
    if (b->count == BATCH_ITEMS || b->segments == BATCH_SEGMENTS)
        return false;
    return b->bytes + len <= BATCH_BYTES;
}

/* Add bytes to the vector, copying small ones so that neighbours share a segment. */
static const char *add_bytes(struct batch *b, const char *bytes, size_t len, bool must_copy)
{
    if (must_copy || len <= BATCH_COPY_MAX) {
        char *to = b->copy + b->copied;
        memcpy(to, bytes, len);
        b->copied += len;
        bytes = to;
    }
    struct iovec *last = b->segments > 0 ? &b->iov[b->segments] : NULL;
    if (last != NULL && (const char *)last->iov_base + last->iov_len == bytes) {
        last->iov_len += len;
    } else {
        b->segments++;
        b->iov[b->segments] = (struct iovec){.iov_base = (void *)(uintptr_t)bytes, .iov_len = len};
    }
    b->bytes += len;
    return bytes;
}

void batch_add(struct batch *b, struct frame *f, const char *bytes, size_t len)
{
    len = plant_strikes(PLANT_DROP) ? 0 : len;
    struct batch_item *item = &b->items[b->count++];
    item->seq = f->seq;
    item->frame = f;
    item->bytes = add_bytes(b, bytes, len, false);
    item->fp = f->fp;
    item->end = (uint32_t)b->bytes;
}

void batch_add_gap(struct batch *b, const struct gap *gap, const struct buf *text, uint64_t seq,
                   uint32_t fp)
{
    size_t len = plant_strikes(PLANT_GAP) ? 0 : text->len;
    const char *bytes = add_bytes(b, text->data, len, true);
    b->items[b->count++] = (struct batch_item){.seq = seq,
                                               .bytes = bytes,
                                               .fp = fp,
                                               .end = (uint32_t)b->bytes,
                                               .channel = gap->channel,
                                               .reason = gap->reason};
    b->gaps++;
}

void batch_end_at(struct batch *b, const struct timeline *t, uint64_t seq)
{
    struct batch_item *last = &b->items[b->count - 1];
    struct eventid id = timeline_id(t, seq, 0);
    char *at = b->copy + b->copied - (sizeof "\n\n" - 1) - EVENTID_LEN;
    eventid_format(at, &id); /* as long as the one before; and so is its `to` */
    eventid_format(at - (sizeof "\"}\nid: " - 1) - EVENTID_LEN, &id);
    last->seq = seq;
    last->fp = 0;
}
