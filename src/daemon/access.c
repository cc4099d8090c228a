#include "tickerd/daemon/access.h"

#include <stdlib.h>
#include <string.h>

#include "tickerd/base/clock.h"
#include "tickerd/base/log.h"

enum { ACCESS_PATH_MAX = 400, ACCESS_FIELDS = 10 };

static const char unreadable[] = "(unreadable)";

struct access {
    uint64_t started_us;
    int status;
    const char *method;
    size_t path_len;
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
    a->path_len = path.len;
    memcpy(a->path, path.p, path.len);
    return a;
}

void access_status(struct access *a, int status)
{
    if (a != NULL)
        a->status = status;
}

static struct log_field word(const char *name, const char *text)
{
    return (struct log_field){.name = name, .kind = LOG_WORD, .text = text, .len = strlen(text)};
}

static struct log_field number(const char *name, uint64_t n)
{
    return (struct log_field){.name = name, .kind = LOG_COUNT, .n = n};
}

static struct log_field seconds(uint64_t us)
{
    return (struct log_field){.name = "seconds", .kind = LOG_SECONDS, .n = us};
}

/* Returns how many there are. */
static size_t put_peer(struct log_field *f, const struct access_peer *from, char client[],
                       char via[])
{
    size_t n = 0;
    f[n++] = word("client", netaddr_print(from->client, client));
    if (!netaddr_equal(from->client, from->peer))
        f[n++] = word("via", netaddr_print(from->peer, via));
    if (from->sub != NULL)
        f[n++] = (struct log_field){
            .name = "sub", .kind = LOG_VALUE, .text = from->sub, .len = from->sub_len};
    return n;
}

void access_end(struct access *a, const struct access_peer *from, const struct http1_end *end)
{
    static const struct http1_end none = {.why = CLOSING_NONE};
    struct log_field f[ACCESS_FIELDS];
    char client[NETADDR_TEXT_MAX], via[NETADDR_TEXT_MAX];
    if (a == NULL)
        return;
    end = end == NULL ? &none : end;
    size_t n = put_peer(f, from, client, via);
    f[n++] = word("method", a->method);
    /* A target is printable ASCII without blanks (wire/httpreq). */
    f[n++] =
        (struct log_field){.name = "path", .kind = LOG_WORD, .text = a->path, .len = a->path_len};
    f[n++] = number("status", (uint64_t)a->status);
    f[n++] = seconds(clock_mono_us() - a->started_us);
    f[n++] = number("events", end->events);
    f[n++] = number("bytes", end->bytes);
    if (end->why != CLOSING_NONE)
        f[n++] = word("reason", closing_text(end->why));
    log_fields(LOG_INFO, "access", f, n);
    free(a);
}
