/* What a session sends: gathered batches, what is left of a frame in flight, heartbeats, the last
 * line. */
#include <stdio.h>
#include <string.h>

#include "session_internal.h"
#include "tickerd/base/err.h"
#include "tickerd/base/plant.h"

static void set_blocked(struct session *s, bool blocked, uint64_t now_us)
{
    if (s->blocked != blocked) {
        s->transport->ops->want_write(s->transport, blocked);
        if (blocked)
            gauge_raise(s->fanout->metrics, GAUGE_STALLED);
        else
            gauge_lower(s->fanout->metrics, GAUGE_STALLED);
    }
    s->blocked = blocked;
    if (blocked)
        session_set_behind(s, true);
    session_enter(s, blocked ? &s->fanout->stalled : &s->fanout->quiet, now_us);
}

/* Whether the frame in flight is kept by its log: only then does slow progress cost nothing. */
static bool inflight_kept(const struct session *s)
{
    for (uint16_t i = 0; !s->raw && i < s->sub_count; i++) {
        if (view_holds(s->subs[i].view, s->inflight->seq))
            return true;
    }
    return false;
}

void session_count_gap(struct session *s, enum gap_reason reason, struct name *channel)
{
    struct fanout *f = s->fanout;
    uint64_t wall_us = (uint64_t)((int64_t)f->latency.now + f->wall_ahead);
    s->gaps++;
    metrics_gap(f->metrics, reason);
    recent_gaps_note(&f->gaps, wall_us, reason, channel);
}

/* The first n items of the batch have been taken whole. */
static void count_items(struct session *s, const struct batch *b, uint32_t n)
{
    s->events += n;
    for (uint32_t i = 0; b->gaps > 0 && i < n; i++) {
        if (b->items[i].frame != NULL)
            continue;
        session_count_gap(s, b->items[i].reason, b->items[i].channel);
        s->events--;
    }
}

/* The first `n` items of the batch are on their way for good: note what they told. Without memory
 * for it the client will be told again. */
static void note_told(struct session *s, const struct batch *b, uint32_t n)
{
    if (b->told_items == 0 || n < b->told_items)
        return;
    if (s->replay == NULL)
        s->replay = replay_create((struct moment){0, 0});
    if (s->replay != NULL)
        s->replay->told = b->told;
}

/* A part of the bytes was taken: note which item is in flight. */
static int hold_rest(struct session *s, const struct batch *b, size_t taken)
{
    uint32_t lo = 0, hi = b->count;
    while (lo < hi) { /* the first item that ends behind what was taken */
        uint32_t mid = lo + (hi - lo) / 2;
        if (b->items[mid].end <= taken)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo > 0) {
        s->position = b->items[lo - 1].seq;
        s->fp = b->items[lo - 1].fp;
    }
    count_items(s, b, lo);
    if (s->live)
        latency_some(&s->fanout->latency, b, lo);
    size_t start = lo == 0 ? 0 : b->items[lo - 1].end;
    bool between = lo == b->count || start == taken;
    note_told(s, b, between ? lo : lo + 1);
    if (between)
        return ERR_OK;
    const struct batch_item *item = &b->items[lo];
    s->raw = item->frame == NULL;
    if (s->raw)
        session_count_gap(s, item->reason, item->channel);
    s->inflight = s->raw ? frame_wrap(item->bytes, item->end - start) : frame_ref(item->frame);
    if (s->inflight == NULL)
        return ERR_NOMEM;
    s->inflight_off = (uint32_t)(taken - start) + plant_strikes(PLANT_TORN);
    s->position = item->seq;
    s->fp = item->fp;
    return ERR_OK;
}

