/* The whole daemon: sockets, hub, workers, signals, from start to exit. */
#ifndef TICKERD_DAEMON_SERVER_H
#define TICKERD_DAEMON_SERVER_H

#include "tickerd/net/redis_tls.h"
#include "tickerd/wire/config.h"
#include "tickerd/wire/token.h"

/* Run until a signal ends it. Returns the process' exit status. All is borrowed; `tls` is NULL
 * unless config_uses_tls. */
int server_run(const struct config *config, const struct redis_tls *tls,
               const struct keyring *keys);

#endif
