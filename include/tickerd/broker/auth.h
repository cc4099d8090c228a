/* Who may hear what. A grant is what one request may hear: made once when it comes, kept by its
 * stream, asked for every channel that joins a pattern's stream. Belongs to one worker's thread. */
#ifndef TICKERD_BROKER_AUTH_H
#define TICKERD_BROKER_AUTH_H

#include "tickerd/broker/name.h"
#include "tickerd/wire/config.h"
#include "tickerd/wire/target.h"
#include "tickerd/wire/token.h"

/* Owned by one session. */
struct grant;

/* What a good token, verified at `now_s` with this leeway, or none (NULL), may hear under auth.mode
 * optional or required. Copies what it needs. NULL: out of memory. */
struct grant *grant_create(const struct token *token, int64_t now_s, int64_t leeway_s);
/* NULL is allowed. */
void grant_destroy(struct grant *g);

/* The token's sub; NULL: none. */
const char *grant_subject(const struct grant *g);
/* Whether it comes from a token. */
bool grant_has_token(const struct grant *g);
/* When its stream is to end, in seconds since the epoch; INT64_MAX: never. At exp; for a token
 * that was accepted only by the leeway, with the leeway. */
int64_t grant_ends_s(const struct grant *g);
/* The fingerprint of the key that signed its token; only if it has one. */
const uint8_t *grant_key(const struct grant *g);

/* Whether it may hear this channel now: auth.mode optional and an anonymous rule, or the claim.
 * A NULL grant (auth.mode off) may hear all. */
bool auth_allows(const struct config *c, const struct grant *g, const char *name, size_t len);

/* Whether it may hear every channel that this pattern can match, so that nothing need be decided
 * one by one. May say no where only a closer look would find it. */
bool auth_allows_all(const struct config *c, const struct grant *g, const char *pattern,
                     size_t len);

enum auth_verdict {
    AUTH_ALLOWED,
    AUTH_NEEDS_TOKEN, /* 401: a token might open it, and there is none */
    AUTH_FORBIDDEN,   /* 403 */
};

/* Decide a request: every channel must be allowed; patterns are, and their channels are decided one
 * by one as they join; but without a token only where some rule is anonymous. *culprit is the first
 * topic that is not. */
enum auth_verdict auth_decide(const struct config *c, const struct grant *g, const struct target *t,
                              const struct target_topic **culprit);

#endif
