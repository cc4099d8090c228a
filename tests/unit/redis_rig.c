#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "redis_rig.h"
#include "tickerd/net/redis.h"

/* The server. */

int rig_listen(int *port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof a;
    assert_int_equal(bind(fd, (struct sockaddr *)&a, len), 0);
    assert_int_equal(listen(fd, 16), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    *port = ntohs(a.sin_port);
    return fd;
}

static void exec_server(const struct rig_server *s, pid_t parent)
{
    char port[8];
    (void)snprintf(port, sizeof port, "%d", s->port);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    int null = open("/dev/null", O_WRONLY);
    if (null >= 0)
        (void)dup2(null, STDOUT_FILENO);
    execlp("redis-server", "redis-server", "--save", "", "--appendonly", "no", "--port", port,
           "--bind", "127.0.0.1", "-::1", "--unixsocket", s->path, "--dir", s->dir, (char *)NULL);
    (void)fprintf(stderr, "redis-server cannot be run: install it to run this test\n");
    _exit(127);
}

static bool answers(struct rig_server *s)
{
    s->admin = redisConnectUnix(s->path);
    if (s->admin != NULL && s->admin->err == 0) {
        redisReply *r = redisCommand(s->admin, "PING");
        bool ok = r != NULL && r->type == REDIS_REPLY_STATUS;
        freeReplyObject(r);
        if (ok)
            return true;
    }
    redisFree(s->admin);
    s->admin = NULL;
    return false;
}

/* False: the server ended, presumably because somebody else took the port. */
static bool try_run(struct rig_server *s)
{
    (void)unlink(s->path);
    pid_t parent = getpid();
    s->pid = fork();
    assert_true(s->pid >= 0);
    if (s->pid == 0)
        exec_server(s, parent);
    for (uint64_t end = uv_hrtime() + 10000000000U; !answers(s);) {
        assert_true(uv_hrtime() < end);
        int status;
        if (waitpid(s->pid, &status, WNOHANG) == s->pid) {
            s->pid = 0;
            return false;
        }
        (void)usleep(2000);
    }
    return true;
}

void rig_server_run(struct rig_server *s)
{
    for (int i = 0; i < 20; i++) {
        if (try_run(s))
            return;
        (void)usleep(20000);
    }
    fail_msg("redis-server does not start on port %d", s->port);
}

void rig_server_start(struct rig_server *s)
{
    *s = (struct rig_server){.dir = "/tmp/tickerd-redis-XXXXXX"};
    assert_non_null(mkdtemp(s->dir));
    (void)snprintf(s->path, sizeof s->path, "%s/sock", s->dir);
    for (int i = 0; i < 20; i++) {
        (void)close(rig_listen(&s->port));
        if (try_run(s))
            return;
    }
    fail_msg("redis-server does not start");
}

void rig_server_kill(struct rig_server *s)
{
    redisFree(s->admin);
    s->admin = NULL;
    if (s->pid <= 0)
        return;
    (void)kill(s->pid, SIGKILL);
    assert_int_equal(waitpid(s->pid, NULL, 0), s->pid);
    s->pid = 0;
}

void rig_server_stop(struct rig_server *s)
{
    rig_server_kill(s);
    (void)unlink(s->path);
    assert_int_equal(rmdir(s->dir), 0);
}

long long rig_command(struct rig_server *s, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    redisReply *r = redisvCommand(s->admin, format, args);
    va_end(args);
    assert_non_null(r);
    if (r->type == REDIS_REPLY_ERROR)
        fail_msg("%s: %s", format, r->str);
    long long n = r->type == REDIS_REPLY_ARRAY ? (long long)r->elements : r->integer;
    freeReplyObject(r);
    return n;
}

bool rig_subscribed(struct rig_server *s, const char *channel)
{
    redisReply *r = redisCommand(s->admin, "PUBSUB NUMSUB %s", channel);
    assert_non_null(r);
    assert_int_equal(r->elements, 2);
    bool on = r->element[1]->integer > 0;
    freeReplyObject(r);
    return on;
}

/* The client. */

static void saw(struct rig_client *c, enum rig_event event)
{
    assert_false(c->closed);
    c->seen[event]++;
    if (event == c->close_at)
        rig_close(c);
}

static void keep(char out[64], const char *s, size_t n)
{
    (void)snprintf(out, 64, "%.*s", (int)(n < 63 ? n : 63), n > 0 ? s : "");
}

static void on_message(void *ctx, const char *pattern, size_t pattern_len, const char *channel,
                       size_t channel_len, const char *payload, size_t payload_len)
{
    struct rig_client *c = ctx;
    keep(c->pattern, pattern, pattern_len);
    keep(c->channel, channel, channel_len);
    keep(c->payload, payload, payload_len);
    c->payload_len = payload_len;
    c->sum = 0;
    for (size_t i = 0; i < payload_len; i++)
        c->sum += (unsigned char)payload[i];
    if (c->payload[0] >= '0' && c->payload[0] <= '9' && atol(c->payload) != c->next++)
        c->out_of_order++;
    saw(c, RIG_MESSAGE);
}

static void on_acked(void *ctx, enum source_sub kind, const char *name, size_t len, bool on)
{
    struct rig_client *c = ctx;
    if (on) {
        char *copy = strndup(name, len);
        assert_non_null(copy);
        assert_int_equal(strmap_put(&c->on[kind], copy, len, copy), 0);
    } else {
        char *copy = strmap_del(&c->on[kind], name, len);
        assert_non_null(copy);
        free(copy);
    }
    saw(c, on ? RIG_ON : RIG_OFF);
}

static void on_refused(void *ctx, enum source_sub kind, const char *name, size_t len,
                       const char *error)
{
    struct rig_client *c = ctx;
    assert_null(strmap_get(&c->on[kind], name, len));
    (void)snprintf(c->reason, sizeof c->reason, "%s", error);
    saw(c, RIG_REFUSED);
}

static void on_up(void *ctx)
{
    struct rig_client *c = ctx;
    assert_false(c->up);
    c->up = true;
    saw(c, RIG_UP);
}

static void forget_acks(struct rig_client *c)
{
    for (int kind = 0; kind < 2; kind++) {
        size_t pos = 0;
        char *name;
        while ((name = strmap_next(&c->on[kind], &pos)) != NULL)
            free(name);
        strmap_finish(&c->on[kind]);
    }
}

static void on_down(void *ctx, const char *reason, unsigned long long last_heard_us)
{
    struct rig_client *c = ctx;
    assert_true(c->up || (c->seen[RIG_DOWN] == 0 && last_heard_us == 0));
    c->up = false;
    (void)snprintf(c->reason, sizeof c->reason, "%s", reason);
    c->last_heard = last_heard_us;
    forget_acks(c);
    saw(c, RIG_DOWN);
}

static void on_batch_end(void *ctx)
{
    saw(ctx, RIG_BATCH_END);
}

static const struct source_events events = {.on_message = on_message,
                                            .on_acked = on_acked,
                                            .on_refused = on_refused,
                                            .on_up = on_up,
                                            .on_down = on_down,
                                            .on_batch_end = on_batch_end};

static void on_beat(uv_timer_t *beat)
{
    (void)beat;
}

void rig_client_start(struct rig_client *c, const char *url, uint32_t ping_interval_ms,
                      uint32_t ping_timeout_ms)
{
    *c = (struct rig_client){.close_at = RIGS};
    assert_true(signal(SIGPIPE, SIG_IGN) != SIG_ERR);
    assert_int_equal(uv_loop_init(&c->loop), 0);
    assert_int_equal(uv_timer_init(&c->loop, &c->beat), 0);
    assert_int_equal(uv_timer_start(&c->beat, on_beat, 2, 2), 0);
    strmap_init(&c->on[0]);
    strmap_init(&c->on[1]);
    struct redis_url parsed;
    const char *why = "";
    if (redis_url_parse(&parsed, url, &why) != 0)
        fail_msg("%s: %s", url, why);
    if (parsed.tls) {
        struct buf errors = BUF_INIT;
        c->tls = redis_tls_create(&(struct redis_tls_options){0}, &errors);
        assert_string_equal(buf_cstr(&errors), "");
        buf_finish(&errors);
    }
    const struct redis_options options = {.url = &parsed,
                                          .tls = c->tls,
                                          .ping_interval_ms = ping_interval_ms,
                                          .ping_timeout_ms = ping_timeout_ms,
                                          .backoff_max_ms = 200};
    c->source = redis_source_create(&c->loop, &options, &events, c);
    assert_non_null(c->source);
    redis_url_finish(&parsed);
}

void rig_close(struct rig_client *c)
{
    c->closed = true;
    c->source->ops->close(c->source);
}

void rig_client_stop(struct rig_client *c)
{
    if (!c->closed)
        rig_close(c);
    uv_close((uv_handle_t *)&c->beat, NULL);
    uint64_t end = uv_hrtime() + 10000000000U;
    while (uv_run(&c->loop, UV_RUN_ONCE) != 0)
        assert_true(uv_hrtime() < end);
    assert_int_equal(uv_loop_close(&c->loop), 0);
    redis_tls_destroy(c->tls);
    forget_acks(c);
}

void rig_on(struct rig_client *c, enum source_sub kind, const char *name)
{
    assert_int_equal(c->source->ops->subscribe(c->source, kind, name, strlen(name)), 0);
}

void rig_off(struct rig_client *c, enum source_sub kind, const char *name)
{
    c->source->ops->unsubscribe(c->source, kind, name, strlen(name));
}

bool rig_is_on(const struct rig_client *c, enum source_sub kind, const char *name)
{
    return strmap_get(&c->on[kind], name, strlen(name)) != NULL;
}
