#include "tickerd/base/strmap.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "tickerd/base/err.h"

/* Linear probing at a load of at most 2/3; a deletion shifts the run behind it back, so there are
 * no tombstones and the table never degrades. */

struct strmap_entry {
    const char *key;
    void *value; /* NULL: the slot is free */
    uint32_t len;
    uint32_t hash;
};

enum { STRMAP_MIN = 8 };

static uint64_t rotl(uint64_t x, int b)
{
    return (x << b) | (x >> (64 - b));
}

static void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotl(v[1], 13) ^ v[0];
    v[0] = rotl(v[0], 32);
    v[2] += v[3];
    v[3] = rotl(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotl(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotl(v[1], 17) ^ v[2];
    v[2] = rotl(v[2], 32);
}

/* SipHash-1-3 of Aumasson and Bernstein: one compression round, three final ones. */
static uint64_t siphash(const uint64_t key[2], const char *data, size_t len)
{
    uint64_t v[4] = {key[0] ^ 0x736f6d6570736575U, key[1] ^ 0x646f72616e646f6dU,
                     key[0] ^ 0x6c7967656e657261U, key[1] ^ 0x7465646279746573U};
    size_t whole = len & ~(size_t)7;
    for (size_t i = 0; i < whole; i += 8) {
        uint64_t m;
        memcpy(&m, data + i, sizeof m);
        v[3] ^= m;
        sip_round(v);
        v[0] ^= m;
    }
    uint64_t last = (uint64_t)len << 56;
    for (size_t i = whole; i < len; i++)
        last |= (uint64_t)(unsigned char)data[i] << (8 * (i - whole));
    v[3] ^= last;
    sip_round(v);
    v[0] ^= last;
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

void strmap_init(struct strmap *m)
{
    *m = (struct strmap){.slots = NULL, .mask = 0, .count = 0, .key = {0, 0}};
}

/* Only when the first slots are made: most maps of a request stay empty and should cost nothing. */
static void draw_key(struct strmap *m)
{
    /* Without entropy the map still works; only its resistance to chosen names is gone. */
    if (getrandom(m->key, sizeof m->key, GRND_NONBLOCK) != (ssize_t)sizeof m->key)
        m->key[0] = (uint64_t)(uintptr_t)m;
}

void strmap_finish(struct strmap *m)
{
    free(m->slots);
    m->slots = NULL;
    m->mask = m->count = 0;
}

/* The slot of this key, or the free slot where it belongs. The table must have a free slot. */
static struct strmap_entry *find(const struct strmap *m, const char *key, size_t len, uint32_t hash)
{
    for (size_t i = hash & m->mask;; i = (i + 1) & m->mask) {
        struct strmap_entry *e = &m->slots[i];
        if (e->value == NULL)
            return e;
        if (e->hash == hash && e->len == len && memcmp(e->key, key, len) == 0)
            return e;
    }
}

static int resize(struct strmap *m, size_t slots)
{
    struct strmap_entry *old = m->slots;
    size_t old_slots = old == NULL ? 0 : m->mask + 1;
    struct strmap_entry *fresh = calloc(slots, sizeof *fresh);
    if (fresh == NULL)
        return ERR_NOMEM;
    if (old == NULL)
        draw_key(m);
    m->slots = fresh;
    m->mask = slots - 1;
    for (size_t i = 0; i < old_slots; i++) {
        if (old[i].value != NULL)
            *find(m, old[i].key, old[i].len, old[i].hash) = old[i];
    }
    free(old);
    return ERR_OK;
}

void *strmap_get(const struct strmap *m, const char *key, size_t len)
{
    if (m->count == 0)
        return NULL;
    return find(m, key, len, (uint32_t)siphash(m->key, key, len))->value;
}

int strmap_put(struct strmap *m, const char *key, size_t len, void *value)
{
    size_t slots = m->slots == NULL ? 0 : m->mask + 1;
    if ((m->count + 1) * 3 > slots * 2 && resize(m, slots == 0 ? STRMAP_MIN : slots * 2) != ERR_OK)
        return ERR_NOMEM;
    uint32_t hash = (uint32_t)siphash(m->key, key, len);
    struct strmap_entry *e = find(m, key, len, hash);
    if (e->value != NULL)
        return ERR_EXISTS;
    *e = (struct strmap_entry){.key = key, .value = value, .len = (uint32_t)len, .hash = hash};
    m->count++;
    return ERR_OK;
}

static void shift_back(struct strmap *m, size_t hole)
{
    for (size_t i = (hole + 1) & m->mask; m->slots[i].value != NULL; i = (i + 1) & m->mask) {
        size_t home = m->slots[i].hash & m->mask;
        /* Move it only if its home is not within (hole, i], else it would become unreachable. */
        if (((i - home) & m->mask) >= ((i - hole) & m->mask)) {
            m->slots[hole] = m->slots[i];
            hole = i;
        }
    }
    m->slots[hole].value = NULL;
}

void *strmap_del(struct strmap *m, const char *key, size_t len)
{
    if (m->count == 0)
        return NULL;
    struct strmap_entry *e = find(m, key, len, (uint32_t)siphash(m->key, key, len));
    void *value = e->value;
    if (value == NULL)
        return NULL;
    shift_back(m, (size_t)(e - m->slots));
    m->count--;
    /* Shrink so that a burst of names does not keep its memory; a failed shrink is harmless. */
    if (m->count == 0)
        strmap_finish(m);
    else if (m->mask + 1 > STRMAP_MIN && m->count * 8 < m->mask + 1)
        (void)resize(m, (m->mask + 1) / 2);
    return value;
}

void *strmap_next(const struct strmap *m, size_t *pos)
{
    size_t slots = m->slots == NULL ? 0 : m->mask + 1;
    while (*pos < slots) {
        void *value = m->slots[(*pos)++].value;
        if (value != NULL)
            return value;
    }
    return NULL;
}
