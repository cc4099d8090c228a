#include "tickerd/wire/target.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "tickerd/base/err.h"
#include "tickerd/base/strmap.h"
#include "tickerd/wire/query.h"
#include "tickerd/wire/topic.h"

/* Everything decoded lands in one block as long as the target: decoding never makes text longer,
 * so the write position cannot overtake what has been read, and slices into it stay valid. */

enum { HISTORY_MAX = 1000000000 };

struct slice {
    const char *p;
    size_t len;
};

struct parser {
    struct target *t;
    const struct target_rules *rules;
    struct target_error *error;
    size_t used;            /* bytes of t->storage taken */
    struct strmap names[2]; /* topics so far: channels, patterns */
    bool has_history, has_format;
    struct slice other_id; /* lastEventId, which gives way to last_event_id */
};

static int refuse(struct parser *s, int status, const char *code, const char *message)
{
    s->error->status = status;
    s->error->code = code;
    (void)snprintf(s->error->message, sizeof s->error->message, "%s", message);
    return ERR_INVALID;
}

static int out_of_memory(struct parser *s)
{
    (void)refuse(s, 503, "no_memory", "The server is out of memory.");
    return ERR_NOMEM;
}

static bool slice_is(struct slice s, const char *text)
{
    return s.len == strlen(text) && memcmp(s.p, text, s.len) == 0;
}

/* Cut `*rest` at the first `stop`: returns what is before it, and *rest becomes what is behind. */
static struct slice cut(struct slice *rest, char stop)
{
    const char *at = rest->len == 0 ? NULL : memchr(rest->p, stop, rest->len);
    struct slice head = {rest->p, at == NULL ? rest->len : (size_t)(at - rest->p)};
    size_t gone = at == NULL ? head.len : head.len + 1;
    rest->p += gone;
    rest->len -= gone;
    return head;
}

/* Decode to the end of the storage without taking it yet. */
static int decode(struct parser *s, struct slice in, bool form, struct slice *out)
{
    char *to = s->t->storage + s->used;
    *out = (struct slice){to, 0};
    ptrdiff_t n = query_decode(to, in.p, in.len, form);
    if (n < 0)
        return refuse(s, 400, "bad_encoding",
                      "A percent sign must be followed by two hexadecimal digits.");
    out->len = (size_t)n;
    return ERR_OK;
}

static int check_topic(struct parser *s, struct slice name, bool pattern)
{
    bool valid = topic_valid(name.p, name.len);
    if (pattern && !valid)
        return refuse(
            s, 400, "bad_pattern",
            "A pattern must be 1 to 255 bytes of valid UTF-8 without control characters.");
    if (!valid)
        return refuse(
            s, 400, "bad_channel",
            "A channel name must be 1 to 255 bytes of valid UTF-8 without control characters.");
    if (!pattern && topic_reserved(name.p, name.len))
        return refuse(s, 404, "unknown_channel",
                      "Channel names that begin with '$' are reserved and cannot be subscribed.");
    return ERR_OK;
}

static int add_topic(struct parser *s, struct slice name, bool pattern)
{
    int rc = check_topic(s, name, pattern);
    if (rc != ERR_OK)
        return rc;
    struct target *t = s->t;
    /* The name still lies at the end of the storage, where it was decoded to. */
    if (pattern)
        name.len = glob_canonical(name.p, name.len, t->storage + s->used);
    struct strmap *names = &s->names[pattern ? 1 : 0];
    if (strmap_get(names, name.p, name.len) != NULL)
        return ERR_OK;
    if (t->count == s->rules->topics_max) {
        char message[sizeof s->error->message];
        (void)snprintf(message, sizeof message,
                       "At most %zu different channels and patterns are allowed per connection.",
                       s->rules->topics_max);
        return refuse(s, 400, "too_many_channels", message);
    }
    struct target_topic *topic = &t->topics[t->count];
    *topic = (struct target_topic){.name = name.p, .len = name.len, .pattern = pattern};
    if (strmap_put(names, name.p, name.len, topic) != ERR_OK)
        return out_of_memory(s);
    t->count++;
    s->used += name.len;
    return ERR_OK;
}

