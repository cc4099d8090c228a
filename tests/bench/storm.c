/* Thousands of SSE clients that lose their connections together and come back, each with its
 * Last-Event-ID, as EventSource does; and the proof, client by client, that nothing was lost or
 * came twice. The payloads are the numbers 1, 2, 3 …, number n published to channel n modulo
 * --channels; a path names in its mask which of these channels its clients listen to.
 *
 * A client whose stream the server ends comes back after the stream's `retry`, to the next of the
 * servers. Commands on stdin: `cut MS` cuts all clients at once and lets each come back, to the
 * server it had, at a moment of its own within so many milliseconds; `mark` starts the times
 * again; `report`; `finish LAST` reports once every client has had every number up to LAST;
 * `quit`, or the end of stdin. Every answer is a line of JSON, the first one `ready`. */
#include <errno.h>
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
    CLIENTS_MAX = 20000,
    SECONDS_MAX = 3600,
    SERVERS_MAX = 8,
    PATHS_MAX = 16,
    CHANNELS_MAX = 16,
    INFLIGHT_MAX = 256, /* at the beginning only: a storm asks nobody */
    INPUT_SIZE = 128 * 1024,
    EVENTS_AT_ONCE = 512,
    SPARE_FILES = 16,
    LINE_KEEP = 64,
    ID_LEN = 31, /* of the broker's own grammar */
    RETRY_MS = 2000,
    SCHEDULE_MS = 2, /* how often to look who is due */
    PERCENT = 100,
    P50 = 50,
    P99 = 99,
};

static const uint32_t CONTROL = UINT32_MAX;
static const uint64_t NS_PER_MS = 1000000;

enum phase { AWAY, CONNECTING, HEAD, STREAM };
enum block { OF_MESSAGE, OF_OPEN, OF_GAP, OF_OTHER };

struct client {
    int fd;
    uint8_t phase, block, server, path;
    bool has_data, of_status, served, complete;
    uint8_t kept;         /* bytes of `line` */
    char line[LINE_KEEP]; /* how an unfinished line begins */
    char id[ID_LEN];      /* the id of the last whole block */
    char pending[ID_LEN]; /* that of the block at hand */
    bool has_id, has_pending;
    uint64_t number;        /* the message at hand */
    uint64_t next;          /* the number that is due */
    uint64_t due;           /* when to come back */
    uint64_t asked, waited; /* when it connected; how long its last open took */
    uint32_t retry_ms;
};

struct path {
    const char *target;
    uint64_t mask;
};

struct totals {
    uint64_t opens, fresh, continued, resumed_gap, gaps, messages;
    uint64_t lost, repeated, strange, ends, failed, bad_status;
};

static struct storm {
    struct client *clients;
    uint32_t count, started, inflight, streaming, served, complete;
    struct sockaddr_in servers[SERVERS_MAX];
    uint32_t server_count;
    struct path paths[PATHS_MAX];
    uint32_t path_count, channels;
    uint64_t last; /* 0: not known yet */
    uint64_t first_ask, last_ask, last_open;
    uint64_t now, looked, random;
    struct totals n;
    bool ready, finishing;
    int epoll;
} storm = {.channels = 1, .random = 88172645463325252ULL};

static char input[INPUT_SIZE];

static uint64_t random_below(uint64_t n)
{
    storm.random ^= storm.random << 13;
    storm.random ^= storm.random >> 7;
    storm.random ^= storm.random << 17;
    return n == 0 ? 0 : storm.random % n;
}

/* ---- what a client is sent ------------------------------------------------------------------- */

/* The first number from n on that the client should get. */
static uint64_t wanted(const struct client *c, uint64_t n)
{
    while ((storm.paths[c->path].mask >> (n % storm.channels) & 1) == 0)
        n++;
    return n;
}

static void judge(struct client *c)
{
    if (storm.last != 0 && !c->complete && c->next > storm.last) {
        c->complete = true;
        storm.complete++;
    }
}

