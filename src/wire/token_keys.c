/* The keyring: what makes a key fit, its fingerprint, and its form for cjose. */
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <stdlib.h>
#include <string.h>

#include "tickerd/base/err.h"
#include "token_internal.h"

static const struct {
    const char *name;
    enum token_kind kind;
    size_t secret; /* bytes that a secret has at least: as the hash (RFC 7518 §3.2) */
    size_t field;  /* bytes of a coordinate */
} algs[TOKEN_ALG_COUNT] = {
    [TOKEN_HS256] = {"HS256", TOKEN_OCT, TOKEN_SECRET_MIN, 0},
    [TOKEN_HS384] = {"HS384", TOKEN_OCT, 48, 0},
    [TOKEN_HS512] = {"HS512", TOKEN_OCT, 64, 0},
    [TOKEN_RS256] = {"RS256", TOKEN_RSA, 0, 0},
    [TOKEN_RS384] = {"RS384", TOKEN_RSA, 0, 0},
    [TOKEN_RS512] = {"RS512", TOKEN_RSA, 0, 0},
    [TOKEN_PS256] = {"PS256", TOKEN_RSA, 0, 0},
    [TOKEN_ES256] = {"ES256", TOKEN_EC, 0, 32},
    [TOKEN_ES384] = {"ES384", TOKEN_EC, 0, 48},
};

static const char *const kinds[] = {
    [TOKEN_OCT] = "a secret", [TOKEN_RSA] = "an RSA key", [TOKEN_EC] = "a key of a curve"};

/* Larger exponents only make verifying slow, and OpenSSL refuses them for large moduli. */
enum { EXPONENT_BYTES_MAX = 8 };

enum token_alg token_alg_named(const char *name)
{
    unsigned alg = 0;
    while (alg < TOKEN_ALG_COUNT && strcmp(algs[alg].name, name) != 0)
        alg++;
    return (enum token_alg)alg;
}

const char *token_alg_name(enum token_alg alg)
{
    return algs[alg].name;
}

bool token_alg_is_secret(enum token_alg alg)
{
    return algs[alg].kind == TOKEN_OCT;
}

enum token_kind token_alg_kind(enum token_alg alg)
{
    return algs[alg].kind;
}

size_t token_alg_field(enum token_alg alg)
{
    return algs[alg].field;
}

void token_material_finish(struct token_material *m)
{
    buf_forget(&m->a);
    buf_forget(&m->b);
}

struct keyring *keyring_create(void)
{
    return calloc(1, sizeof(struct keyring));
}

static void drop(struct token_key *key)
{
    free(key->kid);
    (void)cjose_jwk_release(key->jwk);
}

void token_keys_cut(struct keyring *k, size_t count)
{
    while (k->count > count)
        drop(&k->keys[--k->count]);
}

void keyring_destroy(struct keyring *k)
{
    if (k != NULL)
        token_keys_cut(k, 0);
    free(k);
}

size_t keyring_count(const struct keyring *k)
{
    return k->count;
}

bool keyring_has_secret(const struct keyring *k)
{
    for (size_t i = 0; i < k->count; i++) {
        if (token_alg_is_secret(k->keys[i].alg))
            return true;
    }
    return false;
}

bool keyring_has(const struct keyring *k, const uint8_t id[TOKEN_ID_LEN])
{
    for (size_t i = 0; i < k->count; i++) {
        if (memcmp(k->keys[i].id, id, TOKEN_ID_LEN) == 0)
            return true;
    }
    return false;
}

size_t keyring_beyond(const struct keyring *k, const struct keyring *other)
{
    size_t n = 0;
    for (size_t i = 0; i < k->count; i++)
        n += keyring_has(other, k->keys[i].id) ? 0 : 1;
    return n;
}

/* ---- what makes material fit ----------------------------------------------------------------- */

static bool looks_like_pem(const struct buf *text)
{
    return memmem(text->data, text->len, "-----BEGIN ", 11) != NULL;
}

static int check_secret(enum token_alg alg, const struct buf *secret, struct buf *why)
{
    const char *name = algs[alg].name;
    if (secret->len < algs[alg].secret)
        buf_printf(why,
                   "the secret has %zu bytes, and %s needs at least %zu: make one with "
                   "openssl rand -hex %zu",
                   secret->len, name, algs[alg].secret, algs[alg].secret);
    else if (secret->len > TOKEN_SECRET_MAX)
        buf_printf(why, "the secret has %zu bytes, and at most %d are allowed", secret->len,
                   TOKEN_SECRET_MAX);
    else if (looks_like_pem(secret))
        buf_printf(why,
                   "this is a PEM file, and %s needs a secret: give the algorithm of the PEM "
                   "key, such as RS256 or ES256",
                   name);
    else
        return ERR_OK;
    return ERR_INVALID;
}

