#include "tickerd/wire/control.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "tickerd/base/err.h"
#include "tickerd/wire/token.h"
#include "tickerd/wire/topic.h"

static const char *const no_members =
    "\"disconnect\" must be an object with \"sub\", \"channel\" or both, and nothing else";

/* A member that may be missing. */
static int take(char **out, const json_t *from, const char *name, size_t *taken)
{
    const json_t *value = json_object_get(from, name);
    *out = NULL;
    if (value == NULL)
        return ERR_OK;
    if (!json_is_string(value))
        return ERR_INVALID;
    ++*taken;
    *out = strdup(json_string_value(value));
    return *out == NULL ? ERR_NOMEM : ERR_OK;
}

const char *control_unfit(const struct control *c)
{
    if (c->sub == NULL && c->channel == NULL)
        return "neither \"sub\" nor \"channel\" is there";
    size_t len = c->sub == NULL ? 1 : strlen(c->sub);
    if (len == 0 || len > TOKEN_SUBJECT_MAX)
        return "\"sub\" must have 1 to 255 bytes";
    len = c->channel == NULL ? 0 : strlen(c->channel);
    if (c->channel != NULL && (!topic_valid(c->channel, len) || topic_reserved(c->channel, len)))
        return "\"channel\" is no channel that clients can listen to";
    return NULL;
}

static int read_disconnect(struct control *c, const json_t *what, const char **why)
{
    size_t taken = 0;
    *c = (struct control){.sub = NULL};
    *why = no_members;
    int err = take(&c->sub, what, "sub", &taken);
    if (err == ERR_OK)
        err = take(&c->channel, what, "channel", &taken);
    if (err == ERR_OK && (taken == 0 || taken != json_object_size(what)))
        err = ERR_INVALID;
    if (err == ERR_OK && (*why = control_unfit(c)) != NULL)
        err = ERR_INVALID;
    if (err != ERR_OK)
        control_finish(c);
    return err;
}

int control_parse(struct control *c, const char *text, size_t len, const char **why)
{
    json_error_t error;
    *why = "it is longer than 4096 bytes";
    if (len > CONTROL_MAX)
        return ERR_INVALID;
    json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &error);
    int err = ERR_INVALID;
    *why = "it is not valid JSON, or a key is in it twice";
    if (root == NULL && json_error_code(&error) == json_error_out_of_memory)
        return ERR_NOMEM;
    if (root == NULL)
        return err;
    const json_t *what = json_object_get(root, "disconnect");
    *why = "expected an object with the command \"disconnect\" alone";
    if (what != NULL && json_object_size(root) == 1)
        err = read_disconnect(c, what, why);
    json_decref(root);
    return err;
}

void control_finish(struct control *c)
{
    free(c->sub);
    free(c->channel);
    *c = (struct control){.sub = NULL};
}

static void put(struct buf *out, const char *name, const char *value)
{
    if (value == NULL)
        return;
    buf_printf(out, " %s \"", name);
    buf_json(out, value, strlen(value));
    buf_byte(out, '"');
}

void control_print(struct buf *out, const struct control *c)
{
    buf_str(out, "disconnect");
    put(out, "sub", c->sub);
    put(out, "channel", c->channel);
}
