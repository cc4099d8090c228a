#include "tickerd/broker/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tickerd/base/err.h"
#include "tickerd/base/plant.h"

struct opening {
    struct buf head;
    char *last_id; /* owned; NULL: a first connect */
    size_t last_id_len;
    uint32_t history;
    uint64_t looked; /* up to here the last id has been looked for in vain */
};

bool session_id_printable(const char *id, size_t len)
{
    if (len == 0 || len > ENVELOPE_ID_MAX)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (id[i] < 0x20 || id[i] > 0x7e)
            return false;
    }
    return true;
}

void open_encode(struct buf *out, uint64_t retry_ms, enum resume_kind kind, const char *id,
                 size_t id_len)
{
    buf_printf(out, "retry: %llu\nevent: tickerd:open\ndata: {\"resume\":\"%s\"}\nid: ",
               (unsigned long long)retry_ms, resume_text(kind));
    buf_append(out, id, id_len);
    buf_str(out, "\n\n");
}

static void enter(struct session *s, struct link *list, uint64_t now_us)
{
    list_remove(&s->timer);
    list_push(list, &s->timer);
    s->since_us = now_us;
}

static void opening_destroy(struct opening *o)
{
    if (o == NULL)
        return;
    buf_finish(&o->head);
    free(o->last_id);
    free(o);
}

static void detach(struct session *s)
{
    for (uint16_t i = 0; i < s->sub_count; i++)
        replica_unsubscribe(&s->fanout->replica, &s->subs[i]);
    s->sub_count = 0;
    if (s->subs != &s->one)
        free(s->subs);
    s->subs = &s->one;
    frame_unref(s->inflight);
    s->inflight = NULL;
    opening_destroy(s->opening);
    s->opening = NULL;
    replay_destroy(s->replay);
    s->replay = NULL;
    list_remove(&s->timer);
    if (!list_empty(&s->all))
        s->fanout->count--;
    list_remove(&s->all);
    s->state = SESSION_ENDED;
}

void session_end(struct session *s, bool abort)
{
    if (s->state == SESSION_ENDED)
        return;
    if (s->state == SESSION_STREAMING)
        metrics_add(s->fanout->metrics, METRIC_STREAMS_ENDED, 1);
    detach(s);
    s->transport->ops->close(s->transport, abort);
}

void session_peer_gone(struct session *s)
{
    session_end(s, true);
}

static struct opening *opening_create(const struct session_request *q)
{
    struct opening *o = calloc(1, sizeof *o);
    if (o == NULL)
        return NULL;
    const char *id = q->last_event_id;
    size_t len = q->last_event_id_len;
    if (id == NULL || len == 0) {
        id = q->target->last_event_id;
        len = q->target->last_event_id_len;
    }
    o->history = q->target->history;
    buf_append(&o->head, q->head, q->head_len);
    if (id != NULL && len > 0) {
        o->last_id = malloc(len);
        o->last_id_len = len;
        if (o->last_id != NULL)
            memcpy(o->last_id, id, len);
        o->head.failed = o->head.failed || o->last_id == NULL;
    }
    if (o->head.failed) {
        opening_destroy(o);
        return NULL;
    }
    return o;
}

static int subscribe(struct session *s, const struct target *t)
{
    s->subs = &s->one;
    if (t->count > 1)
        s->subs = calloc(t->count, sizeof *s->subs);
    if (s->subs == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < t->count; i++) {
        const struct target_topic *topic = &t->topics[i];
        struct sub *sub = &s->subs[i];
        sub->session = s;
        list_init(&sub->link);
        int err =
            replica_subscribe(&s->fanout->replica, sub, topic->name, topic->len, topic->pattern);
        if (err != ERR_OK)
            return err;
        s->sub_count++;
    }
    return ERR_OK;
}

static bool refused(const struct session *s)
{
    for (uint16_t i = 0; i < s->sub_count; i++) {
        if (s->subs[i].view->refused)
            return true;
    }
    return false;
}

int session_open(struct session *s, struct fanout *f, struct transport *t,
                 const struct session_request *request, uint64_t now_us)
{
    s->transport = t;
    s->fanout = f;
    s->state = SESSION_WAITING;
    s->format = (uint8_t)request->target->format;
    s->subs = &s->one;
    s->started_us = now_us;
    list_init(&s->timer);
    list_init(&s->all);
    s->opening = opening_create(request);
    if (s->opening == NULL || subscribe(s, request->target) != ERR_OK) {
        detach(s);
        return ERR_NOMEM;
    }
    list_push(&f->all, &s->all);
    f->count++;
    enter(s, &f->waiting, now_us);
    if (refused(s))
        session_leave(s, now_us);
    else if (session_ready(s))
        session_start(s, now_us);
    return ERR_OK;
}

bool session_ready(const struct session *s)
{
    for (uint16_t i = 0; i < s->sub_count; i++) {
        if (!view_ready(s->subs[i].view))
            return false;
    }
    return true;
}

