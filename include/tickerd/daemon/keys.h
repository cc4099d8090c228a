/* The keys of auth.keys and auth.jwks_file, from where they are kept. */
#ifndef TICKERD_DAEMON_KEYS_H
#define TICKERD_DAEMON_KEYS_H

#include "tickerd/base/buf.h"
#include "tickerd/wire/config.h"
#include "tickerd/wire/token.h"

/* Read the files and the environment into a keyring, which is the caller's; with auth.mode off
 * nothing is read, and it is empty. A secret in a file that everybody may read gets a warning in
 * the log. NULL: `errors` has a line for each key that is unfit, saying which, why, and what to do;
 * none quotes a key. */
struct keyring *keys_load(const struct config *c, struct buf *errors);

#endif
