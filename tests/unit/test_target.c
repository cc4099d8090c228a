#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "prng.h"
#include "tickerd/base/err.h"
#include "tickerd/wire/target.h"

static const struct target_rules rules = {.topics_max = 4, .token_param = "token"};

static struct target parse(const char *text)
{
    struct target t;
    struct target_error error;
    if (target_parse(&t, text, strlen(text), &rules, &error) != ERR_OK)
        fail_msg("%s: %s", text, error.message);
    return t;
}

/* The topics as one text: each with a leading `=` (channel) or `~` (pattern). */
static void check_topics(const char *text, const char *expected)
{
    struct target t = parse(text);
    assert_int_equal(t.kind, TARGET_EVENTS);
    struct buf b = BUF_INIT;
    for (size_t i = 0; i < t.count; i++) {
        buf_byte(&b, t.topics[i].pattern ? '~' : '=');
        buf_append(&b, t.topics[i].name, t.topics[i].len);
    }
    assert_string_equal(buf_cstr(&b), expected);
    buf_finish(&b);
    target_finish(&t);
}

static void test_channel_in_the_path(void **state)
{
    (void)state;
    check_topics("/events/news", "=news");
    check_topics("/events/a/b/../c/", "=a/b/../c/");
    check_topics("/events//a", "=/a");
    check_topics("/events/a+b%20c%2Fd%2f", "=a+b c/d/");
    check_topics("/events/caf%C3%A9", "=caf\xc3\xa9");
    check_topics("/events/a%25b", "=a%b");
    check_topics("/events/a%3Fb%23c", "=a?b#c");
    check_topics("/events/%2A", "=*");
    check_topics("/events/a&b=c", "=a&b=c");
}

static void test_topics_in_the_query(void **state)
{
    (void)state;
    check_topics("/events?channel=a&channel=b&pattern=user.*", "=a=b~user.*");
    check_topics("/events/?pattern=%5Bab%5D", "~[ab]");
    check_topics("/events?channel=a+b%2Bc", "=a b+c");
    check_topics("/events?chann%65l=a", "=a");
    check_topics("/events/x?channel=y&pattern=z", "=x=y~z");
    check_topics("/events?channel=a?b/c=d", "=a?b/c=d");
    check_topics("/events?&&channel=a&&", "=a");
    check_topics("/events?pattern=$*", "~$*");
    check_topics("/events/a?x=1&Channel=b&nothing&=c", "=a");
    check_topics("/events/a?utm=50%", "=a");
}

static void test_duplicates_are_removed(void **state)
{
    (void)state;
    check_topics("/events/a?channel=b&channel=%61&pattern=a&pattern=a&channel=b", "=a=b~a");
    check_topics("/events/a?channel=a&channel=b&channel=b&channel=c&channel=c&channel=d&channel=a",
                 "=a=b=c=d");
}

static void test_patterns_of_one_meaning_are_one_topic(void **state)
{
    (void)state;
    check_topics("/events?pattern=**&pattern=*", "~*");
    check_topics("/events?pattern=a*?&pattern=a?*&pattern=%5Ca**?", "~a?*");
    check_topics("/events?pattern=**&channel=**&channel=*&pattern=b***", "~*=**=*~b*");
    check_topics("/events?pattern=*&pattern=**&pattern=***&pattern=****&pattern=*****&channel=a",
                 "~*=a");
}

static void test_absolute_form(void **state)
{
    (void)state;
    check_topics("http://example.org/events/a", "=a");
    check_topics("HTTPS://[::1]:8090/events?channel=a", "=a");
    struct target t = parse("http://example.org/healthz?x");
    assert_int_equal(t.kind, TARGET_HEALTHZ);
    target_finish(&t);
    t = parse("http://example.org");
    assert_int_equal(t.kind, TARGET_UNKNOWN);
    target_finish(&t);
    t = parse("http://example.org?channel=/events");
    assert_int_equal(t.kind, TARGET_UNKNOWN);
    target_finish(&t);
}

static void test_other_resources(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum target_kind kind;
    } cases[] = {
        {"/healthz", TARGET_HEALTHZ},
        {"/healthz?channel=%zz", TARGET_HEALTHZ},
        {"/readyz", TARGET_READYZ},
        {"/readyz?", TARGET_READYZ},
        {"/healthz/", TARGET_UNKNOWN},
        {"/Readyz", TARGET_UNKNOWN},
        {"/", TARGET_UNKNOWN},
        {"/metrics", TARGET_UNKNOWN},
        {"/eventsx", TARGET_UNKNOWN},
        {"/event", TARGET_UNKNOWN},
        {"//events/a", TARGET_UNKNOWN},
        {"/%65vents/a", TARGET_UNKNOWN},
        {"/x/../events/a", TARGET_UNKNOWN},
        {"*", TARGET_UNKNOWN},
        {"/?a=%", TARGET_UNKNOWN},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct target t = parse(cases[i].text);
        assert_int_equal(t.kind, cases[i].kind);
        assert_int_equal(t.count, 0);
        assert_null(t.storage);
        target_finish(&t);
        target_finish(&t);
    }
}

