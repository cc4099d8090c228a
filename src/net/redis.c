#include "tickerd/net/redis.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "redis_conn.h"
#include "redis_errors.h"
#include "redis_proto.h"
#include "redis_publish.h"
#include "redis_where.h"
#include "tickerd/base/clock.h"
#include "tickerd/base/err.h"
#include "tickerd/base/list.h"
#include "tickerd/base/log.h"
#include "tickerd/wire/backoff.h"

/* The life of a connection:
 *
 *     start → WAITING → ASKING → DIALLING → LOGIN → UP
 *                ↑         |         |         |     |
 *                └─────────┴─────────┴─────────┴─────┘ drop()
 *
 * and close() leads from anywhere to CLOSED. Whom to dial is redis_where's business.
 *
 * One timer serves all phases, as each has one thing to wait for: the end of the back-off; the
 * deadline; the next look at whether the server is alive. A second one sends refused subscriptions
 * again.
 *
 * The loop itself may stall (a stopped process, a sleeping machine). Then timers fire before the
 * bytes that have long been waiting in the socket are read. So no verdict of silence is passed
 * before the loop has had one more turn to read. */

enum phase { IDLE, WAITING, ASKING, DIALLING, LOGIN, UP, CLOSED };

enum {
    BACKOFF_FIRST_MS = 100,
    STABLE_MS = 1000 /* a connection that lasted less does not reset the back-off */
};

struct redis_source {
    struct source base;
    const struct source_events *events;
    void *ctx;
    uint32_t ping_interval_ms, ping_timeout_ms;
    const struct redis_tls *tls; /* borrowed; NULL: plain */
    struct redis_url url;        /* owned; how to log in, and whom we are at; no password */
    struct redis_where *where;
    struct redis_publisher *publisher;
    struct buf name; /* `url` as text */

    enum phase phase;
    struct redis_conn *conn;
    struct redis_proto *proto;
    uv_timer_t timer;
    uv_timer_t retry;
    int open_handles;
    struct backoff backoff;
    struct backoff retry_backoff;

    uint64_t deadline_us; /* of DIALLING and LOGIN; in UP: of a sign of life after PING, else 0 */
    uint64_t heard_us;    /* last read; 0: never */
    uint64_t up_us;       /* when UP began */
    uint64_t pinged_us;   /* when PING was last sent in UP */
    bool last_chance;     /* the deadline has passed; one more turn to read */
    bool in_read;         /* what is to be sent is sent at its end */
    bool send_failed;
    bool told_down; /* on_down has been called since the last on_up, or ever */
    struct redis_notice notice;
};

static void on_timer(uv_timer_t *timer);
static void on_retry(uv_timer_t *timer);

static struct redis_source *source_of(struct source *s)
{
    return container_of(s, struct redis_source, base);
}

static void wait_ms(struct redis_source *s, uint64_t ms)
{
    (void)uv_timer_start(&s->timer, on_timer, ms, 0);
}

/* Rounded up, so that the timer does not fire just before its time and has to be set again. */
static void wait_until(struct redis_source *s, uint64_t at_us, uint64_t now_us)
{
    wait_ms(s, at_us > now_us ? (at_us - now_us) / US_PER_MS + 1 : 1);
}

static void set_deadline(struct redis_source *s, uint64_t now_us)
{
    s->deadline_us = now_us + (uint64_t)s->ping_timeout_ms * US_PER_MS;
    s->last_chance = false;
}

/* Ends this connection, if there is one, and tries again after a while. */
static void drop(struct redis_source *s, const char *why)
{
    bool was_up = s->phase == UP;
    uint64_t now = clock_mono_us();
    if (was_up && now - s->up_us >= (uint64_t)STABLE_MS * US_PER_MS)
        backoff_reset(&s->backoff);
    uint32_t delay = backoff_next(&s->backoff);
    bool tell = was_up || !s->told_down || redis_proto_acked(s->proto);
    s->phase = WAITING;
    s->send_failed = false;
    redis_proto_end(s->proto);
    redis_conn_close(s->conn);
    s->where->ops->down(s->where);
    redis_publisher_stop(s->publisher, why);
    (void)uv_timer_stop(&s->retry);
    wait_ms(s, delay);

    const char *name = buf_cstr(&s->name);
    if (was_up)
        log_warn("redis: lost %s: %s; connecting again in %u ms", name, why, delay);
    else if (redis_notice_due(&s->notice, why, now))
        log_error("redis: no connection to %s: %s; trying on", name, why);
    else
        log_debug("redis: no connection to %s: %s; trying again in %u ms", name, why, delay);

    s->told_down = true;
    if (tell)
        s->events->on_down(s->ctx, why, was_up ? s->heard_us : 0);
}

