#include "tickerd/wire/json.h"

#include <stdint.h>
#include <string.h>

#include "tickerd/wire/utf8.h"

/* The cursor of a failed scan jumps to the end, so that every later step finds nothing to read
 * and callers need not test in between. */
static void fail(struct json_scan *s)
{
    s->failed = true;
    s->p = s->end;
}

/* The next byte, or NUL at the end: no grammar rule accepts a NUL, so the two need no telling. */
static char peek(const struct json_scan *s)
{
    return s->p < s->end ? *s->p : '\0';
}

static void expect(struct json_scan *s, char c)
{
    if (peek(s) == c && s->p < s->end)
        s->p++;
    else
        fail(s);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

void json_blanks(struct json_scan *s)
{
    while (s->p < s->end && is_blank(*s->p))
        s->p++;
}

/* The value of four hex digits, or -1. */
static int32_t hex4(const char *p, const char *end)
{
    if (end - p < 4)
        return -1;
    int32_t value = 0;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        int digit = is_digit(c)            ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0)
            return -1;
        value = value * 16 + digit;
    }
    return value;
}

/* What a backslash and c stand for, or NUL where that is no short escape. */
static char short_escape(char c)
{
    switch (c) {
    case '"':
    case '\\':
    case '/':
        return c;
    case 'b':
        return '\b';
    case 'f':
        return '\f';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    default:
        return '\0';
    }
}

/* The first byte from p on that cannot stand for itself inside a string; the bits of all before
 * it are added to *seen. */
static const char *plain_run(const char *p, const char *end, unsigned char *seen)
{
    unsigned char bits = 0; /* not *seen: the text might alias it, at a store per byte */
    for (; p < end && *p != '"' && *p != '\\' && (unsigned char)*p >= 0x20; p++)
        bits |= (unsigned char)*p;
    *seen |= bits;
    return p;
}

static void skip_escape(struct json_scan *s)
{
    expect(s, '\\');
    char c = peek(s);
    if (c == 'u' && hex4(s->p + 1, s->end) >= 0)
        s->p += 5;
    else if (short_escape(c) != '\0')
        s->p++;
    else
        fail(s);
}

static void string(struct json_scan *s)
{
    const char *start = s->p;
    unsigned char seen = 0;
    expect(s, '"');
    for (;;) {
        s->p = plain_run(s->p, s->end, &seen);
        if (peek(s) != '\\')
            break;
        skip_escape(s);
    }
    expect(s, '"');
    if (!s->failed && seen >= 0x80 && !utf8_valid(start, (size_t)(s->p - start)))
        fail(s);
}

static void digits(struct json_scan *s)
{
    if (!is_digit(peek(s)))
        fail(s);
    while (is_digit(peek(s)))
        s->p++;
}

static void number(struct json_scan *s)
{
    if (peek(s) == '-')
        s->p++;
    if (peek(s) == '0')
        s->p++;
    else
        digits(s);
    if (peek(s) == '.') {
        s->p++;
        digits(s);
    }
    if (peek(s) == 'e' || peek(s) == 'E') {
        s->p++;
        if (peek(s) == '+' || peek(s) == '-')
            s->p++;
        digits(s);
    }
}

static void literal(struct json_scan *s, const char *word)
{
    size_t len = strlen(word);
    if ((size_t)(s->end - s->p) >= len && memcmp(s->p, word, len) == 0)
        s->p += len;
    else
        fail(s);
}

static void scalar(struct json_scan *s)
{
    switch (peek(s)) {
    case '"':
        string(s);
        break;
    case 't':
        literal(s, "true");
        break;
    case 'f':
        literal(s, "false");
        break;
    case 'n':
        literal(s, "null");
        break;
    default:
        number(s);
        break;
    }
}

/* Inside a container, up to its next member: false when it is closed instead. */
static bool next_member(struct json_scan *s, bool *first, char close)
{
    json_blanks(s);
    if (peek(s) == close) {
        s->p++;
        *first = false;
        return false;
    }
    if (!*first) {
        expect(s, ',');
        json_blanks(s);
    }
    *first = false;
    return !s->failed;
}

void json_enter(struct json_scan *s, char open)
{
    json_blanks(s);
    expect(s, open);
}

bool json_key(struct json_scan *s, bool *first, struct json_slice *key)
{
    if (!next_member(s, first, '}'))
        return false;
    const char *start = s->p;
    string(s);
    *key = (struct json_slice){.p = start, .len = (size_t)(s->p - start)};
    json_blanks(s);
    expect(s, ':');
    json_blanks(s);
    return !s->failed;
}

