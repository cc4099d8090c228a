/* Keys from a JSON Web Key Set (RFC 7517). */
#include <string.h>

#include "tickerd/base/err.h"
#include "tickerd/wire/base64url.h"
#include "token_internal.h"

/* What becomes of a member. */
enum verdict { TAKE, LEAVE_OUT, REFUSE };

static enum verdict refuse(struct buf *why, const char *reason)
{
    buf_str(why, reason);
    return REFUSE;
}

/* A member's string; NULL where it is absent. */
static bool text_member(const json_t *jwk, const char *name, const char **out)
{
    const json_t *value = json_object_get(jwk, name);
    *out = json_string_value(value);
    return value == NULL || *out != NULL;
}

/* Whether its purpose is verifying (RFC 7517 §4.2, §4.3). */
static enum verdict judge_purpose(const json_t *jwk, struct buf *why)
{
    const char *use;
    const json_t *ops = json_object_get(jwk, "key_ops"), *op;
    size_t i;
    if (!text_member(jwk, "use", &use))
        return refuse(why, "its use is not a string");
    if (use != NULL && strcmp(use, "sig") != 0)
        return LEAVE_OUT;
    if (ops == NULL)
        return TAKE;
    if (!json_is_array(ops))
        return refuse(why, "its key_ops is not a list");
    json_array_foreach(ops, i, op)
    {
        if (json_is_string(op) && strcmp(json_string_value(op), "verify") == 0)
            return TAKE;
    }
    return LEAVE_OUT;
}

/* The algorithm where the key does not name one. */
static enum token_alg usual_alg(const char *kty, const char *crv)
{
    if (strcmp(kty, "oct") == 0)
        return TOKEN_HS256;
    if (strcmp(kty, "RSA") == 0)
        return TOKEN_RS256;
    if (strcmp(kty, "EC") != 0 || crv == NULL)
        return TOKEN_ALG_COUNT;
    return strcmp(crv, "P-256") == 0   ? TOKEN_ES256
           : strcmp(crv, "P-384") == 0 ? TOKEN_ES384
                                       : TOKEN_ALG_COUNT;
}

static enum verdict judge_alg(const json_t *jwk, const char *kty, enum token_alg *alg,
                              struct buf *why)
{
    const char *name, *crv;
    if (!text_member(jwk, "alg", &name) || !text_member(jwk, "crv", &crv))
        return refuse(why, "its alg or crv is not a string");
    enum token_alg usual = usual_alg(kty, crv);
    *alg = name == NULL ? usual : token_alg_named(name);
    if (*alg == TOKEN_ALG_COUNT || usual == TOKEN_ALG_COUNT)
        return LEAVE_OUT;
    /* One algorithm for each curve, so the curve says it. */
    if (token_alg_kind(*alg) != token_alg_kind(usual) ||
        (token_alg_kind(usual) == TOKEN_EC && *alg != usual))
        return refuse(why, "its alg does not go with its kty or crv");
    return TAKE;
}

static enum verdict judge(const json_t *jwk, enum token_alg *alg, const char **kid, struct buf *why)
{
    const char *kty;
    if (!json_is_object(jwk))
        return refuse(why, "it is not an object");
    if (!text_member(jwk, "kty", &kty) || kty == NULL)
        return refuse(why, "its kty is not a string");
    if (strcmp(kty, "oct") != 0 && json_object_get(jwk, "d") != NULL)
        return refuse(why, "it is a private key (it has a d), which only whoever signs the tokens "
                           "may have: give the set of the public keys");
    if (!text_member(jwk, "kid", kid))
        return refuse(why, "its kid is not a string");
    enum verdict verdict = judge_purpose(jwk, why);
    return verdict == TAKE ? judge_alg(jwk, kty, alg, why) : verdict;
}

/* A member's bytes. */
static bool take_bytes(const json_t *jwk, const char *name, struct buf *out, struct buf *why)
{
    const char *text = json_string_value(json_object_get(jwk, name));
    if (text != NULL && text[0] != '\0' && base64url_decode(out, text, strlen(text)))
        return true;
    if (!out->failed)
        buf_printf(why, "its %s is missing, or not base64url without padding", name);
    return false;
}

/* Numbers have no leading zeros (RFC 7518 §6.3.1), but not everybody knows. */
static void strip_zeros(struct buf *number)
{
    size_t zeros = 0;
    while (zeros < number->len && number->data[zeros] == 0)
        zeros++;
    buf_consume(number, zeros);
}

static int add_member(struct keyring *k, const json_t *jwk, enum token_alg alg, const char *kid,
                      struct buf *why)
{
    struct token_material m = {.kind = token_alg_kind(alg), .a = BUF_INIT, .b = BUF_INIT};
    static const char *const names[][2] = {
        [TOKEN_OCT] = {"k", NULL}, [TOKEN_RSA] = {"n", "e"}, [TOKEN_EC] = {"x", "y"}};
    const char *const *name = names[m.kind];
    int err = ERR_INVALID;
    if (take_bytes(jwk, name[0], &m.a, why) &&
        (name[1] == NULL || take_bytes(jwk, name[1], &m.b, why))) {
        if (m.kind == TOKEN_RSA) {
            strip_zeros(&m.a);
            strip_zeros(&m.b);
        }
        err = token_key_add(k, alg, kid, &m, why);
    }
    if (m.a.failed || m.b.failed)
        err = ERR_NOMEM;
    token_material_finish(&m);
    return err;
}

static int add_members(struct keyring *k, const json_t *keys, struct buf *why)
{
    size_t i;
    const json_t *jwk;
    json_array_foreach(keys, i, jwk)
    {
        struct buf reason = BUF_INIT;
        enum token_alg alg = TOKEN_ALG_COUNT;
        const char *kid = NULL;
        enum verdict verdict = judge(jwk, &alg, &kid, &reason);
        int err = verdict == TAKE        ? add_member(k, jwk, alg, kid, &reason)
                  : verdict == LEAVE_OUT ? ERR_OK
                                         : ERR_INVALID;
        if (err == ERR_INVALID)
            buf_printf(why, "keys[%zu]: %s", i, buf_cstr(&reason));
        buf_finish(&reason);
        if (err != ERR_OK)
            return err;
    }
    return ERR_OK;
}

static int add_set(struct keyring *k, const json_t *set, struct buf *why)
{
    const json_t *keys = json_object_get(set, "keys");
    size_t before = k->count;
    if (!json_is_array(keys)) {
        buf_str(why, "it has no list \"keys\": a JSON Web Key Set is {\"keys\": […]}");
        return ERR_INVALID;
    }
    int err = add_members(k, keys, why);
    if (err != ERR_OK || k->count > before)
        return err;
    buf_str(why, "none of its keys can verify tokens: they are for something else, or of kinds or "
                 "algorithms not known here");
    return ERR_INVALID;
}

int keyring_add_jwks(struct keyring *k, const char *text, size_t len, struct buf *why)
{
    json_error_t error;
    size_t before = k->count;
    json_t *set = json_loadb(text, len, JSON_REJECT_DUPLICATES, &error);
    int err = ERR_INVALID;
    if (set != NULL)
        err = add_set(k, set, why);
    else if (json_error_code(&error) == json_error_out_of_memory)
        err = ERR_NOMEM;
    else if (json_error_code(&error) == json_error_duplicate_key)
        buf_printf(why, "a name stands twice in an object, at line %d", error.line);
    else /* jansson's words may quote a secret */
        buf_printf(why, "it is not valid JSON, at line %d", error.line);
    if (err != ERR_OK)
        token_keys_cut(k, before);
    json_decref(set);
    return err;
}
