/* Verifying: the form first, then the header, then the signature, then the claims. Whatever cjose
 * is lax about (spelling of base64url, names that come twice, crit, the length of a signature, the
 * curve) is refused before it sees the token. */
#include <cjose/jws.h>
#include <openssl/err.h>
#include <string.h>
#include <strings.h>

#include "tickerd/base/err.h"
#include "tickerd/wire/base64url.h"
#include "token_internal.h"

static const char *const faults[TOKEN_FAULT_COUNT] = {
    [TOKEN_MALFORMED] = "the token is not a signed JWT in compact form",
    [TOKEN_TOO_LONG] = "the token is longer than 8192 bytes",
    [TOKEN_UNSUPPORTED] = "the token is signed or typed in a way that is not accepted here",
    [TOKEN_UNKNOWN_KEY] = "the token does not name a key (kid) that is known here",
    [TOKEN_BAD_SIGNATURE] = "the signature of the token does not fit",
    [TOKEN_EXPIRED] = "the token has expired",
    [TOKEN_TOO_EARLY] = "the token is not valid yet (nbf or iat)",
    [TOKEN_WRONG_ISSUER] = "the token comes from another issuer (iss)",
    [TOKEN_WRONG_AUDIENCE] = "the token is meant for another audience (aud)",
    [TOKEN_BAD_CLAIM] = "a claim of the token has a value that is not allowed",
};
_Static_assert(TOKEN_MAX == 8192, "the text of TOKEN_TOO_LONG");

const char *token_fault_text(enum token_fault fault)
{
    return faults[fault];
}

/* An object, names once each; else NULL and ERR_INVALID or ERR_NOMEM in *err. */
static json_t *read_object(const char *text, size_t len, int *err)
{
    json_error_t error;
    json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &error);
    bool nomem = root == NULL && json_error_code(&error) == json_error_out_of_memory;
    if (json_is_object(root))
        return root;
    *err = nomem ? ERR_NOMEM : ERR_INVALID;
    json_decref(root);
    return NULL;
}

/* ---- the form -------------------------------------------------------------------------------- */

enum { HEADER, PAYLOAD, SIGNATURE, PARTS };

/* The parts, decoded. */
struct parts {
    struct buf of[PARTS];
};

static void parts_finish(struct parts *p)
{
    for (size_t i = 0; i < PARTS; i++)
        buf_finish(&p->of[i]);
}

static int take_part(struct buf *out, const char *text, size_t len)
{
    if (len > 0 && base64url_decode(out, text, len))
        return ERR_OK;
    return out->failed ? ERR_NOMEM : ERR_INVALID;
}

/* Three parts between two dots, none empty (RFC 7515 §7.1). */
static int split(struct parts *p, const char *text, size_t len)
{
    const char *end = text + len;
    for (size_t i = 0; i < PARTS; i++) {
        const char *dot = i == SIGNATURE ? end : memchr(text, '.', (size_t)(end - text));
        if (dot == NULL)
            return ERR_INVALID;
        int err = take_part(&p->of[i], text, (size_t)(dot - text));
        if (err != ERR_OK)
            return err;
        text = dot + 1;
    }
    return ERR_OK;
}

/* ---- the header ------------------------------------------------------------------------------ */

struct header {
    json_t *json;
    enum token_alg alg;
    const char *kid; /* of json; NULL: none */
};

/* Tokens that say they are of another type are made for another use with the same key
 * (RFC 8725 §3.11); JWT and access tokens (RFC 9068) are what comes here. */
static bool good_type(const char *typ)
{
    static const char media[] = "application/";
    if (strncasecmp(typ, media, sizeof media - 1) == 0)
        typ += sizeof media - 1;
    return strcasecmp(typ, "JWT") == 0 || strcasecmp(typ, "at+jwt") == 0;
}

/* Header members that change how the rest is read, and that nothing here knows to do. */
static bool has_extensions(const json_t *header)
{
    static const char *const names[] = {"crit", "b64", "zip"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (json_object_get(header, names[i]) != NULL)
            return true;
    }
    return false;
}

/* Keys that come with a token (jwk, jku, x5u, x5c) are not looked at: they prove nothing. */
static bool read_header(struct header *h, enum token_fault *fault)
{
    const json_t *alg = json_object_get(h->json, "alg"), *kid = json_object_get(h->json, "kid"),
                 *typ = json_object_get(h->json, "typ");
    *fault = TOKEN_MALFORMED;
    if (!json_is_string(alg) || (kid != NULL && !json_is_string(kid)) ||
        (typ != NULL && !json_is_string(typ)))
        return false;
    *fault = TOKEN_UNSUPPORTED;
    h->alg = token_alg_named(json_string_value(alg));
    h->kid = json_string_value(kid);
    return h->alg != TOKEN_ALG_COUNT && !has_extensions(h->json) &&
           (typ == NULL || good_type(json_string_value(typ)));
}

