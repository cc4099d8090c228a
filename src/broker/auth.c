#include "tickerd/broker/auth.h"

#include <stdlib.h>
#include <string.h>

#include "tickerd/wire/topic.h"

/* A part of the claim, in the grant's text: a name, or a glob in its canonical spelling. */
struct spelling {
    const char *bytes;
    size_t len;
};

/* Of a long claim only those globs are tried whose literal head the name has. */
struct claim_glob {
    struct spelling spelling, head;
    size_t longer;     /* the first glob behind it that has a longer head */
    struct glob *glob; /* owned */
};

struct grant {
    int64_t ends_s;
    const char *subject; /* in the text; NULL: none */
    bool has_token;
    bool all; /* the claim has `*` */
    uint8_t key[TOKEN_ID_LEN];
    struct spelling *names; /* owned; in the order of compare_names */
    size_t name_count;
    struct claim_glob *globs; /* owned; in the order of compare_heads */
    size_t glob_count;
    char text[]; /* sub, the claim's items, the heads of its globs */
};

/* ---- making one ---------------------------------------------------------------------------- */

/* Lengths first: most names differ there, and that needs no memory of theirs. */
static int compare_names(const void *a, const void *b)
{
    const struct spelling *x = a, *y = b;
    if (x->len != y->len)
        return x->len < y->len ? -1 : 1;
    return memcmp(x->bytes, y->bytes, x->len);
}

static int compare_heads(const void *a, const void *b)
{
    const struct claim_glob *x = a, *y = b;
    return compare_names(&x->head, &y->head);
}

/* Read one item of the claim into the text at `at`. Returns what is behind it, or NULL. */
static char *add_item(struct grant *g, const char *item, char *at)
{
    size_t len = strlen(item);
    bool literal;
    size_t head = glob_head(item, len, at, &literal);
    if (literal) {
        g->names[g->name_count++] = (struct spelling){at, head};
        return at + head;
    }
    struct claim_glob *c = &g->globs[g->glob_count];
    c->head = (struct spelling){at, head};
    at += head;
    c->spelling = (struct spelling){at, glob_canonical(item, len, at)};
    c->glob = glob_compile(at, c->spelling.len);
    if (c->glob == NULL)
        return NULL;
    g->glob_count++;
    g->all = g->all || (c->spelling.len == 1 && at[0] == '*');
    return at + c->spelling.len;
}

static void sort_claim(struct grant *g)
{
    if (g->name_count > 1)
        qsort(g->names, g->name_count, sizeof *g->names, compare_names);
    if (g->glob_count > 1)
        qsort(g->globs, g->glob_count, sizeof *g->globs, compare_heads);
    size_t longer = g->glob_count;
    for (size_t i = g->glob_count; i > 0; i--) {
        if (i < g->glob_count && g->globs[i].head.len > g->globs[i - 1].head.len)
            longer = i;
        g->globs[i - 1].longer = longer;
    }
}

static bool read_claim(struct grant *g, const struct strings *channels, char *at)
{
    size_t literals = 0;
    for (size_t i = 0; i < channels->count; i++) {
        bool literal;
        (void)glob_head(channels->items[i], strlen(channels->items[i]), at, &literal);
        literals += literal ? 1 : 0;
    }
    size_t globs = channels->count - literals;
    g->names = literals == 0 ? NULL : malloc(literals * sizeof *g->names);
    g->globs = globs == 0 ? NULL : malloc(globs * sizeof *g->globs);
    if ((literals > 0 && g->names == NULL) || (globs > 0 && g->globs == NULL))
        return false;
    for (size_t i = 0; i < channels->count; i++) {
        at = add_item(g, channels->items[i], at);
        if (at == NULL)
            return false;
    }
    sort_claim(g);
    return true;
}

static int64_t end_of(const struct token *t, int64_t now_s, int64_t leeway_s)
{
    if (!t->expires)
        return INT64_MAX;
    if (t->exp_s > now_s)
        return t->exp_s;
    return t->exp_s > INT64_MAX - leeway_s ? INT64_MAX : t->exp_s + leeway_s;
}

struct grant *grant_create(const struct token *token, int64_t now_s, int64_t leeway_s)
{
    size_t text = 0;
    size_t subject = token == NULL || token->subject == NULL ? 0 : strlen(token->subject) + 1;
    for (size_t i = 0; token != NULL && i < token->channels.count; i++)
        text += 2 * strlen(token->channels.items[i]); /* of a glob both spelling and head */
    struct grant *g = calloc(1, sizeof *g + subject + text);
    if (g == NULL)
        return NULL;
    g->ends_s = INT64_MAX;
    if (token == NULL)
        return g;
    g->has_token = true;
    g->ends_s = end_of(token, now_s, leeway_s);
    memcpy(g->key, token->key, sizeof g->key);
    if (subject > 0) {
        memcpy(g->text, token->subject, subject);
        g->subject = g->text;
    }
    if (!read_claim(g, &token->channels, g->text + subject)) {
        grant_destroy(g);
        return NULL;
    }
    return g;
}

