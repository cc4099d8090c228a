#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "tickerd/base/err.h"
#include "tickerd/ctl/options.h"
#include "tickerd/ctl/text.h"

enum { WORDS_MAX = 16 };

/* Parse a line of words. */
static int parse(struct ctl_options *o, const char *line, const char *env, struct buf *errors)
{
    static char copy[400];
    char *argv[WORDS_MAX] = {copy};
    int argc = 1;
    (void)strncpy(copy, line, sizeof copy - 1);
    for (char *p = strtok(copy, " "); p != NULL && argc < WORDS_MAX; p = strtok(NULL, " "))
        argv[argc++] = p;
    return ctl_options_parse(o, argc, argv, env, errors);
}

static void refused(const char *line, const char *why)
{
    struct ctl_options o;
    struct buf errors = BUF_INIT;
    assert_int_equal(parse(&o, line, NULL, &errors), ERR_INVALID);
    if (strstr(buf_cstr(&errors), why) == NULL)
        fail_msg("%s: %s", line, buf_cstr(&errors));
    ctl_options_finish(&o);
    buf_finish(&errors);
}

static void what_is_wrong_is_named(void **state)
{
    (void)state;
    refused("", "which command?");
    refused("foo", "foo: unknown command");
    refused("status --bar", "--bar: unknown option");
    refused("status x", "x: unexpected argument");
    refused("status --limit 3", "--limit: is no option of status");
    refused("status --watch=1", "--watch: takes no value");
    refused("channels --limit", "--limit: needs a value (N)");
    refused("channels --limit 1001", "--limit: 1001: a number from 1 to 1000 is needed");
    refused("channels --limit 0", "--limit: 0");
    refused("channels --limit 99999999999999999999999", "--limit: 9999");
    refused("channels --sort size", "one of rate messages subscribers name is needed");
    refused("tail", "name a channel, or give --url");
    refused("tail a --url http://b/", "name a channel, or give --url, not both");
    refused("publish", "publish: something is missing");
    refused("publish a b c", "c: unexpected argument");
    refused("disconnect", "whom?");
    refused("doctor", "doctor: something is missing");
    refused("doctor u --time 5", "--time: 5: a duration such as");
    refused("doctor u --time 0", "--time: 0: a duration such as");
    refused("--admin localhost status", "--admin: localhost:");
    refused("--color sometimes status", "one of auto always never is needed");
    refused("help foo", "foo: unknown command");
    refused("b\x1b[2Jad", "b\\x1b[2Jad: unknown command");
}

static void what_is_right_is_taken(void **state)
{
    (void)state;
    struct ctl_options o;
    struct buf errors = BUF_INIT;
    assert_int_equal(parse(&o,
                           "--admin=unix:/run/a doctor http://x/ --time 1m --header a:b "
                           "--header c:d --json",
                           "[::1]:9", &errors),
                     0);
    assert_int_equal(o.command, CTL_DOCTOR);
    assert_string_equal(o.value[OPT_ADMIN], "unix:/run/a");
    assert_string_equal(o.args[0], "http://x/");
    assert_int_equal(o.number[OPT_TIME], 60000);
    assert_int_equal(o.header_count, 2);
    assert_string_equal(o.headers[1], "c:d");
    assert_non_null(o.value[OPT_JSON]);
    ctl_options_finish(&o);
    assert_int_equal(parse(&o, "publish -- --name --data", "[::1]:9", &errors), 0);
    assert_string_equal(o.value[OPT_ADMIN], "[::1]:9");
    assert_string_equal(o.args[0], "--name");
    assert_string_equal(o.args[1], "--data");
    ctl_options_finish(&o);
    assert_int_equal(parse(&o, "tail --help", "", &errors), 0);
    assert_string_equal(o.value[OPT_ADMIN], CTL_ADMIN_DEFAULT);
    assert_int_equal(ctl_options_about(&o), CTL_TAIL);
    ctl_options_finish(&o);
    assert_int_equal(parse(&o, "doctor -h", "", &errors), 0);
    assert_non_null(o.value[OPT_HELP]);
    assert_int_equal(ctl_options_about(&o), CTL_DOCTOR);
    ctl_options_finish(&o);
    assert_int_equal(parse(&o, "tail -- -h", "", &errors), 0);
    assert_string_equal(o.args[0], "-h");
    ctl_options_finish(&o);
    assert_int_equal(parse(&o, "help doctor", NULL, &errors), 0);
    assert_int_equal(ctl_options_about(&o), CTL_DOCTOR);
    ctl_options_finish(&o);
    assert_int_equal(errors.len, 0);
    buf_finish(&errors);
}

static void each_command_helps(void **state)
{
    (void)state;
    for (int command = 0; command < CTL_COMMANDS; command++) {
        struct buf out = BUF_INIT;
        ctl_options_help(&out, (enum ctl_command)command);
        assert_non_null(strstr(buf_cstr(&out), "Usage: tickerctl"));
        assert_non_null(strstr(buf_cstr(&out), "--admin ADDR"));
        assert_true((strstr(buf_cstr(&out), "--origin") != NULL) == (command == CTL_DOCTOR));
        for (const char *p = buf_cstr(&out), *end; (end = strchr(p, '\n')) != NULL; p = end + 1)
            assert_true(text_columns(p, (size_t)(end - p)) <= 80);
        buf_finish(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_wrong_is_named),
        cmocka_unit_test(what_is_right_is_taken),
        cmocka_unit_test(each_command_helps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
