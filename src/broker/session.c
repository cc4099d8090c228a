#include "session_internal.h"

#include <stdlib.h>
#include <string.h>

#include "tickerd/base/err.h"
#include "tickerd/base/plant.h"
#include "tickerd/broker/roster.h"

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
    buf_printf(out, "retry: %llu\nevent: tickerd:open\ndata: {\"resume\":\"%s\"}\n",
               (unsigned long long)retry_ms, resume_text(kind));
    if (id != NULL) {
        buf_str(out, "id: ");
        buf_append(out, id, id_len);
        buf_byte(out, '\n');
    }
    buf_byte(out, '\n');
}

void session_enter(struct session *s, struct link *list, uint64_t now_us)
{
    list_remove(&s->timer);
    list_push(list, &s->timer);
    s->since_us = now_us;
}

void session_set_behind(struct session *s, bool behind)
{
    if (s->behind == behind)
        return;
    s->behind = behind;
    if (behind)
        gauge_raise(s->fanout->metrics, GAUGE_LAGGING);
    else
        gauge_lower(s->fanout->metrics, GAUGE_LAGGING);
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
    right_destroy(s->right);
    s->right = NULL;
    list_remove(&s->timer);
    if (!list_empty(&s->all)) {
        gauge_set(s->fanout->metrics, GAUGE_CLIENTS, --s->fanout->count);
        if (s->state == SESSION_WAITING)
            gauge_lower(s->fanout->metrics, GAUGE_WAITING);
    }
    walkers_leave(s->fanout, s);
    list_remove(&s->all);
    session_set_behind(s, false);
    if (s->blocked)
        gauge_lower(s->fanout->metrics, GAUGE_STALLED);
    s->state = SESSION_ENDED;
}

void session_blame(struct session *s, enum closing why)
{
    if (s->why == CLOSING_NONE)
        s->why = (uint8_t)why;
}

void session_end(struct session *s, enum closing why, bool abort)
{
    struct metrics *m = s->fanout->metrics;
    if (s->state == SESSION_ENDED)
        return;
    session_blame(s, why);
    if (s->state == SESSION_STREAMING) {
        metrics_add(m, METRIC_STREAMS_ENDED, 1);
        metrics_close(m, (enum closing)s->why);
    }
    detach(s);
    s->transport->ops->close(s->transport, abort);
}