bool json_element(struct json_scan *s, bool *first)
{
    return next_member(s, first, ']');
}

/* The stack of open containers is an array here, not the C stack: input must not decide how deep
 * this process's stack grows. */
struct json_slice json_value(struct json_scan *s)
{
    char open[JSON_DEPTH_MAX];
    size_t depth = 0;
    struct json_slice key;

    json_blanks(s);
    const char *start = s->p;
    do {
        char c = peek(s);
        bool first = c == '{' || c == '[';
        if (!first) {
            scalar(s);
        } else if (depth == JSON_DEPTH_MAX) {
            fail(s);
        } else {
            open[depth++] = c;
            s->p++;
        }
        while (depth > 0 &&
               !(open[depth - 1] == '{' ? json_key(s, &first, &key) : json_element(s, &first)))
            depth--;
    } while (depth > 0);
    return (struct json_slice){.p = start, .len = s->failed ? 0 : (size_t)(s->p - start)};
}

bool json_end(struct json_scan *s)
{
    json_blanks(s);
    return !s->failed && s->p == s->end;
}

/* Past the string that opens at p. */
static const char *skip_string(const char *p, const char *end)
{
    for (p++; p < end && *p != '"'; p++) {
        if (*p == '\\')
            p++;
    }
    return p < end ? p + 1 : end;
}

void json_compact(struct buf *out, struct json_slice value)
{
    const char *p = value.p;
    const char *end = p + value.len;
    if (!buf_reserve(out, value.len))
        return;
    while (p < end) {
        const char *run = p;
        while (p < end && !is_blank(*p))
            p = *p == '"' ? skip_string(p, end) : p + 1;
        buf_append(out, run, (size_t)(p - run));
        while (p < end && is_blank(*p))
            p++;
    }
}

static void put_code_point(struct buf *out, uint32_t c)
{
    if (c < 0x80) {
        buf_byte(out, (char)c);
    } else if (c < 0x800) {
        buf_byte(out, (char)(0xc0 | c >> 6));
        buf_byte(out, (char)(0x80 | (c & 0x3f)));
    } else if (c < 0x10000) {
        buf_byte(out, (char)(0xe0 | c >> 12));
        buf_byte(out, (char)(0x80 | (c >> 6 & 0x3f)));
        buf_byte(out, (char)(0x80 | (c & 0x3f)));
    } else {
        buf_byte(out, (char)(0xf0 | c >> 18));
        buf_byte(out, (char)(0x80 | (c >> 12 & 0x3f)));
        buf_byte(out, (char)(0x80 | (c >> 6 & 0x3f)));
        buf_byte(out, (char)(0x80 | (c & 0x3f)));
    }
}

/* Decode the escape at p, a backslash. Returns the byte behind it, or NULL where it is malformed
 * or half of a surrogate pair. */
static const char *unescape(struct buf *out, const char *p, const char *end)
{
    if (end - p < 2)
        return NULL;
    if (p[1] != 'u') {
        char c = short_escape(p[1]);
        buf_byte(out, c);
        return c == '\0' ? NULL : p + 2;
    }
    int32_t unit = hex4(p + 2, end);
    if (unit < 0 || (unit >= 0xdc00 && unit <= 0xdfff))
        return NULL;
    p += 6;
    uint32_t c = (uint32_t)unit;
    if (unit >= 0xd800 && unit <= 0xdbff) {
        int32_t low = end - p >= 6 && p[0] == '\\' && p[1] == 'u' ? hex4(p + 2, end) : -1;
        if (low < 0xdc00 || low > 0xdfff)
            return NULL;
        c = 0x10000 + ((c & 0x3ff) << 10 | ((uint32_t)low & 0x3ff));
        p += 6;
    }
    put_code_point(out, c);
    return p;
}

bool json_unescape(struct buf *out, struct json_slice text)
{
    if (text.len < 2 || text.p[0] != '"' || text.p[text.len - 1] != '"')
        return false;
    const size_t before = out->len;
    const char *p = text.p + 1;
    const char *end = text.p + text.len - 1;
    while (p < end) {
        unsigned char seen = 0;
        const char *run = p;
        p = plain_run(p, end, &seen);
        buf_append(out, run, (size_t)(p - run));
        if (p == end)
            break;
        p = *p == '\\' ? unescape(out, p, end) : NULL;
        if (p == NULL) {
            out->len = before;
            return false;
        }
    }
    if (out->failed)
        out->len = before;
    return !out->failed;
}
