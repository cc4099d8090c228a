#include "tickerd/daemon/access.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "tickerd/base/clock.h"
#include "tickerd/base/log.h"

enum { ACCESS_PATH_MAX = 400 };

struct access {
    uint64_t started_us;
    int status;
    char peer[INET6_ADDRSTRLEN];
    const char *method;
    int path_len;
    char path[];
};

static void name_peer(char *out, size_t size, int fd)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
        struct sockaddr_storage room;
    } sa = {.room = {0}};
    socklen_t len = sizeof sa;
    memcpy(out, "unix", 5);
    if (getpeername(fd, &sa.any, &len) != 0)
        memcpy(out, "gone", 5);
    else if (sa.any.sa_family == AF_INET)
        (void)inet_ntop(AF_INET, &sa.v4.sin_addr, out, (socklen_t)size);
    else if (sa.any.sa_family == AF_INET6)
        (void)inet_ntop(AF_INET6, &sa.v6.sin6_addr, out, (socklen_t)size);
}

static const char *method_name(const struct httpreq *request)
{
    switch (httpreq_method(request)) {
    case HTTP_M_GET:
        return "GET";
    case HTTP_M_HEAD:
        return "HEAD";
    case HTTP_M_OPTIONS:
        return "OPTIONS";
    case HTTP_M_OTHER:
        break;
    }
    return "OTHER";
}

struct access *access_begin(int fd, const struct httpreq *request)
{
    struct http_slice path = {"(unreadable)", 12};
    if (request != NULL) {
        path = httpreq_target(request);
        const char *query = memchr(path.p, '?', path.len);
        if (query != NULL)
            path.len = (size_t)(query - path.p);
    }
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
    name_peer(a->peer, sizeof a->peer, fd);
    return a;
}

void access_status(struct access *a, int status)
{
    if (a != NULL)
        a->status = status;
}

void access_end(struct access *a, uint64_t events, uint64_t bytes)
{
    if (a == NULL)
        return;
    log_info("access: %s %s %.*s %d %.3fs %llu events %llu bytes", a->peer, a->method, a->path_len,
             a->path, a->status, (double)(clock_mono_us() - a->started_us) / US_PER_S,
             (unsigned long long)events, (unsigned long long)bytes);
    free(a);
}
