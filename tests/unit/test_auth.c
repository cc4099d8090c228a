/* Grants: what a claim and the rules allow. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker_util.h"
#include "config_util.h"
#include "grant_util.h"
#include "prng.h"
#include "tickerd/base/buf.h"
#include "tickerd/base/clock.h"
#include "tickerd/broker/auth.h"
#include "tickerd/wire/topic.h"

static struct config *config_of(const char *mode, const char *rules)
{
    struct buf mode_setting = BUF_INIT, rules_setting = BUF_INIT;
    buf_printf(&mode_setting, "auth.mode=%s", mode);
    buf_printf(&rules_setting, "channels=%s", rules);
    const char *set[] = {"auth.jwks_file=/nowhere", buf_cstr(&mode_setting),
                         buf_cstr(&rules_setting), NULL};
    struct config *c = build_ok(NULL, NULL, set);
    buf_finish(&mode_setting);
    buf_finish(&rules_setting);
    return c;
}

static bool allows(const struct config *c, const struct grant *g, const char *name)
{
    return auth_allows(c, g, name, strlen(name));
}

static bool allows_all(const struct config *c, const struct grant *g, const char *pattern)
{
    return auth_allows_all(c, g, pattern, strlen(pattern));
}

static void claims_are_names_and_globs(void **state)
{
    (void)state;
    static const struct {
        const char *claim; /* items joined by blanks */
        const char *name;
        bool allowed;
    } cases[] = {
        {"", "news", false},
        {"news", "news", true},
        {"news", "newss", false},
        {"news", "new", false},
        {"news", "nEws", false},
        {"news weather", "weather", true},
        {"b aa c", "aa", true},
        {"b aa c", "ab", false},
        {"user.*", "user.1", true},
        {"user.*", "user.", true},
        {"user.*", "user", false},
        {"user.*", "users.1", false},
        {"user.\\*", "user.*", true}, /* escaped: a name */
        {"user.\\*", "user.1", false},
        {"user.\\*", "user.\\*", false},
        {"[ab]c", "ac", true},
        {"[ab]c", "[ab]c", false},
        {"?", "x", true},
        {"?", "xy", false},
        {"*", "anything/at.all", true},
        {"**", "anything", true},
        {"none [", "x", false}, /* an unclosed class matches nothing */
    };
    struct config *c = config_of("required", "[]");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct grant *g = grant_of(cases[i].claim, NULL, 0);
        if (allows(c, g, cases[i].name) != cases[i].allowed)
            fail_msg("claim \"%s\", channel \"%s\"", cases[i].claim, cases[i].name);
        grant_destroy(g);
    }
    config_destroy(c);
}

static void modes(void **state)
{
    (void)state;
    static const char *const rules = "[{\"match\":\"open.secret\"},"
                                     "{\"match\":\"open.*\",\"anonymous\":true}]";
    struct config *off = config_of("off", rules), *optional = config_of("optional", rules),
                  *required = config_of("required", rules);
    struct grant *g = grant_of("mine", "42", 0), *none = grant_create(NULL, 1000, 30);
    const struct grant *tokenless[] = {NULL, none};
    assert_non_null(none);
    for (size_t i = 0; i < 2; i++) {
        assert_true(allows(off, tokenless[i], "mine"));
        assert_false(allows(optional, tokenless[i], "mine"));
        assert_true(allows(optional, tokenless[i], "open.1"));
        assert_false(allows(optional, tokenless[i], "open.secret")); /* the first rule counts */
        assert_false(allows(required, tokenless[i], "open.1"));
    }
    assert_true(allows(off, g, "other"));
    assert_true(allows(optional, g, "mine"));
    assert_true(allows(optional, g, "open.1"));
    assert_false(allows(optional, g, "open.secret"));
    assert_true(allows(required, g, "mine"));
    assert_false(allows(required, g, "open.1"));
    grant_destroy(g);
    grant_destroy(none);
    grant_destroy(NULL);
    config_destroy(off);
    config_destroy(optional);
    config_destroy(required);
}

static void what_a_grant_remembers(void **state)
{
    (void)state;
    struct token t = token_of("a b*", "user-42", 0);
    memset(t.key, 7, sizeof t.key);
    struct grant *g = grant_create(&t, 1000, 30);
    token_finish_of(&t); /* it has copies */
    assert_true(grant_has_token(g));
    assert_string_equal(grant_subject(g), "user-42");
    assert_int_equal(grant_ends_s(g), INT64_MAX);
    for (size_t i = 0; i < TOKEN_ID_LEN; i++)
        assert_int_equal(grant_key(g)[i], 7);
    grant_destroy(g);

    g = grant_create(NULL, 1000, 30);
    assert_false(grant_has_token(g));
    assert_null(grant_subject(g));
    assert_null(grant_key(g));
    assert_int_equal(grant_ends_s(g), INT64_MAX);
    grant_destroy(g);
    assert_false(grant_has_token(NULL));
    assert_null(grant_subject(NULL));
    assert_int_equal(grant_ends_s(NULL), INT64_MAX);
}

