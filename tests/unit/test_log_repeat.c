#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "../../src/base/log_repeat.h"
#include "capture.h"
#include "tickerd/base/clock.h"
#include "tickerd/base/log.h"

enum { WINDOW_US = REPEAT_WINDOW_S * US_PER_S };

/* ---- who repeats ----------------------------------------------------------------------------- */

static struct repeats repeats;

static bool say(const char *fmt, uint64_t now, uint64_t *held)
{
    struct repeat_sum sum;
    bool written = repeat_admit(&repeats, fmt, LOG_WARN, now, &sum);
    if (written)
        repeat_note(&repeats, fmt, fmt);
    if (sum.held > 0)
        assert_string_equal(sum.text, fmt);
    *held = sum.held;
    return written;
}

static unsigned say_often(const char *fmt, unsigned n, uint64_t now)
{
    unsigned written = 0;
    uint64_t held;
    while (n-- > 0) {
        written += say(fmt, now, &held);
        assert_int_equal(held, 0);
    }
    return written;
}

static int start_anew(void **state)
{
    (void)state;
    memset(&repeats, 0, sizeof repeats);
    return 0;
}

static void ten_in_ten_seconds(void **state)
{
    (void)state;
    struct repeat_sum sum;
    uint64_t held;
    assert_int_equal(say_often("a", 10, 5), 10);
    assert_int_equal(say_often("a", 90, 6), 0);
    assert_int_equal(say_often("b", 3, 6), 3); /* another call */
    assert_int_equal(say_often("a", 7, 4 + WINDOW_US), 0);
    assert_false(repeat_next(&repeats, false, 4 + WINDOW_US, &sum));
    assert_true(say("a", 5 + WINDOW_US, &held));
    assert_int_equal(held, 97);
    assert_int_equal(say_often("a", 20, 6 + WINDOW_US), 9);
    assert_false(repeat_next(&repeats, false, 4 + 2 * WINDOW_US, &sum));
    assert_true(repeat_next(&repeats, false, 5 + 2 * WINDOW_US, &sum));
    assert_int_equal(sum.held, 11);
    assert_int_equal(sum.level, LOG_WARN);
    assert_string_equal(sum.text, "a");
    assert_false(repeat_next(&repeats, false, 5 + 2 * WINDOW_US, &sum));
    assert_int_equal(repeats.held, 0);
}

static void now_and_then_is_no_repeat(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 200; i++)
        assert_int_equal(say_often("a", 1, i * US_PER_S), 1);
}

static void all_of_them_at_the_end(void **state)
{
    (void)state;
    struct repeat_sum sum;
    uint64_t total = 0;
    assert_int_equal(say_often("a", 15, 1), 10);
    assert_int_equal(say_often("b", 10, 1), 10);
    assert_int_equal(say_often("c", 11, 1), 10);
    for (int i = 0; i < 2; i++) {
        assert_true(repeat_next(&repeats, true, 1, &sum));
        total += sum.held;
    }
    assert_int_equal(total, 6);
    assert_false(repeat_next(&repeats, true, 1, &sum));
}

static void more_calls_than_there_is_room_for(void **state)
{
    (void)state;
    static const char formats[REPEAT_CALLS + 20];
    for (size_t i = 0; i < sizeof formats; i++)
        assert_int_equal(say_often(&formats[i], 20, 1), i < REPEAT_CALLS ? 10 : 20);
}

static void the_text_is_cut(void **state)
{
    (void)state;
    struct repeat_sum sum;
    char text[REPEAT_TEXT + 10];
    for (size_t at = REPEAT_TEXT - 4; at <= REPEAT_TEXT; at++) {
        memset(text, 'x', sizeof text);
        memcpy(text + at, "\xf0\x9f\x98\x80", 4);
        text[sizeof text - 1] = '\0';
        assert_int_equal(say_often("a", 11, 1), 10);
        repeat_note(&repeats, "a", text);
        assert_true(repeat_next(&repeats, true, 1, &sum));
        assert_int_equal(strlen(sum.text), at == REPEAT_TEXT - 4 ? REPEAT_TEXT : at);
    }
}

/* ---- the log --------------------------------------------------------------------------------- */

static size_t count_of(const char *text, const char *part)
{
    size_t n = 0;
    for (; (text = strstr(text, part)) != NULL; text++)
        n++;
    return n;
}

static void a_flood_is_a_few_lines(void **state)
{
    (void)state;
    log_setup(LOG_INFO, LOG_TEXT);
    capture_start();
    for (int i = 1; i <= 1000; i++)
        log_warn("flood %d", i);
    log_error("another");
    log_tick(); /* it is not time yet */
    log_flush();
    log_flush();
    const char *out = capture_end();
    assert_int_equal(count_of(out, "\n"), 12);
    assert_int_equal(count_of(out, " warn  flood "), 11);
    assert_non_null(strstr(out, " warn  flood 10... and 990 more like this in the last 10 s\n"));
}

static void what_is_never_held_back(void **state)
{
    (void)state;
    struct log_field f = {.name = "n", .kind = LOG_COUNT};
    log_setup(LOG_DEBUG, LOG_TEXT);
    capture_start();
    for (int i = 0; i < 50; i++) {
        log_info("info");
        log_debug("debug");
        log_each(LOG_ERROR, "each");
        log_fields(LOG_WARN, "fields", &f, 1);
        log_lines(LOG_ERROR, "line\nline\n");
    }
    log_flush();
    assert_int_equal(count_of(capture_end(), "\n"), 300);
}

static void levels_that_are_not_written_do_not_count(void **state)
{
    (void)state;
    log_setup(LOG_ERROR, LOG_TEXT);
    capture_start();
    for (int i = 0; i < 50; i++)
        log_warn("quiet");
    log_flush();
    assert_string_equal(capture_end(), "");
}

enum { THREADS = 4, LINES = 5000 };

static void *flood(void *arg)
{
    for (int i = 0; i < LINES; i++)
        log_warn("from a thread %s", (const char *)arg);
    return NULL;
}

/* Whoever says it: what is written and what is said of the rest is all there was. */
static void threads_are_counted_together(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    static char name[] = "x";
    log_setup(LOG_INFO, LOG_TEXT);
    capture_start();
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, flood, name), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    log_flush();
    const char *out = capture_end();
    size_t written = 0;
    unsigned long long held = 0;
    for (const char *line = out; *line != '\0'; line = strchr(line, '\n') + 1) {
        unsigned long long n = 0;
        if (sscanf(line, "%*s warn from a thread x... and %llu more", &n) == 1)
            held += n;
        else
            written++;
    }
    assert_int_equal(written + held, THREADS * LINES);
    assert_true(written % REPEAT_LINES == 0);
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
        cmocka_unit_test_setup(ten_in_ten_seconds, start_anew),
        cmocka_unit_test_setup(now_and_then_is_no_repeat, start_anew),
        cmocka_unit_test_setup(all_of_them_at_the_end, start_anew),
        cmocka_unit_test_setup(more_calls_than_there_is_room_for, start_anew),
        cmocka_unit_test_setup(the_text_is_cut, start_anew),
        cmocka_unit_test(a_flood_is_a_few_lines),
        cmocka_unit_test(what_is_never_held_back),
        cmocka_unit_test(levels_that_are_not_written_do_not_count),
        cmocka_unit_test(threads_are_counted_together),
    };
    return cmocka_run_group_tests(tests, NULL, finish);
}
