#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tls_rig.h"

enum { DAY = 24 * 3600 };

static void extend(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    assert_non_null(extension);
    assert_int_equal(X509_add_ext(cert, extension, -1), 1);
    X509_EXTENSION_free(extension);
}

static X509 *make(struct tls_rig *r, const char *name, int first_day, int last_day)
{
    static long serial = 1;
    X509 *cert = X509_new();
    assert_non_null(cert);
    assert_int_equal(X509_set_version(cert, 2), 1);
    assert_int_equal(ASN1_INTEGER_set(X509_get_serialNumber(cert), serial++), 1);
    assert_non_null(X509_gmtime_adj(X509_getm_notBefore(cert), (long)first_day * DAY));
    assert_non_null(X509_gmtime_adj(X509_getm_notAfter(cert), (long)last_day * DAY));
    assert_int_equal(X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC,
                                                (const unsigned char *)name, -1, -1, 0),
                     1);
    assert_int_equal(X509_set_pubkey(cert, r->key), 1);
    return cert;
}

void tls_rig_start(struct tls_rig *r)
{
    *r = (struct tls_rig){.dir = "/tmp/tickerd-tls-XXXXXX"};
    assert_non_null(mkdtemp(r->dir));
    r->key = EVP_EC_gen("P-256");
    assert_non_null(r->key);
    r->ca = make(r, "CA", -1, 10);
    assert_int_equal(X509_set_issuer_name(r->ca, X509_get_subject_name(r->ca)), 1);
    extend(r->ca, r->ca, NID_basic_constraints, "critical,CA:TRUE");
    assert_true(X509_sign(r->ca, r->key, EVP_sha256()) > 0);
    tls_rig_write(r, "ca", r->ca, NULL, r->ca_path);
}

void tls_rig_stop(struct tls_rig *r)
{
    static const char *const names[] = {"ca", "cert", "key", "text"};
    char path[96];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", r->dir, names[i]);
        (void)unlink(path);
    }
    assert_int_equal(rmdir(r->dir), 0);
    X509_free(r->ca);
    EVP_PKEY_free(r->key);
}

X509 *tls_rig_issue(struct tls_rig *r, const char *alt, int first_day, int last_day)
{
    X509 *cert = make(r, "peer", first_day, last_day);
    assert_int_equal(X509_set_issuer_name(cert, X509_get_subject_name(r->ca)), 1);
    if (alt != NULL)
        extend(cert, r->ca, NID_subject_alt_name, alt);
    assert_true(X509_sign(cert, r->key, EVP_sha256()) > 0);
    return cert;
}

void tls_rig_write(struct tls_rig *r, const char *name, X509 *cert, EVP_PKEY *key, char path[96])
{
    (void)snprintf(path, 96, "%s/%s", r->dir, name);
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    if (cert != NULL)
        assert_int_equal(PEM_write_X509(f, cert), 1);
    if (key != NULL)
        assert_int_equal(PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL), 1);
    assert_int_equal(fclose(f), 0);
}

void tls_peer_start_with(struct tls_peer *p, struct tls_rig *r, X509 *cert, int version)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    assert_non_null(ctx);
    assert_int_equal(SSL_CTX_use_certificate(ctx, cert), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(ctx, r->key), 1);
    assert_int_equal(SSL_CTX_set_min_proto_version(ctx, version), 1);
    assert_int_equal(SSL_CTX_set_max_proto_version(ctx, version), 1);
    p->ssl = SSL_new(ctx);
    p->in = BIO_new(BIO_s_mem());
    p->out = BIO_new(BIO_s_mem());
    assert_true(p->ssl != NULL && p->in != NULL && p->out != NULL);
    SSL_set_bio(p->ssl, p->in, p->out);
    SSL_set_accept_state(p->ssl);
    SSL_CTX_free(ctx);
    X509_free(cert);
}

void tls_peer_start(struct tls_peer *p, struct tls_rig *r, const char *alt, int version)
{
    tls_peer_start_with(p, r, tls_rig_issue(r, alt, -1, 1), version);
}

void tls_peer_stop(struct tls_peer *p)
{
    SSL_free(p->ssl);
    ERR_clear_error();
}

void tls_peer_feed(struct tls_peer *p, const char *data, size_t n)
{
    if (n > 0)
        assert_int_equal(BIO_write(p->in, data, (int)n), n);
    ERR_clear_error();
    if (!SSL_is_init_finished(p->ssl))
        (void)SSL_do_handshake(p->ssl); /* the other end says how that went */
}

void tls_peer_write(struct tls_peer *p, const char *data, size_t n)
{
    for (size_t at = 0; at < n;) {
        size_t taken = 0;
        assert_int_equal(SSL_write_ex(p->ssl, data + at, n - at, &taken), 1);
        at += taken;
    }
}

size_t tls_peer_read(struct tls_peer *p, char *data, size_t cap)
{
    size_t n = 0;
    ERR_clear_error();
    return SSL_read_ex(p->ssl, data, cap, &n) == 1 ? n : 0;
}

size_t tls_peer_out(struct tls_peer *p, char *data, size_t cap)
{
    int n = BIO_read(p->out, data, (int)cap);
    return n > 0 ? (size_t)n : 0;
}
