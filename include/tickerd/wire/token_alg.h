/* The algorithms that tokens may be signed with (RFC 7518 §3.1). */
#ifndef TICKERD_WIRE_TOKEN_ALG_H
#define TICKERD_WIRE_TOKEN_ALG_H

#include <stdbool.h>

#define TOKEN_ALG_MAP(X)                                                                           \
    X(HS256) X(HS384) X(HS512) X(RS256) X(RS384) X(RS512) X(PS256) X(ES256) X(ES384)

enum token_alg {
#define TOKEN_ALG_ENUM(name) TOKEN_##name,
    TOKEN_ALG_MAP(TOKEN_ALG_ENUM)
#undef TOKEN_ALG_ENUM
        TOKEN_ALG_COUNT
};

/* By its name, "HS256" and so on, letter by letter; TOKEN_ALG_COUNT: it is none of these. */
enum token_alg token_alg_named(const char *name);
/* Its name. Static. */
const char *token_alg_name(enum token_alg alg);

/* Whether its keys are secrets (HS*), which sign as well as they verify. */
bool token_alg_is_secret(enum token_alg alg);

#endif
