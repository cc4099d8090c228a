/* Verifying: each algorithm, the RFC's own examples, and attacks on the signature. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/x509.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tickerd/base/err.h"
#include "token_rig.h"

#define CLAIMS "{\"sub\":\"42\",\"exp\":1700000600,\"channels\":[\"news\",\"user.42.*\"]}"

static void accepts_each_algorithm(void **state)
{
    (void)state;
    for (unsigned alg = 0; alg < TOKEN_ALG_COUNT; alg++) {
        struct keyring *k = rig_ring((enum token_alg)alg, NULL);
        char *text = rig_plain_token((enum token_alg)alg, CLAIMS);
        struct token t;
        assert_int_equal(rig_verify(k, text, &t), ERR_OK);
        assert_string_equal(t.subject, "42");
        assert_true(t.expires);
        assert_int_equal(t.exp_s, 1700000600);
        assert_int_equal(t.channels.count, 2);
        assert_string_equal(t.channels.items[0], "news");
        assert_string_equal(t.channels.items[1], "user.42.*");
        assert_true(keyring_has(k, t.key));
        t.key[0] ^= 1;
        assert_false(keyring_has(k, t.key));
        token_finish(&t);
        assert_null(t.subject);
        free(text);
        keyring_destroy(k);
    }
}

/* Each ring meets the tokens of all others: only its own algorithm opens it. */
static void accepts_no_other_algorithm(void **state)
{
    struct keyring *rings[TOKEN_ALG_COUNT];
    (void)state;
    for (unsigned alg = 0; alg < TOKEN_ALG_COUNT; alg++)
        rings[alg] = rig_ring((enum token_alg)alg, NULL);
    for (unsigned alg = 0; alg < TOKEN_ALG_COUNT; alg++) {
        char *text = rig_plain_token((enum token_alg)alg, CLAIMS);
        for (unsigned other = 0; other < TOKEN_ALG_COUNT; other++) {
            if (other == alg)
                assert_int_equal(rig_verify(rings[other], text, NULL), ERR_OK);
            else
                rig_expect_fault(rings[other], text, TOKEN_UNSUPPORTED);
        }
        free(text);
    }
    for (unsigned alg = 0; alg < TOKEN_ALG_COUNT; alg++)
        keyring_destroy(rings[alg]);
}

static struct keyring *ring_of_all(void)
{
    struct buf why = BUF_INIT;
    struct keyring *k = keyring_create();
    assert_non_null(k);
    for (unsigned i = 0; i < TOKEN_ALG_COUNT; i++) {
        enum token_alg alg = (enum token_alg)i;
        char *bytes = alg <= TOKEN_HS512 ? strdup(RIG_SECRET) : rig_pem(rig_key(alg));
        assert_int_equal(keyring_add(k, alg, NULL, bytes, strlen(bytes), &why), ERR_OK);
        free(bytes);
    }
    buf_finish(&why);
    return k;
}

/* Each signature under the name of each other algorithm, with all keys there. */
static void signatures_do_not_pass_for_others(void **state)
{
    struct keyring *k = ring_of_all();
    (void)state;
    for (unsigned alg = 0; alg < TOKEN_ALG_COUNT; alg++) {
        for (unsigned said = 0; said < TOKEN_ALG_COUNT; said++) {
            char header[32];
            (void)snprintf(header, sizeof header, "{\"alg\":\"%s\"}",
                           token_alg_name((enum token_alg)said));
            char *text = rig_token((enum token_alg)alg, header, CLAIMS);
            assert_int_equal(rig_verify(k, text, NULL),
                             said == alg ? ERR_OK : RIG_FAULT(TOKEN_BAD_SIGNATURE));
            free(text);
        }
    }
    keyring_destroy(k);
}

/* ---- the RFCs' examples ---------------------------------------------------------------------- */

#define RFC7515_CLAIMS                                                                             \
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVl" \
    "fQ"