void grant_destroy(struct grant *g)
{
    if (g == NULL)
        return;
    for (size_t i = 0; i < g->glob_count; i++)
        glob_destroy(g->globs[i].glob);
    free(g->names);
    free(g->globs);
    free(g);
}

const char *grant_subject(const struct grant *g)
{
    return g == NULL ? NULL : g->subject;
}

bool grant_has_token(const struct grant *g)
{
    return g != NULL && g->has_token;
}

int64_t grant_ends_s(const struct grant *g)
{
    return g == NULL ? INT64_MAX : g->ends_s;
}

const uint8_t *grant_key(const struct grant *g)
{
    return grant_has_token(g) ? g->key : NULL;
}

/* ---- one channel --------------------------------------------------------------------------- */

/* The first glob in [from, to), all with heads as long as this one, whose head is not before it. */
static size_t seek(const struct grant *g, size_t from, size_t to, const struct spelling *head)
{
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        if (compare_names(&g->globs[middle].head, head) < 0)
            from = middle + 1;
        else
            to = middle;
    }
    return from;
}

static bool claims_by_glob(const struct grant *g, const char *name, size_t len)
{
    size_t i = 0, longer;
    for (; i < g->glob_count && g->globs[i].head.len <= len; i = longer) {
        const struct spelling head = {name, g->globs[i].head.len};
        longer = g->globs[i].longer;
        for (i = seek(g, i, longer, &head);
             i < longer && compare_names(&g->globs[i].head, &head) == 0; i++) {
            if (glob_matches(g->globs[i].glob, name, len))
                return true;
        }
    }
    return false;
}

static bool claims(const struct grant *g, const char *name, size_t len)
{
    if (g == NULL)
        return false;
    if (g->all)
        return true;
    const struct spelling wanted = {name, len};
    if (g->name_count > 0 &&
        bsearch(&wanted, g->names, g->name_count, sizeof wanted, compare_names) != NULL)
        return true;
    return claims_by_glob(g, name, len);
}

bool auth_allows(const struct config *c, const struct grant *g, const char *name, size_t len)
{
    if (c->auth.mode == AUTH_OFF || claims(g, name, len))
        return true;
    return c->auth.mode == AUTH_OPTIONAL && config_rule(c, name, len)->anonymous;
}

/* ---- the same channels again and again ------------------------------------------------------- */

/* Room for so many channels, each in one of the places of its set. */
enum { MEMO_SETS = 4096, MEMO_PLACES = 4 };

struct auth_memo {
    struct name *channel; /* owned reference, so that no other name can have its address; or NULL */
    bool anonymous;
};

/* Its memo; or the one to be forgotten in its favour. */
static struct auth_memo *memo_of(struct auth_memory *m, const struct name *channel)
{
    uint64_t mixed = (uint64_t)(uintptr_t)channel * 0x9e3779b97f4a7c15U;
    struct auth_memo *set = &m->memos[(mixed >> 32) % MEMO_SETS * MEMO_PLACES];
    for (size_t i = 0; i < MEMO_PLACES; i++) {
        if (set[i].channel == channel)
            return &set[i];
    }
    return &set[m->turn++ % MEMO_PLACES];
}

static bool is_anonymous(struct auth_memory *m, const struct config *c, struct name *channel)
{
    if (m->memos == NULL)
        m->memos = calloc((size_t)MEMO_SETS * MEMO_PLACES, sizeof *m->memos);
    if (m->memos == NULL)
        return config_rule(c, channel->bytes, channel->len)->anonymous;
    struct auth_memo *memo = memo_of(m, channel);
    if (memo->channel != channel) {
        name_unref(memo->channel);
        memo->channel = name_ref(channel);
        memo->anonymous = config_rule(c, channel->bytes, channel->len)->anonymous;
    }
    return memo->anonymous;
}

bool auth_allows_name(struct auth_memory *m, const struct config *c, const struct grant *g,
                      struct name *channel)
{
    if (c->auth.mode == AUTH_OFF || claims(g, channel->bytes, channel->len))
        return true;
    return c->auth.mode == AUTH_OPTIONAL && is_anonymous(m, c, channel);
}

void auth_forget(struct auth_memory *m)
{
    for (size_t i = 0; m->memos != NULL && i < (size_t)MEMO_SETS * MEMO_PLACES; i++)
        name_unref(m->memos[i].channel);
    free(m->memos);
    *m = (struct auth_memory){.memos = NULL};
}

/* ---- all channels of a pattern ------------------------------------------------------------- */

struct head {
    char bytes[TOPIC_MAX];
    size_t len;
    bool literal; /* nothing follows */
    bool star;    /* one star follows, and nothing else */
};

