/* tickerctl tail: an EventSource for people. It comes back with the last event id as a browser
 * does, but unlike one it keeps trying when it meets a 5xx, and says what it is doing. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "tickerd/base/clock.h"
#include "tickerd/ctl/commands.h"
#include "tickerd/ctl/headers.h"
#include "tickerd/ctl/reader.h"
#include "tickerd/ctl/show.h"
#include "tickerd/ctl/text.h"
#include "tickerd/wire/addr.h"
#include "tickerd/wire/backoff.h"

enum { RETRY_MS = 2000, RETRY_MAX_MS = 30000, BODY_MAX = 4096, TOO_MANY = 429 };

struct tail {
    struct ctl *c;
    struct reader reader;
    struct headers common; /* of every request */
    struct buf url;
    const char *socket;
    char storage[ADDR_PATH_MAX + 1];
    struct buf out, body; /* what an answer that is no stream says */
    struct backoff backoff;
    uint32_t retry_ms;
    /* of the connection now: */
    long status;
    bool is_stream, done, was_open; /* `was_open`: some connection has been a stream */
    bool unwritable;                /* nobody reads what we print */
    enum web_end how;
    char why[256];
};

/* ---- events ---------------------------------------------------------------------------------- */

static void on_event(void *ctx, const struct reader_event *event)
{
    struct tail *t = ctx;
    buf_reset(&t->out);
    if (t->c->options->value[OPT_JSON] != NULL)
        show_json(&t->out, event, clock_wall_us());
    else
        show_line(&t->out, &t->c->screen, event, clock_wall_us());
    t->unwritable = t->unwritable || !screen_write(&t->out);
}

static void on_retry(void *ctx, uint32_t retry_ms)
{
    ((struct tail *)ctx)->retry_ms = retry_ms;
}

static const struct reader_ops reading = {.event = on_event, .retry = on_retry};

/* ---- the connection -------------------------------------------------------------------------- */

static void on_header(void *ctx, const char *name, size_t name_len, const char *value,
                      size_t value_len)
{
    static const char type[] = "text/event-stream";
    struct tail *t = ctx;
    if (name_len == strlen("content-type") && strncasecmp(name, "content-type", name_len) == 0)
        t->is_stream = value_len >= strlen(type) && strncasecmp(value, type, strlen(type)) == 0;
}

static void on_head(void *ctx, long status, int version)
{
    struct tail *t = ctx;
    (void)version;
    t->status = status;
    t->is_stream = t->is_stream && status == 200;
    t->was_open = t->was_open || t->is_stream;
    if (t->is_stream)
        backoff_reset(&t->backoff);
}

static bool on_body(void *ctx, const char *bytes, size_t len)
{
    struct tail *t = ctx;
    if (t->is_stream)
        return reader_feed(&t->reader, bytes, len) && !t->unwritable;
    buf_append(&t->body, bytes, len < BODY_MAX - t->body.len ? len : BODY_MAX - t->body.len);
    return t->body.len < BODY_MAX;
}

static void on_end(void *ctx, enum web_end how, const char *why)
{
    struct tail *t = ctx;
    t->done = true;
    t->how = how;
    (void)snprintf(t->why, sizeof t->why, "%s", why);
}

static const struct web_ops listening = {
    .header = on_header, .head = on_head, .body = on_body, .end = on_end};

static void ask_headers(struct tail *t, struct headers *h)
{
    const char *after = t->c->options->value[OPT_LAST_EVENT_ID];
    headers_add_all(h, &t->common);
    headers_add(h, "Accept", "text/event-stream", strlen("text/event-stream"));
    headers_add(h, "Cache-Control", "no-cache", strlen("no-cache"));
    if (t->reader.last_id.len > 0)
        headers_add(h, "Last-Event-ID", t->reader.last_id.data, t->reader.last_id.len);
    else if (after != NULL && !t->was_open)
        headers_add(h, "Last-Event-ID", after, strlen(after));
}

/* Listen until the connection ends. False: INT or TERM came, or memory is out. */
static bool connect_once(struct tail *t)
{
    struct headers headers = HEADERS_INIT;
    bool go_on = true;
    t->done = t->is_stream = false;
    t->status = 0;
    buf_reset(&t->body);
    reader_restart(&t->reader);
    ask_headers(t, &headers);
    const struct web_ask ask = {.url = buf_cstr(&t->url),
                                .socket = t->socket,
                                .headers = (const char *const *)headers.lines,
                                .header_count = headers.count,
                                .ca = t->c->options->value[OPT_CA]};
    struct web_call *call = headers.failed ? NULL : web_start(t->c->web, &ask, &listening, t);
    if (call == NULL)
        ctl_say("out of memory, or not a URL: %s", ask.url);
    while (call != NULL && !t->done && go_on)
        go_on = web_turn(t->c->web, UINT64_MAX);
    if (call != NULL && !t->done)
        web_stop(call);
    headers_finish(&headers);
    return go_on && call != NULL;
}

