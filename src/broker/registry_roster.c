#include <string.h>

#include "registry_internal.h"
#include "tickerd/base/clock.h"

/* ---- traffic --------------------------------------------------------------------------------- */

enum { WINDOW_S = 10 };

#define WINDOW_US ((uint64_t)WINDOW_S * US_PER_S)

/* The present window is another one: the one before, if it came right after it. */
static void turn_window(struct traffic *t, uint32_t window)
{
    t->before = window == t->window + 1 ? t->now : 0;
    t->now = 0;
    t->window = window;
}

void traffic_count(struct traffic *t, uint64_t now, size_t bytes)
{
    uint32_t window = (uint32_t)(now / WINDOW_US);
    if (window != t->window)
        turn_window(t, window);
    t->now++;
    t->messages++;
    t->bytes += bytes;
}

double traffic_rate(const struct traffic *t, uint64_t now)
{
    struct traffic then = *t;
    uint32_t window = (uint32_t)(now / WINDOW_US);
    if (window != then.window)
        turn_window(&then, window);
    /* As if the messages of the window before had come evenly. */
    double part = (double)(WINDOW_US - now % WINDOW_US) / (double)WINDOW_US;
    return ((double)then.now + (double)then.before * part) / WINDOW_S;
}

/* ---- walking --------------------------------------------------------------------------------- */

/* The walk follows the sweep, which takes channels from the head of its list and puts them at the
 * tail: to who sees the list as a circle, leaving out its head, nothing is moved by that. */
static struct link *after(const struct registry *r, const struct link *at)
{
    return at->next == &r->sweep ? r->sweep.next : at->next;
}

static struct link *before(const struct registry *r, const struct link *at)
{
    return at->prev == &r->sweep ? r->sweep.prev : at->prev;
}

void channel_walk_start(struct registry *r, struct channel_walk *w)
{
    *w = (struct channel_walk){
        .next = r->sweep.next, .last = r->sweep.prev, .over = list_empty(&r->sweep)};
    list_init(&w->link);
    list_push(&r->walks, &w->link);
}

const struct channel *channel_walk_next(struct registry *r, struct channel_walk *w)
{
    if (w->over)
        return NULL;
    const struct channel *c = container_of(w->next, struct channel, sweep);
    w->over = w->next == w->last;
    w->next = after(r, w->next);
    return c;
}

void channel_walk_stop(struct channel_walk *w)
{
    list_remove(&w->link);
}

void channel_walks_leave(struct registry *r, struct channel *c)
{
    list_each(&r->walks, it) {
        struct channel_walk *w = container_of(it, struct channel_walk, link);
        bool is_next = w->next == &c->sweep, is_last = w->last == &c->sweep;
        w->over = w->over || (is_next && is_last);
        if (is_next)
            w->next = after(r, w->next);
        if (is_last)
            w->last = before(r, w->last);
    }
}

/* ---- what is seen ---------------------------------------------------------------------------- */

struct name *channel_name(const struct channel *c)
{
    return c->name;
}

static void describe_last(const struct registry *r, const struct channel *c,
                          struct channel_facts *out)
{
    const struct ring *ring = &c->log.ring;
    const struct frame *newest = ring_newest(ring);
    const struct hole *past = newest == NULL && ring->count > 0 ? ring_at(ring, 0)->u.hole : NULL;
    if (newest == NULL && (past == NULL || past->evicted_seq == 0))
        return;
    uint64_t seq = newest == NULL ? past->evicted_seq : newest->seq;
    uint32_t fp = newest == NULL ? past->evicted_fp : newest->fp;
    struct eventid id = timeline_id(&r->clock.line, seq, fp);
    out->last_us = id.seq;
    out->last_id_len = newest == NULL ? EVENTID_LEN : newest->id_len;
    if (newest == NULL)
        eventid_format(out->last_id, &id);
    else
        memcpy(out->last_id, frame_id(newest), newest->id_len);
}

void channel_describe(const struct registry *r, const struct channel *c, struct channel_facts *out)
{
    *out = (struct channel_facts){.messages = c->traffic.messages,
                                  .bytes = c->traffic.bytes,
                                  .rate = traffic_rate(&c->traffic, hubclock_now(&r->clock)),
                                  .kept_events = ring_frames(&c->log.ring),
                                  .kept_bytes = c->log.bytes};
    describe_last(r, c, out);
}
