/* Who may use the admin listener, which asks for no password: whoever can reach its address, but no
 * page of another site that his browser shows. Such a page can make the browser send requests here,
 * and by DNS rebinding even read the answers, where its own name leads here. So the listener is
 * called by names that nobody else can own, and orders come from its own pages. */
#ifndef TICKERD_DAEMON_ADMIN_GUARD_H
#define TICKERD_DAEMON_ADMIN_GUARD_H

#include <stdbool.h>

#include "tickerd/wire/config.h"
#include "tickerd/wire/httpreq.h"

/* Whether the Host (with or without a port) is an IP address, localhost or below it, or one of
 * `names`, which are in lower case. */
bool admin_host_fits(const struct strings *names, struct http_slice host);

/* Whether a request that changes something comes from no page, or from one of this listener: by its
 * Origin, and by what the browser says (Fetch Metadata, Sec-Fetch-Site). */
bool admin_order_fits(const struct httpreq *request);

#endif
