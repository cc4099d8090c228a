#include "tickerd/wire/envelope.h"

#include <string.h>

#include "tickerd/wire/eventid.h"
#include "tickerd/wire/json.h"
#include "tickerd/wire/utf8.h"

/* Reading an envelope is two steps: collect the source text of the four fields, which checks all
 * of the JSON; then decode and judge each. Text without escapes is handed out in place. What has
 * to be decoded goes to the scratch buffer, where room for the whole payload is made before the
 * first byte: no decoded part is longer than its source, so nothing moves behind a slice. */

enum field { FIELD_DATA, FIELD_EVENT, FIELD_ID, FIELD_RETRY, FIELD_COUNT };

enum { KEY_SOURCE_MAX = 2 + 6 * 5 }; /* "retry" with every letter written as \uXXXX */

static const struct json_slice field_names[FIELD_COUNT] = {
    [FIELD_DATA] = {"data", 4},
    [FIELD_EVENT] = {"event", 5},
    [FIELD_ID] = {"id", 2},
    [FIELD_RETRY] = {"retry", 5},
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

static const char *skip_blanks(const char *p, const char *end)
{
    while (p < end && is_blank(*p))
        p++;
    return p;
}

/* Turns away, at next to no cost, what is no object, or in AUTO has a first key that cannot be one
 * of the four (a key may be spelt with escapes, so a backslash may begin any name). */
static bool worth_parsing(enum payload_mode mode, const char *p, size_t len)
{
    if (mode == PAYLOAD_RAW)
        return false;
    const char *end = p + len;
    p = skip_blanks(p, end);
    if (p == end || *p != '{')
        return false;
    if (mode == PAYLOAD_ENVELOPE)
        return true;
    p = skip_blanks(p + 1, end);
    return end - p >= 2 && p[0] == '"' && memchr("deir\\", p[1], 5) != NULL;
}

/* Which field a key's source text names; FIELD_COUNT: none. */
static enum field field_of(struct json_slice key, struct buf *scratch)
{
    struct json_slice name = {.p = key.p + 1, .len = key.len - 2};
    if (memchr(name.p, '\\', name.len) != NULL) {
        buf_reset(scratch);
        if (key.len > KEY_SOURCE_MAX || !json_unescape(scratch, key) || scratch->len == 0)
            return FIELD_COUNT;
        name = (struct json_slice){.p = scratch->data, .len = scratch->len};
    }
    enum field f = FIELD_DATA;
    while (f < FIELD_COUNT &&
           (name.len != field_names[f].len || memcmp(name.p, field_names[f].p, name.len) != 0))
        f++;
    return f;
}

/* The source texts of the fields; p stays NULL where there is none. */
static bool collect(struct json_slice fields[FIELD_COUNT], const char *payload, size_t len,
                    struct buf *scratch)
{
    struct json_scan scan = {.p = payload, .end = payload + len, .failed = false};
    struct json_slice key;
    bool first = true;
    json_enter(&scan, '{');
    while (json_key(&scan, &first, &key)) {
        enum field f = field_of(key, scratch);
        if (f == FIELD_COUNT || fields[f].p != NULL)
            return false;
        fields[f] = json_value(&scan);
    }
    buf_reset(scratch);
    return json_end(&scan);
}

/* Where the next decoded part will begin, with room for all that may follow; NULL: no memory. */
static const char *scratch_mark(struct buf *scratch, size_t payload_len)
{
    if (scratch->len == 0 && !buf_reserve(scratch, payload_len))
        return NULL;
    return scratch->data + scratch->len;
}

static bool string_value(struct json_slice *out, struct json_slice text, struct buf *scratch,
                         size_t payload_len)
{
    if (text.p[0] != '"')
        return false;
    if (memchr(text.p, '\\', text.len) == NULL) {
        *out = (struct json_slice){.p = text.p + 1, .len = text.len - 2};
        return true;
    }
    const char *mark = scratch_mark(scratch, payload_len);
    if (mark == NULL || !json_unescape(scratch, text))
        return false;
    *out = (struct json_slice){.p = mark, .len = (size_t)(scratch->data + scratch->len - mark)};
    return true;
}

static bool data_value(struct json_slice *out, struct json_slice text, struct buf *scratch,
                       size_t payload_len)
{
    if (text.p[0] == '"')
        return string_value(out, text, scratch, payload_len);
    *out = text;
    if (text.p[0] != '{' && text.p[0] != '[')
        return true;
    const char *mark = scratch_mark(scratch, payload_len);
    if (mark == NULL)
        return false;
    json_compact(scratch, text);
    *out = (struct json_slice){.p = mark, .len = (size_t)(scratch->data + scratch->len - mark)};
    return true;
}

/* Whether a JSON number is written without fraction and exponent. */
static bool is_integer(struct json_slice text)
{
    size_t i = text.p[0] == '-' ? 1 : 0;
    while (i < text.len && text.p[i] >= '0' && text.p[i] <= '9')
        i++;
    return i == text.len;
}

static bool retry_value(uint32_t *out, struct json_slice text)
{
    if (!is_integer(text) || text.p[0] == '-')
        return false;
    uint32_t ms = 0;
    for (size_t i = 0; i < text.len && ms <= ENVELOPE_RETRY_MAX_MS; i++)
        ms = ms * 10 + (uint32_t)(text.p[i] - '0');
    *out = ms;
    return ms >= ENVELOPE_RETRY_MIN_MS && ms <= ENVELOPE_RETRY_MAX_MS;
}

static bool read_envelope(struct envelope *out, const char *payload, size_t len,
                          struct buf *scratch)
{
    struct json_slice fields[FIELD_COUNT] = {{NULL, 0}};
    struct json_slice data = {NULL, 0};
    struct json_slice event = {NULL, 0};
    struct json_slice id = {NULL, 0};
    uint32_t retry_ms = 0;
    if (!collect(fields, payload, len, scratch) || fields[FIELD_DATA].p == NULL)
        return false;

    if (fields[FIELD_RETRY].p != NULL && !retry_value(&retry_ms, fields[FIELD_RETRY]))
        return false;
    if (fields[FIELD_EVENT].p != NULL &&
        (!string_value(&event, fields[FIELD_EVENT], scratch, len) ||
         !envelope_event_ok(event.p, event.len)))
        return false;
    if (fields[FIELD_ID].p != NULL) {
        if (is_integer(fields[FIELD_ID]))
            id = fields[FIELD_ID];
        else if (!string_value(&id, fields[FIELD_ID], scratch, len))
            return false;
        if (!envelope_id_ok(id.p, id.len))
            return false;
    }
    if (!data_value(&data, fields[FIELD_DATA], scratch, len))
        return false;
    *out = (struct envelope){.data = data.p,
                             .data_len = data.len,
                             .event = event.p,
                             .event_len = event.len,
                             .id = id.p,
                             .id_len = id.len,
                             .retry_ms = retry_ms,
                             .enveloped = true};
    return true;
}

void envelope_parse(struct envelope *out, enum payload_mode mode, const char *payload, size_t len,
                    struct buf *scratch)
{
    buf_reset(scratch);
    if (len > 0 && worth_parsing(mode, payload, len) && read_envelope(out, payload, len, scratch))
        return;
    *out = (struct envelope){.data = payload, .data_len = len, .enveloped = false};
}

bool envelope_id_ok(const char *id, size_t len)
{
    if (len == 0 || len > ENVELOPE_ID_MAX || id[0] == ' ' || id[len - 1] == ' ')
        return false;
    for (size_t i = 0; i < len; i++) {
        if (id[i] < 0x20 || id[i] > 0x7e)
            return false;
    }
    struct eventid ours;
    return !eventid_parse(id, len, &ours);
}

static bool begins_with(const char *s, size_t len, const char *prefix)
{
    size_t n = strlen(prefix);
    return len >= n && memcmp(s, prefix, n) == 0;
}

static bool equals(const char *s, size_t len, const char *word)
{
    return len == strlen(word) && memcmp(s, word, len) == 0;
}

bool envelope_event_ok(const char *event, size_t len)
{
    if (len == 0 || equals(event, len, "open") || equals(event, len, "error") ||
        begins_with(event, len, "tickerd:"))
        return false;
    return memchr(event, '\n', len) == NULL && memchr(event, '\r', len) == NULL &&
           memchr(event, '\0', len) == NULL && utf8_valid(event, len);
}
