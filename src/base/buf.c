#include "tickerd/base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BUF_MIN = 64 };

void buf_init(struct buf *b)
{
    *b = (struct buf)BUF_INIT;
}

void buf_finish(struct buf *b)
{
    free(b->data);
    buf_init(b);
}

void buf_forget(struct buf *b)
{
    if (b->data != NULL)
        explicit_bzero(b->data, b->cap);
    buf_finish(b);
}

void buf_reset(struct buf *b)
{
    b->len = 0;
    b->failed = false;
}

bool buf_reserve(struct buf *b, size_t n)
{
    if (b->failed)
        return false;
    if (b->cap - b->len >= n)
        return true;
    size_t need = b->len + n;
    size_t cap = b->cap < BUF_MIN ? BUF_MIN : b->cap;
    while (cap < need && cap <= SIZE_MAX / 2)
        cap *= 2;
    char *data = need < n || cap < need ? NULL : realloc(b->data, cap);
    if (data == NULL) {
        b->failed = true;
        return false;
    }
    b->data = data;
    b->cap = cap;
    return true;
}

void buf_append(struct buf *b, const void *data, size_t n)
{
    if (n == 0 || !buf_reserve(b, n))
        return;
    memcpy(b->data + b->len, data, n);
    b->len += n;
}

void buf_byte(struct buf *b, char c)
{
    if (!buf_reserve(b, 1))
        return;
    b->data[b->len++] = c;
}

void buf_str(struct buf *b, const char *s)
{
    buf_append(b, s, strlen(s));
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (n < 0 || !buf_reserve(b, (size_t)n + 1)) {
        b->failed = true;
        return;
    }
    va_start(args, fmt);
    (void)vsnprintf(b->data + b->len, (size_t)n + 1, fmt, args);
    va_end(args);
    b->len += (size_t)n;
}

static bool json_plain(unsigned char c)
{
    return c >= 0x20 && c != '"' && c != '\\' && c != 0x7f;
}

static void json_escape(struct buf *b, unsigned char c)
{
    static const char short_form[] = "\"\"\\\\\bb\ff\nn\rr\tt";
    for (size_t i = 0; short_form[i] != '\0'; i += 2) {
        if ((unsigned char)short_form[i] == c) {
            buf_byte(b, '\\');
            buf_byte(b, short_form[i + 1]);
            return;
        }
    }
    buf_printf(b, "\\u%04x", c);
}

void buf_json(struct buf *b, const char *s, size_t n)
{
    size_t i = 0;
    while (i < n) {
        size_t start = i;
        while (i < n && json_plain((unsigned char)s[i]))
            i++;
        buf_append(b, s + start, i - start);
        if (i < n)
            json_escape(b, (unsigned char)s[i++]);
    }
}

void buf_consume(struct buf *b, size_t n)
{
    if (n < b->len)
        memmove(b->data, b->data + n, b->len - n);
    b->len = n < b->len ? b->len - n : 0;
}

const char *buf_cstr(struct buf *b)
{
    if (!buf_reserve(b, 1))
        return "";
    b->data[b->len] = '\0';
    return b->data;
}
