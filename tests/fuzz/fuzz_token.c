/* Tokens and keys. The first line says what follows:
 *     sign    a header, a line end, and claims: they are signed with the right secret here, so that
 *             what lies behind the signature is reached
 *     jwks    a key set
 *     pem     PEM text
 * and anything else is a token as it comes. No token is accepted that the fixed keys did not sign,
 * and what an accepted one says is what its claims say. */
#include <jansson.h>

#include "fuzz.h"
#include "tickerd/base/err.h"
#include "tickerd/wire/topic.h"
#include "token_rig.h"

/* RFC 7515 A.2 and A.3: keys that nobody here can sign with, and what they have signed once. */
#define RFC_CLAIMS                                                                                 \
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVl" \
    "fQ"
static const char *const signed_once[] = {"eyJhbGciOiJSUzI1NiJ9." RFC_CLAIMS,
                                          "eyJhbGciOiJFUzI1NiJ9." RFC_CLAIMS};
static const char jwks[] =
    "{\"keys\":[{\"kty\":\"RSA\",\"n\":\"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_"
    "wWJcyQoTbji9k0l8W26mPddxHmf"
    "HQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_"
    "7O"
    "Mg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-"
    "UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5Zw"
    "Kh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ\","
    "\"e\":\"AQAB\"},{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":"
    "\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHv"
    "RVEU\",\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}]}";

static const struct token_rules rules = {.claim = "channels", .leeway_s = 30};
static const struct token_rules strict = {
    .claim = "channels", .issuer = "https://idp.example", .audience = "events", .leeway_s = 30};

static struct keyring *ring, *foreign;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    struct buf why = BUF_INIT;
    (void)argc;
    (void)argv;
    ring = keyring_create();
    foreign = keyring_create();
    FUZZ_CHECK(ring != NULL && foreign != NULL);
    FUZZ_CHECK(keyring_add(ring, TOKEN_HS256, "a", RIG_SECRET, 64, &why) == ERR_OK);
    FUZZ_CHECK(keyring_add_jwks(ring, jwks, sizeof jwks - 1, &why) == ERR_OK);
    FUZZ_CHECK(keyring_add(foreign, TOKEN_HS256, NULL, RIG_OTHER_SECRET, 64, &why) == ERR_OK);
    buf_finish(&why);
    return 0;
}

/* Whether this is the secret's own signature, or one of the two that others made. The text of an
 * accepted token has one spelling, so texts can be compared. */
static bool is_authentic(struct fuzz_text token)
{
    struct buf raw = BUF_INIT, text = BUF_INIT;
    const char *dot = memrchr(token.p, '.', token.len);
    size_t input = (size_t)(dot - token.p);
    bool authentic = false;
    for (size_t i = 0; i < 2; i++)
        authentic = authentic || fuzz_is((struct fuzz_text){token.p, input}, signed_once[i]);
    rig_signature(&raw, TOKEN_HS256, NULL, RIG_SECRET, 64, token.p, input);
    rig_base64url(&text, raw.data, raw.len);
    authentic = authentic || fuzz_same(dot + 1, token.len - input - 1, text.data, text.len);
    buf_finish(&raw);
    buf_finish(&text);
    return authentic;
}

static void check_accepted(const struct token *t)
{
    FUZZ_CHECK(keyring_has(ring, t->key));
    for (size_t i = 0; i < t->channels.count; i++)
        FUZZ_CHECK(topic_valid(t->channels.items[i], strlen(t->channels.items[i])));
    for (const char *p = t->subject; p != NULL && *p != '\0'; p++)
        FUZZ_CHECK((unsigned char)*p >= 0x20 && *p != 0x7f);
    FUZZ_CHECK(t->subject == NULL ||
               (t->subject[0] != '\0' && strlen(t->subject) <= TOKEN_SUBJECT_MAX));
}

/* ERR_OK and *t, or the fault as rig_verify tells it. */
static int verify_by(const struct token_rules *by, const struct keyring *k, struct fuzz_text token,
                     int64_t now_s, struct token *t)
{
    enum token_fault fault = TOKEN_FAULT_COUNT;
    char *copy = fuzz_copy(token.p, token.len);
    int err = token_verify(k, by, copy, token.len, now_s, t, &fault);
    free(copy);
    FUZZ_CHECK(err == ERR_OK || (err == ERR_INVALID && fault < TOKEN_FAULT_COUNT));
    return err == ERR_OK ? ERR_OK : RIG_FAULT(fault);
}

static int verify(const struct keyring *k, struct fuzz_text token, int64_t now_s, struct token *t)
{
    return verify_by(&rules, k, token, now_s, t);
}

static int verify_only(const struct keyring *k, struct fuzz_text token, int64_t now_s)
{
    struct token t;
    int result = verify(k, token, now_s, &t);
    if (result == ERR_OK)
        token_finish(&t);
    return result;
}

/* A token's end is where its claims say, and another bit anywhere makes it another token. */
static void check_neighbours(struct fuzz_text token, const struct token *t, uint64_t seed)
{
    char *other = fuzz_copy(token.p, token.len);
    size_t at = seed % token.len;
    other[at] = (char)(other[at] ^ (1 << (seed >> 32) % 8));
    FUZZ_CHECK(verify_only(ring, (struct fuzz_text){other, token.len}, RIG_NOW) != ERR_OK);
    FUZZ_CHECK(verify_only(ring, (struct fuzz_text){token.p, token.len - 1}, RIG_NOW) != ERR_OK);
    FUZZ_CHECK(verify_only(foreign, token, RIG_NOW) != ERR_OK);
    free(other);
    if (!t->expires)
        return;
    int64_t end = t->exp_s + rules.leeway_s;
    FUZZ_CHECK(RIG_NOW < end);
    FUZZ_CHECK(verify_only(ring, token, end - 1) == ERR_OK);
    FUZZ_CHECK(verify_only(ring, token, end) == RIG_FAULT(TOKEN_EXPIRED));
}

