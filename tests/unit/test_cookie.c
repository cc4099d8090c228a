#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "tickerd/wire/cookie.h"

static struct http_slice slice(const char *text)
{
    return (struct http_slice){text, text == NULL ? 0 : strlen(text)};
}

struct expectation {
    const char *header;
    enum cookie_found found;
    const char *value; /* with COOKIE_ONE */
};

static void check(const struct expectation *e, const char *name)
{
    struct http_slice value = {NULL, 0};
    if (cookie_find(slice(e->header), name, &value) != e->found)
        fail_msg("%s: not %d", e->header, e->found);
    if (e->found == COOKIE_ONE &&
        (value.len != strlen(e->value) || memcmp(value.p, e->value, value.len) != 0))
        fail_msg("%s: found \"%.*s\"", e->header, (int)value.len, value.p);
}

static void finds_one(void **state)
{
    static const struct expectation cases[] = {
        {"jwt=a.b.c", COOKIE_ONE, "a.b.c"}, {"x=1; jwt=a; y=2", COOKIE_ONE, "a"},
        {"x=1;jwt=a;y=2", COOKIE_ONE, "a"}, {"  jwt\t=  a b \t; y", COOKIE_ONE, "a b"},
        {"jwt=\"a\"", COOKIE_ONE, "a"},     {"jwt=\"a", COOKIE_ONE, "\"a"},
        {"jwt=\"", COOKIE_ONE, "\""},       {"jwt=\"\"", COOKIE_ONE, ""},
        {"jwt=", COOKIE_ONE, ""},           {"jwt=a=b==", COOKIE_ONE, "a=b=="},
        {";;;jwt=a;", COOKIE_ONE, "a"},     {"jwt=a\xff", COOKIE_ONE, "a\xff"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check(&cases[i], "jwt");
}

static void takes_no_other_for_it(void **state)
{
    static const struct expectation cases[] = {
        {NULL, COOKIE_NONE, NULL},
        {"", COOKIE_NONE, NULL},
        {"jwt", COOKIE_NONE, NULL},
        {"=jwt", COOKIE_NONE, NULL},
        {"JWT=a; Jwt=b", COOKIE_NONE, NULL},
        {"xjwt=a; jwtx=b; x.jwt=c; jw=t", COOKIE_NONE, NULL},
        {"x=jwt=a", COOKIE_NONE, NULL},
        {"jw t=a", COOKIE_NONE, NULL},
        {"$jwt=a; \"jwt\"=b", COOKIE_NONE, NULL},
        {"x=1, jwt=a", COOKIE_NONE, NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check(&cases[i], "jwt");
}

/* Servers that read quoted strings across semicolons can be made to see other cookies than those
 * that do not; a semicolon ends a cookie here, always. */
static void a_semicolon_ends_a_cookie_whatever_is_quoted(void **state)
{
    static const struct expectation cases[] = {
        {"x=\"; jwt=a; y=\"", COOKIE_ONE, "a"},
        {"jwt=\"a; b\"", COOKIE_ONE, "\"a"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check(&cases[i], "jwt");
}

static void several_that_differ_are_a_conflict(void **state)
{
    static const struct expectation cases[] = {
        {"jwt=a; jwt=a", COOKIE_ONE, "a"},        {"jwt=a; x=1; jwt=\"a\"", COOKIE_ONE, "a"},
        {"jwt=a; jwt=b", COOKIE_CONFLICT, NULL},  {"jwt=a; jwt=a; x; jwt=A", COOKIE_CONFLICT, NULL},
        {"jwt=; jwt=a", COOKIE_CONFLICT, NULL},   {"jwt=a; jwt=", COOKIE_CONFLICT, NULL},
        {"jwt=a; jwt=ab", COOKIE_CONFLICT, NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check(&cases[i], "jwt");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_one),
        cmocka_unit_test(takes_no_other_for_it),
        cmocka_unit_test(a_semicolon_ends_a_cookie_whatever_is_quoted),
        cmocka_unit_test(several_that_differ_are_a_conflict),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
