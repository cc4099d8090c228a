#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "tickerd/base/err.h"
#include "tickerd/wire/control.h"

static int parse(struct control *c, const char *text, const char **why)
{
    /* From a block of its own, so that a byte read beyond the end shows. */
    size_t len = strlen(text);
    char *exact = malloc(len + (len == 0));
    assert_non_null(exact);
    memcpy(exact, text, len);
    int err = control_parse(c, exact, len, why);
    free(exact);
    return err;
}

static void reads(const char *text, const char *printed)
{
    struct control c;
    const char *why;
    struct buf out = BUF_INIT;
    assert_int_equal(parse(&c, text, &why), ERR_OK);
    control_print(&out, &c);
    assert_string_equal(buf_cstr(&out), printed);
    buf_finish(&out);
    control_finish(&c);
}

static void refuses(const char *text, const char *part)
{
    struct control c;
    const char *why = NULL;
    assert_int_equal(parse(&c, text, &why), ERR_INVALID);
    assert_non_null(why);
    assert_non_null(strstr(why, part));
    assert_null(strstr(why, "secret"));
}

static void test_commands(void **state)
{
    (void)state;
    reads("{\"disconnect\":{\"sub\":\"42\"}}", "disconnect sub \"42\"");
    reads("{\"disconnect\":{\"channel\":\"news\"}}", "disconnect channel \"news\"");
    reads(" {\"disconnect\" : {\"channel\":\"a b\",\"sub\":\"x\"}}\n",
          "disconnect sub \"x\" channel \"a b\"");
    reads("{\"disconnect\":{\"sub\":\"\\u00e9\\ud83d\\ude00\"}}",
          "disconnect sub \"\xc3\xa9\xf0\x9f\x98\x80\"");
    /* what would forge a log line, or end its quotes */
    reads("{\"disconnect\":{\"sub\":\"a\\n\\\"b\\\\\"}}", "disconnect sub \"a\\n\\\"b\\\\\"");
}

static void test_what_is_no_command(void **state)
{
    (void)state;
    refuses("", "valid JSON");
    refuses("disconnect", "valid JSON");
    refuses("{\"disconnect\":{\"sub\":\"secret\"}", "valid JSON");
    refuses("{\"disconnect\":{\"sub\":\"secret\"}}x", "valid JSON");
    refuses("{\"disconnect\":{\"sub\":\"secret\",\"sub\":\"b\"}}", "twice");
    refuses("{\"disconnect\":{\"sub\":\"a\"},\"disconnect\":{\"sub\":\"secret\"}}", "twice");
    refuses("{\"disconnect\":{\"sub\":\"a\\u0000secret\"}}", "valid JSON");
    refuses("{\"disconnect\":{\"sub\":\"\xff\"}}", "valid JSON");
    refuses("[]", "alone");
    refuses("{}", "alone");
    refuses("{\"secret\":{\"sub\":\"a\"}}", "alone");
    refuses("{\"Disconnect\":{\"sub\":\"a\"}}", "alone");
    refuses("{\"disconnect\":{\"sub\":\"a\"},\"secret\":1}", "alone");
    refuses("{\"disconnect\":\"secret\"}", "and nothing else");
    refuses("{\"disconnect\":null}", "and nothing else");
    refuses("{\"disconnect\":[\"sub\"]}", "and nothing else");
    refuses("{\"disconnect\":{}}", "and nothing else");
    refuses("{\"disconnect\":{\"secret\":\"a\"}}", "and nothing else");
    refuses("{\"disconnect\":{\"sub\":\"a\",\"secret\":\"a\"}}", "and nothing else");
    refuses("{\"disconnect\":{\"sub\":42}}", "and nothing else");
    refuses("{\"disconnect\":{\"sub\":null}}", "and nothing else");
    refuses("{\"disconnect\":{\"sub\":\"a\",\"channel\":null}}", "and nothing else");
    refuses("{\"disconnect\":{\"sub\":\"\"}}", "1 to 255");
    refuses("{\"disconnect\":{\"channel\":\"\"}}", "no channel");
    refuses("{\"disconnect\":{\"channel\":\"$secret\"}}", "no channel");
    refuses("{\"disconnect\":{\"channel\":\"a\\nb\"}}", "no channel");
}

/* {"disconnect":{"sub":"aaa…"}} */
static char *long_sub(size_t n)
{
    struct buf out = BUF_INIT;
    buf_str(&out, "{\"disconnect\":{\"sub\":\"");
    for (size_t i = 0; i < n; i++)
        buf_byte(&out, 'a');
    buf_str(&out, "\"}}");
    (void)buf_cstr(&out);
    return out.data;
}

static void test_bounds(void **state)
{
    struct control c;
    const char *why;
    (void)state;
    char *text = long_sub(255);
    assert_int_equal(parse(&c, text, &why), ERR_OK);
    assert_int_equal(strlen(c.sub), 255);
    assert_null(c.channel);
    control_finish(&c);
    free(text);
    text = long_sub(256);
    refuses(text, "1 to 255");
    free(text);
    text = long_sub(CONTROL_MAX);
    refuses(text, "longer than 4096");
    free(text);
    char deep[CONTROL_MAX];
    memset(deep, '[', sizeof deep);
    assert_int_equal(control_parse(&c, deep, sizeof deep, &why), ERR_INVALID);
    char spaced[CONTROL_MAX + 1];
    memset(spaced, ' ', sizeof spaced);
    memcpy(spaced, "{\"disconnect\":{\"sub\":\"a\"}}", 26);
    assert_int_equal(control_parse(&c, spaced, CONTROL_MAX, &why), ERR_OK);
    control_finish(&c);
    assert_int_equal(control_parse(&c, spaced, CONTROL_MAX + 1, &why), ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_commands),
        cmocka_unit_test(test_what_is_no_command),
        cmocka_unit_test(test_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
