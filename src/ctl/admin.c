#include "tickerd/ctl/admin.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tickerd/base/clock.h"
#include "tickerd/ctl/text.h"
#include "tickerd/wire/addr.h"

enum { ANSWER_TIME_S = 60, ANSWER_MAX = 64 * 1024 * 1024, NOT_FOUND = 404, NOT_ALLOWED = 405 };

/* ---- asking ---------------------------------------------------------------------------------- */

void admin_url(struct buf *out, const char *admin, const char *target, const char **socket,
               char *storage)
{
    struct addr addr;
    const char *why = NULL;
    *socket = NULL;
    if (addr_parse(&addr, admin, &why) == 0 && addr.is_unix) {
        memcpy(storage, addr.host, strlen(addr.host) + 1);
        *socket = storage;
        buf_printf(out, "http://localhost%s", target);
    } else {
        buf_printf(out, "http://%s%s", admin, target);
    }
}

struct waiting {
    struct admin_answer *answer;
    bool done;
};

static void on_head(void *ctx, long status, int version)
{
    struct waiting *w = ctx;
    (void)version;
    w->answer->status = status;
}

static bool on_body(void *ctx, const char *bytes, size_t len)
{
    struct buf *body = &((struct waiting *)ctx)->answer->body;
    buf_append(body, bytes, len);
    return !body->failed && body->len <= ANSWER_MAX;
}

static void on_end(void *ctx, enum web_end how, const char *why)
{
    struct waiting *w = ctx;
    w->answer->how = how;
    (void)snprintf(w->answer->why, sizeof w->answer->why, "%s", why);
    w->done = true;
}

static const struct web_ops asking = {.head = on_head, .body = on_body, .end = on_end};

static void wait_for(struct ctl *c, struct web_call *call, struct waiting *w)
{
    uint64_t until = clock_mono_us() + (uint64_t)ANSWER_TIME_S * US_PER_S;
    struct admin_answer *answer = w->answer;
    while (!w->done && !answer->interrupted && !answer->late) {
        answer->interrupted = !web_turn(c->web, until);
        answer->late = clock_mono_us() >= until;
    }
    if (!w->done) {
        answer->how = WEB_FAILED;
        web_stop(call);
    }
}

void admin_ask(struct ctl *c, const char *method, const char *target, const struct buf *body,
               struct admin_answer *answer)
{
    struct buf url = BUF_INIT;
    char storage[ADDR_PATH_MAX + 1];
    struct web_ask ask = {.method = method};
    struct waiting waiting = {.answer = answer};
    *answer = (struct admin_answer){.how = WEB_FAILED, .why = "out of memory"};
    admin_url(&url, c->options->value[OPT_ADMIN], target, &ask.socket, storage);
    ask.url = buf_cstr(&url);
    if (body != NULL) {
        ask.body = body->len == 0 ? "" : body->data;
        ask.body_len = body->len;
    }
    struct web_call *call = url.failed ? NULL : web_start(c->web, &ask, &asking, &waiting);
    if (call != NULL)
        wait_for(c, call, &waiting);
    if (answer->how == WEB_ENDED)
        answer->json = json_loadb(answer->body.data, answer->body.len, 0, NULL);
    buf_finish(&url);
}

void admin_answer_finish(struct admin_answer *answer)
{
    buf_finish(&answer->body);
    json_decref(answer->json);
    answer->json = NULL;
}

void query_add(struct buf *target, const char *name, const char *value)
{
    if (value == NULL)
        return;
    char *escaped = value[0] == '\0' ? strdup("") : web_escape(value, strlen(value));
    bool first = target->len == 0 || memchr(target->data, '?', target->len) == NULL;
    if (escaped == NULL)
        target->failed = true;
    else
        buf_printf(target, "%c%s=%s", first ? '?' : '&', name, escaped);
    free(escaped);
}

/* ---- telling --------------------------------------------------------------------------------- */

void ctl_say(const char *fmt, ...)
{
    va_list args;
    char line[4096];
    struct buf safe = BUF_INIT;
    va_start(args, fmt);
    (void)vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    buf_str(&safe, "tickerctl: ");
    text_safe(&safe, line, strlen(line));
    buf_byte(&safe, '\n');
    (void)fflush(stdout);
    (void)fputs(safe.failed ? "tickerctl: out of memory\n" : buf_cstr(&safe), stderr);
    buf_finish(&safe);
}

