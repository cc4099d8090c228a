#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "redis_ctl.h"
#include "redis_errors.h"
#include "redis_replies.h"
#include "redis_where.h"
#include "tickerd/base/buf.h"
#include "tickerd/base/clock.h"
#include "tickerd/base/err.h"
#include "tickerd/base/list.h"
#include "tickerd/base/log.h"

/* Two connections, each to one Sentinel at a time:
 *
 *   query   asks for the master's address, before each attempt to connect and every few seconds,
 *           going through the Sentinels in turn; the one that answered is asked first the next
 * time. So a message that was missed, or a Sentinel that says nothing, costs seconds at most. watch
 * is subscribed to +switch-master, so that a failover is known at once. When it has been made anew,
 * the address is asked for again: the message may have come in between.
 *
 * Nobody is believed blindly: the server must say itself that it is a master. What the Sentinels
 * last said is all that counts; while none can be reached, a healthy connection is kept. */

enum { TIMEOUT_MAX_MS = 1000 };

struct sentinels {
    struct redis_where base;
    const struct redis_where_events *events;
    void *owner;
    char *master;           /* owned */
    struct redis_url *list; /* owned */
    size_t count;
    uint32_t interval_ms;

    struct redis_ctl *query;
    size_t first;    /* whom to ask first */
    size_t asked;    /* whom we are asking */
    size_t tried;    /* in this round */
    size_t ignorant; /* of them, those that know no such master */
    bool asking;     /* a round is running */
    bool wanted;     /* ask wants its outcome */

    struct redis_ctl *watch;
    size_t watched;
    bool subscribed;

    struct addr at; /* what was found last */
    bool found;
    bool out_of_reach;
    bool role_unknown; /* and the log says so */
    uv_timer_t tick;
    struct redis_notice notice, watch_notice;
    char why[512];
};

static struct sentinels *sentinels_of(struct redis_where *w)
{
    return container_of(w, struct sentinels, base);
}

static const char *text_of(const struct addr *a, struct buf *text)
{
    buf_reset(text);
    addr_print(text, a);
    return buf_cstr(text);
}

/* ---- the answer ------------------------------------------------------------------------------ */

/* The master is elsewhere than it was. */
static void moved(struct sentinels *s, const struct addr *to, const char *who)
{
    struct buf was = BUF_INIT, is = BUF_INIT;
    (void)snprintf(s->why, sizeof s->why, "%s says that the master %s is now %s, not %s any more",
                   who, s->master, text_of(to, &is), text_of(&s->at, &was));
    buf_finish(&was);
    buf_finish(&is);
    s->at = *to;
    s->events->on_changed(s->owner, s->why);
}

static void round_found(struct sentinels *s, const struct addr *master)
{
    struct buf text = BUF_INIT;
    s->asking = false;
    s->first = s->asked;
    redis_notice_reset(&s->notice);
    if (s->out_of_reach)
        log_info("redis: Sentinel %s answers again", text_of(&s->list[s->asked].addr, &text));
    s->out_of_reach = false;
    buf_finish(&text);
    if (s->wanted) {
        s->wanted = false;
        s->found = true;
        s->at = *master;
        s->events->on_found(s->owner, master);
    } else if (s->found && !addr_equal(&s->at, master)) {
        moved(s, master, "Sentinel");
    }
}

static void round_failed(struct sentinels *s, const char *last)
{
    struct buf why = BUF_INIT;
    s->asking = false;
    if (s->ignorant > 0)
        buf_printf(&why, "%zu of %zu Sentinels know no master named \"%s\": check redis.master",
                   s->ignorant, s->count, s->master);
    else
        buf_printf(&why, "no Sentinel can say where the master %s is; the last one: %s", s->master,
                   last);
    if (s->wanted) { /* whoever asked logs it */
        s->wanted = false;
        s->events->on_none(s->owner, buf_cstr(&why));
    } else if (redis_notice_due(&s->notice, "unreachable", clock_mono_us())) {
        s->out_of_reach = true;
        log_warn("redis: %s; the connection to the server is kept", buf_cstr(&why));
    }
    buf_finish(&why);
}

