/* The whole daemon: sockets, hub, workers, signals, from start to exit. */
#ifndef TICKERD_DAEMON_SERVER_H
#define TICKERD_DAEMON_SERVER_H

#include "tickerd/daemon/settings.h"
#include "tickerd/net/redis_tls.h"

/* Let a HUP wait for server_run to handle it, instead of ending the process. For the beginning of
 * main. */
void server_hold_hangup(void);

/* Run until a signal ends it. Returns the process' exit status. All is borrowed: the settings to
 * start with; `tls`, which is NULL unless config_uses_tls; and where a reload reads again. */
int server_run(struct settings *settings, const struct redis_tls *tls,
               const struct config_source *from);

#endif
