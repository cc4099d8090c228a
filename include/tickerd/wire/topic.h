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
 * the pattern (one star is remembered, none is recursed into). Same answers as Redis 6/7. For a
 * pattern that meets many names, compile it. */
bool glob_match(const char *pattern, size_t pattern_len, const char *name, size_t name_len);

/* A compiled pattern: one block of memory, about as long as the pattern, plus 34 bytes for each
 * class that takes more than one byte but not all. Never changes, so threads may share it. */
struct glob;

/* Returns NULL when out of memory. The caller owns the result and may drop the pattern. */
struct glob *glob_compile(const char *pattern, size_t len);

/* Harmless on NULL. */
void glob_destroy(struct glob *g);

/* What glob_match answers for the compiled pattern. Most names fail at the head, in one memcmp. */
bool glob_matches(const struct glob *g, const char *name, size_t len);

/* The bytes every match must begin with, unescaped into out (at least pattern_len bytes). Returns
 * their number. `literal` (may be NULL) tells whether the whole pattern is literal. */
size_t glob_head(const char *pattern, size_t pattern_len, char *out, bool *literal);

/* Write an equivalent spelling into out (at least len bytes; may be the pattern itself) and return
 * its length, so that patterns which mean the same share one subscription: a run of stars and `?`
 * becomes its `?`s and then one star, and needless backslashes go. Answers and head stay the same,
 * and a canonical spelling stays as it is. Classes are kept as they are spelt. */
size_t glob_canonical(const char *pattern, size_t len, char *out);

/* Append s with every glob character escaped, so that it matches itself only. */
void glob_escape(struct buf *out, const char *s, size_t len);

#endif