bool ctl_is_url(const char *text)
{
    char *origin = web_origin(text);
    bool url = origin != NULL;
    if (!url)
        ctl_say("%s is no URL: write it as the page has it, https://example.org/events/news",
                text[0] == '\0' ? "\"\"" : text);
    free(origin);
    return url;
}

void admin_tell_unreachable(const char *admin, const char *why)
{
    ctl_say("nothing answers at the admin address %s (%s)", admin, why);
    (void)fputs("  Is tickerd running, and is \"admin\" in its configuration this address "
                "(null turns it off)?\n"
                "  --admin ADDR or TICKERD_ADMIN names another one.\n",
                stderr);
}

static int tell_missing(struct ctl *c, const struct admin_answer *answer)
{
    const char *admin = c->options->value[OPT_ADMIN];
    if (answer->interrupted)
        return CTL_REFUSED;
    if (answer->late)
        ctl_say("%s gave no answer within %d s", admin, ANSWER_TIME_S);
    else
        admin_tell_unreachable(admin, answer->why);
    return CTL_NO_CONNECTION;
}

static void tell_refused(struct ctl *c, const struct admin_answer *answer)
{
    const char *message = member_text(answer->json, "message", NULL);
    const json_t *errors = member(answer->json, "errors"), *line;
    size_t i;
    if (message == NULL) {
        ctl_say("%s answered %ld, but not as tickerd's admin listener does: is it the right "
                "address?",
                c->options->value[OPT_ADMIN], answer->status);
        return;
    }
    ctl_say("refused (%ld %s): %s", answer->status, member_text(answer->json, "error", "error"),
            message);
    json_array_foreach(errors, i, line)
    {
        if (json_is_string(line))
            ctl_say("  %s", json_string_value(line));
    }
    if (answer->status == NOT_FOUND || answer->status == NOT_ALLOWED)
        ctl_say("is %s the admin listener? The public one takes no orders (see --admin)",
                c->options->value[OPT_ADMIN]);
}

int admin_order(struct ctl *c, const char *method, const char *target, const struct buf *body,
                struct admin_answer *answer)
{
    admin_ask(c, method, target, body, answer);
    if (answer->how != WEB_ENDED)
        return tell_missing(c, answer);
    if (answer->status / 100 == 2 && json_is_object(answer->json))
        return CTL_GOOD;
    tell_refused(c, answer);
    return CTL_REFUSED;
}

bool ctl_print_json(const struct ctl *c, const json_t *json)
{
    struct buf text = BUF_INIT;
    size_t layout = c->screen.terminal ? JSON_INDENT(2) : JSON_COMPACT;
    /* 15 digits are those that a number of this kind keeps: 2.4 is not 2.3999999999999999. */
    char *dump = json_dumps(json, layout | JSON_REAL_PRECISION(15));
    if (dump == NULL)
        text.failed = true;
    else
        text_safe_json(&text, dump, strlen(dump));
    buf_byte(&text, '\n');
    bool ok = screen_write(&text);
    buf_finish(&text);
    free(dump);
    return ok;
}

/* ---- members --------------------------------------------------------------------------------- */

const json_t *member(const json_t *object, const char *path)
{
    char name[64];
    for (size_t len; object != NULL && *path != '\0'; path += len + (path[len] == '.')) {
        len = strcspn(path, ".");
        if (len >= sizeof name)
            return NULL;
        memcpy(name, path, len);
        name[len] = '\0';
        object = json_object_get(object, name);
    }
    return object;
}

const char *member_text(const json_t *object, const char *path, const char *otherwise)
{
    const char *text = json_string_value(member(object, path));
    return text == NULL ? otherwise : text;
}

double member_number(const json_t *object, const char *path)
{
    return json_number_value(member(object, path));
}

uint64_t member_count(const json_t *object, const char *path)
{
    double n = member_number(object, path);
    return n > 0 ? (uint64_t)n : 0;
}
