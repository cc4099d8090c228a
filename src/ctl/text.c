#include "tickerd/ctl/text.h"

#include <stdbool.h>
#include <string.h>

#include "tickerd/wire/utf8.h"

enum { WRAP_MIN = 16 };

struct range {
    uint32_t first, last;
};

/* What a terminal would act upon, or not show at all. */
static const struct range unsafe[] = {{0x00, 0x1f},     {0x7f, 0x9f},      {0xad, 0xad},
                                      {0x61c, 0x61c},   {0x180e, 0x180e},  {0x200b, 0x200f},
                                      {0x2028, 0x202e}, {0x2060, 0x206f},  {0xfeff, 0xfeff},
                                      {0xfff9, 0xfffb}, {0xe0000, 0xe0fff}};

static const struct range wide[] = {{0x1100, 0x115f},   {0x2e80, 0x303e},  {0x3041, 0xa4cf},
                                    {0xac00, 0xd7a3},   {0xf900, 0xfaff},  {0xfe30, 0xfe6f},
                                    {0xff00, 0xff60},   {0xffe0, 0xffe6},  {0x1f300, 0x1f64f},
                                    {0x1f900, 0x1f9ff}, {0x20000, 0x3fffd}};

static const struct range combining[] = {
    {0x300, 0x36f}, {0x1ab0, 0x1aff}, {0x20d0, 0x20ff}, {0xfe00, 0xfe0f}, {0xfe20, 0xfe2f}};

#define WITHIN(c, ranges) within(c, ranges, sizeof(ranges) / sizeof *(ranges))

static bool within(uint32_t c, const struct range *ranges, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (c >= ranges[i].first && c <= ranges[i].last)
            return true;
    }
    return false;
}

/* The character at s, which is valid UTF-8; *len is how many bytes it takes. */
static uint32_t character(const char *s, size_t *len)
{
    const unsigned char *p = (const unsigned char *)s;
    static const uint32_t masks[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    *len = p[0] < 0x80 ? 1 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    uint32_t c = p[0] & masks[*len];
    for (size_t i = 1; i < *len; i++)
        c = c << 6 | (p[i] & 0x3fU);
    return c;
}

static size_t columns_of(uint32_t c)
{
    if (WITHIN(c, combining))
        return 0;
    return WITHIN(c, wide) ? 2 : 1;
}

size_t text_columns(const char *s, size_t len)
{
    size_t columns = 0, n = 0;
    for (size_t i = 0; i < len; i += n)
        columns += columns_of(character(s + i, &n));
    return columns;
}

static void put_escaped(struct buf *out, uint32_t c)
{
    if (c == '\n' || c == '\r' || c == '\t')
        buf_printf(out, "\\%c", c == '\n' ? 'n' : c == '\r' ? 'r' : 't');
    else
        buf_printf(out, c < 0x80 ? "\\x%02x" : "\\u%04x", (unsigned)c);
}

void text_safe_cut(struct buf *out, const char *s, size_t len, size_t columns)
{
    struct buf whole = BUF_INIT;
    size_t used = 0, n = 0;
    (void)utf8_repair(&whole, s, len);
    for (size_t i = 0; i < whole.len; i += n) {
        size_t before = out->len;
        uint32_t c = character(whole.data + i, &n);
        if (WITHIN(c, unsafe))
            put_escaped(out, c);
        else
            buf_append(out, whole.data + i, n);
        if (out->failed)
            break;
        used += text_columns(out->data + before, out->len - before);
        if (columns > 0 && used + (i + n < whole.len) > columns) {
            out->len = before;
            buf_str(out, "\xe2\x80\xa6");
            break;
        }
    }
    out->failed = out->failed || whole.failed;
    buf_finish(&whole);
}

void text_safe(struct buf *out, const char *s, size_t len)
{
    text_safe_cut(out, s, len, 0);
}

void text_safe_json(struct buf *out, const char *json, size_t len)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i += n) {
        uint32_t c = character(json + i, &n);
        if (c < 0x20 || !WITHIN(c, unsafe))
            buf_append(out, json + i, n);
        else if (c < 0x10000)
            buf_printf(out, "\\u%04x", (unsigned)c);
        else
            buf_printf(out, "\\u%04x\\u%04x", 0xd800U + ((c - 0x10000U) >> 10),
                       0xdc00U + ((c - 0x10000U) & 0x3ffU));
    }
}

