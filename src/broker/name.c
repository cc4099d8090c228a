#include "tickerd/broker/name.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct name *name_create(const char *bytes, size_t len)
{
    struct name *n = malloc(sizeof *n + len);
    if (n == NULL)
        return NULL;
    atomic_init(&n->refs, 1);
    n->len = (uint32_t)len;
    memcpy(n->bytes, bytes, len);
    return n;
}

struct name *name_ref(struct name *n)
{
    if (n != NULL)
        (void)atomic_fetch_add_explicit(&n->refs, 1, memory_order_relaxed);
    return n;
}

void name_unref(struct name *n)
{
    if (n != NULL && atomic_fetch_sub_explicit(&n->refs, 1, memory_order_acq_rel) == 1)
        free(n);
}

bool name_equal(const struct name *a, const struct name *b)
{
    if (a == b)
        return true;
    if (a == NULL || b == NULL)
        return false;
    return a->len == b->len && memcmp(a->bytes, b->bytes, a->len) == 0;
}