static void take_number(struct client *c)
{
    storm.n.messages++;
    if (c->number == 0 || wanted(c, c->number) != c->number) {
        storm.n.strange++;
        return;
    }
    if (c->number < c->next) {
        storm.n.repeated++;
        return;
    }
    for (; c->next < c->number; c->next = wanted(c, c->next + 1))
        storm.n.lost++;
    c->next = wanted(c, c->number + 1);
    judge(c);
}

static void dispatch(struct client *c)
{
    if (c->has_pending) {
        memcpy(c->id, c->pending, sizeof c->id);
        c->has_id = true;
    }
    if (c->block == OF_OPEN && !c->served) {
        c->served = true;
        c->waited = storm.now - c->asked;
        storm.served++;
        storm.n.opens++;
        storm.last_open = storm.now;
    } else if (c->block == OF_GAP) {
        storm.n.gaps++;
    } else if (c->block == OF_MESSAGE && c->has_data) {
        take_number(c);
    }
    c->block = OF_MESSAGE;
    c->has_data = c->has_pending = false;
}

/* The rest of the line behind `with`, or NULL. */
static const char *behind(const char *line, const char *with)
{
    size_t n = strlen(with);
    return strncmp(line, with, n) == 0 ? line + n : NULL;
}

static void take_open_data(const char *text)
{
    if (strcmp(text, "{\"resume\":\"continued\"}") == 0)
        storm.n.continued++;
    else if (strcmp(text, "{\"resume\":\"gap\"}") == 0)
        storm.n.resumed_gap++;
    else
        storm.n.fresh++;
}

static void take_data(struct client *c, const char *text)
{
    char *end;
    c->has_data = true;
    if (c->block == OF_OPEN)
        take_open_data(text);
    if (c->block != OF_MESSAGE)
        return;
    c->number = strtoull(text, &end, 10);
    if (*end != '\0')
        c->number = 0;
}

static void take_stream_line(struct client *c, const char *line)
{
    const char *rest;
    if (*line == '\0') {
        dispatch(c);
    } else if ((rest = behind(line, "data: ")) != NULL) {
        take_data(c, rest);
    } else if ((rest = behind(line, "id: ")) != NULL) {
        if (strlen(rest) == ID_LEN) {
            memcpy(c->pending, rest, ID_LEN);
            c->has_pending = true;
        } else {
            storm.n.strange++;
        }
    } else if ((rest = behind(line, "retry: ")) != NULL) {
        c->retry_ms = (uint32_t)strtoul(rest, NULL, 10);
    } else if ((rest = behind(line, "event: ")) != NULL) {
        c->block = strcmp(rest, "tickerd:open") == 0  ? OF_OPEN
                   : strcmp(rest, "tickerd:gap") == 0 ? OF_GAP
                                                      : OF_OTHER;
    }
}

static void leave(struct client *c, uint64_t due)
{
    if (c->phase == STREAM)
        storm.streaming--;
    else if (c->phase != AWAY)
        storm.inflight--;
    if (c->served)
        storm.served--;
    c->phase = AWAY;
    c->served = false;
    c->due = due;
    if (c->fd >= 0)
        (void)close(c->fd);
    c->fd = -1;
}

static void to_next_server(struct client *c)
{
    c->server = (uint8_t)((c->server + 1U) % storm.server_count);
    leave(c, storm.now + c->retry_ms * NS_PER_MS);
}

static void take_head_line(struct client *c, const char *line)
{
    if (!c->of_status) {
        c->of_status = true;
        if (strncmp(line, "HTTP/1.1 200 ", 13) != 0) {
            storm.n.bad_status++; /* an EventSource would be dead now */
            to_next_server(c);
        }
    } else if (*line == '\0') {
        c->phase = STREAM;
        storm.streaming++;
        storm.inflight--;
    }
}