static size_t bit_count(const struct buf *number)
{
    size_t bits = number->len * 8;
    for (unsigned mask = 0x80; bits > 0 && mask != 0; mask >>= 1, bits--) {
        if (((unsigned char)number->data[0] & mask) != 0)
            return bits;
    }
    return bits;
}

static int check_rsa(const struct token_material *m, struct buf *why)
{
    size_t bits = bit_count(&m->a);
    unsigned last = m->b.len == 0 ? 0 : (unsigned char)m->b.data[m->b.len - 1];
    if (bits < TOKEN_RSA_BITS_MIN || bits > TOKEN_RSA_BITS_MAX)
        buf_printf(why, "the RSA key has %zu bits, and %d to %d are allowed", bits,
                   TOKEN_RSA_BITS_MIN, TOKEN_RSA_BITS_MAX);
    else if (last % 2 == 0 || (m->b.len == 1 && last < 3) || m->b.len > EXPONENT_BYTES_MAX)
        buf_str(why, "the exponent of the RSA key is not an odd number from 3 to 2^64");
    else
        return ERR_OK;
    return ERR_INVALID;
}

/* The kind and the size; what needs arithmetic is public_ok's. */
static int check_form(enum token_alg alg, const struct token_material *m, struct buf *why)
{
    if (m->kind != algs[alg].kind) {
        buf_printf(why, "this is %s, and %s needs %s", kinds[m->kind], algs[alg].name,
                   kinds[algs[alg].kind]);
        return ERR_INVALID;
    }
    if (m->kind == TOKEN_OCT)
        return check_secret(alg, &m->a, why);
    if (m->kind == TOKEN_RSA)
        return check_rsa(m, why);
    if (m->a.len == algs[alg].field && m->b.len == algs[alg].field)
        return ERR_OK;
    buf_printf(why, "the key is not of the curve that %s needs, P-%zu", algs[alg].name,
               algs[alg].field * 8);
    return ERR_INVALID;
}

static bool push_number(OSSL_PARAM_BLD *bld, const char *name, const struct buf *bytes, BIGNUM **bn)
{
    *bn = BN_bin2bn((const unsigned char *)bytes->data, (int)bytes->len, NULL);
    return *bn != NULL && OSSL_PARAM_BLD_push_BN(bld, name, *bn) == 1;
}

static EVP_PKEY *make_pkey(const char *type, OSSL_PARAM_BLD *bld)
{
    EVP_PKEY *pkey = NULL;
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(bld);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    if (params != NULL && ctx != NULL && EVP_PKEY_fromdata_init(ctx) == 1)
        (void)EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_PUBLIC_KEY, params);
    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_free(params);
    return pkey;
}

static EVP_PKEY *rsa_pkey(const struct token_material *m)
{
    EVP_PKEY *pkey = NULL;
    BIGNUM *n = NULL, *e = NULL;
    OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
    if (bld != NULL && push_number(bld, OSSL_PKEY_PARAM_RSA_N, &m->a, &n) &&
        push_number(bld, OSSL_PKEY_PARAM_RSA_E, &m->b, &e))
        pkey = make_pkey("RSA", bld);
    OSSL_PARAM_BLD_free(bld);
    BN_free(n);
    BN_free(e);
    return pkey;
}

static EVP_PKEY *ec_pkey(const struct token_material *m)
{
    EVP_PKEY *pkey = NULL;
    struct buf point = BUF_INIT;
    OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
    buf_byte(&point, POINT_CONVERSION_UNCOMPRESSED);
    buf_append(&point, m->a.data, m->a.len);
    buf_append(&point, m->b.data, m->b.len);
    const char *group = m->a.len == 32 ? "P-256" : "P-384";
    if (bld != NULL && !point.failed &&
        OSSL_PARAM_BLD_push_utf8_string(bld, OSSL_PKEY_PARAM_GROUP_NAME, group, 0) == 1 &&
        OSSL_PARAM_BLD_push_octet_string(bld, OSSL_PKEY_PARAM_PUB_KEY, point.data, point.len) == 1)
        pkey = make_pkey("EC", bld);
    OSSL_PARAM_BLD_free(bld);
    buf_finish(&point);
    return pkey;
}

/* Whether the numbers are a key at all: a point on its curve, a modulus that is no prime. */
static bool public_ok(const struct token_material *m)
{
    EVP_PKEY *pkey = m->kind == TOKEN_RSA ? rsa_pkey(m) : ec_pkey(m);
    EVP_PKEY_CTX *ctx = pkey == NULL ? NULL : EVP_PKEY_CTX_new_from_pkey(NULL, pkey, NULL);
    bool ok = ctx != NULL && EVP_PKEY_public_check(ctx) == 1;
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(pkey);
    ERR_clear_error();
    return ok;
}

/* ---- adding ---------------------------------------------------------------------------------- */

static bool hash_part(EVP_MD_CTX *ctx, const void *bytes, size_t len)
{
    const uint8_t size[4] = {(uint8_t)(len >> 24), (uint8_t)(len >> 16), (uint8_t)(len >> 8),
                             (uint8_t)len};
    return EVP_DigestUpdate(ctx, size, sizeof size) == 1 &&
           (len == 0 || EVP_DigestUpdate(ctx, bytes, len) == 1);
}

