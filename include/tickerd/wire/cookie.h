/* Finding one cookie in a request's Cookie header. */
#ifndef TICKERD_WIRE_COOKIE_H
#define TICKERD_WIRE_COOKIE_H

#include "tickerd/wire/httpreq.h"

enum cookie_found {
    COOKIE_NONE,
    COOKIE_ONE,
    COOKIE_CONFLICT, /* several of that name whose values differ */
};

/* Find the cookie of this name (case matters) in a cookie-string (RFC 6265 §4.2.1): pairs between
 * semicolons, whatever is quoted; blanks around names and values do not count, nor do quotes around
 * a whole value. What is no pair is skipped, as RFC 6265 §5.2 does. With COOKIE_ONE, *value is a
 * slice of the header.
 *
 * A header does not tell which cookie comes from where: a neighbouring subdomain can set one of the
 * same name for the whole domain (RFC 6265 §8.6). So several with different values are a conflict,
 * not a choice. */
enum cookie_found cookie_find(struct http_slice header, const char *name, struct http_slice *value);

#endif
