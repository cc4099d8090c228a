#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <hiredis/hiredis.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake_redis.h"

struct fake_client {
    uv_tcp_t tcp;
    struct fake_redis *server;
    struct fake_client *next;
    redisReader *reader;
    bool closing;
    char input[4096];
};

struct fake_write {
    uv_write_t request;
    char bytes[];
};

static void on_client_closed(uv_handle_t *handle)
{
    struct fake_client *c = handle->data;
    redisReaderFree(c->reader);
    free(c);
}

static void hang_up(struct fake_client *c)
{
    struct fake_client **at = &c->server->clients;
    if (c->closing)
        return;
    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    c->closing = true;
    uv_close((uv_handle_t *)&c->tcp, on_client_closed);
}

static void on_written(uv_write_t *request, int status)
{
    (void)status;
    free(request->data);
}

static void say(struct fake_client *c, const char *bytes)
{
    size_t n = strlen(bytes);
    struct fake_write *w = malloc(sizeof *w + n);
    assert_non_null(w);
    w->request.data = w;
    memcpy(w->bytes, bytes, n);
    uv_buf_t vector = uv_buf_init(w->bytes, (unsigned)n);
    assert_int_equal(uv_write(&w->request, (uv_stream_t *)&c->tcp, &vector, 1, on_written), 0);
}

static void take(struct fake_client *c, const redisReply *r)
{
    struct fake_redis *f = c->server;
    struct buf command = BUF_INIT;
    assert_int_equal(r->type, REDIS_REPLY_ARRAY);
    for (size_t i = 0; i < r->elements; i++)
        buf_printf(&command, "%s%s", i > 0 ? " " : "", r->element[i]->str);
    buf_printf(&f->heard, "%s\n", buf_cstr(&command));
    f->commands++;
    const char *answer = f->answer(f, buf_cstr(&command));
    buf_finish(&command);
    if (answer != NULL && answer[0] == '\0')
        hang_up(c);
    else if (answer != NULL)
        say(c, answer);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *input)
{
    struct fake_client *c = stream->data;
    if (n < 0) {
        hang_up(c);
        return;
    }
    assert_int_equal(redisReaderFeed(c->reader, input->base, (size_t)n), REDIS_OK);
    void *reply = NULL;
    while (!c->closing && redisReaderGetReply(c->reader, &reply) == REDIS_OK && reply != NULL) {
        take(c, reply);
        freeReplyObject(reply);
        reply = NULL;
    }
}

static void give_room(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
    (void)suggested;
    struct fake_client *c = handle->data;
    *out = uv_buf_init(c->input, sizeof c->input);
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct fake_redis *f = listener->data;
    struct fake_client *c = calloc(1, sizeof *c);
    assert_int_equal(status, 0);
    assert_non_null(c);
    c->server = f;
    c->reader = redisReaderCreate();
    assert_int_equal(uv_tcp_init(listener->loop, &c->tcp), 0);
    c->tcp.data = c;
    c->next = f->clients;
    f->clients = c;
    assert_int_equal(uv_accept(listener, (uv_stream_t *)&c->tcp), 0);
    assert_int_equal(uv_read_start((uv_stream_t *)&c->tcp, give_room, on_read), 0);
}

void fake_redis_start(struct fake_redis *f, uv_loop_t *loop, fake_answer *answer, void *ctx)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int len = sizeof a;
    *f = (struct fake_redis){.answer = answer, .ctx = ctx};
    buf_init(&f->heard);
    assert_int_equal(uv_tcp_init(loop, &f->listener), 0);
    f->listener.data = f;
    assert_int_equal(uv_tcp_bind(&f->listener, (struct sockaddr *)&a, 0), 0);
    assert_int_equal(uv_listen((uv_stream_t *)&f->listener, 16, on_connection), 0);
    assert_int_equal(uv_tcp_getsockname(&f->listener, (struct sockaddr *)&a, &len), 0);
    f->port = ntohs(a.sin_port);
}

void fake_redis_drop(struct fake_redis *f)
{
    while (f->clients != NULL)
        hang_up(f->clients);
}

void fake_redis_stop(struct fake_redis *f)
{
    fake_redis_drop(f);
    buf_finish(&f->heard);
    if (!uv_is_closing((uv_handle_t *)&f->listener))
        uv_close((uv_handle_t *)&f->listener, NULL);
}

void fake_redis_push(struct fake_redis *f, const char *bytes)
{
    for (struct fake_client *c = f->clients; c != NULL; c = c->next)
        say(c, bytes);
}

struct addr fake_redis_addr(const struct fake_redis *f)
{
    return (struct addr){.host = "127.0.0.1", .port = (uint16_t)f->port};
}

size_t fake_redis_heard(struct fake_redis *f, const char *command)
{
    size_t n = 0, len = strlen(command);
    for (const char *p = buf_cstr(&f->heard); (p = strstr(p, command)) != NULL; p += len)
        n++;
    return n;
}
