#include "tickerd/wire/cookie.h"

#include <string.h>

static struct http_slice trim(const char *from, const char *to)
{
    while (from < to && (*from == ' ' || *from == '\t'))
        from++;
    while (to > from && (to[-1] == ' ' || to[-1] == '\t'))
        to--;
    return (struct http_slice){from, (size_t)(to - from)};
}

static struct http_slice unquote(struct http_slice s)
{
    if (s.len >= 2 && s.p[0] == '"' && s.p[s.len - 1] == '"')
        return (struct http_slice){s.p + 1, s.len - 2};
    return s;
}

static bool equal(struct http_slice s, const char *p, size_t len)
{
    return s.len == len && memcmp(s.p, p, len) == 0;
}

enum cookie_found cookie_find(struct http_slice header, const char *name, struct http_slice *value)
{
    enum cookie_found found = COOKIE_NONE;
    if (header.p == NULL)
        return found;
    const char *at = header.p, *end = header.p + header.len;
    while (at < end) {
        const char *stop = memchr(at, ';', (size_t)(end - at));
        if (stop == NULL)
            stop = end;
        const char *sign = memchr(at, '=', (size_t)(stop - at));
        if (sign != NULL && equal(trim(at, sign), name, strlen(name))) {
            struct http_slice v = unquote(trim(sign + 1, stop));
            if (found == COOKIE_ONE && !equal(v, value->p, value->len))
                return COOKIE_CONFLICT;
            found = COOKIE_ONE;
            *value = v;
        }
        at = stop < end ? stop + 1 : end;
    }
    return found;
}
