#include "tickerd/wire/bearer.h"

#include <string.h>
#include <strings.h>

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"

/* How many bytes at its beginning are of this set. */
static size_t run(const char *p, size_t len, const char *set)
{
    size_t n = 0;
    while (n < len && p[n] != '\0' && strchr(set, p[n]) != NULL)
        n++;
    return n;
}

enum bearer_found bearer_token(struct http_slice header, struct http_slice *token)
{
    static const char scheme[] = "bearer";
    size_t n = run(header.p, header.len, LETTERS DIGITS "!#$%&'*+-.^_`|~");
    if (n != sizeof scheme - 1 || strncasecmp(header.p, scheme, n) != 0)
        return BEARER_NONE;
    const char *p = header.p + n;
    size_t left = header.len - n;
    size_t spaces = run(p, left, " ");
    p += spaces;
    left -= spaces;
    size_t body = run(p, left, LETTERS DIGITS "-._~+/");
    size_t padding = run(p + body, left - body, "=");
    if (spaces == 0 || body == 0 || body + padding != left)
        return BEARER_MALFORMED;
    *token = (struct http_slice){p, left};
    return BEARER_TOKEN;
}
