#include "redis_tls_engine.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "redis_tls_internal.h"
#include "tickerd/base/err.h"

/* Plain bytes are handed over in portions as large as those of the socket, so that what arrived
 * together is one batch. Writes are sealed in slices, so that OpenSSL's buffer stays small. */
enum { PLAIN_MAX = 64 * 1024, SLICE = 16 * 1024 };

struct tls_engine {
    SSL *ssl;
    BIO *in, *out; /* owned by ssl */
    bool shaken;   /* the first handshake is done; OpenSSL itself forgets that in an error */
    int ended;     /* 0, or what ended it */
    struct buf sealed;
    char name[ADDR_HOST_MAX + 1];
    char reason[ADDR_HOST_MAX + 160];
    char plain[PLAIN_MAX];
};

struct tls_engine *tls_engine_create(const struct redis_tls *tls, const struct addr *addr)
{
    struct tls_engine *e = calloc(1, sizeof *e);
    if (e == NULL)
        return NULL;
    e->ssl = redis_tls_open(tls, addr, e->name);
    e->in = BIO_new(BIO_s_mem());
    e->out = BIO_new(BIO_s_mem());
    if (e->ssl == NULL || e->in == NULL || e->out == NULL) {
        BIO_free(e->in);
        BIO_free(e->out);
        SSL_free(e->ssl);
        free(e);
        return NULL;
    }
    SSL_set_bio(e->ssl, e->in, e->out);
    return e;
}

void tls_engine_destroy(struct tls_engine *e)
{
    if (e == NULL)
        return;
    SSL_free(e->ssl);
    buf_finish(&e->sealed);
    free(e);
}

static int end(struct tls_engine *e, int rc, const char *why)
{
    e->ended = rc;
    (void)snprintf(e->reason, sizeof e->reason, "%s", why);
    return rc;
}

/* What OpenSSL has for the server. Returns 0 or ERR_NOMEM. */
static int collect(struct tls_engine *e)
{
    size_t n = BIO_ctrl_pending(e->out);
    if (n == 0)
        return ERR_OK;
    if (!buf_reserve(&e->sealed, n))
        return end(e, ERR_NOMEM, err_text(ERR_NOMEM));
    int got = BIO_read(e->out, e->sealed.data + e->sealed.len, (int)n);
    e->sealed.len += got > 0 ? (size_t)got : 0;
    return ERR_OK;
}

/* Why a call of OpenSSL did not succeed. ERR_AGAIN: it wants more bytes. */
static int verdict(struct tls_engine *e, int returned)
{
    int error = SSL_get_error(e->ssl, returned);
    if (error == SSL_ERROR_WANT_READ)
        return ERR_AGAIN;
    if (error == SSL_ERROR_ZERO_RETURN)
        return end(e, ERR_CLOSED, "the server closed the connection");
    e->ended = ERR_INVALID;
    redis_tls_explain(e->reason, sizeof e->reason, e->ssl, e->name, !e->shaken);
    ERR_clear_error();
    return e->ended;
}

int tls_engine_feed(struct tls_engine *e, const char *data, size_t n)
{
    if (BIO_write(e->in, data, (int)n) == (int)n)
        return ERR_OK;
    return end(e, ERR_NOMEM, err_text(ERR_NOMEM));
}

int tls_engine_handshake(struct tls_engine *e)
{
    if (e->ended != ERR_OK)
        return e->ended;
    ERR_clear_error();
    int done = SSL_do_handshake(e->ssl);
    int rc = done == 1 ? ERR_OK : verdict(e, done);
    e->shaken = done == 1;
    int kept = collect(e);
    return kept != ERR_OK ? kept : rc;
}

int tls_engine_read(struct tls_engine *e, const char **data, size_t *n)
{
    size_t got = 0;
    int rc = e->ended;
    *data = e->plain;
    *n = 0;
    while (rc == ERR_OK && *n < PLAIN_MAX) {
        ERR_clear_error();
        int done = SSL_read_ex(e->ssl, e->plain + *n, PLAIN_MAX - *n, &got);
        if (done != 1)
            rc = verdict(e, done);
        else
            *n += got;
    }
    int kept = collect(e);
    /* What came before the end goes first; the end is told by the next call. */
    if (rc == ERR_AGAIN || *n > 0)
        return kept;
    return rc;
}

int tls_engine_write(struct tls_engine *e, const char *data, size_t n)
{
    size_t at = 0;
    int rc = e->ended;
    while (rc == ERR_OK && at < n) {
        size_t slice = n - at < SLICE ? n - at : SLICE, taken = 0;
        ERR_clear_error();
        int done = SSL_write_ex(e->ssl, data + at, slice, &taken);
        if (done != 1)
            rc = verdict(e, done);
        at += taken;
        int kept = collect(e);
        rc = rc == ERR_OK ? kept : rc;
    }
    /* A renegotiation begins when reading, so never between two slices. */
    if (rc == ERR_AGAIN && at > 0)
        return end(e, ERR_INVALID, "TLS: a write was cut short");
    return rc;
}

void tls_engine_bye(struct tls_engine *e)
{
    if (e->ended == ERR_INVALID || e->ended == ERR_NOMEM || !SSL_is_init_finished(e->ssl))
        return;
    ERR_clear_error();
    (void)SSL_shutdown(e->ssl);
    ERR_clear_error();
    (void)collect(e);
}

struct buf *tls_engine_out(struct tls_engine *e)
{
    return &e->sealed;
}

const char *tls_engine_reason(const struct tls_engine *e)
{
    return e->reason;
}
