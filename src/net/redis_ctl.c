#include "redis_ctl.h"

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "redis_conn.h"
#include "redis_errors.h"
#include "redis_resp.h"
#include "tickerd/base/buf.h"
#include "tickerd/base/clock.h"
#include "tickerd/base/err.h"

enum {
    REPLY_BYTES_MAX = 2 * 1024 * 1024, /* CLUSTER NODES of a thousand nodes is 200 KB */
    ELEMENTS_MAX = 65536
};

struct redis_ctl {
    struct redis_conn *conn;
    const struct redis_tls *tls; /* borrowed */
    uint32_t timeout_ms;
    const char *key;
    const struct redis_ctl_events *events;
    void *owner;
    const struct redis_url *url; /* borrowed */
    uv_timer_t timer;
    redisReader *reader;  /* NULL: closed */
    redisReader *reading; /* the one that on_read is busy with; may be closed already */
    redisReplyObjectFunctions functions;
    struct buf out;
    uint64_t deadline_us;
    size_t partial;   /* bytes since the last whole reply */
    unsigned awaited; /* replies that are due, AUTH's not counted */
    bool opened;      /* the socket is connected */
    bool login;       /* the answer to AUTH is due */
    bool broken;      /* what could not even be sent is reported from the loop */
    bool last_chance; /* the deadline has passed; one more turn to read */
    char why[512];
};

static void on_timer(uv_timer_t *timer);

/* ---- the reader ------------------------------------------------------------------------------ */

/* hiredis makes room for as many elements as a server says there will be. */
#if HIREDIS_MAJOR >= 1
static void *create_array(const redisReadTask *task, size_t elements);
#else
static void *create_array(const redisReadTask *task, int elements);
#endif

static redisReader *make_reader(struct redis_ctl *c)
{
    redisReader *reader = redisReaderCreate();
    if (reader == NULL)
        return NULL;
    c->functions = *reader->fn;
    c->functions.createArray = create_array;
    reader->privdata = reader->fn;
    reader->fn = &c->functions;
    return reader;
}

#if HIREDIS_MAJOR >= 1
static void *create_array(const redisReadTask *task, size_t elements)
{
    const redisReplyObjectFunctions *original = task->privdata;
    return elements > ELEMENTS_MAX ? NULL : original->createArray(task, elements);
}
#else
static void *create_array(const redisReadTask *task, int elements)
{
    const redisReplyObjectFunctions *original = task->privdata;
    return elements > ELEMENTS_MAX ? NULL : original->createArray(task, elements);
}
#endif

/* ---- failing --------------------------------------------------------------------------------- */

void redis_ctl_close(struct redis_ctl *c)
{
    if (c->reader != NULL && c->reader != c->reading)
        redisReaderFree(c->reader);
    c->reader = NULL;
    c->opened = c->login = c->broken = c->last_chance = false;
    c->awaited = 0;
    c->partial = 0;
    buf_finish(&c->out);
    (void)uv_timer_stop(&c->timer);
    redis_conn_close(c->conn);
}

static void failed(struct redis_ctl *c, const char *why)
{
    if (why != c->why)
        (void)snprintf(c->why, sizeof c->why, "%s", why);
    redis_ctl_close(c);
    c->events->on_failed(c->owner, c->why);
}

/* ---- time ------------------------------------------------------------------------------------ */

static void set_deadline(struct redis_ctl *c)
{
    c->deadline_us = clock_mono_us() + (uint64_t)c->timeout_ms * US_PER_MS;
    c->last_chance = false;
    (void)uv_timer_start(&c->timer, on_timer, c->timeout_ms, 0);
}

static void on_timer(uv_timer_t *timer)
{
    struct redis_ctl *c = timer->data;
    uint64_t now = clock_mono_us();
    if (c->broken) {
        failed(c, c->why);
    } else if (now < c->deadline_us) {
        (void)uv_timer_start(timer, on_timer, (c->deadline_us - now) / US_PER_MS + 1, 0);
    } else if (!c->last_chance) { /* the loop may have stalled: what came meanwhile is read first */
        c->last_chance = true;
        (void)uv_timer_start(timer, on_timer, 1, 0);
    } else {
        (void)snprintf(c->why, sizeof c->why, "no answer within %u ms", c->timeout_ms);
        failed(c, c->why);
    }
}

/* From within a call nothing is reported. */
static void fail_later(struct redis_ctl *c, const char *why)
{
    (void)snprintf(c->why, sizeof c->why, "%s", why);
    c->broken = true;
    (void)uv_timer_start(&c->timer, on_timer, 0, 0);
}

/* ---- writing --------------------------------------------------------------------------------- */

static void flush(struct redis_ctl *c)
{
    if (!c->opened || c->broken)
        return;
    if (c->out.failed || redis_conn_send(c->conn, &c->out) != ERR_OK)
        fail_later(c, err_text(ERR_NOMEM));
}

