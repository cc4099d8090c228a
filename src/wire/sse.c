#include "tickerd/wire/sse.h"

#include <stdbool.h>
#include <string.h>

#include "tickerd/wire/utf8.h"

/* A block is measured first and then written into memory that is reserved once: events are
 * encoded once for all their readers, but on the thread that all channels share. */

static const char name_event[] = "event: ";
static const char name_retry[] = "retry: ";
static const char name_data[] = "data: ";
static const char name_id[] = "id: ";

/* The bytes of one field line, its line end included. */
#define LINE_SIZE(name, len) (sizeof(name) - 1 + (len) + 1)

enum { RETRY_DIGITS_MAX = 10 };

/* About what the JSON form adds to a block; a hint, nothing breaks where it is too little. */
enum { JSON_FRAME_SIZE = 128 };

/* Walks lines that end at LF, CRLF or CR; n line ends make n + 1 lines. The next CR and the next
 * LF are remembered, so that text with many of one and none of the other stays linear. */
struct lines {
    const char *p, *end;
    const char *cr, *lf; /* at or behind p once searched; `end` when there is none */
    bool done;
};

static const char *find(const char *p, const char *end, char c)
{
    const char *hit = memchr(p, c, (size_t)(end - p));
    return hit == NULL ? end : hit;
}

static void lines_start(struct lines *l, const char *data, size_t len)
{
    const char *end = data + len;
    *l = (struct lines){
        .p = data, .end = end, .cr = find(data, end, '\r'), .lf = find(data, end, '\n')};
}

static bool lines_next(struct lines *l, const char **line, size_t *len)
{
    if (l->done)
        return false;
    if (l->cr < l->p)
        l->cr = find(l->p, l->end, '\r');
    if (l->lf < l->p)
        l->lf = find(l->p, l->end, '\n');
    const char *stop = l->cr < l->lf ? l->cr : l->lf;
    *line = l->p;
    *len = (size_t)(stop - l->p);
    l->done = stop == l->end;
    if (!l->done) {
        bool crlf = *stop == '\r' && stop + 1 < l->end && stop[1] == '\n';
        l->p = stop + (crlf ? 2 : 1);
    }
    return true;
}

static char *put(char *p, const char *s, size_t len)
{
    if (len > 0)
        memcpy(p, s, len);
    return p + len;
}

static char *put_line(char *p, const char *name, const char *value, size_t len)
{
    p = put(p, name, strlen(name));
    p = put(p, value, len);
    *p++ = '\n';
    return p;
}

static char *put_retry(char *p, uint32_t ms)
{
    char digits[RETRY_DIGITS_MAX];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + ms % 10);
        ms /= 10;
    } while (ms > 0);
    return put_line(p, name_retry, digits + at, sizeof digits - at);
}

/* At most what the block will take; exact but for the digits of retry. */
static size_t block_size(const struct sse_event *e, struct lines all)
{
    const char *line;
    size_t len;
    size_t size = 1;
    while (lines_next(&all, &line, &len))
        size += LINE_SIZE(name_data, len);
    if (e->event != NULL)
        size += LINE_SIZE(name_event, e->event_len);
    if (e->retry_ms != 0)
        size += LINE_SIZE(name_retry, (size_t)RETRY_DIGITS_MAX);
    if (e->id != NULL)
        size += LINE_SIZE(name_id, e->id_len);
    return size;
}

/* The block of an event whose data is valid UTF-8. */
static void encode(struct buf *out, const struct sse_event *e, const char *data, size_t data_len)
{
    struct lines all;
    const char *line;
    size_t len;
    lines_start(&all, data, data_len);
    if (!buf_reserve(out, block_size(e, all)))
        return;

    char *p = out->data + out->len;
    if (e->event != NULL)
        p = put_line(p, name_event, e->event, e->event_len);
    if (e->retry_ms != 0)
        p = put_retry(p, e->retry_ms);
    while (lines_next(&all, &line, &len))
        p = put_line(p, name_data, line, len);
    if (e->id != NULL)
        p = put_line(p, name_id, e->id, e->id_len);
    *p++ = '\n';
    out->len = (size_t)(p - out->data);
}