static int read_history(struct parser *s, struct slice value)
{
    if (s->has_history)
        return ERR_OK;
    s->has_history = true;
    if (slice_is(value, "all")) {
        s->t->history = HISTORY_ALL;
        return ERR_OK;
    }
    uint32_t n = 0;
    bool valid = value.len > 0;
    for (size_t i = 0; i < value.len && valid; i++) {
        char c = value.p[i];
        uint64_t next = (uint64_t)n * 10 + (uint64_t)(c - '0');
        valid = c >= '0' && c <= '9' && next <= HISTORY_MAX;
        n = valid ? (uint32_t)next : 0;
    }
    if (!valid)
        return refuse(s, 400, "bad_history",
                      "The parameter history must be 'all' or a number from 0 to 1000000000.");
    s->t->history = n;
    return ERR_OK;
}

static int read_format(struct parser *s, struct slice value)
{
    if (s->has_format)
        return ERR_OK;
    s->has_format = true;
    if (slice_is(value, "json"))
        s->t->format = FORMAT_JSON;
    else if (!slice_is(value, "raw"))
        return refuse(s, 400, "bad_format", "The parameter format must be 'raw' or 'json'.");
    return ERR_OK;
}

static void keep(struct parser *s, struct slice value, const char **p, size_t *len)
{
    if (*p != NULL)
        return;
    *p = value.p;
    *len = value.len;
    s->used += value.len;
}

enum param {
    PARAM_CHANNEL,
    PARAM_PATTERN,
    PARAM_HISTORY,
    PARAM_FORMAT,
    PARAM_ID,
    PARAM_ID_OTHER,
    PARAM_TOKEN,
    PARAM_UNKNOWN
};

static enum param param_of(const struct parser *s, struct slice name)
{
    static const char *const names[] = {"channel", "pattern",       "history",
                                        "format",  "last_event_id", "lastEventId"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (slice_is(name, names[i]))
            return (enum param)i;
    }
    bool token = s->rules->token_param != NULL && slice_is(name, s->rules->token_param);
    return token ? PARAM_TOKEN : PARAM_UNKNOWN;
}

static int read_param(struct parser *s, struct slice text)
{
    struct slice name, value;
    int rc = decode(s, cut(&text, '='), true, &name);
    if (rc != ERR_OK)
        return rc;
    enum param which = param_of(s, name);
    /* What is ignored is not decoded either: a stranger's `?utm=50%` is none of our business. */
    if (which == PARAM_UNKNOWN)
        return ERR_OK;
    rc = decode(s, text, true, &value);
    if (rc != ERR_OK)
        return rc;
    switch (which) {
    case PARAM_CHANNEL:
    case PARAM_PATTERN:
        return add_topic(s, value, which == PARAM_PATTERN);
    case PARAM_HISTORY:
        return read_history(s, value);
    case PARAM_FORMAT:
        return read_format(s, value);
    case PARAM_ID:
        if (value.len > 0)
            keep(s, value, &s->t->last_event_id, &s->t->last_event_id_len);
        return ERR_OK;
    case PARAM_ID_OTHER:
        if (value.len > 0)
            keep(s, value, &s->other_id.p, &s->other_id.len);
        return ERR_OK;
    case PARAM_TOKEN:
        s->t->token_twice = s->t->token != NULL;
        keep(s, value, &s->t->token, &s->t->token_len);
        return ERR_OK;
    default:
        return ERR_OK;
    }
}

static int allocate(struct parser *s, size_t len, struct slice query)
{
    size_t topics = 2; /* one in the path, one before the first `&` */
    for (size_t i = 0; i < query.len; i++)
        topics += query.p[i] == '&';
    if (topics > s->rules->topics_max)
        topics = s->rules->topics_max;
    s->t->storage = malloc(len + 1);
    s->t->topics = calloc(topics + 1, sizeof *s->t->topics);
    return s->t->storage == NULL || s->t->topics == NULL ? out_of_memory(s) : ERR_OK;
}

