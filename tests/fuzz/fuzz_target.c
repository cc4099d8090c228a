/* A request target under several rules. What is taken is compared with a second reading of the same
 * text that works on copies, and it means the same when it is written out again. */
#include "fuzz.h"
#include "tickerd/base/err.h"
#include "tickerd/wire/query.h"
#include "tickerd/wire/target.h"
#include "tickerd/wire/topic.h"

/* ---- the second reading ------------------------------------------------------------------------
 */

struct wanted {
    struct fuzz_text topics[1024]; /* owned; patterns canonical */
    bool pattern[1024];
    size_t count;
    struct fuzz_text id, other_id, token, history, format; /* owned; p NULL: not there */
};

static int digit(char c)
{
    const char *digits = "0123456789abcdefABCDEF", *at = strchr(digits, c);
    if (c == '\0' || at == NULL)
        return -1;
    return at - digits < 16 ? (int)(at - digits) : (int)(at - digits) - 6;
}

/* p NULL: it is malformed. */
static struct fuzz_text decoded(struct fuzz_text in, bool form)
{
    struct fuzz_text out = {malloc(in.len + 1), 0};
    char *to = (char *)out.p;
    FUZZ_CHECK(to != NULL);
    for (size_t i = 0; i < in.len; i++) {
        if (in.p[i] != '%') {
            to[out.len++] = (char)(form && in.p[i] == '+' ? ' ' : in.p[i]);
        } else if (in.len - i > 2 && digit(in.p[i + 1]) >= 0 && digit(in.p[i + 2]) >= 0) {
            to[out.len++] = (char)(digit(in.p[i + 1]) << 4 | digit(in.p[i + 2]));
            i += 2;
        } else {
            free(to);
            return (struct fuzz_text){NULL, 0};
        }
    }
    return out;
}

/* Takes over the name. */
static void want_topic(struct wanted *w, struct fuzz_text name, bool pattern)
{
    FUZZ_CHECK(topic_valid(name.p, name.len) && (pattern || name.p[0] != '$'));
    if (pattern)
        name.len = glob_canonical(name.p, name.len, (char *)name.p);
    for (size_t i = 0; i < w->count; i++) {
        if (w->pattern[i] == pattern &&
            fuzz_same(w->topics[i].p, w->topics[i].len, name.p, name.len)) {
            free((char *)name.p);
            return;
        }
    }
    FUZZ_CHECK(w->count < sizeof w->topics / sizeof w->topics[0]);
    w->pattern[w->count] = pattern;
    w->topics[w->count++] = name;
}

/* The first counts. Takes over the value. */
static void want(struct fuzz_text *slot, struct fuzz_text value)
{
    if (slot->p == NULL)
        *slot = value;
    else
        free((char *)value.p);
}

static void want_param(struct wanted *w, struct fuzz_text param, const struct target_rules *rules)
{
    struct fuzz_text name = decoded(fuzz_cut(&param, '='), true), value = decoded(param, true);
    FUZZ_CHECK(name.p != NULL);
    struct fuzz_text *slot = fuzz_is(name, "history")  ? &w->history
                             : fuzz_is(name, "format") ? &w->format
                             : rules->token_param != NULL && fuzz_is(name, rules->token_param)
                                 ? &w->token
                                 : NULL;
    bool id = fuzz_is(name, "last_event_id"), other = fuzz_is(name, "lastEventId");
    bool topic = fuzz_is(name, "channel") || fuzz_is(name, "pattern");
    FUZZ_CHECK(value.p != NULL || (slot == NULL && !id && !other && !topic));
    if (topic)
        want_topic(w, value, fuzz_is(name, "pattern"));
    else if (slot != NULL)
        want(slot, value);
    else if ((id || other) && value.len > 0)
        want(id ? &w->id : &w->other_id, value);
    else
        free((char *)value.p);
    free((char *)name.p);
}

/* Of a target that names a stream. */
static void read_again(struct wanted *w, struct fuzz_text text, const struct target_rules *rules)
{
    if (text.p[0] != '/') { /* scheme and authority, which is not empty and ends at a slash */
        const char *host = memmem(text.p, text.len, "://", 3);
        FUZZ_CHECK(host != NULL && host[3] != '/');
        host += 3;
        const char *at = memchr(host, '/', text.len - (size_t)(host - text.p));
        FUZZ_CHECK(at != NULL);
        text = (struct fuzz_text){at, text.len - (size_t)(at - text.p)};
    }
    struct fuzz_text path = fuzz_cut(&text, '?');
    FUZZ_CHECK(path.len >= 7 && memcmp(path.p, "/events", 7) == 0);
    FUZZ_CHECK(path.len == 7 || path.p[7] == '/');
    if (path.len > 8)
        want_topic(w, decoded((struct fuzz_text){path.p + 8, path.len - 8}, false), false);
    while (text.len > 0) {
        struct fuzz_text param = fuzz_cut(&text, '&');
        if (param.len > 0)
            want_param(w, param, rules);
    }
    if (w->id.p == NULL) {
        w->id = w->other_id;
        w->other_id.p = NULL;
    }
}

static void forget(struct wanted *w)
{
    for (size_t i = 0; i < w->count; i++)
        free((char *)w->topics[i].p);
    free((char *)w->id.p);
    free((char *)w->other_id.p);
    free((char *)w->token.p);
    free((char *)w->history.p);
    free((char *)w->format.p);
}

