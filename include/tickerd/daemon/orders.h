/* Orders to the admin listener: POSTs that change something. They are obeyed on the hub's thread,
 * and answered when that is done. */
#ifndef TICKERD_DAEMON_ORDERS_H
#define TICKERD_DAEMON_ORDERS_H

#include "tickerd/daemon/admin.h"

/* 200, or 422 where the configuration is refused. */
void orders_reload(struct exchange *x, struct http_slice query);

/* As TERM. 202. */
void orders_drain(struct exchange *x, struct http_slice query);

/* The streams of ?sub= and ?channel= (both: those that fit both). The listener's own stay. */
void orders_disconnect(struct exchange *x, struct http_slice query);

/* The body on ?channel=. */
void orders_publish(struct exchange *x, struct http_slice query);

#endif