/* Put the rest of what is in flight in the vector's first place. Returns its length. */
static size_t inflight_rest(struct session *s, struct iovec *iov)
{
    size_t len = 0;
    const char *bytes = s->inflight->block;
    if (s->raw)
        len = s->inflight->len;
    else /* cannot fail: the form was made when the frame was first gathered */
        bytes = frame_bytes(s->inflight, (enum stream_format)s->format, s->fanout->stats, &len);
    iov->iov_base = (void *)(uintptr_t)(bytes + s->inflight_off);
    iov->iov_len = len - s->inflight_off;
    return iov->iov_len;
}

/* The batch has been taken whole. */
static void took_all(struct session *s, struct batch *b)
{
    count_items(s, b, b->count);
    if (s->live)
        latency_all(&s->fanout->latency, b);
    if (!b->walked)
        return;
    s->position = b->reached;
    s->fp = b->reached_fp;
    note_told(s, b, b->count);
    if (b->more)
        return;
    /* Caught up. What a replay hid must stay behind us. */
    session_set_behind(s, false);
    if (!s->live && s->transport->ops->caught_up != NULL)
        s->transport->ops->caught_up(s->transport);
    s->live = true;
    if (s->right != NULL)
        s->right->passed = b->passed;
    if (s->replay != NULL && s->position < s->replay->until.head) {
        s->position = s->replay->until.head;
        s->fp = 0;
    }
    replay_destroy(s->replay);
    s->replay = NULL;
}

static void say_goodbye(struct session *s, uint64_t now_us);
static bool leave(struct session *s, uint64_t now_us);

/* Take note of where the vector was cut. False: out of memory. */
static bool advance(struct session *s, struct batch *b, size_t rest, size_t taken)
{
    if (taken < rest) {
        s->inflight_off += (uint32_t)taken;
        return true;
    }
    if (s->inflight != NULL && !s->raw) { /* a gap event was counted when it was begun */
        s->events++;
        if (s->live)
            latency_one(&s->fanout->latency, s->inflight->seq);
    }
    frame_unref(s->inflight);
    s->inflight = NULL;
    s->inflight_off = 0;
    if (taken < rest + b->bytes)
        return hold_rest(s, b, taken - rest) == ERR_OK;
    took_all(s, b);
    return true;
}

/* Account for what one write took of the rest in flight and the batch. */
static void settle(struct session *s, struct batch *b, size_t rest, size_t taken, uint64_t now_us)
{
    struct metrics *m = s->fanout->metrics;
    uint64_t events = s->events;
    /* The clock of write_timeout starts again with progress, but within one frame only while that
     * frame costs nothing, being kept by its log anyway; and not to put off the end. */
    bool progress = taken > 0 && (taken >= rest || (inflight_kept(s) && !s->leaving));
    bool more = taken < rest + b->bytes || b->more;
    if (!advance(s, b, rest, taken)) {
        metrics_add(m, METRIC_OUT_OF_MEMORY, 1);
        session_end(s, CLOSING_MEMORY, true);
        return;
    }
    s->bytes += taken;
    metrics_add(m, METRIC_BYTES, taken);
    metrics_add(m, METRIC_DELIVERIES, s->events - events);
    if (s->leaving && s->inflight == NULL)
        say_goodbye(s, now_us);
    else if (progress || !more || !s->blocked)
        set_blocked(s, more, now_us);
}

static void write_out(struct session *s, uint64_t now_us)
{
    struct batch *b = &s->fanout->batch;
    struct iovec *iov = &b->iov[1];
    int segments = b->segments;
    size_t rest = 0;
    if (s->inflight != NULL) {
        rest = inflight_rest(s, --iov);
        segments++;
    }
    if (segments == 0) {
        took_all(s, b);
        if (s->blocked)
            set_blocked(s, false, now_us);
        return;
    }
    ssize_t taken = s->transport->ops->write(s->transport, iov, segments);
    if (taken < 0)
        session_peer_gone(s, (int)taken);
    else
        settle(s, b, rest, (size_t)taken, now_us);
}

