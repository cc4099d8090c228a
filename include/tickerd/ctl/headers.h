/* The header lines of a request, owned. */
#ifndef TICKERD_CTL_HEADERS_H
#define TICKERD_CTL_HEADERS_H

#include <stdbool.h>
#include <stddef.h>

#include "tickerd/ctl/options.h"

struct headers {
    char **lines; /* owned, each owned */
    size_t count;
    bool failed; /* memory was out; sticks */
};

#define HEADERS_INIT                                                                               \
    {                                                                                              \
        NULL, 0, false                                                                             \
    }

/* Overwrites what it frees: a line may hold a token. */
void headers_finish(struct headers *h);

void headers_add(struct headers *h, const char *name, const char *value, size_t len);
/* All lines of another list. */
void headers_add_all(struct headers *h, const struct headers *other);

/* What --header and --token say; a token "@FILE" is read from the file. CTL_GOOD, or CTL_USAGE
 * after the person has been told what is wrong. */
int headers_of_options(struct headers *h, const struct ctl_options *o);

#endif