/* How many bytes the next character has, or the next colour. */
static size_t step(const char *s, size_t len, size_t *columns)
{
    size_t n = 0;
    if (s[0] == '\x1b') {
        while (n < len && s[n] != 'm')
            n++;
        *columns = 0;
        return n < len ? n + 1 : n;
    }
    *columns = columns_of(character(s, &n));
    return n;
}

/* How many bytes there are up to the end of the next word, blanks before it included. */
static size_t next_word(const char *s, size_t len, size_t *blanks, size_t *columns)
{
    size_t i = 0, one = 0;
    while (i < len && s[i] == ' ')
        i++;
    *blanks = i;
    *columns = 0;
    for (; i < len && s[i] != ' ' && s[i] != '\n'; *columns += one)
        i += step(s + i, len - i, &one);
    return i;
}

void text_wrapped(struct buf *out, const char *s, size_t len, size_t hang, size_t columns)
{
    size_t used = 0, blanks = 0, word = 0;
    if (columns < hang + WRAP_MIN)
        columns = SIZE_MAX;
    for (size_t i = 0; i < len;) {
        if (s[i] == '\n') {
            buf_byte(out, s[i++]);
            used = 0;
            continue;
        }
        size_t n = next_word(s + i, len - i, &blanks, &word);
        /* A word that would gain no room by it stays where it is. */
        if (used > hang && word > 0 && used + blanks + word > columns) {
            buf_printf(out, "\n%*s", (int)hang, "");
            used = hang;
            i += blanks;
            n -= blanks;
            blanks = 0;
        }
        buf_append(out, s + i, n);
        used += blanks + word;
        i += n;
    }
}

void text_count(struct buf *out, uint64_t n)
{
    if (n >= 1000) {
        text_count(out, n / 1000);
        buf_printf(out, ",%03u", (unsigned)(n % 1000));
    } else {
        buf_printf(out, "%u", (unsigned)n);
    }
}

void text_bytes(struct buf *out, uint64_t n)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double value = (double)n;
    size_t unit = 0;
    /* What would be printed as 1,024.0 is one of the next unit. */
    while (value >= 1023.95 && unit + 1 < sizeof units / sizeof *units) {
        value /= 1024;
        unit++;
    }
    if (unit == 0)
        buf_printf(out, "%u B", (unsigned)n);
    else
        buf_printf(out, value < 99.95 ? "%.1f %s" : "%.0f %s", value, units[unit]);
}

/* Two neighbouring units, the second left out where it is zero. */
static void put_two(struct buf *out, uint64_t n, uint64_t scale, const char *large,
                    uint64_t small_scale, const char *small)
{
    buf_printf(out, "%llu %s", (unsigned long long)(n / scale), large);
    uint64_t rest = n % scale / small_scale;
    if (rest > 0)
        buf_printf(out, " %llu %s", (unsigned long long)rest, small);
}

void text_seconds(struct buf *out, double s)
{
    enum { MINUTE = 60, HOUR = 3600, DAY = 86400 };
    uint64_t whole = s > 0 ? (uint64_t)(s + 0.5) : 0;
    if (s < 0.0005)
        buf_str(out, s <= 0 ? "0 s" : "less than 1 ms");
    else if (s < 0.9995)
        buf_printf(out, "%.0f ms", s * 1000);
    else if (s < 9.95)
        buf_printf(out, "%.1f s", s);
    else if (whole < MINUTE)
        buf_printf(out, "%u s", (unsigned)whole);
    else if (whole < HOUR)
        put_two(out, whole, MINUTE, "min", 1, "s");
    else if (whole < DAY)
        put_two(out, whole, HOUR, "h", MINUTE, "min");
    else
        put_two(out, whole, DAY, "d", HOUR, "h");
}