static int run_token(struct fuzz_text token, struct token *t)
{
    int result = verify(ring, token, RIG_NOW, t);
    if (result != ERR_OK)
        return result;
    FUZZ_CHECK(is_authentic(token));
    check_accepted(t);
    check_neighbours(token, t, fuzz_seed((const uint8_t *)token.p, token.len));
    return result;
}

/* What the claims say, read without the strictness. */
static void compare(const struct token *t, struct fuzz_text claims)
{
    json_t *json = json_loadb(claims.p, claims.len, 0, NULL);
    const json_t *exp = json_object_get(json, "exp"), *sub = json_object_get(json, "sub"),
                 *list = json_object_get(json, "channels");
    FUZZ_CHECK(json_is_object(json));
    FUZZ_CHECK(t->expires == (exp != NULL));
    if (exp != NULL) {
        double s = json_number_value(exp);
        FUZZ_CHECK((double)t->exp_s <= s && s < (double)t->exp_s + 1);
    }
    FUZZ_CHECK((t->subject == NULL) == (sub == NULL));
    if (sub != NULL)
        FUZZ_CHECK(strcmp(t->subject, json_string_value(sub)) == 0);
    FUZZ_CHECK(t->channels.count == json_array_size(list));
    for (size_t i = 0; i < t->channels.count; i++)
        FUZZ_CHECK(strcmp(t->channels.items[i], json_string_value(json_array_get(list, i))) == 0);
    json_decref(json);
}

static bool string_is(const json_t *value, const char *text)
{
    return json_is_string(value) && strcmp(json_string_value(value), text) == 0;
}

/* A string, or a list of nothing but strings (RFC 7519 §4.1.3). */
static bool names_audience(const json_t *aud, const char *audience)
{
    bool found = string_is(aud, audience), strings = true;
    for (size_t i = 0; i < json_array_size(aud); i++) {
        found = found || string_is(json_array_get(aud, i), audience);
        strings = strings && json_is_string(json_array_get(aud, i));
    }
    return found && strings;
}

/* Rules about issuer and audience let in just those of the good tokens that name both. */
static void compare_strict(struct fuzz_text token, struct fuzz_text claims)
{
    struct token t;
    json_t *json = json_loadb(claims.p, claims.len, 0, NULL);
    bool named = string_is(json_object_get(json, "iss"), strict.issuer) &&
                 names_audience(json_object_get(json, "aud"), strict.audience);
    int result = verify_by(&strict, ring, token, RIG_NOW, &t);
    FUZZ_CHECK((result == ERR_OK) == named);
    if (result == ERR_OK)
        token_finish(&t);
    json_decref(json);
}

static void run_signed(struct fuzz_text header, struct fuzz_text claims)
{
    struct buf text = BUF_INIT, raw = BUF_INIT;
    struct token t;
    rig_base64url(&text, header.p, header.len);
    buf_byte(&text, '.');
    rig_base64url(&text, claims.p, claims.len);
    rig_signature(&raw, TOKEN_HS256, NULL, RIG_SECRET, 64, text.data, text.len);
    buf_byte(&text, '.');
    rig_base64url(&text, raw.data, raw.len);
    int result = run_token((struct fuzz_text){text.data, text.len}, &t);
    FUZZ_CHECK(text.len <= TOKEN_MAX || result == RIG_FAULT(TOKEN_TOO_LONG));
    if (result == ERR_OK) {
        compare(&t, claims);
        compare_strict((struct fuzz_text){text.data, text.len}, claims);
        token_finish(&t);
    }
    buf_finish(&text);
    buf_finish(&raw);
}

/* The reason is one line of text; and nothing is added then. */
static void check_added(const struct keyring *k, int err, struct buf *why)
{
    FUZZ_CHECK(err == ERR_OK || err == ERR_INVALID);
    FUZZ_CHECK((err == ERR_OK) == (keyring_count(k) > 0));
    FUZZ_CHECK((err == ERR_OK) == (why->len == 0));
    FUZZ_CHECK(keyring_count(k) <= TOKEN_KEYS_MAX);
    for (size_t i = 0; i < why->len; i++)
        FUZZ_CHECK((unsigned char)why->data[i] >= 0x20 && why->data[i] != 0x7f);
    buf_reset(why);
}

static void run_keys(struct fuzz_text text, bool set)
{
    static const enum token_alg algs[] = {TOKEN_RS256, TOKEN_ES256, TOKEN_ES384, TOKEN_HS256};
    struct buf why = BUF_INIT;
    char *copy = fuzz_copy(text.p, text.len);
    for (size_t i = 0; i < (set ? 1 : 4); i++) {
        struct keyring *k = keyring_create();
        FUZZ_CHECK(k != NULL);
        int err = set ? keyring_add_jwks(k, copy, text.len, &why)
                      : keyring_add(k, algs[i], NULL, copy, text.len, &why);
        check_added(k, err, &why);
        keyring_destroy(k);
    }
    free(copy);
    buf_finish(&why);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_text all = {(const char *)data, size}, rest = all, line = fuzz_cut(&rest, '\n');
    struct token t;
    if (fuzz_is(line, "sign")) {
        struct fuzz_text header = fuzz_cut(&rest, '\n');
        run_signed(header, rest);
    } else if (fuzz_is(line, "jwks") || fuzz_is(line, "pem")) {
        run_keys(rest, line.len == 4);
    } else if (run_token(all, &t) == ERR_OK) {
        token_finish(&t);
    }
    return 0;
}
