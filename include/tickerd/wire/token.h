/* Tokens: JSON Web Tokens (RFC 7519), signed (JWS compact serialization, RFC 7515), and the keys
 * that verify them. Signatures are checked by cjose over OpenSSL; what that leaves open is closed
 * here: the algorithm is the key's, never the token's choice (RFC 8725 §3.1), `crit` is refused,
 * names in header and claims come once, and sizes are bounded before anything is computed. */
#ifndef TICKERD_WIRE_TOKEN_H
#define TICKERD_WIRE_TOKEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tickerd/base/buf.h"
#include "tickerd/wire/config.h"
#include "tickerd/wire/token_alg.h"

enum {
    TOKEN_MAX = 8192,      /* bytes of a token; longer ones are refused unread */
    TOKEN_SECRET_MIN = 32, /* bytes of an HMAC secret; HS384 and HS512 want 48 and 64 */
    TOKEN_SECRET_MAX = 8192,
    TOKEN_RSA_BITS_MIN = 2048,
    TOKEN_RSA_BITS_MAX = 16384, /* OpenSSL's own limit */
    TOKEN_KEYS_MAX = 64,
    TOKEN_TRIES_MAX = 8,     /* keys of one algorithm that a token without a kid is tried with */
    TOKEN_SUBJECT_MAX = 255, /* bytes of `sub` */
    TOKEN_ID_LEN = 16,       /* bytes of a key's fingerprint */
};

/* A set of keys. Built by one thread, then immutable: any number of threads may verify with it. */
struct keyring;

/* NULL: out of memory. */
struct keyring *keyring_create(void);
/* NULL is allowed. */
void keyring_destroy(struct keyring *k);

/* Add one key. `bytes` is the secret itself for HS*, else a PEM public key or certificate (whose
 * dates and issuer are not looked at); `kid` may be NULL. 0, ERR_NOMEM, or ERR_INVALID with a
 * sentence appended to `why` that never quotes the key: too short a secret (RFC 7518 §3.2), RSA
 * beyond TOKEN_RSA_BITS_*, another kind or curve than the algorithm needs, the same kid and
 * algorithm twice, more than TOKEN_TRIES_MAX keys of an algorithm without kid, too many keys, not
 * PEM, a private key. Unless 0, nothing is added. */
int keyring_add(struct keyring *k, enum token_alg alg, const char *kid, const void *bytes,
                size_t len, struct buf *why);

/* Add the keys of a JSON Web Key Set (RFC 7517 §5): members of kty oct, RSA, EC, with their alg or,
 * without one, HS256, RS256, and ES256 or ES384 by curve. Keys for something else (use other than
 * sig, key_ops without verify, kinds, curves and algorithms not known here) are left out; an unfit
 * key (see keyring_add), a private one even if it would be left out, or no usable key at all is an
 * error. Returns as keyring_add. */
int keyring_add_jwks(struct keyring *k, const char *text, size_t len, struct buf *why);

size_t keyring_count(const struct keyring *k);

/* Whether there is a secret (of HS*) among the keys. */
bool keyring_has_secret(const struct keyring *k);

/* Whether a key with this fingerprint (of its algorithm and its material) is there. */
bool keyring_has(const struct keyring *k, const uint8_t id[TOKEN_ID_LEN]);

/* How many keys of `k` are not in `other`. */
size_t keyring_beyond(const struct keyring *k, const struct keyring *other);

/* What a token must say beside its signature. */
struct token_rules {
    const char *issuer;   /* NULL: anything */
    const char *audience; /* NULL: anything */
    const char *claim;    /* the claim that lists channels and globs */
    int64_t leeway_s;
};

/* What a good token says. */
struct token {
    char *subject; /* owned; NULL: it has no sub */
    bool expires;
    int64_t exp_s;           /* seconds since the epoch, without the leeway; if it expires */
    struct strings channels; /* names and globs; owned; empty: none */
    uint8_t key[TOKEN_ID_LEN];
};

enum token_fault {
    TOKEN_MALFORMED, /* no JWS, or header or claims that cannot be read or come twice */
    TOKEN_TOO_LONG,
    TOKEN_UNSUPPORTED, /* alg (none, unknown, of no key here), crit, b64, zip, typ of other tokens
                        */
    TOKEN_UNKNOWN_KEY, /* a kid that is not there, or none and more than TOKEN_TRIES_MAX keys */
    TOKEN_BAD_SIGNATURE,
    TOKEN_EXPIRED,
    TOKEN_TOO_EARLY, /* nbf or iat in the future */
    TOKEN_WRONG_ISSUER,
    TOKEN_WRONG_AUDIENCE,
    TOKEN_BAD_CLAIM, /* a claim of the wrong type or beyond its range */
    TOKEN_FAULT_COUNT
};

/* A sentence for the client: says what is wrong with the token and never quotes it. Static, plain
 * ASCII without quotes or backslashes, so that it may stand in a header (RFC 6750 §3). */
const char *token_fault_text(enum token_fault fault);

/* Verify a token at this moment (seconds since the epoch). The signature is looked at first, so
 * faults from TOKEN_EXPIRED on are told only to who holds an authentic token. 0: *out is filled in,
 * free it with token_finish. ERR_INVALID with *fault, or ERR_NOMEM: nothing to finish. */
int token_verify(const struct keyring *k, const struct token_rules *rules, const char *text,
                 size_t len, int64_t now_s, struct token *out, enum token_fault *fault);
void token_finish(struct token *t);

#endif
