/* What a registry knows, as bytes that outlive the process: every channel's log with its frames and
 * holes, the outages, the time line, and in mode on-demand which subscriptions were held. Whatever
 * writes and keeps the bytes is not known here.
 *
 *     "tkstate\n" | version | mode, prefix, source | time line | watermark | marks
 *     | channels, least recently used first: name, entries | subscriptions | CRC-32
 *
 * Reading believes nothing: bytes that are damaged, cut short, of another version or another
 * installation change nothing in the registry, and memory never exceeds what the limits in force
 * allow but for one log at a time. */
#ifndef TICKERD_BROKER_SAVED_H
#define TICKERD_BROKER_SAVED_H

#include "tickerd/broker/registry.h"
#include "tickerd/wire/pack.h"

enum { SAVED_VERSION = 1, SAVED_SOURCE_MAX = 512 };

struct saved_summary {
    size_t channels, events; /* with at least an event; in all */
    uint64_t down_us;        /* restore: how long nobody was there, by the clocks' word */
};

/* Pack everything. `source` names the server that published it, at most SAVED_SOURCE_MAX bytes;
 * another one's positions and histories mean nothing here. Returns what pack_end does. */
int registry_save(const struct registry *r, const char *source, struct pack *out,
                  struct saved_summary *sum);

struct saved_now {
    uint64_t mono_us, wall_us;
    uint32_t fresh_tag; /* for the case that the wall clock went back */
};

/* Take up where the registry that was saved stopped: its logs within the limits in force now, its
 * positions and tags. What was published meanwhile is one outage of reason `restart`. For a
 * registry that has just been initialised, before its source is started.
 * Returns 0; ERR_INVALID or ERR_NOMEM: nothing has changed, and *why points to a static text. */
int registry_restore(struct registry *r, const char *source, const void *bytes, size_t len,
                     const struct saved_now *now, struct saved_summary *sum, const char **why);

#endif
