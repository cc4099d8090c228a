#include "tickerd/wire/eventid.h"

#include <zlib.h>

enum { SEQ_DIGITS = 13, WORD_DIGITS = 8 };

static char *put_hex(char *out, uint64_t value, int digits)
{
    for (int i = digits - 1; i >= 0; i--) {
        out[i] = "0123456789abcdef"[value & 0xf];
        value >>= 4;
    }
    return out + digits;
}

static bool get_hex(const char *s, int digits, uint64_t *value)
{
    uint64_t v = 0;
    for (int i = 0; i < digits; i++) {
        char c = s[i];
        if (c >= '0' && c <= '9')
            v = v << 4 | (uint64_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            v = v << 4 | (uint64_t)(c - 'a' + 10);
        else
            return false;
    }
    *value = v;
    return true;
}

void eventid_format(char out[EVENTID_LEN], const struct eventid *id)
{
    char *p = put_hex(out, id->seq, SEQ_DIGITS);
    *p++ = '-';
    p = put_hex(p, id->tag, WORD_DIGITS);
    *p++ = '-';
    (void)put_hex(p, id->fp, WORD_DIGITS);
}

bool eventid_parse(const char *s, size_t len, struct eventid *out)
{
    if (len != EVENTID_LEN || s[SEQ_DIGITS] != '-' || s[SEQ_DIGITS + 1 + WORD_DIGITS] != '-')
        return false;
    uint64_t seq;
    uint64_t tag;
    uint64_t fp;
    if (!get_hex(s, SEQ_DIGITS, &seq) || !get_hex(s + SEQ_DIGITS + 1, WORD_DIGITS, &tag) ||
        !get_hex(s + EVENTID_LEN - WORD_DIGITS, WORD_DIGITS, &fp))
        return false;
    *out = (struct eventid){.seq = seq, .tag = (uint32_t)tag, .fp = (uint32_t)fp};
    return true;
}

/* zlib takes a NULL buffer as the request for the initial value, so nothing must stay nothing. */
static uLong crc_add(uLong crc, const char *s, size_t len)
{
    return len == 0 ? crc : crc32_z(crc, (const Bytef *)s, len);
}

uint32_t eventid_fingerprint(const char *channel, size_t channel_len, const char *payload,
                             size_t payload_len)
{
    uLong crc = crc_add(0, channel, channel_len);
    crc = crc_add(crc, "", 1);
    crc = crc_add(crc, payload, payload_len);
    return crc == 0 ? 1 : (uint32_t)crc;
}