/* Longer ones than any name are none of ours: false. */
static bool read_head(struct head *h, const char *pattern, size_t len)
{
    char scratch[TOPIC_MAX];
    if (len == 0 || len > TOPIC_MAX)
        return false;
    h->len = glob_head(pattern, len, h->bytes, &h->literal);
    (void)glob_head(pattern, len - 1, scratch, &h->star);
    h->star = h->star && !h->literal && pattern[len - 1] == '*';
    return true;
}

static bool begins_with(const struct head *h, const struct head *with)
{
    return h->len >= with->len && memcmp(h->bytes, with->bytes, with->len) == 0;
}

/* Whether what the one matches the other does, too. */
static bool covers(const char *wide, size_t wide_len, const char *pattern, size_t len,
                   const struct head *head)
{
    struct head w;
    if (wide_len == len && memcmp(wide, pattern, len) == 0)
        return true;
    return read_head(&w, wide, wide_len) && w.star && begins_with(head, &w);
}

/* Whether every rule that may be the first to match is anonymous. */
static bool all_anonymous(const struct config *c, const char *pattern, size_t len,
                          const struct head *head)
{
    for (size_t i = 0; i < c->rule_count; i++) {
        const struct channel_rule *rule = &c->rules[i];
        struct head h;
        if (covers(rule->match, rule->match_len, pattern, len, head))
            return rule->anonymous;
        bool apart = read_head(&h, rule->match, rule->match_len) && !begins_with(head, &h) &&
                     !begins_with(&h, head);
        if (!rule->anonymous && !apart)
            return false;
    }
    return c->rule_default.anonymous;
}

bool auth_allows_all(const struct config *c, const struct grant *g, const char *pattern, size_t len)
{
    struct head head;
    if (c->auth.mode == AUTH_OFF || (g != NULL && g->all))
        return true;
    if (!read_head(&head, pattern, len))
        return false;
    if (head.literal)
        return auth_allows(c, g, head.bytes, head.len);
    for (size_t i = 0; g != NULL && i < g->glob_count; i++) {
        const struct spelling *s = &g->globs[i].spelling;
        if (covers(s->bytes, s->len, pattern, len, &head))
            return true;
    }
    return c->auth.mode == AUTH_OPTIONAL && all_anonymous(c, pattern, len, &head);
}

/* Whether the beginnings of two globs leave room for a name that both match. */
static bool may_meet(const struct head *h, const char *glob, size_t len)
{
    struct head other;
    return !read_head(&other, glob, len) || begins_with(h, &other) || begins_with(&other, h);
}

bool auth_allows_some(const struct config *c, const struct grant *g, const char *pattern,
                      size_t len)
{
    struct head head;
    bool some = c->auth.mode == AUTH_OFF || (g != NULL && g->all) ||
                !read_head(&head, pattern, len) ||
                (c->auth.mode == AUTH_OPTIONAL && c->rule_default.anonymous);
    for (size_t i = 0; g != NULL && i < g->name_count && !some; i++)
        some = glob_match(pattern, len, g->names[i].bytes, g->names[i].len);
    for (size_t i = 0; g != NULL && i < g->glob_count && !some; i++)
        some = may_meet(&head, g->globs[i].spelling.bytes, g->globs[i].spelling.len);
    for (size_t i = 0; c->auth.mode == AUTH_OPTIONAL && i < c->rule_count && !some; i++)
        some = c->rules[i].anonymous && may_meet(&head, c->rules[i].match, c->rules[i].match_len);
    return some;
}

/* ---- requests ------------------------------------------------------------------------------ */

static bool some_anonymous(const struct config *c)
{
    bool some = c->rule_default.anonymous;
    for (size_t i = 0; i < c->rule_count; i++)
        some = some || c->rules[i].anonymous;
    return some;
}

enum auth_verdict auth_judge(const struct config *c, const struct grant *g,
                             const struct target_topic *topic)
{
    bool has_token = grant_has_token(g);
    bool good = topic->pattern ? has_token || c->auth.mode == AUTH_OFF ||
                                     (c->auth.mode == AUTH_OPTIONAL && some_anonymous(c))
                               : auth_allows(c, g, topic->name, topic->len);
    if (good)
        return AUTH_ALLOWED;
    return has_token ? AUTH_FORBIDDEN : AUTH_NEEDS_TOKEN;
}

enum auth_verdict auth_decide(const struct config *c, const struct grant *g, const struct target *t,
                              const struct target_topic **culprit)
{
    for (size_t i = 0; i < t->count; i++) {
        enum auth_verdict verdict = auth_judge(c, g, &t->topics[i]);
        if (verdict != AUTH_ALLOWED) {
            *culprit = &t->topics[i];
            return verdict;
        }
    }
    *culprit = NULL;
    return AUTH_ALLOWED;
}