/* ---- starting ------------------------------------------------------------------------------ */

/* A stream that ends at once tells the client its own position, whatever that is worth here. */
static struct resume keep_position(const struct session *s)
{
    const struct opening *o = s->opening;
    bool keep = o->last_id != NULL && session_id_printable(o->last_id, o->last_id_len);
    return (struct resume){.kind = keep ? RESUME_CONTINUED : RESUME_NEW,
                           .position = s->fanout->replica.head,
                           .unknown = false};
}

static int decide(struct session *s, struct resume *out)
{
    struct opening *o = s->opening;
    if (refused(s)) {
        *out = keep_position(s);
        return ERR_OK;
    }
    const struct replica *r = &s->fanout->replica;
    uint64_t window = s->fanout->config->resume.window_ms * 1000;
    if (o->last_id == NULL)
        return resume_new(r, s->subs, s->sub_count, o->history, out, &s->replay);
    *out = resume_from(r, s->subs, s->sub_count, o->last_id, o->last_id_len, window, &o->looked);
    return ERR_OK;
}

static void put_unknown_gap(struct buf *out, const struct timeline *t, uint64_t to)
{
    char id[EVENTID_LEN];
    struct eventid position = timeline_id(t, to, 0);
    eventid_format(id, &position);
    buf_printf(out,
               "event: tickerd:gap\ndata: {\"channel\":null,\"reason\":\"%s\",\"from\":null,"
               "\"to\":\"%.*s\"}\nid: %.*s\n\n",
               gap_reason_text(GAP_UNKNOWN_ID), (int)sizeof id, id, (int)sizeof id, id);
}

/* Head, first event and perhaps the gap, as the first frame in flight: so they go out in one write
 * together with whatever follows at once. */
static struct frame *prologue(struct session *s, const struct resume *where, uint64_t now_us)
{
    struct opening *o = s->opening;
    const struct timeline *line = &s->fanout->replica.timeline;
    char id[EVENTID_LEN];
    struct eventid position = timeline_id(line, where->position, where->fp);
    eventid_format(id, &position);
    /* An id that is not known is repeated as well: the gap behind it brings the new one, and who is
     * cut off between the two will ask again. */
    bool echo = o->last_id != NULL && session_id_printable(o->last_id, o->last_id_len);
    open_encode(&o->head, fanout_retry_ms(s->fanout, now_us), where->kind, echo ? o->last_id : id,
                echo ? o->last_id_len : sizeof id);
    if (where->unknown) {
        put_unknown_gap(&o->head, line, where->position);
        metrics_add(s->fanout->metrics, METRIC_GAPS, 1);
    }
    return o->head.failed ? NULL : frame_wrap(o->head.data, o->head.len);
}

/* Whether to wait for an event that the client has seen on another instance, but that has not come
 * here yet: as long as for Redis' word on a subscription. */
static bool worth_waiting(const struct session *s, const struct resume *where, uint64_t now_us)
{
    const struct fanout *f = s->fanout;
    uint64_t patience = f->config->redis.ping_timeout_ms * 1000;
    return where->behind && f->replica.upstream && now_us - s->since_us < patience;
}

static void start(struct session *s, bool may_wait, uint64_t now_us)
{
    struct fanout *f = s->fanout;
    struct resume where;
    int err = decide(s, &where);
    if (err == ERR_OK && may_wait && worth_waiting(s, &where, now_us)) {
        list_remove(&s->timer);
        list_push(&f->behind, &s->timer);
        return;
    }
    if (err != ERR_OK || (s->inflight = prologue(s, &where, now_us)) == NULL) {
        metrics_add(f->metrics, METRIC_OUT_OF_MEMORY, 1);
        session_end(s, true);
        return;
    }
    s->raw = true;
    s->position = plant_strikes(PLANT_RESUME) ? f->replica.head : where.position;
    s->fp = where.fp;
    s->behind = s->opening->last_id != NULL;
    opening_destroy(s->opening);
    s->opening = NULL;
    s->state = SESSION_STREAMING;
    metrics_add(f->metrics, METRIC_STREAMS, 1);
    enter(s, &f->quiet, now_us);
    session_flush(s, now_us);
}

void session_start(struct session *s, uint64_t now_us)
{
    start(s, true, now_us);
}

/* ---- sending ------------------------------------------------------------------------------- */

