/* The least that a broker can do: one thread, epoll, a Redis subscription, and for every message
 * one send() to every client of its channel; with --gather one send() per client for all that
 * arrived in one read of Redis. No history, no resume, no time-outs, no limits, no HTTP worth the
 * name. It writes the same bytes as tickerd does, so that what tickerd costs above this is
 * tickerd's own.
 *
 * Says `listening on 127.0.0.1:PORT` on stderr. Ends on SIGTERM, or when Redis hangs up. */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <hiredis/hiredis.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tool.h"

enum {
    FILES = 65536,
    BUCKETS = 4096, /* a power of two */
    CHANNEL_MAX = 255,
    INPUT_SIZE = 64 * 1024,
    /* hiredis moves what is left of its buffer after every reply: little must be left. */
    FEED_SIZE = 4096,
    REQUEST_MAX = 4096,
    EVENTS_AT_ONCE = 512,
    ACCEPT_BATCH = 64,
    REST_MAX = 64 << 20,
    FRAME_EXTRA = 64 /* around the payload */
};

struct channel {
    struct channel *next;
    int *fds;
    uint32_t count, room;
    char *out; /* gathered bytes */
    size_t out_len, out_room;
    struct channel *next_dirty;
    bool dirty;
    char name[];
};

/* What a client that does not take everything is still owed; kept apart, as few have it. */
struct rest {
    size_t len;
    char bytes[];
};

struct client {
    struct channel *channel; /* NULL: no stream yet */
    struct rest *rest;
    uint32_t slot;
};

static struct client clients[FILES];
static struct channel *buckets[BUCKETS];
static struct channel *dirty;
static char input[INPUT_SIZE];
static int epoll_fd, listen_fd;
static redisContext *redis;
static const char *prefix = "sse:";
static bool gather;
static uint64_t last_id;

static void watch(int how, int fd, uint32_t events)
{
    struct epoll_event e = {.events = events, .data.fd = fd};
    if (epoll_ctl(epoll_fd, how, fd, &e) != 0)
        die("epoll_ctl: %s", strerror(errno));
}

static void *grown(void *old, size_t size)
{
    void *p = realloc(old, size);
    if (p == NULL)
        die("out of memory");
    return p;
}

/* ---- channels and clients -------------------------------------------------------------------- */

static struct channel *find(const char *name, size_t len, bool make)
{
    uint32_t hash = 2166136261U;
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ (unsigned char)name[i]) * 16777619U;
    struct channel **bucket = &buckets[hash % BUCKETS];
    for (struct channel *ch = *bucket; ch != NULL; ch = ch->next) {
        if (strncmp(ch->name, name, len) == 0 && ch->name[len] == '\0')
            return ch;
    }
    if (!make)
        return NULL;
    struct channel *ch = grown(NULL, sizeof *ch + len + 1);
    memset(ch, 0, sizeof *ch);
    memcpy(ch->name, name, len);
    ch->name[len] = '\0';
    ch->next = *bucket;
    *bucket = ch;
    return ch;
}

static void join(int fd, struct channel *ch)
{
    if (ch->count == ch->room) {
        ch->room = ch->room == 0 ? 4 : 2 * ch->room;
        ch->fds = grown(ch->fds, ch->room * sizeof *ch->fds);
    }
    clients[fd].channel = ch;
    clients[fd].slot = ch->count;
    ch->fds[ch->count++] = fd;
}

static void drop(int fd)
{
    struct client *c = &clients[fd];
    if (c->channel != NULL) {
        int last = c->channel->fds[--c->channel->count];
        c->channel->fds[c->slot] = last;
        clients[last].slot = c->slot;
    }
    free(c->rest);
    memset(c, 0, sizeof *c);
    (void)close(fd);
}

/* ---- writing --------------------------------------------------------------------------------- */

static void owe(int fd, const char *bytes, size_t len)
{
    struct client *c = &clients[fd];
    size_t had = c->rest == NULL ? 0 : c->rest->len;
    if (had + len > REST_MAX) {
        (void)shutdown(fd, SHUT_RDWR); /* epoll reports it, outside the walk over the channel */
        return;
    }
    if (had == 0)
        watch(EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLRDHUP | EPOLLOUT);
    c->rest = grown(c->rest, sizeof *c->rest + had + len);
    memcpy(c->rest->bytes + had, bytes, len);
    c->rest->len = had + len;
}

