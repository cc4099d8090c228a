/* Whole files. */
#ifndef TICKERD_BASE_FILE_H
#define TICKERD_BASE_FILE_H

#include <stddef.h>
#include <sys/types.h>

#include "tickerd/base/buf.h"

/* Append all of a file, or of a pipe, to `out`. *mode (may be NULL) gets its type and permissions.
 * 0; ERR_UNKNOWN: it cannot be opened, ERR_SYSTEM: it cannot be read, and errno says why;
 * ERR_TOO_LONG: it has more than `max` bytes; ERR_NOMEM. What had been read then is in `out`. */
int file_read(struct buf *out, const char *path, size_t max, mode_t *mode);

#endif
