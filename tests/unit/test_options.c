#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "tickerd/base/err.h"
#include "tickerd/daemon/options.h"

#define ARGS(...) ((char *[]){(char[]){"tickerd"}, __VA_ARGS__, NULL})
#define A(text) ((char[]){text})

static int count(char **argv)
{
    int n = 0;
    while (argv[n] != NULL)
        n++;
    return n;
}

/* Parse what must be fine. */
static void parse(struct options *o, char **argv)
{
    struct buf errors = BUF_INIT;
    int rc = options_parse(o, count(argv), argv, &errors);
    assert_string_equal(buf_cstr(&errors), "");
    assert_int_equal(rc, 0);
    buf_finish(&errors);
}

static void refuse(char **argv, const char *messages)
{
    struct options o;
    struct buf errors = BUF_INIT;
    assert_int_equal(options_parse(&o, count(argv), argv, &errors), ERR_INVALID);
    assert_string_equal(buf_cstr(&errors), messages);
    options_finish(&o);
    buf_finish(&errors);
}

static void nothing_is_a_run_with_defaults(void **state)
{
    struct options o;
    (void)state;
    parse(&o, (char *[]){A("tickerd"), NULL});
    assert_int_equal(o.mode, OPTIONS_RUN);
    assert_null(o.source.file);
    assert_null(o.source.redis_url);
    assert_int_equal(o.source.set_count, 0);
    options_finish(&o);
    options_finish(&o);
    parse(&o, (char *[]){NULL});
    assert_int_equal(o.mode, OPTIONS_RUN);
    options_finish(&o);
}

static void reads_each_option(void **state)
{
    struct options o;
    char **argv = ARGS(A("--config"), A("a.json"), A("--listen"), A("h:1"), A("--redis"),
                       A("redis://h"), A("--workers"), A("3"), A("--set"), A("log.level=debug"),
                       A("--listen=[::1]:\"2"), A("--set=redis.prefix=a=b"), A("--workers=-4"));
    (void)state;
    parse(&o, argv);
    assert_int_equal(o.mode, OPTIONS_RUN);
    assert_string_equal(o.source.file, "a.json");
    assert_int_equal(o.source.set_count, 6);
    assert_string_equal(o.source.set[0], "listen=[\"h:1\",\"[::1]:\\\"2\"]");
    assert_string_equal(o.source.set[1], "redis.url=redis://h");
    assert_string_equal(o.source.set[2], "workers=3");
    assert_string_equal(o.source.set[3], "log.level=debug");
    assert_string_equal(o.source.set[4], "redis.prefix=a=b");
    assert_string_equal(o.source.set[5], "workers=-4");
    options_finish(&o);
}

static void last_config_counts_and_values_may_be_empty(void **state)
{
    struct options o;
    (void)state;
    parse(&o, ARGS(A("--config=a"), A("--config=b"), A("--redis=")));
    assert_string_equal(o.source.file, "b");
    assert_string_equal(o.source.set[0], "redis.url=");
    options_finish(&o);
}

static void knows_the_modes(void **state)
{
    static const struct {
        const char *one, *two;
        enum options_mode mode;
    } cases[] = {
        {"--check-config", "--check-config", OPTIONS_CHECK},
        {"--print-config", "--check-config", OPTIONS_PRINT},
        {"--check-config", "--print-config", OPTIONS_PRINT},
        {"--version", "--print-config", OPTIONS_VERSION},
        {"--version", "--help", OPTIONS_HELP},
        {"--help", "--check-config", OPTIONS_HELP},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct options o;
        char one[32], two[32];
        memcpy(one, cases[i].one, strlen(cases[i].one) + 1);
        memcpy(two, cases[i].two, strlen(cases[i].two) + 1);
        parse(&o, ARGS(one, two));
        assert_int_equal(o.mode, cases[i].mode);
        options_finish(&o);
    }
}

static void refuses_what_it_does_not_know(void **state)
{
    (void)state;
    refuse(ARGS(A("--foo")), "--foo: unknown option, try --help\n");
    refuse(ARGS(A("--redis-url=redis://:s3cret@h")), "--redis-url: unknown option, try --help\n");
    refuse(ARGS(A("--redisredis://:s3cret@h")), "--redisredis: unknown option, try --help\n");
    refuse(ARGS(A("-x")), "-x: unknown option, try --help\n");
    refuse(ARGS(A("--conf"), A("x")),
           "--conf: unknown option, try --help\nx: unexpected argument, try --help\n");
    refuse(ARGS(A("redis://:s3cret@h")), "redis: unexpected argument, try --help\n");
    refuse(ARGS(A("a\nb")), "a\\nb: unexpected argument, try --help\n");
    refuse(ARGS(A("--help=yes")), "--help: takes no value, try --help\n");
    refuse(ARGS(A("--config")), "--config: needs a value (FILE), try --help\n");
    refuse(ARGS(A("--set"), A("--check-config")), "--set: needs a value (KEY=VALUE), try --help\n");
    refuse(ARGS(A("--workers"), A("--foo")),
           "--workers: needs a value (N), try --help\n--foo: unknown option, try --help\n");
}

/* The settings reach the configuration, in the precedence that the help promises. */
static void feeds_the_configuration(void **state)
{
    struct options o;
    struct buf errors = BUF_INIT;
    (void)state;
    parse(&o, ARGS(A("--listen"), A("[::1]:1"), A("--listen"), A("unix:/s"), A("--workers"), A("2"),
                   A("--set"), A("workers=3")));
    o.source.redis_url = "redis://env";
    struct config *c = config_build(&o.source, &errors);
    assert_string_equal(buf_cstr(&errors), "");
    assert_int_equal(c->listen.count, 2);
    assert_string_equal(c->listen.items[0], "[::1]:1");
    assert_string_equal(c->listen.items[1], "unix:/s");
    assert_int_equal(c->workers, 3);
    assert_string_equal(c->redis.url, "redis://env");
    config_destroy(c);
    options_finish(&o);

    parse(&o, ARGS(A("--redis"), A("redis://set")));
    o.source.redis_url = "redis://env";
    c = config_build(&o.source, &errors);
    assert_string_equal(c->redis.url, "redis://set");
    config_destroy(c);
    options_finish(&o);
    buf_finish(&errors);
}

static void help_covers_everything(void **state)
{
    static const char *const parts[] = {
        "Usage: tickerd",
        "--config FILE",
        "--listen ADDR",
        "--redis URL",
        "--workers N",
        "--set KEY=VALUE",
        "--check-config",
        "--print-config",
        "--version",
        "--help",
        "TICKERD_REDIS_URL",
        "TERM, INT",
        "HUP",
        "history.events",
        "drain.timeout",
        "64KiB",
    };
    struct buf help = BUF_INIT;
    (void)state;
    options_help(&help);
    const char *text = buf_cstr(&help);
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        assert_non_null(strstr(text, parts[i]));
    for (const char *p = text; *p != '\0'; p += strcspn(p, "\n") + 1)
        assert_true(strcspn(p, "\n") <= 100);
    buf_finish(&help);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_a_run_with_defaults),
        cmocka_unit_test(reads_each_option),
        cmocka_unit_test(last_config_counts_and_values_may_be_empty),
        cmocka_unit_test(knows_the_modes),
        cmocka_unit_test(refuses_what_it_does_not_know),
        cmocka_unit_test(feeds_the_configuration),
        cmocka_unit_test(help_covers_everything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
