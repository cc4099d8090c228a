#include "tickerd/broker/recent_gaps.h"

#include <string.h>

#include "tickerd/base/clock.h"

void recent_gaps_init(struct recent_gaps *r)
{
    memset(r, 0, sizeof *r);
    (void)pthread_mutex_init(&r->lock, NULL); /* cannot fail without attributes */
}

void recent_gaps_finish(struct recent_gaps *r)
{
    recent_gaps_release(r->ring, RECENT_GAPS);
    r->count = 0;
    (void)pthread_mutex_destroy(&r->lock);
}

void recent_gaps_release(struct recent_gap *gaps, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        name_unref(gaps[i].channel);
        gaps[i].channel = NULL;
    }
}

static bool same(const struct recent_gap *a, const struct recent_gap *b)
{
    return a->at_us / US_PER_S == b->at_us / US_PER_S && a->reason == b->reason &&
           name_equal(a->channel, b->channel);
}

/* The i-th of those in the ring, counted from the newest. */
static struct recent_gap *at(struct recent_gaps *r, size_t i)
{
    return &r->ring[(r->newest + RECENT_GAPS - i) % RECENT_GAPS];
}

/* The entry to which this one belongs; NULL: none yet. */
static struct recent_gap *find(struct recent_gaps *r, const struct recent_gap *gap)
{
    for (size_t i = 0; i < r->count; i++) {
        struct recent_gap *old = at(r, i);
        if (same(old, gap))
            return old;
        if (old->at_us / US_PER_S < gap->at_us / US_PER_S)
            return NULL;
    }
    return NULL;
}

void recent_gaps_note(struct recent_gaps *r, uint64_t at_us, enum gap_reason reason,
                      struct name *channel)
{
    const struct recent_gap gap = {at_us, channel, 1, reason};
    (void)pthread_mutex_lock(&r->lock);
    struct recent_gap *entry = find(r, &gap);
    if (entry != NULL) {
        entry->clients++;
    } else {
        r->newest = (r->newest + 1) % RECENT_GAPS;
        r->count += r->count < RECENT_GAPS ? 1 : 0;
        entry = at(r, 0);
        name_unref(entry->channel);
        *entry = gap;
        (void)name_ref(channel);
    }
    (void)pthread_mutex_unlock(&r->lock);
}

/* Put one into the list. */
static size_t insert(struct recent_gap *out, size_t count, const struct recent_gap *gap)
{
    size_t place = 0;
    for (size_t i = 0; i < count; i++) {
        if (same(&out[i], gap)) {
            out[i].clients += gap->clients;
            return count;
        }
        place += out[i].at_us >= gap->at_us ? 1 : 0;
    }
    if (place == RECENT_GAPS)
        return count;
    if (count == RECENT_GAPS)
        name_unref(out[--count].channel);
    memmove(out + place + 1, out + place, (count - place) * sizeof *out);
    out[place] = *gap;
    (void)name_ref(gap->channel);
    return count + 1;
}

size_t recent_gaps_merge(struct recent_gaps *r, struct recent_gap *out, size_t count)
{
    (void)pthread_mutex_lock(&r->lock);
    for (size_t i = 0; i < r->count; i++)
        count = insert(out, count, at(r, i));
    (void)pthread_mutex_unlock(&r->lock);
    return count;
}