/* Errors are dealt with from the timer, so that no call-back comes from within a call. */
static void flush(struct redis_source *s)
{
    if (s->in_read || s->phase < LOGIN || s->phase == CLOSED)
        return;
    struct buf *out = redis_proto_out(s->proto);
    if (out->failed || redis_conn_send(s->conn, out) != ERR_OK) {
        s->send_failed = true;
        wait_ms(s, 0);
    }
}

static void watch_refused(struct redis_source *s)
{
    s->base.refused = redis_proto_refused(s->proto);
    if (!s->base.refused || uv_is_active((uv_handle_t *)&s->retry))
        return;
    (void)uv_timer_start(&s->retry, on_retry, backoff_next(&s->retry_backoff), 0);
}

static void on_retry(uv_timer_t *timer)
{
    struct redis_source *s = timer->data;
    if (s->phase < LOGIN || s->phase == CLOSED)
        return;
    /* The timer stays on behind a retry: only when it finds nothing refused was that a success. */
    if (!redis_proto_refused(s->proto)) {
        backoff_reset(&s->retry_backoff);
        return;
    }
    redis_proto_retry(s->proto);
    (void)uv_timer_start(&s->retry, on_retry, backoff_next(&s->retry_backoff), 0);
    flush(s);
}

/* The connection's call-backs. */

static void on_open(void *owner)
{
    struct redis_source *s = owner;
    s->phase = LOGIN;
    if (redis_proto_begin(s->proto) != ERR_OK) {
        drop(s, err_text(ERR_NOMEM));
        return;
    }
    flush(s);
}

static void on_read(void *owner, const char *data, size_t n)
{
    struct redis_source *s = owner;
    uint64_t now = clock_mono_us();
    s->heard_us = now;
    /* Thousands of subscriptions over a slow line take their time: what counts is that answers
     * keep coming. */
    if (s->phase == LOGIN)
        set_deadline(s, now);
    if (s->phase == UP && s->deadline_us != 0) {
        s->deadline_us = 0;
        wait_ms(s, s->ping_interval_ms);
    }
    s->in_read = true;
    int rc = redis_proto_feed(s->proto, data, n);
    if (s->phase != CLOSED)
        s->events->on_batch_end(s->ctx);
    s->in_read = false;
    if (s->phase == CLOSED)
        return;
    if (rc != ERR_OK) {
        char why[256];
        (void)snprintf(why, sizeof why, "%s", redis_proto_reason(s->proto));
        drop(s, why);
        return;
    }
    watch_refused(s);
    flush(s);
}

static void on_sent(void *owner)
{
    flush(owner);
}

static void on_lost(void *owner, const char *why)
{
    drop(owner, why);
}

static int on_hello(void *owner, const struct redis_hello *hello, const char **why)
{
    struct redis_source *s = owner;
    return s->where->ops->greeted(s->where, hello, why);
}

static void on_pong(void *owner)
{
    struct redis_source *s = owner;
    if (s->events->on_round_trip != NULL)
        s->events->on_round_trip(s->ctx, s->heard_us - s->pinged_us);
}

static void on_ready(void *owner)
{
    struct redis_source *s = owner;
    s->phase = UP;
    s->up_us = s->heard_us;
    s->deadline_us = 0;
    s->last_chance = false;
    s->told_down = false;
    wait_ms(s, s->ping_interval_ms);
    redis_conn_good(s->conn);
    redis_notice_reset(&s->notice);
    log_info("redis: connected to %s%s, %zu subscriptions", buf_cstr(&s->name),
             s->where->many_orders ? " (a cluster node)" : "", redis_proto_names(s->proto));
    s->base.many_orders = s->where->many_orders;
    s->where->ops->up(s->where);
    redis_publisher_start(s->publisher, &s->url.addr);
    s->events->on_up(s->ctx);
}

