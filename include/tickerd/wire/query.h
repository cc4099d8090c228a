/* Queries of request targets: what is behind the `?`. */
#ifndef TICKERD_WIRE_QUERY_H
#define TICKERD_WIRE_QUERY_H

#include <stdbool.h>
#include <stddef.h>

#include "tickerd/base/buf.h"

/* Decode percent-encoding (of any part of a URL), and with `form` a plus as a blank (WHATWG URL
 * §5.1), into `to`, which has room for len bytes. Returns how many there are, or -1: a percent sign
 * stands without two hexadecimal digits. */
ptrdiff_t query_decode(char *to, const char *text, size_t len, bool form);

/* Find a parameter by its (plain) name; the first of several counts. Its form-decoded value
 * replaces what `value` holds. ERR_UNKNOWN: there is none; ERR_INVALID: it is malformed; ERR_NOMEM.
 * Then `value` is empty. */
int query_find(const char *query, size_t len, const char *name, struct buf *value);

#endif
