/* GET /status: how the instance is, as JSON. */
#ifndef TICKERD_DAEMON_STATUS_H
#define TICKERD_DAEMON_STATUS_H

#include "tickerd/daemon/admin.h"
#include "tickerd/daemon/reload.h"

void status_answer(struct exchange *x, struct http_slice query);

/* Append how a reload ended, as the answer to whoever asked for it. */
void status_put_reload(struct buf *out, const struct reload_result *result);

#endif
