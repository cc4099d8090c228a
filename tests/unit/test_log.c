#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>
#include <pthread.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "capture.h"
#include "naive_utf8.h"
#include "prng.h"
#include "tickerd/base/log.h"

static char *line_of(const char *message)
{
    capture_start();
    log_each(LOG_WARN, "%s", message);
    return capture_end();
}

static bool matches(const char *text, const char *pattern)
{
    regex_t re;
    assert_int_equal(regcomp(&re, pattern, REG_EXTENDED | REG_NOSUB), 0);
    bool yes = regexec(&re, text, 0, NULL, 0) == 0;
    regfree(&re);
    return yes;
}

/* The message of a text line: what follows time and level. */
static void expect_text_message(const char *message, const char *want)
{
    char *line = line_of(message);
    size_t len = strlen(line);
    assert_true(len > 31 && line[len - 1] == '\n');
    line[len - 1] = '\0';
    assert_string_equal(line + 31, want);
}

static void text_lines(void **state)
{
    (void)state;
    log_setup(LOG_INFO, LOG_TEXT);
    capture_start();
    log_error("a %d", 1);
    log_warn("b");
    log_info("c");
    log_debug("d");
    char *out = capture_end();
    const char *stamp = "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z";
    char pattern[300];
    (void)snprintf(pattern, sizeof pattern, "^%s error a 1\n%s warn  b\n%s info  c\n$", stamp,
                   stamp, stamp);
    assert_true(matches(out, pattern));
}

static void levels(void **state)
{
    (void)state;
    for (int level = LOG_ERROR; level <= LOG_DEBUG; level++) {
        log_setup((enum log_level)level, LOG_TEXT);
        capture_start();
        log_error("x");
        log_warn("x");
        log_info("x");
        log_debug("x");
        const char *out = capture_end();
        int lines = 0;
        for (; *out != '\0'; out++)
            lines += *out == '\n';
        assert_int_equal(lines, level + 1);
        for (int other = LOG_ERROR; other <= LOG_DEBUG; other++)
            assert_int_equal(log_enabled((enum log_level)other), other <= level);
    }
}

static void a_text_line_by_line(void **state)
{
    (void)state;
    log_setup(LOG_INFO, LOG_TEXT);
    capture_start();
    log_lines(LOG_ERROR, "");
    log_lines(LOG_ERROR, "one\n\nthree 100%s");
    log_lines(LOG_WARN, "four\n");
    assert_true(matches(capture_end(), "^[^ ]+ error one\n[^ ]+ error \n[^ ]+ error three 100%s\n"
                                       "[^ ]+ warn  four\n$"));
}

static void controls_cannot_forge(void **state)
{
    (void)state;
    log_setup(LOG_INFO, LOG_TEXT);
    expect_text_message("a\nb\r\t\x1b[2J\x7f", "a\\x0ab\\x0d\\x09\\x1b[2J\\x7f");
    expect_text_message("caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80",
                        "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80");
    expect_text_message("\xff \xc3 \xed\xa0\x80 \xc0\xaf",
                        "\\xff \\xc3 \\xed\\xa0\\x80 \\xc0\\xaf");
    expect_text_message("\xc2\x9b"
                        "2J \xc2\xa0",
                        "\\xc2\\x9b"
                        "2J \xc2\xa0");
    expect_text_message("", "");
}

