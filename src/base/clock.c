#include "tickerd/base/clock.h"

#include <stdio.h>
#include <time.h>

static uint64_t read_us(clockid_t id)
{
    struct timespec ts;
    (void)clock_gettime(id, &ts); /* cannot fail for these two clocks */
    return (uint64_t)ts.tv_sec * US_PER_S + (uint64_t)ts.tv_nsec / 1000;
}

uint64_t clock_mono_us(void)
{
    return read_us(CLOCK_MONOTONIC);
}

uint64_t clock_wall_us(void)
{
    return read_us(CLOCK_REALTIME);
}

const char *clock_print(uint64_t wall_us, char out[CLOCK_TEXT_MAX])
{
    time_t s = (time_t)(wall_us / US_PER_S);
    struct tm tm;
    (void)gmtime_r(&s, &tm);
    size_t n = strftime(out, CLOCK_TEXT_MAX, "%Y-%m-%dT%H:%M:%S", &tm);
    (void)snprintf(out + n, CLOCK_TEXT_MAX - n, ".%03uZ",
                   (unsigned)(wall_us % US_PER_S / US_PER_MS) % 1000);
    return out;
}