static const struct {
    const char *jwks, *token;
} examples[] = {
    {/* RFC 7515 A.1 */
     "{\"keys\":[{\"kty\":\"oct\",\"k\":\"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-"
     "1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow\"}]}",
     "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9." RFC7515_CLAIMS
     ".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"},
    {/* RFC 7515 A.2 */
     "{\"keys\":[{\"kty\":\"RSA\",\"n\":\"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPdd"
     "xHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9w"
     "Gzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlx"
     "vb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRW"
     "yuXpoQ\",\"e\":\"AQAB\"}]}",
     "eyJhbGciOiJSUzI1NiJ9." RFC7515_CLAIMS
     ".cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5"
     "jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1"
     "L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYE"
     "UipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"},
    {/* RFC 7515 A.3 */
     "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":"
     "\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRV"
     "EU\",\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}]}",
     "eyJhbGciOiJFUzI1NiJ9." RFC7515_CLAIMS
     ".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"},
};

static struct keyring *ring_of_jwks(const char *jwks)
{
    struct buf why = BUF_INIT;
    struct keyring *k = keyring_create();
    assert_non_null(k);
    assert_int_equal(keyring_add_jwks(k, jwks, strlen(jwks), &why), ERR_OK);
    buf_finish(&why);
    return k;
}

static void verifies_the_rfc_examples(void **state)
{
    static const struct token_rules rules = {.issuer = "joe", .claim = "channels"};
    (void)state;
    for (size_t i = 0; i < sizeof examples / sizeof examples[0]; i++) {
        struct keyring *k = ring_of_jwks(examples[i].jwks);
        const char *text = examples[i].token;
        struct token t;
        enum token_fault fault = TOKEN_FAULT_COUNT;
        assert_int_equal(token_verify(k, &rules, text, strlen(text), 1300819379, &t, &fault), 0);
        assert_int_equal(t.exp_s, 1300819380);
        assert_null(t.subject);
        assert_int_equal(t.channels.count, 0);
        token_finish(&t);
        assert_int_equal(token_verify(k, &rules, text, strlen(text), 1300819380, &t, &fault),
                         ERR_INVALID);
        assert_int_equal(fault, TOKEN_EXPIRED);
        keyring_destroy(k);
    }
}

/* RFC 7520 §4.4 signs a text that is no JSON: the signature fits, and that is where it ends. */
static void knows_an_authentic_text_that_is_no_jwt(void **state)
{
    (void)state;
    struct keyring *k =
        ring_of_jwks("{\"keys\":[{\"kty\":\"oct\",\"kid\":\"018c0ae5-4d9b-471b-bfd6-eef314bc7037\","
                     "\"use\":\"sig\","
                     "\"alg\":\"HS256\",\"k\":\"hJtXIZ2uSN5kbQfbtTNWbpdmhkV8FJG-Onbc6mxCcYg\"}]}");
    static const char text[] =
        "eyJhbGciOiJIUzI1NiIsImtpZCI6IjAxOGMwYWU1LTRkOWItNDcxYi1iZmQ2LWVlZjMxNGJjNzAzNyJ9."
        "SXTigJlzIGEgZGFuZ2Vyb3VzIGJ1c2luZXNzLCBGcm9kbywgZ29pbmcgb3V0IHlvdXIgZG9vci4gWW91IHN0ZXAgb2"
        "50"
        "byB0aGUgcm9hZCwgYW5kIGlmIHlvdSBkb24ndCBrZWVwIHlvdXIgZmVldCwgdGhlcmXigJlzIG5vIGtub3dpbmcgd2"
        "hl"
        "cmUgeW91IG1pZ2h0IGJlIHN3ZXB0IG9mZiB0by4.s0h6KThzkfBBBkLspW1h84VsJZFTsPPqMDA7g1Md7p0";
    rig_expect_fault(k, text, TOKEN_MALFORMED);
    char *damaged = strdup(text);
    damaged[strlen(damaged) - 5] ^= 1;
    rig_expect_refusal(k, damaged, TOKEN_BAD_SIGNATURE);
    keyring_destroy(k);
}

