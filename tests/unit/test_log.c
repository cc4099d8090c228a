#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "naive_utf8.h"
#include "prng.h"
#include "tickerd/base/log.h"

enum { CAPTURE_MAX = 1 << 22 };

/* Stderr goes to an unnamed file while `capturing`. */
static FILE *capture;
static int real_stderr;
static char *captured;

static void start_capture(void)
{
    capture = tmpfile();
    assert_non_null(capture);
    assert_int_equal(fcntl(fileno(capture), F_SETFL, O_APPEND), 0);
    real_stderr = dup(STDERR_FILENO);
    assert_true(real_stderr >= 0);
    assert_true(dup2(fileno(capture), STDERR_FILENO) >= 0);
}

/* What was written, as a string that lives until the next capture. */
static char *end_capture(void)
{
    assert_true(dup2(real_stderr, STDERR_FILENO) >= 0);
    close(real_stderr);
    free(captured);
    captured = calloc(1, CAPTURE_MAX);
    assert_non_null(captured);
    rewind(capture);
    assert_true(fread(captured, 1, CAPTURE_MAX - 1, capture) < CAPTURE_MAX - 1);
    fclose(capture);
    return captured;
}

static char *line_of(const char *message)
{
    start_capture();
    log_warn("%s", message);
    return end_capture();
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
    start_capture();
    log_error("a %d", 1);
    log_warn("b");
    log_info("c");
    log_debug("d");
    char *out = end_capture();
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
        start_capture();
        log_error("x");
        log_warn("x");
        log_info("x");
        log_debug("x");
        const char *out = end_capture();
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
    start_capture();
    log_lines(LOG_ERROR, "");
    log_lines(LOG_ERROR, "one\n\nthree 100%s");
    log_lines(LOG_WARN, "four\n");
    assert_true(matches(end_capture(), "^[^ ]+ error one\n[^ ]+ error \n[^ ]+ error three 100%s\n"
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
    start_capture();
    for (int i = 0; i < THREADS; i++) {
        memset(messages[i], 'a' + i, sizeof messages[i]);
        messages[i][sizeof messages[i] - 1] = '\0';
        assert_int_equal(pthread_create(&threads[i], NULL, write_lines, messages[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    char *rest = NULL;
    for (char *line = strtok_r(end_capture(), "\n", &rest); line != NULL;
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

static int finish(void **state)
{
    (void)state;
    free(captured);
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
    };
    return cmocka_run_group_tests(tests, NULL, finish);
}
