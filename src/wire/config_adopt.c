/* A reload: which keys differ, and what of the running configuration stays in force. */
#include "config_internal.h"

#include <stdlib.h>
#include <string.h>

#include "tickerd/base/err.h"

/* Two values are the same if they would be printed as the same. */
static bool same_value(const struct config_key *k, const void *a, const struct config_key *l,
                       const void *b, bool *nomem)
{
    struct buf x = BUF_INIT, y = BUF_INIT;
    config_put_value(&x, k, a, 0, true);
    config_put_value(&y, l, b, 0, true);
    bool same = x.len == y.len && (x.len == 0 || memcmp(x.data, y.data, x.len) == 0);
    *nomem = *nomem || x.failed || y.failed;
    buf_finish(&x);
    buf_finish(&y);
    return same;
}

/* Whether a rule has what it would have inherited. */
static bool inherits(const struct config *c, const struct channel_rule *rule,
                     const struct config_key *key, bool *nomem)
{
    const struct config_key *top = config_find(&config_table, key->name);
    return top != NULL && same_value(key, rule, top, c, nomem);
}

/* Rules that differ only by what both inherit have not changed themselves. */
static bool same_rules(const struct config *a, const struct config *b, bool *nomem)
{
    if (a->rule_count != b->rule_count)
        return false;
    for (size_t i = 0; i < a->rule_count; i++) {
        const struct channel_rule *x = &a->rules[i], *y = &b->rules[i];
        for (size_t k = 0; k < config_rule_table.count; k++) {
            const struct config_key *key = &config_rule_table.keys[k];
            if (!same_value(key, x, key, y, nomem) &&
                !(inherits(a, x, key, nomem) && inherits(b, y, key, nomem)))
                return false;
        }
    }
    return true;
}

static int copy_string(char **to, const char *from)
{
    char *copy = from == NULL ? NULL : strdup(from);
    if (from != NULL && copy == NULL)
        return ERR_NOMEM;
    free(*to);
    *to = copy;
    return ERR_OK;
}

static int copy_strings(struct strings *to, const struct strings *from)
{
    struct strings list = {from->count == 0 ? NULL : calloc(from->count, sizeof *list.items), 0};
    int err = from->count > 0 && list.items == NULL ? ERR_NOMEM : ERR_OK;
    for (size_t i = 0; err == ERR_OK && i < from->count; i++) {
        err = copy_string(&list.items[i], from->items[i]);
        list.count += err == ERR_OK ? 1 : 0;
    }
    if (err != ERR_OK) {
        config_strings_finish(&list);
        return err;
    }
    config_strings_finish(to);
    *to = list;
    return ERR_OK;
}

static int copy_value(const struct config_key *key, struct config *to, const struct config *from)
{
    void *field = (char *)to + key->offset;
    const void *value = (const char *)from + key->offset;
    switch (key->type) {
    case CONFIG_UINT:
    case CONFIG_ENUM:
        memcpy(field, value, sizeof(uint32_t));
        break;
    case CONFIG_DURATION:
    case CONFIG_SIZE:
        memcpy(field, value, sizeof(uint64_t));
        break;
    case CONFIG_BOOL:
        memcpy(field, value, sizeof(bool));
        break;
    case CONFIG_STRING:
        return copy_string(field, *(char *const *)value);
    case CONFIG_STRINGS:
        return copy_strings(field, value);
    case CONFIG_OBJECTS: /* never fixed */
        break;
    }
    return ERR_OK;
}

int config_adopt(struct config *next, const struct config *running, struct config_changes *out)
{
    bool nomem = false;
    *out = (struct config_changes){.applied_count = 0};
    for (size_t i = 0; i < config_table.count; i++) {
        const struct config_key *key = &config_table.keys[i];
        bool rules = key->list != NULL && key->list->table == &config_rule_table;
        bool same =
            rules ? same_rules(next, running, &nomem) : same_value(key, next, key, running, &nomem);
        if (same)
            continue;
        if (!key->fixed) {
            out->applied[out->applied_count++] = key->name;
            continue;
        }
        out->fixed[out->fixed_count++] = key->name;
        if (copy_value(key, next, running) != ERR_OK)
            nomem = true;
    }
    if (nomem)
        return ERR_NOMEM;
    next->redis.prefix_len = strlen(next->redis.prefix); /* all else that is derived is its own */
    return ERR_OK;
}
