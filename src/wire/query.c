#include "tickerd/wire/query.h"

#include <string.h>

#include "tickerd/base/err.h"

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

ptrdiff_t query_decode(char *to, const char *text, size_t len, bool form)
{
    const char *begin = to;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (c == '%') {
            int high = i + 1 < len ? hex_digit(text[i + 1]) : -1;
            int low = i + 2 < len ? hex_digit(text[i + 2]) : -1;
            if (high < 0 || low < 0)
                return -1;
            c = (char)(unsigned char)(high * 16 + low);
            i += 2;
        } else if (form && c == '+') {
            c = ' ';
        }
        *to++ = c;
    }
    return to - begin;
}

static int take_value(struct buf *value, const char *text, size_t len)
{
    if (!buf_reserve(value, len + 1))
        return ERR_NOMEM;
    ptrdiff_t n = query_decode(value->data, text, len, true);
    if (n < 0)
        return ERR_INVALID;
    value->len = (size_t)n;
    return ERR_OK;
}

int query_find(const char *query, size_t len, const char *name, struct buf *value)
{
    size_t name_len = strlen(name);
    const char *end = query + len;
    buf_reset(value);
    while (query < end) {
        const char *stop = memchr(query, '&', (size_t)(end - query));
        size_t n = (size_t)((stop == NULL ? end : stop) - query);
        bool named = n >= name_len && memcmp(query, name, name_len) == 0;
        if (named && n == name_len)
            return ERR_OK; /* without a value: an empty one */
        if (named && query[name_len] == '=')
            return take_value(value, query + name_len + 1, n - name_len - 1);
        query = stop == NULL ? end : stop + 1;
    }
    return ERR_UNKNOWN;
}
