#include "tickerd/broker/gather.h"

#include <stdlib.h>
#include <string.h>

#include "tickerd/base/err.h"

/* A gap being gathered: holes that follow one another without an event between become one. */
struct pending_gap {
    bool open;
    const struct ring *ring;
    const struct name *channel;
    enum gap_reason reason;
    uint64_t to;
};

struct walk {
    struct batch *b;
    const struct replica *r;
    const struct reader *reader;
    uint64_t position;
    uint32_t fp;
    struct pending_gap gap;
};

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

void gap_encode(struct buf *out, const struct timeline *t, const struct name *channel,
                enum gap_reason reason, uint64_t from, uint32_t from_fp, uint64_t to)
{
    buf_str(out, "event: tickerd:gap\ndata: {\"channel\":");
    if (channel == NULL) {
        buf_str(out, "null");
    } else {
        buf_byte(out, '"');
        buf_json(out, channel->bytes, channel->len);
        buf_byte(out, '"');
    }
    buf_printf(out, ",\"reason\":\"%s\",\"from\":\"", gap_reason_text(reason));
    put_id(out, t, from, from_fp);
    buf_str(out, "\",\"to\":\"");
    put_id(out, t, to, 0);
    buf_str(out, "\"}\nid: ");
    put_id(out, t, to, 0);
    buf_str(out, "\n\n");
}

static bool fits(const struct batch *b, size_t len)
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

static void add_item(struct walk *w, struct frame *f, const char *bytes, size_t len, uint64_t seq)
{
    struct batch *b = w->b;
    bytes = add_bytes(b, bytes, len, f == NULL);
    w->position = seq;
    w->fp = f == NULL ? 0 : f->fp;
    b->items[b->count++] = (struct batch_item){seq, f, bytes, w->fp, (uint32_t)b->bytes};
}

static bool flush_gap(struct walk *w)
{
    if (!w->gap.open)
        return true;
    struct buf *text = &w->b->text;
    buf_reset(text);
    gap_encode(text, &w->r->timeline, w->gap.channel, w->gap.reason, w->position, w->fp, w->gap.to);
    if (text->failed) {
        w->b->failed = true;
        return false;
    }
    if (!fits(w->b, text->len)) {
        w->b->more = true;
        return false;
    }
    w->gap.open = false;
    w->b->gaps++;
    add_item(w, NULL, text->data, text->len, w->gap.to);
    return true;
}

/* Whether the hole belongs to what a first connect with history is not told: what was missing
 * before it came. What is lost while it is being served it is told like anybody. */
static bool hole_hidden(const struct replay *replay, uint64_t seq, const struct hole *h)
{
    if (replay == NULL || seq > replay->until)
        return false;
    if (h->made > (h->made & HOLE_COUNTED ? replay->evictions | HOLE_COUNTED : replay->until))
        return false;
    if (!h->never_kept)
        return true;
    const struct replay_start *start =
        h->channel == NULL ? NULL : strmap_get(&replay->starts, h->channel->bytes, h->channel->len);
    return start != NULL && seq < start->seq;
}

static bool frame_hidden(const struct replay *replay, const struct frame *f)
{
    if (replay == NULL || f->seq > replay->until || strmap_count(&replay->starts) == 0)
        return false;
    const struct replay_start *start =
        strmap_get(&replay->starts, f->channel->bytes, f->channel->len);
    return start != NULL && f->seq < start->seq;
}

static bool visit_hole(struct walk *w, const struct ring *ring, uint64_t seq, const struct hole *h)
{
    struct pending_gap *gap = &w->gap;
    if (hole_hidden(w->reader->replay, seq, h))
        return true;
    bool melts = gap->open && (gap->ring == ring || gap->channel == NULL || h->channel == NULL ||
                               gap->to == seq || name_equal(gap->channel, h->channel));
    if (gap->open && !melts && !flush_gap(w))
        return false;
    if (!gap->open)
        *gap = (struct pending_gap){true, ring, h->channel, h->reason, seq};
    else if (!name_equal(gap->channel, h->channel))
        gap->channel = NULL;
    gap->to = seq;
    return true;
}

static bool visit_frame(struct walk *w, struct frame *f)
{
    if (frame_hidden(w->reader->replay, f))
        return true;
    if (!flush_gap(w))
        return false;
    size_t len;
    const char *bytes = frame_bytes(f, w->reader->format, w->b->stats, &len);
    if (bytes == NULL) {
        w->b->failed = true;
        return false;
    }
    if (!fits(w->b, len)) {
        w->b->more = true;
        return false;
    }
    add_item(w, f, bytes, len, f->seq);
    return true;
}

static bool visit(struct walk *w, const struct ring *ring, const struct entry *e)
{
    if (entry_is_hole(e))
        return visit_hole(w, ring, entry_seq(e), e->u.hole);
    return visit_frame(w, e->u.frame);
}