static void check_id(const char *text, const char *expected)
{
    struct target t = parse(text);
    if (expected == NULL) {
        assert_null(t.last_event_id);
        assert_int_equal(t.last_event_id_len, 0);
    } else {
        assert_int_equal(t.last_event_id_len, strlen(expected));
        assert_memory_equal(t.last_event_id, expected, strlen(expected));
    }
    target_finish(&t);
}

static void test_last_event_id(void **state)
{
    (void)state;
    check_id("/events/a", NULL);
    check_id("/events/a?last_event_id=", NULL);
    check_id("/events/a?lastEventId", NULL);
    check_id("/events/a?last_event_id=x-1", "x-1");
    check_id("/events/a?lastEventId=y", "y");
    check_id("/events/a?lastEventId=y&last_event_id=x", "x");
    check_id("/events/a?last_event_id=x&lastEventId=y", "x");
    check_id("/events/a?last_event_id=&lastEventId=y", "y");
    check_id("/events/a?last_event_id=x&last_event_id=z", "x");
    check_id("/events/a?last_event_id=a+b%ff%0a&channel=c", "a b\xff\n");
    check_id("/events/a?lasteventid=x", NULL);
}

static void test_token(void **state)
{
    (void)state;
    struct target t = parse("/events/a?token=x.y.z&token=other");
    assert_int_equal(t.token_len, 5);
    assert_memory_equal(t.token, "x.y.z", 5);
    assert_true(t.token_twice);
    target_finish(&t);
    t = parse("/events/a?token=&x=1&%74oken=a");
    assert_true(t.token_twice);
    target_finish(&t);
    t = parse("/events/token?token=a&Token=b&x=token");
    assert_false(t.token_twice);
    target_finish(&t);
    t = parse("/events/a?token=");
    assert_non_null(t.token);
    assert_int_equal(t.token_len, 0);
    target_finish(&t);
    t = parse("/events/a");
    assert_null(t.token);
    target_finish(&t);

    struct target_rules other = {.topics_max = 1, .token_param = "jwt"};
    struct target_error error;
    static const char text[] = "/events/a?token=x&jwt=y";
    assert_int_equal(target_parse(&t, text, strlen(text), &other, &error), ERR_OK);
    assert_memory_equal(t.token, "y", 1);
    target_finish(&t);
    other.token_param = NULL;
    assert_int_equal(target_parse(&t, text, strlen(text), &other, &error), ERR_OK);
    assert_null(t.token);
    target_finish(&t);
}

static void test_history_and_format(void **state)
{
    (void)state;
    static const struct {
        const char *query;
        uint32_t history;
        enum stream_format format;
    } cases[] = {
        {"", 0, FORMAT_RAW},
        {"?history=0", 0, FORMAT_RAW},
        {"?history=17&format=json", 17, FORMAT_JSON},
        {"?history=all", HISTORY_ALL, FORMAT_RAW},
        {"?history=1000000000&format=raw", 1000000000, FORMAT_RAW},
        {"?history=00000000000005", 5, FORMAT_RAW},
        {"?history=1&history=x&format=json&format=x", 1, FORMAT_JSON},
        {"?format=raw&format=json", 0, FORMAT_RAW},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[100];
        (void)snprintf(text, sizeof text, "/events/a%s", cases[i].query);
        struct target t = parse(text);
        assert_int_equal(t.history, cases[i].history);
        assert_int_equal(t.format, cases[i].format);
        target_finish(&t);
    }
}

static const struct {
    const char *text;
    int status;
    const char *code;
} refused[] = {
    {"/events", 400, "no_channel"},
    {"/events/", 400, "no_channel"},
    {"/events?", 400, "no_channel"},
    {"/events?history=5&token=x", 400, "no_channel"},
    {"/events/%zz", 400, "bad_encoding"},
    {"/events/a%", 400, "bad_encoding"},
    {"/events/a%4", 400, "bad_encoding"},
    {"/events/%%41", 400, "bad_encoding"},
    {"/events?channel=%g1", 400, "bad_encoding"},
    {"/events?pattern=a%2", 400, "bad_encoding"},
    {"/events/a?%=x", 400, "bad_encoding"},
    {"/events/a?token=%", 400, "bad_encoding"},
    {"/events/a?last_event_id=%+1", 400, "bad_encoding"},
    {"/events/a%00b", 400, "bad_channel"},
    {"/events/a%0a", 400, "bad_channel"},
    {"/events/%7f", 400, "bad_channel"},
    {"/events/%ff", 400, "bad_channel"},
    {"/events/%C3", 400, "bad_channel"},
    {"/events?channel=", 400, "bad_channel"},
    {"/events?channel", 400, "bad_channel"},
    {"/events/a?channel=%00", 400, "bad_channel"},
    {"/events/$SYS", 404, "unknown_channel"},
    {"/events/%24x", 404, "unknown_channel"},
    {"/events?channel=$x", 404, "unknown_channel"},
    {"/events?pattern=", 400, "bad_pattern"},
    {"/events?pattern=%C0%80", 400, "bad_pattern"},
    {"/events?pattern=*%09", 400, "bad_pattern"},
    {"/events/a?channel=b&channel=c&channel=d&channel=e", 400, "too_many_channels"},
    {"/events?pattern=a&pattern=b&pattern=c&channel=a&pattern=d", 400, "too_many_channels"},
    {"/events/a?history=", 400, "bad_history"},
    {"/events/a?history=-1", 400, "bad_history"},
    {"/events/a?history=+1", 400, "bad_history"},
    {"/events/a?history=1e3", 400, "bad_history"},
    {"/events/a?history=1000000001", 400, "bad_history"},
    {"/events/a?history=99999999999999999999999999", 400, "bad_history"},
    {"/events/a?history=ALL", 400, "bad_history"},
    {"/events/a?format=", 400, "bad_format"},
    {"/events/a?format=JSON", 400, "bad_format"},
    {"/events/a#b", 400, "bad_target"},
    {"/healthz#", 400, "bad_target"},
    {"", 400, "bad_target"},
    {"events/a", 400, "bad_target"},
    {"ftp://example.org/events/a", 400, "bad_target"},
    {"http:/events/a", 400, "bad_target"},
    {"http:///events/a", 400, "bad_target"},
    {"https://?x", 400, "bad_target"},
    {"example.org:443", 400, "bad_target"},
    {"**", 400, "bad_target"},
    {"/events/a b", 400, "bad_target"},
    {"/events/caf\xc3\xa9", 400, "bad_target"},
};

