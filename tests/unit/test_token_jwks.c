/* JSON Web Key Sets: which members become keys. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tickerd/base/err.h"
#include "token_rig.h"

/* "A secret, thirty-two bytes long: A" and another. */
#define OCT_A "\"kty\":\"oct\",\"k\":\"QSBzZWNyZXQsIHRoaXJ0eS10d28gYnl0ZXMgbG9uZzogQQ\""
#define OCT_B "\"kty\":\"oct\",\"k\":\"QSBzZWNyZXQsIHRoaXJ0eS10d28gYnl0ZXMgbG9uZzogQg\""

/* Read a set; the result and how many keys it added. */
static int read_set(const char *text, size_t *count, struct buf *why)
{
    struct keyring *k = keyring_create();
    assert_non_null(k);
    int err = keyring_add_jwks(k, text, strlen(text), why);
    *count = keyring_count(k);
    assert_true(err == ERR_OK ? why->len == 0 : *count == 0);
    assert_null(strchr(buf_cstr(why), '\n'));
    keyring_destroy(k);
    return err;
}

static void takes(const char *text, size_t keys)
{
    struct buf why = BUF_INIT;
    size_t count;
    int err = read_set(text, &count, &why);
    if (err != ERR_OK || count != keys)
        fail_msg("%d, %zu keys, %s: %s", err, count, buf_cstr(&why), text);
    buf_finish(&why);
}

static void refuses(const char *text, const char *words)
{
    struct buf why = BUF_INIT;
    size_t count;
    int err = read_set(text, &count, &why);
    if (err != ERR_INVALID || strstr(buf_cstr(&why), words) == NULL)
        fail_msg("%d, %s, not \"%s\": %s", err, buf_cstr(&why), words, text);
    buf_finish(&why);
}

/* The same with an RSA or EC key put where the text has a %s. */
static void with_key(EVP_PKEY *key, const char *format, size_t keys, const char *words)
{
    char *jwk = rig_jwk(key), *text;
    const char *at = strstr(format, "%s");
    assert_non_null(at);
    assert_true(asprintf(&text, "%.*s%s%s", (int)(at - format), format, jwk, at + 2) > 0);
    if (words == NULL)
        takes(text, keys);
    else
        refuses(text, words);
    free(text);
    free(jwk);
}

static void takes_keys_of_all_kinds(void **state)
{
    (void)state;
    takes("{\"keys\":[{" OCT_A "}]}", 1);
    takes(" {\"x\":1, \"keys\" : [ {" OCT_A ",\"alg\":\"HS256\",\"kid\":\"a\"} , {" OCT_B "} ] } ",
          2);
    with_key(rig_rsa(), "{\"keys\":[{%s}]}", 1, NULL);
    with_key(rig_rsa(), "{\"keys\":[{%s,\"alg\":\"PS256\",\"use\":\"sig\"}]}", 1, NULL);
    with_key(rig_p256(), "{\"keys\":[{%s,\"alg\":\"ES256\",\"key_ops\":[\"verify\"]}]}", 1, NULL);
    with_key(rig_p384(), "{\"keys\":[{%s,\"x5c\":[\"AAAA\"],\"x5t\":\"x\"}]}", 1, NULL);
}

/* Without alg a key has the one that is usual for it; from PEM or a set it is the same key. */
static void a_key_is_the_same_from_pem_and_set(void **state)
{
    static const enum token_alg algs[] = {TOKEN_RS256, TOKEN_ES256, TOKEN_ES384, TOKEN_RS512,
                                          TOKEN_PS256};
    (void)state;
    for (size_t i = 0; i < sizeof algs / sizeof algs[0]; i++) {
        struct keyring *pem = rig_ring(algs[i], NULL), *set = keyring_create();
        struct buf why = BUF_INIT;
        struct token a, b;
        char *jwk = rig_jwk(rig_key(algs[i])), *text;
        char alg[24] = "";
        if (i >= 3)
            (void)snprintf(alg, sizeof alg, ",\"alg\":\"%s\"", token_alg_name(algs[i]));
        assert_true(asprintf(&text, "{\"keys\":[{%s%s,\"kid\":\"k\"}]}", jwk, alg) > 0);
        assert_int_equal(keyring_add_jwks(set, text, strlen(text), &why), ERR_OK);
        char *token = rig_plain_token(algs[i], "{}");
        assert_int_equal(rig_verify(pem, token, &a), ERR_OK);
        assert_int_equal(rig_verify(set, token, &b), ERR_OK);
        assert_memory_equal(a.key, b.key, TOKEN_ID_LEN);
        token_finish(&a);
        token_finish(&b);
        free(token);
        free(text);
        free(jwk);
        buf_finish(&why);
        keyring_destroy(pem);
        keyring_destroy(set);
    }
}

