/* What the instance counts, added up from the hub and the workers: the one place from which
 * /metrics and /status have their numbers. The admin listener's own worker is not asked. Everything
 * here may be called from any thread while hub and workers are there; they are not disturbed. */
#ifndef TICKERD_DAEMON_FIGURES_H
#define TICKERD_DAEMON_FIGURES_H

#include <stddef.h>
#include <stdint.h>

#include "tickerd/broker/metrics.h"
#include "tickerd/broker/recent_gaps.h"
#include "tickerd/daemon/capacity.h"
#include "tickerd/daemon/hub.h"
#include "tickerd/daemon/process.h"
#include "tickerd/daemon/worker.h"

/* What memory is used for, as far as it is counted. */
#define MEMORY_PARTS(X)                                                                            \
    X(HISTORIES, "histories", GAUGE_HISTORY_BYTES)                                                 \
    X(FRAMES, "frames", GAUGE_FORM_BYTES)                                                          \
    X(VIEWS, "views", GAUGE_VIEW_BYTES)                                                            \
    X(CONNECTIONS, "connections", GAUGE_CONNECTION_BYTES)                                          \
    X(INBOXES, "inboxes", GAUGE_INBOX_BYTES)

enum memory_part {
#define MEMORY_ENUM(name, text, from) MEMORY_##name,
    MEMORY_PARTS(MEMORY_ENUM)
#undef MEMORY_ENUM
        MEMORY_COUNT
};

/* The name for people. Static. */
const char *memory_part_text(enum memory_part part);

/* One worker, to see how clients are spread. */
struct worker_figures {
    uint64_t clients, lagging, deliveries;
};

/* Plain numbers of one moment, nearly: while they are read the counting goes on. */
struct figures {
    uint64_t value[METRIC_COUNT];
    uint64_t gauge[GAUGE_COUNT];
    uint64_t gaps[GAP_REASON_COUNT];
    uint64_t closed[CLOSING_COUNT];
    uint64_t refused[REFUSAL_COUNT];
    uint64_t refused_all; /* of all reasons */
    uint64_t memory[MEMORY_COUNT];
    uint64_t clients_max;
    struct histogram_sums latency, hub_turns, worker_turns;
    struct process_figures process;
    struct worker_figures workers[WORKERS_MAX];
    uint32_t worker_count;
};

/* Of this hub and these workers. */
void figures_take(struct figures *f, struct hub *hub, struct worker *const *workers, uint32_t count,
                  const struct capacity *capacity);

/* The last gap announcements of these workers, newest first, at most RECENT_GAPS; `out` has room
 * for so many. Returns how many; recent_gaps_release must follow. */
size_t figures_gaps(struct recent_gap *out, struct worker *const *workers, uint32_t count);

#endif