static void deliver(int fd, const char *bytes, size_t len)
{
    if (clients[fd].rest != NULL) {
        owe(fd, bytes, len);
        return;
    }
    ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n == (ssize_t)len || (n < 0 && errno != EAGAIN))
        return;
    size_t done = n < 0 ? 0 : (size_t)n;
    owe(fd, bytes + done, len - done);
}

static void pay(int fd)
{
    struct client *c = &clients[fd];
    ssize_t n = send(fd, c->rest->bytes, c->rest->len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n <= 0)
        return;
    c->rest->len -= (size_t)n;
    memmove(c->rest->bytes, c->rest->bytes + n, c->rest->len);
    if (c->rest->len > 0)
        return;
    free(c->rest);
    c->rest = NULL;
    watch(EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLRDHUP);
}

static void flush(struct channel *ch)
{
    for (uint32_t i = 0; i < ch->count; i++)
        deliver(ch->fds[i], ch->out, ch->out_len);
    ch->out_len = 0;
}

/* ---- Redis ----------------------------------------------------------------------------------- */

static void on_message(const char *name, size_t name_len, const char *payload, size_t len)
{
    size_t skip = strlen(prefix);
    struct channel *ch = name_len < skip ? NULL : find(name + skip, name_len - skip, false);
    if (ch == NULL || ch->count == 0)
        return;
    if (ch->out_len + len + FRAME_EXTRA > ch->out_room) {
        ch->out_room = 2 * (ch->out_len + len + FRAME_EXTRA);
        ch->out = grown(ch->out, ch->out_room);
    }
    char *p = ch->out + ch->out_len;
    memcpy(p, "data: ", 6);
    memcpy(p + 6, payload, len);
    int n = snprintf(p + 6 + len, FRAME_EXTRA - 6, "\nid: %013llx-%08x-%08x\n\n",
                     (unsigned long long)++last_id, 0x0f10070fU, 0x0f10070fU);
    ch->out_len += 6 + len + (size_t)n;
    if (!gather) {
        flush(ch);
    } else if (!ch->dirty) {
        ch->dirty = true;
        ch->next_dirty = dirty;
        dirty = ch;
    }
}

static void on_reply(const redisReply *r)
{
    if (r->type == REDIS_REPLY_ARRAY && r->elements == 4 &&
        strcmp(r->element[0]->str, "pmessage") == 0)
        on_message(r->element[2]->str, r->element[2]->len, r->element[3]->str, r->element[3]->len);
}

static void read_redis(void)
{
    ssize_t n = recv(redis->fd, input, sizeof input, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0)
        die("Redis hung up");
    for (size_t at = 0; at < (size_t)n;) {
        size_t len = (size_t)n - at < FEED_SIZE ? (size_t)n - at : FEED_SIZE;
        void *reply = NULL;
        (void)redisReaderFeed(redis->reader, input + at, len);
        at += len;
        while (redisReaderGetReply(redis->reader, &reply) == REDIS_OK && reply != NULL) {
            on_reply(reply);
            freeReplyObject(reply);
        }
    }
    while (dirty != NULL) {
        struct channel *ch = dirty;
        dirty = ch->next_dirty;
        ch->dirty = false;
        flush(ch);
    }
}

static void subscribe_to(const char *where)
{
    char pattern[CHANNEL_MAX + 2];
    char host[16];
    struct sockaddr_in sa = endpoint("--redis", where);
    (void)snprintf(host, sizeof host, "%.*s", (int)(strrchr(where, ':') - where), where);
    (void)snprintf(pattern, sizeof pattern, "%s*", prefix);
    redis = redisConnect(host, ntohs(sa.sin_port));
    if (redis == NULL || redis->err != 0)
        die("cannot connect to Redis at %s", where);
    redisReply *r = redisCommand(redis, "PSUBSCRIBE %s", pattern);
    if (r == NULL || r->type != REDIS_REPLY_ARRAY)
        die("Redis refuses to subscribe");
    freeReplyObject(r);
    watch(EPOLL_CTL_ADD, redis->fd, EPOLLIN);
}

