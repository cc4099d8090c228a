#include "tickerd/daemon/public.h"

#include <string.h>
#include <unistd.h>

#include "tickerd/base/clock.h"
#include "tickerd/base/err.h"
#include "tickerd/daemon/admin.h"
#include "tickerd/daemon/answer.h"
#include "tickerd/daemon/client.h"
#include "tickerd/daemon/gate.h"
#include "tickerd/daemon/held.h"
#include "tickerd/daemon/origin.h"
#include "tickerd/net/turns.h"

/* ---- resources ------------------------------------------------------------------------------- */

/* Whether events from before now are asked for. */
static bool asks_for_past(const struct exchange *x, const struct target *t)
{
    return t->history > 0 || t->last_event_id_len > 0 ||
           httpreq_header(x->request, HTTPREQ_LAST_EVENT_ID).len > 0;
}

/* Whether limits per address and subject let it in; if not, that has been said. */
static bool within_limits(struct exchange *x, const struct target *t)
{
    uint64_t wait_us;
    switch (client_enter(http1_user(x->conn), x->p->config, asks_for_past(x, t), clock_mono_us(),
                         &wait_us)) {
    case CLIENT_WELCOME:
        return true;
    case CLIENT_TOO_MANY_OF_ADDRESS:
        answer_too_much(x, t, "too_many_streams",
                        "Your address has as many streams as it may have.", 0);
        break;
    case CLIENT_TOO_MANY_OF_SUBJECT:
        answer_too_much(x, t, "too_many_streams",
                        "The token's subject has as many streams as it may have.", 0);
        break;
    case CLIENT_REPLAYED_TOO_MUCH:
        answer_too_much(x, t, "replay_budget",
                        "So much history has been sent to you that you have to wait for more.",
                        wait_us);
        break;
    case CLIENT_NO_MEMORY:
        answer_no_memory(x, t);
        break;
    }
    return false;
}

/* Whether the grant is the session's now; if not, the request has been answered otherwise. */
static bool open_stream(struct exchange *x, const struct target *t, struct grant *grant)
{
    struct public *p = x->p;
    struct capacity *cap = p->capacity;
    if (p->fanout->draining) {
        answer_for_now(x, t, "draining", "The server is shutting down; come back in a moment.");
        return false;
    }
    if (!within_limits(x, t))
        return false;
    if (!capacity_enter(&cap->streams, cap->max_streams)) {
        capacity_tell(cap, clock_mono_us());
        answer_for_now(x, t, "overloaded", "No room for another stream; come back later.");
        return false;
    }
    answer_stream_head(x);
    struct http_slice id = httpreq_header(x->request, HTTPREQ_LAST_EVENT_ID);
    struct session_request q = {.target = t,
                                .last_event_id = id.p,
                                .last_event_id_len = id.len,
                                .head = p->answer.data,
                                .head_len = p->answer.len,
                                .grant = grant};
    struct transport *transport;
    struct session *s = http1_stream(x->conn, &transport);
    bool opened =
        !p->answer.failed && session_open(s, p->fanout, transport, &q, clock_mono_us()) == ERR_OK;
    if (!opened)
        answer_no_memory(x, t);
    return opened;
}

static void answer_events(struct exchange *x, const struct target *t)
{
    struct grant *grant;
    if (!gate_pass(x, t, &grant))
        return;
    if (x->method != HTTP_M_HEAD) {
        if (!open_stream(x, t, grant))
            grant_destroy(grant);
        return;
    }
    grant_destroy(grant);
    answer_stream_head(x);
    answer_send(x);
}

void public_answer_ready(struct exchange *x)
{
    if (x->p->fanout->draining)
        answer_error(x, 503, "draining", "The server is shutting down.", "");
    else if (!x->p->fanout->replica.upstream)
        answer_error(x, 503, "upstream_down", "The subscription to Redis is not live.", "");
    else
        answer_body(x, 200, "text/plain", "", "ready\n", 6);
}

static void answer_options(struct exchange *x)
{
    struct buf *out = &x->p->answer;
    answer_begin(x, 204);
    buf_str(out, "Allow: GET, HEAD, OPTIONS\r\n");
    origin_put_preflight(out, x->p->config, x->request);
    buf_str(out, "Connection: close\r\n\r\n");
    answer_send(x);
}

static void answer_target(struct exchange *x, const struct target *t)
{
    switch (t->kind) {
    case TARGET_EVENTS:
        answer_events(x, t);
        break;
    case TARGET_HEALTHZ:
        answer_body(x, 200, "text/plain", "", "ok\n", 3);
        break;
    case TARGET_READYZ:
        public_answer_ready(x);
        break;
    case TARGET_UNKNOWN:
        answer_error(x, 404, "not_found",
                     "There is nothing here; streams are at /events/<channel>.", "");
        break;
    }
}

static bool on_peer(void *ctx, struct conn *conn, const struct netaddr *peer,
                    const struct netaddr *source)
{
    struct public *p = ctx;
    if (!client_wanted(p->config))
        return true;
    struct client *client = client_create(p->config, p->capacity->tally, peer, source);
    http1_set_user(conn, client);
    if (client == NULL)
        metrics_refuse(p->metrics, REFUSAL_NO_ROOM);
    return client != NULL;
}

/* Whether the request may go on; it may not where its limits cannot be kept. */
static bool note_request(struct exchange *x)
{
    if (client_asks(http1_user(x->conn), x->p->config, x->request))
        return true;
    metrics_add(x->p->metrics, METRIC_OUT_OF_MEMORY, 1);
    answer_for_now(x, NULL, "overloaded", "Out of memory; come back later.");
    return false;
}

