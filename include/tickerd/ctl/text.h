/* Text for people: numbers as they read them, and strangers' text made harmless. */
#ifndef TICKERD_CTL_TEXT_H
#define TICKERD_CTL_TEXT_H

#include <stddef.h>
#include <stdint.h>

#include "tickerd/base/buf.h"

/* Append text that somebody else wrote so that it cannot move the cursor, change colours or the
 * direction of writing: control characters (C0, DEL, C1), bidirectional controls and invisible
 * ones become \n, \x1b or \u202e; invalid UTF-8 becomes U+FFFD. */
void text_safe(struct buf *out, const char *s, size_t len);

/* The same, cut with an ellipsis where it is wider than `columns` (0: never). */
void text_safe_cut(struct buf *out, const char *s, size_t len, size_t columns);

/* Append valid JSON in UTF-8, as good for a terminal: what is unsafe can only stand in its strings,
 * where \u009b means the same. Line ends between its members stay. */
void text_safe_json(struct buf *out, const char *json, size_t len);

/* How many columns of a terminal a text without control characters takes, about: wide East Asian
 * characters count two, combining marks none. */
size_t text_columns(const char *s, size_t len);

/* Append lines, which may have colours, broken at blanks so that none is wider than `columns`; what
 * goes on begins at column `hang`. 0, or too few columns for that: as they are. */
void text_wrapped(struct buf *out, const char *s, size_t len, size_t hang, size_t columns);

/* 12,034 */
void text_count(struct buf *out, uint64_t n);

/* 312 B, 1.2 MiB */
void text_bytes(struct buf *out, uint64_t n);

/* 3 ms, 1.2 s, 3 min 4 s, 2 d 5 h; of a number of seconds. */
void text_seconds(struct buf *out, double s);

#endif
