#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "prng.h"
#include "tickerd/wire/base64url.h"
#include "token_rig.h"

static void decodes_what_is_one(void **state)
{
    static const struct {
        const char *text, *bytes;
    } cases[] = {
        /* RFC 4648 §10 */
        {"", ""},           {"Zg", "f"},          {"Zm8", "fo"},          {"Zm9v", "foo"},
        {"Zm9vYg", "foob"}, {"Zm9vYmE", "fooba"}, {"Zm9vYmFy", "foobar"}, {"-_-_", "\xfb\xff\xbf"}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buf out = BUF_INIT;
        buf_byte(&out, '|');
        assert_true(base64url_decode(&out, cases[i].text, strlen(cases[i].text)));
        assert_string_equal(buf_cstr(&out) + 1, cases[i].bytes);
        buf_finish(&out);
    }
}

static void refuses_other_spellings(void **state)
{
    static const char *const bad[] = {
        "Z",    "Zg==",  "Zh",     "Zm9",  "Zm8=",       "Zm9vZ", "Zm9v\n",
        "+/+/", "Zm 9v", "Zm9vYh", "Z.m9", "\xc3\xa9Zm", "====",  "Zn-"};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct buf out = BUF_INIT;
        buf_str(&out, "x");
        assert_false(base64url_decode(&out, bad[i], strlen(bad[i])));
        assert_string_equal(buf_cstr(&out), "x");
        assert_false(out.failed);
        buf_finish(&out);
    }
    struct buf out = BUF_INIT;
    assert_false(base64url_decode(&out, "AA\0A", 4));
    buf_finish(&out);
}

/* Each value has one spelling: what is decoded, encoded again, is the text. */
static void is_the_inverse(void **state)
{
    struct prng rng = {7};
    size_t taken = 0;
    (void)state;
    for (size_t round = 0; round < 20000; round++) {
        static const char alphabet[] =
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=+/. ";
        char text[12];
        size_t len = prng_below(&rng, sizeof text);
        size_t letters = prng_below(&rng, 20) == 0 ? sizeof alphabet - 1 : 64;
        for (size_t i = 0; i < len; i++)
            text[i] = alphabet[prng_below(&rng, letters)];
        struct buf bytes = BUF_INIT, again = BUF_INIT;
        if (base64url_decode(&bytes, text, len)) {
            rig_base64url(&again, bytes.data, bytes.len);
            assert_int_equal(again.len, len);
            assert_memory_equal(again.len == 0 ? "" : again.data, text, len);
            taken++;
        }
        buf_finish(&bytes);
        buf_finish(&again);
    }
    assert_true(taken > 4000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decodes_what_is_one),
        cmocka_unit_test(refuses_other_spellings),
        cmocka_unit_test(is_the_inverse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
