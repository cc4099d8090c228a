/* The address of a client behind reverse proxies, from X-Forwarded-For or Forwarded (RFC 7239).
 *
 * A proxy adds at the right whom it was spoken to by, and may pass on what came: so only what a
 * trusted one has added can be believed. Elements are read from the right as long as the one that
 * added them is trusted; the first address that is not trusted is the client's. What cannot be
 * read, or names nobody ("unknown", "_hidden"), ends the walk at the last address before it. */
#ifndef TICKERD_WIRE_FORWARDED_H
#define TICKERD_WIRE_FORWARDED_H

#include "tickerd/wire/httpreq.h"
#include "tickerd/wire/netblock.h"

/* How many elements are looked at, however long the header. */
enum { FORWARDED_HOPS_MAX = 64 };

/* Who a request is from that this peer sent, with these headers (`p` is NULL for one that did not
 * come; several of one kind as one list). A proxy that sets one of the two and passes the other on
 * as it came must not be fooled by it: where both are there and disagree, neither is believed, and
 * the peer is returned. */
struct netaddr forwarded_client(const struct netblocks *trusted, const struct netaddr *peer,
                                struct http_slice x_forwarded_for, struct http_slice forwarded);

#endif
