/* The access log: one line per request when its connection ends. Never the query (it may hold a
 * token), never what an absolute target names before its path (it may hold a password), never a
 * header. Its fields are `name=value` with blanks between, and members of their own in JSON; what a
 * client chose cannot hold a blank, so nobody can write fields of his own. */
#ifndef TICKERD_DAEMON_ACCESS_H
#define TICKERD_DAEMON_ACCESS_H

#include <stddef.h>
#include <stdint.h>

#include "tickerd/net/http1.h"
#include "tickerd/wire/httpreq.h"
#include "tickerd/wire/netblock.h"

struct access;

/* Whose request it was. */
struct access_peer {
    const struct netaddr *client;
    const struct netaddr *peer; /* the socket's; named, as `via`, if it is another */
    const char *sub;            /* NULL: none */
    size_t sub_len;
};

/* Note a request that begins; NULL if it could not be read. NULL when memory is out. Ends with
 * access_end. */
struct access *access_begin(const struct httpreq *request);

/* Note the status of the answer. NULL is allowed. */
void access_status(struct access *a, int status);

/* Write the line and free. NULL is allowed, for `end`, too: then nothing came of it. */
void access_end(struct access *a, const struct access_peer *from, const struct http1_end *end);

#endif
