/* Shared by the config_*.c files only.
 *
 * A value from any source (default, file, environment, --set) first becomes a json_t, then one
 * function, config_assign, checks it against its row and stores it. So every source has the same
 * rules and the same messages; they differ only in how the place of a problem is named. */
#ifndef TICKERD_WIRE_CONFIG_INTERNAL_H
#define TICKERD_WIRE_CONFIG_INTERNAL_H

#include <jansson.h>

#include "tickerd/wire/config.h"

enum config_type {
    CONFIG_UINT,     /* uint32_t */
    CONFIG_DURATION, /* uint64_t, milliseconds */
    CONFIG_SIZE,     /* uint64_t, bytes */
    CONFIG_BOOL,     /* bool */
    CONFIG_ENUM,     /* an enum; words are in the order of its values from 0 */
    CONFIG_STRING,   /* owned char * */
    CONFIG_STRINGS,  /* struct strings */
    CONFIG_OBJECTS,  /* an owned array, and its size_t count elsewhere: see config_list */
};

struct config_build;
struct config_key;
struct config_place;

struct config_table {
    const struct config_key *keys;
    size_t count;
};

/* What the objects of a list are. */
struct config_list {
    const struct config_table *table; /* their keys */
    size_t size;                      /* of the structure that one is read into */
    size_t count_offset;              /* of the count, in struct config */
    const char *example;              /* of one, for messages */
    /* Set what the table cannot, before an object is read; NULL: nothing. */
    void (*begin)(void *object);
    /* Judge and complete an object that has been read; NULL: nothing to do. */
    void (*end)(struct config_build *b, void *object, const struct config_place *at);
};

struct config_key {
    const char *name; /* dotted */
    enum config_type type;
    size_t offset;       /* of the field in struct config, or in a list's structure */
    uint64_t min, max;   /* numbers: of the value; strings: of its length; lists: of the count */
    const char *initial; /* the default as --set would take it; NULL: required, or inherited */
    const char *what;    /* strings, lists: "a Redis URL …" in messages; numbers: why the limit */
    const char *help;    /* one sentence */
    const char *const *words;                          /* enums: NULL-terminated */
    bool (*check)(const char *text, const char **why); /* strings, items: NULL: any text goes */
    bool secret;                                       /* never quoted in a message */
    const struct config_list *list;                    /* objects */
    bool required;                                     /* of an object in a list */
    bool optional; /* strings: null or "" means none, and is stored as NULL */
    /* A reload leaves it as it is. So is every key that is checked together with such a one. */
    bool fixed;
};

/* The top level, and one entry of `channels`. */
extern const struct config_table config_table;
extern const struct config_table config_rule_table;

/* A rule's history before what it leaves out is filled in; beyond every range. */
#define CONFIG_INHERIT_EVENTS UINT32_MAX
#define CONFIG_INHERIT UINT64_MAX

/* The way to a value in the file, innermost first. A step is a key, or an index if key is NULL. */
struct config_path {
    const struct config_path *up;
    const char *key;
    size_t index;
};

enum config_from { CONFIG_FROM_DEFAULT, CONFIG_FROM_FILE, CONFIG_FROM_ENV, CONFIG_FROM_SET };

struct config_place {
    enum config_from from;
    const char *set;                /* "key=value" of CONFIG_FROM_SET */
    const struct config_path *path; /* NULL: the whole file */
};

/* Where the value of a key came from, for the cross checks. */
struct config_origin {
    enum config_from from;
    const char *set;
    size_t line;
    bool bad; /* its last value was refused: cross checks would only confuse */
};

struct config_build {
    struct config *config;
    struct buf *errors;
    bool failed;
    bool nomem;
    const char *file;
    struct buf source; /* the file's text */
    struct config_origin origins[CONFIG_KEYS_MAX];
};

/* config_table.c */
const struct config_key *config_find(const struct config_table *t, const char *name);
/* Whether the name is a group, i.e. some key begins with it and a dot. */
bool config_is_group(const struct config_table *t, const char *name);

/* config_value.c */
void config_assign(struct config_build *b, const struct config_key *key, void *base, json_t *value,
                   const struct config_place *at);
/* Turn the text of a default or of --set into what a file would hold there. NULL: out of memory. */
json_t *config_text_value(const struct config_key *key, const char *text);
void config_put_duration(struct buf *out, uint64_t ms);
void config_put_size(struct buf *out, uint64_t bytes);
void config_strings_finish(struct strings *s);
/* Where the number of a list's objects is, in a struct config. */
static inline size_t *config_count(const struct config_key *key, void *base)
{
    return (size_t *)(void *)((char *)base + key->list->count_offset);
}
/* Free all that belongs to a structure that a table describes, not the structure. */
void config_release(const struct config_table *t, void *base);

/* config_print.c */
/* Append one value as --print-config has it; `base` is the struct config or the rule. */
void config_put_value(struct buf *out, const struct config_key *key, const void *base,
                      size_t indent, bool secrets);

/* config_parse.c */
void config_read_defaults(struct config_build *b, const struct config_table *t, void *base);
void config_read_file(struct config_build *b, const char *path);
void config_read_env(struct config_build *b, const char *redis_url);
void config_read_set(struct config_build *b, const char *set);
/* Read the members of an object (groups recurse); `prefix` is "" or ends with a dot. */
void config_walk(struct config_build *b, const struct config_table *t, void *base, json_t *object,
                 const struct config_place *at, const char *prefix);

/* config_check.c */
bool config_check_listen(const char *text, const char **why);
bool config_check_admin_host(const char *text, const char **why);
bool config_check_redis_url(const char *text, const char **why);
bool config_check_sentinel(const char *text, const char **why);
bool config_check_node(const char *text, const char **why);
bool config_check_master(const char *text, const char **why);
bool config_check_host(const char *text, const char **why);
bool config_check_path(const char *text, const char **why);
bool config_check_key_file(const char *text, const char **why);
bool config_check_env(const char *text, const char **why);
bool config_check_origin(const char *text, const char **why);
bool config_check_cookie(const char *text, const char **why);
bool config_check_query(const char *text, const char **why);
bool config_check_trusted(const char *text, const char **why);
/* The begin and end of the lists. */
void config_begin_rule(void *object);
void config_end_rule(struct config_build *b, void *object, const struct config_place *at);
void config_end_auth_key(struct config_build *b, void *object, const struct config_place *at);
/* What involves several keys; run when all sources are read. */
void config_cross_check(struct config_build *b);

/* config_error.c */
void config_error(struct config_build *b, const struct config_place *at, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void config_error_origin(struct config_build *b, const struct config_origin *at, const char *name,
                         const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/* An error in the file as such; line 0: none, column 0: none. */
void config_error_file(struct config_build *b, size_t line, size_t column, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* The line of a place in the file, 0 if it cannot be told. */
size_t config_line(const struct config_build *b, const struct config_path *path);
/* Append text in quotes, shortened; never one that may hold a password. */
void config_quote(struct buf *out, const char *text);
/* The known name nearest to an unknown one, appended as ", did you mean …?", or nothing. */
void config_suggest(struct buf *out, const struct config_table *t, const char *name);

#endif
