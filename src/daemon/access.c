#include "tickerd/daemon/access.h"

#include <stdlib.h>
#include <string.h>

#include "tickerd/base/clock.h"
#include "tickerd/base/log.h"

enum { ACCESS_PATH_MAX = 400, ACCESS_VALUE_MAX = 200 };

static const char unreadable[] = "(unreadable)";

struct access {
    uint64_t started_us;
    int status;
    const char *method;
    int path_len;
    char path[];
};

static const char *method_name(const struct httpreq *request)
{
    switch (httpreq_method(request)) {
    case HTTP_M_GET:
        return "GET";
    case HTTP_M_HEAD:
        return "HEAD";
    case HTTP_M_OPTIONS:
        return "OPTIONS";
    case HTTP_M_POST:
        return "POST";
    case HTTP_M_OTHER:
        break;
    }
    return "OTHER";
}

/* Cut off at the first of these characters. */
static void cut_at(struct http_slice *s, const char *stops)
{
    size_t n = 0;
    while (n < s->len && strchr(stops, s->p[n]) == NULL)
        n++;
    s->len = n;
}

/* The path alone. An absolute form may name a user and a password before it (RFC 9112 §3.2.2), and
 * behind it may be a token. */
static struct http_slice path_of(struct http_slice target)
{
    static const char mark[] = "://";
    cut_at(&target, "?#");
    struct http_slice path = target;
    if (path.len == 0 || path.p[0] == '/' || path.p[0] == '*')
        return path;
    const char *host = memmem(path.p, path.len, mark, sizeof mark - 1);
    if (host == NULL)
        return (struct http_slice){unreadable, sizeof unreadable - 1};
    path.p = host + sizeof mark - 1;
    path.len -= (size_t)(path.p - target.p);
    size_t whole = path.len;
    cut_at(&path, "/");
    return (struct http_slice){path.p + path.len, whole - path.len};
}

struct access *access_begin(const struct httpreq *request)
{
    struct http_slice path = {unreadable, sizeof unreadable - 1};
    if (request != NULL)
        path = path_of(httpreq_target(request));
    if (path.len > ACCESS_PATH_MAX)
        path.len = ACCESS_PATH_MAX;
    struct access *a = malloc(sizeof *a + path.len);
    if (a == NULL)
        return NULL;
    a->started_us = clock_mono_us();
    a->status = 0;
    a->method = request == NULL ? "-" : method_name(request);
    a->path_len = (int)path.len;
    memcpy(a->path, path.p, path.len);
    return a;
}

void access_status(struct access *a, int status)
{
    if (a != NULL)
        a->status = status;
}

/* Printable ASCII but for blanks, quotes, and % and = with which encodings and fields begin. */
static bool is_plain(char c)
{
    return c > ' ' && c <= '~' && strchr("\"%'=\\`", c) == NULL;
}

void access_put(struct buf *out, const char *text, size_t len)
{
    size_t n = len < ACCESS_VALUE_MAX ? len : ACCESS_VALUE_MAX;
    for (size_t i = 0; i < n; i++) {
        if (is_plain(text[i]))
            buf_byte(out, text[i]);
        else
            buf_printf(out, "%%%02X", (unsigned char)text[i]);
    }
    if (n < len)
        buf_str(out, "...");
}

void access_end(struct access *a, const struct access_peer *from, const struct http1_end *end)
{
    static const struct http1_end none = {.why = CLOSING_NONE};
    if (a == NULL)
        return;
    end = end == NULL ? &none : end;
    char text[NETADDR_TEXT_MAX];
    struct buf who = BUF_INIT;
    buf_printf(&who, "client=%s", netaddr_print(from->client, text));
    if (!netaddr_equal(from->client, from->peer))
        buf_printf(&who, " via=%s", netaddr_print(from->peer, text));
    if (from->sub != NULL) {
        buf_str(&who, " sub=");
        access_put(&who, from->sub, from->sub_len);
    }
    /* A target is printable ASCII without blanks (wire/httpreq). */
    log_info("access: %s method=%s path=%.*s status=%d seconds=%.3f events=%llu bytes=%llu%s%s",
             buf_cstr(&who), a->method, a->path_len, a->path, a->status,
             (double)(clock_mono_us() - a->started_us) / US_PER_S, (unsigned long long)end->events,
             (unsigned long long)end->bytes,
             end->why == CLOSING_NONE ? "" : " reason=", closing_text(end->why));
    buf_finish(&who);
    free(a);
}
