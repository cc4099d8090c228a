/* UTF-8 the slow way, for comparison: validity by computing each code point and looking at its
 * value, repair by the state machine that the WHATWG Encoding Standard prints. */
#ifndef TICKERD_TESTS_NAIVE_UTF8_H
#define TICKERD_TESTS_NAIVE_UTF8_H

#include <stddef.h>

/* Length of the longest valid prefix. */
size_t naive_utf8_prefix(const char *s, size_t len);

/* Decode as a browser does and write the characters back as UTF-8. `out` has room for 3 * len
 * bytes. Returns the number written; *errors (may be NULL) is how many are U+FFFD for an error. */
size_t naive_utf8_repair(char *out, const char *s, size_t len, size_t *errors);

/* What event.data is to be for a payload: repaired, then line ends made LF. As above otherwise. */
size_t naive_event_data(char *out, const char *s, size_t len, size_t *errors);

#endif
