/* How a problem is told: where it is, what is wrong, what may have been meant. */
#include "config_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tickerd/wire/json.h"
#include "tickerd/wire/utf8.h"

enum { QUOTE_MAX = 80, MESSAGE_MAX = 1024, NAME_MAX_LEN = 64, DISTANCE_MAX = 3 };

/* Text that an address or a URL with a password may hide in is not shown, whatever key it stands
 * at: a password also gets to the wrong place. */
static bool may_be_secret(const char *text)
{
    return strchr(text, '@') != NULL || strstr(text, "://:") != NULL;
}

/* The length of text cut to at most `max` bytes, not inside a character. */
static size_t cut(const char *text, size_t max)
{
    size_t len = strlen(text);
    if (len <= max)
        return len;
    while (max > 0 && ((unsigned char)text[max] & 0xc0) == 0x80)
        max--;
    return max;
}

/* Shortened and without control bytes, so that no input can forge a line; quotes stay bare. */
static void put_plain(struct buf *out, const char *text)
{
    struct buf clean = BUF_INIT;
    size_t len = cut(text, QUOTE_MAX);
    (void)utf8_repair(&clean, text, len);
    for (size_t i = 0; i < clean.len; i++) {
        char c = clean.data[i];
        if (c == '"' || c == '\\')
            buf_byte(out, c);
        else
            buf_json(out, &c, 1);
    }
    if (text[len] != '\0')
        buf_str(out, "…");
    buf_finish(&clean);
}

void config_quote(struct buf *out, const char *text)
{
    if (may_be_secret(text)) {
        buf_str(out, "text that may hold a password");
        return;
    }
    buf_byte(out, '"');
    put_plain(out, text);
    buf_byte(out, '"');
}

static void put_path(struct buf *out, const struct config_path *path)
{
    if (path == NULL)
        return;
    put_path(out, path->up);
    if (path->key == NULL) {
        buf_printf(out, "[%zu]", path->index);
        return;
    }
    if (path->up != NULL)
        buf_byte(out, '.');
    put_plain(out, may_be_secret(path->key) ? "(not shown)" : path->key);
}

static bool key_is(struct json_slice source, const char *key)
{
    struct buf text = BUF_INIT;
    bool same = json_unescape(&text, source) && text.len == strlen(key) &&
                memcmp(buf_cstr(&text), key, text.len) == 0;
    buf_finish(&text);
    return same;
}

/* Of duplicates the last one, whose value is the one that was read. */
static bool seek_key(struct json_scan *s, const char *key, const char **at)
{
    bool first = true, found = false;
    struct json_slice name;
    struct json_scan value = *s;
    json_enter(s, '{');
    while (json_key(s, &first, &name)) {
        if (key_is(name, key)) {
            found = true;
            *at = name.p;
            value = *s;
        }
        (void)json_value(s);
    }
    *s = value;
    return found;
}

static bool seek_index(struct json_scan *s, size_t index, const char **at)
{
    bool first = true;
    json_enter(s, '[');
    while (json_element(s, &first)) {
        json_blanks(s);
        *at = s->p;
        if (index-- == 0)
            return true;
        (void)json_value(s);
    }
    return false;
}

/* Move the cursor to the value at the path; *at gets where its key, or the item, stands. */
static bool seek(struct json_scan *s, const struct config_path *path, const char **at)
{
    if (path != NULL && !seek(s, path->up, at))
        return false;
    json_blanks(s);
    if (path == NULL) {
        *at = s->p;
        return true;
    }
    return path->key != NULL ? seek_key(s, path->key, at) : seek_index(s, path->index, at);
}

size_t config_line(const struct config_build *b, const struct config_path *path)
{
    if (b->source.len == 0)
        return 0;
    const char *at = b->source.data;
    struct json_scan s = {b->source.data, b->source.data + b->source.len, false};
    if (!seek(&s, path, &at))
        return 0;
    size_t line = 1;
    for (const char *p = b->source.data; p < at; p++)
        line += *p == '\n';
    return line;
}

static void put_file(struct config_build *b, size_t line, size_t column)
{
    buf_str(b->errors, b->file);
    if (line > 0)
        buf_printf(b->errors, ":%zu", line);
    if (column > 0)
        buf_printf(b->errors, ":%zu", column);
    buf_str(b->errors, ": ");
}

