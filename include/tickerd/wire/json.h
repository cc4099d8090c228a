/* A validating scanner over JSON text (RFC 8259) that hands out slices of the source. It exists
 * because a parser that builds values cannot give back the bytes that a number or an object was
 * written with, and re-printing turns 0.1 into 0.10000000000000001; values themselves are decoded
 * by jansson. It never recurses; nesting deeper than JSON_DEPTH_MAX is an error. */
#ifndef TICKERD_WIRE_JSON_H
#define TICKERD_WIRE_JSON_H

#include <stdbool.h>
#include <stddef.h>

#include "tickerd/base/buf.h"

enum { JSON_DEPTH_MAX = 512 };

/* A cursor; `failed` sticks: scan all, test once. */
struct json_scan {
    const char *p;   /* next byte */
    const char *end; /* one past the last byte */
    bool failed;
};

struct json_slice {
    const char *p;
    size_t len;
};

/* Skip blanks. */
void json_blanks(struct json_scan *s);

/* Validate and skip one value of any kind; the slice is its source text without blanks around. */
struct json_slice json_value(struct json_scan *s);

/* Enter an object or array: consumes the opening byte. */
void json_enter(struct json_scan *s, char open);

/* In an object: the next key's source text with its quotes and escapes, leaving the cursor at the
 * value (colon consumed). False at the closing brace (consumed) or on an error. `first` starts as
 * true and is kept by the function. */
bool json_key(struct json_scan *s, bool *first, struct json_slice *key);

/* In an array: whether another element follows (cursor at it); false at the closing bracket
 * (consumed) or on an error. */
bool json_element(struct json_scan *s, bool *first);

/* Whether nothing but blanks is left and nothing failed. */
bool json_end(struct json_scan *s);

/* Append a valid JSON text without the insignificant blanks, all other bytes verbatim. */
void json_compact(struct buf *out, struct json_slice value);

/* Decode a JSON string's source text (with its quotes) to UTF-8 bytes appended to out. False if
 * it has a lone surrogate escape, is no string, or memory is out, and then nothing is appended;
 * NUL escapes are allowed. */
bool json_unescape(struct buf *out, struct json_slice text);

#endif
