#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "prng.h"
#include "tickerd/wire/json.h"

static struct json_scan scan_of(const char *text, size_t len)
{
    return (struct json_scan){.p = text, .end = text + len, .failed = false};
}

static bool accepts(const char *text, size_t len)
{
    struct json_scan s = scan_of(text, len);
    (void)json_value(&s);
    return json_end(&s);
}

static const char *const good[] = {
    "0",
    "-0",
    "10",
    "-1.5e+10",
    "0.0",
    "1E5",
    "1e-0",
    "true",
    "false",
    "null",
    "\"\"",
    " \t\r\n1 \n",
    "[]",
    "[ ]",
    "{}",
    "{ }",
    "[[],{}]",
    "[1,2 , 3]",
    "{\"a\":1,\"a\":2}",
    "{\"a\" : {\"b\":[{}]} , \"c\":null}",
    "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00eF\"",
    "\"\xc3\xa9\xf0\x9f\x98\x80\"",
    "\"\\ud800\"",
    "\"\\u0000\"",
    "\"\x7f\"",
    "[[[[[1]]]]]",
};

static const char *const bad[] = {
    "",
    " ",
    "01",
    "-",
    "+1",
    "1.",
    ".5",
    "1e",
    "1e+",
    "0x1",
    "1 2",
    "tru",
    "True",
    "nul",
    "truex",
    "nan",
    "Infinity",
    "\"",
    "\"\\",
    "\"a",
    "\"\\x\"",
    "\"\\u12\"",
    "\"\\u12g4\"",
    "\"\n\"",
    "\"\x1f\"",
    "\"\xff\"",
    "\"\xc3\"",
    "\"\xed\xa0\x80\"",
    "[",
    "]",
    "[1",
    "[1,",
    "[1,]",
    "[,1]",
    "[1 2]",
    "[}",
    "{]",
    "{",
    "{\"a\"",
    "{\"a\":",
    "{\"a\":1",
    "{\"a\":1,",
    "{\"a\":1,}",
    "{,}",
    "{\"a\" 1}",
    "{a:1}",
    "{1:1}",
    "{\"a\":1 \"b\":2}",
    "[1]]",
    "{}}",
    "'a'",
    ("\xef\xbb\xbf"
     "1"),
    "/**/1",
    "1\f",
    "[1]x",
    ":",
    ",",
};

static void verdicts(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (!accepts(good[i], strlen(good[i])))
            fail_msg("refused: %s", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (accepts(bad[i], strlen(bad[i])))
            fail_msg("accepted: %s", bad[i]);
    assert_false(accepts("1\0", 2));
    assert_false(accepts("\"a\0b\"", 5));
    assert_false(accepts("[1\0]", 4));
}

/* A text of `depth` containers, alternately arrays and objects, in exactly sized memory. */
static bool accepts_depth(size_t depth)
{
    struct buf text = BUF_INIT;
    for (size_t i = 0; i < depth; i++)
        buf_str(&text, i % 2 == 0 ? "[" : "{\"k\":");
    buf_str(&text, "1");
    for (size_t i = depth; i-- > 0;)
        buf_byte(&text, i % 2 == 0 ? ']' : '}');
    bool yes = accepts(text.data, text.len);
    buf_finish(&text);
    return yes;
}

static void depth_is_limited(void **state)
{
    (void)state;
    assert_true(accepts_depth(JSON_DEPTH_MAX));
    assert_false(accepts_depth(JSON_DEPTH_MAX + 1));
    assert_false(accepts_depth(1000000));
}

/* Many containers beside each other are not deep. */
static void width_is_not_depth(void **state)
{
    (void)state;
    struct buf text = BUF_INIT;
    buf_byte(&text, '[');
    for (int i = 0; i < 100000; i++)
        buf_str(&text, "[],{\"a\":[]},");
    buf_str(&text, "0]");
    assert_true(accepts(text.data, text.len));
    buf_finish(&text);
}

static void walks_an_object(void **state)
{
    (void)state;
    static const char text[] = " { \"a\" : 1.50 , \"b\\u0021\":[ 1, 2 ] , \"\":\"x\" } ";
    static const char *const want[][2] = {
        {"\"a\"", "1.50"}, {"\"b\\u0021\"", "[ 1, 2 ]"}, {"\"\"", "\"x\""}};
    struct json_scan s = scan_of(text, sizeof text - 1);
    struct json_slice key;
    bool first = true;
    size_t n = 0;
    json_enter(&s, '{');
    while (json_key(&s, &first, &key)) {
        struct json_slice value = json_value(&s);
        if (n == sizeof want / sizeof *want)
            break;
        assert_int_equal(key.len, strlen(want[n][0]));
        assert_memory_equal(key.p, want[n][0], key.len);
        assert_int_equal(value.len, strlen(want[n][1]));
        assert_memory_equal(value.p, want[n][1], value.len);
        n++;
    }
    assert_int_equal(n, 3);
    assert_true(json_end(&s));
}

static void walks_an_array(void **state)
{
    (void)state;
    static const char text[] = "[ 1 ,[2, 3], {} ]";
    struct json_scan s = scan_of(text, sizeof text - 1);
    bool first = true;
    size_t n = 0;
    json_enter(&s, '[');
    while (json_element(&s, &first)) {
        (void)json_value(&s);
        n++;
    }
    assert_int_equal(n, 3);
    assert_true(json_end(&s));
}

static void failure_sticks(void **state)
{
    (void)state;
    struct json_scan s = scan_of("[1,x,2]", 7);
    struct json_slice key;
    bool first = true;
    json_enter(&s, '[');
    assert_true(json_element(&s, &first));
    (void)json_value(&s);
    assert_true(json_element(&s, &first));
    assert_int_equal(json_value(&s).len, 0);
    assert_true(s.failed);
    assert_false(json_element(&s, &first));
    assert_false(json_key(&s, &first, &key));
    json_enter(&s, '[');
    json_blanks(&s);
    assert_false(json_end(&s));

    s = scan_of("[]", 2);
    json_enter(&s, '{');
    assert_true(s.failed);
}

static void compacts(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"1", "1"},
        {"0.10", "0.10"},
        {"[ 1 ,\t2\r\n]", "[1,2]"},
        {"{ \"a b\" : \" \\\" \" , \"c\" : { } }", "{\"a b\":\" \\\" \",\"c\":{}}"},
        {"[ \"\\\\\" , \" \" ]", "[\"\\\\\",\" \"]"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf out = BUF_INIT;
        json_compact(&out, (struct json_slice){cases[i][0], strlen(cases[i][0])});
        assert_string_equal(buf_cstr(&out), cases[i][1]);
        buf_finish(&out);
    }
}

