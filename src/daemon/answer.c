#include "tickerd/daemon/answer.h"

#include <stdio.h>
#include <string.h>

#include "tickerd/base/clock.h"
#include "tickerd/base/log.h"
#include "tickerd/daemon/client.h"
#include "tickerd/daemon/origin.h"

enum { RETRY_AFTER_MIN_S = 1 };

/* ---- heads ----------------------------------------------------------------------------------- */

static const char *status_text(int status)
{
    static const struct {
        int status;
        const char *text;
    } texts[] = {
        {200, "OK"},
        {202, "Accepted"},
        {204, "No Content"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {411, "Length Required"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {421, "Misdirected Request"},
        {422, "Unprocessable Content"},
        {429, "Too Many Requests"},
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

void answer_begin(struct exchange *x, int status)
{
    struct buf *out = &x->p->answer;
    buf_reset(out);
    client_status(http1_user(x->conn), status);
    buf_printf(out, "HTTP/1.1 %d %s\r\nDate: %s\r\n", status, status_text(status), date_now(x->p));
    origin_put_headers(out, x->p->config, x->request, status);
    if (x->token_in_url) /* a page that is made of this answer must not send it on */
        buf_str(out, "Referrer-Policy: no-referrer\r\n");
}

void answer_stream_head(struct exchange *x)
{
    answer_begin(x, 200);
    /* Close-delimited: behind HAProxy's defaults a chunked body waits 210 ms per event. */
    buf_str(&x->p->answer, "Content-Type: text/event-stream\r\n"
                           "Cache-Control: no-cache, no-transform\r\n"
                           "X-Accel-Buffering: no\r\n"
                           "Connection: close\r\n\r\n");
}

void answer_send(struct exchange *x)
{
    struct buf *out = &x->p->answer;
    if (out->failed)
        http1_reply(x->conn, "", 0);
    else
        http1_reply(x->conn, out->data, out->len);
}

void answer_body(struct exchange *x, int status, const char *type, const char *extra,
                 const char *body, size_t len)
{
    struct buf *out = &x->p->answer;
    answer_begin(x, status);
    buf_printf(out,
               "Content-Type: %s\r\nContent-Length: %zu\r\nCache-Control: no-store\r\n"
               "X-Content-Type-Options: nosniff\r\n%sConnection: close\r\n\r\n",
               type, len, extra);
    if (x->method != HTTP_M_HEAD)
        buf_append(out, body, len);
    answer_send(x);
}

void answer_put_error(struct buf *out, const char *code, const char *message)
{
    buf_printf(out, "{\"error\":\"%s\",\"message\":\"", code);
    buf_json(out, message, strlen(message));
    buf_str(out, "\"}\n");
}

void answer_error(struct exchange *x, int status, const char *code, const char *message,
                  const char *extra)
{
    struct buf body = BUF_INIT;
    metrics_refuse(x->p->metrics, refusal_of(status));
    answer_put_error(&body, code, message);
    answer_body(x, status, "application/json", extra, body.data, body.failed ? 0 : body.len);
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

static void come_back(struct exchange *x, const struct target *t, int status, const char *code,
                      const char *message, uint64_t wait_us)
{
    struct fanout *f = x->p->fanout;
    uint32_t retry_ms = fanout_retry_ms(f, clock_mono_us()) + (uint32_t)(wait_us / US_PER_MS);
    if (!x->wants_stream) {
        char extra[48];
        (void)snprintf(extra, sizeof extra, "Retry-After: %u\r\n",
                       RETRY_AFTER_MIN_S + retry_ms / 1000);
        answer_error(x, status, code, message, extra);
        return;
    }
    metrics_refuse(x->p->metrics, refusal_of(status));
    answer_stream_head(x);
    struct buf *out = &x->p->answer;
    struct http_slice id = client_position(x, t);
    char position[EVENTID_LEN];
    if (id.p == NULL && (t == NULL || t->history > 0)) {
        open_encode(out, retry_ms, RESUME_NEW, NULL, 0);
    } else if (id.p == NULL) {
        struct eventid here = timeline_id(&f->replica.timeline, f->replica.head, 0);
        eventid_format(position, &here);
        open_encode(out, retry_ms, RESUME_NEW, position, sizeof position);
    } else {
        open_encode(out, retry_ms, RESUME_CONTINUED, id.p, id.len);
    }
    answer_send(x);
}

void answer_for_now(struct exchange *x, const struct target *t, const char *code,
                    const char *message)
{
    come_back(x, t, 503, code, message, 0);
}

void answer_too_much(struct exchange *x, const struct target *t, const char *code,
                     const char *message, uint64_t wait_us)
{
    come_back(x, t, 429, code, message, wait_us);
}

void answer_no_memory(struct exchange *x, const struct target *t)
{
    metrics_add(x->p->metrics, METRIC_OUT_OF_MEMORY, 1);
    answer_for_now(x, t, "overloaded", "Out of memory; come back later.");
}
