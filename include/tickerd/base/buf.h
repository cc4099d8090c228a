/* A growable byte buffer whose error sticks: append as often as you like, test `failed` once at
 * the end. After a failed append the contents are whatever came before it and nothing is added
 * any more. The bytes are not NUL-terminated unless buf_cstr() is asked. */
#ifndef TICKERD_BASE_BUF_H
#define TICKERD_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
    char *data; /* owned; NULL while cap is 0 */
    size_t len;
    size_t cap;
    bool failed; /* an allocation failed; sticky until buf_finish or buf_reset */
};

#define BUF_INIT                                                                                   \
    {                                                                                              \
        NULL, 0, 0, false                                                                          \
    }

/* Make an empty buffer; allocates nothing. */
void buf_init(struct buf *b);

/* Free what the buffer owns and leave it empty. */
void buf_finish(struct buf *b);

/* The same for contents that are secret: they are overwritten before. (What an earlier growth left
 * behind is not.) */
void buf_forget(struct buf *b);

/* Drop the contents and the error, keep the memory. */
void buf_reset(struct buf *b);

/* Make room for n more bytes. False (and `failed`) when memory is out. */
bool buf_reserve(struct buf *b, size_t n);

void buf_append(struct buf *b, const void *data, size_t n);
void buf_byte(struct buf *b, char c);
void buf_str(struct buf *b, const char *s);
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Append `n` bytes of UTF-8 as the inside of a JSON string: quotes, backslashes and control
 * bytes escaped (RFC 8259 §7); everything else verbatim. The quotes around it are the caller's. */
void buf_json(struct buf *b, const char *s, size_t n);

/* Drop the first n bytes (n <= len), moving the rest down. */
void buf_consume(struct buf *b, size_t n);

/* The contents as a C string, owned by the buffer and valid until it changes; "" on failure. */
const char *buf_cstr(struct buf *b);

#endif