static void expect_json_message(const char *message, const char *want)
{
    json_t *line = json_loads(line_of(message), JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(line);
    assert_int_equal(json_object_size(line), 3);
    assert_string_equal(json_string_value(json_object_get(line, "level")), "warn");
    assert_true(matches(json_string_value(json_object_get(line, "time")), "^[0-9T:.-]{23}Z$"));
    assert_string_equal(json_string_value(json_object_get(line, "message")), want);
    json_decref(line);
}

static void json_lines(void **state)
{
    (void)state;
    log_setup(LOG_INFO, LOG_JSON);
    expect_json_message("", "");
    expect_json_message("a\"b\\c/\n\x1b\x7f", "a\"b\\c/\n\x1b\x7f");
    expect_json_message("caf\xc3\xa9", "caf\xc3\xa9");
    expect_json_message("\xff\xc3(", "\\xff\\xc3(");
}

/* Whatever bytes are logged, the line is one JSON object and valid UTF-8 in both formats. */
static void random_bytes_stay_one_line(void **state)
{
    (void)state;
    struct prng r = {.state = 53};
    for (int round = 0; round < 2000; round++) {
        char message[64];
        size_t len = prng_below(&r, sizeof message);
        for (size_t i = 0; i < len; i++)
            message[i] = (char)(1 + prng_below(&r, 255));
        message[len] = '\0';
        bool json = round % 2 == 0;
        log_setup(LOG_INFO, json ? LOG_JSON : LOG_TEXT);
        char *line = line_of(message);
        size_t n = strlen(line);
        assert_ptr_equal(strchr(line, '\n'), line + n - 1);
        assert_int_equal(naive_utf8_prefix(line, n), n);
        json_t *root = json ? json_loads(line, 0, NULL) : json_null();
        assert_non_null(root);
        json_decref(root);
    }
}

static void long_messages_are_cut(void **state)
{
    (void)state;
    char message[3000];
    char want[2001];
    log_setup(LOG_INFO, LOG_TEXT);
    memset(message, 'x', sizeof message);
    memset(want, 'x', sizeof want);
    want[2000] = '\0';
    message[2000] = '\0';
    expect_text_message(message, want);
    message[2000] = 'x';
    message[2001] = '\0';
    memcpy(want + 1997, "...", 4);
    expect_text_message(message, want);
    /* Not within a character, wherever it falls. */
    for (size_t at = 1990; at < 2000; at++) {
        memset(message, 'x', sizeof message);
        memcpy(message + at, "\xf0\x9f\x98\x80", 4);
        message[sizeof message - 1] = '\0';
        char *line = line_of(message);
        assert_null(strchr(line, '\\'));
        assert_non_null(strstr(line, "...\n"));
    }
    /* The worst growth there is. */
    log_setup(LOG_INFO, LOG_JSON);
    memset(message, 1, sizeof message);
    message[sizeof message - 1] = '\0';
    json_t *line = json_loads(line_of(message), 0, NULL);
    assert_int_equal(json_string_length(json_object_get(line, "message")), 2000);
    json_decref(line);
}

enum { THREADS = 4, LINES = 2000 };

static void *write_lines(void *arg)
{
    for (int i = 0; i < LINES; i++)
        log_info("%s", (const char *)arg);
    return NULL;
}

static void threads_do_not_mix(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    char messages[THREADS][200];
    int count[THREADS] = {0};
    log_setup(LOG_INFO, LOG_TEXT);
    capture_start();
    for (int i = 0; i < THREADS; i++) {
        memset(messages[i], 'a' + i, sizeof messages[i]);
        messages[i][sizeof messages[i] - 1] = '\0';
        assert_int_equal(pthread_create(&threads[i], NULL, write_lines, messages[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    char *rest = NULL;
    for (char *line = strtok_r(capture_end(), "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        assert_true(strlen(line) > 31);
        int who = line[31] - 'a';
        assert_in_range(who, 0, THREADS - 1);
        assert_string_equal(line + 31, messages[who]);
        count[who]++;
    }
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(count[i], LINES);
}

/* ---- the journal ----------------------------------------------------------------------------- */

/* What is written while JOURNAL_STREAM names stderr, or, with `offset`, something else. */
static char *to_the_journal(enum log_format format, unsigned offset)
{
    char text[64];
    struct stat st;
    capture_start();
    assert_int_equal(fstat(STDERR_FILENO, &st), 0);
    (void)snprintf(text, sizeof text, "%llu:%llu", (unsigned long long)st.st_dev,
                   (unsigned long long)st.st_ino + offset);
    assert_int_equal(setenv("JOURNAL_STREAM", text, 1), 0);
    log_setup(LOG_DEBUG, format);
    log_error("a");
    log_warn("b\nc");
    log_info("d");
    log_debug("e");
    log_fields(LOG_INFO, "f", &(struct log_field){.name = "g", .kind = LOG_COUNT, .n = 1}, 1);
    char *out = capture_end();
    assert_int_equal(unsetenv("JOURNAL_STREAM"), 0);
    log_setup(LOG_INFO, LOG_TEXT);
    return out;
}

static void the_journal_is_told_priorities(void **state)
{
    (void)state;
    assert_string_equal(to_the_journal(LOG_TEXT, 0), "<3>a\n<4>b\\x0ac\n<6>d\n<7>e\n<6>f: g=1\n");
    assert_true(matches(to_the_journal(LOG_JSON, 0),
                        "^<3>\\{[^\n]*\\}\n<4>\\{[^\n]*\\}\n<6>\\{[^\n]*\\}\n<7>\\{[^\n]*\\}\n"
                        "<6>\\{[^\n]*\"f\",\"g\":1\\}\n$"));
    assert_true(matches(to_the_journal(LOG_TEXT, 1), "^[0-9]{4}-[^\n]* error a\n"));
}

static void other_words_are_no_journal(void **state)
{
    (void)state;
    static const char *const words[] = {"", ":", "1", "1:", ":1", "x:y", "0:0", "1:2:3"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        assert_int_equal(setenv("JOURNAL_STREAM", words[i], 1), 0);
        log_setup(LOG_INFO, LOG_TEXT);
        capture_start();
        log_info("a");
        assert_true(matches(capture_end(), "^[0-9T:.-]{23}Z info  a\n$"));
    }
    assert_int_equal(unsetenv("JOURNAL_STREAM"), 0);
    log_setup(LOG_INFO, LOG_TEXT);
}

/* ---- fields ---------------------------------------------------------------------------------- */

static struct log_field value(const char *name, const char *text, size_t len)
{
    /* Exactly these bytes, so that a read beyond them is found. */
    char *exact = malloc(len == 0 ? 1 : len);
    assert_non_null(exact);
    memcpy(exact, text, len);
    return (struct log_field){.name = name, .kind = LOG_VALUE, .text = exact, .len = len};
}

static void forget(struct log_field *f)
{
    free((void *)(uintptr_t)f->text);
}

/* The line of one value: in text what follows its name, in JSON the whole. */
static char *value_line(enum log_format format, const char *text, size_t len)
{
    struct log_field f = value("v", text, len);
    log_setup(LOG_INFO, format);
    capture_start();
    log_fields(LOG_INFO, "m", &f, 1);
    forget(&f);
    char *line = capture_end();
    if (format == LOG_JSON)
        return line;
    assert_memory_equal(line + 24, " info  m: v=", 12);
    line[strlen(line) - 1] = '\0';
    return line + 36;
}

static void check_value(const char *text, size_t len, const char *in_text, const char *in_json)
{
    assert_string_equal(value_line(LOG_TEXT, text, len), in_text);
    json_t *line =
        json_loads(value_line(LOG_JSON, text, len), JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    assert_non_null(line);
    json_t *v = json_object_get(line, "v");
    if (in_json == NULL) {
        assert_int_equal(json_string_length(v), len);
        assert_memory_equal(json_string_value(v), text, len);
    } else {
        assert_string_equal(json_string_value(v), in_json);
    }
    json_decref(line);
}

static void values_cannot_forge_fields(void **state)
{
    (void)state;
    static const struct {
        const char *text, *in_text, *in_json;
    } cases[] = {
        {"alice@example.org", "alice@example.org", NULL},
        {"", "", NULL},
        {"a b", "a%20b", NULL},
        {"x status=200", "x%20status%3D200", NULL},
        {"\"q\" 'a' `b` \\", "%22q%22%20%27a%27%20%60b%60%20%5C", NULL},
        {"100%", "100%25", NULL},
        {"\r\n\t\x1b\x7f", "%0D%0A%09%1B%7F", NULL},
        {"\xc3\xbc\xe2\x80\xa8", "%C3%BC%E2%80%A8", NULL},
        {"\xff\xc3", "%FF%C3", "\\xff\\xc3"}, /* no UTF-8 */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        check_value(cases[i].text, strlen(cases[i].text), cases[i].in_text, cases[i].in_json);
    check_value("a\0b", 3, "a%00b", NULL);
    check_value("\xf0\x9f\x98\x80\xe2\x80\xae", 7, "%F0%9F%98%80%E2%80%AE", NULL);
    assert_non_null(strstr(value_line(LOG_JSON, "\xf0\x9f\x98\x80\xe2\x80\xae", 7),
                           "\"\\ud83d\\ude00\\u202e\"")); /* which turns what follows */
    char longest[1000];
    memset(longest, 'x', sizeof longest);
    assert_int_equal(strlen(value_line(LOG_TEXT, longest, sizeof longest)), 203);
    for (size_t at = 195; at < 200; at++) { /* in JSON not within a character */
        memset(longest, 'x', sizeof longest);
        memcpy(longest + at, "\xf0\x9f\x98\x80", 4);
        json_t *line = json_loads(value_line(LOG_JSON, longest, sizeof longest), 0, NULL);
        const char *v = json_string_value(json_object_get(line, "v"));
        assert_int_equal(strlen(v), at < 197 ? 203 : at + 3);
        assert_null(strchr(v, '\\'));
        json_decref(line);
    }
}

static void fields_have_types(void **state)
{
    (void)state;
    const struct log_field fields[] = {
        {.name = "word", .kind = LOG_WORD, .text = "/a=b%20", .len = 7},
        {.name = "count", .kind = LOG_COUNT, .n = UINT64_MAX / 2},
        {.name = "seconds", .kind = LOG_SECONDS, .n = 1234567},
    };
    log_setup(LOG_INFO, LOG_TEXT);
    capture_start();
    log_fields(LOG_INFO, "access", fields, 3);
    log_fields(LOG_DEBUG, "access", fields, 3);
    assert_string_equal(capture_end() + 31,
                        "access: word=/a=b%20 count=9223372036854775807 seconds=1.235\n");
    log_setup(LOG_INFO, LOG_JSON);
    capture_start();
    log_fields(LOG_INFO, "access", fields, 3);
    json_t *line = json_loads(capture_end(), JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(line);
    assert_int_equal(json_object_size(line), 6);
    assert_string_equal(json_string_value(json_object_get(line, "message")), "access");
    assert_string_equal(json_string_value(json_object_get(line, "level")), "info");
    assert_string_equal(json_string_value(json_object_get(line, "word")), "/a=b%20");
    assert_true(json_integer_value(json_object_get(line, "count")) == INT64_MAX);
    assert_true(json_is_real(json_object_get(line, "seconds")));
    json_decref(line);
}

/* What would not fit is left out, and the line is whole. */
static void too_many_fields(void **state)
{
    (void)state;
    struct log_field fields[100];
    char text[200];
    memset(text, 1, sizeof text);
    for (size_t i = 0; i < 100; i++)
        fields[i] =
            (struct log_field){.name = "v", .kind = LOG_VALUE, .text = text, .len = sizeof text};
    log_setup(LOG_INFO, LOG_JSON);
    capture_start();
    log_fields(LOG_INFO, "m", fields, 100);
    json_t *line = json_loads(capture_end(), 0, NULL);
    assert_non_null(line);
    json_decref(line);
}

static int finish(void **state)
{
    (void)state;
    capture_forget();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_lines),
        cmocka_unit_test(levels),
        cmocka_unit_test(a_text_line_by_line),
        cmocka_unit_test(controls_cannot_forge),
        cmocka_unit_test(json_lines),
        cmocka_unit_test(random_bytes_stay_one_line),
        cmocka_unit_test(long_messages_are_cut),
        cmocka_unit_test(threads_do_not_mix),
        cmocka_unit_test(the_journal_is_told_priorities),
        cmocka_unit_test(other_words_are_no_journal),
        cmocka_unit_test(values_cannot_forge_fields),
        cmocka_unit_test(fields_have_types),
        cmocka_unit_test(too_many_fields),
    };
    return cmocka_run_group_tests(tests, NULL, finish);
}