/* ---- asking ---------------------------------------------------------------------------------- */

static void ask_one(struct sentinels *s)
{
    const char *argv[] = {"SENTINEL", "get-master-addr-by-name", s->master};
    redis_ctl_point(s->query, &s->list[s->asked]);
    redis_ctl_send(s->query, 3, argv, NULL);
}

static void start_round(struct sentinels *s)
{
    if (s->asking)
        return;
    s->asking = true;
    s->tried = s->ignorant = 0;
    s->asked = s->first;
    ask_one(s);
}

static void next_in_round(struct sentinels *s, const char *why)
{
    struct buf text = BUF_INIT;
    buf_printf(&text, "Sentinel ");
    addr_print(&text, &s->list[s->asked].addr);
    buf_printf(&text, ": %s", why);
    log_debug("redis: %s", buf_cstr(&text));
    if (++s->tried < s->count) {
        s->asked = (s->asked + 1) % s->count;
        ask_one(s);
    } else {
        s->first = (s->first + 1) % s->count;
        round_failed(s, buf_cstr(&text));
    }
    buf_finish(&text);
}

static void on_query_reply(void *owner, const struct redisReply *r)
{
    struct sentinels *s = owner;
    struct addr master;
    if (!s->asking)
        return;
    switch (redis_read_master(r, &master)) {
    case REDIS_MASTER_AT:
        round_found(s, &master);
        break;
    case REDIS_MASTER_NIL:
        s->ignorant++;
        next_in_round(s, "it knows no such master");
        break;
    case REDIS_MASTER_ERROR:
        (void)snprintf(s->why, sizeof s->why, "%.200s", r->str);
        next_in_round(s, s->why);
        break;
    case REDIS_MASTER_NONSENSE:
        next_in_round(s, "its answer is no address");
        break;
    }
}

static void on_query_failed(void *owner, const char *why)
{
    struct sentinels *s = owner;
    if (s->asking) /* else it only hung up while nobody asked */
        next_in_round(s, why);
}

/* ---- watching -------------------------------------------------------------------------------- */

static void watch(struct sentinels *s)
{
    if (redis_ctl_is_open(s->watch)) {
        if (s->subscribed)
            redis_ctl_send(s->watch, 1, (const char *[]){"PING"}, NULL);
        return;
    }
    redis_ctl_point(s->watch, &s->list[s->watched]);
    redis_ctl_send(s->watch, 2, (const char *[]){"SUBSCRIBE", "+switch-master"}, NULL);
}

static void watch_another(struct sentinels *s, const char *why)
{
    struct buf text = BUF_INIT;
    log_debug("redis: Sentinel %s is not watched: %s", text_of(&s->list[s->watched].addr, &text),
              why);
    buf_finish(&text);
    s->subscribed = false;
    s->watched = (s->watched + 1) % s->count; /* at the next tick */
    redis_ctl_close(s->watch);
}

static void on_watch_reply(void *owner, const struct redisReply *r)
{
    struct sentinels *s = owner;
    struct addr master;
    if (r->type == REDIS_REPLY_ERROR) {
        if (!s->subscribed) {
            if (redis_notice_due(&s->watch_notice, "refused", clock_mono_us()))
                log_warn("redis: a Sentinel refused SUBSCRIBE +switch-master (%.200s): a failover "
                         "is noticed later",
                         r->str);
            watch_another(s, "it refused SUBSCRIBE");
        }
        return;
    }
    if (redis_is_subscribed(r)) {
        s->subscribed = true;
        start_round(s);
    } else if (redis_read_switch(r, s->master, &master) && s->found &&
               !addr_equal(&s->at, &master)) {
        s->first = s->watched; /* the others may hear of it later */
        moved(s, &master, "+switch-master");
    }
}

static void on_watch_failed(void *owner, const char *why)
{
    watch_another(owner, why);
}

static void on_tick(uv_timer_t *tick)
{
    struct sentinels *s = tick->data;
    watch(s);
    start_round(s);
}

