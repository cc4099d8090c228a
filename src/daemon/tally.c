#include "tickerd/daemon/tally.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "tickerd/base/clock.h"
#include "tickerd/base/err.h"
#include "tickerd/base/list.h"
#include "tickerd/base/strmap.h"

enum {
    V6_SITE = 8,        /* bytes of an IPv6 address that name one customer */
    RESERVE_PARTS = 16, /* of a budget, that a replay holds back until it is over */
    DEBT_MINUTES = 15,  /* nobody waits longer */
    IDLE_MAX = 65536,   /* entries kept for their budget alone; then the oldest go */
};

#define MINUTE_US ((uint64_t)60 * US_PER_S)

struct tally_entry {
    size_t holders;
    uint32_t count[TALLY_KINDS];
    /* The budget: when it is full again if nothing more is taken. A minute ahead it is empty. */
    uint64_t full_at_us;
    struct link idle; /* in the tally's list, while nobody holds it */
    size_t key_len;
    char key[]; /* 'a' and the bytes of an address, or 's' and a subject */
};

struct tally {
    pthread_mutex_t lock;
    struct strmap map;
    struct link idle; /* by the time they were given back */
    size_t idle_count;
};

struct tally *tally_create(void)
{
    struct tally *t = calloc(1, sizeof *t);
    if (t == NULL || pthread_mutex_init(&t->lock, NULL) != 0) {
        free(t);
        return NULL;
    }
    strmap_init(&t->map);
    list_init(&t->idle);
    return t;
}

static void forget(struct tally *t, struct tally_entry *e)
{
    (void)strmap_del(&t->map, e->key, e->key_len);
    free(e);
}

/* Forget those whose budget has refilled meanwhile. The list is in the order in which they were
 * given back, not in that of refilling, so one may be kept for as long as those before it. */
static void sweep(struct tally *t, uint64_t now_us)
{
    struct link *first;
    while ((first = list_first(&t->idle)) != NULL) {
        struct tally_entry *e = container_of(first, struct tally_entry, idle);
        if (e->full_at_us > now_us && t->idle_count <= IDLE_MAX)
            return;
        list_remove(&e->idle);
        t->idle_count--;
        forget(t, e);
    }
}

void tally_destroy(struct tally *t)
{
    if (t == NULL)
        return;
    sweep(t, UINT64_MAX);
    strmap_finish(&t->map);
    (void)pthread_mutex_destroy(&t->lock);
    free(t);
}

/* An entry that is in no map yet. */
static struct tally_entry *entry_create(char kind, const void *key, size_t len)
{
    struct tally_entry *e = calloc(1, sizeof *e + 1 + len);
    if (e == NULL)
        return NULL;
    e->key_len = 1 + len;
    e->key[0] = kind;
    if (len > 0)
        memcpy(e->key + 1, key, len);
    list_init(&e->idle);
    return e;
}

/* The entry with this one's key: it, or the one that was there before. */
static struct tally_entry *hold(struct tally *t, struct tally_entry *fresh)
{
    if (fresh == NULL)
        return NULL;
    (void)pthread_mutex_lock(&t->lock);
    struct tally_entry *e = strmap_get(&t->map, fresh->key, fresh->key_len);
    if (e == NULL && strmap_put(&t->map, fresh->key, fresh->key_len, fresh) == ERR_OK) {
        e = fresh;
        fresh = NULL;
    }
    if (e != NULL && e->holders++ == 0 && !list_empty(&e->idle)) {
        list_remove(&e->idle);
        t->idle_count--;
    }
    (void)pthread_mutex_unlock(&t->lock);
    free(fresh);
    return e;
}

struct tally_entry *tally_address(struct tally *t, const struct netaddr *a)
{
    size_t len = a->is_unix ? 0 : netaddr_is_v4(a) ? sizeof a->bytes : V6_SITE;
    return hold(t, entry_create('a', a->bytes, len));
}

struct tally_entry *tally_subject(struct tally *t, const char *sub, size_t len)
{
    return hold(t, entry_create('s', sub, len));
}

void tally_give_back(struct tally *t, struct tally_entry *e, uint64_t now_us)
{
    (void)pthread_mutex_lock(&t->lock);
    sweep(t, now_us);
    if (--e->holders == 0 && e->full_at_us <= now_us) {
        forget(t, e);
    } else if (e->holders == 0) {
        list_push(&t->idle, &e->idle);
        t->idle_count++;
    }
    (void)pthread_mutex_unlock(&t->lock);
}

bool tally_enter(struct tally *t, struct tally_entry *e, enum tally_kind kind, uint32_t max)
{
    (void)pthread_mutex_lock(&t->lock);
    bool room = max == 0 || e->count[kind] < max;
    e->count[kind] += room ? 1 : 0;
    (void)pthread_mutex_unlock(&t->lock);
    return room;
}

void tally_leave(struct tally *t, struct tally_entry *e, enum tally_kind kind)
{
    (void)pthread_mutex_lock(&t->lock);
    e->count[kind]--;
    (void)pthread_mutex_unlock(&t->lock);
}

uint64_t tally_replay_begin(struct tally *t, struct tally_entry *e, uint64_t now_us)
{
    (void)pthread_mutex_lock(&t->lock);
    uint64_t gone = e->full_at_us > now_us ? e->full_at_us - now_us : 0;
    uint64_t held = e->count[TALLY_REPLAYS] * (MINUTE_US / RESERVE_PARTS);
    uint64_t wait = gone + held < MINUTE_US ? 0 : gone + held - MINUTE_US + 1;
    e->count[TALLY_REPLAYS] += wait == 0 ? 1 : 0;
    (void)pthread_mutex_unlock(&t->lock);
    return wait;
}

void tally_replay_spend(struct tally *t, struct tally_entry *e, uint64_t per_minute, size_t bytes,
                        uint64_t now_us)
{
    static const uint64_t most = (DEBT_MINUTES + 1) * MINUTE_US;
    double cost = (double)bytes / (double)per_minute * (double)MINUTE_US;
    (void)pthread_mutex_lock(&t->lock);
    uint64_t from = e->full_at_us > now_us ? e->full_at_us : now_us;
    e->full_at_us = from + (cost < (double)most ? (uint64_t)cost : most);
    if (e->full_at_us > now_us + most)
        e->full_at_us = now_us + most;
    (void)pthread_mutex_unlock(&t->lock);
}

size_t tally_count(struct tally *t)
{
    (void)pthread_mutex_lock(&t->lock);
    size_t n = strmap_count(&t->map);
    (void)pthread_mutex_unlock(&t->lock);
    return n;
}
