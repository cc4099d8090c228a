/* Reading a token out of an Authorization header. */
#ifndef TICKERD_WIRE_BEARER_H
#define TICKERD_WIRE_BEARER_H

#include "tickerd/wire/httpreq.h"

enum bearer_found {
    BEARER_NONE, /* no header, or one of another scheme, which is somebody else's business */
    BEARER_TOKEN,
    BEARER_MALFORMED, /* the scheme is Bearer, but no b64token follows */
};

/* Read `Bearer <b64token>` (RFC 6750 §2.1); the scheme in any case (RFC 9110 §11.1), one or more
 * spaces behind it. With BEARER_TOKEN, *token is a slice of the header. */
enum bearer_found bearer_token(struct http_slice header, struct http_slice *token);

#endif