static void put_login(struct redis_ctl *c)
{
    const struct redis_url *u = c->url;
    if (u->user == NULL && u->password == NULL)
        return;
    const char *password = u->password != NULL ? u->password : "";
    const char *argv[] = {"AUTH", u->user != NULL ? u->user : password, password};
    resp_command(&c->out, u->user != NULL ? 3 : 2, argv, NULL);
    c->login = true;
}

static void open_conn(struct redis_ctl *c)
{
    const char *why = err_text(ERR_NOMEM);
    set_deadline(c);
    c->reader = make_reader(c);
    redis_conn_point(c->conn, c->url->tls ? c->tls : NULL, &c->url->addr);
    if (c->reader == NULL || redis_conn_open(c->conn, c->timeout_ms, &why) != ERR_OK)
        fail_later(c, why);
    put_login(c);
}

void redis_ctl_send(struct redis_ctl *c, int argc, const char **argv, const size_t *lens)
{
    if (c->broken)
        return; /* on_failed is about to come */
    if (c->reader == NULL)
        open_conn(c);
    else if (c->awaited == 0)
        set_deadline(c);
    c->awaited++;
    resp_command(&c->out, argc, argv, lens);
    flush(c);
}

/* ---- reading --------------------------------------------------------------------------------- */

/* True when the error ends the connection. The server's text may quote a password: of an answer to
 * AUTH nothing is shown. */
static bool take_error(struct redis_ctl *c, const redisReply *r)
{
    struct redis_error e = redis_error_classify(r->str, r->len, c->login);
    if (e.verdict == REDIS_COMMAND)
        return false;
    if (e.verdict == REDIS_LOGIN)
        (void)snprintf(c->why, sizeof c->why, "login refused: %s; check user and password in %s",
                       e.what, c->key);
    else
        (void)snprintf(c->why, sizeof c->why, "not served: %s", e.what);
    failed(c, c->why);
    return true;
}

static void take(struct redis_ctl *c, const redisReply *r)
{
    if (r->type == REDIS_REPLY_ERROR && take_error(c, r))
        return;
    if (c->login) {
        c->login = false;
        return;
    }
    if (c->awaited > 0 && --c->awaited > 0)
        set_deadline(c);
    else
        (void)uv_timer_stop(&c->timer);
    c->events->on_reply(c->owner, r);
}

/* The call-backs may close and open; what is left of these bytes is then of no interest. */
static void take_all(struct redis_ctl *c, redisReader *reader)
{
    while (c->reader == reader) {
        void *reply = NULL;
        if (redisReaderGetReply(reader, &reply) != REDIS_OK) {
            (void)snprintf(c->why, sizeof c->why, "this is not the Redis protocol: %s",
                           reader->errstr);
            failed(c, c->why);
            return;
        }
        if (reply == NULL)
            break;
        c->partial = 0;
        take(c, reply);
        freeReplyObject(reply);
    }
    if (c->reader == reader && c->partial > REPLY_BYTES_MAX)
        failed(c, "a reply is too long");
}

static void on_read(void *owner, const char *data, size_t n)
{
    struct redis_ctl *c = owner;
    redisReader *reader = c->reader;
    if (redisReaderFeed(reader, data, n) != REDIS_OK) {
        failed(c, err_text(ERR_NOMEM));
        return;
    }
    c->reading = reader;
    c->partial += n;
    take_all(c, reader);
    c->reading = NULL;
    if (c->reader != reader)
        redisReaderFree(reader);
}

static void on_open(void *owner)
{
    struct redis_ctl *c = owner;
    c->opened = true;
    flush(c);
}

static void on_sent(void *owner)
{
    flush(owner);
}

static void on_lost(void *owner, const char *why)
{
    failed(owner, why);
}

/* ---- life ------------------------------------------------------------------------------------ */

struct redis_ctl *redis_ctl_create(uv_loop_t *loop, const struct redis_tls *tls,
                                   uint32_t timeout_ms, const char *key,
                                   const struct redis_ctl_events *events, void *owner)
{
    static const struct redis_conn_events conn_events = {
        .on_open = on_open, .on_read = on_read, .on_sent = on_sent, .on_lost = on_lost};
    struct redis_ctl *c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    c->conn = redis_conn_create(loop, NULL, &(struct addr){.port = 0}, &conn_events, c);
    if (c->conn == NULL) {
        free(c);
        return NULL;
    }
    c->tls = tls;
    c->timeout_ms = timeout_ms;
    c->key = key;
    c->events = events;
    c->owner = owner;
    buf_init(&c->out);
    (void)uv_timer_init(loop, &c->timer);
    c->timer.data = c;
    return c;
}

static void on_closed(uv_handle_t *handle)
{
    struct redis_ctl *c = handle->data;
    redis_conn_destroy(c->conn);
    free(c);
}

void redis_ctl_destroy(struct redis_ctl *c)
{
    if (c == NULL)
        return;
    redis_ctl_close(c);
    uv_close((uv_handle_t *)&c->timer, on_closed);
}

void redis_ctl_point(struct redis_ctl *c, const struct redis_url *url)
{
    if (c->url != url)
        redis_ctl_close(c);
    c->url = url;
}

bool redis_ctl_is_open(const struct redis_ctl *c)
{
    return c->reader != NULL;
}
