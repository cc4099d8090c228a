/* The header of a token: which algorithms, extensions and keys it may name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <openssl/ec.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tickerd/base/err.h"
#include "token_rig.h"

#define CLAIMS "{\"channels\":[\"a\"]}"

/* A token of this header, rightly signed with HS256; free it. */
static int verify_header(const struct keyring *k, const char *header)
{
    char *text = rig_token(TOKEN_HS256, header, CLAIMS);
    int err = rig_verify(k, text, NULL);
    free(text);
    return err;
}

static void expect_all(const char *const *headers, size_t count, int result)
{
    struct keyring *k = rig_ring(TOKEN_HS256, NULL);
    for (size_t i = 0; i < count; i++) {
        int err = verify_header(k, headers[i]);
        if (err != result)
            fail_msg("%s: %d, not %d", headers[i], err, result);
    }
    keyring_destroy(k);
}

#define EXPECT_ALL(headers, result)                                                                \
    expect_all(headers, sizeof(headers) / sizeof((headers)[0]), result)

static void takes_what_is_usual(void **state)
{
    static const char *const good[] = {
        "{\"alg\":\"HS256\"}",
        "{\"typ\":\"JWT\",\"alg\":\"HS256\"}",
        "{\"alg\":\"HS256\",\"typ\":\"jwt\"}",
        "{\"alg\":\"HS256\",\"typ\":\"at+jwt\"}",
        "{\"alg\":\"HS256\",\"typ\":\"application/at+JWT\"}",
        "{\"alg\":\"HS256\",\"kid\":\"any\"}",
        " {\r\n\t\"alg\" : \"\\u0048S256\" } ",
        /* not understood and not looked at (RFC 7515 §4) */
        "{\"alg\":\"HS256\",\"x\":{\"y\":[1]},\"x5t\":\"a\",\"cty\":\"json\"}",
    };
    (void)state;
    EXPECT_ALL(good, ERR_OK);
}

static void refuses_other_algorithms(void **state)
{
    static const char *const bad[] = {
        "{\"alg\":\"none\"}",   "{\"alg\":\"None\"}",   "{\"alg\":\"NONE\"}",
        "{\"alg\":\"nOnE\"}",   "{\"alg\":\"\"}",       "{\"alg\":\"hs256\"}",
        "{\"alg\":\"Hs256\"}",  "{\"alg\":\"HS256 \"}", "{\"alg\":\" HS256\"}",
        "{\"alg\":\"HS2560\"}", "{\"alg\":\"HS25\"}",   "{\"alg\":\"HS1\"}",
        "{\"alg\":\"HS384\"}",  "{\"alg\":\"RS256\"}",  "{\"alg\":\"ES256\"}",
        "{\"alg\":\"EdDSA\"}",  "{\"alg\":\"dir\"}",    "{\"alg\":\"A128KW\"}",
    };
    (void)state;
    EXPECT_ALL(bad, RIG_FAULT(TOKEN_UNSUPPORTED));
}

/* Unsigned in all the ways that have opened doors elsewhere. */
static void unsigned_tokens_are_refused(void **state)
{
    static const char *const nones[] = {"none", "None", "NONE", "nOnE", ""};
    struct keyring *k = rig_ring(TOKEN_HS256, NULL), *empty = keyring_create();
    (void)state;
    for (size_t i = 0; i < sizeof nones / sizeof nones[0]; i++) {
        struct buf header = BUF_INIT, text = BUF_INIT;
        buf_printf(&header, "{\"alg\":\"%s\"}", nones[i]);
        rig_base64url(&text, header.data, header.len);
        buf_byte(&text, '.');
        rig_base64url(&text, CLAIMS, strlen(CLAIMS));
        assert_int_equal(rig_verify(k, buf_cstr(&text), NULL), RIG_FAULT(TOKEN_MALFORMED));
        buf_byte(&text, '.');
        assert_int_equal(rig_verify(k, buf_cstr(&text), NULL), RIG_FAULT(TOKEN_MALFORMED));
        buf_str(&text, "AAAA");
        assert_int_equal(rig_verify(k, buf_cstr(&text), NULL), RIG_FAULT(TOKEN_UNSUPPORTED));
        assert_int_equal(rig_verify(empty, buf_cstr(&text), NULL), RIG_FAULT(TOKEN_UNSUPPORTED));
        buf_finish(&header);
        buf_finish(&text);
    }
    /* A ring without keys accepts nothing. */
    assert_int_equal(verify_header(empty, "{\"alg\":\"HS256\"}"), RIG_FAULT(TOKEN_UNSUPPORTED));
    keyring_destroy(k);
    keyring_destroy(empty);
}