static void unescapes(void **state)
{
    (void)state;
    static const struct {
        const char *text, *want; /* NULL: refused */
    } cases[] = {
        {"\"\"", ""},
        {"\"plain\"", "plain"},
        {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t"},
        {"\"\\u0041\\u00e9\\u20AC\"", "A\xc3\xa9\xe2\x82\xac"},
        {"\"\\u007f\\u0080\\u07ff\\u0800\\uffff\"", "\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf"},
        {"\"<\\uD83D\\uDE00>\"", "<\xf0\x9f\x98\x80>"},
        {"\"\\ud800\\udc00\\udbff\\udfff\"", "\xf0\x90\x80\x80\xf4\x8f\xbf\xbf"},
        {"\"\\ud83d\"", NULL},
        {"\"\\ud83dx\"", NULL},
        {"\"\\ud83d\\n\"", NULL},
        {"\"\\ud83d\\u0041\"", NULL},
        {"\"\\ud83d\\ud83d\\ude00\"", NULL},
        {"\"\\ude00\"", NULL},
        {"\"\\ude00\\ud83d\"", NULL},
        {"\"\\u12\"", NULL},
        {"\"a\"b\"", NULL},
        {"\"\\\"", NULL},
        {"\"\n\"", NULL},
        {"\"", NULL},
        {"", NULL},
        {"17", NULL},
        {"null", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf out = BUF_INIT;
        buf_str(&out, "#");
        bool ok = json_unescape(&out, (struct json_slice){cases[i].text, strlen(cases[i].text)});
        if (ok != (cases[i].want != NULL))
            fail_msg("wrong verdict for %s", cases[i].text);
        assert_string_equal(buf_cstr(&out) + 1, ok ? cases[i].want : "");
        buf_finish(&out);
    }
    struct buf out = BUF_INIT;
    assert_true(json_unescape(&out, (struct json_slice){"\"a\\u0000b\"", 10}));
    assert_int_equal(out.len, 3);
    assert_memory_equal(out.data, "a\0b", 3);
    buf_finish(&out);
}

/* Whether every string and key in a valid text decodes: jansson refuses lone surrogates, which
 * the grammar allows. */
static bool strings_decode(const char *text, size_t len)
{
    const char *end = text + len;
    for (const char *p = text; p < end; p++) {
        if (*p != '"')
            continue;
        struct json_scan s = {.p = p, .end = end, .failed = false};
        struct json_slice string = json_value(&s);
        struct buf out = BUF_INIT;
        bool ok = json_unescape(&out, string);
        /* A key with a NUL is more than jansson's objects can hold. */
        json_blanks(&s);
        if (ok && s.p < end && *s.p == ':' && out.len > 0)
            ok = memchr(out.data, '\0', out.len) == NULL;
        buf_finish(&out);
        if (!ok)
            return false;
        p = string.p + string.len - 1;
    }
    return true;
}

static size_t compared, agreed_good;

static void compare_with_jansson(const char *text, size_t len)
{
    /* Jansson loses a NUL byte that follows a token and so accepts it; the grammar has none. */
    if (len > 0 && memchr(text, '\0', len) != NULL) {
        if (accepts(text, len))
            fail_msg("accepted a text with a NUL byte");
        return;
    }
    json_error_t error;
    json_t *root = json_loadb(text, len, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    bool theirs = root != NULL;
    json_decref(root);
    if (!theirs && json_error_code(&error) == json_error_numeric_overflow)
        return;
    bool ours = accepts(text, len) && strings_decode(text, len);
    compared++;
    agreed_good += ours;
    if (ours != theirs)
        fail_msg("%s, jansson %s (%s): %.*s", ours ? "accepted" : "refused",
                 theirs ? "accepts" : "refuses", theirs ? "" : error.text, (int)len, text);
}

static size_t mutate(struct prng *r, char *text, size_t len, size_t room)
{
    static const char alphabet[] = "{}[]:,\"\\ut0019-+.eE \n\x80\xc3\xa9\x01truefalsnl/bD8dC";
    char c =
        prng_below(r, 8) == 0 ? (char)prng_next(r) : alphabet[prng_below(r, sizeof alphabet - 1)];
    size_t at = prng_below(r, len + 1);
    switch (prng_below(r, 4)) {
    case 0:
        if (at < len)
            text[at] = c;
        return len;
    case 1:
        if (at < len)
            memmove(text + at, text + at + 1, --len - at);
        return len;
    case 2:
        if (len < room) {
            memmove(text + at + 1, text + at, len++ - at);
            text[at] = c;
        }
        return len;
    default:
        if (at < len && len < room) {
            size_t n = prng_below(r, len - at) % (room - len) + 1;
            memmove(text + at + n, text + at, len - at);
            len += n;
        }
        return len;
    }
}

static void agrees_with_jansson(void **state)
{
    (void)state;
    static const char *const seeds[] = {
        "{\"data\":\"caf\\u00e9 \\ud83d\\ude00\",\"id\":42,\"retry\":1000}",
        "[0,-1,2.5,1e5,-0.0E-2,true,false,null,\"\",[],{}]",
        "{\"a\":{\"b\":[1,{\"c\":\"\xc3\xa9\"}]},\"d\":\"\\\\\\\"\\n\"}",
        "\"\\u0000\\ud800\\udc00x\"",
        "-12.50e+3",
        " [ [ ] , { \"k\" : null } ] ",
    };
    struct prng r = {.state = 3};
    for (int round = 0; round < 300000; round++) {
        char text[256];
        const char *seed = seeds[prng_below(&r, sizeof seeds / sizeof *seeds)];
        size_t len = strlen(seed);
        memcpy(text, seed, len);
        for (size_t n = prng_below(&r, 4); n > 0; n--)
            len = mutate(&r, text, len, sizeof text);
        /* In memory of the exact size, so that reading past the end is seen. */
        char *exact = malloc(len + (len == 0));
        assert_non_null(exact);
        memcpy(exact, text, len);
        compare_with_jansson(exact, len);
        free(exact);
    }
    assert_true(agreed_good > compared / 10);
    assert_true(agreed_good < compared - compared / 10);
}

/* What jansson decodes from a string is what we decode. */
static void decodes_like_jansson(void **state)
{
    (void)state;
    static const char *const pieces[] = {"a",    "\\n",  "\\u00e9",      "\\ud83d\\ude00",
                                         "\\\\", "\\\"", "\xe2\x82\xac", "\\u0000",
                                         "\\/",  " ",    "\\u001F"};
    struct prng r = {.state = 5};
    for (int round = 0; round < 20000; round++) {
        struct buf text = BUF_INIT;
        struct buf out = BUF_INIT;
        buf_byte(&text, '"');
        for (size_t n = prng_below(&r, 10); n > 0; n--)
            buf_str(&text, pieces[prng_below(&r, sizeof pieces / sizeof *pieces)]);
        buf_byte(&text, '"');
        json_t *theirs = json_loadb(text.data, text.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        assert_non_null(theirs);
        assert_true(json_unescape(&out, (struct json_slice){text.data, text.len}));
        assert_int_equal(out.len, json_string_length(theirs));
        if (out.len > 0)
            assert_memory_equal(out.data, json_string_value(theirs), out.len);
        json_decref(theirs);
        buf_finish(&text);
        buf_finish(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(verdicts),
        cmocka_unit_test(depth_is_limited),
        cmocka_unit_test(width_is_not_depth),
        cmocka_unit_test(walks_an_object),
        cmocka_unit_test(walks_an_array),
        cmocka_unit_test(failure_sticks),
        cmocka_unit_test(compacts),
        cmocka_unit_test(unescapes),
        cmocka_unit_test(agrees_with_jansson),
        cmocka_unit_test(decodes_like_jansson),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
