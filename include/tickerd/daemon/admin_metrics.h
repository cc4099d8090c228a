/* GET /metrics of the admin listener. */
#ifndef TICKERD_DAEMON_ADMIN_METRICS_H
#define TICKERD_DAEMON_ADMIN_METRICS_H

#include "tickerd/daemon/admin.h"

admin_handler admin_metrics;

#endif
