/* publish, disconnect, reload, drain: one POST each. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tickerd/base/err.h"
#include "tickerd/base/file.h"
#include "tickerd/ctl/commands.h"
#include "tickerd/ctl/text.h"

enum { PAYLOAD_MAX = 512 * 1024 * 1024 };

/* What there is to print in words, from an answer that is good. */
typedef void say_fn(const struct ctl *c, const json_t *json, struct buf *out);

static int order(struct ctl *c, const char *target, const struct buf *body, say_fn *say)
{
    static const struct buf nothing = BUF_INIT;
    struct admin_answer answer;
    struct buf out = BUF_INIT;
    int status = admin_order(c, "POST", target, body == NULL ? &nothing : body, &answer);
    if (c->options->value[OPT_JSON] != NULL && answer.json != NULL) {
        (void)ctl_print_json(c, answer.json);
    } else if (status == CTL_GOOD) {
        say(c, answer.json, &out);
        (void)screen_write(&out);
    }
    buf_finish(&out);
    admin_answer_finish(&answer);
    return status;
}

static void put_number(struct buf *out, const char *before, uint64_t n, const char *one,
                       const char *many)
{
    buf_str(out, before);
    text_count(out, n);
    buf_printf(out, " %s\n", n == 1 ? one : many);
}

/* ---- publish --------------------------------------------------------------------------------- */

static void say_published(const struct ctl *c, const json_t *json, struct buf *out)
{
    uint64_t n = member_count(json, "receivers");
    (void)c;
    put_number(out, "published; Redis passed it to ", n, "subscriber", "subscribers");
    if (n == 0)
        buf_str(out, "  None is surprising: tickerd itself should be one. Is the channel's prefix "
                     "right, and Redis up?\n");
}

static int read_payload(const struct ctl_options *o, struct buf *payload)
{
    const char *data = o->arg_count > 1 ? o->args[1] : "-";
    if (strcmp(data, "-") != 0) {
        buf_str(payload, data);
        return CTL_GOOD;
    }
    int err = file_read(payload, "/dev/stdin", PAYLOAD_MAX, NULL);
    if (err == 0)
        return CTL_GOOD;
    ctl_say("standard input cannot be read: %s",
            err == ERR_UNKNOWN || err == ERR_SYSTEM ? strerror(errno) : err_text(err));
    return CTL_USAGE;
}

/* {"event":…,"data":…}: what a person types as --event is a string, and so is the data. */
static void put_envelope(struct buf *out, const char *event, const struct buf *data)
{
    buf_str(out, "{\"event\":\"");
    buf_json(out, event, strlen(event));
    buf_str(out, "\",\"data\":\"");
    buf_json(out, data->data, data->len);
    buf_str(out, "\"}");
    out->failed = out->failed || data->failed;
}

int command_publish(struct ctl *c)
{
    const struct ctl_options *o = c->options;
    struct buf data = BUF_INIT, envelope = BUF_INIT, target = BUF_INIT;
    int status = read_payload(o, &data);
    if (status == CTL_GOOD) {
        if (o->value[OPT_EVENT] != NULL)
            put_envelope(&envelope, o->value[OPT_EVENT], &data);
        buf_str(&target, "/publish");
        query_add(&target, "channel", o->args[0]);
        status = order(c, buf_cstr(&target), o->value[OPT_EVENT] != NULL ? &envelope : &data,
                       say_published);
    }
    buf_finish(&data);
    buf_finish(&envelope);
    buf_finish(&target);
    return status;
}

/* ---- the others ------------------------------------------------------------------------------ */

static void say_disconnected(const struct ctl *c, const json_t *json, struct buf *out)
{
    (void)c;
    put_number(out, "ended ", member_count(json, "streams"), "stream of this instance",
               "streams of this instance");
}

int command_disconnect(struct ctl *c)
{
    struct buf target = BUF_INIT;
    buf_str(&target, "/disconnect");
    query_add(&target, "sub", c->options->value[OPT_SUB]);
    query_add(&target, "channel", c->options->value[OPT_CHANNEL]);
    int status = order(c, buf_cstr(&target), NULL, say_disconnected);
    buf_finish(&target);
    return status;
}

static void put_keys(struct buf *out, const char *before, const json_t *keys)
{
    size_t i;
    const json_t *key;
    json_array_foreach(keys, i, key)
    {
        const char *text = json_string_value(key);
        buf_str(out, i == 0 ? before : ", ");
        if (text != NULL)
            text_safe(out, text, strlen(text));
    }
    if (json_array_size(keys) > 0)
        buf_byte(out, '\n');
}

static void say_reloaded(const struct ctl *c, const json_t *json, struct buf *out)
{
    const json_t *changed = member(json, "changed"), *restart = member(json, "needs_restart");
    const struct screen *s = &c->screen;
    buf_printf(out, "%sreloaded%s", screen_on(s, HUE_GOOD), screen_off(s, HUE_GOOD));
    buf_str(out,
            json_array_size(changed) + json_array_size(restart) > 0 ? "\n" : "; nothing differs\n");
    put_keys(out, "  changed: ", changed);
    put_keys(out, "  needs a restart: ", restart);
}

int command_reload(struct ctl *c)
{
    return order(c, "/reload", NULL, say_reloaded);
}

static void say_draining(const struct ctl *c, const json_t *json, struct buf *out)
{
    (void)c;
    (void)json;
    buf_str(out, "draining: the clients are sent away over drain.timeout, then tickerd stops\n");
}

int command_drain(struct ctl *c)
{
    return order(c, "/drain", NULL, say_draining);
}