/* ---- the ops --------------------------------------------------------------------------------- */

static void ask(struct redis_where *w)
{
    struct sentinels *s = sentinels_of(w);
    s->wanted = true;
    start_round(s);
    if (!uv_is_active((uv_handle_t *)&s->tick)) { /* from the first question on */
        watch(s);
        (void)uv_timer_start(&s->tick, on_tick, s->interval_ms, s->interval_ms);
    }
}

static int greeted(struct redis_where *w, const struct redis_hello *hello, const char **why)
{
    struct sentinels *s = sentinels_of(w);
    if (hello->kind == REDIS_SENTINEL) {
        *why = "the Sentinels say that a Sentinel is the master";
        return ERR_INVALID;
    }
    if (hello->role == REDIS_REPLICA) {
        *why = "the Sentinels say that it is the master, but it is a replica";
        return ERR_INVALID;
    }
    if (hello->role == REDIS_ROLE_UNKNOWN && !s->role_unknown) {
        s->role_unknown = true;
        log_warn("redis: the server does not say whether it is a master (neither HELLO nor INFO): "
                 "the Sentinels' word is all there is");
    }
    return ERR_OK;
}

/* The Sentinels are asked all the time, be there a connection or not. */
static void nothing_to_do(struct redis_where *w)
{
    (void)w;
}

static void release(struct sentinels *s)
{
    for (size_t i = 0; i < s->count; i++)
        redis_url_finish(&s->list[i]);
    free(s->list);
    free(s->master);
    free(s);
}

static void on_closed(uv_handle_t *handle)
{
    release(handle->data);
}

static void close_all(struct redis_where *w)
{
    struct sentinels *s = sentinels_of(w);
    redis_ctl_destroy(s->query);
    redis_ctl_destroy(s->watch);
    uv_close((uv_handle_t *)&s->tick, on_closed);
}

static int copy_options(struct sentinels *s, const struct redis_options *options)
{
    s->master = strdup(options->master);
    s->list = calloc(options->sentinel_count, sizeof *s->list);
    if (s->master == NULL || s->list == NULL)
        return ERR_NOMEM;
    for (; s->count < options->sentinel_count; s->count++) {
        if (options->sentinels[s->count].tls && options->tls == NULL)
            return ERR_INVALID; /* it is never to be talked to in clear */
        if (redis_url_copy(&s->list[s->count], &options->sentinels[s->count]) != ERR_OK)
            return ERR_NOMEM;
    }
    return ERR_OK;
}

struct redis_where *redis_sentinels_create(uv_loop_t *loop, const struct redis_options *options,
                                           const struct redis_where_events *events, void *owner)
{
    static const struct redis_where_ops ops = {.ask = ask,
                                               .greeted = greeted,
                                               .up = nothing_to_do,
                                               .down = nothing_to_do,
                                               .close = close_all};
    static const struct redis_ctl_events query = {on_query_reply, on_query_failed};
    static const struct redis_ctl_events watching = {on_watch_reply, on_watch_failed};
    uint32_t timeout =
        options->ping_timeout_ms < TIMEOUT_MAX_MS ? options->ping_timeout_ms : TIMEOUT_MAX_MS;
    struct sentinels *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    if (copy_options(s, options) == ERR_OK) {
        s->query = redis_ctl_create(loop, options->tls, timeout, "redis.sentinels", &query, s);
        s->watch = redis_ctl_create(loop, options->tls, timeout, "redis.sentinels", &watching, s);
    }
    if (s->query == NULL || s->watch == NULL) {
        redis_ctl_destroy(s->query);
        redis_ctl_destroy(s->watch);
        release(s);
        return NULL;
    }
    s->base.ops = &ops;
    s->events = events;
    s->owner = owner;
    s->interval_ms = redis_where_interval_ms(options);
    s->watched = s->count > 1; /* not the one that is asked: one of them may be cut off */
    (void)uv_timer_init(loop, &s->tick);
    s->tick.data = s;
    return &s->base;
}
