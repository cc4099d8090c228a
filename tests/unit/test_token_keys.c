/* The keyring: which secrets and PEM texts are keys, for which algorithms. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tickerd/base/err.h"
#include "token_rig.h"

/* Add where it must work. */
static void add(struct keyring *k, enum token_alg alg, const char *kid, const char *bytes)
{
    struct buf why = BUF_INIT;
    assert_int_equal(keyring_add(k, alg, kid, bytes, strlen(bytes), &why), ERR_OK);
    assert_int_equal(why.len, 0);
    buf_finish(&why);
}

/* Add where it must not; the reason has these words, and the ring is as before. */
static void refuse(struct keyring *k, enum token_alg alg, const char *kid, const void *bytes,
                   size_t len, const char *words)
{
    struct buf why = BUF_INIT;
    size_t before = keyring_count(k);
    assert_int_equal(keyring_add(k, alg, kid, bytes, len, &why), ERR_INVALID);
    if (strstr(buf_cstr(&why), words) == NULL)
        fail_msg("\"%s\" is not in: %s", words, buf_cstr(&why));
    assert_null(strchr(buf_cstr(&why), '\n'));
    assert_int_equal(keyring_count(k), before);
    buf_finish(&why);
}

/* The same for a key that is given away. */
static void refuse_text(enum token_alg alg, char *text, const char *words)
{
    struct keyring *k = keyring_create();
    refuse(k, alg, NULL, text, strlen(text), words);
    keyring_destroy(k);
    free(text);
}

static char *generated(EVP_PKEY *key)
{
    assert_non_null(key);
    char *pem = rig_pem(key);
    EVP_PKEY_free(key);
    return pem;
}

static void secrets_are_as_long_as_the_hash(void **state)
{
    static const size_t least[] = {32, 48, 64};
    char secret[TOKEN_SECRET_MAX + 1];
    struct keyring *k = keyring_create();
    struct buf why = BUF_INIT;
    (void)state;
    memset(secret, 's', sizeof secret);
    for (size_t i = 0; i < 3; i++) {
        enum token_alg alg = (enum token_alg)(TOKEN_HS256 + i);
        refuse(k, alg, NULL, "", 0, "0 bytes");
        refuse(k, alg, NULL, secret, least[i] - 1, "openssl rand");
        assert_int_equal(keyring_add(k, alg, NULL, secret, least[i], &why), ERR_OK);
        assert_int_equal(keyring_add(k, alg, "m", secret, TOKEN_SECRET_MAX, &why), ERR_OK);
        refuse(k, alg, NULL, secret, sizeof secret, "at most 8192");
    }
    assert_int_equal(keyring_count(k), 6);
    assert_true(keyring_has_secret(k));
    buf_finish(&why);
    keyring_destroy(k);
}

/* Bytes, not text: NULs and newlines are of the secret. */
static void secrets_are_bytes(void **state)
{
    static const char a[32] = "a\0b\n", b[32] = "a\0c\n";
    struct keyring *k = keyring_create();
    struct buf why = BUF_INIT;
    (void)state;
    assert_int_equal(keyring_add(k, TOKEN_HS256, NULL, a, sizeof a, &why), ERR_OK);
    char *good = rig_token_by(TOKEN_HS256, NULL, a, sizeof a, "{\"alg\":\"HS256\"}", "{}");
    char *bad = rig_token_by(TOKEN_HS256, NULL, b, sizeof b, "{\"alg\":\"HS256\"}", "{}");
    assert_int_equal(rig_verify(k, good, NULL), ERR_OK);
    assert_int_equal(rig_verify(k, bad, NULL), RIG_FAULT(TOKEN_BAD_SIGNATURE));
    free(good);
    free(bad);
    buf_finish(&why);
    keyring_destroy(k);
}

static void each_pem_fits_its_algorithms_only(void **state)
{
    EVP_PKEY *const keys[] = {rig_rsa(), rig_p256(), rig_p384()};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        char *pem = rig_pem(keys[i]);
        for (unsigned a = 0; a < TOKEN_ALG_COUNT; a++) {
            enum token_alg alg = (enum token_alg)a;
            struct keyring *k = keyring_create();
            if (rig_key(alg) == keys[i])
                add(k, alg, NULL, pem);
            else
                refuse(k, alg, NULL, pem, strlen(pem),
                       token_alg_is_secret(alg)      ? "this is a PEM file"
                       : i == 0 || alg < TOKEN_ES256 ? "this is "
                                                     : "not of the curve");
            assert_false(keyring_has_secret(k));
            keyring_destroy(k);
        }
        free(pem);
    }
}

