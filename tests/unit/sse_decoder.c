#include "sse_decoder.h"

#include <stdlib.h>
#include <string.h>

#include "naive_utf8.h"

static void *must(void *p)
{
    if (p == NULL)
        abort();
    return p;
}

static void text_set(struct sse_text *t, const char *p, size_t len)
{
    char *copy = must(malloc(len + 1));
    if (len > 0)
        memcpy(copy, p, len);
    copy[len] = '\0';
    free(t->p);
    *t = (struct sse_text){.p = copy, .len = len};
}

/* The buffers that grow byte by byte double at each power of two, so that no capacity is kept. */
static void text_add(struct sse_text *t, const char *p, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (t->p == NULL || (t->len & (t->len - 1)) == 0)
            t->p = must(realloc(t->p, t->len < 2 ? 4 : t->len * 2 + 1));
        t->p[t->len++] = p[i];
    }
}

static bool text_is(const struct sse_text *t, const char *word)
{
    return t->len == strlen(word) && (t->len == 0 || memcmp(t->p, word, t->len) == 0);
}

void sse_decoder_init(struct sse_decoder *d)
{
    *d = (struct sse_decoder){.retry_ms = -1};
    text_set(&d->last_event_id, "", 0);
}

void sse_decoder_finish(struct sse_decoder *d)
{
    for (size_t i = 0; i < d->count; i++) {
        free(d->messages[i].type.p);
        free(d->messages[i].data.p);
        free(d->messages[i].last_event_id.p);
    }
    free(d->messages);
    free(d->last_event_id.p);
    free(d->line.p);
    free(d->data.p);
    free(d->type.p);
    free(d->id.p);
    *d = (struct sse_decoder){.retry_ms = -1};
}

static void dispatch(struct sse_decoder *d)
{
    d->pending = false;
    text_set(&d->last_event_id, d->id.p, d->id.len);
    if (d->data.len == 0) {
        d->type.len = 0;
        return;
    }
    if (d->data.p[d->data.len - 1] == '\n')
        d->data.len--;
    if ((d->count & (d->count - 1)) == 0)
        d->messages =
            must(realloc(d->messages, (d->count == 0 ? 1 : d->count * 2) * sizeof *d->messages));
    struct sse_message *m = &d->messages[d->count++];
    *m = (struct sse_message){.type = {NULL, 0}};
    text_set(&m->data, d->data.p, d->data.len);
    text_set(&m->last_event_id, d->id.p, d->id.len);
    if (d->type.len > 0)
        text_set(&m->type, d->type.p, d->type.len);
    else
        text_set(&m->type, "message", 7);
    d->data.len = 0;
    d->type.len = 0;
}

static void set_retry(struct sse_decoder *d, const struct sse_text *value)
{
    int64_t ms = 0;
    for (size_t i = 0; i < value->len; i++) {
        if (value->p[i] < '0' || value->p[i] > '9' || ms > INT64_MAX / 100)
            return;
        ms = ms * 10 + (value->p[i] - '0');
    }
    if (value->len == 0)
        return;
    d->retry_ms = ms;
    d->retries++;
}

/* Names are compared exactly and without regard to what they would mean in lower case. */
static void field(struct sse_decoder *d, const struct sse_text *name, const struct sse_text *value)
{
    d->pending = true;
    if (text_is(name, "event")) {
        d->type.len = 0;
        text_add(&d->type, value->p, value->len);
    } else if (text_is(name, "data")) {
        text_add(&d->data, value->p, value->len);
        text_add(&d->data, "\n", 1);
    } else if (text_is(name, "id")) {
        if (value->len == 0 || memchr(value->p, '\0', value->len) == NULL)
            text_set(&d->id, value->p, value->len);
    } else if (text_is(name, "retry")) {
        set_retry(d, value);
    }
}

static void decoded_line(struct sse_decoder *d, char *p, size_t len)
{
    if (len == 0) {
        dispatch(d);
        return;
    }
    if (p[0] == ':') {
        d->comments++;
        return;
    }
    char *colon = memchr(p, ':', len);
    struct sse_text name = {.p = p, .len = colon == NULL ? len : (size_t)(colon - p)};
    struct sse_text value = {.p = p + len, .len = 0};
    if (colon != NULL) {
        value = (struct sse_text){.p = colon + 1, .len = len - name.len - 1};
        if (value.len > 0 && value.p[0] == ' ') {
            value.p++;
            value.len--;
        }
    }
    field(d, &name, &value);
}

/* The text decodes the whole stream first; as CR and LF are ASCII, which ends any sequence, line
 * by line gives the same characters. One byte order mark is dropped, at the very beginning. */
static void end_line(struct sse_decoder *d)
{
    size_t bad = 0;
    char *text = must(malloc(3 * d->line.len + 1));
    size_t len = naive_utf8_repair(text, d->line.p, d->line.len, &bad);
    size_t skip = !d->started && len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    d->bad_utf8 += bad;
    d->started = true;
    d->line.len = 0;
    decoded_line(d, text + skip, len - skip);
    free(text);
}

void sse_decoder_feed(struct sse_decoder *d, const char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        char c = bytes[i];
        bool second_half = c == '\n' && d->after_cr;
        d->after_cr = c == '\r';
        if (second_half)
            continue;
        if (c == '\n' || c == '\r')
            end_line(d);
        else
            text_add(&d->line, &c, 1);
    }
}
