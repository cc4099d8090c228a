#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "grant_util.h"

struct token token_of(const char *claim, const char *sub, int64_t exp_s)
{
    struct token t = {.expires = exp_s != 0, .exp_s = exp_s};
    t.subject = sub == NULL ? NULL : strdup(sub);
    t.channels.items = calloc(strlen(claim) + 1, sizeof *t.channels.items);
    assert_non_null(t.channels.items);
    for (const char *p = claim + strspn(claim, " "); *p != '\0'; p += strspn(p, " ")) {
        size_t len = strcspn(p, " ");
        t.channels.items[t.channels.count++] = strndup(p, len);
        p += len;
    }
    return t;
}

void token_finish_of(struct token *t)
{
    for (size_t i = 0; i < t->channels.count; i++)
        free(t->channels.items[i]);
    free(t->channels.items);
    free(t->subject);
}

struct grant *grant_of(const char *claim, const char *sub, int64_t exp_s)
{
    struct token t = token_of(claim, sub, exp_s);
    struct grant *g = grant_create(&t, 0, 0);
    assert_non_null(g);
    token_finish_of(&t);
    return g;
}
