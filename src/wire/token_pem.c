/* Public keys from PEM text (RFC 7468): a public key, or the certificate of one. */
#include <limits.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <string.h>

#include "tickerd/base/err.h"
#include "token_internal.h"

/* What a block of this label holds; NULL: no key, or damaged. */
static EVP_PKEY *take_block(const char *label, const unsigned char *der, long len)
{
    const unsigned char *p = der;
    if (strcmp(label, PEM_STRING_PUBLIC) == 0)
        return d2i_PUBKEY(NULL, &p, len);
    if (strcmp(label, PEM_STRING_RSA_PUBLIC) == 0)
        return d2i_PublicKey(EVP_PKEY_RSA, NULL, &p, len);
    if (strcmp(label, PEM_STRING_X509) != 0)
        return NULL;
    X509 *cert = d2i_X509(NULL, &p, len);
    EVP_PKEY *pkey = cert == NULL ? NULL : X509_get_pubkey(cert);
    X509_free(cert);
    return pkey;
}

struct reader {
    EVP_PKEY *pkey;
    bool from_cert;
    size_t blocks; /* that hold a key or a certificate */
    const char *wrong;
};

static void read_block(struct reader *r, const char *label, const unsigned char *der, long len)
{
    bool cert = strcmp(label, PEM_STRING_X509) == 0;
    if (strstr(label, "PRIVATE KEY") != NULL) {
        r->wrong = "this is a private key, which only whoever signs the tokens may have: give the "
                   "public one, made with openssl pkey -pubout";
    } else if (!cert && strstr(label, "PUBLIC KEY") == NULL) {
        return; /* parameters and the like */
    } else if (r->blocks++ == 0) {
        r->pkey = take_block(label, der, len);
        r->from_cert = cert;
        if (r->pkey == NULL)
            r->wrong = cert ? "the certificate in it is damaged, or its key of no known kind"
                            : "the public key in it is damaged, or of no known kind";
    } else if (!cert || !r->from_cert) {
        r->wrong = "it has more than one key: give each its own file";
    } /* else: the rest of a chain, whose first is the one that counts */
}

static void read_blocks(struct reader *r, BIO *bio)
{
    char *label = NULL, *header = NULL;
    unsigned char *der = NULL;
    long len = 0;
    ERR_clear_error();
    while (r->wrong == NULL && PEM_read_bio(bio, &label, &header, &der, &len) == 1) {
        read_block(r, label, der, len);
        OPENSSL_free(label);
        OPENSSL_free(header);
        OPENSSL_clear_free(der, (size_t)len);
    }
    if (r->wrong == NULL && ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
        r->wrong = "the PEM text in it is damaged";
    if (r->wrong == NULL && r->blocks == 0)
        r->wrong = "it has no key in PEM form (-----BEGIN PUBLIC KEY-----)";
    ERR_clear_error();
}

/* A number of the key, big-endian, filled up to `width` bytes; 0: without leading zeros. */
static bool take_number(const EVP_PKEY *pkey, const char *name, size_t width, struct buf *out)
{
    BIGNUM *bn = NULL;
    if (EVP_PKEY_get_bn_param(pkey, name, &bn) != 1)
        return false;
    size_t len = width > 0 ? width : (size_t)BN_num_bytes(bn);
    bool ok =
        buf_reserve(out, len) && BN_bn2binpad(bn, (unsigned char *)out->data, (int)len) == (int)len;
    if (ok)
        out->len = len;
    BN_free(bn);
    return ok;
}

static bool take_numbers(const EVP_PKEY *pkey, struct token_material *m)
{
    char group[64] = "";
    if (EVP_PKEY_is_a(pkey, "RSA") == 1) {
        m->kind = TOKEN_RSA;
        return take_number(pkey, OSSL_PKEY_PARAM_RSA_N, 0, &m->a) &&
               take_number(pkey, OSSL_PKEY_PARAM_RSA_E, 0, &m->b);
    }
    m->kind = TOKEN_EC;
    if (EVP_PKEY_is_a(pkey, "EC") != 1 ||
        EVP_PKEY_get_utf8_string_param(pkey, OSSL_PKEY_PARAM_GROUP_NAME, group, sizeof group,
                                       NULL) != 1)
        return false;
    size_t field = strcmp(group, SN_X9_62_prime256v1) == 0 ? token_alg_field(TOKEN_ES256)
                   : strcmp(group, SN_secp384r1) == 0      ? token_alg_field(TOKEN_ES384)
                                                           : 0;
    return field > 0 && take_number(pkey, OSSL_PKEY_PARAM_EC_PUB_X, field, &m->a) &&
           take_number(pkey, OSSL_PKEY_PARAM_EC_PUB_Y, field, &m->b);
}

int token_pem_read(struct token_material *m, const char *text, size_t len, struct buf *why)
{
    struct reader r = {NULL, false, 0, NULL};
    BIO *bio = len > INT_MAX ? NULL : BIO_new_mem_buf(text, (int)len);
    if (bio == NULL)
        return ERR_NOMEM;
    read_blocks(&r, bio);
    BIO_free(bio);
    if (r.wrong == NULL && !take_numbers(r.pkey, m) && !m->a.failed && !m->b.failed)
        r.wrong = "its key is of a kind that no algorithm here uses: RSA, P-256 and P-384 are";
    EVP_PKEY_free(r.pkey);
    ERR_clear_error();
    if (r.wrong == NULL)
        return m->a.failed || m->b.failed ? ERR_NOMEM : ERR_OK;
    buf_str(why, r.wrong);
    return ERR_INVALID;
}
