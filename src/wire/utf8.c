#include "tickerd/wire/utf8.h"

#include <stdint.h>
#include <string.h>

#define ALL_HIGH_BITS UINT64_C(0x8080808080808080)

/* U+FFFD, what an ill-formed subpart is replaced by. */
static const char replacement[] = "\xef\xbf\xbd";

static size_t skip_ascii(const char *s, size_t i, size_t len)
{
    uint64_t word;
    while (len - i >= sizeof word) {
        memcpy(&word, s + i, sizeof word);
        if ((word & ALL_HIGH_BITS) != 0)
            break;
        i += sizeof word;
    }
    while (i < len && (unsigned char)s[i] < 0x80)
        i++;
    return i;
}

/* The sequence at s[0], a byte above 0x7f: its length if it is well formed. Otherwise the length
 * of its maximal ill-formed subpart: a decoder stops before the first byte that cannot continue.
 *
 * Only the second byte's range depends on the lead; that one range excludes overlong forms (E0,
 * F0), surrogates (ED) and what lies above U+10FFFF (F4). */
static size_t sequence(const unsigned char *s, size_t len, bool *valid)
{
    unsigned char lead = s[0];
    unsigned char low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    unsigned char high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    size_t want = 1;
    if (lead >= 0xc2 && lead <= 0xf4)
        want = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    size_t i = 1;
    while (i < want && i < len && s[i] >= low && s[i] <= high) {
        low = 0x80;
        high = 0xbf;
        i++;
    }
    *valid = want > 1 && i == want;
    return i;
}

size_t utf8_valid_prefix(const char *s, size_t len)
{
    size_t i = 0;
    while ((i = skip_ascii(s, i, len)) < len) {
        bool valid;
        size_t n = sequence((const unsigned char *)s + i, len - i, &valid);
        if (!valid)
            return i;
        i += n;
    }
    return len;
}

size_t utf8_repair(struct buf *out, const char *s, size_t len)
{
    size_t replaced = 0;
    size_t i = 0;
    while (i < len) {
        size_t good = utf8_valid_prefix(s + i, len - i);
        buf_append(out, s + i, good);
        i += good;
        if (i < len) {
            bool valid;
            i += sequence((const unsigned char *)s + i, len - i, &valid);
            buf_append(out, replacement, sizeof replacement - 1);
            replaced++;
        }
    }
    return replaced;
}