/* ---- checks
 * -------------------------------------------------------------------------------------- */

static void check_text(const char *p, size_t len, struct fuzz_text wanted)
{
    FUZZ_CHECK((p == NULL) == (wanted.p == NULL));
    FUZZ_CHECK(p == NULL || fuzz_same(p, len, wanted.p, wanted.len));
}

static void check_history(const struct target *t, struct fuzz_text text)
{
    char number[24];
    (void)snprintf(number, sizeof number, "%u", t->history);
    if (text.p == NULL)
        FUZZ_CHECK(t->history == 0);
    else if (t->history == HISTORY_ALL)
        FUZZ_CHECK(fuzz_is(text, "all"));
    else {
        while (text.len > 1 && text.p[0] == '0')
            text = (struct fuzz_text){text.p + 1, text.len - 1};
        FUZZ_CHECK(fuzz_is(text, number) && t->history <= 1000000000);
    }
}

static void check_stream(const struct target *t, struct fuzz_text text,
                         const struct target_rules *rules)
{
    struct wanted w = {.count = 0};
    read_again(&w, text, rules);
    FUZZ_CHECK(t->count >= 1 && t->count <= rules->topics_max && t->count == w.count);
    for (size_t i = 0; i < t->count; i++) {
        FUZZ_CHECK(t->topics[i].pattern == w.pattern[i]);
        check_text(t->topics[i].name, t->topics[i].len, w.topics[i]);
    }
    check_text(t->last_event_id, t->last_event_id_len, w.id);
    check_text(t->token, t->token_len, w.token);
    check_history(t, w.history);
    FUZZ_CHECK((t->format == FORMAT_JSON) == fuzz_is(w.format, "json"));
    FUZZ_CHECK(t->format == FORMAT_JSON || w.format.p == NULL || fuzz_is(w.format, "raw"));
    forget(&w);
}

/* Written as a query with every byte encoded it asks for the same. */
static void check_again(const struct target *t, const struct target_rules *rules)
{
    struct buf text = BUF_INIT;
    struct target again;
    struct target_error error;
    for (size_t i = 0; i < t->count; i++) {
        buf_str(&text, i == 0 ? "/events?" : "&");
        buf_printf(&text, "%s=", t->topics[i].pattern ? "pattern" : "channel");
        for (size_t k = 0; k < t->topics[i].len; k++)
            buf_printf(&text, "%%%02X", (unsigned char)t->topics[i].name[k]);
    }
    FUZZ_CHECK(target_parse(&again, text.data, text.len, rules, &error) == ERR_OK);
    FUZZ_CHECK(again.kind == TARGET_EVENTS && again.count == t->count);
    for (size_t i = 0; i < t->count; i++) {
        FUZZ_CHECK(again.topics[i].pattern == t->topics[i].pattern);
        FUZZ_CHECK(fuzz_same(again.topics[i].name, again.topics[i].len, t->topics[i].name,
                             t->topics[i].len));
    }
    target_finish(&again);
    buf_finish(&text);
}

static void check_error(const struct target_error *e)
{
    FUZZ_CHECK(e->status == 400 || e->status == 404);
    FUZZ_CHECK(e->code != NULL && e->code[0] != '\0');
    size_t len = strnlen(e->message, sizeof e->message);
    FUZZ_CHECK(len > 0 && len < sizeof e->message);
    for (size_t i = 0; i < len; i++)
        FUZZ_CHECK(e->message[i] >= ' ' && e->message[i] <= '~');
}

static void check(struct fuzz_text text, const struct target_rules *rules)
{
    struct target t;
    struct target_error error = {0};
    if (target_parse(&t, text.p, text.len, rules, &error) != ERR_OK) {
        FUZZ_CHECK(t.topics == NULL && t.storage == NULL);
        check_error(&error);
        return;
    }
    for (size_t i = 0; i < text.len; i++)
        FUZZ_CHECK(text.p[i] > ' ' && text.p[i] <= '~' && text.p[i] != '#');
    if (t.kind == TARGET_EVENTS) {
        check_stream(&t, text, rules);
        check_again(&t, rules);
    } else {
        FUZZ_CHECK(t.count == 0 && t.token == NULL && t.last_event_id == NULL && t.history == 0);
    }
    target_finish(&t);
}

/* The parts are in the text, and a parameter's value is never longer than the query. */
static void check_parts(struct fuzz_text text)
{
    struct target_parts parts;
    struct target_error error = {0};
    struct buf value = BUF_INIT;
    if (target_split(&parts, text.p, text.len, &error) != ERR_OK) {
        check_error(&error);
        return;
    }
    FUZZ_CHECK(parts.path >= text.p && parts.path_len + parts.query_len <= text.len);
    int err = query_find(parts.query, parts.query_len, "a", &value);
    FUZZ_CHECK(err == ERR_OK || err == ERR_UNKNOWN || err == ERR_INVALID);
    FUZZ_CHECK(value.len <= parts.query_len && (err == ERR_OK || value.len == 0));
    buf_finish(&value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct target_rules rules[] = {{1, NULL}, {4, "token"}, {1024, "access_token"}};
    check_parts((struct fuzz_text){(const char *)data, size});
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        check((struct fuzz_text){(const char *)data, size}, &rules[i]);
    return 0;
}
