/* Thousands of SSE clients on one thread: opens them, counts what they get and says how late and
 * how complete it was. It looks at every line but copies none, so that on its own CPU it keeps up
 * with some millions of events a second.
 *
 * Output is one line of JSON per answer: `ready` once every connection has its head or has failed,
 * `report` when asked and at the end. With --control it obeys lines on stdin: `mark` starts all
 * counts again, `report`, `quit`; the end of stdin ends it too, so that it cannot outlive whoever
 * started it. --seconds bounds it in any case. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
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
    CLIENTS_MAX = 100000,
    SECONDS_MAX = 3600,
    SOURCES_MAX = 200,
    CLIENTS_PER_SOURCE = 20000, /* of about 28,000 ports that an address has for one server */
    PATH_MAX_LEN = 1024,
    INPUT_SIZE = 128 * 1024,
    EVENTS_AT_ONCE = 512,
    SPARE_FILES = 16,
    LINE_KEEP = 56, /* holds "data: <20 digits> <20 digits> " */
};

static const uint32_t CONTROL = UINT32_MAX; /* epoll's name for stdin */

enum phase { CONNECTING, HEAD, STREAM, CLOSED };

struct client {
    int fd;
    uint8_t phase;
    bool has_data;        /* the block has a data line */
    bool of_broker;       /* the block is one of the broker's own events */
    bool of_status;       /* the status line has been seen */
    uint8_t kept;         /* bytes of `line` */
    char line[LINE_KEEP]; /* how an unfinished line begins */
    uint64_t expected;    /* the next number */
};

/* Latencies in buckets whose width is 1/64 of their value: percentiles to 1.6 %. */
enum { SUB_BITS = 6, SUB = 1 << SUB_BITS, BUCKETS = SUB * (64 - SUB_BITS + 1) };

struct counts {
    uint64_t since;
    uint64_t events, bytes, reads;
    uint64_t lost, repeated, gaps, plain; /* plain: without number and time */
    uint64_t latency_sum, latency_max, latency_count;
    uint64_t latency[BUCKETS];
};

struct load {
    struct client *clients;
    uint32_t count, started, open, refused, closed;
    uint32_t inflight, inflight_max;
    struct sockaddr_in server;
    const char *path;
    uint32_t channels, sources;
    const char *version, *header;
    bool ready;
    int epoll;
    uint64_t begin, now;
    struct counts n;
};

static char input[INPUT_SIZE];

/* ---- counting -------------------------------------------------------------------------------- */

static unsigned bucket_of(uint64_t v)
{
    if (v < SUB)
        return (unsigned)v;
    unsigned shift = 63U - (unsigned)__builtin_clzll(v) - SUB_BITS;
    return (shift + 1) * SUB + (unsigned)((v >> shift) - SUB);
}

/* The bucket's middle. */
static uint64_t value_of(unsigned bucket)
{
    if (bucket < SUB)
        return bucket;
    unsigned shift = bucket / SUB - 1;
    return ((uint64_t)(bucket % SUB + SUB) << shift) + ((1ULL << shift) >> 1);
}

static uint64_t percentile(const struct counts *n, double share)
{
    uint64_t rank = (uint64_t)((double)n->latency_count * share), seen = 0;
    for (unsigned i = 0; i < BUCKETS; i++) {
        seen += n->latency[i];
        if (seen > rank)
            return value_of(i);
    }
    return n->latency_max;
}

static const char *digits(const char *p, const char *end, uint64_t *value)
{
    uint64_t v = 0;
    const char *start = p;
    while (p < end && *p >= '0' && *p <= '9')
        v = v * 10 + (uint64_t)(*p++ - '0');
    *value = v;
    return p > start && p < end && *p == ' ' ? p + 1 : NULL;
}

static void take_payload(struct load *l, struct client *c, const char *p, const char *end)
{
    uint64_t seq, sent;
    p = digits(p, end, &seq);
    if (p == NULL || digits(p, end, &sent) == NULL) {
        l->n.plain++;
        return;
    }
    if (seq < c->expected) {
        l->n.repeated++;
    } else {
        l->n.lost += seq - c->expected;
        c->expected = seq + 1;
    }
    uint64_t late = l->now > sent ? l->now - sent : 0;
    l->n.latency[bucket_of(late)]++;
    l->n.latency_count++;
    l->n.latency_sum += late;
    if (late > l->n.latency_max)
        l->n.latency_max = late;
}

