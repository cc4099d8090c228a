#include "config_internal.h"

#include <stdlib.h>
#include <string.h>

#include "tickerd/base/err.h"
#include "tickerd/wire/topic.h"

static int read_trusted(struct config *c)
{
    const struct strings *texts = &c->proxy.trusted;
    struct netblocks *blocks = &c->proxy.blocks;
    const char *why;
    if (texts->count == 0)
        return ERR_OK;
    blocks->items = calloc(texts->count, sizeof *blocks->items);
    if (blocks->items == NULL)
        return ERR_NOMEM;
    for (; blocks->count < texts->count; blocks->count++)
        (void)netblock_parse(&blocks->items[blocks->count], texts->items[blocks->count], &why);
    return ERR_OK;
}

/* Fill in what follows from the values as a whole. */
static int complete(struct config *c)
{
    c->redis.prefix_len = strlen(c->redis.prefix);
    c->rule_default.history = c->history;
    for (size_t i = 0; i < c->rule_count; i++) {
        struct history_limits *h = &c->rules[i].history;
        if (h->events == CONFIG_INHERIT_EVENTS)
            h->events = c->history.events;
        if (h->bytes == CONFIG_INHERIT)
            h->bytes = c->history.bytes;
        if (h->age_ms == CONFIG_INHERIT)
            h->age_ms = c->history.age_ms;
    }
    return read_trusted(c);
}

struct config *config_build(const struct config_source *from, struct buf *errors)
{
    struct config_build b = {.errors = errors};
    b.config = calloc(1, sizeof(*b.config));
    if (b.config == NULL) {
        buf_printf(errors, "%s\n", err_text(ERR_NOMEM));
        return NULL;
    }
    config_read_defaults(&b, &config_table, b.config);
    config_read_defaults(&b, &config_rule_table, &b.config->rule_default);
    if (from->file != NULL)
        config_read_file(&b, from->file);
    if (from->redis_url != NULL)
        config_read_env(&b, from->redis_url);
    for (size_t i = 0; i < from->set_count; i++)
        config_read_set(&b, from->set[i]);
    if (!b.nomem)
        config_cross_check(&b);
    if (!b.nomem && !b.failed)
        b.nomem = complete(b.config) != ERR_OK;
    if (b.nomem)
        buf_printf(errors, "%s\n", err_text(ERR_NOMEM));
    buf_finish(&b.source);
    if (b.failed || b.nomem) {
        config_destroy(b.config);
        return NULL;
    }
    return b.config;
}

void config_destroy(struct config *c)
{
    if (c == NULL)
        return;
    config_release(&config_table, c);
    free(c->proxy.blocks.items);
    free(c);
}

/* Reads and forgets it: the text may hold a password. */
static bool is_tls(int (*parse)(struct redis_url *, const char *, const char **), const char *text)
{
    struct redis_url url;
    const char *why;
    if (parse(&url, text, &why) != ERR_OK)
        return false;
    bool tls = url.tls;
    redis_url_finish(&url);
    return tls;
}

bool config_uses_tls(const struct config *c)
{
    bool tls = is_tls(redis_url_parse, c->redis.url);
    for (size_t i = 0; i < c->redis.sentinels.count; i++)
        tls = tls || is_tls(sentinel_parse, c->redis.sentinels.items[i]);
    return tls;
}

const struct channel_rule *config_rule(const struct config *c, const char *name, size_t len)
{
    for (size_t i = 0; i < c->rule_count; i++) {
        if (glob_match(c->rules[i].match, c->rules[i].match_len, name, len))
            return &c->rules[i];
    }
    return &c->rule_default;
}
