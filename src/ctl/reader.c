#include "tickerd/ctl/reader.h"

#include <string.h>

static const char bom[] = "\xef\xbb\xbf";

enum { BOM_LEN = 3, DECIMAL = 10 };

void reader_init(struct reader *r, const struct reader_ops *ops, void *ctx)
{
    *r = (struct reader){.ops = ops, .ctx = ctx};
}

void reader_finish(struct reader *r)
{
    buf_finish(&r->line);
    buf_finish(&r->data);
    buf_finish(&r->type);
    buf_finish(&r->id);
    buf_finish(&r->last_id);
}

static void set(struct buf *b, const char *p, size_t len)
{
    buf_reset(b);
    buf_append(b, p, len);
}

void reader_restart(struct reader *r)
{
    buf_reset(&r->line);
    buf_reset(&r->data);
    buf_reset(&r->type);
    set(&r->id, r->last_id.data, r->last_id.len);
    r->after_cr = r->started = false;
}

static bool is(const char *p, size_t len, const char *name)
{
    return strlen(name) == len && memcmp(p, name, len) == 0;
}

static void read_retry(struct reader *r, const char *value, size_t len)
{
    uint64_t ms = 0;
    for (size_t i = 0; i < len; i++) {
        if (value[i] < '0' || value[i] > '9')
            return;
        ms = ms * DECIMAL + (uint64_t)(value[i] - '0');
        if (ms > UINT32_MAX)
            ms = UINT32_MAX;
    }
    if (len > 0 && r->ops->retry != NULL)
        r->ops->retry(r->ctx, (uint32_t)ms);
}

/* A block without data is not dispatched, but its id counts. */
static void dispatch(struct reader *r)
{
    set(&r->last_id, r->id.data, r->id.len);
    if (r->data.len > 0) {
        bool named = r->type.len > 0;
        r->data.len--; /* the line end behind the last line */
        const struct reader_event event = {
            .data = buf_cstr(&r->data),
            .data_len = r->data.len,
            .type = named ? buf_cstr(&r->type) : "message",
            .type_len = named ? r->type.len : strlen("message"),
            .id = buf_cstr(&r->last_id),
            .id_len = r->last_id.len,
        };
        r->ops->event(r->ctx, &event);
    }
    buf_reset(&r->data);
    buf_reset(&r->type);
}

static void field(struct reader *r, const char *name, size_t len, const char *value,
                  size_t value_len)
{
    if (is(name, len, "data")) {
        buf_append(&r->data, value, value_len);
        buf_byte(&r->data, '\n');
    } else if (is(name, len, "event")) {
        set(&r->type, value, value_len);
    } else if (is(name, len, "id")) {
        if (memchr(value, '\0', value_len) == NULL)
            set(&r->id, value, value_len);
    } else if (is(name, len, "retry")) {
        read_retry(r, value, value_len);
    }
}

static void end_line(struct reader *r)
{
    const char *line = r->line.data;
    size_t len = r->line.len;
    const char *colon = len == 0 ? NULL : memchr(line, ':', len);
    if (len == 0) {
        dispatch(r);
    } else if (colon == line) {
        if (r->ops->comment != NULL)
            r->ops->comment(r->ctx);
    } else if (colon == NULL) {
        field(r, line, len, "", 0);
    } else {
        const char *value = colon + 1, *end = line + len;
        if (value < end && *value == ' ')
            value++;
        field(r, line, (size_t)(colon - line), value, (size_t)(end - value));
    }
    buf_reset(&r->line);
}

/* The mark may come in pieces: it is looked for once the first line has three bytes or an end. */
static void skip_bom(struct reader *r, bool at_end)
{
    if (r->started || (r->line.len < BOM_LEN && !at_end))
        return;
    r->started = true;
    if (r->line.len >= BOM_LEN && memcmp(r->line.data, bom, BOM_LEN) == 0)
        buf_consume(&r->line, BOM_LEN);
}

bool reader_feed(struct reader *r, const char *bytes, size_t len)
{
    for (size_t i = 0; i < len;) {
        if (r->after_cr && bytes[i] == '\n') {
            r->after_cr = false;
            i++;
            continue;
        }
        r->after_cr = false;
        size_t n = i;
        while (n < len && bytes[n] != '\r' && bytes[n] != '\n')
            n++;
        if (r->line.len + r->data.len + (n - i) > READER_EVENT_MAX)
            return false;
        buf_append(&r->line, bytes + i, n - i);
        skip_bom(r, n < len);
        if (n < len) {
            end_line(r);
            r->after_cr = bytes[n] == '\r';
            n++;
        }
        i = n;
    }
    return !(r->line.failed || r->data.failed || r->type.failed || r->id.failed ||
             r->last_id.failed);
}
