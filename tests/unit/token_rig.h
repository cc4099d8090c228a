/* Keys and tokens for tests, made with OpenSSL alone, so that what verifies them meets another
 * hand. RSA keys are made once per process. */
#ifndef TICKERD_TESTS_TOKEN_RIG_H
#define TICKERD_TESTS_TOKEN_RIG_H

#include <openssl/evp.h>
#include <stdint.h>

#include "tickerd/wire/token.h"

/* 64 bytes: enough for each HS*. */
#define RIG_SECRET "0123456789abcdef0123456789ABCDEF0123456789abcdef0123456789ABCDEF"
#define RIG_OTHER_SECRET "another secret of 64 bytes, which nobody but its one owner knows"

/* A moment for tests, and what a good token says then. */
enum { RIG_NOW = 1700000000 };

/* Keys of the rig; the rig's own until rig_free_keys. */
EVP_PKEY *rig_rsa(void);
EVP_PKEY *rig_other_rsa(void);
EVP_PKEY *rig_p256(void);
EVP_PKEY *rig_p384(void);
/* The private key that goes with the algorithm; NULL for HS*, which go with RIG_SECRET. */
EVP_PKEY *rig_key(enum token_alg alg);
int rig_free_keys(void **state); /* the tear-down of a group of tests; 0 */

/* PEM text of the public or the private part; free it. */
char *rig_pem(EVP_PKEY *key);
char *rig_private_pem(EVP_PKEY *key);

/* The inside of a public JWK, `"kty":"RSA","n":…`, without alg and kid; free it. */
char *rig_jwk(EVP_PKEY *key);

/* Append base64url without padding. */
void rig_base64url(struct buf *out, const void *bytes, size_t len);

/* Sign `input` as the algorithm says; `key` or, if NULL, the secret. Appends the raw signature. */
void rig_signature(struct buf *out, enum token_alg alg, EVP_PKEY *key, const void *secret,
                   size_t secret_len, const char *input, size_t input_len);

/* A token of this header and these claims, signed with the rig's key for the algorithm. Free it. */
char *rig_token(enum token_alg alg, const char *header, const char *claims);
/* The same with another key or secret. */
char *rig_token_by(enum token_alg alg, EVP_PKEY *key, const void *secret, size_t secret_len,
                   const char *header, const char *claims);
/* The same with the usual header, {"alg":"…"}. */
char *rig_plain_token(enum token_alg alg, const char *claims);

/* A ring with the rig's one key for the algorithm; destroy it. */
struct keyring *rig_ring(enum token_alg alg, const char *kid);

/* Verify at RIG_NOW without rules but the claim `channels` and no leeway. ERR_OK or the fault, as
 * -1 - fault; *out (may be NULL) is to be finished. */
int rig_verify(const struct keyring *k, const char *token, struct token *out);
#define RIG_FAULT(fault) (-1 - (int)(fault))

void rig_expect_fault(const struct keyring *k, const char *token, enum token_fault fault);
/* The same for a token that is given away. */
void rig_expect_refusal(const struct keyring *k, char *token, enum token_fault fault);

#endif