static void check_refusal(const char *text, size_t len, int status, const char *code)
{
    struct target t;
    struct target_error error;
    memset(&error, 0, sizeof error);
    if (target_parse(&t, text, len, &rules, &error) != ERR_INVALID)
        fail_msg("%s is not refused", text);
    assert_string_equal(error.code, code);
    assert_int_equal(error.status, status);
    size_t n = strlen(error.message);
    assert_in_range(n, 10, sizeof error.message - 2);
    for (size_t i = 0; i < n; i++)
        assert_in_range(error.message[i], 0x20, 0x7e);
    assert_int_equal(error.message[n - 1], '.');
    assert_null(t.topics);
    assert_null(t.storage);
}

static void test_refusals(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        check_refusal(refused[i].text, strlen(refused[i].text), refused[i].status, refused[i].code);
    check_refusal("/events/a\0b", 11, 400, "bad_target");
}

static void test_lengths(void **state)
{
    (void)state;
    char text[600] = "/events/";
    memset(text + 8, 'x', 255);
    struct target t;
    struct target_error error;
    assert_int_equal(target_parse(&t, text, 8 + 255, &rules, &error), ERR_OK);
    assert_int_equal(t.topics[0].len, 255);
    target_finish(&t);
    text[8 + 255] = 'x';
    check_refusal(text, 8 + 256, 400, "bad_channel");

    struct target_rules none = {.topics_max = 0};
    assert_int_equal(target_parse(&t, "/events/a", 9, &none, &error), ERR_INVALID);
    assert_string_equal(error.code, "too_many_channels");
    assert_non_null(strstr(error.message, "At most 0 "));
}

/* Whatever the bytes are: no crash, no read beyond them, and topics are what they should be. */
static void test_random_targets(void **state)
{
    (void)state;
    static const char *const pieces[] = {
        "/events", "/",    "?", "&",        "channel=", "pattern=", "%",       "%4",
        "%41",     "a",    "$", "history=", "format=",  "1",        "http://", "#",
        "+",       "json", "=", "*",        "token=",   "\xff"};
    struct prng random = {99};
    for (int round = 0; round < 100000; round++) {
        struct buf b = BUF_INIT;
        buf_str(&b, round % 4 != 0 ? "/events/" : "");
        for (size_t n = prng_below(&random, 12); n > 0; n--)
            buf_str(&b, pieces[prng_below(&random, sizeof pieces / sizeof *pieces)]);
        char *exact = malloc(b.len + (b.len == 0));
        assert_non_null(exact);
        if (b.len > 0)
            memcpy(exact, b.data, b.len);
        struct target t;
        struct target_error error;
        if (target_parse(&t, exact, b.len, &rules, &error) == ERR_OK) {
            assert_true(t.kind != TARGET_EVENTS || t.count > 0);
            assert_true(t.count <= rules.topics_max);
            for (size_t i = 0; i < t.count; i++)
                assert_true(t.topics[i].len > 0 && t.topics[i].name[0] != '\0');
            target_finish(&t);
        }
        free(exact);
        buf_finish(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_channel_in_the_path),
        cmocka_unit_test(test_topics_in_the_query),
        cmocka_unit_test(test_duplicates_are_removed),
        cmocka_unit_test(test_patterns_of_one_meaning_are_one_topic),
        cmocka_unit_test(test_absolute_form),
        cmocka_unit_test(test_other_resources),
        cmocka_unit_test(test_last_event_id),
        cmocka_unit_test(test_token),
        cmocka_unit_test(test_history_and_format),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_random_targets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
