#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <stdlib.h>
#include <string.h>

#include "tickerd/base/err.h"
#include "token_rig.h"

enum { RSA_KEY, OTHER_RSA_KEY, P256_KEY, P384_KEY, KEYS };

static EVP_PKEY *keys[KEYS];

static EVP_PKEY *keep(size_t which, EVP_PKEY *made)
{
    keys[which] = made;
    assert_non_null(made);
    return made;
}

EVP_PKEY *rig_rsa(void)
{
    return keys[RSA_KEY] != NULL ? keys[RSA_KEY] : keep(RSA_KEY, EVP_RSA_gen(2048));
}

EVP_PKEY *rig_other_rsa(void)
{
    return keys[OTHER_RSA_KEY] != NULL ? keys[OTHER_RSA_KEY]
                                       : keep(OTHER_RSA_KEY, EVP_RSA_gen(2048));
}

EVP_PKEY *rig_p256(void)
{
    return keys[P256_KEY] != NULL ? keys[P256_KEY] : keep(P256_KEY, EVP_EC_gen("P-256"));
}

EVP_PKEY *rig_p384(void)
{
    return keys[P384_KEY] != NULL ? keys[P384_KEY] : keep(P384_KEY, EVP_EC_gen("P-384"));
}

int rig_free_keys(void **state)
{
    (void)state;
    for (size_t i = 0; i < KEYS; i++) {
        EVP_PKEY_free(keys[i]);
        keys[i] = NULL;
    }
    return 0;
}

EVP_PKEY *rig_key(enum token_alg alg)
{
    if (alg <= TOKEN_HS512)
        return NULL;
    return alg == TOKEN_ES256 ? rig_p256() : alg == TOKEN_ES384 ? rig_p384() : rig_rsa();
}

static char *text_of(BIO *bio)
{
    char *data;
    long len = BIO_get_mem_data(bio, &data);
    char *text = strndup(data, (size_t)len);
    assert_non_null(text);
    BIO_free(bio);
    return text;
}

char *rig_pem(EVP_PKEY *key)
{
    BIO *bio = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_PUBKEY(bio, key), 1);
    return text_of(bio);
}

char *rig_private_pem(EVP_PKEY *key)
{
    BIO *bio = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL), 1);
    return text_of(bio);
}

void rig_base64url(struct buf *out, const void *bytes, size_t len)
{
    size_t room = (len + 2) / 3 * 4 + 1;
    char *text = malloc(room);
    assert_non_null(text);
    int n = EVP_EncodeBlock((unsigned char *)text, bytes, (int)len);
    for (int i = 0; i < n; i++)
        text[i] = text[i] == '+' ? '-' : text[i] == '/' ? '_' : text[i];
    while (n > 0 && text[n - 1] == '=')
        n--;
    buf_append(out, text, (size_t)n);
    free(text);
}

static void put_member(struct buf *out, EVP_PKEY *key, const char *name, const char *param,
                       int width)
{
    unsigned char bytes[2048];
    BIGNUM *bn = NULL;
    assert_int_equal(EVP_PKEY_get_bn_param(key, param, &bn), 1);
    int len = width > 0 ? width : BN_num_bytes(bn);
    assert_int_equal(BN_bn2binpad(bn, bytes, len), len);
    buf_printf(out, ",\"%s\":\"", name);
    rig_base64url(out, bytes, (size_t)len);
    buf_byte(out, '"');
    BN_free(bn);
}

char *rig_jwk(EVP_PKEY *key)
{
    struct buf out = BUF_INIT;
    if (EVP_PKEY_is_a(key, "RSA")) {
        buf_str(&out, "\"kty\":\"RSA\"");
        put_member(&out, key, "n", OSSL_PKEY_PARAM_RSA_N, 0);
        put_member(&out, key, "e", OSSL_PKEY_PARAM_RSA_E, 0);
    } else {
        int bits = EVP_PKEY_get_bits(key);
        buf_printf(&out, "\"kty\":\"EC\",\"crv\":\"P-%d\"", bits);
        put_member(&out, key, "x", OSSL_PKEY_PARAM_EC_PUB_X, (bits + 7) / 8);
        put_member(&out, key, "y", OSSL_PKEY_PARAM_EC_PUB_Y, (bits + 7) / 8);
    }
    char *text = strdup(buf_cstr(&out));
    assert_non_null(text);
    buf_finish(&out);
    return text;
}

static const EVP_MD *hash_of(enum token_alg alg)
{
    switch (alg) {
    case TOKEN_HS384:
    case TOKEN_RS384:
    case TOKEN_ES384:
        return EVP_sha384();
    case TOKEN_HS512:
    case TOKEN_RS512:
        return EVP_sha512();
    default:
        return EVP_sha256();
    }
}

