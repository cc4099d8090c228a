/* Who may hear what. A grant is what one request may hear: made once when it comes, kept by its
 * stream, asked for every channel that joins a pattern's stream. Belongs to one worker's thread.
 *
 * Everywhere below a NULL grant is one without a token: it may hear all with auth.mode off, what is
 * anonymous with auth.mode optional, and else nothing. */
#ifndef TICKERD_BROKER_AUTH_H
#define TICKERD_BROKER_AUTH_H

#include "tickerd/broker/name.h"
#include "tickerd/wire/config.h"
#include "tickerd/wire/target.h"
#include "tickerd/wire/token.h"

/* Owned by one session. Never changes. */
struct grant;

/* What a good token, verified at `now_s` with this leeway, or none (NULL), may hear. Copies what it
 * needs. NULL: out of memory. */
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
/* The fingerprint of the key that signed its token (TOKEN_ID_LEN bytes); NULL: it has no token. */
const uint8_t *grant_key(const struct grant *g);

/* Whether it may hear this channel now: auth.mode off, or optional and an anonymous rule, or the
 * claim. Allocates nothing. */
bool auth_allows(const struct config *c, const struct grant *g, const char *name, size_t len);

/* Whether it may hear every channel that this pattern (in its canonical spelling) can match, so
 * that nothing need be decided one by one. May say no where only a closer look would find it. */
bool auth_allows_all(const struct config *c, const struct grant *g, const char *pattern,
                     size_t len);

/* Whether there can be a channel of this pattern that it may hear. May say yes where only a closer
 * look would find that there is none. Allocates nothing. */
bool auth_allows_some(const struct config *c, const struct grant *g, const char *pattern,
                      size_t len);

enum auth_verdict {
    AUTH_ALLOWED,
    AUTH_NEEDS_TOKEN, /* 401: a token might open it, and there is none */
    AUTH_FORBIDDEN,   /* 403 */
};

/* Decide one topic. A channel must be allowed. A pattern is, and its channels are decided one by
 * one as they join; but without a token only where some rule is anonymous. */
enum auth_verdict auth_judge(const struct config *c, const struct grant *g,
                             const struct target_topic *topic);

/* Decide a request: every topic must be allowed. *culprit is the first that is not. */
enum auth_verdict auth_decide(const struct config *c, const struct grant *g, const struct target *t,
                              const struct target_topic **culprit);

/* ---- the same channels again and again ---- */

struct auth_memo;

/* Which channels are anonymous by the rules, as far as they were asked for lately: an event that
 * goes to a thousand patterns' streams has its rule looked up once, and so has a channel whose
 * thousand events a stream goes over that comes back. One per fan-out. Zeroed it is empty. */
struct auth_memory {
    struct auth_memo *memos; /* owned; NULL: none yet */
    unsigned turn;           /* which is forgotten next where there is no room */
};

/* auth_allows by this memory. */
bool auth_allows_name(struct auth_memory *m, const struct config *c, const struct grant *g,
                      struct name *channel);

/* Forget everything: the rules are others, or it is the end. */
void auth_forget(struct auth_memory *m);

#endif