/* Zeros before a number, which some write, make no other key. */
static void zeros_make_no_other_key(void **state)
{
    struct keyring *plain = rig_ring(TOKEN_RS256, NULL), *padded = keyring_create();
    struct buf why = BUF_INIT, n = BUF_INIT, text = BUF_INIT, bytes = BUF_INIT;
    char *jwk = rig_jwk(rig_rsa()), *token = rig_plain_token(TOKEN_RS256, "{}");
    char *start = strstr(jwk, "\"n\":\"") + 5, *end = strchr(start, '"');
    struct token a, b;
    (void)state;
    buf_byte(&bytes, 0);
    EVP_PKEY *key = rig_rsa();
    unsigned char modulus[256];
    BIGNUM *bn = NULL;
    assert_int_equal(EVP_PKEY_get_bn_param(key, "n", &bn), 1);
    assert_int_equal(BN_bn2bin(bn, modulus), 256);
    BN_free(bn);
    buf_append(&bytes, modulus, sizeof modulus);
    rig_base64url(&n, bytes.data, bytes.len);
    buf_printf(&text, "{\"keys\":[{%.*s%s%s}]}", (int)(start - jwk), jwk, buf_cstr(&n), end);
    assert_int_equal(keyring_add_jwks(padded, text.data, text.len, &why), ERR_OK);
    assert_int_equal(rig_verify(plain, token, &a), ERR_OK);
    assert_int_equal(rig_verify(padded, token, &b), ERR_OK);
    assert_memory_equal(a.key, b.key, TOKEN_ID_LEN);
    token_finish(&a);
    token_finish(&b);
    free(jwk);
    free(token);
    buf_finish(&why);
    buf_finish(&n);
    buf_finish(&text);
    buf_finish(&bytes);
    keyring_destroy(plain);
    keyring_destroy(padded);
}

/* Keys for something else stand in a set without harm, as long as one is left. */
static void leaves_out_what_is_for_others(void **state)
{
    static const char *const others[] = {
        OCT_B ",\"use\":\"enc\"",
        OCT_B ",\"use\":\"\"",
        OCT_B ",\"key_ops\":[]",
        OCT_B ",\"key_ops\":[\"sign\",\"encrypt\",1]",
        OCT_B ",\"alg\":\"A128KW\"",
        OCT_B ",\"alg\":\"none\"",
        OCT_B ",\"alg\":\"hs256\"",
        "\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"",
        "\"kty\":\"EC\",\"crv\":\"P-521\",\"x\":\"AA\",\"y\":\"AA\"",
        "\"kty\":\"EC\",\"crv\":\"secp256k1\",\"x\":\"AA\",\"y\":\"AA\"",
        "\"kty\":\"EC\",\"x\":\"AA\",\"y\":\"AA\"",
        "\"kty\":\"RSA\",\"alg\":\"RSA-OAEP\"",
        "\"kty\":\"RSA\",\"alg\":\"PS512\"",
        "\"kty\":\"Oct\",\"k\":\"AA\"",
        "\"kty\":\"\"",
    };
    (void)state;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        char text[512];
        (void)snprintf(text, sizeof text, "{\"keys\":[{%s}]}", others[i]);
        refuses(text, "none of its keys can verify tokens");
        (void)snprintf(text, sizeof text, "{\"keys\":[{%s},{" OCT_A "}]}", others[i]);
        takes(text, 1);
    }
}