static void take_line(struct client *c)
{
    size_t len = c->kept;
    if (len > 0 && c->line[len - 1] == '\r')
        len--;
    c->line[len] = '\0';
    c->kept = 0;
    if (c->phase == STREAM)
        take_stream_line(c, c->line);
    else if (c->phase == HEAD)
        take_head_line(c, c->line);
}

/* Only how a line begins matters, so what does not fit is dropped. */
static void take(struct client *c, const char *p, size_t n)
{
    const char *end = p + n;
    while (p < end && c->phase != AWAY) {
        const char *stop = memchr(p, '\n', (size_t)(end - p));
        size_t len = (size_t)((stop != NULL ? stop : end) - p);
        size_t room = sizeof c->line - 1 - c->kept;
        memcpy(c->line + c->kept, p, len < room ? len : room);
        c->kept = (uint8_t)(c->kept + (len < room ? len : room));
        if (stop == NULL)
            return;
        take_line(c);
        p = stop + 1;
    }
}

/* ---- answers --------------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static double seconds(uint64_t ns)
{
    return (double)ns / (double)NS_PER_S;
}

static void report(const char *answer)
{
    const struct totals *n = &storm.n;
    uint64_t *waits = calloc(storm.count, sizeof *waits);
    if (waits == NULL)
        die("out of memory");
    for (uint32_t i = 0; i < storm.count; i++)
        waits[i] = storm.clients[i].waited;
    qsort(waits, storm.count, sizeof *waits, by_value);
    (void)printf(
        "{\"answer\": \"%s\", \"clients\": %u, \"streaming\": %u, \"served\": %u, "
        "\"complete\": %u, \"opens\": %llu, \"new\": %llu, \"continued\": %llu, "
        "\"gap\": %llu, \"gaps\": %llu, \"messages\": %llu, \"lost\": %llu, "
        "\"repeated\": %llu, \"strange\": %llu, \"ends\": %llu, \"failed\": %llu, "
        "\"bad_status\": %llu, \"asked_over\": %.3f, \"served_after\": %.3f, "
        "\"open_p50\": %.4f, \"open_p99\": %.4f, \"open_max\": %.4f}\n",
        answer, storm.count, storm.streaming, storm.served, storm.complete,
        (unsigned long long)n->opens, (unsigned long long)n->fresh,
        (unsigned long long)n->continued, (unsigned long long)n->resumed_gap,
        (unsigned long long)n->gaps, (unsigned long long)n->messages, (unsigned long long)n->lost,
        (unsigned long long)n->repeated, (unsigned long long)n->strange,
        (unsigned long long)n->ends, (unsigned long long)n->failed,
        (unsigned long long)n->bad_status, seconds(storm.last_ask - storm.first_ask),
        seconds(storm.last_open - storm.first_ask),
        seconds(waits[(size_t)storm.count * P50 / PERCENT]),
        seconds(waits[(size_t)storm.count * P99 / PERCENT]), seconds(waits[storm.count - 1]));
    free(waits);
}

static void mark(void)
{
    storm.n = (struct totals){.lost = storm.n.lost, .repeated = storm.n.repeated};
    storm.first_ask = storm.last_ask = storm.last_open = 0;
    for (uint32_t i = 0; i < storm.count; i++)
        storm.clients[i].waited = 0;
}

static void cut(uint64_t within_ms)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    storm.now = mono_ns();
    for (uint32_t i = 0; i < storm.count; i++) {
        struct client *c = &storm.clients[i];
        if (i % 2 == 1 && c->fd >= 0) /* some with a reset, some with an end */
            (void)setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
        leave(c, storm.now + random_below(within_ms * NS_PER_MS));
    }
}

