/* What a reload replaces as a whole: the configuration and the keys of tokens. Immutable once made
 * and reference-counted, so that each thread changes over when it comes to it. */
#ifndef TICKERD_DAEMON_SETTINGS_H
#define TICKERD_DAEMON_SETTINGS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "tickerd/wire/config.h"
#include "tickerd/wire/token.h"

struct settings {
    _Atomic uint32_t refs;
    const struct config *config; /* owned */
    const struct keyring *keys;  /* owned */
    struct settings *base;       /* whose settings these are a view of; NULL: none. One reference */
};

/* With one reference. Takes over the configuration in any case, and reads the keys that it names.
 * NULL: `errors` has one line per problem. May block on files. */
struct settings *settings_create(struct config *config, struct buf *errors);

/* The same for the admin listener, with one reference: nobody needs a token there, no address has
 * limits, no page of another origin may read anything, nothing is in front of it, and requests are
 * not in the access log. NULL: out of memory. */
struct settings *settings_for_admin(struct settings *base);

struct settings *settings_ref(struct settings *s);
/* NULL is allowed. */
void settings_unref(struct settings *s);

/* Whether what tokens must say, or who needs one, has changed so that every stream opened under
 * `before` has to be judged anew. */
bool settings_judge_anew(const struct settings *before, const struct settings *now);

#endif