static void ends(void **state)
{
    (void)state;
    static const struct {
        int64_t exp, now, leeway, ends;
    } cases[] = {
        {1001, 1000, 30, 1001},
        {1000, 1000, 30, 1030}, /* accepted by the leeway only */
        {980, 1000, 30, 1010},
        {INT64_MAX, 1000, 30, INT64_MAX},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct token t = token_of("a", NULL, cases[i].exp);
        struct grant *g = grant_create(&t, cases[i].now, cases[i].leeway);
        assert_int_equal(grant_ends_s(g), cases[i].ends);
        grant_destroy(g);
        token_finish_of(&t);
    }
}

static void whole_patterns(void **state)
{
    (void)state;
    static const struct {
        const char *claim, *pattern;
        bool all;
    } cases[] = {
        {"*", "user.*", true},
        {"user.*", "user.*", true},
        {"user.*", "user.1.*", true},
        {"user.*", "user.[ab]", true},
        {"user.*", "user*", false},
        {"user.*", "*", false},
        {"user.\\*", "user.*", false}, /* that is a name */
        {"user\\.*", "user.*", true},
        {"u[s]er.*", "u[s]er.*", true},
        {"user.?*", "user.a*", false}, /* would need a closer look */
        {"user.*.x", "user.*.x", true},
        {"user.*.x", "user.1.x*", false},
        {"", "a*", false},
        {"abc", "abc", true}, /* a pattern that is a name */
        {"abc", "ab?", false},
        {"a*", "a\\**", true},
    };
    struct config *c = config_of("required", "[]");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct grant *g = grant_of(cases[i].claim, NULL, 0);
        if (allows_all(c, g, cases[i].pattern) != cases[i].all)
            fail_msg("claim \"%s\", pattern \"%s\"", cases[i].claim, cases[i].pattern);
        grant_destroy(g);
    }
    assert_false(allows_all(c, NULL, "*"));
    config_destroy(c);
}