size_t sse_encode(struct buf *out, const struct sse_event *event)
{
    const char *data = event->data_len == 0 ? "" : event->data;
    if (utf8_valid(data, event->data_len)) {
        encode(out, event, data, event->data_len);
        return 0;
    }
    struct buf repaired = BUF_INIT;
    size_t replaced = utf8_repair(&repaired, data, event->data_len);
    if (repaired.failed)
        out->failed = true;
    else
        encode(out, event, repaired.data, repaired.len);
    buf_finish(&repaired);
    return replaced;
}

struct slice {
    const char *p; /* NULL: the block has no such line */
    size_t len;
};

/* A finished block taken apart. Values point into it. */
struct parts {
    struct slice event, retry, id;
    const char *data, *data_end; /* from the first data line to the end of the last */
};

static bool take_line(struct slice *value, const char *name, const char *line, size_t len)
{
    size_t n = strlen(name);
    if (len < n || memcmp(line, name, n) != 0)
        return false;
    *value = (struct slice){.p = line + n, .len = len - n};
    return true;
}

static void take_apart(struct parts *parts, const char *block, size_t len)
{
    *parts = (struct parts){.data = block + len, .data_end = block + len};
    bool have_data = false;
    for (const char *line = block, *end = block + len; line < end;) {
        const char *stop = find(line, end, '\n');
        size_t n = (size_t)(stop - line);
        struct slice value;
        if (take_line(&value, name_data, line, n)) {
            parts->data = have_data ? parts->data : line;
            parts->data_end = stop;
            have_data = true;
        } else if (!take_line(&parts->event, name_event, line, n) &&
                   !take_line(&parts->retry, name_retry, line, n)) {
            (void)take_line(&parts->id, name_id, line, n);
        }
        line = stop < end ? stop + 1 : end;
    }
}

/* Move past one line of this name. False: the next line is another, or not ended. */
static bool skip_line(const char **at, const char *end, const char *name)
{
    size_t n = strlen(name);
    if ((size_t)(end - *at) < n || memcmp(*at, name, n) != 0)
        return false;
    const char *stop = find(*at, end, '\n');
    if (stop == end)
        return false;
    *at = stop + 1;
    return true;
}

bool sse_block_valid(const char *block, size_t len, size_t id_len)
{
    const char *at = block, *end = block + len;
    (void)skip_line(&at, end, name_event);
    (void)skip_line(&at, end, name_retry);
    const char *data = at;
    while (skip_line(&at, end, name_data))
        ;
    const char *id = at;
    return at > data && skip_line(&at, end, name_id) &&
           (size_t)(at - id) == LINE_SIZE(name_id, id_len) && end - at == 1 && *at == '\n';
}

static void json_string(struct buf *out, const char *s, size_t len)
{
    buf_byte(out, '"');
    buf_json(out, s, len);
    buf_byte(out, '"');
}

static void json_data(struct buf *out, const struct parts *parts)
{
    buf_byte(out, '"');
    for (const char *line = parts->data; line < parts->data_end;) {
        const char *stop = find(line, parts->data_end, '\n');
        const char *value = line + sizeof name_data - 1;
        if (line != parts->data)
            buf_str(out, "\\n");
        buf_json(out, value, (size_t)(stop - value));
        line = stop < parts->data_end ? stop + 1 : stop;
    }
    buf_byte(out, '"');
}

static void append_line(struct buf *out, const char *name, struct slice value)
{
    buf_str(out, name);
    buf_append(out, value.p, value.len);
    buf_byte(out, '\n');
}

void sse_encode_json(struct buf *out, const char *block, size_t len, const char *channel,
                     size_t channel_len)
{
    static const struct slice plain = {.p = "message", .len = sizeof "message" - 1};
    struct parts parts;
    take_apart(&parts, block, len);
    struct slice event = parts.event.p == NULL ? plain : parts.event;
    if (!buf_reserve(out, len + channel_len + JSON_FRAME_SIZE))
        return;

    if (parts.retry.p != NULL)
        append_line(out, name_retry, parts.retry);
    buf_str(out, name_data);
    buf_str(out, "{\"channel\":");
    json_string(out, channel, channel_len);
    buf_str(out, ",\"id\":");
    if (parts.id.p == NULL)
        buf_str(out, "null");
    else
        json_string(out, parts.id.p, parts.id.len);
    buf_str(out, ",\"event\":");
    json_string(out, event.p, event.len);
    buf_str(out, ",\"data\":");
    json_data(out, &parts);
    buf_str(out, "}\n");
    if (parts.id.p != NULL)
        append_line(out, name_id, parts.id);
    buf_byte(out, '\n');
}
