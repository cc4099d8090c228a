#include "tickerd/broker/roster.h"

#include <string.h>

#include "gather_internal.h"
#include "session_internal.h"
#include "tickerd/base/clock.h"

/* ---- walking --------------------------------------------------------------------------------- */

void walker_start(struct walker *w, struct fanout *f)
{
    w->fanout = f;
    w->next = f->all.next;
    list_init(&w->link);
    list_push(&f->walkers, &w->link);
}

struct session *walker_next(struct walker *w)
{
    if (w->next == &w->fanout->all)
        return NULL;
    struct session *s = container_of(w->next, struct session, all);
    w->next = w->next->next;
    return s;
}

void walker_stop(struct walker *w)
{
    list_remove(&w->link);
}

void walkers_leave(struct fanout *f, struct session *s)
{
    list_each(&f->walkers, it) {
        struct walker *w = container_of(it, struct walker, link);
        if (w->next == &s->all)
            w->next = s->all.next;
    }
}

/* ---- what it is owed ------------------------------------------------------------------------- */

/* Bytes as they will be written; a form that nobody has asked for yet counts as the other one. */
static size_t frame_size(const struct frame *f, enum stream_format format)
{
    size_t json = format == FORMAT_JSON ? frame_extra(f) : 0;
    return json > 0 ? json : f->len;
}

/* Whether one of the views before the k-th brings the same event. Channels are not the same. */
static bool brought_before(const struct reader *reader, size_t k, const struct frame *f)
{
    for (size_t i = 0; i < k; i++) {
        const struct view *v = reader->subs[i].view;
        if ((v->pattern || reader->subs[k].view->pattern) && view_holds(v, f->seq))
            return true;
    }
    return false;
}

/* Add what the k-th view holds above `from`. Returns how many looks are left. */
static size_t add_view(struct lag *lag, const struct reader *reader, size_t k, uint64_t from,
                       size_t looks)
{
    const struct view *v = reader->subs[k].view;
    if (ring_head(&v->ring) <= from)
        return looks;
    bool decide = v->pattern && reader->right != NULL;
    for (uint32_t i = ring_after(&v->ring, from); i < v->ring.count; i++) {
        const struct entry *e = ring_at(&v->ring, i);
        if (looks <= k) { /* each view before it is a look */
            lag->at_least = true;
            return 0;
        }
        looks -= k + 1;
        if (entry_is_hole(e) || reader_skips(reader, decide, e->u.frame) ||
            brought_before(reader, k, e->u.frame))
            continue;
        lag->events++;
        lag->bytes += frame_size(e->u.frame, reader->format);
    }
    return looks;
}

/* The rest of what is in flight; a gap event or a heartbeat is no event. */
static void add_inflight(struct lag *lag, const struct session *s)
{
    if (s->inflight == NULL)
        return;
    enum stream_format format = s->raw ? FORMAT_RAW : (enum stream_format)s->format;
    lag->events += s->raw ? 0 : 1;
    lag->bytes += frame_size(s->inflight, format) - s->inflight_off;
}

struct lag session_lag(const struct session *s)
{
    struct lag lag = {0, 0, false};
    if (s->state != SESSION_STREAMING)
        return lag;
    add_inflight(&lag, s);
    if (s->leaving || s->condemned) /* it gets nothing more */
        return lag;
    struct reader reader = session_reader(s);
    uint64_t from = reader.right == NULL ? s->position : max_seq(s->position, reader.right->passed);
    size_t looks = LAG_LOOKS;
    for (size_t k = 0; k < reader.sub_count && !lag.at_least; k++)
        looks = add_view(&lag, &reader, k, from, looks);
    return lag;
}

/* ---- a row ----------------------------------------------------------------------------------- */

const char *session_standing(const struct session *s)
{
    if (s->state == SESSION_WAITING)
        return "waiting";
    if (s->blocked)
        return "stalled";
    return s->behind || !s->live ? "behind" : "live";
}

bool session_names(const struct session *s, const char *topic, size_t len)
{
    for (uint16_t i = 0; i < s->sub_count; i++) {
        const struct name *n = s->subs[i].view->topic;
        if (n->len == len && memcmp(n->bytes, topic, len) == 0)
            return true;
    }
    return false;
}

const char *session_subject(const struct session *s)
{
    return s->right == NULL ? NULL : grant_subject(s->right->grant);
}

static void put_topics(struct buf *out, const struct session *s, bool pattern)
{
    bool first = true;
    buf_byte(out, '[');
    for (uint16_t i = 0; i < s->sub_count; i++) {
        const struct view *v = s->subs[i].view;
        if (v->pattern != pattern)
            continue;
        buf_str(out, first ? "\"" : ",\"");
        buf_json(out, v->topic->bytes, v->topic->len);
        buf_byte(out, '"');
        first = false;
    }
    buf_byte(out, ']');
}

static void put_subject(struct buf *out, const char *sub)
{
    if (sub == NULL) {
        buf_str(out, "null");
        return;
    }
    buf_byte(out, '"');
    buf_json(out, sub, strlen(sub));
    buf_byte(out, '"');
}

/* The id of its position; a stream that waits has none yet. */
static void put_last_id(struct buf *out, const struct session *s)
{
    char text[EVENTID_LEN];
    if (s->state == SESSION_WAITING) {
        buf_str(out, "null");
        return;
    }
    struct eventid id = timeline_id(&s->fanout->replica.timeline, s->position, s->fp);
    eventid_format(text, &id);
    buf_printf(out, "\"%.*s\"", (int)sizeof text, text);
}

void session_put_json(struct buf *out, const struct session *s, const char *address,
                      uint32_t worker)
{
    char since[CLOCK_TEXT_MAX];
    struct lag lag = session_lag(s);
    (void)clock_print((uint64_t)((int64_t)s->started_us + s->fanout->wall_ahead), since);
    buf_printf(out, "{\"address\":\"%s\",\"subject\":", address);
    put_subject(out, session_subject(s));
    buf_str(out, ",\"channels\":");
    put_topics(out, s, false);
    buf_str(out, ",\"patterns\":");
    put_topics(out, s, true);
    buf_printf(out, ",\"since\":\"%s\",\"last_id\":", since);
    put_last_id(out, s);
    buf_printf(out, ",\"events\":%llu,\"bytes\":%llu,\"gaps\":%u,", (unsigned long long)s->events,
               (unsigned long long)s->bytes, s->gaps);
    buf_printf(out, "\"lag\":{\"events\":%llu,\"bytes\":%llu,\"at_least\":%s},",
               (unsigned long long)lag.events, (unsigned long long)lag.bytes,
               lag.at_least ? "true" : "false");
    buf_printf(out, "\"state\":\"%s\",\"worker\":%u}", session_standing(s), worker);
}
