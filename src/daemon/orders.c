#include "tickerd/daemon/orders.h"

#include <stdlib.h>
#include <string.h>

#include "tickerd/base/err.h"
#include "tickerd/base/list.h"
#include "tickerd/base/log.h"
#include "tickerd/daemon/held.h"
#include "tickerd/daemon/hub.h"
#include "tickerd/daemon/reload.h"
#include "tickerd/daemon/status.h"
#include "tickerd/wire/query.h"
#include "tickerd/wire/topic.h"

/* A parameter as a string of its own; NULL: it is not there. */
static int take_param(char **out, struct http_slice query, const char *name, struct buf *why)
{
    struct buf value = BUF_INIT;
    int err = query_find(query.p, query.len, name, &value);
    *out = NULL;
    if (err == ERR_OK && value.len > 0 && memchr(value.data, '\0', value.len) != NULL)
        err = ERR_INVALID;
    if (err == ERR_OK && (*out = strdup(buf_cstr(&value))) == NULL)
        err = ERR_NOMEM;
    if (err == ERR_INVALID)
        buf_printf(why, "The parameter %s is malformed.", name);
    buf_finish(&value);
    return err == ERR_UNKNOWN ? ERR_OK : err;
}

/* ---- reload ---------------------------------------------------------------------------------- */

struct reload_order {
    struct errand errand;
    struct reload_waiter waiter;
    struct admin *admin;
    struct held *held;
};

static void reload_done(struct reload_waiter *w, const struct reload_result *result)
{
    struct reload_order *o = container_of(w, struct reload_order, waiter);
    struct buf json = BUF_INIT;
    if (result == NULL) {
        held_error(o->held, 503, "draining", "The server is shutting down.");
    } else {
        status_put_reload(&json, result);
        held_answer(o->held, result->ok ? 200 : 422, &json);
    }
    free(o);
}

static bool run_reload(struct errand *e, void *ctx)
{
    struct reload_order *o = container_of(e, struct reload_order, errand);
    (void)ctx;
    o->waiter.done = reload_done;
    reload_ask(o->admin->reload, &o->waiter);
    return true;
}

static void cancel_reload(struct errand *e)
{
    reload_done(&container_of(e, struct reload_order, errand)->waiter, NULL);
}

void orders_reload(struct exchange *x, struct http_slice query)
{
    struct reload_order *o = calloc(1, sizeof *o);
    (void)query;
    if (o == NULL) {
        answer_no_memory(x, NULL);
        return;
    }
    o->errand = (struct errand){.run = run_reload, .cancel = cancel_reload};
    o->admin = x->p->admin;
    o->held = held_create(x);
    if (o->held == NULL) {
        free(o);
        return;
    }
    log_info("admin: reload");
    desk_post(hub_desk(o->admin->hub), &o->errand);
}

/* ---- drain ----------------------------------------------------------------------------------- */

struct drain_order {
    struct errand errand;
    struct admin *admin;
};

static bool run_drain(struct errand *e, void *ctx)
{
    struct drain_order *o = container_of(e, struct drain_order, errand);
    (void)ctx;
    o->admin->drain(o->admin->server);
    free(o);
    return true;
}

static void cancel_drain(struct errand *e)
{
    free(container_of(e, struct drain_order, errand));
}

void orders_drain(struct exchange *x, struct http_slice query)
{
    static const char body[] = "{\"draining\":true}\n";
    struct drain_order *o = malloc(sizeof *o);
    (void)query;
    if (o == NULL) {
        answer_no_memory(x, NULL);
        return;
    }
    o->errand = (struct errand){.run = run_drain, .cancel = cancel_drain};
    o->admin = x->p->admin;
    /* Before it is begun, since it may be over at once. */
    answer_body(x, 202, "application/json", "", body, sizeof body - 1);
    desk_post(hub_desk(o->admin->hub), &o->errand);
}

/* ---- disconnect ------------------------------------------------------------------------------ */

struct disconnect_order {
    struct errand errand;
    struct command *command;
};

static void disconnect_done(void *ctx, uint64_t streams)
{
    struct buf json = BUF_INIT;
    buf_printf(&json, "{\"streams\":%llu}\n", (unsigned long long)streams);
    held_answer(ctx, 200, &json);
}

static bool run_disconnect(struct errand *e, void *ctx)
{
    struct disconnect_order *o = container_of(e, struct disconnect_order, errand);
    hub_command(ctx, o->command);
    free(o);
    return true;
}

static void cancel_disconnect(struct errand *e)
{
    struct disconnect_order *o = container_of(e, struct disconnect_order, errand);
    command_destroy(o->command);
    free(o);
}

