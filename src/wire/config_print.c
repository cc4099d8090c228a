/* The table as text: --print-config and the part of --help that lists the keys. */
#include "config_internal.h"

#include <string.h>

enum { INDENT = 2, HELP_INDENT = 2, HELP_WIDTH = 100, DEFAULT_WIDTH = 22 };

static void put_indent(struct buf *out, size_t n)
{
    buf_printf(out, "%*s", (int)n, "");
}

static void put_string(struct buf *out, const char *text)
{
    buf_byte(out, '"');
    buf_json(out, text, strlen(text));
    buf_byte(out, '"');
}

/* The URL as it was written, but for its password. */
static void put_redacted(struct buf *out, const char *url)
{
    const char *user = strstr(url, "://");
    user = user == NULL ? url : user + 3;
    const char *at = memrchr(user, '@', strcspn(user, "/"));
    const char *colon = at == NULL ? NULL : memchr(user, ':', (size_t)(at - user));
    struct buf text = BUF_INIT;
    if (colon == NULL || colon + 1 == at) {
        put_string(out, url);
        return;
    }
    buf_append(&text, url, (size_t)(colon + 1 - url));
    buf_printf(&text, "***%s", at);
    put_string(out, buf_cstr(&text));
    out->failed = out->failed || text.failed;
    buf_finish(&text);
}

static void put_strings(struct buf *out, const struct strings *list, bool redact)
{
    buf_byte(out, '[');
    for (size_t i = 0; i < list->count; i++) {
        if (i > 0)
            buf_str(out, ", ");
        (redact ? put_redacted : put_string)(out, list->items[i]);
    }
    buf_byte(out, ']');
}

static void put_table(struct buf *out, const struct config_table *t, const void *base,
                      size_t indent, bool secrets);

static void put_objects(struct buf *out, const struct config_key *key, const void *base,
                        size_t indent, bool secrets)
{
    size_t count;
    const char *items;
    memcpy(&items, (const char *)base + key->offset, sizeof(items));
    memcpy(&count, (const char *)base + key->list->count_offset, sizeof(count));
    buf_byte(out, '[');
    for (size_t i = 0; i < count; i++) {
        buf_str(out, i == 0 ? "\n" : ",\n");
        put_indent(out, indent + INDENT);
        put_table(out, key->list->table, items + i * key->list->size, indent + INDENT, secrets);
    }
    if (count > 0) {
        buf_byte(out, '\n');
        put_indent(out, indent);
    }
    buf_byte(out, ']');
}

static void put_number(struct buf *out, enum config_type type, const void *field)
{
    uint64_t n = 0;
    uint32_t narrow = 0;
    struct buf text = BUF_INIT;
    if (type == CONFIG_UINT) {
        memcpy(&narrow, field, sizeof(narrow));
        buf_printf(out, "%u", narrow);
        return;
    }
    memcpy(&n, field, sizeof(n));
    if (type == CONFIG_DURATION)
        config_put_duration(&text, n);
    else
        config_put_size(&text, n);
    const char *value = buf_cstr(&text);
    if (value[strspn(value, "0123456789")] == '\0')
        buf_str(out, value);
    else
        put_string(out, value);
    buf_finish(&text);
}

void config_put_value(struct buf *out, const struct config_key *key, const void *base,
                      size_t indent, bool secrets)
{
    const void *field = (const char *)base + key->offset;
    unsigned word = 0;
    switch (key->type) {
    case CONFIG_UINT:
    case CONFIG_DURATION:
    case CONFIG_SIZE:
        put_number(out, key->type, field);
        break;
    case CONFIG_BOOL:
        buf_str(out, *(const bool *)field ? "true" : "false");
        break;
    case CONFIG_ENUM:
        memcpy(&word, field, sizeof(word));
        put_string(out, key->words[word]);
        break;
    case CONFIG_STRING:
        if (*(char *const *)field == NULL)
            buf_str(out, "null");
        else if (key->secret && !secrets)
            put_redacted(out, *(char *const *)field);
        else
            put_string(out, *(char *const *)field);
        break;
    case CONFIG_STRINGS:
        put_strings(out, field, key->secret && !secrets);
        break;
    case CONFIG_OBJECTS:
        put_objects(out, key, base, indent, secrets);
        break;
    }
}

/* How many bytes of both names are the same groups: "a.b.c" and "a.b.d" share "a.b.". */
static size_t shared_groups(const char *a, const char *b)
{
    size_t shared = 0;
    for (size_t i = 0; a[i] != '\0' && a[i] == b[i]; i++) {
        if (a[i] == '.')
            shared = i + 1;
    }
    return shared;
}

static size_t dots(const char *s)
{
    size_t n = 0;
    for (; *s != '\0'; s++)
        n += *s == '.';
    return n;
}

static void close_groups(struct buf *out, size_t from, size_t to, size_t indent)
{
    for (size_t depth = from; depth > to; depth--) {
        buf_byte(out, '\n');
        put_indent(out, indent + depth * INDENT);
        buf_byte(out, '}');
    }
}