/* Time. */

static void name_server(struct redis_source *s)
{
    buf_reset(&s->name);
    redis_url_print(&s->name, &s->url);
}

static void on_found(void *owner, const struct addr *addr)
{
    struct redis_source *s = owner;
    s->phase = DIALLING;
    s->url.addr = *addr;
    name_server(s);
    redis_conn_point(s->conn, s->tls, addr);
    uint64_t now = clock_mono_us();
    set_deadline(s, now);
    wait_until(s, s->deadline_us, now);
    const char *why = "";
    if (redis_conn_open(s->conn, s->ping_timeout_ms, &why) != ERR_OK)
        drop(s, why);
}

static void on_none(void *owner, const char *why)
{
    drop(owner, why);
}

static void on_changed(void *owner, const char *why)
{
    struct redis_source *s = owner;
    backoff_reset(&s->backoff);
    if (s->phase >= DIALLING && s->phase <= UP)
        drop(s, why);
    else if (s->phase == WAITING)
        wait_ms(s, 0);
}

/* True once the deadline has passed and nothing was to be read either. */
static bool too_late(struct redis_source *s, uint64_t now)
{
    if (now < s->deadline_us) {
        wait_until(s, s->deadline_us, now);
        return false;
    }
    if (!s->last_chance) {
        s->last_chance = true;
        wait_ms(s, 1);
        return false;
    }
    return true;
}

static void give_up(struct redis_source *s, const char *question)
{
    char why[128];
    (void)snprintf(why, sizeof why, "no answer to %s within %u ms", question, s->ping_timeout_ms);
    drop(s, why);
}

/* What is sent to it is the only thing that tells how long the server takes. */
static void ping(struct redis_source *s, uint64_t now)
{
    if (redis_proto_ping(s->proto))
        s->pinged_us = now;
    flush(s);
}

/* The server talks: nobody needs a sign of life, but to know how long it takes. */
static void measure(struct redis_source *s, uint64_t now, uint64_t interval)
{
    if (now - s->pinged_us >= interval)
        ping(s, now);
}

static void check_alive(struct redis_source *s)
{
    uint64_t now = clock_mono_us();
    uint64_t interval = (uint64_t)s->ping_interval_ms * US_PER_MS;
    if (s->deadline_us != 0) {
        if (too_late(s, now))
            give_up(s, "PING");
        return;
    }
    if (now - s->heard_us < interval) {
        measure(s, now, interval);
        wait_until(s, s->heard_us + interval, now);
        return;
    }
    set_deadline(s, now);
    wait_until(s, s->deadline_us, now);
    ping(s, now);
}

static void on_timer(uv_timer_t *timer)
{
    struct redis_source *s = timer->data;
    if (s->send_failed) {
        drop(s, err_text(ERR_NOMEM));
        return;
    }
    switch (s->phase) {
    case WAITING:
        s->phase = ASKING;
        s->where->ops->ask(s->where);
        break;
    case DIALLING:
        if (too_late(s, clock_mono_us()))
            give_up(s, redis_conn_awaits(s->conn));
        break;
    case LOGIN:
        if (too_late(s, clock_mono_us()))
            give_up(s, "the login");
        break;
    case UP:
        check_alive(s);
        break;
    case IDLE:
    case ASKING:
    case CLOSED:
        break;
    }
}

/* The source's ops. */

static int source_subscribe(struct source *base, enum source_sub kind, const char *name, size_t len)
{
    struct redis_source *s = source_of(base);
    int rc = redis_proto_subscribe(s->proto, kind, name, len);
    flush(s);
    return rc;
}

static void source_unsubscribe(struct source *base, enum source_sub kind, const char *name,
                               size_t len)
{
    struct redis_source *s = source_of(base);
    redis_proto_unsubscribe(s->proto, kind, name, len);
    flush(s);
}

static void source_publish(struct source *base, const char *channel, size_t channel_len,
                           const char *payload, size_t payload_len, source_published *done,
                           void *ctx)
{
    redis_publisher_send(source_of(base)->publisher, channel, channel_len, payload, payload_len,
                         done, ctx);
}

