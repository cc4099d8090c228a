/* Channel names and glob patterns. Patterns have the meaning Redis gives them in PSUBSCRIBE,
 * byte by byte: `*` any bytes (also `.` and `/`), `?` one byte, `[ae]`, `[a-c]`, `[^e]`, and a
 * backslash that takes the next byte literally. */
#ifndef TICKERD_WIRE_TOPIC_H
#define TICKERD_WIRE_TOPIC_H

#include <stdbool.h>
#include <stddef.h>

#include "tickerd/base/buf.h"

enum { TOPIC_MAX = 255 };

/* Whether this is a channel name: valid UTF-8, no control bytes (0x00–0x1f, 0x7f), 1–255 bytes. */
bool topic_valid(const char *name, size_t len);

/* Whether the name is the broker's own (begins with `$`): never reaches HTTP, by any pattern. */
static inline bool topic_reserved(const char *name, size_t len)
{
    return len > 0 && name[0] == '$';
}

/* Whether the name matches the pattern. Time is bounded by pattern length × name length whatever
 * the pattern (one star is remembered, none is recursed into). Same answers as Redis 6/7. */
bool glob_match(const char *pattern, size_t pattern_len, const char *name, size_t name_len);

/* The bytes every match must begin with, unescaped into out (at least pattern_len bytes). Returns
 * their number. `literal` (may be NULL) tells whether the whole pattern is literal. */
size_t glob_head(const char *pattern, size_t pattern_len, char *out, bool *literal);

/* Append s with every glob character escaped, so that it matches itself only. */
void glob_escape(struct buf *out, const char *s, size_t len);

#endif
