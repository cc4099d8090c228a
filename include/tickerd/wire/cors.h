/* Matching a request's Origin against cors.origins. */
#ifndef TICKERD_WIRE_CORS_H
#define TICKERD_WIRE_CORS_H

#include <stdbool.h>
#include <stddef.h>

#include "tickerd/wire/config.h"

/* Whether the origin is one of the list: "*" (any), exactly equal, or, for a rule whose host begins
 * with an asterisk, any subdomain of the rest with the same scheme and port. Origins are serialized
 * in lower case by browsers (WHATWG HTML, "serialization of an origin"), so bytes are compared. */
bool cors_allows(const struct strings *origins, const char *origin, size_t len);

#endif
