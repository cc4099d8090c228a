#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "tickerd/ctl/screen.h"
#include "tickerd/ctl/show.h"
#include "tickerd/ctl/text.h"

static void expect(struct buf *b, const char *want)
{
    assert_string_equal(buf_cstr(b), want);
    buf_reset(b);
}

static void numbers(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    static const struct {
        uint64_t n;
        const char *count, *bytes;
    } cases[] = {
        {0, "0", "0 B"},
        {999, "999", "999 B"},
        {1000, "1,000", "1000 B"},
        {1023, "1,023", "1023 B"},
        {1024, "1,024", "1.0 KiB"},
        {12034, "12,034", "11.8 KiB"},
        {1048575, "1,048,575", "1.0 MiB"},
        {1258291, "1,258,291", "1.2 MiB"},
        {UINT64_C(5) << 30, "5,368,709,120", "5.0 GiB"},
        {UINT64_MAX, "18,446,744,073,709,551,615", "16384 PiB"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        text_count(&b, cases[i].n);
        expect(&b, cases[i].count);
        text_bytes(&b, cases[i].n);
        expect(&b, cases[i].bytes);
    }
    buf_finish(&b);
}

static void durations(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    static const struct {
        double s;
        const char *text;
    } cases[] = {
        {0, "0 s"},          {0.0001, "less than 1 ms"},
        {0.003, "3 ms"},     {0.9999, "1.0 s"},
        {1.24, "1.2 s"},     {9.96, "10 s"},
        {59.4, "59 s"},      {59.6, "1 min"},
        {184, "3 min 4 s"},  {3599.7, "1 h"},
        {7260, "2 h 1 min"}, {86400, "1 d"},
        {190800, "2 d 5 h"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        text_seconds(&b, cases[i].s);
        expect(&b, cases[i].text);
    }
    buf_finish(&b);
}

static void strangers_cannot_move_the_terminal(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    static const char *const cases[][2] = {
        {"plain \xc3\xa4\xe2\x82\xac\xf0\x9f\x8e\x89",
         "plain \xc3\xa4\xe2\x82\xac\xf0\x9f\x8e\x89"},
        {"a\x1b[31mb\x07", "a\\x1b[31mb\\x07"},
        {"a\nb\rc\td", "a\\nb\\rc\\td"},
        {"\xc2\x9b"
         "31m",
         "\\u009b31m"}, /* CSI as one character */
        {"\xe2\x80\xae"
         "txt",
         "\\u202etxt"},
        {"\xff\xc3", "\xef\xbf\xbd\xef\xbf\xbd"},
        {"\x7f\xe2\x80\x8b", "\\x7f\\u200b"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        text_safe(&b, cases[i][0], strlen(cases[i][0]));
        expect(&b, cases[i][1]);
    }
    text_safe(&b, "a\0b", 3);
    expect(&b, "a\\x00b");
    /* No byte or pair of bytes leaves a control character behind. */
    for (unsigned i = 0; i < 0x10000; i++) {
        char pair[2] = {(char)(i >> 8), (char)i};
        text_safe(&b, pair, 2);
        for (size_t k = 0; k < b.len; k++)
            assert_true((unsigned char)b.data[k] >= 0x20 && b.data[k] != 0x7f);
        for (size_t k = 0; k + 1 < b.len; k++)
            assert_false((unsigned char)b.data[k] == 0xc2 && (unsigned char)b.data[k + 1] < 0xa0);
        buf_reset(&b);
    }
    buf_finish(&b);
}

static void json_that_is_safe_on_a_terminal(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    static const char *const cases[][2] = {
        {"{\n  \"a\": \"\xc3\xa4\"\n}", "{\n  \"a\": \"\xc3\xa4\"\n}"},
        {"\"\\u001b[\xc2\x9b"
         "31m\"",
         "\"\\u001b[\\u009b31m\""},
        {"\"\x7f\xe2\x80\xae\"", "\"\\u007f\\u202e\""},
        {"\"\xf3\xa0\x81\x81\"", "\"\\udb40\\udc41\""}, /* a tag: two surrogates */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        text_safe_json(&b, cases[i][0], strlen(cases[i][0]));
        expect(&b, cases[i][1]);
    }
    buf_finish(&b);
}

static void cutting(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    text_safe_cut(&b, "abcdef", 6, 6);
    expect(&b, "abcdef");
    text_safe_cut(&b, "abcdefg", 7, 6);
    expect(&b, "abcde\xe2\x80\xa6");
    /* Wide characters count two. */
    text_safe_cut(&b, "\xe4\xbd\xa0\xe5\xa5\xbd\xe5\x90\x97", 9, 5);
    expect(&b, "\xe4\xbd\xa0\xe5\xa5\xbd\xe2\x80\xa6");
    assert_int_equal(text_columns("\xe4\xbd\xa0"
                                  "e\xcc\x81",
                                  6),
                     3);
    buf_finish(&b);
}

static void tables_are_aligned(void **state)
{
    (void)state;
    static const char *const headers[] = {"NAME", ">N", "REST"};
    struct screen plain = {.colour = false}, coloured = {.colour = true};
    struct buf out = BUF_INIT;
    struct table t;
    table_init(&t, headers, 3);
    table_text(&t, HUE_NAME, "n\xc3\xa4me");
    table_count(&t, 1234);
    table_text(&t, HUE_NONE, "x");
    table_text(&t, HUE_NAME, "longer");
    table_count(&t, 5);
    table_text(&t, HUE_NONE, "");
    table_print(&t, &plain, &out);
    expect(&out, "NAME        N  REST\n"
                 "n\xc3\xa4me    1,234  x\n"
                 "longer      5  \n");
    table_print(&t, &coloured, &out);
    assert_non_null(strstr(buf_cstr(&out), "\x1b[36mn\xc3\xa4me\x1b[0m    1,234"));
    table_finish(&t);
    buf_finish(&out);
}

static void tables_fit_the_screen(void **state)
{
    (void)state;
    static const char *const headers[] = {"NAME", "1>BYTES", "2SINCE", "LAST"};
    struct buf out = BUF_INIT;
    struct table t;
    table_init(&t, headers, 4);
    table_text(&t, HUE_NONE, "news");
    table_count(&t, 1234);
    table_text(&t, HUE_NONE, "2026-11-20");
    table_text(&t, HUE_NONE, "abcdefghijklmnopqrstuvwxyz");
    const struct {
        size_t columns;
        const char *text;
    } cases[] = {
        {51, "NAME  BYTES  SINCE       LAST\n"
             "news  1,234  2026-11-20  abcdefghijklmnopqrstuvwxyz\n"},
        {50, "NAME  BYTES  SINCE       LAST\n"
             "news  1,234  2026-11-20  abcdefghijklmnopqrstuvwx\xe2\x80\xa6\n"},
        {44, "NAME  SINCE       LAST\n"
             "news  2026-11-20  abcdefghijklmnopqrstuvwxyz\n"
             "not shown, for want of room: BYTES\n"},
        {30, "NAME  LAST\n"
             "news  abcdefghijklmnopqrstuvw\xe2\x80\xa6\n"
             "not shown, for want of room: BYTES, SINCE\n"},
        /* Too narrow for anything. */
        {3, "NAME  LAST\n"
            "news  abcdefghijklmnopqrs\xe2\x80\xa6\n"
            "not shown, for want of room: BYTES, SINCE\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct screen s = {.columns = cases[i].columns};
        table_print(&t, &s, &out);
        expect(&out, cases[i].text);
    }
    table_finish(&t);
    buf_finish(&out);
}

static void lines_are_broken_at_blanks(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    static const struct {
        const char *text;
        size_t hang, columns;
        const char *want;
    } cases[] = {
        {"label   some words that go on", 8, 24, "label   some words that\n        go on"},
        {"label   some words that go on", 8, 0, "label   some words that go on"},
        {"label   some words that go on", 8, 20, "label   some words that go on"},
        {"a \x1b[31mred\x1b[0m word and more\nb\n", 2, 18,
         "a \x1b[31mred\x1b[0m word and\n  more\nb\n"},
        {"    /a/very/long/path/without/a/blank and", 4, 20,
         "    /a/very/long/path/without/a/blank\n    and"},
        {"\xe4\xbd\xa0\xe5\xa5\xbd \xe4\xbd\xa0\xe5\xa5\xbd\xe4\xbd\xa0\xe5\xa5\xbd x y z u", 0, 17,
         "\xe4\xbd\xa0\xe5\xa5\xbd \xe4\xbd\xa0\xe5\xa5\xbd\xe4\xbd\xa0\xe5\xa5\xbd x y\nz u"},
        {"", 4, 20, ""},
        {"\n  \n", 4, 20, "\n  \n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        text_wrapped(&b, cases[i].text, strlen(cases[i].text), cases[i].hang, cases[i].columns);
        expect(&b, cases[i].want);
    }
    buf_finish(&b);
}

static struct reader_event event(const char *type, const char *data, const char *id)
{
    return (struct reader_event){.type = type,
                                 .type_len = strlen(type),
                                 .data = data,
                                 .data_len = strlen(data),
                                 .id = id,
                                 .id_len = strlen(id)};
}

static void expect_line(struct reader_event e, const char *want)
{
    struct screen plain = {.colour = false};
    struct buf out = BUF_INIT;
    show_line(&out, &plain, &e, UINT64_C(1700000000123456));
    assert_string_equal(buf_cstr(&out) + strlen("12:00:00.123  "), want);
    buf_finish(&out);
}

static void events_in_words(void **state)
{
    (void)state;
    expect_line(event("message", "hi\x1b[2J", "7-a"), "7-a  hi\\x1b[2J\n");
    expect_line(event("ti\nck", "a\nb", ""), "ti\\nck  a\\nb\n");
    expect_line(event("tickerd:open", "{\"resume\":\"continued\"}", "1"),
                "1  listening again; nothing was missed\n");
    expect_line(event("tickerd:gap",
                      "{\"channel\":\"a\\u001b\",\"reason\":\"evicted\",\"from\":null}", "1"),
                "1  gap in a\\x1b: what came between is no longer kept (evicted)\n");
    expect_line(event("tickerd:gap", "{\"channel\":null,\"reason\":\"new\\n\"}", ""),
                "gap: events are missing (new\\n)\n");
    expect_line(event("tickerd:gap", "no JSON", ""), "tickerd:gap  no JSON\n");
    expect_line(event("tickerd:open", "[]", ""), "tickerd:open  []\n");
}

static void events_as_json(void **state)
{
    (void)state;
    struct buf out = BUF_INIT;
    struct reader_event e = event("message", "\"\n\xff\x01", "i");
    show_json(&out, &e, UINT64_C(1700000000123456));
    expect(&out, "{\"time\":\"2023-11-14T22:13:20.123Z\",\"id\":\"i\",\"event\":\"message\","
                 "\"data\":\"\\\"\\n\xef\xbf\xbd\\u0001\"}\n");
    e = event("message", "\xc2\x9b", "");
    show_json(&out, &e, 0);
    assert_non_null(strstr(buf_cstr(&out), "\"data\":\"\\u009b\"}"));
    buf_finish(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers),
        cmocka_unit_test(durations),
        cmocka_unit_test(strangers_cannot_move_the_terminal),
        cmocka_unit_test(json_that_is_safe_on_a_terminal),
        cmocka_unit_test(cutting),
        cmocka_unit_test(tables_are_aligned),
        cmocka_unit_test(tables_fit_the_screen),
        cmocka_unit_test(lines_are_broken_at_blanks),
        cmocka_unit_test(events_in_words),
        cmocka_unit_test(events_as_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
