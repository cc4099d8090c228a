/* The access log: one line per request when its connection ends. Never the query (it may hold a
 * token), never a header. */
#ifndef TICKERD_DAEMON_ACCESS_H
#define TICKERD_DAEMON_ACCESS_H

#include <stdint.h>

#include "tickerd/wire/httpreq.h"

struct access;

/* Note a request that begins on this socket; `request` is NULL if it could not be read. NULL when
 * memory is out. Ends with access_end. */
struct access *access_begin(int fd, const struct httpreq *request);

/* Note the status of the answer. NULL is allowed. */
void access_status(struct access *a, int status);

/* Write the line and free. NULL is allowed. */
void access_end(struct access *a, uint64_t events, uint64_t bytes);

#endif
