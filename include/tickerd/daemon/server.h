/* The whole daemon: sockets, hub, workers, signals, from start to exit. */
#ifndef TICKERD_DAEMON_SERVER_H
#define TICKERD_DAEMON_SERVER_H

#include "tickerd/wire/config.h"

/* Run until a signal ends it. Returns the process' exit status. The config is borrowed. */
int server_run(const struct config *config);

#endif
