/* Shared by the token*.c files only.
 *
 * A key from any source first becomes its material in one canonical form; one function checks it,
 * fingerprints it and hands it to cjose. So every source has the same rules, and the same key from
 * a PEM file and from a key set is the same. */
#ifndef TICKERD_WIRE_TOKEN_INTERNAL_H
#define TICKERD_WIRE_TOKEN_INTERNAL_H

#include <cjose/jwk.h>
#include <jansson.h>

#include "tickerd/wire/token.h"

enum token_kind { TOKEN_OCT, TOKEN_RSA, TOKEN_EC };

struct token_material {
    enum token_kind kind;
    /* oct: the secret and nothing; RSA: modulus and exponent without leading zeros; EC: x and y,
     * each as long as the curve's field. */
    struct buf a, b;
};

struct token_key {
    enum token_alg alg;
    char *kid;        /* owned; NULL: none */
    cjose_jwk_t *jwk; /* owned */
    size_t signature; /* bytes of each of its signatures */
    uint8_t id[TOKEN_ID_LEN];
};

struct keyring {
    struct token_key keys[TOKEN_KEYS_MAX];
    size_t count;
};

/* token_keys.c */
enum token_kind token_alg_kind(enum token_alg alg);
/* Bytes of a coordinate of the algorithm's curve; ES* only. */
size_t token_alg_field(enum token_alg alg);
/* Check material and add it as a key. Returns as keyring_add; the material stays the caller's. */
int token_key_add(struct keyring *k, enum token_alg alg, const char *kid,
                  const struct token_material *m, struct buf *why);
/* Take the keys off again that were added last. */
void token_keys_cut(struct keyring *k, size_t count);
/* Free, leaving no trace of a secret. */
void token_material_finish(struct token_material *m);

/* token_pem.c */
/* Take the public key out of PEM text. 0, or as keyring_add; finish *m in any case. */
int token_pem_read(struct token_material *m, const char *text, size_t len, struct buf *why);

/* token_claims.c */
/* Judge claims (an object) and copy them; out->key is left alone. Returns as token_verify. */
int token_read_claims(const json_t *claims, const struct token_rules *rules, int64_t now_s,
                      struct token *out, enum token_fault *fault);

#endif
