/* A registry's saved bytes in tests. Needs cmocka.h before it. */
#ifndef TICKERD_TESTS_SAVED_UTIL_H
#define TICKERD_TESTS_SAVED_UTIL_H

#include <stdlib.h>

#include "hub_rig.h"
#include "tickerd/base/err.h"
#include "tickerd/broker/saved.h"

#define SAVED_WALL (UINT64_C(1700000000) * 1000000)
#define SAVED_SECOND ((uint64_t)1000000)

enum { SAVED_TAG = 0x01020304, SAVED_FRESH_TAG = 0x77777777 }; /* hub_rig's, and a new one */

static inline int saved_append(void *ctx, const void *bytes, size_t len)
{
    buf_append(ctx, bytes, len);
    return ERR_OK;
}

static inline void saved_take(struct buf *out, const struct registry *r)
{
    struct saved_summary sum;
    struct pack *p = calloc(1, sizeof *p);
    assert_non_null(p);
    pack_init(p, saved_append, out);
    assert_int_equal(registry_save(r, "here", p, &sum), ERR_OK);
    assert_int_equal(p->total, out->len);
    free(p);
}

/* Restore into a registry that has just been made, with the rig's clock but for the wall clock,
 * which shows `wall_us` more. NULL if that went well, else why not. */
static inline const char *saved_restore(struct hub_rig *h, const void *bytes, size_t len,
                                        int64_t wall_us)
{
    struct saved_summary sum;
    const char *why = NULL;
    struct saved_now now = {h->mono, (uint64_t)((int64_t)(h->mono + SAVED_WALL) + wall_us),
                            SAVED_FRESH_TAG};
    int err = registry_restore(&h->registry, "here", bytes, len, &now, &sum, &why);
    assert_true((err == ERR_OK) == (why == NULL));
    return why;
}

/* Put the checksum right after bytes have been changed. */
static inline void saved_reseal(struct buf *b)
{
    struct pack *p = calloc(1, sizeof *p);
    struct buf out = BUF_INIT;
    assert_non_null(p);
    pack_init(p, saved_append, &out);
    pack_bytes(p, b->data, b->len - PACK_TRAILER);
    assert_int_equal(pack_end(p), ERR_OK);
    free(p);
    buf_finish(b);
    *b = out;
}

#endif