static bool begins(const char *line, size_t len, const char *with)
{
    size_t n = strlen(with);
    return len >= n && memcmp(line, with, n) == 0;
}

static void take_stream_line(struct load *l, struct client *c, const char *line, size_t len)
{
    if (len == 0) {
        if (c->has_data && !c->of_broker)
            l->n.events++;
        c->has_data = c->of_broker = false;
    } else if (begins(line, len, "data:")) {
        size_t skip = len > 5 && line[5] == ' ' ? 6 : 5;
        if (!c->has_data && !c->of_broker)
            take_payload(l, c, line + skip, line + len);
        c->has_data = true;
    } else if (begins(line, len, "event: tickerd:")) {
        c->of_broker = true;
        if (begins(line, len, "event: tickerd:gap"))
            l->n.gaps++;
    }
}

static void client_close(struct load *l, struct client *c)
{
    if (c->phase == STREAM)
        l->closed++;
    else
        l->refused++;
    if (c->phase == STREAM)
        l->open--;
    else
        l->inflight--;
    c->phase = CLOSED;
    (void)close(c->fd);
    c->fd = -1;
}

static void take_head_line(struct load *l, struct client *c, const char *line, size_t len)
{
    if (!c->of_status) {
        c->of_status = true;
        if (len < 12 || memcmp(line + 8, " 200", 4) != 0)
            client_close(l, c);
    } else if (len == 0) {
        c->phase = STREAM;
        l->open++;
        l->inflight--;
    }
}

static void take_line(struct load *l, struct client *c, const char *line, size_t len)
{
    if (len > 0 && line[len - 1] == '\r')
        len--;
    if (c->phase == STREAM)
        take_stream_line(l, c, line, len);
    else if (c->phase == HEAD)
        take_head_line(l, c, line, len);
}

/* Only how a line begins matters, so what does not fit is dropped. */
static void keep(struct client *c, const char *p, size_t len)
{
    size_t room = (size_t)LINE_KEEP - c->kept;
    if (len > room)
        len = room;
    memcpy(c->line + c->kept, p, len);
    c->kept = (uint8_t)(c->kept + len);
}

static void take(struct load *l, struct client *c, const char *p, size_t n)
{
    const char *end = p + n;
    while (p < end) {
        const char *stop = memchr(p, '\n', (size_t)(end - p));
        size_t len = (size_t)((stop != NULL ? stop : end) - p);
        if (stop == NULL || c->kept > 0)
            keep(c, p, len);
        if (stop == NULL)
            return;
        if (c->kept > 0)
            take_line(l, c, c->line, c->kept);
        else
            take_line(l, c, p, len);
        c->kept = 0;
        p = stop + 1;
    }
}

/* ---- reports --------------------------------------------------------------------------------- */

static void say_ready(const struct load *l)
{
    (void)printf("{\"answer\": \"ready\", \"clients\": %u, \"open\": %u, \"refused\": %u, "
                 "\"closed\": %u, \"seconds\": %.4f}\n",
                 l->count, l->open, l->refused, l->closed,
                 (double)(mono_ns() - l->begin) / (double)NS_PER_S);
}

static void report(const struct load *l)
{
    const struct counts *n = &l->n;
    double us = (double)NS_PER_US;
    uint64_t mean = n->latency_count == 0 ? 0 : n->latency_sum / n->latency_count;
    (void)printf("{\"answer\": \"report\", \"events\": %llu, \"bytes\": %llu, \"reads\": %llu, "
                 "\"lost\": %llu, \"repeated\": %llu, \"gaps\": %llu, \"plain\": %llu, "
                 "\"open\": %u, \"closed\": %u, \"seconds\": %.4f, \"latency_us\": "
                 "{\"mean\": %.1f, \"p50\": %.1f, \"p90\": %.1f, \"p99\": %.1f, \"max\": %.1f}}\n",
                 (unsigned long long)n->events, (unsigned long long)n->bytes,
                 (unsigned long long)n->reads, (unsigned long long)n->lost,
                 (unsigned long long)n->repeated, (unsigned long long)n->gaps,
                 (unsigned long long)n->plain, l->open, l->closed,
                 (double)(mono_ns() - n->since) / (double)NS_PER_S, (double)mean / us,
                 (double)percentile(n, 0.5) / us, (double)percentile(n, 0.9) / us,
                 (double)percentile(n, 0.99) / us, (double)n->latency_max / us);
}