/* ---- HTTP ------------------------------------------------------------------------------------ */

static void answer(int fd, char *request)
{
    static const char head[] = "HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
                               "Content-Type: text/event-stream\r\n"
                               "Cache-Control: no-cache, no-transform\r\n"
                               "X-Accel-Buffering: no\r\nConnection: close\r\n\r\n"
                               "retry: 2000\nevent: tickerd:open\ndata: {\"resume\":\"new\"}\n"
                               "id: 0000000000000-0f10070f-00000000\n\n";
    static const char start[] = "GET /events/";
    char *name = request + sizeof start - 1;
    char *end = strchr(name, ' ');
    if (strncmp(request, start, sizeof start - 1) != 0 || end == NULL || end - name > CHANNEL_MAX ||
        strstr(end, "\r\n\r\n") == NULL) {
        drop(fd);
        return;
    }
    join(fd, find(name, (size_t)(end - name), true));
    deliver(fd, head, sizeof head - 1);
}

static void on_client(int fd, uint32_t events)
{
    if ((events & EPOLLOUT) != 0 && clients[fd].rest != NULL)
        pay(fd);
    if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) == 0)
        return;
    char request[REQUEST_MAX];
    ssize_t n = recv(fd, request, sizeof request - 1, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        drop(fd);
    } else if (clients[fd].channel == NULL) {
        request[n] = '\0';
        answer(fd, request);
    }
}

static void accept_some(void)
{
    for (int i = 0; i < ACCEPT_BATCH; i++) {
        int fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        if (fd >= FILES)
            die("too many clients");
        watch(EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLRDHUP);
    }
}

static void start_listening(const char *where)
{
    int on = 1;
    struct sockaddr_in sa = endpoint("--listen", where);
    socklen_t len = sizeof sa;
    listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listen_fd < 0)
        die("socket: %s", strerror(errno));
    (void)setsockopt(listen_fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    (void)setsockopt(listen_fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (bind(listen_fd, (struct sockaddr *)&sa, len) != 0 || listen(listen_fd, 4096) != 0 ||
        getsockname(listen_fd, (struct sockaddr *)&sa, &len) != 0)
        die("cannot listen on %s: %s", where, strerror(errno));
    watch(EPOLL_CTL_ADD, listen_fd, EPOLLIN);
    (void)fprintf(stderr, "listening on 127.0.0.1:%u\n", (unsigned)ntohs(sa.sin_port));
}

static void run(void)
{
    struct epoll_event events[EVENTS_AT_ONCE];
    for (;;) {
        int n = epoll_wait(epoll_fd, events, EVENTS_AT_ONCE, -1);
        if (n < 0 && errno != EINTR)
            die("epoll_wait: %s", strerror(errno));
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == listen_fd)
                accept_some();
            else if (fd == redis->fd)
                read_redis();
            else
                on_client(fd, events[i].events);
        }
    }
}

static void usage(void)
{
    die("usage: floor --redis 127.0.0.1:PORT [--listen 127.0.0.1:0] [--prefix sse:] [--gather]");
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"redis", required_argument, NULL, 'r'},
                                            {"listen", required_argument, NULL, 'l'},
                                            {"prefix", required_argument, NULL, 'p'},
                                            {"gather", no_argument, NULL, 'g'},
                                            {NULL, 0, NULL, 0}};
    const char *where = NULL, *listen_on = "127.0.0.1:0";
    for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (o == 'r')
            where = optarg;
        else if (o == 'l')
            listen_on = optarg;
        else if (o == 'p')
            prefix = optarg;
        else if (o == 'g')
            gather = true;
        else
            usage();
    }
    if (where == NULL || optind != argc || strlen(prefix) > CHANNEL_MAX)
        usage();
    raise_open_files(0);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0)
        die("epoll_create1: %s", strerror(errno));
    subscribe_to(where);
    start_listening(listen_on);
    run();
}
