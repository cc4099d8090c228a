#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "tickerd/wire/bearer.h"

static enum bearer_found read_header(const char *text, struct http_slice *token)
{
    *token = (struct http_slice){NULL, 0};
    return bearer_token((struct http_slice){text, text == NULL ? 0 : strlen(text)}, token);
}

static void reads_tokens(void **state)
{
    static const char *const cases[][2] = {
        {"Bearer a.b.c", "a.b.c"},
        {"bearer a", "a"},
        {"BEARER a", "a"},
        {"bEaReR    a", "a"},
        {"Bearer AZaz09-._~+/==", "AZaz09-._~+/=="},
        {"Bearer bearer", "bearer"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct http_slice token;
        assert_int_equal(read_header(cases[i][0], &token), BEARER_TOKEN);
        assert_int_equal(token.len, strlen(cases[i][1]));
        assert_memory_equal(token.p, cases[i][1], token.len);
    }
}

static void leaves_other_schemes_alone(void **state)
{
    static const char *const cases[] = {
        NULL,        "",           "Basic dTpw", "Bearerx a",    "Bearer.a",
        "Beare a",   "a.b.c",      " Bearer a",  "\"Bearer\" a", "Digest Bearer a",
        "Negotiate", "Bearer-a b", "Be",
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct http_slice token;
        if (read_header(cases[i], &token) != BEARER_NONE)
            fail_msg("%s", cases[i]);
    }
}

static void refuses_what_is_no_token(void **state)
{
    static const char *const cases[] = {
        "Bearer",      "Bearer ",    "Bearer\ta",        "Bearer \ta",         "Bearer a b",
        "Bearer a,b",  "Bearer =",   "Bearer a=b",       "Bearer \"a\"",       "Bearer a ",
        "Bearer,a",    "Bearer a;b", "Bearer a\xc3\xa9", "Bearer a, Bearer b", "Bearer token=a",
        "Bearer a%00", "Bearer=a",
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct http_slice token;
        if (read_header(cases[i], &token) != BEARER_MALFORMED)
            fail_msg("%s", cases[i]);
    }
    struct http_slice token;
    assert_int_equal(bearer_token((struct http_slice){"Bearer a\0b", 10}, &token),
                     BEARER_MALFORMED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_tokens),
        cmocka_unit_test(leaves_other_schemes_alone),
        cmocka_unit_test(refuses_what_is_no_token),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
