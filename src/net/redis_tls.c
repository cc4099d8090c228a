/* The context: files and settings. */
#include "tickerd/net/redis_tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "redis_tls_internal.h"
#include "tickerd/base/err.h"
#include "tickerd/base/file.h"

enum { FILE_MAX = 16 << 20 };

struct redis_tls {
    SSL_CTX *ctx;
    char *server_name; /* owned; NULL: the host of the address */
};

static bool given(const char *text)
{
    return text != NULL && text[0] != '\0';
}

static void complain(struct buf *errors, const char *key, const char *path, const char *why)
{
    buf_printf(errors, "redis.tls.%s: %s: %s\n", key, path, why);
}

/* OpenSSL's own words, for what is not foreseen; they are lower-case sentences. */
static const char *openssl_says(void)
{
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    return reason != NULL ? reason : "OpenSSL does not say why";
}

/* Files. */

/* The whole file; a pipe will do. True, or the reason is in `errors`. */
static bool slurp(struct buf *text, const char *key, const char *path, struct buf *errors)
{
    int err = file_read(text, path, FILE_MAX, NULL);
    const char *why = err == ERR_TOO_LONG ? "it is larger than 16 MiB"
                      : err == ERR_NOMEM  ? err_text(err)
                      : err != ERR_OK     ? strerror(errno)
                      : text->len == 0    ? "it is empty"
                                          : NULL;
    if (why != NULL)
        complain(errors, key, path, why);
    return why == NULL;
}

typedef const char *take_pem(SSL_CTX *ctx, BIO *pem);

/* Hands the file's text to `take`, which returns what is wrong with it, or NULL. */
static bool load(SSL_CTX *ctx, take_pem *take, const char *key, const char *path,
                 struct buf *errors)
{
    struct buf text = BUF_INIT;
    bool ok = slurp(&text, key, path, errors);
    if (ok) {
        ERR_clear_error();
        BIO *pem = BIO_new_mem_buf(text.data, (int)text.len);
        const char *why = pem == NULL ? err_text(ERR_NOMEM) : take(ctx, pem);
        if (why != NULL)
            complain(errors, key, path, why);
        BIO_free(pem);
        ok = why == NULL;
    }
    ERR_clear_error();
    buf_forget(&text); /* may hold a private key */
    return ok;
}

