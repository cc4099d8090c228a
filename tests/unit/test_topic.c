#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "naive_glob.h"
#include "prng.h"
#include "tickerd/wire/topic.h"

static void test_valid_names(void **state)
{
    (void)state;
    char longest[TOPIC_MAX + 1];
    memset(longest, 'x', sizeof longest);
    assert_true(topic_valid("a", 1));
    assert_true(topic_valid("user.42/inbox *?[]", 18));
    assert_true(topic_valid("$sys", 4));
    assert_true(topic_valid("caf\xc3\xa9", 5));
    assert_true(topic_valid("\xc2\x80", 2)); /* a C1 control is no control byte */
    assert_true(topic_valid(longest, TOPIC_MAX));
    assert_false(topic_valid(longest, TOPIC_MAX + 1));
    assert_false(topic_valid("", 0));
    assert_false(topic_valid("a\0b", 3));
    assert_false(topic_valid("a\nb", 3));
    assert_false(topic_valid("a\x1f", 2));
    assert_false(topic_valid("a\x7f", 2));
    assert_false(topic_valid("\xff", 1));
    assert_false(topic_valid("caf\xc3", 4));
    assert_false(topic_valid("\xc0\xaf", 2));
    assert_false(topic_valid("\xed\xa0\x80", 3));
}

static void test_reserved_names(void **state)
{
    (void)state;
    assert_true(topic_reserved("$", 1));
    assert_true(topic_reserved("$SYS", 4));
    assert_false(topic_reserved("a$", 2));
    assert_false(topic_reserved("$", 0));
}

struct match_case {
    const char *pattern;
    const char *name;
    int matches;
};

/* Every answer here was given by a Redis 7.0 server (KEYS; PSUBSCRIBE for the empty name). */
static const struct match_case from_redis[] = {
    {"", "", 1},
    {"", "a", 0},
    {"*", "", 0},
    {"**", "", 0},
    {"a*", "a", 1},
    {"a**", "a", 1},
    {"*a", "a", 1},
    {"*.b", "a/c.b", 1},
    {"a*b*c", "aXbYc", 1},
    {"?", "\xc3\xa9", 0},
    {"??", "\xc3\xa9", 1},
    {"A", "a", 0},
    {"[A-Z]", "a", 0},
    {"{a,b}", "a", 0},
    {"]", "]", 1},
    {"-", "-", 1},
    {"^", "^", 1},
    /* unclosed classes */
    {"[", "[", 0},
    {"[", "a", 0},
    {"*[", "a[", 0},
    {"[a", "a", 1},
    {"[abc", "c", 1},
    {"[abc", "d", 0},
    {"[^", "x", 1},
    {"[^", "^", 1},
    {"[^a", "a", 0},
    {"[^a", "b", 1},
    {"[a-", "a", 1},
    {"[a-", "-", 1},
    {"[\\", "\\", 1},
    {"[a\\", "\\", 1},
    /* empty classes */
    {"[]", "]", 0},
    {"[]a]", "a", 0},
    {"[]a]", "]", 0},
    {"[]a]", "a]", 0},
    {"[^]", "x", 1},
    {"[^]", "]", 1},
    {"[^]a]", "xa]", 1},
    /* ranges */
    {"[c-a]", "b", 1},
    {"[c-a]", "d", 0},
    {"[a-a]", "a", 1},
    {"[a-]", "a", 1},
    {"[a-]", "-", 0},
    {"[a-]", "^", 1},
    {"[a-]x]", "_", 1},
    {"[a-]x]", "x", 1},
    {"[-a]", "-", 1},
    {"[-a]", "a", 1},
    {"[^-a]", "-", 0},
    {"[--0]", ".", 1},
    {"[a-c-e]", "d", 0},
    {"[a-c-e]", "-", 1},
    {"[a-c-e]", "e", 1},
    {"[a-\xff]", "b", 0},
    {"[a-\xff]", "A", 1},
    {"[a-\xff]", "\xff", 1},
    {"[a-\xff]", "\x80", 0},
    {"[\x80-\xff]", "\x90", 1},
    /* what is special in a class, and what is not */
    {"[\\]]", "]", 1},
    {"[\\]]", "\\", 0},
    {"[\\\\]", "\\", 1},
    {"[\\a-z]", "b", 0},
    {"[\\a-z]", "-", 1},
    {"[z\\-a]", "-", 1},
    {"[z\\-a]", "m", 0},
    {"[a-\\]", "\\", 1},
    {"[a-\\]", "_", 1},
    {"[a-\\]]", "_", 0},
    {"[a-\\]]", "_]", 1},
    {"[\\^a]", "^", 1},
    {"[a^]", "^", 1},
    {"[^^]", "^", 0},
    {"[^^]", "a", 1},
    {"[!a]", "b", 0},
    {"[!a]", "!", 1},
    {"[*]", "*", 1},
    {"[*]", "a", 0},
    {"[?]", "?", 1},
    {"[[]", "[", 1},
    {"[a]]", "a]", 1},
    /* backslashes outside */
    {"\\", "\\", 1},
    {"a\\", "a\\", 1},
    {"*\\", "a\\", 1},
    {"\\\\", "\\", 1},
    {"\\a", "a", 1},
    {"\\*", "*", 1},
    {"\\*", "a", 0},
};

