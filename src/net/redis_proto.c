#include "redis_proto.h"

#include <hiredis/hiredis.h>
#include <stdlib.h>
#include <string.h>

#include "redis_errors.h"
#include "redis_resp.h"
#include "redis_subs.h"
#include "tickerd/base/clock.h"
#include "tickerd/base/err.h"
#include "tickerd/base/log.h"

enum {
    TEXT_MAX = 200,                           /* of a server's error that is passed on */
    REPLY_MAX = 512 * 1024 * 1024 + 64 * 1024 /* Redis allows 512 MB for one string */
};

struct redis_proto {
    const struct source_events *events;
    void *ctx;
    int (*on_hello)(void *owner, const struct redis_hello *hello, const char **why);
    void (*on_pong)(void *owner);
    void (*on_ready)(void *owner);
    void *owner;
    char *user;     /* owned; may be NULL */
    char *password; /* owned; may be NULL */

    struct resp_reader *reader; /* NULL: no connection */
    struct redis_subs subs;
    struct link sent;    /* unanswered, in order: one of those below, or a subscription's link */
    struct link refused; /* subscriptions that wait for redis_proto_retry */
    struct link auth;    /* the entry of AUTH in `sent` */
    struct link hello;   /* the entry of HELLO in `sent` */
    struct link info;    /* the entry of INFO in `sent` */
    struct link ping;    /* the entry of PING in `sent` */
    bool greeted;        /* subscriptions may be sent */
    bool ready;          /* the first PING has been answered */
    bool acked;          /* the caller was told of an acknowledgement on this connection */
    bool stopped;
    struct buf out;
    struct buf reason;
    struct buf text; /* a server's error as a C string */
    struct redis_notice refusals;
    struct redis_notice pings;
};

static void send_auth(struct redis_proto *p)
{
    if (p->user == NULL && p->password == NULL)
        return;
    const char *password = p->password != NULL ? p->password : "";
    const char *argv[] = {"AUTH", p->user != NULL ? p->user : password, password};
    const size_t lens[] = {4, strlen(argv[1]), strlen(argv[2])};
    resp_command(&p->out, p->user != NULL ? 3 : 2, argv, lens);
    list_push(&p->sent, &p->auth);
}

static void send_ping(struct redis_proto *p)
{
    const char *argv[] = {"PING"};
    const size_t lens[] = {4};
    resp_command(&p->out, 1, argv, lens);
    list_push(&p->sent, &p->ping);
}

/* Every user may say HELLO, which is not so of ROLE and INFO. */
static void send_hello(struct redis_proto *p)
{
    const char *argv[] = {"HELLO", "2"};
    const size_t lens[] = {5, 1};
    resp_command(&p->out, 2, argv, lens);
    list_push(&p->sent, &p->hello);
}

static void send_info(struct redis_proto *p)
{
    const char *argv[] = {"INFO"};
    const size_t lens[] = {4};
    resp_command(&p->out, 1, argv, lens);
    list_push(&p->sent, &p->info);
}

static void send_turn(struct redis_proto *p, struct redis_sub *sub)
{
    static const char *const verbs[2][2] = {{"SUBSCRIBE", "UNSUBSCRIBE"},
                                            {"PSUBSCRIBE", "PUNSUBSCRIBE"}};
    const char *argv[] = {verbs[sub->kind][sub->on], sub->name};
    const size_t lens[] = {strlen(argv[0]), sub->len};
    resp_command(&p->out, 2, argv, lens);
    sub->flight = FLIGHT_SENT;
    list_push(&p->sent, &sub->link);
}

/* Brings a subscription one step nearer to what is wanted. It may be freed. */
static void settle(struct redis_proto *p, struct redis_sub *sub)
{
    switch (redis_sub_next(sub)) {
    case TODO_SEND:
        if (p->greeted)
            send_turn(p, sub);
        break;
    case TODO_RELEASE:
        redis_subs_release(&p->subs, sub);
        break;
    case TODO_NOTHING:
        break;
    }
}

static int broken(struct redis_proto *p, int code, const char *why)
{
    buf_reset(&p->reason);
    buf_str(&p->reason, why);
    return code;
}

