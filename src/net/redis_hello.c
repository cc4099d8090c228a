#include "redis_hello.h"

#include <string.h>

static enum redis_kind read_kind(struct resp_slice value)
{
    if (resp_is(value, "cluster"))
        return REDIS_CLUSTER_NODE;
    if (resp_is(value, "sentinel"))
        return REDIS_SENTINEL;
    return resp_is(value, "standalone") ? REDIS_STANDALONE : REDIS_KIND_UNKNOWN;
}

static enum redis_role read_role(struct resp_slice value)
{
    if (resp_is(value, "master"))
        return REDIS_MASTER;
    return resp_is(value, "replica") || resp_is(value, "slave") ? REDIS_REPLICA
                                                                : REDIS_ROLE_UNKNOWN;
}

struct redis_hello redis_hello_parse(const struct resp_slice *part, size_t count)
{
    struct redis_hello h = {REDIS_KIND_UNKNOWN, REDIS_ROLE_UNKNOWN};
    for (size_t i = 0; i + 1 < count; i += 2) {
        if (resp_is(part[i], "mode"))
            h.kind = read_kind(part[i + 1]);
        else if (resp_is(part[i], "role"))
            h.role = read_role(part[i + 1]);
    }
    return h;
}

struct redis_hello redis_hello_parse_info(const char *text, size_t len)
{
    struct redis_hello h = {REDIS_KIND_UNKNOWN, REDIS_ROLE_UNKNOWN};
    const char *end = text + len;
    for (const char *line = text; line < end;) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        const char *next = stop == NULL ? end : stop + 1;
        stop = stop == NULL ? end : stop;
        if (stop > line && stop[-1] == '\r')
            stop--;
        const char *colon = memchr(line, ':', (size_t)(stop - line));
        if (colon != NULL) {
            struct resp_slice name = {line, (size_t)(colon - line)};
            struct resp_slice value = {colon + 1, (size_t)(stop - colon - 1)};
            if (resp_is(name, "redis_mode"))
                h.kind = read_kind(value);
            else if (resp_is(name, "role"))
                h.role = read_role(value);
        }
        line = next;
    }
    return h;
}