/* False: it is time to go. */
static bool obey_one(const char *line)
{
    const char *rest;
    if (strcmp(line, "quit") == 0)
        return false;
    if (strcmp(line, "report") == 0) {
        report("report");
    } else if (strcmp(line, "mark") == 0) {
        mark();
    } else if ((rest = behind(line, "cut ")) != NULL) {
        cut(number("cut", rest, 1, SECONDS_MAX * 1000));
    } else if ((rest = behind(line, "finish ")) != NULL) {
        storm.last = number("finish", rest, 1, UINT64_MAX);
        storm.finishing = true;
        for (uint32_t i = 0; i < storm.count; i++)
            judge(&storm.clients[i]);
    } else {
        die("unknown command '%s'", line);
    }
    return true;
}

static bool obey(void)
{
    static char text[256];
    static size_t len;
    ssize_t n = read(STDIN_FILENO, text + len, sizeof text - len);
    if (n <= 0)
        return n < 0 && (errno == EAGAIN || errno == EINTR);
    len += (size_t)n;
    for (char *stop; (stop = memchr(text, '\n', len)) != NULL;) {
        *stop = '\0';
        if (!obey_one(text))
            return false;
        len -= (size_t)(stop + 1 - text);
        memmove(text, stop + 1, len);
    }
    if (len == sizeof text)
        die("a command is too long");
    return true;
}

/* ---- connections ----------------------------------------------------------------------------- */

static void watch(int how, int fd, uint32_t events, uint32_t index)
{
    struct epoll_event e = {.events = events, .data.u32 = index};
    if (epoll_ctl(storm.epoll, how, fd, &e) != 0)
        die("epoll_ctl: %s", strerror(errno));
}

/* Several addresses: one has 28,000 ports for a server, and those of a moment ago are not free yet.
 */
static void bind_source(int fd, uint32_t index)
{
    int on = 1;
    struct sockaddr_in from = {.sin_family = AF_INET};
    from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + index % 4);
    (void)setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&from, sizeof from) != 0)
        die("bind: %s", strerror(errno));
}

static void connect_one(uint32_t index)
{
    struct client *c = &storm.clients[index];
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        die("socket: %s", strerror(errno));
    bind_source(c->fd, index);
    c->phase = CONNECTING;
    c->block = OF_MESSAGE;
    c->kept = 0;
    c->of_status = c->has_data = c->has_pending = false;
    c->asked = storm.last_ask = mono_ns();
    if (storm.first_ask == 0)
        storm.first_ask = c->asked;
    storm.inflight++;
    const struct sockaddr_in *to = &storm.servers[c->server];
    if (connect(c->fd, (const struct sockaddr *)to, sizeof *to) != 0 && errno != EINPROGRESS) {
        storm.n.failed++;
        to_next_server(c);
        return;
    }
    watch(EPOLL_CTL_ADD, c->fd, EPOLLOUT, index);
}

static void send_request(struct client *c, uint32_t index)
{
    char text[1024];
    int n = snprintf(text, sizeof text,
                     "GET %s HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n"
                     "%s%.*s%s\r\n",
                     storm.paths[c->path].target, c->has_id ? "Last-Event-ID: " : "",
                     c->has_id ? ID_LEN : 0, c->id, c->has_id ? "\r\n" : "");
    if (n < 0 || n >= (int)sizeof text)
        die("the request is too long");
    if (send(c->fd, text, (size_t)n, MSG_NOSIGNAL) != n) {
        storm.n.failed++;
        to_next_server(c);
        return;
    }
    c->phase = HEAD;
    watch(EPOLL_CTL_MOD, c->fd, EPOLLIN, index);
}

static void on_client(uint32_t index)
{
    struct client *c = &storm.clients[index];
    if (c->phase == AWAY)
        return;
    if (c->phase == CONNECTING) {
        send_request(c, index);
        return;
    }
    ssize_t n = recv(c->fd, input, sizeof input, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0) {
        take(c, input, (size_t)n);
        return;
    }
    if (c->phase == STREAM)
        storm.n.ends++;
    else
        storm.n.failed++;
    to_next_server(c);
}