/* The server's text as a bounded C string. */
static const char *as_text(struct redis_proto *p, struct resp_slice s)
{
    buf_reset(&p->text);
    buf_append(&p->text, s.p, s.n < TEXT_MAX ? s.n : TEXT_MAX);
    return buf_cstr(&p->text);
}

static int after_callback(const struct redis_proto *p)
{
    return p->stopped ? ERR_CLOSED : ERR_OK;
}

/* Replies that are no errors. */

static int take_ack(struct redis_proto *p, enum source_sub kind, bool on, struct resp_slice name)
{
    struct redis_sub *sub = redis_subs_find(&p->subs, kind, name.p, name.n);
    if (sub == NULL || !redis_sub_acked(sub, on)) {
        log_debug("redis: an acknowledgement nobody asked for: %.*s", (int)name.n, name.p);
        return ERR_OK;
    }
    settle(p, sub);
    p->acked = true;
    p->events->on_acked(p->ctx, kind, name.p, name.n, on);
    return after_callback(p);
}

static int take_pong(struct redis_proto *p)
{
    if (list_empty(&p->ping))
        return ERR_OK;
    if (list_first(&p->sent) != &p->ping)
        return broken(p, ERR_INVALID, "the server left a command unanswered");
    list_remove(&p->ping);
    if (!p->ready) {
        p->ready = true;
        p->on_ready(p->owner);
    } else if (p->on_pong != NULL) {
        p->on_pong(p->owner);
    }
    return after_callback(p);
}

static void send_subscriptions(struct redis_proto *p)
{
    for (int kind = 0; kind < 2; kind++) {
        size_t pos = 0;
        struct redis_sub *sub;
        while ((sub = strmap_next(&p->subs.names[kind], &pos)) != NULL)
            send_turn(p, sub);
    }
    send_ping(p);
}

static int greet(struct redis_proto *p, struct redis_hello hello)
{
    const char *why = "";
    list_remove(&p->hello);
    list_remove(&p->info);
    if (p->on_hello(p->owner, &hello, &why) != ERR_OK)
        return broken(p, ERR_AGAIN, why);
    p->greeted = true;
    send_subscriptions(p);
    return after_callback(p);
}

static int take_string(struct redis_proto *p, struct resp_slice text)
{
    if (list_first(&p->sent) == &p->info)
        return greet(p, redis_hello_parse_info(text.p, text.n));
    return broken(p, ERR_INVALID, "the server sent what Pub/Sub does not know");
}

static int take_status(struct redis_proto *p, struct resp_slice text)
{
    if (list_first(&p->sent) == &p->auth) {
        list_remove(&p->auth);
        return ERR_OK;
    }
    if (text.n == 4 && memcmp(text.p, "PONG", 4) == 0)
        return take_pong(p);
    return broken(p, ERR_INVALID, "the server answered what nobody asked");
}

static int take_array(struct redis_proto *p, const struct resp_reply *r)
{
    const struct resp_slice *part = r->part;
    if (!p->greeted) {
        if (list_first(&p->sent) == &p->hello)
            return greet(p, redis_hello_parse(part, r->count));
        return broken(p, ERR_INVALID, "the server answered what nobody asked");
    }
    if (r->count == 4 && resp_is(part[0], "pmessage")) {
        p->events->on_message(p->ctx, part[1].p, part[1].n, part[2].p, part[2].n, part[3].p,
                              part[3].n);
        return after_callback(p);
    }
    if (r->count == 3 && resp_is(part[0], "message")) {
        p->events->on_message(p->ctx, NULL, 0, part[1].p, part[1].n, part[2].p, part[2].n);
        return after_callback(p);
    }
    if (r->count == 3 && resp_is(part[0], "subscribe"))
        return take_ack(p, SOURCE_CHANNEL, true, part[1]);
    if (r->count == 3 && resp_is(part[0], "psubscribe"))
        return take_ack(p, SOURCE_PATTERN, true, part[1]);
    if (r->count == 3 && resp_is(part[0], "unsubscribe"))
        return take_ack(p, SOURCE_CHANNEL, false, part[1]);
    if (r->count == 3 && resp_is(part[0], "punsubscribe"))
        return take_ack(p, SOURCE_PATTERN, false, part[1]);
    if (r->count == 2 && resp_is(part[0], "pong"))
        return take_pong(p);
    log_debug("redis: ignoring a reply of kind %.*s", (int)(part[0].n < 64 ? part[0].n : 64),
              part[0].p);
    return ERR_OK;
}

