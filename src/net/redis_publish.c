#include "redis_publish.h"

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "redis_ctl.h"
#include "redis_errors.h"
#include "redis_where.h"
#include "tickerd/base/err.h"
#include "tickerd/base/list.h"

enum {
    IDLE_TIMEOUTS = 10, /* so many times redis.ping_timeout */
    /* Copies that may wait for a line that stands still. */
    UNDER_WAY_MAX = 1000,
    UNDER_WAY_BYTES_MAX = 64 * 1024 * 1024,
    TEXT_MAX = 200, /* of a server's error */
};

struct redis_publisher {
    struct redis_ctl *ctl;
    struct redis_url url; /* owned */
    uv_timer_t idle;
    uint64_t idle_ms;
    struct link under_way; /* struct message, in the order sent */
    size_t count, bytes;
    bool started;
    char why[256]; /* it is not */
};

/* One that waits for its reply. */
struct message {
    struct link link;
    size_t len;
    source_published *done;
    void *ctx;
};

/* ---- ends ------------------------------------------------------------------------------------ */

static void finish(struct redis_publisher *p, struct message *m, long long receivers,
                   const char *error)
{
    struct message done = *m;
    list_remove(&m->link);
    free(m);
    p->count--;
    p->bytes -= done.len;
    done.done(done.ctx, receivers, error);
}

/* What is asked for meanwhile, by those who learn of it, is not meant. */
static void fail_all(struct redis_publisher *p, const char *error)
{
    struct link gone;
    struct link *first;
    list_init(&gone);
    list_splice(&gone, &p->under_way);
    while ((first = list_first(&gone)) != NULL)
        finish(p, container_of(first, struct message, link), -1, error);
}

/* What the server says may quote the message, of which nothing but plain text is shown. */
static void put_refusal(char *out, size_t size, const redisReply *r)
{
    struct redis_error e = redis_error_classify(r->str, r->len, false);
    if (strcmp(e.what, "NOPERM") == 0) {
        (void)snprintf(out, size,
                       "Redis does not let tickerd's user publish there (NOPERM): grant it with "
                       "ACL SETUSER <user> +publish &<prefix and channel>.");
        return;
    }
    size_t n = (size_t)snprintf(out, size, "Redis refuses to publish it: ");
    for (size_t i = 0; i < r->len && i < TEXT_MAX && n + 1 < size; i++)
        out[n++] = r->str[i] >= ' ' && r->str[i] <= '~' ? r->str[i] : '?';
    out[n] = '\0';
}

/* ---- the connection -------------------------------------------------------------------------- */

static void on_idle(uv_timer_t *timer)
{
    struct redis_publisher *p = timer->data;
    redis_ctl_close(p->ctl);
}

static void on_reply(void *owner, const redisReply *r)
{
    struct redis_publisher *p = owner;
    struct link *first = list_first(&p->under_way);
    if (first == NULL)
        return;
    if (p->count == 1)
        (void)uv_timer_start(&p->idle, on_idle, p->idle_ms, 0);
    struct message *m = container_of(first, struct message, link);
    char error[TEXT_MAX + 64];
    if (r->type == REDIS_REPLY_INTEGER) {
        finish(p, m, r->integer, NULL);
        return;
    }
    if (r->type == REDIS_REPLY_ERROR)
        put_refusal(error, sizeof error, r);
    else
        (void)snprintf(error, sizeof error, "Redis answered PUBLISH with something unknown.");
    finish(p, m, -1, error);
}

static void on_failed(void *owner, const char *why)
{
    struct redis_publisher *p = owner;
    char error[600];
    (void)uv_timer_stop(&p->idle);
    (void)snprintf(error, sizeof error, "Redis has not confirmed that it was published: %s.", why);
    fail_all(p, error);
}

/* ---- private to net -------------------------------------------------------------------------- */

struct redis_publisher *redis_publisher_create(uv_loop_t *loop, const struct redis_options *options)
{
    static const struct redis_ctl_events events = {on_reply, on_failed};
    struct redis_publisher *p = calloc(1, sizeof *p);
    if (p == NULL)
        return NULL;
    if (redis_url_copy(&p->url, options->url) != ERR_OK) {
        free(p);
        return NULL;
    }
    p->ctl =
        redis_ctl_create(loop, options->tls, options->ping_timeout_ms, "redis.url", &events, p);
    if (p->ctl == NULL) {
        redis_url_finish(&p->url);
        free(p);
        return NULL;
    }
    redis_ctl_point(p->ctl, &p->url);
    p->idle_ms = (uint64_t)options->ping_timeout_ms * IDLE_TIMEOUTS;
    list_init(&p->under_way);
    (void)uv_timer_init(loop, &p->idle);
    p->idle.data = p;
    (void)snprintf(p->why, sizeof p->why, "not connected yet");
    return p;
}

static void on_closed(uv_handle_t *handle)
{
    struct redis_publisher *p = handle->data;
    redis_url_finish(&p->url);
    free(p);
}

void redis_publisher_destroy(struct redis_publisher *p)
{
    redis_publisher_stop(p, "tickerd is stopping");
    redis_ctl_destroy(p->ctl);
    uv_close((uv_handle_t *)&p->idle, on_closed);
}

void redis_publisher_start(struct redis_publisher *p, const struct addr *addr)
{
    p->url.addr = *addr;
    p->started = true;
}

void redis_publisher_stop(struct redis_publisher *p, const char *why)
{
    char error[sizeof p->why + 100];
    p->started = false;
    (void)snprintf(p->why, sizeof p->why, "%s", why);
    (void)uv_timer_stop(&p->idle);
    redis_ctl_close(p->ctl);
    (void)snprintf(error, sizeof error, "Redis has not confirmed that it was published: %s.",
                   p->why);
    fail_all(p, error);
}

void redis_publisher_send(struct redis_publisher *p, const char *channel, size_t channel_len,
                          const char *payload, size_t payload_len, source_published *done,
                          void *ctx)
{
    char error[sizeof p->why + 100];
    if (!p->started) {
        (void)snprintf(error, sizeof error, "Redis is away (%s); try again later.", p->why);
        done(ctx, -1, error);
        return;
    }
    if (p->count >= UNDER_WAY_MAX ||
        (p->count > 0 && p->bytes + payload_len > UNDER_WAY_BYTES_MAX)) {
        done(ctx, -1, "Too many messages wait for Redis to confirm them; try again later.");
        return;
    }
    struct message *m = malloc(sizeof *m);
    if (m == NULL) {
        done(ctx, -1, "Out of memory; try again later.");
        return;
    }
    *m = (struct message){.len = payload_len, .done = done, .ctx = ctx};
    list_init(&m->link);
    list_push(&p->under_way, &m->link);
    p->count++;
    p->bytes += payload_len;
    (void)uv_timer_stop(&p->idle);
    const char *argv[] = {"PUBLISH", channel, payload};
    const size_t lens[] = {7, channel_len, payload_len};
    redis_ctl_send(p->ctl, 3, argv, lens);
}