static void whole_patterns_by_rules(void **state)
{
    (void)state;
    static const struct {
        const char *rules, *pattern;
        bool all;
    } cases[] = {
        {"[]", "*", false},
        {"[{\"match\":\"*\",\"anonymous\":true}]", "*", true},
        {"[{\"match\":\"a*\",\"anonymous\":true}]", "*", false},
        {"[{\"match\":\"a*\",\"anonymous\":true}]", "ab*", true},
        {"[{\"match\":\"secret.*\"},{\"match\":\"*\",\"anonymous\":true}]", "news.*", true},
        {"[{\"match\":\"secret.*\"},{\"match\":\"*\",\"anonymous\":true}]", "secret.*", false},
        {"[{\"match\":\"secret.*\"},{\"match\":\"*\",\"anonymous\":true}]", "s*", false},
        {"[{\"match\":\"news\"},{\"match\":\"*\",\"anonymous\":true}]", "new*", false},
        {"[{\"match\":\"*.x\"},{\"match\":\"*\",\"anonymous\":true}]", "new*", false},
        {"[{\"match\":\"*.x\",\"anonymous\":true},{\"match\":\"*\",\"anonymous\":true}]", "new*",
         true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct config *c = config_of("optional", cases[i].rules);
        if (allows_all(c, NULL, cases[i].pattern) != cases[i].all)
            fail_msg("rules %s, pattern \"%s\"", cases[i].rules, cases[i].pattern);
        config_destroy(c);
        c = config_of("required", cases[i].rules);
        assert_false(allows_all(c, NULL, cases[i].pattern));
        config_destroy(c);
    }
}

/* Where it says that nothing need be decided, no channel is refused; and none is allowed where it
 * says that there can be none. */
static void whole_patterns_are_whole(void **state)
{
    (void)state;
    static const char *const parts[] = {"a", "b", "ab", "*", "?", "[ab]", "[^a]", "\\*", "."};
    struct prng rng = {.state = 99};
    size_t whole = 0, empty = 0;
    for (int round = 0; round < 20000; round++) {
        char texts[4][40] = {"", "", "", ""}; /* claim, pattern, two rules */
        for (size_t t = 0; t < 4; t++) {
            for (size_t n = 1 + prng_below(&rng, 3); n > 0; n--)
                (void)strcat(texts[t], parts[prng_below(&rng, sizeof parts / sizeof parts[0])]);
        }
        struct channel_rule rules[2] = {
            {.match = texts[2], .match_len = strlen(texts[2]), .anonymous = prng_below(&rng, 2)},
            {.match = texts[3], .match_len = strlen(texts[3]), .anonymous = prng_below(&rng, 2)}};
        struct config c = {.rules = rules, .rule_count = 2};
        c.auth.mode = prng_below(&rng, 2) ? AUTH_OPTIONAL : AUTH_REQUIRED;
        struct grant *g = grant_of(texts[0], NULL, 0);
        size_t len = glob_canonical(texts[1], strlen(texts[1]), texts[1]);
        bool all = auth_allows_all(&c, g, texts[1], len);
        bool some = auth_allows_some(&c, g, texts[1], len);
        whole += all;
        empty += !some;
        for (int i = 0; (all || !some) && i < 200; i++) {
            static const char alphabet[] = "ab.*c";
            char name[6];
            size_t n = 1 + prng_below(&rng, sizeof name);
            for (size_t k = 0; k < n; k++)
                name[k] = alphabet[prng_below(&rng, sizeof alphabet - 1)];
            if (glob_match(texts[1], len, name, n) && auth_allows(&c, g, name, n) != some)
                fail_msg("claim %s, pattern %.*s, rules %s %s, channel %.*s", texts[0], (int)len,
                         texts[1], texts[2], texts[3], (int)n, name);
        }
        grant_destroy(g);
    }
    assert_true(whole > 1000);
    assert_true(empty > 1000);
}

/* Against every item of the claim, one by one. */
static void claims_at_random(void **state)
{
    (void)state;
    static const char alphabet[] = "ab.*?\\[]";
    struct prng rng = {.state = 7};
    struct config *c = config_of("required", "[]");
    size_t yes = 0;
    for (int round = 0; round < 3000; round++) {
        char claim[200] = "", items[12][8];
        size_t count = prng_below(&rng, 12);
        for (size_t i = 0; i < count; i++) {
            size_t n = 1 + prng_below(&rng, 4);
            for (size_t k = 0; k < n; k++)
                items[i][k] = alphabet[prng_below(&rng, sizeof alphabet - 1)];
            items[i][n] = '\0';
            (void)strcat(strcat(claim, items[i]), " ");
        }
        struct grant *g = grant_of(claim, NULL, 0);
        for (int i = 0; i < 50; i++) {
            char name[5];
            size_t n = 1 + prng_below(&rng, 4);
            for (size_t k = 0; k < n; k++)
                name[k] = alphabet[prng_below(&rng, 4)];
            name[n] = '\0';
            bool want = false;
            for (size_t k = 0; k < count; k++)
                want = want || glob_match(items[k], strlen(items[k]), name, n);
            if (allows(c, g, name) != want)
                fail_msg("claim \"%s\", channel \"%s\"", claim, name);
            yes += want;
        }
        grant_destroy(g);
    }
    assert_true(yes > 1000);
    config_destroy(c);
}

static void requests(void **state)
{
    (void)state;
    static const struct {
        const char *mode, *claim; /* NULL: no token */
        const char *url;
        enum auth_verdict verdict;
        const char *culprit;
    } cases[] = {
        {"required", "a b", "/events?channel=a&channel=b", AUTH_ALLOWED, NULL},
        {"required", "a b", "/events?channel=a&channel=c&channel=d", AUTH_FORBIDDEN, "c"},
        {"required", NULL, "/events/open", AUTH_NEEDS_TOKEN, "open"},
        {"required", NULL, "/events?pattern=*", AUTH_NEEDS_TOKEN, "*"},
        {"required", "a", "/events?pattern=*", AUTH_ALLOWED, NULL},
        {"required", "", "/events?pattern=*", AUTH_ALLOWED, NULL},
        {"optional", NULL, "/events/open", AUTH_ALLOWED, NULL},
        {"optional", NULL, "/events?channel=open&channel=a", AUTH_NEEDS_TOKEN, "a"},
        {"optional", NULL, "/events?pattern=*", AUTH_ALLOWED, NULL},
        {"optional", "a", "/events?channel=open&channel=a", AUTH_ALLOWED, NULL},
        {"optional", "a", "/events?channel=b&pattern=*", AUTH_FORBIDDEN, "b"},
        {"off", NULL, "/events?channel=b&pattern=*", AUTH_ALLOWED, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct config *c = config_of(cases[i].mode, "[{\"match\":\"open\",\"anonymous\":true}]");
        struct grant *g = cases[i].claim == NULL ? NULL : grant_of(cases[i].claim, "s", 0);
        const struct target_rules rules = {.topics_max = 8};
        const struct target_topic *culprit = NULL;
        struct target t;
        struct target_error error;
        assert_int_equal(target_parse(&t, cases[i].url, strlen(cases[i].url), &rules, &error), 0);
        assert_int_equal(auth_decide(c, g, &t, &culprit), cases[i].verdict);
        if (cases[i].culprit == NULL) {
            assert_null(culprit);
        } else {
            assert_int_equal(culprit->len, strlen(cases[i].culprit));
            assert_memory_equal(culprit->name, cases[i].culprit, culprit->len);
        }
        target_finish(&t);
        grant_destroy(g);
        config_destroy(c);
    }
    struct config *c = config_of("optional", "[{\"match\":\"open\"}]");
    const struct target_topic any = {"*", 1, true};
    assert_int_equal(auth_judge(c, NULL, &any), AUTH_NEEDS_TOKEN); /* no rule is anonymous */
    config_destroy(c);
}

static void the_memory_agrees(void **state)
{
    (void)state;
    struct config *one = config_of("optional", "[{\"match\":\"*[02468]\",\"anonymous\":true}]");
    struct config *other = config_of("optional", "[{\"match\":\"*[13579]\",\"anonymous\":true}]");
    struct auth_memory memory = {.memos = NULL};
    struct name *names[300];
    for (int i = 0; i < 300; i++) {
        char text[16];
        (void)snprintf(text, sizeof text, "c%d", i);
        names[i] = make_name(text);
    }
    for (int round = 0; round < 3; round++) {
        const struct config *c = round == 2 ? other : one;
        if (round == 2)
            auth_forget(&memory); /* as after a reload */
        for (int i = 0; i < 300; i++)
            assert_int_equal(auth_allows_name(&memory, c, NULL, names[i]),
                             (i % 2 == 0) == (c == one));
    }
    auth_forget(&memory);
    for (int i = 0; i < 300; i++)
        assert_int_equal(names[i]->refs, 1);
    unref_names(names, 300);
    config_destroy(one);
    config_destroy(other);
}

static struct config *many_rules(size_t count)
{
    struct buf rules = BUF_INIT;
    for (size_t i = 0; i < count; i++)
        buf_printf(&rules, "%c{\"match\":\"r%zu.*x\",\"anonymous\":true}", i == 0 ? '[' : ',', i);
    buf_byte(&rules, ']');
    struct config *c = config_of("optional", buf_cstr(&rules));
    buf_finish(&rules);
    return c;
}

static struct grant *many_globs(size_t count)
{
    struct buf claim = BUF_INIT;
    for (size_t i = 0; i < count; i++)
        buf_printf(&claim, "z%zu.*x ", i);
    struct grant *g = grant_of(buf_cstr(&claim), NULL, 0);
    buf_finish(&claim);
    return g;
}

/* Who comes back to a pattern goes over all that is kept of all its channels: the worker that waits
 * for him must not try every rule and glob for every event. */
static void many_rules_and_globs_are_quick(void **state)
{
    (void)state;
    enum { CHANNELS = 1000, EVENTS = 1000000, MANY = 700 };
    struct config *c = many_rules(MANY);
    struct grant *g = many_globs(MANY);
    struct auth_memory memory = {.memos = NULL};
    static struct name *names[CHANNELS];
    for (size_t i = 0; i < CHANNELS; i++) {
        char text[16];
        (void)snprintf(text, sizeof text, "user.%zu", i);
        names[i] = make_name(text);
    }
    uint64_t started = clock_mono_us();
    for (size_t i = 0; i < EVENTS; i++)
        assert_false(auth_allows_name(&memory, c, g, names[i % CHANNELS]));
    assert_true(clock_mono_us() - started < 5 * US_PER_S);
    auth_forget(&memory);
    unref_names(names, CHANNELS);
    grant_destroy(g);
    config_destroy(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(claims_are_names_and_globs),
        cmocka_unit_test(modes),
        cmocka_unit_test(what_a_grant_remembers),
        cmocka_unit_test(ends),
        cmocka_unit_test(whole_patterns),
        cmocka_unit_test(whole_patterns_by_rules),
        cmocka_unit_test(whole_patterns_are_whole),
        cmocka_unit_test(claims_at_random),
        cmocka_unit_test(requests),
        cmocka_unit_test(the_memory_agrees),
        cmocka_unit_test(many_rules_and_globs_are_quick),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
