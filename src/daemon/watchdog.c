#include "tickerd/daemon/watchdog.h"

#include <stdlib.h>

#include "tickerd/base/clock.h"
#include "tickerd/base/err.h"

enum { PERIOD_MS = 1000 };

int watchdog_init(struct watchdog *w, uint64_t interval_us, size_t threads, uint64_t now_us)
{
    *w = (struct watchdog){.interval_us = interval_us};
    w->pulses = calloc(threads, sizeof *w->pulses);
    if (w->pulses == NULL)
        return ERR_NOMEM;
    w->count = threads;
    for (size_t i = 0; i < threads; i++)
        w->pulses[i].changed_us = now_us;
    return ERR_OK;
}

void watchdog_finish(struct watchdog *w)
{
    free(w->pulses);
    w->pulses = NULL;
}

/* A quarter of the interval, so that nothing is fed later than at three of them. */
uint64_t watchdog_period_ms(const struct watchdog *w)
{
    uint64_t ms = w->interval_us / 4 / US_PER_MS;
    return w->interval_us == 0 || ms > PERIOD_MS ? PERIOD_MS : ms > 0 ? ms : 1;
}

void watchdog_see(struct watchdog *w, size_t thread, uint64_t value, uint64_t now_us)
{
    struct pulse *p = &w->pulses[thread];
    if (p->value == value)
        return;
    p->value = value;
    p->changed_us = now_us;
}

uint64_t watchdog_hangs_since(const struct watchdog *w, uint64_t now_us)
{
    for (size_t i = 0; i < w->count && w->interval_us > 0; i++) {
        if (now_us - w->pulses[i].changed_us > w->interval_us / 2)
            return w->pulses[i].changed_us;
    }
    return 0;
}

bool watchdog_feed(struct watchdog *w, uint64_t now_us)
{
    if (w->interval_us == 0 || now_us - w->fed_us < w->interval_us / 2 ||
        watchdog_hangs_since(w, now_us) != 0)
        return false;
    w->fed_us = now_us;
    return true;
}