static void refuses_extensions(void **state)
{
    static const char *const bad[] = {
        "{\"alg\":\"HS256\",\"crit\":[]}",
        "{\"alg\":\"HS256\",\"crit\":[\"exp\"]}",
        "{\"alg\":\"HS256\",\"crit\":[\"b64\"],\"b64\":true}",
        "{\"alg\":\"HS256\",\"crit\":null}",
        "{\"alg\":\"HS256\",\"crit\":\"exp\"}",
        "{\"alg\":\"HS256\",\"cr\\u0069t\":[\"exp\"]}",
        "{\"alg\":\"HS256\",\"b64\":false}",
        "{\"alg\":\"HS256\",\"b64\":true}",
        "{\"alg\":\"HS256\",\"zip\":\"DEF\"}",
        "{\"alg\":\"HS256\",\"typ\":\"logout+jwt\"}",
        "{\"alg\":\"HS256\",\"typ\":\"dpop+jwt\"}",
        "{\"alg\":\"HS256\",\"typ\":\"JOSE\"}",
        "{\"alg\":\"HS256\",\"typ\":\"\"}",
        "{\"alg\":\"HS256\",\"typ\":\"application/\"}",
    };
    (void)state;
    EXPECT_ALL(bad, RIG_FAULT(TOKEN_UNSUPPORTED));
}

static void refuses_what_is_no_header(void **state)
{
    static const char *const bad[] = {
        "{}",
        "[]",
        "null",
        "1",
        "\"HS256\"",
        "[{\"alg\":\"HS256\"}]",
        "{\"alg\":null}",
        "{\"alg\":256}",
        "{\"alg\":[\"HS256\"]}",
        "{\"Alg\":\"HS256\"}",
        "{\"alg\":\"HS256\",\"alg\":\"HS256\"}",
        "{\"alg\":\"none\",\"alg\":\"HS256\"}",
        "{\"alg\":\"HS256\",\"\\u0061lg\":\"none\"}",
        "{\"alg\":\"HS256\",\"kid\":\"a\",\"kid\":\"a\"}",
        "{\"alg\":\"HS256\",\"x\":{\"y\":1,\"y\":1}}",
        "{\"alg\":\"HS256\",\"kid\":1}",
        "{\"alg\":\"HS256\",\"kid\":null}",
        "{\"alg\":\"HS256\",\"kid\":[\"a\"]}",
        "{\"alg\":\"HS256\",\"kid\":\"a\\u0000b\"}",
        "{\"alg\":\"HS256\\u0000\"}",
        "{\"alg\":\"HS256\",\"typ\":1}",
        "{\"alg\":\"HS256\"}{}",
        "{\"alg\":\"HS256\"} x",
        "{\"alg\":\"HS256\",}",
        "{\"alg\":\"HS256\"",
        "{'alg':'HS256'}",
        "{\"alg\":\"HS256\",\"x\":\"\xff\"}",
        "\xef\xbb\xbf{\"alg\":\"HS256\"}",
        "{\"alg\":\"HS256\",\"x\":1e400}",
    };
    (void)state;
    EXPECT_ALL(bad, RIG_FAULT(TOKEN_MALFORMED));
}

/* A key that a stranger sends along proves nothing: it is never used, so his signature fails, and a
 * token signed with ours passes. */
static void keys_inside_tokens_are_not_used(void **state)
{
    struct keyring *k = rig_ring(TOKEN_ES256, NULL);
    static const char header[] =
        "{\"alg\":\"ES256\",\"jwk\":{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":"
        "\"f83OJ3D2xF1Bg8vub9tLe1g"
        "HMzV76e8Tus9uPHvRVEU\",\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"},\"jku\":"
        "\"https://evil.example/jwks\",\"x5u\":\"https://evil.example/x\",\"x5c\":[\"AAAA\"]}";
    EVP_PKEY *stranger = EVP_EC_gen("P-256");
    (void)state;
    char *forged = rig_token_by(TOKEN_ES256, stranger, NULL, 0, header, CLAIMS);
    char *ours = rig_token(TOKEN_ES256, header, CLAIMS);
    assert_int_equal(rig_verify(k, forged, NULL), RIG_FAULT(TOKEN_BAD_SIGNATURE));
    assert_int_equal(rig_verify(k, ours, NULL), ERR_OK);
    free(forged);
    free(ours);
    EVP_PKEY_free(stranger);
    keyring_destroy(k);
}

