#include "tickerd/wire/base64url.h"

#include <stdint.h>

enum { BAD = 64 };

static unsigned digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return (unsigned)(c - 'A');
    if (c >= 'a' && c <= 'z')
        return (unsigned)(c - 'a') + 26;
    if (c >= '0' && c <= '9')
        return (unsigned)(c - '0') + 52;
    return c == '-' ? 62 : c == '_' ? 63 : BAD;
}

bool base64url_decode(struct buf *out, const char *text, size_t len)
{
    size_t before = out->len;
    uint32_t bits = 0;
    unsigned held = 0;
    if (len % 4 == 1 || !buf_reserve(out, len / 4 * 3 + 2))
        return false;
    for (size_t i = 0; i < len; i++) {
        unsigned d = digit(text[i]);
        if (d == BAD) {
            out->len = before;
            return false;
        }
        bits = bits << 6 | d;
        held += 6;
        if (held >= 8) {
            held -= 8;
            out->data[out->len++] = (char)(bits >> held & 0xff);
        }
    }
    if ((bits & ((1U << held) - 1)) == 0)
        return true;
    out->len = before;
    return false;
}