/* Errors. */

static void log_refusal(struct redis_proto *p, const struct redis_sub *sub, const char *text,
                        const struct redis_error *error)
{
    static const char *const nouns[] = {"channel", "pattern"};
    bool due = redis_notice_due(&p->refusals, error->what, clock_mono_us());
    log_write(due ? LOG_ERROR : LOG_DEBUG,
              "redis: the server refused to %ssubscribe the %s %.*s: %s%s%s (trying again; more of "
              "this kind are logged once a minute)",
              sub->on ? "un" : "", nouns[sub->kind], (int)(sub->len < 256 ? sub->len : 256),
              sub->name, text, error->todo[0] != '\0' ? "; " : "", error->todo);
}

static int take_refusal(struct redis_proto *p, struct redis_sub *sub, const char *text,
                        const struct redis_error *error)
{
    log_refusal(p, sub, text, error);
    list_remove(&sub->link);
    list_push(&p->refused, &sub->link);
    sub->flight = FLIGHT_REFUSED;
    redis_sub_pin(sub);
    bool report = !sub->on;
    settle(p, sub);
    if (report)
        p->events->on_refused(p->ctx, sub->kind, sub->name, sub->len, text);
    redis_sub_unpin(sub);
    return after_callback(p);
}

static int take_error(struct redis_proto *p, struct resp_slice s)
{
    struct link *head = list_first(&p->sent);
    bool to_auth = head == &p->auth;
    struct redis_error error = redis_error_classify(s.p, s.n, to_auth);
    if (error.verdict != REDIS_COMMAND) {
        buf_reset(&p->reason);
        buf_printf(&p->reason, "%s: %s; %s",
                   error.verdict == REDIS_LOGIN ? "login refused" : "not served", error.what,
                   error.todo);
        return error.verdict == REDIS_LOGIN ? ERR_DENIED : ERR_AGAIN;
    }
    const char *text = as_text(p, s);
    if (head == NULL) {
        buf_reset(&p->reason);
        buf_printf(&p->reason, "the server reported: %s", text);
        return ERR_INVALID;
    }
    if (head == &p->hello) {
        list_remove(&p->hello);
        send_info(p);
        return ERR_OK;
    }
    if (head == &p->info)
        return greet(p, (struct redis_hello){REDIS_KIND_UNKNOWN, REDIS_ROLE_UNKNOWN});
    if (head != &p->ping)
        return take_refusal(p, container_of(head, struct redis_sub, link), text, &error);
    /* A refused PING (no right to it, or a busy script) is a sign of life all the same. */
    if (redis_notice_due(&p->pings, error.what, clock_mono_us()))
        log_warn("redis: the server refused PING: %s; %s", text, error.todo);
    return take_pong(p);
}

static int take_reply(void *ctx, const struct resp_reply *r)
{
    struct redis_proto *p = ctx;
    switch (r->kind) {
    case RESP_ARRAY:
        return take_array(p, r);
    case RESP_STATUS:
        return take_status(p, r->part[0]);
    case RESP_ERROR:
        return take_error(p, r->part[0]);
    case RESP_STRING:
        return take_string(p, r->part[0]);
    case RESP_OTHER:
        if (list_first(&p->sent) != &p->hello)
            break;
        list_remove(&p->hello); /* an answer longer than any known one */
        send_info(p);
        return ERR_OK;
    }
    return broken(p, ERR_INVALID, "the server sent what Pub/Sub does not know");
}

/* The interface. */

static void wipe(char *secret)
{
    if (secret != NULL)
        explicit_bzero(secret, strlen(secret));
    free(secret);
}