/* ---- the signature --------------------------------------------------------------------------- */

struct candidates {
    const struct token_key *keys[TOKEN_KEYS_MAX];
    size_t count;
    bool of_alg; /* there are keys of this algorithm, fit or not */
};

/* The keys of exactly this algorithm that may have signed a token with this kid or without one. */
static bool choose(const struct keyring *k, const struct header *h, struct candidates *c,
                   enum token_fault *fault)
{
    for (size_t i = 0; i < k->count; i++) {
        const struct token_key *key = &k->keys[i];
        if (key->alg != h->alg)
            continue;
        c->of_alg = true;
        if (h->kid == NULL || key->kid == NULL || strcmp(h->kid, key->kid) == 0)
            c->keys[c->count++] = key;
    }
    *fault = c->of_alg ? TOKEN_UNKNOWN_KEY : TOKEN_UNSUPPORTED;
    return c->count > 0 && (h->kid != NULL || c->count <= TOKEN_TRIES_MAX);
}

/* The key that signed it, or NULL. */
static const struct token_key *find_signer(const struct candidates *c, cjose_jws_t *jws,
                                           size_t signature, int *err)
{
    const struct token_key *found = NULL;
    for (size_t i = 0; i < c->count && found == NULL && *err != ERR_NOMEM; i++) {
        cjose_err why = {.code = CJOSE_ERR_NONE};
        if (c->keys[i]->signature != signature)
            continue;
        if (cjose_jws_verify(jws, c->keys[i]->jwk, &why))
            found = c->keys[i];
        else if (why.code == CJOSE_ERR_NO_MEMORY)
            *err = ERR_NOMEM;
    }
    ERR_clear_error();
    return found;
}

static int check_signature(const struct keyring *k, const struct header *h, const char *text,
                           size_t len, size_t signature, uint8_t id[TOKEN_ID_LEN],
                           enum token_fault *fault)
{
    struct candidates c = {.count = 0};
    cjose_err why = {.code = CJOSE_ERR_NONE};
    int err = ERR_INVALID;
    if (!choose(k, h, &c, fault))
        return ERR_INVALID;
    cjose_jws_t *jws = cjose_jws_import(text, len, &why);
    if (jws == NULL) {
        *fault = TOKEN_MALFORMED;
        return why.code == CJOSE_ERR_NO_MEMORY ? ERR_NOMEM : ERR_INVALID;
    }
    const struct token_key *signer = find_signer(&c, jws, signature, &err);
    cjose_jws_release(jws);
    *fault = TOKEN_BAD_SIGNATURE;
    if (signer == NULL)
        return err;
    memcpy(id, signer->id, TOKEN_ID_LEN);
    return ERR_OK;
}

/* ---- all of it ------------------------------------------------------------------------------- */

static int check_claims(const struct buf *payload, const struct token_rules *rules, int64_t now_s,
                        struct token *out, enum token_fault *fault)
{
    int err = ERR_OK;
    json_t *claims = read_object(payload->data, payload->len, &err);
    *fault = TOKEN_MALFORMED;
    if (claims != NULL)
        err = token_read_claims(claims, rules, now_s, out, fault);
    json_decref(claims);
    return err;
}

static int verify_parts(const struct keyring *k, const struct token_rules *rules, const char *text,
                        size_t len, const struct parts *p, int64_t now_s, struct token *out,
                        enum token_fault *fault)
{
    int err = ERR_OK;
    struct header h = {.json = read_object(p->of[HEADER].data, p->of[HEADER].len, &err)};
    if (h.json == NULL)
        return err;
    err = read_header(&h, fault)
              ? check_signature(k, &h, text, len, p->of[SIGNATURE].len, out->key, fault)
              : ERR_INVALID;
    json_decref(h.json);
    return err == ERR_OK ? check_claims(&p->of[PAYLOAD], rules, now_s, out, fault) : err;
}

int token_verify(const struct keyring *k, const struct token_rules *rules, const char *text,
                 size_t len, int64_t now_s, struct token *out, enum token_fault *fault)
{
    struct parts p = {{BUF_INIT, BUF_INIT, BUF_INIT}};
    *out = (struct token){0};
    *fault = TOKEN_TOO_LONG;
    if (len > TOKEN_MAX)
        return ERR_INVALID;
    *fault = TOKEN_MALFORMED;
    int err = split(&p, text, len);
    if (err == ERR_OK)
        err = verify_parts(k, rules, text, len, &p, now_s, out, fault);
    parts_finish(&p);
    return err;
}