/* The first bytes of SHA-256 over the algorithm's name and the material, each with its length. */
static bool fingerprint(enum token_alg alg, const struct token_material *m,
                        uint8_t id[TOKEN_ID_LEN])
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = ctx != NULL && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1 &&
              hash_part(ctx, algs[alg].name, strlen(algs[alg].name)) &&
              hash_part(ctx, m->a.data, m->a.len) && hash_part(ctx, m->b.data, m->b.len) &&
              EVP_DigestFinal_ex(ctx, digest, NULL) == 1;
    EVP_MD_CTX_free(ctx);
    if (ok)
        memcpy(id, digest, TOKEN_ID_LEN);
    return ok;
}

static cjose_jwk_t *make_jwk(const struct token_material *m)
{
    cjose_err err;
    uint8_t *a = (uint8_t *)m->a.data, *b = (uint8_t *)m->b.data;
    if (m->kind == TOKEN_OCT)
        return cjose_jwk_create_oct_spec(a, m->a.len, &err);
    if (m->kind == TOKEN_RSA) {
        cjose_jwk_rsa_keyspec spec = {.n = a, .nlen = m->a.len, .e = b, .elen = m->b.len};
        return cjose_jwk_create_RSA_spec(&spec, &err);
    }
    cjose_jwk_ec_keyspec spec = {.crv = m->a.len == 32 ? CJOSE_JWK_EC_P_256 : CJOSE_JWK_EC_P_384,
                                 .x = a,
                                 .xlen = m->a.len,
                                 .y = b,
                                 .ylen = m->b.len};
    return cjose_jwk_create_EC_spec(&spec, &err);
}

static size_t signature_len(enum token_alg alg, const struct token_material *m)
{
    static const size_t hash[] = {
        [TOKEN_HS256] = 32, [TOKEN_HS384] = 48, [TOKEN_HS512] = 64}; /* RFC 7518 §3.2 */
    if (m->kind == TOKEN_OCT)
        return hash[alg];
    return m->kind == TOKEN_RSA ? m->a.len : 2 * m->a.len; /* §3.3, §3.5; §3.4 */
}

static int check_room(const struct keyring *k, enum token_alg alg, const char *kid, struct buf *why)
{
    size_t nameless = 0;
    if (k->count == TOKEN_KEYS_MAX) {
        buf_printf(why, "there are more than %d keys", TOKEN_KEYS_MAX);
        return ERR_INVALID;
    }
    for (size_t i = 0; i < k->count; i++) {
        const struct token_key *other = &k->keys[i];
        if (other->alg != alg)
            continue;
        nameless += other->kid == NULL;
        if (kid != NULL && other->kid != NULL && strcmp(kid, other->kid) == 0) {
            buf_printf(why, "another key for %s has the same kid", algs[alg].name);
            return ERR_INVALID;
        }
    }
    if (kid != NULL || nameless < TOKEN_TRIES_MAX)
        return ERR_OK;
    buf_printf(why, "there are more than %d keys for %s without a kid", TOKEN_TRIES_MAX,
               algs[alg].name);
    return ERR_INVALID;
}

int token_key_add(struct keyring *k, enum token_alg alg, const char *kid,
                  const struct token_material *m, struct buf *why)
{
    if (m->a.failed || m->b.failed)
        return ERR_NOMEM;
    if (check_room(k, alg, kid, why) != ERR_OK || check_form(alg, m, why) != ERR_OK)
        return ERR_INVALID;
    if (m->kind != TOKEN_OCT && !public_ok(m)) {
        buf_str(why, m->kind == TOKEN_EC ? "the key is no point on its curve"
                                         : "the numbers of the RSA key do not make one");
        return ERR_INVALID;
    }
    struct token_key key = {.alg = alg, .signature = signature_len(alg, m), .jwk = make_jwk(m)};
    key.kid = kid == NULL ? NULL : strdup(kid);
    if (key.jwk == NULL || (key.kid == NULL) != (kid == NULL) || !fingerprint(alg, m, key.id)) {
        drop(&key);
        return ERR_NOMEM;
    }
    k->keys[k->count++] = key;
    return ERR_OK;
}

int keyring_add(struct keyring *k, enum token_alg alg, const char *kid, const void *bytes,
                size_t len, struct buf *why)
{
    struct token_material m = {.kind = TOKEN_OCT, .a = BUF_INIT, .b = BUF_INIT};
    int err = ERR_OK;
    if (!token_alg_is_secret(alg))
        err = token_pem_read(&m, bytes, len, why);
    else
        buf_append(&m.a, bytes, len);
    if (err == ERR_OK)
        err = token_key_add(k, alg, kid, &m, why);
    token_material_finish(&m);
    return err;
}