/* OpenSSL signs in DER; JWS wants both numbers one after the other. */
static void put_raw_ecdsa(struct buf *out, const unsigned char *der, size_t len, int field)
{
    unsigned char raw[2 * 66];
    const unsigned char *p = der;
    ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &p, (long)len);
    assert_non_null(sig);
    assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_r(sig), raw, field), field);
    assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_s(sig), raw + field, field), field);
    buf_append(out, raw, 2 * (size_t)field);
    ECDSA_SIG_free(sig);
}

void rig_signature(struct buf *out, enum token_alg alg, EVP_PKEY *key, const void *secret,
                   size_t secret_len, const char *input, size_t input_len)
{
    unsigned char sig[2048];
    size_t len = sizeof sig;
    if (key == NULL) {
        unsigned n = 0;
        assert_non_null(HMAC(hash_of(alg), secret, (int)secret_len, (const unsigned char *)input,
                             input_len, sig, &n));
        buf_append(out, sig, n);
        return;
    }
    EVP_PKEY_CTX *ctx = NULL;
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestSignInit(md, &ctx, hash_of(alg), NULL, key), 1);
    if (alg == TOKEN_PS256) {
        assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING), 1);
        assert_int_equal(EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_DIGEST), 1);
    }
    assert_int_equal(EVP_DigestSign(md, sig, &len, (const unsigned char *)input, input_len), 1);
    EVP_MD_CTX_free(md);
    if (EVP_PKEY_is_a(key, "EC"))
        put_raw_ecdsa(out, sig, len, (EVP_PKEY_get_bits(key) + 7) / 8);
    else
        buf_append(out, sig, len);
}

char *rig_token_by(enum token_alg alg, EVP_PKEY *key, const void *secret, size_t secret_len,
                   const char *header, const char *claims)
{
    struct buf text = BUF_INIT, signature = BUF_INIT;
    rig_base64url(&text, header, strlen(header));
    buf_byte(&text, '.');
    rig_base64url(&text, claims, strlen(claims));
    rig_signature(&signature, alg, key, secret, secret_len, text.data, text.len);
    buf_byte(&text, '.');
    rig_base64url(&text, signature.data, signature.len);
    char *token = strdup(buf_cstr(&text));
    assert_non_null(token);
    buf_finish(&text);
    buf_finish(&signature);
    return token;
}

char *rig_token(enum token_alg alg, const char *header, const char *claims)
{
    return rig_token_by(alg, rig_key(alg), RIG_SECRET, strlen(RIG_SECRET), header, claims);
}

char *rig_plain_token(enum token_alg alg, const char *claims)
{
    struct buf header = BUF_INIT;
    buf_printf(&header, "{\"alg\":\"%s\"}", token_alg_name(alg));
    char *token = rig_token(alg, buf_cstr(&header), claims);
    buf_finish(&header);
    return token;
}

struct keyring *rig_ring(enum token_alg alg, const char *kid)
{
    struct buf why = BUF_INIT;
    struct keyring *k = keyring_create();
    assert_non_null(k);
    char *bytes = alg <= TOKEN_HS512 ? strdup(RIG_SECRET) : rig_pem(rig_key(alg));
    assert_int_equal(keyring_add(k, alg, kid, bytes, strlen(bytes), &why), ERR_OK);
    assert_int_equal(why.len, 0);
    free(bytes);
    return k;
}

int rig_verify(const struct keyring *k, const char *token, struct token *out)
{
    static const struct token_rules rules = {.claim = "channels"};
    struct token ignored;
    enum token_fault fault = TOKEN_FAULT_COUNT;
    /* A copy of exactly this size, so that a read beyond it is seen. */
    size_t len = strlen(token);
    char *copy = malloc(len > 0 ? len : 1);
    assert_non_null(copy);
    memcpy(copy, token, len);
    int err = token_verify(k, &rules, copy, len, RIG_NOW, out == NULL ? &ignored : out, &fault);
    free(copy);
    if (err == ERR_OK && out == NULL)
        token_finish(&ignored);
    assert_true(err == ERR_OK || err == ERR_INVALID);
    assert_true(err == ERR_OK || fault < TOKEN_FAULT_COUNT);
    return err == ERR_OK ? ERR_OK : RIG_FAULT(fault);
}

void rig_expect_fault(const struct keyring *k, const char *token, enum token_fault fault)
{
    assert_int_equal(rig_verify(k, token, NULL), RIG_FAULT(fault));
}

void rig_expect_refusal(const struct keyring *k, char *token, enum token_fault fault)
{
    rig_expect_fault(k, token, fault);
    free(token);
}
