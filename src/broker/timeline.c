#include "tickerd/broker/timeline.h"

#include <string.h>

static const struct epoch *epoch_at(const struct timeline *t, uint64_t seq)
{
    uint32_t i = t->count - 1;
    while (i > 0 && t->epochs[i].start > seq)
        i--;
    return &t->epochs[i];
}

struct eventid timeline_id(const struct timeline *t, uint64_t seq, uint32_t fp)
{
    const struct epoch *e = epoch_at(t, seq);
    uint64_t shown = (seq + (uint64_t)e->shift) & EVENTID_SEQ_MAX;
    return (struct eventid){.seq = shown, .tag = e->tag, .fp = fp};
}

bool timeline_resolve(const struct timeline *t, const struct eventid *id, uint64_t *seq)
{
    for (uint32_t i = t->count; i > 0; i--) {
        const struct epoch *e = &t->epochs[i - 1];
        if (e->tag == id->tag) {
            *seq = id->seq - (uint64_t)e->shift;
            return i == t->count || *seq < t->epochs[i].start;
        }
    }
    return false;
}

static uint64_t in_epoch(const struct epoch *e, uint64_t wall_us)
{
    int64_t seq = (int64_t)wall_us - e->shift;
    return seq < 0 ? 0 : (uint64_t)seq;
}

struct span timeline_from_wall(const struct timeline *t, uint64_t wall_us, uint64_t head,
                               uint64_t slack)
{
    struct span found = {UINT64_MAX, 0};
    for (uint32_t i = 0; i < t->count; i++) {
        const struct epoch *e = &t->epochs[i];
        uint64_t start = i == 0 ? 0 : e->start;
        uint64_t end = i + 1 == t->count ? head : t->epochs[i + 1].start - 1;
        uint64_t seq = in_epoch(e, wall_us);
        if (seq + slack < start || seq > end + slack)
            continue;
        found.lo = seq < found.lo ? seq : found.lo;
        found.hi = seq > found.hi ? seq : found.hi;
    }
    if (found.lo > found.hi) /* our clock never showed that time */
        found.lo = found.hi = in_epoch(&t->epochs[t->count - 1], wall_us);
    return found;
}

uint64_t timeline_earliest(const struct timeline *t, uint64_t seq)
{
    uint64_t earliest = seq;
    for (uint32_t i = 0; i < TIMELINE_STALLS; i++) {
        const struct stall *s = &t->stalls[i];
        if (s->from < seq && seq <= s->to && s->from + 1 < earliest)
            earliest = s->from + 1;
    }
    return earliest;
}

static void begin_epoch(struct hubclock *c, int64_t shift, uint32_t tag)
{
    struct timeline *t = &c->line;
    if (t->count == TIMELINE_EPOCHS) {
        memmove(t->epochs, t->epochs + 1, (TIMELINE_EPOCHS - 1) * sizeof t->epochs[0]);
        t->count--;
    }
    t->epochs[t->count++] = (struct epoch){.start = c->last + 1, .tag = tag, .shift = shift};
}

void hubclock_init(struct hubclock *c, uint64_t mono_us, uint64_t wall_us, uint32_t tag)
{
    *c = (struct hubclock){.last = wall_us, .last_turn = wall_us};
    c->line.base = (int64_t)wall_us - (int64_t)mono_us;
    begin_epoch(c, 0, tag);
    c->line.epochs[0].start = 0;
}

static bool stepped(const struct hubclock *c, int64_t shift)
{
    int64_t off = shift - c->line.epochs[c->line.count - 1].shift;
    return off > TIMELINE_STEP_US || off < -TIMELINE_STEP_US;
}

void hubclock_resume(struct hubclock *c, const struct timeline *line, uint64_t last,
                     uint64_t mono_us, uint64_t wall_us, uint32_t fresh_tag)
{
    int64_t now = (int64_t)wall_us - line->epochs[line->count - 1].shift;
    if (now < (int64_t)last)
        now = (int64_t)last;
    *c = (struct hubclock){.line = *line, .last = (uint64_t)now, .last_turn = (uint64_t)now};
    c->line.base = now - (int64_t)mono_us;
    int64_t shift = (int64_t)wall_us - now;
    if (stepped(c, shift))
        begin_epoch(c, shift, fresh_tag);
}

/* One that begins while the time is still held from the one before is the same stall. */
static void note_stall(struct hubclock *c, uint64_t now)
{
    bool same = c->line.stalled > 0 && c->last_turn < c->hold;
    c->line.stalled += same ? 0 : 1;
    struct stall *s = &c->line.stalls[c->line.stalled % TIMELINE_STALLS];
    if (!same)
        s->from = c->last;
    c->hold = s->to = now + TIMELINE_HOLD_US;
}

enum clock_news hubclock_turn(struct hubclock *c, uint64_t mono_us, uint64_t wall_us,
                              uint32_t fresh_tag)
{
    uint64_t now = (uint64_t)((int64_t)mono_us + c->line.base);
    enum clock_news news = CLOCK_SAME;
    if (now > c->last_turn + TIMELINE_STEP_US) {
        note_stall(c, now);
        news = CLOCK_STALLED;
    }
    c->last_turn = now;
    if (now > c->last && now >= c->hold)
        c->last = now;
    int64_t shift = (int64_t)wall_us - (int64_t)now;
    if (!stepped(c, shift))
        return news;
    begin_epoch(c, shift, fresh_tag);
    return CLOCK_STEPPED;
}

uint64_t hubclock_next(struct hubclock *c)
{
    return ++c->last;
}