static void add_secret(struct keyring *k, const char *kid, const char *secret)
{
    struct buf why = BUF_INIT;
    assert_int_equal(keyring_add(k, TOKEN_HS256, kid, secret, strlen(secret), &why), ERR_OK);
    buf_finish(&why);
}

static int verify_kid(const struct keyring *k, const char *kid, const char *secret,
                      struct token *out)
{
    struct buf header = BUF_INIT;
    buf_str(&header, "{\"alg\":\"HS256\"");
    if (kid != NULL)
        buf_printf(&header, ",\"kid\":\"%s\"", kid);
    buf_byte(&header, '}');
    char *text = rig_token_by(TOKEN_HS256, NULL, secret, strlen(secret), buf_cstr(&header), CLAIMS);
    int err = rig_verify(k, text, out);
    free(text);
    buf_finish(&header);
    return err;
}

#define SECRET_A "A secret, thirty-two bytes long: A"
#define SECRET_B "A secret, thirty-two bytes long: B"
#define SECRET_C "A secret, thirty-two bytes long: C"

static void kids_choose_the_key(void **state)
{
    struct keyring *k = keyring_create();
    struct token by_kid, by_trial;
    (void)state;
    add_secret(k, "a", SECRET_A);
    add_secret(k, "b", SECRET_B);
    assert_int_equal(verify_kid(k, "b", SECRET_B, &by_kid), ERR_OK);
    assert_int_equal(verify_kid(k, NULL, SECRET_B, &by_trial), ERR_OK);
    assert_memory_equal(by_kid.key, by_trial.key, TOKEN_ID_LEN);
    token_finish(&by_kid);
    token_finish(&by_trial);
    assert_int_equal(verify_kid(k, "a", SECRET_A, NULL), ERR_OK);
    assert_int_equal(verify_kid(k, NULL, SECRET_A, NULL), ERR_OK);
    /* another key's kid */
    assert_int_equal(verify_kid(k, "a", SECRET_B, NULL), RIG_FAULT(TOKEN_BAD_SIGNATURE));
    assert_int_equal(verify_kid(k, "b", SECRET_A, NULL), RIG_FAULT(TOKEN_BAD_SIGNATURE));
    static const char *const unknown[] = {"", "A", "a ", "aa", "ab", "../../dev/null", "' OR 1=1"};
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++)
        assert_int_equal(verify_kid(k, unknown[i], SECRET_A, NULL), RIG_FAULT(TOKEN_UNKNOWN_KEY));
    /* A key without a name is tried with any. */
    add_secret(k, NULL, SECRET_C);
    assert_int_equal(verify_kid(k, "a", SECRET_C, NULL), ERR_OK);
    assert_int_equal(verify_kid(k, "z", SECRET_C, NULL), ERR_OK);
    assert_int_equal(verify_kid(k, NULL, SECRET_C, NULL), ERR_OK);
    assert_int_equal(verify_kid(k, "z", SECRET_A, NULL), RIG_FAULT(TOKEN_BAD_SIGNATURE));
    keyring_destroy(k);
}

/* A token without a kid costs at most TOKEN_TRIES_MAX signatures. */
static void trials_are_bounded(void **state)
{
    struct keyring *k = keyring_create();
    char secret[64], kid[16];
    (void)state;
    for (int i = 0; i <= TOKEN_TRIES_MAX; i++) {
        (void)snprintf(secret, sizeof secret, "A secret of thirty-three bytes, %02d", i);
        (void)snprintf(kid, sizeof kid, "k%d", i);
        add_secret(k, kid, secret);
        assert_int_equal(verify_kid(k, kid, secret, NULL), ERR_OK);
        assert_int_equal(verify_kid(k, NULL, secret, NULL),
                         i < TOKEN_TRIES_MAX ? ERR_OK : RIG_FAULT(TOKEN_UNKNOWN_KEY));
    }
    keyring_destroy(k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_what_is_usual),
        cmocka_unit_test(refuses_other_algorithms),
        cmocka_unit_test(unsigned_tokens_are_refused),
        cmocka_unit_test(refuses_extensions),
        cmocka_unit_test(refuses_what_is_no_header),
        cmocka_unit_test(keys_inside_tokens_are_not_used),
        cmocka_unit_test(kids_choose_the_key),
        cmocka_unit_test(trials_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, rig_free_keys);
}
