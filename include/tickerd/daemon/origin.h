/* Pages of other origins: what they may read (CORS, WHATWG Fetch §3.2), and that they may not bring
 * a user's cookies unless cors.origins names them. `request` may be NULL: it could not be read. */
#ifndef TICKERD_DAEMON_ORIGIN_H
#define TICKERD_DAEMON_ORIGIN_H

#include "tickerd/wire/config.h"
#include "tickerd/wire/httpreq.h"

/* Append the header lines that let a page of an allowed origin read an answer of this status, and
 * tell caches. */
void origin_put_headers(struct buf *out, const struct config *c, const struct httpreq *request,
                        int status);

/* Append the header lines that answer a preflight (WHATWG Fetch §4.8); nothing to an OPTIONS that
 * is none, or of an origin that is not allowed. */
void origin_put_preflight(struct buf *out, const struct config *c, const struct httpreq *request);

/* Whether a page of a foreign origin made the browser send this with cookies: neither the server's
 * own (by Host, or by the browser's word, Sec-Fetch-Site) nor allowed with credentials. Such a
 * stream would be opened in the name of a user who knows nothing of it. */
bool origin_abuses_cookies(const struct config *c, const struct httpreq *request);

#endif