static void mark(struct load *l)
{
    memset(&l->n, 0, sizeof l->n);
    l->n.since = mono_ns();
    for (uint32_t i = 0; i < l->started; i++)
        l->clients[i].expected = 0;
    (void)printf("{\"answer\": \"marked\"}\n");
}

/* Obeys what there is on stdin; false: it is time to go. */
static bool obey(struct load *l)
{
    static char text[256];
    static size_t len;
    ssize_t n = read(STDIN_FILENO, text + len, sizeof text - len);
    if (n <= 0)
        return n < 0 && (errno == EAGAIN || errno == EINTR);
    len += (size_t)n;
    for (char *stop; (stop = memchr(text, '\n', len)) != NULL;) {
        *stop = '\0';
        if (strcmp(text, "quit") == 0)
            return false;
        if (strcmp(text, "mark") == 0)
            mark(l);
        else if (strcmp(text, "report") == 0)
            report(l);
        else
            die("unknown command '%s'", text);
        len -= (size_t)(stop + 1 - text);
        memmove(text, stop + 1, len);
    }
    if (len == sizeof text)
        die("a command is too long");
    return true;
}

/* ---- connections ----------------------------------------------------------------------------- */

static void watch(const struct load *l, int how, int fd, uint32_t events, uint32_t index)
{
    struct epoll_event e = {.events = events, .data.u32 = index};
    if (epoll_ctl(l->epoll, how, fd, &e) != 0)
        die("epoll_ctl: %s", strerror(errno));
}

static void bind_source(int fd, uint32_t source)
{
    int on = 1;
    struct sockaddr_in from = {.sin_family = AF_INET};
    from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + source);
    /* The port is chosen by connect, which knows that only the whole pair must be unique. */
    (void)setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&from, sizeof from) != 0)
        die("bind: %s", strerror(errno));
}

static void start_one(struct load *l)
{
    uint32_t index = l->started++;
    struct client *c = &l->clients[index];
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        die("socket: %s", strerror(errno));
    if (l->sources > 1)
        bind_source(c->fd, index % l->sources);
    l->inflight++;
    if (connect(c->fd, (struct sockaddr *)&l->server, sizeof l->server) != 0 &&
        errno != EINPROGRESS) {
        client_close(l, c);
        return;
    }
    watch(l, EPOLL_CTL_ADD, c->fd, EPOLLOUT, index);
}

static void send_request(struct load *l, struct client *c, uint32_t index)
{
    char path[PATH_MAX_LEN];
    char text[2 * PATH_MAX_LEN + 256];
    (void)expand(path, sizeof path, l->path, index % l->channels);
    int n = snprintf(text, sizeof text,
                     "GET %s HTTP/%s\r\nHost: localhost\r\nAccept: text/event-stream\r\n%s%s\r\n",
                     path, l->version, l->header, *l->header == '\0' ? "" : "\r\n");
    if (n < 0 || n >= (int)sizeof text)
        die("the request is too long");
    /* The socket's buffer is empty: a short write means that the connection is dead. */
    if (send(c->fd, text, (size_t)n, MSG_NOSIGNAL) != n) {
        client_close(l, c);
        return;
    }
    c->phase = HEAD;
    watch(l, EPOLL_CTL_MOD, c->fd, EPOLLIN, index);
}

static void on_client(struct load *l, uint32_t index)
{
    struct client *c = &l->clients[index];
    if (c->phase == CLOSED)
        return;
    if (c->phase == CONNECTING) {
        send_request(l, c, index);
        return;
    }
    ssize_t n = recv(c->fd, input, sizeof input, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        client_close(l, c);
        return;
    }
    l->n.reads++;
    l->n.bytes += (uint64_t)n;
    take(l, c, input, (size_t)n);
}

