/* The sources: defaults, the file, the environment, --set. */
#include "config_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tickerd/base/err.h"
#include "tickerd/base/file.h"

enum { FILE_MAX = 16 << 20 };

/* Used where a value may be a misplaced secret and is not quoted. */
static const char *const kinds[] = {
    [JSON_OBJECT] = "an object", [JSON_ARRAY] = "a list",  [JSON_STRING] = "a string",
    [JSON_INTEGER] = "a number", [JSON_REAL] = "a number", [JSON_TRUE] = "true",
    [JSON_FALSE] = "false",      [JSON_NULL] = "null",
};

static void assign_text(struct config_build *b, const struct config_key *key, void *base,
                        const char *text, const struct config_place *at)
{
    json_t *value = config_text_value(key, text);
    if (value == NULL) {
        b->nomem = true;
        return;
    }
    config_assign(b, key, base, value, at);
    json_decref(value);
}

void config_read_defaults(struct config_build *b, const struct config_table *t, void *base)
{
    for (size_t i = 0; i < t->count; i++) {
        const struct config_key *key = &t->keys[i];
        struct config_path path = {NULL, key->name, 0};
        struct config_place at = {CONFIG_FROM_DEFAULT, NULL, &path};
        if (key->initial != NULL)
            assign_text(b, key, base, key->initial, &at);
    }
}

/* `failed` may have been set by another key: whether this one did is told by the messages. */
static void remember_origin(struct config_build *b, const struct config_key *key,
                            const struct config_place *at, size_t errors_before)
{
    struct config_origin *origin = &b->origins[key - config_table.keys];
    origin->from = at->from;
    origin->set = at->set;
    origin->line = at->from == CONFIG_FROM_FILE ? config_line(b, at->path) : 0;
    origin->bad = b->errors->len != errors_before;
}

static void unknown_key(struct config_build *b, const struct config_table *t, const char *name,
                        const struct config_place *at)
{
    struct buf text = BUF_INIT;
    buf_str(&text, "unknown key");
    config_suggest(&text, t, name);
    config_error(b, at, "%s", buf_cstr(&text));
    buf_finish(&text);
}

/* A known key written flat: say how it is written, nested. */
static void dotted_key(struct config_build *b, const struct config_table *t, const char *name,
                       const struct config_place *at)
{
    const char *dot = strchr(name, '.');
    if (config_find(t, name) != NULL)
        config_error(b, at, "in a file, write it nested: {\"%.*s\": {\"%s\": …}}",
                     (int)(dot - name), name, dot + 1);
    else
        unknown_key(b, t, name, at);
}

static void walk_member(struct config_build *b, const struct config_table *t, void *base,
                        json_t *value, const struct config_place *at, const char *name)
{
    const struct config_key *key = config_find(t, name);
    size_t errors_before = b->errors->len;
    if (strchr(at->path->key, '.') != NULL) {
        dotted_key(b, t, name, at);
    } else if (key != NULL) {
        config_assign(b, key, base, value, at);
        if (t == &config_table)
            remember_origin(b, key, at, errors_before);
    } else if (!config_is_group(t, name)) {
        unknown_key(b, t, name, at);
    } else if (json_is_object(value)) {
        struct buf prefix = BUF_INIT;
        buf_printf(&prefix, "%s.", name);
        config_walk(b, t, base, value, at, buf_cstr(&prefix));
        buf_finish(&prefix);
    } else {
        config_error(b, at, "expected an object, found %s", kinds[json_typeof(value)]);
    }
}

void config_walk(struct config_build *b, const struct config_table *t, void *base, json_t *object,
                 const struct config_place *at, const char *prefix)
{
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value)
    {
        struct buf name = BUF_INIT;
        struct config_path step = {at->path, key, 0};
        struct config_place place = {at->from, at->set, &step};
        buf_printf(&name, "%s%s", prefix, key);
        walk_member(b, t, base, value, &place, buf_cstr(&name));
        b->nomem = b->nomem || name.failed;
        buf_finish(&name);
    }
}