/* Rows of a group stand together in the table, so groups open and close as their names change. */
static void put_table(struct buf *out, const struct config_table *t, const void *base,
                      size_t indent, bool secrets)
{
    const char *before = "";
    buf_str(out, "{\n");
    for (size_t i = 0; i < t->count; i++) {
        const char *name = t->keys[i].name;
        size_t shared = shared_groups(before, name);
        size_t depth = dots(before);
        const char *part = name + shared;
        while (depth > 0 && dots(name) - dots(part) < depth) {
            close_groups(out, depth, depth - 1, indent);
            depth--;
        }
        buf_str(out, i == 0 ? "" : ",\n");
        for (const char *dot; (dot = strchr(part, '.')) != NULL; part = dot + 1) {
            put_indent(out, indent + ++depth * INDENT);
            buf_printf(out, "\"%.*s\": {\n", (int)(dot - part), part);
        }
        put_indent(out, indent + (depth + 1) * INDENT);
        buf_printf(out, "\"%s\": ", part);
        config_put_value(out, &t->keys[i], base, indent + (depth + 1) * INDENT, secrets);
        before = name;
    }
    close_groups(out, dots(before), 0, indent);
    buf_byte(out, '\n');
    put_indent(out, indent);
    buf_byte(out, '}');
}

void config_print(struct buf *out, const struct config *c, bool secrets)
{
    put_table(out, &config_table, c, 0, secrets);
    buf_byte(out, '\n');
}

/* Characters, not bytes: what a terminal counts. */
static size_t width(const char *s, size_t len)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++)
        n += ((unsigned char)s[i] & 0xc0) != 0x80;
    return n;
}

static void put_padded(struct buf *out, const char *text, size_t columns)
{
    size_t n = width(text, strlen(text));
    buf_str(out, text);
    put_indent(out, n < columns ? columns - n : 0);
}

/* Break at blanks before HELP_WIDTH; every line begins at `column`. */
static void put_wrapped(struct buf *out, const char *text, size_t column)
{
    size_t at = column;
    for (const char *p = text; *p != '\0';) {
        size_t len = strcspn(p, " ");
        size_t n = width(p, len);
        if (at > column && at + 1 + n > HELP_WIDTH) {
            buf_byte(out, '\n');
            put_indent(out, column);
            at = column;
        } else if (at > column) {
            buf_byte(out, ' ');
            at++;
        }
        buf_append(out, p, len);
        at += n;
        p += len + strspn(p + len, " ");
    }
    buf_byte(out, '\n');
}

static void put_help(struct buf *out, const struct config_key *key, const char *prefix,
                     size_t name_width)
{
    struct buf name = BUF_INIT, text = BUF_INIT;
    size_t column = HELP_INDENT + name_width + 2 + DEFAULT_WIDTH + 2;
    const char *initial = key->initial != NULL ? key->initial
                          : key->required      ? "(required)"
                                               : "(inherited)";
    bool quoted = key->type == CONFIG_STRING && key->initial != NULL && !key->optional;
    if (quoted && strpbrk(initial, "/") == NULL) {
        buf_printf(&text, "\"%s\"", initial);
        initial = buf_cstr(&text);
    }
    buf_printf(&name, "%s%s", prefix, key->name);
    put_indent(out, HELP_INDENT);
    put_padded(out, buf_cstr(&name), name_width + 2);
    put_padded(out, initial, DEFAULT_WIDTH + 2);
    buf_reset(&text);
    buf_str(&text, key->help);
    for (size_t i = 0; key->words != NULL && key->words[i] != NULL; i++)
        buf_printf(&text, "%s%s", i == 0 ? " One of: " : ", ", key->words[i]);
    if (key->words != NULL)
        buf_byte(&text, '.');
    if (key->fixed)
        buf_str(&text, " (Needs a restart.)");
    put_wrapped(out, buf_cstr(&text), column);
    buf_finish(&name);
    buf_finish(&text);
}

static size_t widest(const struct config_table *t, size_t prefix, size_t least)
{
    for (size_t i = 0; i < t->count; i++) {
        size_t n = prefix + strlen(t->keys[i].name);
        least = n > least ? n : least;
    }
    return least;
}

/* The keys of a list's objects are told as list[].key. */
static void put_list_help(struct buf *out, const struct config_key *list, size_t name_width)
{
    struct buf prefix = BUF_INIT;
    buf_printf(&prefix, "%s[].", list->name);
    for (size_t i = 0; i < list->list->table->count; i++)
        put_help(out, &list->list->table->keys[i], buf_cstr(&prefix), name_width);
    buf_finish(&prefix);
}

void config_help(struct buf *out)
{
    size_t name_width = widest(&config_table, 0, 0);
    for (size_t i = 0; i < config_table.count; i++) {
        const struct config_key *key = &config_table.keys[i];
        if (key->list != NULL)
            name_width = widest(key->list->table, strlen(key->name) + strlen("[]."), name_width);
    }
    for (size_t i = 0; i < config_table.count; i++) {
        const struct config_key *key = &config_table.keys[i];
        put_help(out, key, "", name_width);
        if (key->list != NULL)
            put_list_help(out, key, name_width);
    }
}
