/* Redis's globs the slow way, for comparison: each element becomes a set of 256 bytes, and all ways
 * to match are followed at once. Ranges are compared as signed bytes on purpose (test_topic.c). */
#ifndef TICKERD_TESTS_NAIVE_GLOB_H
#define TICKERD_TESTS_NAIVE_GLOB_H

#include <stdbool.h>
#include <stddef.h>

/* Takes time and memory in proportion to the product of both lengths. */
bool naive_glob(const char *pattern, size_t pattern_len, const char *name, size_t name_len);

#endif
