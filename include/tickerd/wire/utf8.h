/* UTF-8 validity and repair, as the WHATWG Encoding Standard's UTF-8 decoder does it. */
#ifndef TICKERD_WIRE_UTF8_H
#define TICKERD_WIRE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

#include "tickerd/base/buf.h"

/* Length of the longest valid UTF-8 prefix of s; `len` when all of it is valid. Overlong forms,
 * surrogates and code points above U+10FFFF are invalid. Fast on ASCII (8 bytes at a time). */
size_t utf8_valid_prefix(const char *s, size_t len);

static inline bool utf8_valid(const char *s, size_t len)
{
    return utf8_valid_prefix(s, len) == len;
}

/* Append s with every maximal ill-formed subpart replaced by U+FFFD. Returns how many. */
size_t utf8_repair(struct buf *out, const char *s, size_t len);

#endif