void session_peer_gone(struct session *s, int err)
{
    enum closing why = err == ERR_CLOSED    ? CLOSING_CLIENT
                       : err == ERR_TIMEOUT ? CLOSING_TIMEOUT
                                            : CLOSING_ERROR;
    session_end(s, why, true);
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

bool session_restrict(struct session *s)
{
    struct fanout *f = s->fanout;
    const struct grant *g = s->right == NULL ? NULL : s->right->grant;
    bool restricted = false;
    for (uint16_t i = 0; i < s->sub_count; i++) {
        const struct view *v = s->subs[i].view;
        restricted = restricted ||
                     (v->pattern && !auth_allows_all(f->config, g, v->topic->bytes, v->topic->len));
    }
    if (s->right == NULL && restricted)
        s->right = right_create(&f->rights, NULL, s);
    if (s->right == NULL)
        return !restricted;
    if (!restricted && s->position < s->right->passed) { /* what it may hear now begins here */
        s->position = s->right->passed;
        s->fp = 0;
    }
    s->right->restricted = restricted;
    return true;
}

/* Take over the grant, as the last thing that can fail. */
static int take_grant(struct session *s, struct grant *grant)
{
    if (grant_has_token(grant)) {
        s->right = right_create(&s->fanout->rights, grant, s);
        if (s->right == NULL)
            return ERR_NOMEM;
        return session_restrict(s) ? ERR_OK : ERR_NOMEM; /* never: its right is there */
    }
    if (!session_restrict(s))
        return ERR_NOMEM;
    grant_destroy(grant);
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
    s->started_us = now_us > f->newest_us ? now_us : f->newest_us + 1;
    f->newest_us = s->started_us;
    list_init(&s->timer);
    list_init(&s->all);
    s->opening = opening_create(request);
    if (s->opening == NULL || subscribe(s, request->target) != ERR_OK ||
        take_grant(s, request->grant) != ERR_OK) {
        detach(s);
        return ERR_NOMEM;
    }
    list_push(&f->all, &s->all);
    gauge_set(f->metrics, GAUGE_CLIENTS, ++f->count);
    gauge_raise(f->metrics, GAUGE_WAITING);
    session_enter(s, &f->waiting, now_us);
    if (refused(s))
        session_leave(s, CLOSING_REFUSED, now_us);
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

/* ---- rights -------------------------------------------------------------------------------- */

struct right *session_restriction(const struct session *s)
{
    return s->right != NULL && s->right->restricted ? s->right : NULL;
}

bool session_condemn(struct session *s, enum closing why)
{
    if (s->state == SESSION_ENDED || s->condemned || s->leaving)
        return false;
    s->condemned = true;
    session_blame(s, why);
    if (s->right != NULL)
        right_settle(s->right);
    list_remove(&s->timer);
    list_push(&s->fanout->condemned, &s->timer);
    return true;
}

bool session_right_lost(struct session *s, uint64_t now_us)
{
    if (s->right != NULL && right_is_over(s->right, (int64_t)now_us + s->fanout->wall_ahead))
        (void)session_condemn(s, CLOSING_EXPIRED);
    return s->condemned;
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

/* Whether to wait for an event that the client has seen on another instance, but that has not come
 * here yet: as long as for Redis' word on a subscription. */
static bool worth_waiting(const struct session *s, uint64_t now_us)
{
    const struct fanout *f = s->fanout;
    uint64_t patience = f->config->redis.ping_timeout_ms * 1000;
    return f->replica.upstream && now_us - s->since_us < patience;
}

/* Where to begin; `behind`: to wait. */
static int decide(struct session *s, bool may_wait, struct resume *out, uint64_t now_us)
{
    struct opening *o = s->opening;
    if (refused(s) || session_right_lost(s, now_us)) {
        *out = keep_position(s);
        return ERR_OK;
    }
    const struct scope scope = {.replica = &s->fanout->replica,
                                .subs = s->subs,
                                .count = s->sub_count,
                                .right = session_restriction(s)};
    uint64_t window = s->fanout->config->resume.window_ms * 1000;
    if (o->last_id == NULL)
        return resume_new(&scope, o->history, out, &s->replay);
    *out = resume_from(&scope, o->last_id, o->last_id_len, window, &o->looked);
    if (out->behind && !(may_wait && worth_waiting(s, now_us)))
        *out = resume_unknown(&scope);
    return ERR_OK;
}

/* Whether keep_position was what it got. */
static bool turned_away(const struct session *s)
{
    return refused(s) || s->condemned;
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
    uint32_t retry_ms = fanout_retry_ms(s->fanout, now_us);
    if (echo)
        open_encode(&o->head, retry_ms, where->kind, o->last_id, o->last_id_len);
    else if (o->history > 0 && turned_away(s))
        open_encode(&o->head, retry_ms, where->kind, NULL, 0);
    else
        open_encode(&o->head, retry_ms, where->kind, id, sizeof id);
    if (where->unknown) {
        put_unknown_gap(&o->head, line, where->position);
        session_count_gap(s, GAP_UNKNOWN_ID, NULL);
    }
    return o->head.failed ? NULL : frame_wrap(o->head.data, o->head.len);
}

void session_begin(struct session *s, bool may_wait, uint64_t now_us)
{
    struct fanout *f = s->fanout;
    struct resume where;
    int err = decide(s, may_wait, &where, now_us);
    if (err == ERR_OK && where.behind) {
        list_remove(&s->timer);
        list_push(&f->behind, &s->timer);
        return;
    }
    if (err != ERR_OK || (s->inflight = prologue(s, &where, now_us)) == NULL) {
        metrics_add(f->metrics, METRIC_OUT_OF_MEMORY, 1);
        session_end(s, CLOSING_MEMORY, true);
        return;
    }
    s->raw = true;
    s->position = plant_strikes(PLANT_RESUME) ? f->replica.head : where.position;
    s->fp = where.fp;
    session_set_behind(s, s->opening->last_id != NULL);
    opening_destroy(s->opening);
    s->opening = NULL;
    s->state = SESSION_STREAMING;
    gauge_lower(f->metrics, GAUGE_WAITING);
    metrics_add(f->metrics, METRIC_STREAMS, 1);
    session_enter(s, &f->quiet, now_us);
    session_flush(s, now_us);
}

void session_start(struct session *s, uint64_t now_us)
{
    session_begin(s, true, now_us);
}
