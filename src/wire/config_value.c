/* One value: from JSON or text into its field, with the message if it does not fit. */
#include "config_internal.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tickerd/wire/utf8.h"

struct unit {
    const char *suffix;
    uint64_t scale;
};

/* Largest first: printing takes the first that divides. */
static const struct unit duration_units[] = {{"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};
static const struct unit size_units[] = {
    {"GiB", (uint64_t)1 << 30}, {"MiB", (uint64_t)1 << 20}, {"KiB", (uint64_t)1 << 10}};

enum { DURATION_UNITS = 4, SIZE_UNITS = 3, SECOND_UNIT = 2 };

static bool all_digits(const char *s)
{
    return s[0] != '\0' && s[strspn(s, "0123456789")] == '\0';
}

/* Digits and one unit, nothing else. */
static bool scaled_parse(const char *text, const struct unit *units, size_t count, uint64_t *out)
{
    uint64_t value = 0;
    const char *p = text;
    for (; isdigit((unsigned char)*p); p++) {
        uint64_t digit = (uint64_t)(*p - '0');
        if (value > (UINT64_MAX - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    for (size_t i = 0; p > text && i < count; i++) {
        if (strcmp(p, units[i].suffix) != 0)
            continue;
        *out = value * units[i].scale;
        return value <= UINT64_MAX / units[i].scale;
    }
    return false;
}

void config_put_duration(struct buf *out, uint64_t ms)
{
    size_t i = ms == 0 ? SECOND_UNIT : 0;
    while (ms % duration_units[i].scale != 0)
        i++;
    buf_printf(out, "%llu%s", (unsigned long long)(ms / duration_units[i].scale),
               duration_units[i].suffix);
}

void config_put_size(struct buf *out, uint64_t bytes)
{
    for (size_t i = 0; bytes > 0 && i < SIZE_UNITS; i++) {
        if (bytes % size_units[i].scale == 0) {
            buf_printf(out, "%llu%s", (unsigned long long)(bytes / size_units[i].scale),
                       size_units[i].suffix);
            return;
        }
    }
    buf_printf(out, "%llu", (unsigned long long)bytes);
}

static void put_range(struct buf *out, const struct config_key *key,
                      void (*put)(struct buf *, uint64_t))
{
    buf_str(out, " from ");
    put(out, key->min);
    buf_str(out, " to ");
    put(out, key->max);
    if (key->what != NULL)
        buf_printf(out, " (%s)", key->what);
}

static void put_words(struct buf *out, const char *const *words)
{
    for (size_t i = 0; words[i] != NULL; i++) {
        if (i > 0)
            buf_str(out, words[i + 1] == NULL ? " or " : ", ");
        buf_printf(out, "\"%s\"", words[i]);
    }
}

static void put_expected(struct buf *out, const struct config_key *key)
{
    switch (key->type) {
    case CONFIG_UINT:
        buf_printf(out, "a whole number from %llu to %llu", (unsigned long long)key->min,
                   (unsigned long long)key->max);
        break;
    case CONFIG_DURATION:
        buf_str(out, "a duration such as \"15s\"");
        put_range(out, key, config_put_duration);
        break;
    case CONFIG_SIZE:
        buf_str(out, "a size such as 65536 or \"64KiB\"");
        put_range(out, key, config_put_size);
        break;
    case CONFIG_BOOL:
        buf_str(out, "true or false");
        break;
    case CONFIG_ENUM:
        put_words(out, key->words);
        break;
    case CONFIG_STRINGS:
        buf_printf(out, "a list of %llu to %llu strings, each ", (unsigned long long)key->min,
                   (unsigned long long)key->max);
        buf_str(out, key->what);
        break;
    case CONFIG_STRING:
    case CONFIG_OBJECTS:
        buf_str(out, key->what);
        break;
    }
}

static void put_found(struct buf *out, const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_STRING:
        config_quote(out, json_string_value(value));
        break;
    case JSON_INTEGER:
        buf_printf(out, "%lld", (long long)json_integer_value(value));
        break;
    case JSON_REAL:
        buf_printf(out, "%.15g", json_real_value(value));
        break;
    case JSON_OBJECT:
        buf_str(out, "an object");
        break;
    case JSON_ARRAY:
        if (json_array_size(value) == 0)
            buf_str(out, "an empty list");
        else
            buf_printf(out, "a list of %zu", json_array_size(value));
        break;
    default:
        buf_str(out, json_is_null(value) ? "null" : json_is_true(value) ? "true" : "false");
        break;
    }
}

/* Report "expected …, found …: why". `item` says that the value is one of a list's. */
static void mismatch(struct config_build *b, const struct config_key *key, bool item,
                     const json_t *value, const struct config_place *at, const char *why)
{
    struct buf text = BUF_INIT;
    buf_str(&text, "expected ");
    if (item)
        buf_str(&text, key->what);
    else
        put_expected(&text, key);
    if (!key->secret) {
        buf_str(&text, ", found ");
        put_found(&text, value);
    }
    if (why != NULL)
        buf_printf(&text, ": %s", why);
    config_error(b, at, "%s", buf_cstr(&text));
    buf_finish(&text);
}

static bool in_range(const struct config_key *key, uint64_t value)
{
    return value >= key->min && value <= key->max;
}

static bool read_whole(const json_t *value, uint64_t *out)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return false;
    *out = (uint64_t)json_integer_value(value);
    return true;
}

/* A bare 0 is the same in every unit; any other bare number is a guess that is refused. */
bool config_duration(const char *text, uint64_t *ms)
{
    *ms = 0;
    return strcmp(text, "0") == 0 || scaled_parse(text, duration_units, DURATION_UNITS, ms);
}

static bool read_duration(const json_t *value, uint64_t *out)
{
    const char *text = json_string_value(value);
    if (text == NULL)
        return read_whole(value, out) && *out == 0;
    return config_duration(text, out);
}

static bool read_size(const json_t *value, uint64_t *out)
{
    if (json_is_string(value))
        return scaled_parse(json_string_value(value), size_units, SIZE_UNITS, out);
    return read_whole(value, out);
}

static bool read_number(const struct config_key *key, const json_t *value, uint64_t *out)
{
    if (key->type == CONFIG_DURATION)
        return read_duration(value, out);
    return key->type == CONFIG_SIZE ? read_size(value, out) : read_whole(value, out);
}

static void assign_number(struct config_build *b, const struct config_key *key, void *field,
                          const json_t *value, const struct config_place *at)
{
    uint64_t n = 0;
    if (read_number(key, value, &n) && in_range(key, n)) {
        uint32_t narrow = (uint32_t)n;
        if (key->type == CONFIG_UINT)
            memcpy(field, &narrow, sizeof(narrow));
        else
            memcpy(field, &n, sizeof(n));
        return;
    }
    char hint[96] = "";
    const char *bare = json_string_value(value);
    if (key->type == CONFIG_DURATION && json_is_integer(value) && json_integer_value(value) > 0)
        (void)snprintf(hint, sizeof(hint), "a number needs a unit, write \"%llds\" or \"%lldms\"",
                       (long long)json_integer_value(value), (long long)json_integer_value(value));
    else if (key->type == CONFIG_DURATION && bare != NULL && all_digits(bare) && strlen(bare) < 20)
        (void)snprintf(hint, sizeof(hint), "a number needs a unit, write %ss or %sms", bare, bare);
    mismatch(b, key, false, value, at, hint[0] == '\0' ? NULL : hint);
}

static void assign_enum(struct config_build *b, const struct config_key *key, void *field,
                        const json_t *value, const struct config_place *at)
{
    _Static_assert(sizeof(enum redis_mode) == sizeof(unsigned), "enums are stored as unsigned");
    for (unsigned i = 0; json_is_string(value) && key->words[i] != NULL; i++) {
        if (strcmp(json_string_value(value), key->words[i]) == 0) {
            memcpy(field, &i, sizeof(i));
            return;
        }
    }
    mismatch(b, key, false, value, at, NULL);
}

/* Whether it can be printed, and read again, as what it is: a command line may hold any bytes. */
static bool is_text(const char *text, const char **why)
{
    *why = "it is not valid UTF-8";
    if (!utf8_valid(text, strlen(text)))
        return false;
    *why = "it has a control byte";
    while ((unsigned char)*text >= 0x20 && *text != 0x7f)
        text++;
    return *text == '\0';
}

/* Check one string and copy it. NULL: refused and reported, or out of memory. */
static char *take_string(struct config_build *b, const struct config_key *key, bool item,
                         const json_t *value, const struct config_place *at)
{
    const char *why = NULL, *text = json_string_value(value);
    bool fits = text != NULL && (item || in_range(key, strlen(text)));
    if (!fits || (key->check != NULL && !key->check(text, &why)) || !is_text(text, &why)) {
        mismatch(b, key, item, value, at, why);
        return NULL;
    }
    char *copy = strdup(text);
    b->nomem = b->nomem || copy == NULL;
    return copy;
}

static void assign_string(struct config_build *b, const struct config_key *key, char **field,
                          const json_t *value, const struct config_place *at)
{
    const char *given = json_string_value(value);
    bool none = key->optional && (json_is_null(value) || (given != NULL && *given == '\0'));
    char *text = none ? NULL : take_string(b, key, false, value, at);
    if (text == NULL && !none)
        return;
    free(*field);
    *field = text;
}

void config_strings_finish(struct strings *s)
{
    for (size_t i = 0; i < s->count; i++)
        free(s->items[i]);
    free(s->items);
    *s = (struct strings){NULL, 0};
}

static void assign_strings(struct config_build *b, const struct config_key *key,
                           struct strings *field, const json_t *value,
                           const struct config_place *at)
{
    struct strings list = {NULL, 0};
    size_t count = json_array_size(value);
    if (!json_is_array(value) || !in_range(key, count)) {
        mismatch(b, key, false, value, at, NULL);
        return;
    }
    if (count > 0 && (list.items = calloc(count, sizeof(*list.items))) == NULL) {
        b->nomem = true;
        return;
    }
    bool complete = true;
    for (size_t i = 0; i < count; i++) {
        struct config_path step = {at->path, NULL, i};
        struct config_place place = {at->from, at->set, &step};
        char *text = take_string(b, key, true, json_array_get(value, i), &place);
        if (text != NULL)
            list.items[list.count++] = text;
        complete = complete && text != NULL;
    }
    if (!complete) {
        config_strings_finish(&list);
        return;
    }
    config_strings_finish(field);
    *field = list;
}

static void read_object(struct config_build *b, const struct config_list *list, void *into,
                        json_t *object, const struct config_place *at)
{
    size_t errors_before = b->errors->len;
    config_read_defaults(b, list->table, into);
    if (list->begin != NULL)
        list->begin(into);
    if (!json_is_object(object)) {
        struct buf found = BUF_INIT;
        put_found(&found, object);
        config_error(b, at, "expected an object such as %s, found %s", list->example,
                     buf_cstr(&found));
        buf_finish(&found);
        return;
    }
    config_walk(b, list->table, into, object, at, "");
    for (size_t i = 0; i < list->table->count; i++) {
        const struct config_key *key = &list->table->keys[i];
        if (!key->required || json_object_get(object, key->name) != NULL)
            continue;
        struct buf expected = BUF_INIT;
        put_expected(&expected, key);
        config_error(b, at, "\"%s\" is missing: expected %s", key->name, buf_cstr(&expected));
        buf_finish(&expected);
    }
    if (list->end != NULL && b->errors->len == errors_before)
        list->end(b, into, at);
}

static void free_objects(const struct config_list *list, void *items, size_t count)
{
    for (size_t i = 0; i < count; i++)
        config_release(list->table, (char *)items + i * list->size);
    free(items);
}

void config_release(const struct config_table *t, void *base)
{
    for (size_t i = 0; i < t->count; i++) {
        const struct config_key *key = &t->keys[i];
        void *field = (char *)base + key->offset, *owned = NULL;
        if (key->type == CONFIG_STRINGS)
            config_strings_finish(field);
        else if (key->type == CONFIG_STRING || key->type == CONFIG_OBJECTS)
            memcpy(&owned, field, sizeof(owned));
        if (key->type == CONFIG_OBJECTS)
            free_objects(key->list, owned, *config_count(key, base));
        else
            free(owned);
    }
}

static void assign_objects(struct config_build *b, const struct config_key *key, void *field,
                           json_t *value, const struct config_place *at)
{
    size_t count = json_array_size(value);
    if (!json_is_array(value) || !in_range(key, count)) {
        mismatch(b, key, false, value, at, NULL);
        return;
    }
    char *items = count == 0 ? NULL : calloc(count, key->list->size);
    if (count > 0 && items == NULL) {
        b->nomem = true;
        return;
    }
    for (size_t i = 0; i < count; i++) {
        struct config_path step = {at->path, NULL, i};
        struct config_place place = {at->from, at->set, &step};
        read_object(b, key->list, items + i * key->list->size, json_array_get(value, i), &place);
    }
    void *old;
    memcpy(&old, field, sizeof(old));
    free_objects(key->list, old, *config_count(key, b->config));
    memcpy(field, &items, sizeof(items));
    *config_count(key, b->config) = count;
}

void config_assign(struct config_build *b, const struct config_key *key, void *base, json_t *value,
                   const struct config_place *at)
{
    void *field = (char *)base + key->offset;
    switch (key->type) {
    case CONFIG_UINT:
    case CONFIG_DURATION:
    case CONFIG_SIZE:
        assign_number(b, key, field, value, at);
        break;
    case CONFIG_BOOL:
        if (json_is_boolean(value))
            *(bool *)field = json_is_true(value);
        else
            mismatch(b, key, false, value, at, NULL);
        break;
    case CONFIG_ENUM:
        assign_enum(b, key, field, value, at);
        break;
    case CONFIG_STRING:
        assign_string(b, key, field, value, at);
        break;
    case CONFIG_STRINGS:
        assign_strings(b, key, field, value, at);
        break;
    case CONFIG_OBJECTS:
        assign_objects(b, key, field, value, at);
        break;
    }
}

json_t *config_text_value(const struct config_key *key, const char *text)
{
    json_t *value = NULL;
    switch (key->type) {
    case CONFIG_UINT:
    case CONFIG_SIZE:
        if (all_digits(text) && strlen(text) < 19)
            return json_integer((json_int_t)strtoll(text, NULL, 10));
        break;
    case CONFIG_BOOL:
        if (strcmp(text, "true") == 0 || strcmp(text, "false") == 0)
            return json_boolean(text[0] == 't');
        break;
    case CONFIG_STRING:
        if (key->optional && strcmp(text, "null") == 0)
            return json_null();
        break;
    case CONFIG_STRINGS:
    case CONFIG_OBJECTS:
        value = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
        break;
    default:
        break;
    }
    return value != NULL ? value : json_stringn_nocheck(text, strlen(text));
}