static void private_keys_are_refused(void **state)
{
    EVP_PKEY *const keys[] = {rig_rsa(), rig_p256(), rig_p384()};
    static const enum token_alg algs[] = {TOKEN_RS256, TOKEN_ES256, TOKEN_ES384};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        refuse_text(algs[i], rig_private_pem(keys[i]), "this is a private key");
        /* the public one before it makes it no better */
        char *public = rig_pem(keys[i]), *private = rig_private_pem(keys[i]), *both;
        assert_true(asprintf(&both, "%s%s", public, private) > 0);
        refuse_text(algs[i], both, "this is a private key");
        free(public);
        free(private);
    }
    refuse_text(TOKEN_RS256,
                strdup("-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n"),
                "this is a private key");
    refuse_text(
        TOKEN_ES256,
        strdup("-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
               "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n"),
        "this is a private key");
    refuse_text(TOKEN_ES256,
                strdup("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n"
                       "-----END ENCRYPTED PRIVATE KEY-----\n"),
                "this is a private key");
}

static void unfit_keys_are_refused(void **state)
{
    (void)state;
    refuse_text(TOKEN_RS256, generated(EVP_RSA_gen(1024)), "has 1024 bits");
    refuse_text(TOKEN_PS256, generated(EVP_RSA_gen(2040)), "has 2040 bits");
    refuse_text(TOKEN_ES256, generated(EVP_EC_gen("P-521")), "no algorithm here");
    refuse_text(TOKEN_ES256, generated(EVP_EC_gen("P-224")), "no algorithm here");
    refuse_text(TOKEN_ES256, generated(EVP_EC_gen("secp256k1")), "no algorithm here");
    refuse_text(TOKEN_ES256, generated(EVP_EC_gen("brainpoolP256r1")), "no algorithm here");
    refuse_text(TOKEN_ES256, generated(EVP_PKEY_Q_keygen(NULL, NULL, "ED25519")),
                "no algorithm here");
    refuse_text(TOKEN_RS256, generated(EVP_PKEY_Q_keygen(NULL, NULL, "X25519")),
                "no algorithm here");
}

static void what_is_no_pem_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "x",
        "-----BEGIN PUBLIC KEY-----",
        "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n",
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        "-----BEGIN PUBLIC KEY-----\n!!!!\n-----END PUBLIC KEY-----\n",
        "-----BEGIN RSA PUBLIC KEY-----\nAAAA\n-----END RSA PUBLIC KEY-----\n",
        "-----BEGIN DSA PUBLIC KEY-----\nAAAA\n-----END DSA PUBLIC KEY-----\n",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
        "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n",
        "{\"keys\":[]}",
    };
    char *pem = rig_pem(rig_p256());
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        refuse_text(TOKEN_ES256, strdup(bad[i]), "it");
    for (size_t cut = 0; cut + 2 < strlen(pem); cut++)
        refuse_text(TOKEN_ES256, strndup(pem, cut), "it");
    /* two keys */
    char *two, *other = rig_pem(rig_p384());
    assert_true(asprintf(&two, "%s%s", pem, other) > 0);
    refuse_text(TOKEN_ES256, two, "more than one key");
    free(other);
    free(pem);
}

static X509 *certificate(EVP_PKEY *key)
{
    X509 *cert = X509_new();
    assert_non_null(cert);
    assert_int_equal(ASN1_INTEGER_set(X509_get_serialNumber(cert), 1), 1);
    assert_non_null(X509_gmtime_adj(X509_getm_notBefore(cert), -7200));
    assert_non_null(X509_gmtime_adj(X509_getm_notAfter(cert), -3600)); /* its dates do not matter */
    assert_int_equal(X509_set_pubkey(cert, key), 1);
    assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
    return cert;
}