/* ---- confusion ------------------------------------------------------------------------------- */

/* HS256 with what is known of a public key as the secret: its PEM with and without the last line
 * end, its DER, its modulus. The ring has the public key, and a secret that is none of these. */
static void public_keys_are_no_secrets(void **state)
{
    struct buf why = BUF_INIT;
    struct keyring *k = rig_ring(TOKEN_RS256, NULL);
    char *pem = rig_pem(rig_rsa());
    unsigned char *der = NULL, modulus[256];
    int der_len = i2d_PUBKEY(rig_rsa(), &der);
    BIGNUM *n = NULL;
    (void)state;
    assert_true(der_len > 0);
    assert_int_equal(EVP_PKEY_get_bn_param(rig_rsa(), OSSL_PKEY_PARAM_RSA_N, &n), 1);
    assert_int_equal(BN_bn2bin(n, modulus), 256);
    const struct {
        const void *secret;
        size_t len;
    } guesses[] = {{pem, strlen(pem)},
                   {pem, strlen(pem) - 1},
                   {der, (size_t)der_len},
                   {modulus, sizeof modulus},
                   {"", 0}};
    for (int with_secret = 0; with_secret < 2; with_secret++) {
        for (size_t i = 0; i < sizeof guesses / sizeof guesses[0]; i++) {
            char *text = rig_token_by(TOKEN_HS256, NULL, guesses[i].secret, guesses[i].len,
                                      "{\"alg\":\"HS256\"}", CLAIMS);
            rig_expect_refusal(k, text, with_secret ? TOKEN_BAD_SIGNATURE : TOKEN_UNSUPPORTED);
        }
        assert_int_equal(keyring_add(k, TOKEN_HS256, NULL, RIG_SECRET, 64, &why), ERR_OK);
    }
    assert_int_equal(keyring_add(k, TOKEN_HS256, NULL, pem, strlen(pem), &why), ERR_INVALID);
    assert_non_null(strstr(buf_cstr(&why), "this is a PEM file"));
    BN_free(n);
    OPENSSL_free(der);
    free(pem);
    keyring_destroy(k);
    buf_finish(&why);
}

static void others_cannot_sign(void **state)
{
    struct keyring *hs = rig_ring(TOKEN_HS256, NULL), *rs = rig_ring(TOKEN_RS256, NULL),
                   *ps = rig_ring(TOKEN_PS256, NULL), *es = rig_ring(TOKEN_ES256, NULL);
    EVP_PKEY *p256 = EVP_EC_gen("P-256");
    (void)state;
    rig_expect_refusal(
        hs, rig_token_by(TOKEN_HS256, NULL, RIG_OTHER_SECRET, 64, "{\"alg\":\"HS256\"}", CLAIMS),
        TOKEN_BAD_SIGNATURE);
    rig_expect_refusal(hs, rig_token_by(TOKEN_HS256, NULL, "", 0, "{\"alg\":\"HS256\"}", CLAIMS),
                       TOKEN_BAD_SIGNATURE);
    rig_expect_refusal(
        rs, rig_token_by(TOKEN_RS256, rig_other_rsa(), NULL, 0, "{\"alg\":\"RS256\"}", CLAIMS),
        TOKEN_BAD_SIGNATURE);
    rig_expect_refusal(
        ps, rig_token_by(TOKEN_PS256, rig_other_rsa(), NULL, 0, "{\"alg\":\"PS256\"}", CLAIMS),
        TOKEN_BAD_SIGNATURE);
    rig_expect_refusal(es, rig_token_by(TOKEN_ES256, p256, NULL, 0, "{\"alg\":\"ES256\"}", CLAIMS),
                       TOKEN_BAD_SIGNATURE);
    EVP_PKEY_free(p256);
    keyring_destroy(hs);
    keyring_destroy(rs);
    keyring_destroy(ps);
    keyring_destroy(es);
}