struct redis_proto *redis_proto_create(const struct redis_proto_options *options)
{
    struct redis_proto *p = calloc(1, sizeof *p);
    if (p == NULL)
        return NULL;
    p->events = options->events;
    p->ctx = options->ctx;
    p->on_hello = options->on_hello;
    p->on_pong = options->on_pong;
    p->on_ready = options->on_ready;
    p->owner = options->owner;
    redis_subs_init(&p->subs);
    list_init(&p->sent);
    list_init(&p->refused);
    list_init(&p->auth);
    list_init(&p->hello);
    list_init(&p->info);
    list_init(&p->ping);
    if (options->user != NULL && (p->user = strdup(options->user)) == NULL)
        goto fail;
    if (options->password != NULL && (p->password = strdup(options->password)) == NULL)
        goto fail;
    return p;
fail:
    redis_proto_destroy(p);
    return NULL;
}

void redis_proto_destroy(struct redis_proto *p)
{
    if (p == NULL)
        return;
    resp_destroy(p->reader);
    redis_subs_finish(&p->subs);
    buf_finish(&p->out);
    buf_finish(&p->reason);
    buf_finish(&p->text);
    wipe(p->password);
    free(p->user);
    free(p);
}

int redis_proto_begin(struct redis_proto *p)
{
    p->reader = resp_create(take_reply, p, REPLY_MAX);
    if (p->reader == NULL)
        return ERR_NOMEM;
    send_auth(p);
    send_hello(p);
    return p->out.failed ? ERR_NOMEM : ERR_OK;
}

int redis_proto_feed(struct redis_proto *p, const char *data, size_t n)
{
    if (p->stopped || p->reader == NULL)
        return ERR_CLOSED;
    buf_reset(&p->reason);
    int rc = resp_feed(p->reader, data, n);
    if (rc == ERR_INVALID && p->reason.len == 0) {
        bool alert = n > 1 && data[0] == 0x15 && data[1] == 0x03; /* how a record of TLS begins */
        buf_printf(&p->reason, "this is not the Redis protocol: %s",
                   alert ? "it is TLS, which takes rediss://" : resp_error(p->reader));
        return rc;
    }
    return rc == ERR_OK && p->out.failed ? ERR_NOMEM : rc;
}

const char *redis_proto_reason(struct redis_proto *p)
{
    const char *text = buf_cstr(&p->reason);
    return text[0] != '\0' ? text : "out of memory";
}

void redis_proto_end(struct redis_proto *p)
{
    resp_destroy(p->reader);
    p->reader = NULL;
    p->greeted = p->ready = p->acked = false;
    redis_subs_forget(&p->subs);
    list_remove(&p->auth);
    list_remove(&p->hello);
    list_remove(&p->info);
    list_remove(&p->ping);
    buf_finish(&p->out);
}

void redis_proto_stop(struct redis_proto *p)
{
    p->stopped = true;
}

int redis_proto_subscribe(struct redis_proto *p, enum source_sub kind, const char *name, size_t len)
{
    struct redis_sub *sub = redis_subs_get(&p->subs, kind, name, len);
    if (sub == NULL)
        return ERR_NOMEM;
    sub->wanted = true;
    settle(p, sub);
    return ERR_OK;
}

void redis_proto_unsubscribe(struct redis_proto *p, enum source_sub kind, const char *name,
                             size_t len)
{
    struct redis_sub *sub = redis_subs_find(&p->subs, kind, name, len);
    if (sub == NULL)
        return;
    sub->wanted = false;
    settle(p, sub);
}

bool redis_proto_ping(struct redis_proto *p)
{
    if (!p->greeted || !list_empty(&p->ping))
        return false;
    send_ping(p);
    return true;
}

bool redis_proto_acked(const struct redis_proto *p)
{
    return p->acked;
}

bool redis_proto_refused(const struct redis_proto *p)
{
    return !list_empty(&p->refused);
}

void redis_proto_retry(struct redis_proto *p)
{
    list_each(&p->refused, it) {
        struct redis_sub *sub = container_of(it, struct redis_sub, link);
        list_remove(it);
        sub->flight = FLIGHT_NONE;
        settle(p, sub);
    }
}

size_t redis_proto_names(const struct redis_proto *p)
{
    return redis_subs_count(&p->subs);
}

struct buf *redis_proto_out(struct redis_proto *p)
{
    return &p->out;
}