/* What PEM text may hold a public key in: all give the same key. */
static void one_key_in_many_forms(void **state)
{
    struct keyring *k = rig_ring(TOKEN_RS256, NULL), *other;
    char *text = rig_plain_token(TOKEN_RS256, "{}"), *data;
    struct token t;
    struct buf forms[5] = {BUF_INIT, BUF_INIT, BUF_INIT, BUF_INIT, BUF_INIT};
    (void)state;
    assert_int_equal(rig_verify(k, text, &t), ERR_OK);
    X509 *cert = certificate(rig_rsa()), *issuer = certificate(rig_other_rsa());
    BIO *bio = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_X509(bio, cert), 1);
    long len = BIO_get_mem_data(bio, &data);
    buf_append(&forms[0], data, (size_t)len);
    assert_int_equal(PEM_write_bio_X509(bio, issuer), 1); /* a chain: its first counts */
    len = BIO_get_mem_data(bio, &data);
    buf_append(&forms[1], data, (size_t)len);
    BIO_free(bio);
    unsigned char *der = NULL;
    int der_len = i2d_PublicKey(rig_rsa(), &der); /* PKCS #1 */
    bio = BIO_new(BIO_s_mem());
    assert_true(PEM_write_bio(bio, PEM_STRING_RSA_PUBLIC, "", der, der_len) > 0);
    len = BIO_get_mem_data(bio, &data);
    buf_append(&forms[2], data, (size_t)len);
    BIO_free(bio);
    OPENSSL_free(der);
    char *pem = rig_pem(rig_rsa());
    buf_printf(&forms[3], "The key of the login.\n\n%s\nUse it well.\n", pem);
    for (const char *p = pem; *p != '\0'; p++)
        buf_printf(&forms[4], *p == '\n' ? "\r\n" : "%c", *p);
    for (size_t i = 0; i < 5; i++) {
        other = keyring_create();
        add(other, TOKEN_RS256, NULL, buf_cstr(&forms[i]));
        assert_true(keyring_has(other, t.key));
        assert_int_equal(rig_verify(other, text, NULL), ERR_OK);
        keyring_destroy(other);
        buf_finish(&forms[i]);
    }
    /* The algorithm is of the fingerprint, too. */
    other = keyring_create();
    add(other, TOKEN_RS512, NULL, pem);
    assert_false(keyring_has(other, t.key));
    keyring_destroy(other);
    free(pem);
    X509_free(cert);
    X509_free(issuer);
    token_finish(&t);
    free(text);
    keyring_destroy(k);
}

static void names_and_numbers_are_bounded(void **state)
{
    struct keyring *k = keyring_create();
    char secret[80], kid[16];
    (void)state;
    for (int i = 0; i < TOKEN_KEYS_MAX; i++) {
        (void)snprintf(secret, sizeof secret, "%s%d", RIG_SECRET, i);
        (void)snprintf(kid, sizeof kid, "k%d", i);
        add(k, TOKEN_HS256, i < TOKEN_TRIES_MAX ? NULL : kid, secret);
        if (i + 1 == TOKEN_TRIES_MAX)
            refuse(k, TOKEN_HS256, NULL, RIG_SECRET, 64, "without a kid");
    }
    refuse(k, TOKEN_HS384, NULL, RIG_SECRET, 64, "more than 64 keys");
    assert_int_equal(keyring_count(k), TOKEN_KEYS_MAX);
    keyring_destroy(k);
    k = keyring_create();
    add(k, TOKEN_HS256, "a", RIG_SECRET);
    refuse(k, TOKEN_HS256, "a", RIG_OTHER_SECRET, 64, "the same kid");
    add(k, TOKEN_HS384, "a", RIG_SECRET); /* of another algorithm: no clash */
    add(k, TOKEN_HS256, "A", RIG_OTHER_SECRET);
    assert_int_equal(keyring_count(k), 3);
    keyring_destroy(k);
    keyring_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(secrets_are_as_long_as_the_hash),
        cmocka_unit_test(secrets_are_bytes),
        cmocka_unit_test(each_pem_fits_its_algorithms_only),
        cmocka_unit_test(private_keys_are_refused),
        cmocka_unit_test(unfit_keys_are_refused),
        cmocka_unit_test(what_is_no_pem_is_refused),
        cmocka_unit_test(one_key_in_many_forms),
        cmocka_unit_test(names_and_numbers_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, rig_free_keys);
}
