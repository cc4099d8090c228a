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

struct settings *settings_ref(struct settings *s)
{
    (void)atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
}

void settings_unref(struct settings *s)
{
    if (s == NULL || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
        return;
    config_destroy((struct config *)s->config); /* nobody else looks at them any more */
    keyring_destroy((struct keyring *)s->keys);
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