static void walk_one(struct walk *w, struct cursor c)
{
    while (c.i < c.ring->count && visit(w, c.ring, ring_at(c.ring, c.i)))
        c.i++;
}

/* The cursor whose entry comes next: lowest seq, and a frame before a hole of the same seq, since
 * the same event may be kept in one view and evicted from another. */
static struct cursor *lowest(struct cursor *cursors, size_t n)
{
    struct cursor *best = NULL;
    const struct entry *first = NULL;
    for (size_t k = 0; k < n; k++) {
        struct cursor *c = &cursors[k];
        if (c->i == c->ring->count)
            continue;
        const struct entry *e = ring_at(c->ring, c->i);
        if (best == NULL || entry_seq(e) < entry_seq(first) ||
            (entry_seq(e) == entry_seq(first) && entry_is_hole(first) && !entry_is_hole(e))) {
            best = c;
            first = e;
        }
    }
    return best;
}

/* Leave behind what stands at `seq`. Holes there are one gap, but it must name what each of them
 * names: in another view more may have melted into it. */
static void pass(struct walk *w, struct cursor *c, uint64_t seq, bool hole)
{
    for (; c->i < c->ring->count; c->i++) {
        const struct entry *e = ring_at(c->ring, c->i);
        if (entry_seq(e) > seq)
            return;
        if (hole && entry_is_hole(e))
            (void)visit_hole(w, c->ring, seq, e->u.hole);
    }
}

static void walk_many(struct walk *w, struct cursor *cursors, size_t n)
{
    for (;;) {
        struct cursor *c = lowest(cursors, n);
        if (c == NULL)
            return;
        const struct entry *e = ring_at(c->ring, c->i);
        uint64_t seq = entry_seq(e);
        if (!visit(w, c->ring, e))
            return;
        for (size_t k = 0; k < n; k++) /* the same event in overlapping views goes once */
            pass(w, &cursors[k], seq, entry_is_hole(e));
    }
}

static size_t open_cursors(struct cursor *cursors, const struct replica *r,
                           const struct reader *reader)
{
    size_t n = 0;
    const struct ring *marks = &r->marks->ring;
    if (ring_head(marks) > reader->position)
        cursors[n++] = (struct cursor){marks, ring_after(marks, reader->position)};
    for (size_t k = 0; k < reader->sub_count; k++) {
        const struct ring *ring = &reader->subs[k].view->ring;
        if (ring_head(ring) > reader->position)
            cursors[n++] = (struct cursor){ring, ring_after(ring, reader->position)};
    }
    return n;
}

static bool serves_again(const struct batch *b, const struct reader *reader)
{
    return b->valid && reader->sub_count == 1 && reader->replay == NULL &&
           b->view == reader->subs[0].view && b->position == reader->position &&
           b->fp == reader->fp && b->format == reader->format;
}

void batch_clear(struct batch *b)
{
    b->segments = 0;
    b->bytes = b->copied = 0;
    b->count = b->gaps = 0;
    b->more = b->failed = b->valid = false;
}

static void start_batch(struct batch *b, const struct reader *reader)
{
    batch_clear(b);
    b->valid = reader->sub_count == 1 && reader->replay == NULL;
    b->view = reader->subs[0].view;
    b->position = reader->position;
    b->fp = reader->fp;
    b->format = reader->format;
}

static bool all_loaded(const struct reader *reader)
{
    for (size_t k = 0; k < reader->sub_count; k++) {
        if (!reader->subs[k].view->loaded)
            return false;
    }
    return true;
}

static bool reserve_cursors(struct batch *b, size_t count)
{
    if (count <= b->cursor_room)
        return true;
    struct cursor *more = realloc(b->cursors, count * sizeof *more);
    if (more == NULL)
        return false;
    b->cursors = more;
    b->cursor_room = count;
    return true;
}

void batch_gather(struct batch *b, const struct replica *r, const struct reader *reader)
{
    if (serves_again(b, reader))
        return;
    start_batch(b, reader);
    if (!all_loaded(reader)) {
        b->more = true;
        return;
    }
    if (!reserve_cursors(b, reader->sub_count + 1)) {
        batch_clear(b);
        b->failed = true;
        return;
    }
    struct walk w = {.b = b, .r = r, .reader = reader};
    w.position = reader->position;
    w.fp = reader->fp;
    size_t n = open_cursors(b->cursors, r, reader);
    if (n == 1)
        walk_one(&w, b->cursors[0]);
    else if (n > 1)
        walk_many(&w, b->cursors, n);
    if (!b->more && !b->failed)
        (void)flush_gap(&w);
    if (b->failed) {
        batch_clear(b);
        b->failed = true;
    }
}