/* A token with another signature put behind it. */
static char *with_signature(const char *token, const void *signature, size_t len)
{
    struct buf text = BUF_INIT;
    buf_append(&text, token, (size_t)(strrchr(token, '.') + 1 - token));
    rig_base64url(&text, signature, len);
    char *made = strdup(buf_cstr(&text));
    buf_finish(&text);
    return made;
}

/* r and s of zero, one, the group's order and what is as long as they: no key makes such. */
static void psychic_signatures_are_refused(void **state)
{
    static const unsigned char order[] = {0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00,
                                          0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                          0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84,
                                          0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51};
    struct keyring *es256 = rig_ring(TOKEN_ES256, NULL), *es384 = rig_ring(TOKEN_ES384, NULL);
    char *t256 = rig_plain_token(TOKEN_ES256, CLAIMS), *t384 = rig_plain_token(TOKEN_ES384, CLAIMS);
    unsigned char sig[128] = {0};
    (void)state;
    for (size_t len = 1; len <= sizeof sig; len++) {
        rig_expect_refusal(es256, with_signature(t256, sig, len), TOKEN_BAD_SIGNATURE);
        rig_expect_refusal(es384, with_signature(t384, sig, len), TOKEN_BAD_SIGNATURE);
    }
    sig[31] = sig[63] = 1;
    rig_expect_refusal(es256, with_signature(t256, sig, 64), TOKEN_BAD_SIGNATURE);
    memcpy(sig, order, 32);
    memcpy(sig + 32, order, 32);
    rig_expect_refusal(es256, with_signature(t256, sig, 64), TOKEN_BAD_SIGNATURE);
    memset(sig, 0, 32);
    rig_expect_refusal(es256, with_signature(t256, sig, 64), TOKEN_BAD_SIGNATURE);
    memset(sig, 0xff, sizeof sig);
    rig_expect_refusal(es256, with_signature(t256, sig, 64), TOKEN_BAD_SIGNATURE);
    rig_expect_refusal(es384, with_signature(t384, sig, 96), TOKEN_BAD_SIGNATURE);
    free(t256);
    free(t384);
    keyring_destroy(es256);
    keyring_destroy(es384);
}

/* The right numbers in another length: each filled up with a zero, or in DER. */
static void signatures_have_one_length(void **state)
{
    static const enum token_alg algs[] = {TOKEN_HS256, TOKEN_RS256, TOKEN_PS256, TOKEN_ES256};
    (void)state;
    for (size_t i = 0; i < sizeof algs / sizeof algs[0]; i++) {
        struct keyring *k = rig_ring(algs[i], NULL);
        char *text = rig_plain_token(algs[i], CLAIMS);
        struct buf input = BUF_INIT, sig = BUF_INIT, longer = BUF_INIT;
        buf_append(&input, text, (size_t)(strrchr(text, '.') - text));
        rig_signature(&sig, algs[i], rig_key(algs[i]), RIG_SECRET, 64, input.data, input.len);
        char *again = with_signature(text, sig.data, sig.len);
        assert_int_equal(rig_verify(k, again, NULL), ERR_OK);
        free(again);
        rig_expect_refusal(k, with_signature(text, sig.data, sig.len - 1), TOKEN_BAD_SIGNATURE);
        buf_append(&longer, sig.data, sig.len);
        buf_byte(&longer, 0);
        rig_expect_refusal(k, with_signature(text, longer.data, longer.len), TOKEN_BAD_SIGNATURE);
        buf_reset(&longer);
        buf_byte(&longer, 0);
        buf_append(&longer, sig.data, sig.len / 2);
        buf_byte(&longer, 0);
        buf_append(&longer, sig.data + sig.len / 2, sig.len / 2);
        rig_expect_refusal(k, with_signature(text, longer.data, longer.len), TOKEN_BAD_SIGNATURE);
        buf_finish(&input);
        buf_finish(&sig);
        buf_finish(&longer);
        free(text);
        keyring_destroy(k);
    }
}