static bool slurp(struct config_build *b, const char *path)
{
    int err = file_read(&b->source, path, FILE_MAX, NULL);
    if (err == ERR_UNKNOWN)
        config_error_file(b, 0, 0, "cannot be opened: %s", strerror(errno));
    else if (err == ERR_SYSTEM)
        config_error_file(b, 0, 0, "cannot be read: %s", strerror(errno));
    else if (err == ERR_TOO_LONG)
        config_error_file(b, 0, 0, "is larger than %d MiB", FILE_MAX >> 20);
    b->nomem = b->nomem || err == ERR_NOMEM;
    return err == ERR_OK;
}

/* jansson puts the key into its text ("… near '"age"'") unless it is long. */
static void duplicate_key(struct config_build *b, json_error_t *error)
{
    struct buf text = BUF_INIT;
    const char *start = strstr(error->text, "near '\"");
    size_t len = start == NULL ? 0 : strlen(start + 7);
    if (len > 2) {
        char key[sizeof(error->text)];
        (void)snprintf(key, sizeof(key), "%.*s", (int)(len - 2), start + 7);
        buf_byte(&text, ' ');
        config_quote(&text, key);
    }
    config_error_file(b, (size_t)error->line, (size_t)error->column, "duplicate key%s",
                      buf_cstr(&text));
    buf_finish(&text);
}

/* jansson appends what it read last, which may be a part of a password. */
static void syntax_error(struct config_build *b, json_error_t *error)
{
    size_t line = error->line < 1 ? 1 : (size_t)error->line;
    size_t column = error->column < 1 ? 0 : (size_t)error->column;
    char *near = strstr(error->text, " near '");
    switch (json_error_code(error)) {
    case json_error_duplicate_key:
        duplicate_key(b, error);
        return;
    case json_error_null_character:
        config_error_file(b, line, column, "\\u0000 is not allowed");
        return;
    case json_error_out_of_memory:
        b->nomem = true;
        return;
    default:
        break;
    }
    if (near != NULL)
        *near = '\0';
    config_error_file(b, line, column, "not valid JSON: %s", error->text);
}

/* Read again without the refusal, so that what else is wrong is reported at once too. */
static json_t *load(struct config_build *b)
{
    json_error_t error;
    const char *text = b->source.len == 0 ? "" : b->source.data;
    json_t *root = json_loadb(text, b->source.len, JSON_REJECT_DUPLICATES, &error);
    if (root != NULL)
        return root;
    syntax_error(b, &error);
    if (json_error_code(&error) != json_error_duplicate_key)
        return NULL;
    root = json_loadb(text, b->source.len, 0, &error);
    if (root == NULL)
        syntax_error(b, &error);
    return root;
}

void config_read_file(struct config_build *b, const char *path)
{
    struct config_place at = {CONFIG_FROM_FILE, NULL, NULL};
    b->file = path;
    json_t *root = slurp(b, path) ? load(b) : NULL;
    if (root == NULL)
        return;
    if (json_is_object(root))
        config_walk(b, &config_table, b->config, root, &at, "");
    else
        config_error(b, &at, "expected an object at the top, found a list");
    json_decref(root);
}

static void read_key(struct config_build *b, const struct config_key *key, const char *text,
                     enum config_from from, const char *set)
{
    struct config_path path = {NULL, key->name, 0};
    struct config_place at = {from, set, &path};
    size_t errors_before = b->errors->len;
    assign_text(b, key, b->config, text, &at);
    remember_origin(b, key, &at, errors_before);
}

void config_read_env(struct config_build *b, const char *redis_url)
{
    read_key(b, config_find(&config_table, "redis.url"), redis_url, CONFIG_FROM_ENV, NULL);
}

void config_read_set(struct config_build *b, const char *set)
{
    struct config_place at = {CONFIG_FROM_SET, set, NULL};
    struct buf name = BUF_INIT;
    const char *equals = strchr(set, '=');
    buf_append(&name, set, equals == NULL ? strlen(set) : (size_t)(equals - set));
    const struct config_key *key = config_find(&config_table, buf_cstr(&name));
    if (equals == NULL)
        config_error(b, &at, "expected KEY=VALUE");
    else if (key != NULL)
        read_key(b, key, equals + 1, CONFIG_FROM_SET, set);
    else if (config_is_group(&config_table, buf_cstr(&name)))
        config_error(b, &at, "a group of keys, set one at a time: %s.KEY=VALUE", buf_cstr(&name));
    else
        unknown_key(b, &config_table, buf_cstr(&name), &at);
    b->nomem = b->nomem || name.failed;
    buf_finish(&name);
}