static void test_answers_of_redis(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof from_redis / sizeof *from_redis; i++) {
        const struct match_case *c = &from_redis[i];
        if (glob_match(c->pattern, strlen(c->pattern), c->name, strlen(c->name)) != c->matches)
            fail_msg("'%s' against '%s'", c->pattern, c->name);
    }
    assert_true(glob_match("a\0b", 3, "a\0b", 3));
    assert_false(glob_match("a\0b", 3, "a\0c", 3));
}

static void test_against_a_naive_matcher(void **state)
{
    (void)state;
    static const char in_patterns[] = "aaabbb***??[[]]^--\\\\c\xff";
    static const char in_names[] = "aaabbbc]^-\\[*\xff";
    struct prng random = {20240607};
    unsigned hits = 0;
    for (int round = 0; round < 300000; round++) {
        char pattern[10], name[7];
        size_t n = prng_below(&random, sizeof pattern + 1);
        size_t m = 1 + prng_below(&random, sizeof name);
        for (size_t i = 0; i < n; i++)
            pattern[i] = in_patterns[prng_below(&random, sizeof in_patterns - 1)];
        for (size_t i = 0; i < m; i++)
            name[i] = in_names[prng_below(&random, sizeof in_names - 1)];
        bool expected = naive_glob(pattern, n, name, m);
        if (glob_match(pattern, n, name, m) != expected)
            fail_msg("'%.*s' against '%.*s'", (int)n, pattern, (int)m, name);
        hits += expected;
    }
    assert_true(hits > 10000);
}

/* A matcher that recurses into every star would not finish this within the age of the universe. */
static void test_a_glob_bomb_is_harmless(void **state)
{
    (void)state;
    char pattern[TOPIC_MAX], name[TOPIC_MAX];
    for (size_t i = 0; i < sizeof pattern; i++)
        pattern[i] = i % 2 == 0 ? '*' : 'a';
    pattern[sizeof pattern - 1] = 'b';
    memset(name, 'a', sizeof name);
    for (int i = 0; i < 1000; i++)
        assert_false(glob_match(pattern, sizeof pattern, name, sizeof name));
    memset(pattern + 1, '[', sizeof pattern - 2);
    assert_false(glob_match(pattern, sizeof pattern, name, sizeof name));
}

static void check_head(const char *pattern, const char *head, int literal)
{
    char out[32];
    bool is_literal;
    size_t n = glob_head(pattern, strlen(pattern), out, &is_literal);
    assert_int_equal(n, strlen(head));
    assert_memory_equal(out, head, n);
    assert_int_equal(is_literal, literal);
    assert_int_equal(glob_head(pattern, strlen(pattern), out, NULL), n);
}

static void test_head(void **state)
{
    (void)state;
    check_head("", "", 1);
    check_head("news", "news", 1);
    check_head("user.*", "user.", 0);
    check_head("*", "", 0);
    check_head("a?c", "a", 0);
    check_head("a[b]c", "a", 0);
    check_head("a\\*b\\\\*", "a*b\\", 0);
    check_head("a\\*b", "a*b", 1);
    check_head("a\\", "a\\", 1);
    check_head("a]^-b", "a]^-b", 1);
}

static void test_escape(void **state)
{
    (void)state;
    static const char special[] = "a*b?c[d]e\\f^-$";
    struct buf out = BUF_INIT;
    glob_escape(&out, special, strlen(special));
    assert_string_equal(buf_cstr(&out), "a\\*b\\?c\\[d]e\\\\f^-$");
    bool literal;
    char head[64];
    assert_int_equal(glob_head(out.data, out.len, head, &literal), strlen(special));
    assert_true(literal);
    assert_memory_equal(head, special, strlen(special));
    assert_true(glob_match(out.data, out.len, special, strlen(special)));
    buf_finish(&out);
    glob_escape(&out, "", 0);
    assert_int_equal(out.len, 0);
    buf_finish(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_valid_names),
        cmocka_unit_test(test_reserved_names),
        cmocka_unit_test(test_answers_of_redis),
        cmocka_unit_test(test_against_a_naive_matcher),
        cmocka_unit_test(test_a_glob_bomb_is_harmless),
        cmocka_unit_test(test_head),
        cmocka_unit_test(test_escape),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