static void on_request(void *ctx, struct conn *conn, const struct httpreq *request)
{
    struct exchange x = {.p = ctx,
                         .conn = conn,
                         .request = request,
                         .method = httpreq_method(request),
                         .wants_stream = httpreq_accepts_stream(request)};
    if (!note_request(&x) || (x.p->admin != NULL && admin_answers(&x)))
        return;
    if (x.method == HTTP_M_POST || x.method == HTTP_M_OTHER) {
        answer_error(&x, 405, "method_not_allowed",
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
    const struct config *c = x.p->config;
    struct target_rules rules = {.topics_max = c->limits.channels_per_client,
                                 .token_param = c->auth.mode == AUTH_OFF ? NULL : c->auth.query};
    struct http_slice text = httpreq_target(request);
    int err = target_parse(&t, text.p, text.len, &rules, &why);
    if (err != ERR_OK) {
        if (err == ERR_NOMEM)
            answer_no_memory(&x, NULL);
        else
            answer_error(&x, why.status, why.code, why.message, "");
        return;
    }
    x.token_in_url = t.token_len > 0;
    answer_target(&x, &t);
    target_finish(&t);
}

static void on_bad_request(void *ctx, struct conn *conn, const struct httpreq_error *error,
                           const struct httpreq *partial)
{
    struct exchange x = {.p = ctx,
                         .conn = conn,
                         .method = httpreq_method(partial),
                         .wants_stream = httpreq_accepts_stream(partial)};
    if (!note_request(&x))
        return;
    if (error->status == 503) /* the only one that is not the client's doing */
        answer_no_memory(&x, NULL);
    else
        answer_error(&x, error->status, error->code, error->message,
                     error->status == 405 ? "Allow: GET, HEAD, OPTIONS\r\n" : "");
}

static void on_replay(void *ctx, struct conn *conn, size_t bytes)
{
    struct public *p = ctx;
    client_replayed(http1_user(conn), p->config, bytes, clock_mono_us());
}

static void on_caught_up(void *ctx, struct conn *conn)
{
    (void)ctx;
    client_caught_up(http1_user(conn));
}

static void on_closed(void *ctx, const struct http1_end *end)
{
    struct public *p = ctx;
    if (end->holder != NULL)
        held_gone(end->holder);
    client_destroy(end->user, end, clock_mono_us());
    capacity_leave(&p->capacity->connections);
    if (end->was_stream)
        capacity_leave(&p->capacity->streams);
}

/* ---- public ---------------------------------------------------------------------------------- */

/* Who may not publish is told so before he has sent anything. */
static void allow_bodies(struct public *p)
{
    bool publishes = p->admin != NULL && p->config->admin_publish;
    http1_set_body_max(&p->http, publishes ? p->config->limits.message_bytes : 0);
}

int public_init(struct public *p, uv_loop_t *loop, struct fanout *fanout, struct capacity *capacity,
                struct metrics *metrics, const struct settings *settings, struct admin *admin)
{
    static const struct http1_events events = {
        .on_peer = on_peer,
        .on_request = on_request,
        .on_bad_request = on_bad_request,
        .on_replay = on_replay,
        .on_caught_up = on_caught_up,
        .on_closed = on_closed,
    };
    memset(p, 0, sizeof *p);
    p->fanout = fanout;
    p->capacity = capacity;
    p->metrics = metrics;
    p->admin = admin;
    p->config = settings->config;
    p->keys = settings->keys;
    int err = http1_init(&p->http, loop, p->config->limits.request_bytes,
                         p->config->limits.request_timeout_ms * US_PER_MS, &events, p);
    if (err == ERR_OK)
        allow_bodies(p);
    return err;
}

void public_reload(struct public *p, const struct settings *settings)
{
    uint64_t patience = settings->config->limits.write_timeout_ms;
    if (patience != p->config->limits.write_timeout_ms)
        http1_set_patience(&p->http, patience);
    p->config = settings->config;
    p->keys = settings->keys;
    http1_set_limits(&p->http, p->config->limits.request_bytes,
                     p->config->limits.request_timeout_ms * US_PER_MS);
    allow_bodies(p);
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

/* Take a place for a connection, in the last resort that of one that has not said what it wants:
 * who opens connections and sends nothing keeps nobody out. */
static bool find_place(struct public *p)
{
    struct capacity *cap = p->capacity;
    while (!capacity_enter(&cap->connections, cap->max_connections)) {
        if (!http1_shed(&p->http))
            return false;
        metrics_add(p->metrics, METRIC_SHED, 1);
        capacity_tell_shed(cap, clock_mono_us()); /* another worker may take the place: again */
    }
    return true;
}

void public_accept(void *ctx, int fd, const struct netaddr *peer)
{
    struct public *p = ctx;
    turns_mark(p->http.turns);
    /* Closing at once is a network error to an EventSource, which then tries again. */
    if (!find_place(p)) {
        metrics_refuse(p->metrics, REFUSAL_NO_ROOM);
        capacity_tell(p->capacity, clock_mono_us());
        (void)close(fd);
        return;
    }
    metrics_add(p->metrics, METRIC_ACCEPTED, 1);
    int err = http1_accept(&p->http, fd, peer, client_proxied(p->config, peer));
    if (err != ERR_OK) {
        if (err == ERR_NOMEM)
            metrics_add(p->metrics, METRIC_OUT_OF_MEMORY, 1);
        capacity_leave(&p->capacity->connections);
    }
}