static void refuses_unfit_keys(void **state)
{
    static const struct {
        const char *key, *words;
    } cases[] = {
        {"\"kty\":\"oct\",\"k\":\"c2hvcnQ\"", "keys[1]: the secret has 5 bytes"},
        {OCT_B ",\"alg\":\"HS512\"", "and HS512 needs at least 64"},
        {"\"kty\":\"oct\"", "its k is missing"},
        {"\"kty\":\"oct\",\"k\":1", "its k is missing"},
        {"\"kty\":\"oct\",\"k\":\"\"", "its k is missing"},
        {"\"kty\":\"oct\",\"k\":\"QSBzZWNyZXQsIHRoaXJ0eS10d28gYnl0ZXMgbG9uZzogQQ==\"",
         "its k is missing, or not base64url"},
        {"\"kty\":\"oct\",\"k\":\"QSBzZWNyZXQs+/\"", "its k is missing, or not base64url"},
        {OCT_B ",\"alg\":\"RS256\"", "does not go with"},
        {OCT_B ",\"alg\":7", "is not a string"},
        {OCT_B ",\"kid\":7", "its kid is not a string"},
        {OCT_B ",\"use\":7", "its use is not a string"},
        {OCT_B ",\"key_ops\":\"verify\"", "its key_ops is not a list"},
        {"\"k\":\"AA\"", "its kty is not a string"},
        {"\"kty\":1", "its kty is not a string"},
        {"\"kty\":\"RSA\"", "its n is missing"},
        {"\"kty\":\"RSA\",\"n\":\"AAAA\"", "its e is missing"},
        {"\"kty\":\"RSA\",\"n\":\"AAAA\",\"e\":\"AQAB\"", "has 0 bits"},
        {"\"kty\":\"RSA\",\"n\":\"_____w\",\"e\":\"AQAB\"", "has 32 bits"},
        {"\"kty\":\"RSA\",\"n\":\"AAAA\",\"e\":\"AQAB\",\"alg\":\"HS256\"", "does not go with"},
        {"\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AA\",\"y\":\"AA\"", "not of the curve"},
        {"\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AA\"", "its y is missing"},
        {"\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","
         "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a4\"",
         "no point on its curve"},
        {"\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\","
         "\"y\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"",
         "no point on its curve"},
        {"\"kty\":\"EC\",\"crv\":\"P-256\",\"alg\":\"ES384\"", "does not go with"},
        {"\"kty\":\"EC\",\"crv\":\"P-384\",\"alg\":\"ES256\"", "does not go with"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[768];
        (void)snprintf(text, sizeof text, "{\"keys\":[{" OCT_A "},{%s}]}", cases[i].key);
        refuses(text, cases[i].words);
    }
}

/* Numbers of the right size that make no key: an even exponent, one of 1, a huge one, a modulus
 * that is a prime. */
static void refuses_numbers_that_are_no_rsa_key(void **state)
{
    static const struct {
        const char *e, *words;
    } cases[] = {
        {"AQ", "not an odd number"},
        {"Ag", "not an odd number"},
        {"AAAA", "not an odd number"},
        {"AQAA", "not an odd number"},
        {"AQAAAAAAAAAB", "not an odd number"},
        {"Aw", NULL},
        {"AQAB", NULL},
        {"AAEAAQ", NULL},
    };
    char *jwk = rig_jwk(rig_rsa());
    char *end = strstr(jwk, ",\"e\":");
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *text;
        assert_true(asprintf(&text, "{\"keys\":[{%.*s,\"e\":\"%s\"}]}", (int)(end - jwk), jwk,
                             cases[i].e) > 0);
        if (cases[i].words == NULL)
            takes(text, 1);
        else
            refuses(text, cases[i].words);
        free(text);
    }
    free(jwk);
    BIGNUM *prime = BN_new();
    unsigned char bytes[256];
    struct buf text = BUF_INIT;
    assert_int_equal(BN_generate_prime_ex(prime, 2048, 0, NULL, NULL, NULL), 1);
    assert_int_equal(BN_bn2bin(prime, bytes), 256);
    buf_str(&text, "{\"keys\":[{\"kty\":\"RSA\",\"e\":\"AQAB\",\"n\":\"");
    rig_base64url(&text, bytes, sizeof bytes);
    buf_str(&text, "\"}]}");
    refuses(buf_cstr(&text), "do not make one");
    /* more bits than OpenSSL computes with */
    buf_reset(&text);
    buf_str(&text, "{\"keys\":[{\"kty\":\"RSA\",\"e\":\"AQAB\",\"n\":\"");
    for (int i = 0; i < 2736; i++)
        buf_byte(&text, '_');
    buf_str(&text, "\"}]}");
    refuses(buf_cstr(&text), "has 16416 bits");
    buf_finish(&text);
    BN_free(prime);
}

