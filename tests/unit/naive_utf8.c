#include "naive_utf8.h"

#include <stdbool.h>
#include <stdint.h>

/* The length a lead byte announces by its leading ones, 0 for a byte that is no lead. */
static size_t announced(unsigned char lead)
{
    if ((lead & 0x80) == 0)
        return 1;
    if ((lead & 0xe0) == 0xc0)
        return 2;
    if ((lead & 0xf0) == 0xe0)
        return 3;
    if ((lead & 0xf8) == 0xf0)
        return 4;
    return 0;
}

static bool legal(uint32_t c, size_t len)
{
    if (c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
        return false;
    size_t shortest = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    return len == shortest;
}

size_t naive_utf8_prefix(const char *s, size_t len)
{
    size_t i = 0;
    while (i < len) {
        size_t n = announced((unsigned char)s[i]);
        if (n == 0 || n > len - i)
            return i;
        uint32_t c = (unsigned char)s[i] & (n == 1 ? 0x7fU : 0xffU >> (n + 1));
        for (size_t k = 1; k < n; k++) {
            if (((unsigned char)s[i + k] & 0xc0) != 0x80)
                return i;
            c = c * 64 + ((unsigned char)s[i + k] & 0x3fU);
        }
        if (!legal(c, n))
            return i;
        i += n;
    }
    return i;
}

struct decoder {
    uint32_t code_point;
    unsigned seen, needed;
    unsigned char lower, upper;
};

enum step { STEP_MORE, STEP_EMIT, STEP_ERROR, STEP_ERROR_AGAIN };

static enum step lead_byte(struct decoder *d, unsigned char byte)
{
    if (byte <= 0x7f) {
        d->code_point = byte;
        return STEP_EMIT;
    }
    if (byte >= 0xc2 && byte <= 0xdf) {
        d->needed = 1;
        d->code_point = byte & 0x1f;
    } else if (byte >= 0xe0 && byte <= 0xef) {
        if (byte == 0xe0)
            d->lower = 0xa0;
        if (byte == 0xed)
            d->upper = 0x9f;
        d->needed = 2;
        d->code_point = byte & 0xf;
    } else if (byte >= 0xf0 && byte <= 0xf4) {
        if (byte == 0xf0)
            d->lower = 0x90;
        if (byte == 0xf4)
            d->upper = 0x8f;
        d->needed = 3;
        d->code_point = byte & 0x7;
    } else {
        return STEP_ERROR;
    }
    return STEP_MORE;
}

static enum step step(struct decoder *d, unsigned char byte)
{
    if (d->needed == 0)
        return lead_byte(d, byte);
    bool fits = byte >= d->lower && byte <= d->upper;
    d->lower = 0x80;
    d->upper = 0xbf;
    if (!fits) {
        d->code_point = d->seen = d->needed = 0;
        return STEP_ERROR_AGAIN;
    }
    d->code_point = d->code_point << 6 | (byte & 0x3fU);
    if (++d->seen != d->needed)
        return STEP_MORE;
    d->seen = d->needed = 0;
    return STEP_EMIT;
}

static size_t put(char *out, uint32_t c)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t k = n - 1; k > 0; k--) {
        out[k] = (char)(0x80 | (c & 0x3f));
        c >>= 6;
    }
    out[0] = (char)((0xff00 >> n & 0xff) | c);
    return n;
}

size_t naive_utf8_repair(char *out, const char *s, size_t len, size_t *errors)
{
    struct decoder d = {.lower = 0x80, .upper = 0xbf};
    size_t written = 0;
    size_t bad = 0;
    for (size_t i = 0; i < len;) {
        enum step what = step(&d, (unsigned char)s[i]);
        if (what != STEP_ERROR_AGAIN)
            i++;
        if (what == STEP_EMIT)
            written += put(out + written, d.code_point);
        if (what == STEP_ERROR || what == STEP_ERROR_AGAIN) {
            written += put(out + written, 0xfffd);
            bad++;
        }
    }
    if (d.needed != 0) {
        written += put(out + written, 0xfffd);
        bad++;
    }
    if (errors != NULL)
        *errors = bad;
    return written;
}

size_t naive_event_data(char *out, const char *s, size_t len, size_t *errors)
{
    size_t n = naive_utf8_repair(out, s, len, errors);
    size_t w = 0;
    for (size_t i = 0; i < n; i++) {
        if (out[i] == '\r' && i + 1 < n && out[i + 1] == '\n')
            continue;
        out[w++] = out[i] == '\r' ? '\n' : out[i];
    }
    return w;
}