static void go_on_connecting(struct load *l)
{
    while (l->started < l->count && l->inflight < l->inflight_max)
        start_one(l);
    if (!l->ready && l->started == l->count && l->inflight == 0) {
        l->ready = true;
        say_ready(l);
    }
}

static void run(struct load *l, uint64_t seconds, bool control)
{
    struct epoll_event events[EVENTS_AT_ONCE];
    uint64_t end = l->begin + seconds * NS_PER_S;
    if (control)
        watch(l, EPOLL_CTL_ADD, STDIN_FILENO, EPOLLIN, CONTROL);
    for (;;) {
        go_on_connecting(l);
        l->now = mono_ns();
        if (l->now >= end || (!control && l->ready && l->open == 0))
            return;
        int wait_ms = (int)((end - l->now) / 1000000) + 1;
        int n = epoll_wait(l->epoll, events, EVENTS_AT_ONCE, wait_ms);
        if (n < 0 && errno != EINTR)
            die("epoll_wait: %s", strerror(errno));
        l->now = mono_ns();
        for (int i = 0; i < n; i++) {
            if (events[i].data.u32 != CONTROL)
                on_client(l, events[i].data.u32);
            else if (!obey(l))
                return;
        }
    }
}

/* ---- start ----------------------------------------------------------------------------------- */

static void usage(void)
{
    die("usage: subscribers --server 127.0.0.1:PORT --clients N [--path /events/bench%%d] "
        "[--channels N] [--sources N] [--inflight N] [--http10] [--header 'Name: value'] "
        "[--seconds N] [--control]");
}

static void prepare(struct load *l)
{
    if (l->sources == 0)
        l->sources = 1 + (l->count - 1) / CLIENTS_PER_SOURCE;
    raise_open_files((uint64_t)l->count + SPARE_FILES);
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    l->clients = calloc(l->count, sizeof *l->clients);
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (l->clients == NULL || l->epoll < 0)
        die("cannot start: %s", strerror(errno));
    l->begin = l->n.since = mono_ns();
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"server", required_argument, NULL, 's'},
                                            {"clients", required_argument, NULL, 'c'},
                                            {"path", required_argument, NULL, 'p'},
                                            {"channels", required_argument, NULL, 'n'},
                                            {"sources", required_argument, NULL, 'S'},
                                            {"seconds", required_argument, NULL, 't'},
                                            {"inflight", required_argument, NULL, 'i'},
                                            {"http10", no_argument, NULL, '0'},
                                            {"header", required_argument, NULL, 'h'},
                                            {"control", no_argument, NULL, 'C'},
                                            {NULL, 0, NULL, 0}};
    static struct load l = {.path = "/events/bench%d",
                            .channels = 1,
                            .inflight_max = 256,
                            .version = "1.1",
                            .header = ""};
    uint64_t seconds = 60;
    bool control = false;
    const char *server = NULL;
    for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (o == 's')
            server = optarg;
        else if (o == 'c')
            l.count = (uint32_t)number("--clients", optarg, 1, CLIENTS_MAX);
        else if (o == 'p')
            l.path = optarg;
        else if (o == 'n')
            l.channels = (uint32_t)number("--channels", optarg, 1, CLIENTS_MAX);
        else if (o == 'S')
            l.sources = (uint32_t)number("--sources", optarg, 1, SOURCES_MAX);
        else if (o == 't')
            seconds = number("--seconds", optarg, 1, SECONDS_MAX);
        else if (o == 'i')
            l.inflight_max = (uint32_t)number("--inflight", optarg, 1, CLIENTS_MAX);
        else if (o == '0')
            l.version = "1.0";
        else if (o == 'h')
            l.header = optarg;
        else if (o == 'C')
            control = true;
        else
            usage();
    }
    if (server == NULL || l.count == 0 || optind != argc || !is_name_pattern(l.path))
        usage();
    l.server = endpoint("--server", server);
    prepare(&l);
    run(&l, seconds, control);
    report(&l);
    free(l.clients);
    return l.refused == 0 && l.closed == 0 ? 0 : 1;
}
