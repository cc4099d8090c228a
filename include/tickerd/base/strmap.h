/* A hash map from byte strings to pointers: open addressing, SipHash-1-3 with a key drawn at
 * random for each map, so that names chosen by strangers cannot be made to collide.
 *
 * The map owns neither keys nor values. A key's bytes must stay valid and unchanged while it is
 * in the map; usually they live inside the value. Values are never NULL. */
#ifndef TICKERD_BASE_STRMAP_H
#define TICKERD_BASE_STRMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct strmap_entry;

struct strmap {
    struct strmap_entry *slots; /* NULL while empty */
    size_t mask;                /* slots - 1 */
    size_t count;
    uint64_t key[2];
};

/* Make an empty map; allocates nothing. */
void strmap_init(struct strmap *m);

/* Free the map's own memory, not the values. */
void strmap_finish(struct strmap *m);

static inline size_t strmap_count(const struct strmap *m)
{
    return m->count;
}

/* The value at this key, or NULL. */
void *strmap_get(const struct strmap *m, const char *key, size_t len);

/* Put a value at a key that is not in the map yet.
 * Returns 0, ERR_EXISTS (nothing changed) or ERR_NOMEM (nothing changed). */
int strmap_put(struct strmap *m, const char *key, size_t len, void *value);

/* Take a key out and return its value, or NULL if it was not there. */
void *strmap_del(struct strmap *m, const char *key, size_t len);

/* Walk: start with *pos = 0; returns the next value or NULL at the end. The map must not change
 * during the walk. */
void *strmap_next(const struct strmap *m, size_t *pos);

#endif
