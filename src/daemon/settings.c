#include "tickerd/daemon/settings.h"

#include <stdlib.h>
#include <string.h>

#include "tickerd/base/err.h"
#include "tickerd/daemon/keys.h"

struct settings *settings_create(struct config *config, struct buf *errors)
{
    struct keyring *keys = keys_load(config, errors);
    struct settings *s = keys == NULL ? NULL : calloc(1, sizeof *s);
    if (keys != NULL && s == NULL)
        buf_printf(errors, "%s\n", err_text(ERR_NOMEM));
    if (s == NULL) {
        keyring_destroy(keys);
        config_destroy(config);
        return NULL;
    }
    atomic_init(&s->refs, 1);
    s->config = config;
    s->keys = keys;
    return s;
}

struct settings *settings_for_admin(struct settings *base)
{
    struct settings *s = calloc(1, sizeof *s);
    struct config *c = malloc(sizeof *c);
    if (s == NULL || c == NULL) {
        free(s);
        free(c);
        return NULL;
    }
    *c = *base->config; /* what it points to stays the base's */
    c->auth.mode = AUTH_OFF;
    c->limits.clients_per_ip = c->limits.clients_per_subject = 0;
    c->limits.replay_per_minute = 0;
    c->cors.origins = (struct strings){NULL, 0};
    c->cors.credentials = false;
    c->proxy.blocks = (struct netblocks){NULL, 0};
    c->proxy.protocol = false;
    c->log.access = false;
    atomic_init(&s->refs, 1);
    s->config = c;
    s->keys = base->keys;
    s->base = settings_ref(base);
    return s;
}

struct settings *settings_ref(struct settings *s)
{
    (void)atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
}

void settings_unref(struct settings *s)
{
    if (s == NULL || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
        return;
    if (s->base != NULL) {
        free((struct config *)s->config);
        settings_unref(s->base);
    } else {
        config_destroy((struct config *)s->config); /* nobody else looks at them any more */
        keyring_destroy((struct keyring *)s->keys);
    }
    free(s);
}

static bool same_text(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

bool settings_judge_anew(const struct settings *before, const struct settings *now)
{
    const struct config *a = before->config, *b = now->config;
    return a->auth.mode != b->auth.mode || !same_text(a->auth.issuer, b->auth.issuer) ||
           !same_text(a->auth.audience, b->auth.audience) ||
           !same_text(a->auth.claim, b->auth.claim);
}