/* The value after the = is shown only for keys that are known and hold no secret. */
static void put_set(struct config_build *b, const char *set)
{
    const char *equals = strchr(set, '=');
    size_t len = equals == NULL ? strlen(set) : (size_t)(equals - set);
    char *name = strndup(set, len);
    const struct config_key *key = name == NULL ? NULL : config_find(&config_table, name);
    buf_str(b->errors, "--set ");
    if (name != NULL && !may_be_secret(name))
        put_plain(b->errors, name);
    if (key != NULL && !key->secret && equals != NULL && !may_be_secret(equals)) {
        buf_byte(b->errors, '=');
        put_plain(b->errors, equals + 1);
    }
    buf_str(b->errors, ": ");
    free(name);
}

static void put_origin(struct config_build *b, enum config_from from, const char *set, size_t line)
{
    if (from == CONFIG_FROM_FILE)
        put_file(b, line, 0);
    else if (from == CONFIG_FROM_ENV)
        buf_str(b->errors, CONFIG_ENV_REDIS_URL ": ");
    else if (from == CONFIG_FROM_SET)
        put_set(b, set);
    else
        buf_str(b->errors, "default: ");
}

static void finish_line(struct config_build *b, const char *fmt, va_list args)
{
    char text[MESSAGE_MAX];
    int n = vsnprintf(text, sizeof(text), fmt, args);
    buf_append(b->errors, text, n < 0 ? 0 : cut(text, MESSAGE_MAX - 1));
    buf_byte(b->errors, '\n');
    b->failed = true;
}

void config_error(struct config_build *b, const struct config_place *at, const char *fmt, ...)
{
    va_list args;
    size_t line = at->from == CONFIG_FROM_FILE ? config_line(b, at->path) : 0;
    put_origin(b, at->from, at->set, line);
    /* --set and the environment name the key themselves; only what is inside it is added. */
    bool whole_key = at->path == NULL || at->path->up == NULL;
    if (at->path != NULL && (at->from <= CONFIG_FROM_FILE || !whole_key)) {
        put_path(b->errors, at->path);
        buf_str(b->errors, ": ");
    }
    va_start(args, fmt);
    finish_line(b, fmt, args);
    va_end(args);
}

void config_error_origin(struct config_build *b, const struct config_origin *at, const char *name,
                         const char *fmt, ...)
{
    va_list args;
    put_origin(b, at->from, at->set, at->line);
    buf_printf(b->errors, "%s: ", name);
    va_start(args, fmt);
    finish_line(b, fmt, args);
    va_end(args);
}

void config_error_file(struct config_build *b, size_t line, size_t column, const char *fmt, ...)
{
    va_list args;
    put_file(b, line, column);
    va_start(args, fmt);
    finish_line(b, fmt, args);
    va_end(args);
}

/* Levenshtein's distance, one row at a time. Names here are at most NAME_MAX_LEN bytes. */
static size_t distance(const char *a, const char *b, size_t b_len)
{
    size_t row[NAME_MAX_LEN + 1];
    for (size_t j = 0; j <= b_len; j++)
        row[j] = j;
    for (size_t i = 1; a[i - 1] != '\0'; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_len; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[b_len];
}

void config_suggest(struct buf *out, const struct config_table *t, const char *name)
{
    size_t len = strlen(name), best = DISTANCE_MAX, best_len = 0;
    const char *found = NULL, *dot = strrchr(name, '.');
    size_t last = dot == NULL ? len : strlen(dot + 1);
    if (len > NAME_MAX_LEN)
        return;
    if (best > last / 2)
        best = last / 2;
    for (size_t i = 0; i < t->count; i++) {
        const char *known = t->keys[i].name;
        /* Each group that the key is in, then the key itself. */
        for (size_t end = strcspn(known, ".");; end += 1 + strcspn(known + end + 1, ".")) {
            size_t d = distance(name, known, end);
            /* A name without its group ("heartbeat") is as near as one slip of the pen. */
            if (known[end] == '\0' && end > len && strchr(name, '.') == NULL &&
                known[end - len - 1] == '.' && strcmp(known + end - len, name) == 0)
                d = 1;
            if (d < best || (d == best && found == NULL)) {
                found = known;
                best = d;
                best_len = end;
            }
            if (known[end] == '\0')
                break;
        }
    }
    if (found != NULL)
        buf_printf(out, ", did you mean %.*s?", (int)best_len, found);
}