static int source_start(struct source *base)
{
    struct redis_source *s = source_of(base);
    s->phase = WAITING;
    wait_ms(s, 0);
    return ERR_OK;
}

static void release(struct redis_source *s)
{
    redis_conn_destroy(s->conn);
    redis_proto_destroy(s->proto);
    redis_url_finish(&s->url);
    buf_finish(&s->name);
    free(s);
}

static void on_closed(uv_handle_t *handle)
{
    struct redis_source *s = handle->data;
    if (--s->open_handles == 0)
        release(s);
}

/* May be called from within a call-back of proto or conn, which are in use then: they go in the
 * loop's next turn, with the timers. */
static void source_close(struct source *base)
{
    struct redis_source *s = source_of(base);
    s->phase = CLOSED;
    redis_proto_stop(s->proto);
    redis_conn_close(s->conn);
    s->where->ops->close(s->where);
    redis_publisher_destroy(s->publisher);
    uv_close((uv_handle_t *)&s->timer, on_closed);
    uv_close((uv_handle_t *)&s->retry, on_closed);
}

static const struct source_ops ops = {
    .subscribe = source_subscribe,
    .unsubscribe = source_unsubscribe,
    .publish = source_publish,
    .start = source_start,
    .close = source_close,
};

static uint64_t seed(void)
{
    uint64_t random = 0;
    /* Without entropy, the clock keeps instances apart well enough. */
    if (getrandom(&random, sizeof random, GRND_NONBLOCK) != (ssize_t)sizeof random)
        random = clock_mono_us();
    return random;
}

/* False: out of memory, or rediss:// without what TLS needs. */
static bool make_parts(struct redis_source *s, uv_loop_t *loop, const struct redis_options *options)
{
    static const struct redis_conn_events conn_events = {
        .on_open = on_open, .on_read = on_read, .on_sent = on_sent, .on_lost = on_lost};
    static const struct redis_where_events where_events = {
        .on_found = on_found, .on_none = on_none, .on_changed = on_changed};
    const struct redis_url *url = options->url;
    const struct redis_proto_options proto = {.user = url->user,
                                              .password = url->password,
                                              .events = s->events,
                                              .ctx = s->ctx,
                                              .on_hello = on_hello,
                                              .on_pong = on_pong,
                                              .on_ready = on_ready,
                                              .owner = s};
    s->tls = url->tls ? options->tls : NULL;
    s->url = (struct redis_url){.addr = url->addr, .tls = url->tls};
    if ((url->tls && s->tls == NULL) ||
        (url->user != NULL && (s->url.user = strdup(url->user)) == NULL))
        return false;
    s->conn = redis_conn_create(loop, s->tls, &url->addr, &conn_events, s);
    s->proto = redis_proto_create(&proto);
    if (s->conn == NULL || s->proto == NULL)
        return false;
    s->where = redis_where_create(loop, options, &where_events, s); /* it has handles: late */
    if (s->where == NULL)
        return false;
    s->publisher = redis_publisher_create(loop, options);
    if (s->publisher == NULL)
        s->where->ops->close(s->where);
    return s->publisher != NULL;
}

struct source *redis_source_create(uv_loop_t *loop, const struct redis_options *options,
                                   const struct source_events *events, void *ctx)
{
    struct redis_source *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    s->base.ops = &ops;
    s->events = events;
    s->ctx = ctx;
    if (!make_parts(s, loop, options)) {
        release(s);
        return NULL;
    }
    if (options->sentinel_count > 0)
        buf_printf(&s->name, "the master %s", options->master); /* until it is found */
    else
        name_server(s);
    s->ping_interval_ms = options->ping_interval_ms;
    s->ping_timeout_ms = options->ping_timeout_ms;
    uint32_t first =
        options->backoff_max_ms < BACKOFF_FIRST_MS ? options->backoff_max_ms : BACKOFF_FIRST_MS;
    backoff_init(&s->backoff, first, options->backoff_max_ms, seed());
    backoff_init(&s->retry_backoff, first, options->backoff_max_ms, seed());
    (void)uv_timer_init(loop, &s->timer);
    (void)uv_timer_init(loop, &s->retry);
    s->timer.data = s->retry.data = s;
    s->open_handles = 2;
    return &s->base;
}
