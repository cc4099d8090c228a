/* Who may listen: decided before anything is subscribed. Finds a request's token, verifies it, and
 * decides every channel it asks for (auth.*); refusals are those of RFC 6750 §3.1. */
#ifndef TICKERD_DAEMON_GATE_H
#define TICKERD_DAEMON_GATE_H

#include "tickerd/broker/auth.h"
#include "tickerd/daemon/answer.h"

/* Whether this request for a stream may go on; if not, it has been answered. If so, *grant is what
 * it may hear: the caller's, to be given to the session or destroyed; NULL: it has no token.
 * Nothing of the token's text outlives the request. */
bool gate_pass(struct exchange *x, const struct target *t, struct grant **grant);

#endif
