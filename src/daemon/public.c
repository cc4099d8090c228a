#include "tickerd/daemon/public.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tickerd/base/clock.h"
#include "tickerd/base/err.h"
#include "tickerd/base/log.h"
#include "tickerd/daemon/access.h"
#include "tickerd/wire/cors.h"
#include "tickerd/wire/target.h"

enum { RETRY_AFTER_MIN_S = 1 };

/* What is known of the request while it is answered. */
struct exchange {
    struct public *p;
    struct conn *conn;
    const struct httpreq *request; /* NULL: it could not be read */
    enum http_method method;       /* HTTP_M_OTHER if it could not be read that far */
    bool wants_stream;             /* Accept names text/event-stream */
};

/* ---- heads ----------------------------------------------------------------------------------- */

static const char *status_text(int status)
{
    static const struct {
        int status;
        const char *text;
    } texts[] = {
        {200, "OK"},
        {204, "No Content"},
        {400, "Bad Request"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {414, "URI Too Long"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {503, "Service Unavailable"},
        {505, "HTTP Version Not Supported"},
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (texts[i].status == status)
            return texts[i].text;
    }
    return "Error";
}

static const char *date_now(struct public *p)
{
    time_t now = time(NULL);
    if (now != p->date_at) {
        struct tm tm;
        (void)gmtime_r(&now, &tm);
        (void)strftime(p->date, sizeof p->date, "%a, %d %b %Y %H:%M:%S GMT", &tm);
        p->date_at = now;
    }
    return p->date;
}

static void put_cors(struct buf *out, const struct exchange *x)
{
    const struct config *config = x->p->config;
    if (config->cors.origins.count == 0)
        return;
    /* Also without an Origin: a cache must not give this answer to somebody who has one. */
    buf_str(out, "Vary: Origin\r\n");
    if (x->request == NULL)
        return;
    struct http_slice origin = httpreq_header(x->request, HTTPREQ_ORIGIN);
    if (origin.p == NULL || !cors_allows(&config->cors.origins, origin.p, origin.len))
        return;
    buf_str(out, "Access-Control-Allow-Origin: ");
    buf_append(out, origin.p, origin.len);
    buf_str(out, "\r\n");
    if (config->cors.credentials)
        buf_str(out, "Access-Control-Allow-Credentials: true\r\n");
}

static void begin(struct buf *out, const struct exchange *x, int status)
{
    buf_reset(out);
    access_status(http1_user(x->conn), status);
    buf_printf(out, "HTTP/1.1 %d %s\r\nDate: %s\r\n", status, status_text(status), date_now(x->p));
    put_cors(out, x);
}

static void stream_head(struct buf *out, const struct exchange *x)
{
    begin(out, x, 200);
    /* Close-delimited: behind HAProxy's defaults a chunked body waits 210 ms per event. */
    buf_str(out, "Content-Type: text/event-stream\r\n"
                 "Cache-Control: no-cache, no-transform\r\n"
                 "X-Accel-Buffering: no\r\n"
                 "Connection: close\r\n\r\n");
}

static bool is_head(const struct exchange *x)
{
    return x->method == HTTP_M_HEAD;
}

static void send_answer(struct exchange *x)
{
    struct buf *out = &x->p->answer;
    if (out->failed)
        http1_reply(x->conn, "", 0);
    else
        http1_reply(x->conn, out->data, out->len);
}

static void reply_body(struct exchange *x, int status, const char *type, const char *extra,
                       const char *body, size_t len)
{
    struct buf *out = &x->p->answer;
    begin(out, x, status);
    buf_printf(out,
               "Content-Type: %s\r\nContent-Length: %zu\r\nCache-Control: no-store\r\n%s"
               "Connection: close\r\n\r\n",
               type, len, extra);
    if (!is_head(x))
        buf_append(out, body, len);
    send_answer(x);
}

static void reply_error(struct exchange *x, int status, const char *code, const char *message,
                        const char *extra)
{
    struct buf body = BUF_INIT;
    metrics_add(x->p->metrics, METRIC_REFUSED, 1);
    buf_printf(&body, "{\"error\":\"%s\",\"message\":\"", code);
    buf_json(&body, message, strlen(message));
    buf_str(&body, "\"}\n");
    reply_body(x, status, "application/json", extra, body.data, body.failed ? 0 : body.len);
    buf_finish(&body);
    log_debug("answered %d %s", status, code);
}

/* ---- refusals that should be temporary ------------------------------------------------------- */

/* The id that a client may be told to come back with: its own, if it has a printable one. */
static struct http_slice client_position(const struct exchange *x, const struct target *t)
{
    struct http_slice id = {NULL, 0};
    if (x->request != NULL)
        id = httpreq_header(x->request, HTTPREQ_LAST_EVENT_ID);
    if ((id.p == NULL || id.len == 0) && t != NULL && t->last_event_id != NULL)
        id = (struct http_slice){t->last_event_id, t->last_event_id_len};
    if (id.p != NULL && !session_id_printable(id.p, id.len))
        id = (struct http_slice){NULL, 0};
    return id;
}

/* A native EventSource gives up for good on any status but 200, so one that asks for a stream gets
 * a stream that ends at once and says when to come back. */
static void refuse_for_now(struct exchange *x, const struct target *t, const char *code,
                           const char *message)
{
    struct fanout *f = x->p->fanout;
    uint32_t retry_ms = fanout_retry_ms(f, clock_mono_us());
    if (!x->wants_stream) {
        char extra[48];
        (void)snprintf(extra, sizeof extra, "Retry-After: %u\r\n",
                       RETRY_AFTER_MIN_S + retry_ms / 1000);
        reply_error(x, 503, code, message, extra);
        return;
    }
    metrics_add(x->p->metrics, METRIC_REFUSED, 1);
    struct buf *out = &x->p->answer;
    stream_head(out, x);
    struct http_slice id = client_position(x, t);
    char position[EVENTID_LEN];
    if (id.p == NULL) {
        struct eventid here = timeline_id(&f->replica.timeline, f->replica.head, 0);
        eventid_format(position, &here);
        open_encode(out, retry_ms, RESUME_NEW, position, sizeof position);
    } else {
        open_encode(out, retry_ms, RESUME_CONTINUED, id.p, id.len);
    }
    send_answer(x);
}

/* ---- resources ------------------------------------------------------------------------------- */

static void open_stream(struct exchange *x, const struct target *t)
{
    struct public *p = x->p;
    struct capacity *cap = p->capacity;
    if (p->fanout->draining) {
        refuse_for_now(x, t, "draining", "The server is shutting down; come back in a moment.");
        return;
    }
    if (!capacity_enter(&cap->streams, cap->max_streams)) {
        capacity_tell(cap, clock_mono_us());
        refuse_for_now(x, t, "overloaded", "No room for another stream; come back later.");
        return;
    }
    stream_head(&p->answer, x);
    struct http_slice id = httpreq_header(x->request, HTTPREQ_LAST_EVENT_ID);
    struct session_request q = {.target = t,
                                .last_event_id = id.p,
                                .last_event_id_len = id.len,
                                .head = p->answer.data,
                                .head_len = p->answer.len};
    struct transport *transport;
    struct session *s = http1_stream(x->conn, &transport);
    if (p->answer.failed || session_open(s, p->fanout, transport, &q, clock_mono_us()) != ERR_OK) {
        metrics_add(p->metrics, METRIC_OUT_OF_MEMORY, 1);
        refuse_for_now(x, t, "overloaded", "Out of memory; come back later.");
    }
}

static void answer_events(struct exchange *x, const struct target *t)
{
    if (!is_head(x)) {
        open_stream(x, t);
        return;
    }
    stream_head(&x->p->answer, x);
    send_answer(x);
}

static void answer_ready(struct exchange *x)
{
    if (x->p->fanout->draining)
        reply_error(x, 503, "draining", "The server is shutting down.", "");
    else if (!x->p->fanout->replica.upstream)
        reply_error(x, 503, "upstream_down", "The subscription to Redis is not live.", "");
    else
        reply_body(x, 200, "text/plain", "", "ready\n", 6);
}

static void answer_options(struct exchange *x)
{
    struct buf *out = &x->p->answer;
    begin(out, x, 204);
    buf_str(out, "Allow: GET, HEAD, OPTIONS\r\n");
    if (httpreq_header(x->request, HTTPREQ_ACR_METHOD).p != NULL)
        buf_str(out, "Access-Control-Allow-Methods: GET, HEAD, OPTIONS\r\n"
                     "Access-Control-Allow-Headers: Authorization, Last-Event-ID, Cache-Control\r\n"
                     "Access-Control-Max-Age: 7200\r\n");
    buf_str(out, "Connection: close\r\n\r\n");
    send_answer(x);
}

static void answer_target(struct exchange *x, const struct target *t)
{
    switch (t->kind) {
    case TARGET_EVENTS:
        answer_events(x, t);
        break;
    case TARGET_HEALTHZ:
        reply_body(x, 200, "text/plain", "", "ok\n", 3);
        break;
    case TARGET_READYZ:
        answer_ready(x);
        break;
    case TARGET_UNKNOWN:
        reply_error(x, 404, "not_found", "There is nothing here; streams are at /events/<channel>.",
                    "");
        break;
    }
}

static void note_access(const struct exchange *x)
{
    if (x->p->config->log.access)
        http1_set_user(x->conn, access_begin(http1_fd(x->conn), x->request));
}

static void on_request(void *ctx, struct conn *conn, const struct httpreq *request)
{
    struct exchange x = {ctx, conn, request, httpreq_method(request),
                         httpreq_accepts_stream(request)};
    note_access(&x);
    if (x.method == HTTP_M_OTHER) {
        reply_error(&x, 405, "method_not_allowed",
                    "Only GET, HEAD and OPTIONS are allowed here; events are published through "
                    "Redis.",
                    "Allow: GET, HEAD, OPTIONS\r\n");
        return;
    }
    if (x.method == HTTP_M_OPTIONS) {
        answer_options(&x);
        return;
    }
    struct target t;
    struct target_error why;
    struct target_rules rules = {.topics_max = x.p->config->limits.channels_per_client,
                                 .token_param = NULL};
    struct http_slice text = httpreq_target(request);
    if (target_parse(&t, text.p, text.len, &rules, &why) != ERR_OK) {
        reply_error(&x, why.status, why.code, why.message, "");
        return;
    }
    answer_target(&x, &t);
    target_finish(&t);
}

static void on_bad_request(void *ctx, struct conn *conn, const struct httpreq_error *error,
                           const struct httpreq *partial)
{
    struct exchange x = {ctx, conn, NULL, httpreq_method(partial), httpreq_accepts_stream(partial)};
    note_access(&x);
    reply_error(&x, error->status, error->code, error->message,
                error->status == 405 ? "Allow: GET, HEAD, OPTIONS\r\n" : "");
}

static void on_closed(void *ctx, const struct http1_end *end)
{
    struct public *p = ctx;
    access_end(end->user, end->events, end->bytes);
    capacity_leave(&p->capacity->connections);
    if (end->was_stream)
        capacity_leave(&p->capacity->streams);
}

/* ---- public ---------------------------------------------------------------------------------- */

int public_init(struct public *p, uv_loop_t *loop, struct fanout *fanout, struct capacity *capacity,
                struct metrics *metrics, const struct config *config)
{
    static const struct http1_events events = {on_request, on_bad_request, on_closed};
    memset(p, 0, sizeof *p);
    p->fanout = fanout;
    p->capacity = capacity;
    p->metrics = metrics;
    p->config = config;
    return http1_init(&p->http, loop, config->limits.request_bytes,
                      config->limits.request_timeout_ms * US_PER_MS, &events, p);
}

void public_close(struct public *p)
{
    http1_close(&p->http);
}

void public_finish(struct public *p)
{
    http1_finish(&p->http);
    buf_finish(&p->answer);
}

void public_accept(void *ctx, int fd)
{
    struct public *p = ctx;
    /* Closing at once is a network error to an EventSource, which then tries again. */
    if (!capacity_enter(&p->capacity->connections, p->capacity->max_connections)) {
        metrics_add(p->metrics, METRIC_REFUSED, 1);
        capacity_tell(p->capacity, clock_mono_us());
        (void)close(fd);
        return;
    }
    metrics_add(p->metrics, METRIC_ACCEPTED, 1);
    int err = http1_accept(&p->http, fd);
    if (err != ERR_OK) {
        if (err == ERR_NOMEM)
            metrics_add(p->metrics, METRIC_OUT_OF_MEMORY, 1);
        capacity_leave(&p->capacity->connections);
    }
}
