/* For tests of TLS: a CA with its file, and a server's end of TLS that lives in memory. Everything
 * asserts. */
#ifndef TICKERD_TESTS_TLS_RIG_H
#define TICKERD_TESTS_TLS_RIG_H

#include <openssl/ssl.h>
#include <stddef.h>

struct tls_rig {
    char dir[64];
    char ca_path[96]; /* PEM file of the CA's certificate */
    EVP_PKEY *key;    /* of the CA and, to save time, of everything that it signs */
    X509 *ca;
};

void tls_rig_start(struct tls_rig *r);
void tls_rig_stop(struct tls_rig *r);

/* A new certificate for the alternative names ("DNS:a,IP:127.0.0.1"), valid from and until so many
 * days from now. */
X509 *tls_rig_issue(struct tls_rig *r, const char *alt, int first_day, int last_day);

/* Write PEM text to a file of the rig's directory; its path goes into `path`. */
void tls_rig_write(struct tls_rig *r, const char *name, X509 *cert, EVP_PKEY *key, char path[96]);

struct tls_peer {
    SSL *ssl;
    BIO *in, *out; /* owned by ssl */
};

/* A server with a certificate for `alt`, that speaks `version` only (0: 1.2 and 1.3). */
void tls_peer_start(struct tls_peer *p, struct tls_rig *r, const char *alt, int version);
void tls_peer_start_with(struct tls_peer *p, struct tls_rig *r, X509 *cert, int version);
void tls_peer_stop(struct tls_peer *p);

/* Take sealed bytes, and go on with the handshake if it is not done. */
void tls_peer_feed(struct tls_peer *p, const char *data, size_t n);
/* Seal plain bytes. */
void tls_peer_write(struct tls_peer *p, const char *data, size_t n);
/* Plain bytes that came, at most `cap`; 0: none. */
size_t tls_peer_read(struct tls_peer *p, char *data, size_t cap);
/* Sealed bytes to be sent, at most `cap`, taken away. */
size_t tls_peer_out(struct tls_peer *p, char *data, size_t cap);

#endif