static void set_blocked(struct session *s, bool blocked, uint64_t now_us)
{
    if (s->blocked != blocked)
        s->transport->ops->want_write(s->transport, blocked);
    s->blocked = blocked;
    s->behind = s->behind || blocked;
    enter(s, blocked ? &s->fanout->stalled : &s->fanout->quiet, now_us);
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

/* The first n items of the batch have been taken whole. */
static void count_items(struct session *s, const struct batch *b, uint32_t n)
{
    uint32_t gaps = n == b->count ? b->gaps : 0;
    for (uint32_t i = 0; n < b->count && b->gaps > 0 && i < n; i++)
        gaps += b->items[i].frame == NULL ? 1 : 0;
    s->events += n - gaps;
    metrics_add(s->fanout->metrics, METRIC_GAPS, gaps);
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
    size_t start = lo == 0 ? 0 : b->items[lo - 1].end;
    bool between = lo == b->count || start == taken;
    note_told(s, b, between ? lo : lo + 1);
    if (between)
        return ERR_OK;
    const struct batch_item *item = &b->items[lo];
    s->raw = item->frame == NULL;
    metrics_add(s->fanout->metrics, METRIC_GAPS, s->raw ? 1 : 0);
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
static void took_all(struct session *s, const struct batch *b)
{
    count_items(s, b, b->count);
    if (!b->walked)
        return;
    s->position = b->reached;
    s->fp = b->reached_fp;
    note_told(s, b, b->count);
    if (b->more)
        return;
    /* Caught up. What a replay hid must stay behind us. */
    s->behind = false;
    if (!s->live && s->transport->ops->caught_up != NULL)
        s->transport->ops->caught_up(s->transport);
    s->live = true;
    if (s->replay != NULL && s->position < s->replay->until.head) {
        s->position = s->replay->until.head;
        s->fp = 0;
    }
    replay_destroy(s->replay);
    s->replay = NULL;
}

static void say_goodbye(struct session *s, uint64_t now_us);

/* Take note of where the vector was cut. False: out of memory. */
static bool advance(struct session *s, const struct batch *b, size_t rest, size_t taken)
{
    if (taken < rest) {
        s->inflight_off += (uint32_t)taken;
        return true;
    }
    if (s->inflight != NULL && !s->raw) /* a gap event was counted when it was begun */
        s->events++;
    frame_unref(s->inflight);
    s->inflight = NULL;
    s->inflight_off = 0;
    if (taken < rest + b->bytes)
        return hold_rest(s, b, taken - rest) == ERR_OK;
    took_all(s, b);
    return true;
}

/* Account for what one write took of the rest in flight and the batch. */
static void settle(struct session *s, const struct batch *b, size_t rest, size_t taken,
                   uint64_t now_us)
{
    struct metrics *m = s->fanout->metrics;
    uint64_t events = s->events;
    /* The clock of write_timeout starts again with progress, but within one frame only while that
     * frame costs nothing, being kept by its log anyway. */
    bool progress = taken > 0 && (taken >= rest || inflight_kept(s));
    bool more = taken < rest + b->bytes || b->more;
    if (!advance(s, b, rest, taken)) {
        metrics_add(m, METRIC_OUT_OF_MEMORY, 1);
        session_end(s, true);
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
        session_end(s, true);
    else
        settle(s, b, rest, (size_t)taken, now_us);
}

static struct reader reader_of(const struct session *s)
{
    return (struct reader){.position = s->position,
                           .fp = s->fp,
                           .format = (enum stream_format)s->format,
                           .subs = s->subs,
                           .sub_count = s->sub_count,
                           .replay = s->replay,
                           .behind = s->behind,
                           .live = s->live};
}

static void cut_slow(struct session *s)
{
    metrics_add(s->fanout->metrics, METRIC_SLOW_CUT, 1);
    session_end(s, true);
}

bool session_cut_if_slow(struct session *s)
{
    struct reader reader = reader_of(s);
    if (s->state != SESSION_STREAMING || !reader_too_slow(&reader))
        return false;
    cut_slow(s);
    return true;
}

static void send_owed(struct session *s, uint64_t now_us)
{
    struct fanout *f = s->fanout;
    struct reader reader = reader_of(s);
    s->turn = f->turn;
    if (s->leaving)
        batch_clear(&f->batch);
    else
        batch_gather(&f->batch, &f->replica, &reader);
    if (f->batch.failed) {
        metrics_add(f->metrics, METRIC_OUT_OF_MEMORY, 1);
        session_end(s, true);
        return;
    }
    if (f->batch.cut) {
        cut_slow(s);
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
    if (s->state == SESSION_STREAMING && s->blocked)
        send_owed(s, now_us);
}

/* Send bytes of the session's own; nothing may be in flight. */
static void send_raw(struct session *s, const char *bytes, size_t len, uint64_t now_us)
{
    s->inflight = frame_wrap(bytes, len);
    if (s->inflight == NULL) {
        session_end(s, true);
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
        session_end(s, false);
        return;
    }
    s->goodbye = true;
    char text[32];
    /* No blank line: it would be an empty message to some clients, and the field counts without. */
    int n = snprintf(text, sizeof text, "retry: %u\n", fanout_retry_ms(s->fanout, now_us));
    send_raw(s, text, (size_t)n, now_us);
}

void session_leave(struct session *s, uint64_t now_us)
{
    if (s->state == SESSION_WAITING)
        start(s, false, now_us);
    if (s->state != SESSION_STREAMING || s->leaving)
        return;
    s->leaving = true;
    if (s->inflight == NULL)
        say_goodbye(s, now_us); /* else when that is through, or write_timeout ends it */
}