/* ---- ends ------------------------------------------------------------------------------------ */

static void tell_status(struct tail *t)
{
    json_t *json = json_loadb(t->body.data, t->body.len, 0, NULL);
    const char *message = member_text(json, "message", NULL);
    if (message != NULL)
        ctl_say("refused (%ld %s): %s", t->status, member_text(json, "error", "error"), message);
    else if (t->status == 200)
        ctl_say("%s answers, but not with an event stream", buf_cstr(&t->url));
    else
        ctl_say("%s answered %ld, and not in tickerd's words: tickerctl doctor finds out why",
                buf_cstr(&t->url), t->status);
    json_decref(json);
}

static int tell_unreachable(struct tail *t)
{
    if (t->c->options->value[OPT_URL] == NULL)
        admin_tell_unreachable(t->c->options->value[OPT_ADMIN], t->why);
    else
        ctl_say("cannot listen to %s: %s", buf_cstr(&t->url), t->why);
    return CTL_NO_CONNECTION;
}

/* Whether it may be better next time, and if not, with which status to end. */
static bool worth_trying(struct tail *t, int *status)
{
    bool answered = t->status != 0;
    *status = CTL_GOOD;
    if (t->unwritable)
        return false;
    if (t->is_stream)
        return true;
    if (answered && t->status == 204) {
        ctl_say("the server says that there is no more to come (204)");
        return false;
    }
    bool passing = !answered || t->status >= 500 || t->status == TOO_MANY;
    if (passing && t->was_open)
        return true;
    *status = answered ? CTL_REFUSED : CTL_NO_CONNECTION;
    if (answered)
        tell_status(t);
    else
        *status = tell_unreachable(t);
    return false;
}

static void tell_wait(struct tail *t, uint32_t ms)
{
    struct buf text = BUF_INIT;
    if (t->is_stream)
        buf_str(&text, "the stream has ended");
    else if (t->status != 0)
        buf_printf(&text, "answered %ld", t->status);
    else
        buf_printf(&text, "no connection (%s)", t->why);
    buf_str(&text, "; trying again in ");
    text_seconds(&text, (double)ms / MS_PER_S);
    if (t->reader.last_id.len > 0) {
        buf_str(&text, ", after event ");
        buf_append(&text, t->reader.last_id.data, t->reader.last_id.len);
    }
    ctl_say("%s", buf_cstr(&text));
    buf_finish(&text);
}

/* False: INT or TERM came. */
static bool wait_to_try(struct tail *t)
{
    uint32_t ms = t->is_stream ? t->retry_ms : backoff_next(&t->backoff);
    uint64_t until = clock_mono_us() + (uint64_t)ms * US_PER_MS;
    bool go_on = true;
    tell_wait(t, ms);
    while (go_on && clock_mono_us() < until)
        go_on = web_turn(t->c->web, until);
    return go_on;
}

static int set_url(struct tail *t)
{
    const struct ctl_options *o = t->c->options;
    struct buf target = BUF_INIT;
    if (o->value[OPT_URL] != NULL) {
        if (!ctl_is_url(o->value[OPT_URL]))
            return CTL_USAGE;
        buf_str(&t->url, o->value[OPT_URL]);
        query_add(&t->url, "history", o->value[OPT_HISTORY]);
    } else {
        char *name = web_escape(o->args[0], strlen(o->args[0]));
        buf_printf(&target, "/events/%s", name == NULL ? "" : name);
        query_add(&target, "history", o->value[OPT_HISTORY]);
        admin_url(&t->url, o->value[OPT_ADMIN], buf_cstr(&target), &t->socket, t->storage);
        t->url.failed = t->url.failed || target.failed || name == NULL;
        free(name);
    }
    buf_finish(&target);
    return t->url.failed ? CTL_REFUSED : headers_of_options(&t->common, o);
}

int command_tail(struct ctl *c)
{
    struct tail t = {.c = c, .retry_ms = RETRY_MS};
    reader_init(&t.reader, &reading, &t);
    backoff_init(&t.backoff, RETRY_MS, RETRY_MAX_MS, clock_wall_us());
    int status = set_url(&t);
    bool go_on = status == CTL_GOOD;
    while (go_on)
        go_on = connect_once(&t) && worth_trying(&t, &status) && wait_to_try(&t);
    reader_finish(&t.reader);
    headers_finish(&t.common);
    buf_finish(&t.url);
    buf_finish(&t.out);
    buf_finish(&t.body);
    return status;
}