static int read_stream(struct parser *s, struct slice channel, struct slice query)
{
    int rc = allocate(s, channel.len + query.len, query);
    if (rc == ERR_OK && channel.len > 0) {
        struct slice name;
        rc = decode(s, channel, false, &name);
        if (rc == ERR_OK)
            rc = add_topic(s, name, false);
    }
    while (rc == ERR_OK && query.len > 0) {
        struct slice param = cut(&query, '&');
        if (param.len > 0)
            rc = read_param(s, param);
    }
    if (rc != ERR_OK)
        return rc;
    if (s->t->count == 0)
        return refuse(s, 400, "no_channel",
                      "Name a channel: /events/<channel>, /events?channel=<name> or "
                      "/events?pattern=<glob>.");
    if (s->t->last_event_id == NULL) {
        s->t->last_event_id = s->other_id.p;
        s->t->last_event_id_len = s->other_id.len;
    }
    return ERR_OK;
}

/* Reduce an absolute form to path and query. */
static int strip_authority(struct parser *s, struct slice *text)
{
    size_t scheme = 0;
    if (text->len >= 7 && strncasecmp(text->p, "http://", 7) == 0)
        scheme = 7;
    else if (text->len >= 8 && strncasecmp(text->p, "https://", 8) == 0)
        scheme = 8;
    else if (text->len == 0 || text->p[0] != '/')
        return refuse(s, 400, "bad_target",
                      "The request target must begin with '/', 'http://' or 'https://'.");
    if (scheme == 0)
        return ERR_OK;
    size_t i = scheme;
    while (i < text->len && text->p[i] != '/' && text->p[i] != '?')
        i++;
    if (i == scheme)
        return refuse(s, 400, "bad_target", "The request target names no host.");
    text->p += i;
    text->len -= i;
    return ERR_OK;
}

static int check_bytes(struct parser *s, struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.p[i] == '#')
            return refuse(s, 400, "bad_target",
                          "The request target must not contain '#'; in a name, write %23.");
        if (text.p[i] <= ' ' || text.p[i] > '~')
            return refuse(s, 400, "bad_target",
                          "The request target must be printable ASCII; percent-encode the rest.");
    }
    return ERR_OK;
}

static int read_target(struct parser *s, struct slice text)
{
    static const char events[] = "/events";
    const size_t events_len = sizeof events - 1;
    int rc = check_bytes(s, text);
    /* `*` is a legal target of OPTIONS and names no resource here. */
    if (rc != ERR_OK || slice_is(text, "*"))
        return rc;
    rc = strip_authority(s, &text);
    if (rc != ERR_OK)
        return rc;
    struct slice path = cut(&text, '?');
    if (slice_is(path, "/healthz")) {
        s->t->kind = TARGET_HEALTHZ;
    } else if (slice_is(path, "/readyz")) {
        s->t->kind = TARGET_READYZ;
    } else if (path.len >= events_len && memcmp(path.p, events, events_len) == 0 &&
               (path.len == events_len || path.p[events_len] == '/')) {
        s->t->kind = TARGET_EVENTS;
        size_t skip = path.len == events_len ? events_len : events_len + 1;
        return read_stream(s, (struct slice){path.p + skip, path.len - skip}, text);
    }
    return ERR_OK;
}

int target_parse(struct target *t, const char *text, size_t len, const struct target_rules *rules,
                 struct target_error *error)
{
    *t = (struct target){.kind = TARGET_UNKNOWN};
    struct parser s = {.t = t, .rules = rules, .error = error};
    strmap_init(&s.names[0]);
    strmap_init(&s.names[1]);
    int rc = read_target(&s, (struct slice){text, len});
    strmap_finish(&s.names[0]);
    strmap_finish(&s.names[1]);
    if (rc != ERR_OK)
        target_finish(t);
    return rc;
}

int target_split(struct target_parts *out, const char *text, size_t len, struct target_error *error)
{
    struct parser s = {.error = error};
    struct slice query = {text, len};
    int rc = check_bytes(&s, query);
    if (rc == ERR_OK)
        rc = strip_authority(&s, &query);
    if (rc != ERR_OK)
        return rc;
    struct slice path = cut(&query, '?');
    *out = (struct target_parts){path.p, path.len, query.p, query.len};
    return ERR_OK;
}

void target_finish(struct target *t)
{
    free(t->topics);
    free(t->storage);
    *t = (struct target){.kind = TARGET_UNKNOWN};
}
