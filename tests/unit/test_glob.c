#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "prng.h"
#include "tickerd/wire/topic.h"

/* Compiled patterns and canonical spellings against glob_match, whose answers test_topic.c compares
 * with Redis's and with a naive matcher's. */

static const char in_patterns[] = "aaabbb***??[[]]^--\\\\c\xff\x80";
static const char in_names[] = "aaabbbc]^-\\[*?\xff\x80";

static size_t random_text(struct prng *random, const char *alphabet, size_t max, char *out)
{
    size_t n = prng_below(random, max + 1);
    for (size_t i = 0; i < n; i++)
        out[i] = alphabet[prng_below(random, strlen(alphabet))];
    return n;
}

/* A name that has a chance: the pattern with its stars and `?` filled in at random. */
static size_t likely_name(struct prng *random, const char *pattern, size_t len, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        size_t fill = pattern[i] == '*' ? prng_below(random, 3) : pattern[i] == '?';
        for (size_t k = 0; k < fill; k++)
            out[n++] = in_names[prng_below(random, sizeof in_names - 1)];
        if (pattern[i] != '*' && pattern[i] != '?' && pattern[i] != '\\')
            out[n++] = pattern[i];
    }
    return n;
}

/* Blocks of exactly their length, so that the sanitizer sees a read beyond them. */
static bool compiled(const char *pattern, size_t len, const char *name, size_t name_len)
{
    char *p = malloc(len + (len == 0)), *n = malloc(name_len + (name_len == 0));
    assert_non_null(p);
    assert_non_null(n);
    memcpy(p, pattern, len);
    memcpy(n, name, name_len);
    struct glob *g = glob_compile(p, len);
    assert_non_null(g);
    free(p);
    bool matches = glob_matches(g, n, name_len);
    glob_destroy(g);
    free(n);
    return matches;
}

static void test_compiled_answers_as_glob_match(void **state)
{
    (void)state;
    struct prng random = {7};
    unsigned hits = 0;
    for (int round = 0; round < 200000; round++) {
        char pattern[14], name[3 * sizeof pattern];
        size_t n = random_text(&random, in_patterns, sizeof pattern, pattern);
        size_t m = round % 2 == 0 ? random_text(&random, in_names, 9, name)
                                  : likely_name(&random, pattern, n, name);
        bool expected = glob_match(pattern, n, name, m);
        if (compiled(pattern, n, name, m) != expected)
            fail_msg("'%.*s' against '%.*s'", (int)n, pattern, (int)m, name);
        hits += expected;
    }
    assert_in_range(hits, 20000, 180000);
    glob_destroy(NULL);
}

/* Every byte against random classes, closed or not. */
static void test_classes_know_every_byte(void **state)
{
    (void)state;
    static const char in_classes[] = "ab]^^---\\\\\x01\x7f\x80\xff*?[";
    struct prng random = {8};
    for (int round = 0; round < 3000; round++) {
        char pattern[10] = "[";
        size_t n = 1 + random_text(&random, in_classes, sizeof pattern - 1, pattern + 1);
        struct glob *g = glob_compile(pattern, n);
        assert_non_null(g);
        for (int byte = 0; byte < 256; byte++) {
            char name = (char)(unsigned char)byte;
            if (glob_matches(g, &name, 1) != glob_match(pattern, n, &name, 1))
                fail_msg("'%.*s' against byte %d", (int)n, pattern, byte);
        }
        glob_destroy(g);
    }
}

/* Many stars over few letters: where the search between head and tail has to step back. */
static void test_many_segments(void **state)
{
    (void)state;
    struct prng random = {9};
    unsigned hits = 0;
    for (int round = 0; round < 30000; round++) {
        char pattern[20], name[60];
        size_t n = random_text(&random, "aab**?", sizeof pattern, pattern);
        size_t m = random_text(&random, "aaab", sizeof name, name);
        bool expected = glob_match(pattern, n, name, m);
        if (compiled(pattern, n, name, m) != expected)
            fail_msg("'%.*s' against '%.*s'", (int)n, pattern, (int)m, name);
        hits += expected;
    }
    assert_in_range(hits, 3000, 27000);
}

/* Runs that do not fit one count byte: each element repeated, exact and one too few or many. */
static void test_long_runs(void **state)
{
    (void)state;
    static const char *const elements[] = {"a", "?", "[ab]", "[^b]", "\\a", "[a]", "[^]"};
    static const size_t counts[] = {254, 255, 256, 300, 510, 511};
    char name[600];
    memset(name, 'a', sizeof name);
    for (size_t e = 0; e < sizeof elements / sizeof *elements; e++) {
        for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
            struct buf pattern = BUF_INIT;
            for (size_t i = 0; i < counts[c]; i++)
                buf_str(&pattern, elements[e]);
            assert_true(compiled(pattern.data, pattern.len, name, counts[c]));
            assert_false(compiled(pattern.data, pattern.len, name, counts[c] - 1));
            assert_false(compiled(pattern.data, pattern.len, name, counts[c] + 1));
            buf_str(&pattern, "*");
            assert_true(compiled(pattern.data, pattern.len, name, counts[c]));
            assert_true(compiled(pattern.data, pattern.len, name, counts[c] + 1));
            assert_false(compiled(pattern.data, pattern.len, name, counts[c] - 1));
            buf_finish(&pattern);
        }
    }
}