/* After PEM_read_bio_X509 found no more certificate: NULL if it just came to the end. */
static const char *why_no_more(size_t found)
{
    if (ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
        return "a certificate in it is damaged";
    return found == 0 ? "it has no certificate in PEM form (-----BEGIN CERTIFICATE-----)" : NULL;
}

static const char *take_ca(SSL_CTX *ctx, BIO *pem)
{
    X509_STORE *store = SSL_CTX_get_cert_store(ctx);
    size_t found = 0;
    for (X509 *x; (x = PEM_read_bio_X509_AUX(pem, NULL, NULL, NULL)) != NULL; found++) {
        int ok = X509_STORE_add_cert(store, x); /* one that is there already is no error */
        X509_free(x);
        if (ok != 1)
            return openssl_says();
    }
    return why_no_more(found);
}

static const char *take_cert(SSL_CTX *ctx, BIO *pem)
{
    size_t found = 0;
    for (X509 *x; (x = PEM_read_bio_X509_AUX(pem, NULL, NULL, NULL)) != NULL; found++) {
        long ok = found == 0 ? SSL_CTX_use_certificate(ctx, x) : SSL_CTX_add1_chain_cert(ctx, x);
        X509_free(x);
        if (ok != 1)
            return openssl_says();
    }
    return why_no_more(found);
}

/* Instead of OpenSSL's, which would ask on the terminal. */
static int no_password(char *out, int size, int writing, void *asked)
{
    (void)out;
    (void)size;
    (void)writing;
    *(bool *)asked = true;
    return -1;
}

static const char *take_key(SSL_CTX *ctx, BIO *pem)
{
    bool asked = false;
    EVP_PKEY *key = PEM_read_bio_PrivateKey(pem, NULL, no_password, &asked);
    if (key == NULL)
        return asked ? "the key is encrypted: decrypt it (openssl pkey), and protect the file"
                     : "it has no private key in PEM form (-----BEGIN PRIVATE KEY-----)";
    int ok = SSL_CTX_use_PrivateKey(ctx, key);
    EVP_PKEY_free(key);
    return ok == 1 ? NULL
           : ERR_GET_REASON(ERR_peek_last_error()) == X509_R_KEY_VALUES_MISMATCH ||
                   ERR_GET_REASON(ERR_peek_last_error()) == X509_R_KEY_TYPE_MISMATCH
               ? "the key is not that of the certificate in redis.tls.cert"
               : openssl_says();
}

/* The context. */

static bool read_files(SSL_CTX *ctx, const struct redis_tls_options *o, struct buf *errors)
{
    bool ok = true;
    if (given(o->ca)) {
        ok = load(ctx, take_ca, "ca", o->ca, errors);
    } else if (SSL_CTX_set_default_verify_paths(ctx) != 1) {
        complain(errors, "ca", "the system's trusted certificates", openssl_says());
        ok = false;
    }
    /* A key that stands with a bad certificate would only be said not to fit. */
    bool cert = !given(o->cert) || load(ctx, take_cert, "cert", o->cert, errors);
    return cert && (!given(o->key) || load(ctx, take_key, "key", o->key, errors)) && ok;
}

struct redis_tls *redis_tls_create(const struct redis_tls_options *options, struct buf *errors)
{
    struct redis_tls *tls = calloc(1, sizeof *tls);
    if (tls != NULL) {
        tls->ctx = SSL_CTX_new(TLS_client_method());
        tls->server_name = given(options->server_name) ? strdup(options->server_name) : NULL;
    }
    if (tls == NULL || tls->ctx == NULL ||
        (given(options->server_name) && tls->server_name == NULL)) {
        buf_printf(errors, "redis.tls: %s\n", err_text(ERR_NOMEM));
        redis_tls_destroy(tls);
        return NULL;
    }
    SSL_CTX_set_verify(tls->ctx, SSL_VERIFY_PEER, NULL);
    (void)SSL_CTX_set_session_cache_mode(tls->ctx, SSL_SESS_CACHE_OFF);
    (void)SSL_CTX_set_mode(tls->ctx, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    if (SSL_CTX_set_min_proto_version(tls->ctx, TLS1_2_VERSION) != 1) {
        buf_printf(errors, "redis.tls: %s\n", openssl_says());
        redis_tls_destroy(tls);
        return NULL;
    }
    if (!read_files(tls->ctx, options, errors)) {
        redis_tls_destroy(tls);
        return NULL;
    }
    return tls;
}

void redis_tls_destroy(struct redis_tls *tls)
{
    if (tls == NULL)
        return;
    SSL_CTX_free(tls->ctx); /* what is open holds on to it */
    free(tls->server_name);
    free(tls);
}

/* One connection. */

/* Certificates know neither the dot at the end of a name nor the zone of an address. */
static void bare_name(char name[ADDR_HOST_MAX + 1], const char *host)
{
    (void)snprintf(name, ADDR_HOST_MAX + 1, "%s", host);
    size_t len = strcspn(name, "%");
    if (len > 1 && name[len] == '\0' && name[len - 1] == '.')
        len--;
    name[len] = '\0';
}

static bool is_address(const char *name)
{
    unsigned char address[sizeof(struct in6_addr)];
    return inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1;
}

SSL *redis_tls_open(const struct redis_tls *tls, const struct addr *addr,
                    char name[ADDR_HOST_MAX + 1])
{
    SSL *ssl = SSL_new(tls->ctx);
    if (ssl == NULL)
        return NULL;
    bare_name(name, tls->server_name != NULL ? tls->server_name : addr->host);
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    /* Were the name not set, any name would do: so that is no connection at all. */
    bool ok = is_address(name) ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name) == 1
                               : name[0] != '\0' && SSL_set1_host(ssl, name) == 1 &&
                                     SSL_set_tlsext_host_name(ssl, name) == 1;
    if (!ok) {
        SSL_free(ssl);
        return NULL;
    }
    SSL_set_connect_state(ssl);
    return ssl;
}
