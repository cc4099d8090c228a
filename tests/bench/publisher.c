/* Publishes at a fixed rate, pipelined: message i is due at start + i / rate, whatever became of
 * those before it, so that a server that stalls finds a burst and not a publisher that waited for
 * it. Payload: "<number within its channel> <CLOCK_MONOTONIC ns> <padding>". One line of JSON at
 * the end. */
#include <errno.h>
#include <getopt.h>
#include <hiredis/hiredis.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tool.h"

enum {
    NAME_MAX_LEN = 255,
    PAYLOAD_MAX = 1 << 20,
    RATE_MAX = 1000000,
    SECONDS_MAX = 3600,
    CHANNELS_MAX = 100000,
    BURST_MAX = 1024,         /* messages between two looks at the answers */
    ANSWER_PATIENCE_MS = 5000 /* for the last answers */
};

struct publisher {
    redisContext *redis;
    const char *pattern;
    unsigned channels;
    uint64_t rate, total;
    size_t bytes;
    char *payload;
    uint64_t sent, answered, refused, unheard;
    uint64_t late_max; /* ns behind schedule, at worst */
};

static void send_one(struct publisher *p, uint64_t i)
{
    char channel[NAME_MAX_LEN + 1];
    int channel_len = expand(channel, sizeof channel, p->pattern, (unsigned)(i % p->channels));
    char stamp[64];
    int n = snprintf(stamp, sizeof stamp, "%llu %llu ", (unsigned long long)(i / p->channels),
                     (unsigned long long)mono_ns());
    memcpy(p->payload, stamp, (size_t)n);
    size_t len = p->bytes > (size_t)n ? p->bytes : (size_t)n;
    const char *argv[] = {"PUBLISH", channel, p->payload};
    size_t lens[] = {7, (size_t)channel_len, len};
    if (redisAppendCommandArgv(p->redis, 3, argv, lens) != REDIS_OK)
        die("Redis: %s", p->redis->errstr);
    /* Padding overwritten by a longer stamp must not keep its digits. */
    memset(p->payload, 'x', (size_t)n);
    p->sent++;
}

static void flush(struct publisher *p)
{
    int done = 0;
    while (done == 0) {
        if (redisBufferWrite(p->redis, &done) != REDIS_OK)
            die("Redis: %s", p->redis->errstr);
    }
}

static void take_answers(struct publisher *p)
{
    void *reply = NULL;
    if (redisBufferRead(p->redis) != REDIS_OK)
        die("Redis: %s", p->redis->errstr);
    while (redisReaderGetReply(p->redis->reader, &reply) == REDIS_OK && reply != NULL) {
        const redisReply *r = reply;
        p->answered++;
        if (r->type == REDIS_REPLY_ERROR)
            p->refused++;
        else if (r->type == REDIS_REPLY_INTEGER && r->integer == 0)
            p->unheard++;
        freeReplyObject(reply);
    }
}

static bool readable(struct publisher *p, uint64_t wait_ns)
{
    struct pollfd fd = {.fd = p->redis->fd, .events = POLLIN};
    struct timespec wait = {.tv_sec = (time_t)(wait_ns / NS_PER_S),
                            .tv_nsec = (long)(wait_ns % NS_PER_S)};
    return ppoll(&fd, 1, &wait, NULL) > 0;
}

static void run(struct publisher *p)
{
    uint64_t start = mono_ns();
    while (p->sent < p->total) {
        uint64_t now = mono_ns() - start;
        uint64_t due = now * p->rate / NS_PER_S + 1;
        if (due > p->total)
            due = p->total;
        uint64_t burst = 0;
        while (p->sent < due && burst++ < BURST_MAX) {
            uint64_t at = p->sent * NS_PER_S / p->rate;
            if (now > at && now - at > p->late_max)
                p->late_max = now - at;
            send_one(p, p->sent);
        }
        if (burst > 0)
            flush(p);
        uint64_t next = p->sent * NS_PER_S / p->rate;
        now = mono_ns() - start;
        if (readable(p, next > now ? next - now : 0))
            take_answers(p);
    }
    while (p->answered < p->sent && readable(p, (uint64_t)ANSWER_PATIENCE_MS * 1000000))
        take_answers(p);
    (void)printf("{\"sent\": %llu, \"answered\": %llu, \"refused\": %llu, \"unheard\": %llu, "
                 "\"seconds\": %.3f, \"late_max_us\": %llu}\n",
                 (unsigned long long)p->sent, (unsigned long long)p->answered,
                 (unsigned long long)p->refused, (unsigned long long)p->unheard,
                 (double)(mono_ns() - start) / (double)NS_PER_S,
                 (unsigned long long)(p->late_max / NS_PER_US));
}

static void usage(void)
{
    die("usage: publisher --redis 127.0.0.1:PORT [--channel sse:bench%%d] [--channels N] "
        "[--rate PER_SECOND] [--bytes N] [--seconds N | --count N]");
}

static redisContext *connect_to(const char *where)
{
    struct sockaddr_in sa = endpoint("--redis", where);
    char host[16];
    (void)snprintf(host, sizeof host, "%.*s", (int)(strrchr(where, ':') - where), where);
    redisContext *c = redisConnect(host, ntohs(sa.sin_port));
    if (c == NULL || c->err != 0)
        die("cannot connect to Redis at %s", where);
    return c;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"redis", required_argument, NULL, 'r'},    {"channel", required_argument, NULL, 'c'},
        {"channels", required_argument, NULL, 'n'}, {"rate", required_argument, NULL, 'R'},
        {"bytes", required_argument, NULL, 'b'},    {"seconds", required_argument, NULL, 's'},
        {"count", required_argument, NULL, 'k'},    {NULL, 0, NULL, 0}};
    struct publisher p = {.pattern = "sse:bench%d", .channels = 1, .rate = 20, .bytes = 100};
    const char *redis = NULL;
    uint64_t seconds = 5, count = 0;
    for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (o == 'r')
            redis = optarg;
        else if (o == 'c')
            p.pattern = optarg;
        else if (o == 'n')
            p.channels = (unsigned)number("--channels", optarg, 1, CHANNELS_MAX);
        else if (o == 'R')
            p.rate = number("--rate", optarg, 1, RATE_MAX);
        else if (o == 'b')
            p.bytes = number("--bytes", optarg, 0, PAYLOAD_MAX);
        else if (o == 's')
            seconds = number("--seconds", optarg, 1, SECONDS_MAX);
        else if (o == 'k')
            count = number("--count", optarg, 1, (uint64_t)RATE_MAX * SECONDS_MAX);
        else
            usage();
    }
    if (redis == NULL || optind != argc || !is_name_pattern(p.pattern))
        usage();
    p.total = count > 0 ? count : p.rate * seconds;
    if (p.total / p.rate > SECONDS_MAX)
        die("that would take more than %d seconds", SECONDS_MAX);
    p.payload = malloc(p.bytes + 64);
    if (p.payload == NULL)
        die("out of memory");
    memset(p.payload, 'x', p.bytes + 64);
    p.redis = connect_to(redis);
    run(&p);
    redisFree(p.redis);
    free(p.payload);
    return p.answered == p.sent && p.refused == 0 ? 0 : 1;
}
