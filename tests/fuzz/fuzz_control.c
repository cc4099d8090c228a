/* A message on control.channel: taken just when a second reading says it should be, with the
 * meaning that one finds; spelt anew, with and without escapes, it means the same; and what is
 * logged of it is one line that says it whole. */
#include <jansson.h>

#include "fuzz.h"
#include "tickerd/base/err.h"
#include "tickerd/wire/control.h"
#include "tickerd/wire/token.h"
#include "tickerd/wire/topic.h"

static int parse(struct control *c, const char *text, size_t len)
{
    const char *why = NULL;
    char *copy = fuzz_copy(text, len);
    int err = control_parse(c, copy, len, &why);
    free(copy);
    FUZZ_CHECK(err == ERR_OK || (err == ERR_INVALID && why != NULL && why[0] != '\0'));
    return err;
}

static bool same_text(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/* What was read says the same when it is read again. */
static void check_again(const struct control *c, size_t flags)
{
    struct control again;
    json_t *json = json_pack("{s:{s:s*,s:s*}}", "disconnect", "channel", c->channel, "sub", c->sub);
    char *text = json_dumps(json, flags);
    FUZZ_CHECK(text != NULL && parse(&again, text, strlen(text)) == ERR_OK);
    FUZZ_CHECK(same_text(c->sub, again.sub) && same_text(c->channel, again.channel));
    control_finish(&again);
    free(text);
    json_decref(json);
}

/* Whether this stands next, ` name "text"`; it does not if there is none. */
static void check_part(struct fuzz_text *rest, const char *name, const char *text)
{
    char before[16];
    json_error_t error;
    if (text == NULL)
        return;
    size_t n = (size_t)snprintf(before, sizeof before, " %s ", name);
    FUZZ_CHECK(rest->len > n && memcmp(rest->p, before, n) == 0);
    json_t *value =
        json_loadb(rest->p + n, rest->len - n, JSON_DECODE_ANY | JSON_DISABLE_EOF_CHECK, &error);
    FUZZ_CHECK(same_text(json_string_value(value), text));
    n += (size_t)error.position;
    *rest = (struct fuzz_text){rest->p + n, rest->len - n};
    json_decref(value);
}

static void check_printed(const struct control *c)
{
    static const char command[] = "disconnect";
    struct buf out = BUF_INIT;
    control_print(&out, c);
    FUZZ_CHECK(out.len > sizeof command - 1 && memcmp(out.data, command, sizeof command - 1) == 0);
    struct fuzz_text rest = {out.data + sizeof command - 1, out.len - (sizeof command - 1)};
    for (size_t i = 0; i < rest.len; i++)
        FUZZ_CHECK((unsigned char)rest.p[i] >= ' ');
    check_part(&rest, "sub", c->sub);
    check_part(&rest, "channel", c->channel);
    FUZZ_CHECK(rest.len == 0);
    buf_finish(&out);
}

static bool sub_fits(const json_t *sub)
{
    return json_is_string(sub) && json_string_length(sub) >= 1 &&
           json_string_length(sub) <= TOKEN_SUBJECT_MAX;
}

static bool channel_fits(const json_t *channel)
{
    const char *name = json_string_value(channel);
    return name != NULL && name[0] != '$' && topic_valid(name, strlen(name));
}

static bool is_command(const json_t *root, size_t size)
{
    const json_t *what = json_object_get(root, "disconnect");
    const json_t *sub = json_object_get(what, "sub"), *channel = json_object_get(what, "channel");
    size_t named = (size_t)(sub != NULL) + (size_t)(channel != NULL);
    return size <= CONTROL_MAX && json_object_size(root) == 1 && named > 0 &&
           json_object_size(what) == named && (sub == NULL || sub_fits(sub)) &&
           (channel == NULL || channel_fits(channel));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct control c;
    int err = parse(&c, (const char *)data, size);
    json_t *root = json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES, NULL);
    FUZZ_CHECK((err == ERR_OK) == is_command(root, size));
    if (err == ERR_OK) {
        const json_t *what = json_object_get(root, "disconnect");
        FUZZ_CHECK(same_text(c.sub, json_string_value(json_object_get(what, "sub"))));
        FUZZ_CHECK(same_text(c.channel, json_string_value(json_object_get(what, "channel"))));
        check_again(&c, JSON_COMPACT);
        check_again(&c, JSON_ENSURE_ASCII | JSON_ESCAPE_SLASH | JSON_INDENT(2));
        check_printed(&c);
        control_finish(&c);
    }
    json_decref(root);
    return 0;
}
