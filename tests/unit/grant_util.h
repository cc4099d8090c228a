/* Grants for tests, without signatures. Needs cmocka.h before it. */
#ifndef TICKERD_TESTS_GRANT_UTIL_H
#define TICKERD_TESTS_GRANT_UTIL_H

#include "tickerd/broker/auth.h"

/* What a verified token would say: `claim` is its items joined by blanks, `sub` NULL for none,
 * exp_s 0 for never. Ends with token_finish_of. */
struct token token_of(const char *claim, const char *sub, int64_t exp_s);
void token_finish_of(struct token *t);

/* The grant of such a token, at the time 0. */
struct grant *grant_of(const char *claim, const char *sub, int64_t exp_s);

#endif