static void come_back(void)
{
    if (storm.now - storm.looked < SCHEDULE_MS * NS_PER_MS)
        return;
    storm.looked = storm.now;
    for (uint32_t i = 0; i < storm.started; i++) {
        if (storm.clients[i].phase == AWAY && storm.clients[i].due <= storm.now)
            connect_one(i);
    }
}

static void go_on(void)
{
    while (storm.started < storm.count && storm.inflight < INFLIGHT_MAX)
        connect_one(storm.started++);
    if (!storm.ready && storm.served == storm.count) {
        storm.ready = true;
        report("ready");
    }
    if (storm.ready)
        come_back();
    if (storm.finishing && storm.complete == storm.count) {
        storm.finishing = false;
        report("finished");
    }
}

static void run(uint64_t end)
{
    struct epoll_event events[EVENTS_AT_ONCE];
    watch(EPOLL_CTL_ADD, STDIN_FILENO, EPOLLIN, CONTROL);
    for (;;) {
        storm.now = mono_ns();
        if (storm.now >= end)
            return;
        go_on();
        int n = epoll_wait(storm.epoll, events, EVENTS_AT_ONCE, SCHEDULE_MS);
        if (n < 0 && errno != EINTR)
            die("epoll_wait: %s", strerror(errno));
        storm.now = mono_ns();
        for (int i = 0; i < n; i++) {
            if (events[i].data.u32 != CONTROL)
                on_client(events[i].data.u32);
            else if (!obey())
                return;
        }
    }
}

/* ---- start ----------------------------------------------------------------------------------- */

static void usage(void)
{
    die("usage: storm --server 127.0.0.1:PORT [--server …] --clients N --channels N "
        "--path MASK:TARGET [--path …] [--seconds N]");
}

static void add_path(char *text)
{
    char *colon = strchr(text, ':');
    if (colon == NULL || storm.path_count == PATHS_MAX)
        usage();
    *colon = '\0';
    storm.paths[storm.path_count++] =
        (struct path){colon + 1, number("--path", text, 1, (1U << CHANNELS_MAX) - 1)};
}

static void prepare(void)
{
    raise_open_files((uint64_t)storm.count + SPARE_FILES);
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    storm.clients = calloc(storm.count, sizeof *storm.clients);
    storm.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (storm.clients == NULL || storm.epoll < 0)
        die("cannot start: %s", strerror(errno));
    for (uint32_t i = 0; i < storm.count; i++) {
        struct client *c = &storm.clients[i];
        c->fd = -1;
        c->path = (uint8_t)(i % storm.path_count);
        c->retry_ms = RETRY_MS;
        if (storm.paths[c->path].mask >> storm.channels != 0)
            die("a path's mask names a channel that there is not");
        c->next = wanted(c, 1);
    }
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"server", required_argument, NULL, 's'},   {"clients", required_argument, NULL, 'c'},
        {"channels", required_argument, NULL, 'n'}, {"path", required_argument, NULL, 'p'},
        {"seconds", required_argument, NULL, 't'},  {NULL, 0, NULL, 0}};
    uint64_t limit = 60;
    for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (o == 's' && storm.server_count < SERVERS_MAX)
            storm.servers[storm.server_count++] = endpoint("--server", optarg);
        else if (o == 'c')
            storm.count = (uint32_t)number("--clients", optarg, 1, CLIENTS_MAX);
        else if (o == 'n')
            storm.channels = (uint32_t)number("--channels", optarg, 1, CHANNELS_MAX);
        else if (o == 'p')
            add_path(optarg);
        else if (o == 't')
            limit = number("--seconds", optarg, 1, SECONDS_MAX);
        else
            usage();
    }
    if (storm.server_count == 0 || storm.count == 0 || storm.path_count == 0 || optind != argc)
        usage();
    prepare();
    run(mono_ns() + limit * NS_PER_S);
    report("end");
    free(storm.clients);
    return 0;
}
