/* The two clocks. Everything that needs time takes it as an argument; only the edges read it. */
#ifndef TICKERD_BASE_CLOCK_H
#define TICKERD_BASE_CLOCK_H

#include <stdint.h>

enum { US_PER_MS = 1000, US_PER_S = 1000000, MS_PER_S = 1000 };

/* CLOCK_MONOTONIC in microseconds: for time-outs, ages and the order of events. */
uint64_t clock_mono_us(void);

/* CLOCK_REALTIME in microseconds since 1970: for ids and logs only; it may step. */
uint64_t clock_wall_us(void);

enum { CLOCK_TEXT_MAX = 32 };

/* Write such a time as "2026-11-20T19:00:00.000Z" (RFC 3339). Returns `out`. */
const char *clock_print(uint64_t wall_us, char out[CLOCK_TEXT_MAX]);

#endif