static void check_canonical(const char *pattern, const char *expected)
{
    char out[64];
    size_t n = glob_canonical(pattern, strlen(pattern), out);
    if (n != strlen(expected) || memcmp(out, expected, n) != 0)
        fail_msg("'%s' became '%.*s', not '%s'", pattern, (int)n, out, expected);
}

static void test_canonical_spellings(void **state)
{
    (void)state;
    check_canonical("", "");
    check_canonical("news", "news");
    check_canonical("**", "*");
    check_canonical("*?*", "?*");
    check_canonical("?*?", "??*");
    check_canonical("??", "??");
    check_canonical("a*?b***c?**?", "a?*b*c??*");
    /* in classes stars are bytes, and a class ends where Redis ends it */
    check_canonical("[**?*]**", "[**?*]*");
    check_canonical("[**", "[**");
    check_canonical("[^**", "[^**");
    check_canonical("[]**", "[]*");
    check_canonical("[^]**", "[^]*");
    check_canonical("[a-]**]**", "[a-]**]*");
    check_canonical("[\\]**]**", "[\\]**]*");
    check_canonical("[\\a]", "[\\a]");
    check_canonical("[**\\", "[**\\");
    /* backslashes outside */
    check_canonical("\\***", "\\**");
    check_canonical("*\\**", "*\\**");
    check_canonical("\\?*?", "\\??*");
    check_canonical("\\[**]", "\\[*]");
    check_canonical("\\\\**", "\\\\*");
    check_canonical("\\a\\]\\-\\^", "a]-^");
    check_canonical("\\\xc3\xa9", "\xc3\xa9");
    check_canonical("a\\", "a\\");
    check_canonical("a\\\\", "a\\");
    check_canonical("a\\\\\\", "a\\\\\\");
    check_canonical("a\\\\\\\\", "a\\\\\\");
}

static void check_same_head(const char *a, size_t n, const char *b, size_t m)
{
    char of_a[32], of_b[32];
    bool a_literal, b_literal;
    size_t len = glob_head(a, n, of_a, &a_literal);
    assert_int_equal(glob_head(b, m, of_b, &b_literal), len);
    assert_memory_equal(of_a, of_b, len);
    assert_int_equal(a_literal, b_literal);
}

static void test_canonical_means_the_same(void **state)
{
    (void)state;
    struct prng random = {10};
    unsigned changed = 0, hits = 0;
    for (int round = 0; round < 200000; round++) {
        char pattern[12], canonical[12], again[12], name[3 * sizeof pattern];
        size_t n = random_text(&random, in_patterns, sizeof pattern, pattern);
        size_t len = glob_canonical(pattern, n, canonical);
        assert_true(len <= n);
        check_same_head(pattern, n, canonical, len);
        assert_int_equal(glob_canonical(canonical, len, again), len);
        assert_memory_equal(again, canonical, len);
        memcpy(again, pattern, n);
        assert_int_equal(glob_canonical(again, n, again), len);
        assert_memory_equal(again, canonical, len);
        changed += len != n || memcmp(pattern, canonical, n) != 0;
        for (int k = 0; k < 4; k++) {
            size_t m = k < 2 ? random_text(&random, in_names, 8, name)
                             : likely_name(&random, pattern, n, name);
            bool expected = glob_match(pattern, n, name, m);
            if (glob_match(canonical, len, name, m) != expected)
                fail_msg("'%.*s' as '%.*s' against '%.*s'", (int)n, pattern, (int)len, canonical,
                         (int)m, name);
            hits += expected;
        }
    }
    assert_in_range(changed, 20000, 180000);
    assert_in_range(hits, 50000, 750000);
}

/* What made glob_match expensive: a class as long as the pattern, read at each place in a name. */
static void test_bombs_are_harmless(void **state)
{
    (void)state;
    enum { BOMBS = 60, NAMES = 10000 };
    static const char *const ends[] = {"", "*", "?*z"};
    struct glob *bombs[BOMBS];
    for (int i = 0; i < BOMBS; i++) {
        char pattern[TOPIC_MAX + 1];
        char members[226];
        memset(members, 'b', sizeof members - 1);
        members[0] = i % 2 == 0 ? 'b' : 'x';
        members[sizeof members - 1] = '\0';
        int n = snprintf(pattern, sizeof pattern, "*[%s]%04d%s", members, i, ends[i % 3]);
        assert_in_range(n, 1, TOPIC_MAX);
        bombs[i] = glob_compile(pattern, (size_t)n);
        assert_non_null(bombs[i]);
    }
    unsigned hits = 0;
    char name[TOPIC_MAX];
    memset(name, 'b', sizeof name);
    for (int k = 0; k < NAMES; k++) {
        char digits[12];
        (void)snprintf(digits, sizeof digits, "%04d", k);
        memcpy(name + sizeof name - 4, digits, 4);
        for (int i = 0; i < BOMBS; i++)
            hits += glob_matches(bombs[i], name, sizeof name);
    }
    assert_int_equal(hits, BOMBS / 3 * 2);
    for (int i = 0; i < BOMBS; i++)
        glob_destroy(bombs[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_compiled_answers_as_glob_match),
        cmocka_unit_test(test_classes_know_every_byte),
        cmocka_unit_test(test_many_segments),
        cmocka_unit_test(test_long_runs),
        cmocka_unit_test(test_canonical_spellings),
        cmocka_unit_test(test_canonical_means_the_same),
        cmocka_unit_test(test_bombs_are_harmless),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