/* A set with a private key must not lie around on brokers, whatever the key is for. */
static void refuses_private_keys(void **state)
{
    (void)state;
    with_key(rig_rsa(), "{\"keys\":[{" OCT_A "},{%s,\"d\":\"AA\"}]}", 0,
             "keys[1]: it is a private key");
    with_key(rig_p256(), "{\"keys\":[{%s,\"d\":\"AA\",\"use\":\"enc\"}]}", 0, "private key");
    refuses("{\"keys\":[{" OCT_A "},{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"d\":\"AA\"}]}",
            "private key");
}

static void refuses_what_is_no_set(void **state)
{
    static const struct {
        const char *text, *words;
    } cases[] = {
        {"", "not valid JSON, at line 1"},
        {"\n\n{\"keys\":[s3cret]}", "not valid JSON, at line 3"},
        {"-----BEGIN PUBLIC KEY-----", "not valid JSON"},
        {"[]", "it has no list"},
        {"null", "not valid JSON"},
        {"{}", "it has no list"},
        {"{\"keys\":{}}", "it has no list"},
        {"{" OCT_A "}", "it has no list"},
        {"{\"keys\":[]}", "none of its keys"},
        {"{\"keys\":[1]}", "keys[0]: it is not an object"},
        {"{\"keys\":[null]}", "keys[0]: it is not an object"},
        {"{\"keys\":[{" OCT_A "}],\"keys\":[]}", "a name stands twice"},
        {"{\"keys\":[{" OCT_A ",\"kty\":\"oct\"}]}", "a name stands twice"},
        {"{\"keys\":[{" OCT_A "}]} x", "not valid JSON"},
        {"{\"keys\":[{" OCT_A ",\"kid\":\"a\\u0000\"}]}", "not valid JSON"},
        {"{\"keys\":[{" OCT_A ",\"kid\":\"a\"},{" OCT_B ",\"kid\":\"a\"}]}",
         "keys[1]: another key for HS256 has the same kid"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        refuses(cases[i].text, cases[i].words);
}

static void sizes_are_bounded(void **state)
{
    struct buf text = BUF_INIT;
    (void)state;
    for (size_t count = TOKEN_KEYS_MAX; count <= TOKEN_KEYS_MAX + 1; count++) {
        buf_reset(&text);
        buf_str(&text, "{\"keys\":[");
        for (size_t i = 0; i < count; i++)
            buf_printf(&text, "%s{" OCT_A ",\"kid\":\"%zu\"}", i == 0 ? "" : ",", i);
        buf_str(&text, "]}");
        if (count == TOKEN_KEYS_MAX)
            takes(buf_cstr(&text), count);
        else
            refuses(buf_cstr(&text), "keys[64]: there are more than 64 keys");
    }
    buf_reset(&text);
    buf_str(&text, "{\"keys\":[{\"kty\":\"oct\",\"k\":\"");
    for (size_t i = 0; i < 900000; i++)
        buf_byte(&text, 'A');
    buf_str(&text, "\"}]}");
    refuses(buf_cstr(&text), "at most 8192");
    buf_finish(&text);
}

/* What was there before stays, and nothing of a bad set is added. */
static void a_bad_set_changes_nothing(void **state)
{
    static const char bad[] = "{\"keys\":[{" OCT_A "},{" OCT_B "},{\"kty\":\"oct\",\"k\":\"AA\"}]}";
    struct keyring *k = rig_ring(TOKEN_HS256, NULL);
    struct buf why = BUF_INIT;
    (void)state;
    assert_int_equal(keyring_add_jwks(k, bad, sizeof bad - 1, &why), ERR_INVALID);
    assert_int_equal(keyring_count(k), 1);
    char *token = rig_plain_token(TOKEN_HS256, "{}");
    assert_int_equal(rig_verify(k, token, NULL), ERR_OK);
    free(token);
    buf_finish(&why);
    keyring_destroy(k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_keys_of_all_kinds),
        cmocka_unit_test(a_key_is_the_same_from_pem_and_set),
        cmocka_unit_test(zeros_make_no_other_key),
        cmocka_unit_test(leaves_out_what_is_for_others),
        cmocka_unit_test(refuses_unfit_keys),
        cmocka_unit_test(refuses_numbers_that_are_no_rsa_key),
        cmocka_unit_test(refuses_private_keys),
        cmocka_unit_test(refuses_what_is_no_set),
        cmocka_unit_test(sizes_are_bounded),
        cmocka_unit_test(a_bad_set_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, rig_free_keys);
}