/* Takes over `what`. */
static void disconnect(struct exchange *x, struct control *what)
{
    struct disconnect_order *o = malloc(sizeof *o);
    struct command *command = o == NULL ? NULL : command_create(what);
    if (command == NULL) {
        control_finish(what);
        free(o);
        answer_no_memory(x, NULL);
        return;
    }
    command->ctx = held_create(x);
    if (command->ctx == NULL) {
        command_destroy(command);
        free(o);
        return;
    }
    command->done = disconnect_done;
    o->errand = (struct errand){.run = run_disconnect, .cancel = cancel_disconnect};
    o->command = command;
    desk_post(hub_desk(x->p->admin->hub), &o->errand);
}

void orders_disconnect(struct exchange *x, struct http_slice query)
{
    struct control what = {.sub = NULL};
    struct buf why = BUF_INIT;
    int err = take_param(&what.sub, query, "sub", &why);
    if (err == ERR_OK)
        err = take_param(&what.channel, query, "channel", &why);
    const char *unfit = err == ERR_OK ? control_unfit(&what) : NULL;
    if (unfit != NULL)
        buf_printf(&why, "This disconnects nobody: %s.", unfit);
    if (err == ERR_OK && unfit == NULL) {
        disconnect(x, &what);
    } else {
        control_finish(&what);
        if (err == ERR_NOMEM)
            answer_no_memory(x, NULL);
        else
            answer_error(x, 400, "bad_request", buf_cstr(&why), "");
    }
    buf_finish(&why);
}

/* ---- publish --------------------------------------------------------------------------------- */

struct publish_order {
    struct errand errand;
    struct held *held;
    char *channel;
    struct buf payload;
};

static void publish_destroy(struct publish_order *o)
{
    free(o->channel);
    buf_finish(&o->payload);
    free(o);
}

static void publish_done(void *ctx, long long receivers, const char *error)
{
    struct publish_order *o = ctx;
    struct buf json = BUF_INIT;
    buf_printf(&json, "{\"receivers\":%lld}\n", receivers);
    if (receivers < 0)
        held_error(o->held, 503, "not_published", error);
    else
        held_answer(o->held, 200, &json);
    buf_finish(&json);
    publish_destroy(o);
}

static bool run_publish(struct errand *e, void *ctx)
{
    struct publish_order *o = container_of(e, struct publish_order, errand);
    hub_publish(ctx, o->channel, strlen(o->channel), o->payload.data, o->payload.len, publish_done,
                o);
    return true;
}

static void cancel_publish(struct errand *e)
{
    publish_done(container_of(e, struct publish_order, errand), -1, "The server is shutting down.");
}

/* Takes over the channel. */
static void publish(struct exchange *x, char *channel)
{
    struct publish_order *o = calloc(1, sizeof *o);
    struct http_slice body = httpreq_body(x->request);
    if (o == NULL) {
        free(channel);
        answer_no_memory(x, NULL);
        return;
    }
    o->errand = (struct errand){.run = run_publish, .cancel = cancel_publish};
    o->channel = channel;
    if (body.len > 0)
        buf_append(&o->payload, body.p, body.len);
    if (o->payload.failed)
        answer_no_memory(x, NULL);
    else
        o->held = held_create(x);
    if (o->held == NULL)
        publish_destroy(o);
    else
        desk_post(hub_desk(x->p->admin->hub), &o->errand);
}

void orders_publish(struct exchange *x, struct http_slice query)
{
    char *channel = NULL;
    struct buf why = BUF_INIT;
    if (!x->p->config->admin_publish) {
        answer_error(x, 403, "publish_off",
                     "This listener may not publish; the key admin_publish allows it.", "");
        return;
    }
    int err = take_param(&channel, query, "channel", &why);
    size_t len = channel == NULL ? 0 : strlen(channel);
    if (err == ERR_NOMEM)
        answer_no_memory(x, NULL);
    else if (err != ERR_OK)
        answer_error(x, 400, "bad_channel", buf_cstr(&why), "");
    else if (channel == NULL)
        answer_error(x, 400, "no_channel", "Name a channel: /publish?channel=<name>.", "");
    else if (!topic_valid(channel, len) || topic_reserved(channel, len))
        answer_error(x, 400, "bad_channel",
                     "A channel name must be 1 to 255 bytes of valid UTF-8 without control "
                     "characters, and must not begin with '$'.",
                     "");
    else {
        publish(x, channel);
        channel = NULL;
    }
    free(channel);
    buf_finish(&why);
}
