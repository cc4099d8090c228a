#include "tickerd/ctl/watch.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "tickerd/base/clock.h"
#include "tickerd/ctl/admin.h"

static void keep(char *field, size_t size, const char *value, size_t len)
{
    (void)snprintf(field, size, "%.*s", (int)(len < size ? len : size - 1), value);
}

#define KEEP(field, value, len) keep(field, sizeof(field), value, len)

/* ---- the stream ------------------------------------------------------------------------------ */

static void note_probe(struct watch *w, const struct reader_event *e, uint64_t now)
{
    const char *found = w->mark == NULL ? NULL : strstr(e->data, w->mark);
    if (found == NULL)
        return;
    char digit = found[strlen(w->mark)];
    if (digit >= '0' && digit < '0' + SEEN_PROBES)
        w->seen->probe_at[digit - '0'] = now;
}

static void on_event(void *ctx, const struct reader_event *e)
{
    struct watch *w = ctx;
    struct seen *s = w->seen;
    uint64_t now = clock_mono_us();
    s->events++;
    note_probe(w, e, now);
    if (s->open_at == SEEN_NEVER && strcmp(e->type, "tickerd:open") == 0) {
        json_t *data = json_loadb(e->data, e->data_len, 0, NULL);
        const char *resume = member_text(data, "resume", "");
        s->open_at = now;
        KEEP(s->id, e->id, e->id_len);
        KEEP(s->resume, resume, strlen(resume));
        json_decref(data);
    }
}

static void on_comment(void *ctx)
{
    struct seen *s = ((struct watch *)ctx)->seen;
    if (s->heartbeats++ == 0)
        s->heartbeat_at = clock_mono_us();
}

static void on_retry(void *ctx, uint32_t retry_ms)
{
    (void)retry_ms;
    ((struct watch *)ctx)->seen->retry = true;
}

static const struct reader_ops reading = {
    .event = on_event, .comment = on_comment, .retry = on_retry};

/* ---- the answer ------------------------------------------------------------------------------ */

static bool is(const char *name, size_t len, const char *want)
{
    return strlen(want) == len && strncasecmp(name, want, len) == 0;
}

static void on_header(void *ctx, const char *name, size_t len, const char *value, size_t value_len)
{
    struct seen *s = ((struct watch *)ctx)->seen;
    if (is(name, len, "content-type")) {
        KEEP(s->type, value, value_len);
    } else if (is(name, len, "cache-control")) {
        KEEP(s->cache, value, value_len);
    } else if (is(name, len, "content-encoding")) {
        KEEP(s->coding, value, value_len);
    } else if (is(name, len, "location")) {
        KEEP(s->location, value, value_len);
    } else if (is(name, len, "age")) {
        KEEP(s->age, value, value_len);
    } else if (is(name, len, "access-control-allow-origin")) {
        KEEP(s->allow_origin, value, value_len);
        s->origins++;
    } else if (is(name, len, "access-control-allow-headers")) {
        KEEP(s->allow_headers, value, value_len);
    } else if (is(name, len, "access-control-allow-credentials")) {
        s->allow_credentials = is(value, value_len, "true");
    }
}

static void on_head(void *ctx, long status, int version)
{
    struct seen *s = ((struct watch *)ctx)->seen;
    s->status = status;
    s->version = version;
    s->head_at = clock_mono_us();
}

static bool on_body(void *ctx, const char *bytes, size_t len)
{
    struct watch *w = ctx;
    struct seen *s = w->seen;
    s->last_at = clock_mono_us();
    if (s->status == 200)
        return reader_feed(&w->reader, bytes, len);
    size_t have = strlen(s->body);
    keep(s->body + have, sizeof s->body - have, bytes, len);
    return true;
}

static void on_end(void *ctx, enum web_end how, const char *why)
{
    struct watch *w = ctx;
    w->call = NULL;
    w->seen->end_at = clock_mono_us();
    w->seen->how = how;
    KEEP(w->seen->why, why, strlen(why));
}

static const struct web_ops watching = {
    .header = on_header, .head = on_head, .body = on_body, .end = on_end};

/* ---- life ------------------------------------------------------------------------------------ */

void watch_init(struct watch *w, struct seen *seen, const char *mark)
{
    *w = (struct watch){.seen = seen, .mark = mark};
    reader_init(&w->reader, &reading, w);
}

void watch_start(struct watch *w, struct web *web, const struct watch_ask *ask)
{
    struct headers headers = HEADERS_INIT;
    headers_add_all(&headers, ask->common);
    headers_add(&headers, "Accept", "text/event-stream", strlen("text/event-stream"));
    headers_add(&headers, "Cache-Control", "no-cache", strlen("no-cache"));
    if (ask->name != NULL)
        headers_add(&headers, ask->name, ask->value, strlen(ask->value));
    const struct web_ask web_ask = {.url = ask->url,
                                    .method = ask->method,
                                    .headers = (const char *const *)headers.lines,
                                    .header_count = headers.count,
                                    .ca = ask->ca,
                                    .trusting = ask->trusting,
                                    .compressed = ask->compressed,
                                    .shared = ask->shared};
    w->seen->asked = true;
    w->seen->asked_at = clock_mono_us();
    w->call = headers.failed ? NULL : web_start(web, &web_ask, &watching, w);
    if (w->call == NULL)
        on_end(w, WEB_FAILED, "out of memory, or not a URL");
    headers_finish(&headers);
}

void watch_finish(struct watch *w)
{
    if (w->call != NULL)
        web_stop(w->call);
    w->call = NULL;
    reader_finish(&w->reader);
}
