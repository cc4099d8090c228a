/* What the three load tools share: the clock, numbers on the command line, and the way out. */
#ifndef TICKERD_BENCH_TOOL_H
#define TICKERD_BENCH_TOOL_H

#include <netinet/in.h>
#include <stdarg.h>
#include <stdint.h>

enum { TOOL_PORT_MAX = 65535 };

#define NS_PER_S 1000000000ULL
#define NS_PER_US 1000ULL

/* CLOCK_MONOTONIC: the same for all processes of a machine, so that a time stamp that one of them
 * puts into a payload can be compared by another. */
uint64_t mono_ns(void);

/* Print `tool: …` to stderr and exit with status 1. */
_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A whole number between the two, or the end of the process. */
uint64_t number(const char *option, const char *text, uint64_t min, uint64_t max);

/* "127.0.0.1:6379", numeric IPv4 only. */
struct sockaddr_in endpoint(const char *option, const char *text);

/* Take all the open files that the hard limit allows, and check that `needed` fit. */
void raise_open_files(uint64_t needed);

/* Whether `text` is a printf format that takes one unsigned number, or none, and nothing else. */
int is_name_pattern(const char *text);

/* Put the number in place of the pattern's %d; returns the length. */
int expand(char *out, int size, const char *pattern, unsigned number);

#endif
