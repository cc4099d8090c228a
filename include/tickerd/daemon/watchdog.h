/* Whether the service manager's watchdog may be fed: while every thread shows signs of life. One
 * that hangs keeps its clients from their events for ever, so that a restart is the better end. */
#ifndef TICKERD_DAEMON_WATCHDOG_H
#define TICKERD_DAEMON_WATCHDOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pulse {
    uint64_t value;      /* as last seen; changes while the thread is alive */
    uint64_t changed_us; /* when it was first seen */
};

struct watchdog {
    uint64_t interval_us; /* within which it must be fed; 0: there is none */
    uint64_t fed_us;
    struct pulse *pulses; /* owned */
    size_t count;
};

/* ERR_NOMEM: nothing to finish; no thread is watched, but the caller itself. */
int watchdog_init(struct watchdog *w, uint64_t interval_us, size_t threads, uint64_t now_us);
void watchdog_finish(struct watchdog *w);

/* How often to look, in milliseconds: often enough to feed at half of the interval. */
uint64_t watchdog_period_ms(const struct watchdog *w);

/* Look at a thread. */
void watchdog_see(struct watchdog *w, size_t thread, uint64_t value, uint64_t now_us);

/* Since when a thread has stood still for more than half the interval, or 0. */
uint64_t watchdog_hangs_since(const struct watchdog *w, uint64_t now_us);

/* Whether to feed it now: half the interval has passed, and nothing hangs. True counts as fed. */
bool watchdog_feed(struct watchdog *w, uint64_t now_us);

#endif
