/* Channel names, shared by reference between frames, logs and views of all threads. Immutable;
 * the count is atomic, so that any thread may drop the last reference. */
#ifndef TICKERD_BROKER_NAME_H
#define TICKERD_BROKER_NAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct name {
    _Atomic uint32_t refs;
    uint32_t len;
    char bytes[]; /* not NUL-terminated */
};

/* A new name with one reference, the caller's; NULL when memory is out. */
struct name *name_create(const char *bytes, size_t len);

/* Take one more reference; returns its argument. NULL is allowed. */
struct name *name_ref(struct name *n);

/* Give a reference back. NULL is allowed. */
void name_unref(struct name *n);

/* Whether both are the same name; two NULLs are. */
bool name_equal(const struct name *a, const struct name *b);

#endif