struct reader session_reader(const struct session *s)
{
    return (struct reader){.position = s->position,
                           .fp = s->fp,
                           .format = (enum stream_format)s->format,
                           .subs = s->subs,
                           .sub_count = s->sub_count,
                           .replay = s->replay,
                           .right = session_restriction(s),
                           .behind = s->behind,
                           .live = s->live};
}

bool session_cut_if_slow(struct session *s)
{
    struct reader reader = session_reader(s);
    if (s->state != SESSION_STREAMING || !reader_too_slow(&reader))
        return false;
    session_end(s, CLOSING_SLOW, true);
    return true;
}

static void send_owed(struct session *s, uint64_t now_us)
{
    struct fanout *f = s->fanout;
    struct reader reader = session_reader(s);
    s->turn = f->turn;
    if (!s->leaving && session_right_lost(s, now_us) && leave(s, now_us))
        return;
    if (s->leaving)
        batch_clear(&f->batch);
    else
        batch_gather(&f->batch, &f->replica, &reader);
    if (f->batch.failed) {
        metrics_add(f->metrics, METRIC_OUT_OF_MEMORY, 1);
        session_end(s, CLOSING_MEMORY, true);
        return;
    }
    if (f->batch.cut) {
        session_end(s, CLOSING_SLOW, true);
        return;
    }
    write_out(s, now_us);
}

void session_flush(struct session *s, uint64_t now_us)
{
    if (s->state == SESSION_STREAMING && !s->blocked && s->turn != s->fanout->turn)
        send_owed(s, now_us);
}

void session_writable(struct session *s, uint64_t now_us)
{
    struct fanout *f = s->fanout;
    if (s->state != SESSION_STREAMING || !s->blocked)
        return;
    latency_turn(&f->latency, now_us);
    send_owed(s, now_us);
    latency_turn_end(&f->latency, &f->batch);
}

/* Send bytes of the session's own; nothing may be in flight. */
static void send_raw(struct session *s, const char *bytes, size_t len, uint64_t now_us)
{
    s->inflight = frame_wrap(bytes, len);
    if (s->inflight == NULL) {
        session_end(s, CLOSING_MEMORY, true);
        return;
    }
    s->raw = true;
    s->inflight_off = 0;
    batch_clear(&s->fanout->batch);
    write_out(s, now_us);
}

void session_heartbeat(struct session *s, uint64_t now_us)
{
    if (s->state == SESSION_STREAMING && !s->blocked)
        send_raw(s, SSE_HEARTBEAT, sizeof SSE_HEARTBEAT - 1, now_us);
}

/* The last line of a stream, at a block boundary; then the end. */
static void say_goodbye(struct session *s, uint64_t now_us)
{
    if (s->goodbye) {
        session_end(s, (enum closing)s->why, false);
        return;
    }
    s->goodbye = true;
    char text[32];
    /* No blank line: it would be an empty message to some clients, and the field counts without. */
    int n = snprintf(text, sizeof text, "retry: %u\n", fanout_retry_ms(s->fanout, now_us));
    send_raw(s, text, (size_t)n, now_us);
}

/* Whether there is nothing to wait for: else it goes when what is in flight is through, or
 * write_timeout ends it. */
static bool leave(struct session *s, uint64_t now_us)
{
    session_enter(s, s->blocked ? &s->fanout->stalled : &s->fanout->quiet, now_us);
    s->leaving = true;
    if (s->inflight != NULL)
        return false;
    say_goodbye(s, now_us);
    return true;
}

void session_leave(struct session *s, enum closing why, uint64_t now_us)
{
    if (s->state == SESSION_ENDED)
        return;
    session_blame(s, why);
    if (s->state == SESSION_WAITING)
        session_begin(s, false, now_us);
    if (s->state == SESSION_STREAMING && !s->leaving)
        (void)leave(s, now_us);
}

void session_send_away(struct session *s, uint64_t now_us)
{
    if (s->state == SESSION_WAITING)
        session_begin(s, false, now_us);
    else
        (void)leave(s, now_us);
}
