/* Origins of pages: which of them may read, and which is the server's own. */
#ifndef TICKERD_WIRE_CORS_H
#define TICKERD_WIRE_CORS_H

#include <stdbool.h>
#include <stddef.h>

#include "tickerd/wire/config.h"

/* Whether the origin is one of the list: "*" (any), exactly equal, or, for a rule whose host begins
 * with an asterisk, any subdomain of the rest with the same scheme and port. Origins are serialized
 * in lower case, in ASCII and without a default port by browsers (WHATWG HTML, "serialization of an
 * origin"), so bytes are compared. */
bool cors_allows(const struct strings *origins, const char *origin, size_t len);

/* Whether a page of this origin comes from the host and port that the request's Host header names,
 * over http or https: a proxy in front may have taken the TLS off, so its scheme is not known. */
bool cors_own(const char *origin, size_t len, const char *host, size_t host_len);

#endif