/* ---- threads --------------------------------------------------------------------------------- */

enum { THREADS = 4, ROUNDS = 60 };

struct shared {
    struct keyring *ring;
    char *good[TOKEN_ALG_COUNT], *bad[TOKEN_ALG_COUNT];
};

static void *verify_often(void *arg)
{
    static const struct token_rules rules = {.claim = "channels"};
    const struct shared *s = arg;
    intptr_t wrong = 0;
    for (size_t i = 0; i < (size_t)ROUNDS * TOKEN_ALG_COUNT; i++) {
        struct token t;
        enum token_fault fault;
        const char *good = s->good[i % TOKEN_ALG_COUNT], *bad = s->bad[i % TOKEN_ALG_COUNT];
        if (token_verify(s->ring, &rules, good, strlen(good), RIG_NOW, &t, &fault) == ERR_OK)
            token_finish(&t);
        else
            wrong++;
        wrong += token_verify(s->ring, &rules, bad, strlen(bad), RIG_NOW, &t, &fault) == ERR_OK;
    }
    return (void *)wrong; // NOLINT(performance-no-int-to-ptr)
}

static void threads_share_a_ring(void **state)
{
    struct shared s = {.ring = ring_of_all()};
    pthread_t threads[THREADS];
    (void)state;
    for (unsigned alg = 0; alg < TOKEN_ALG_COUNT; alg++) {
        s.good[alg] = rig_plain_token((enum token_alg)alg, CLAIMS);
        s.bad[alg] = strdup(s.good[alg]);
        s.bad[alg][strlen(s.bad[alg]) - 9] ^= 1;
    }
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, verify_often, &s), 0);
    for (size_t i = 0; i < THREADS; i++) {
        void *wrong;
        assert_int_equal(pthread_join(threads[i], &wrong), 0);
        assert_null(wrong);
    }
    for (unsigned alg = 0; alg < TOKEN_ALG_COUNT; alg++) {
        free(s.good[alg]);
        free(s.bad[alg]);
    }
    keyring_destroy(s.ring);
}

static void names_and_texts(void **state)
{
    static const char *const none[] = {"", "none", "hs256", "HS256 ", "ES512", "PS384", "EdDSA"};
    (void)state;
    for (unsigned alg = 0; alg < TOKEN_ALG_COUNT; alg++)
        assert_int_equal(token_alg_named(token_alg_name((enum token_alg)alg)), alg);
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++)
        assert_int_equal(token_alg_named(none[i]), TOKEN_ALG_COUNT);
    /* RFC 6750 §3: what error_description may hold. */
    for (unsigned f = 0; f < TOKEN_FAULT_COUNT; f++) {
        const char *text = token_fault_text((enum token_fault)f);
        assert_true(strlen(text) > 10);
        for (const char *p = text; *p != '\0'; p++)
            assert_true(*p >= 0x20 && *p <= 0x7e && *p != '"' && *p != '\\');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts_each_algorithm),
        cmocka_unit_test(accepts_no_other_algorithm),
        cmocka_unit_test(signatures_do_not_pass_for_others),
        cmocka_unit_test(verifies_the_rfc_examples),
        cmocka_unit_test(knows_an_authentic_text_that_is_no_jwt),
        cmocka_unit_test(public_keys_are_no_secrets),
        cmocka_unit_test(others_cannot_sign),
        cmocka_unit_test(psychic_signatures_are_refused),
        cmocka_unit_test(signatures_have_one_length),
        cmocka_unit_test(threads_share_a_ring),
        cmocka_unit_test(names_and_texts),
    };
    return cmocka_run_group_tests(tests, NULL, rig_free_keys);
}
