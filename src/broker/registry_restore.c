#include "tickerd/broker/saved.h"

#include <stdlib.h>
#include <string.h>

#include "registry_internal.h"
#include "saved_format.h"
#include "tickerd/base/err.h"

/* A log has two holes side by side at most; a few more do no harm, very many would cost time. */
enum { HOLES_IN_A_ROW = 16 };

static const char damaged[] = "its contents make no sense";

struct restoring {
    struct registry *r;
    struct unpack in;
    uint64_t reached;      /* position reached when it was saved */
    struct ring marks;     /* becomes the registry's */
    struct entry *entries; /* of the log being read; owned, reused */
    size_t room;
    const char *why;
};

static int refuse(struct restoring *s, const char *why)
{
    s->why = why;
    return ERR_INVALID;
}

static int out_of_memory(struct restoring *s)
{
    s->why = err_text(ERR_NOMEM);
    return ERR_NOMEM;
}

/* ---- whose it is ----------------------------------------------------------------------------- */

static bool text_is(struct unpack *in, const char *expected, size_t len)
{
    size_t n = unpack_u16(in);
    const char *text = unpack_bytes(in, n);
    return text != NULL && n == len && memcmp(text, expected, len) == 0;
}

/* The version comes before the checksum: another version may have another one. */
static int check_kind(struct restoring *s)
{
    const char *magic = unpack_bytes(&s->in, SAVED_MAGIC_LEN);
    if (magic == NULL || memcmp(magic, SAVED_MAGIC, SAVED_MAGIC_LEN) != 0)
        return refuse(s, "it is no state file of tickerd");
    if (unpack_u32(&s->in) != SAVED_VERSION)
        return refuse(s, "another version of tickerd wrote it");
    return unpack_intact(&s->in) ? ERR_OK : refuse(s, "it is damaged or incomplete");
}

static int check_owner(struct restoring *s, const char *source)
{
    const struct config *c = s->r->config;
    uint8_t mode = unpack_u8(&s->in);
    if (!text_is(&s->in, c->redis.prefix, c->redis.prefix_len))
        return refuse(s, "it was written with another redis.prefix");
    if (!text_is(&s->in, source, strlen(source)))
        return refuse(s, "it was written with another Redis server");
    if (mode != c->redis.mode)
        return refuse(s, "it was written with another redis.mode");
    return ERR_OK;
}

/* ---- the time line --------------------------------------------------------------------------- */

static bool shift_sane(int64_t shift)
{
    return shift <= (int64_t)SAVED_POSITION_MAX && shift >= -(int64_t)SAVED_POSITION_MAX;
}

static int restore_clock(struct restoring *s, const struct saved_now *now,
                         struct saved_summary *sum)
{
    struct timeline line = {.count = 0};
    s->reached = unpack_u64(&s->in);
    line.many_orders = unpack_u8(&s->in) != 0;
    uint32_t count = unpack_u8(&s->in);
    bool sane = s->reached <= SAVED_POSITION_MAX && count > 0 && count <= TIMELINE_EPOCHS;
    for (; sane && line.count < count; line.count++) {
        struct epoch *e = &line.epochs[line.count];
        e->start = unpack_u64(&s->in);
        e->tag = unpack_u32(&s->in);
        e->shift = (int64_t)unpack_u64(&s->in);
        sane = e->start <= s->reached + 1 && shift_sane(e->shift) &&
               (line.count == 0 || e->start >= e[-1].start);
    }
    line.stalled = unpack_u32(&s->in);
    for (uint32_t i = 0; i < TIMELINE_STALLS; i++) {
        line.stalls[i].from = unpack_u64(&s->in);
        line.stalls[i].to = unpack_u64(&s->in);
        sane = sane && line.stalls[i].from <= s->reached;
    }
    if (!sane || s->in.failed || now->wall_us > SAVED_POSITION_MAX)
        return refuse(s, damaged);
    hubclock_resume(&s->r->clock, &line, s->reached, now->mono_us, now->wall_us, now->fresh_tag);
    sum->down_us = hubclock_now(&s->r->clock) - s->reached;
    s->r->watermark = unpack_u64(&s->in);
    return s->r->watermark <= s->reached ? ERR_OK : refuse(s, damaged);
}

/* ---- logs ------------------------------------------------------------------------------------ */

static int restore_hole(struct restoring *s, struct entry *e, struct name *channel)
{
    struct hole *h = calloc(1, sizeof *h);
    if (h == NULL)
        return out_of_memory(s);
    uint8_t reason = unpack_u8(&s->in);
    bool named = unpack_u8(&s->in) != 0;
#define RESTORE_FIELD(width, name) h->name = unpack_##width(&s->in);
    SAVED_HOLE_FIELDS(RESTORE_FIELD)
#undef RESTORE_FIELD
    if (s->in.failed || reason >= GAP_REASON_COUNT || (named && channel == NULL)) {
        free(h);
        return refuse(s, damaged);
    }
    h->reason = (enum gap_reason)reason;
    h->channel = name_ref(named ? channel : NULL);
    e->u.hole = h;
    return ERR_OK;
}

static int restore_frame(struct restoring *s, struct entry *e, struct name *channel)
{
    uint32_t fp = unpack_u32(&s->in);
    uint8_t publisher_id = unpack_u8(&s->in);
    uint16_t id_len = unpack_u16(&s->in);
    uint32_t len = unpack_u32(&s->in);
    const char *block = unpack_bytes(&s->in, len);
    if (block == NULL || channel == NULL || !sse_block_valid(block, len, id_len))
        return refuse(s, damaged);
    struct frame *f = frame_wrap(block, len);
    if (f == NULL)
        return out_of_memory(s);
    f->fp = fp;
    f->seq = entry_seq(e);
    f->id_len = id_len;
    f->publisher_id = publisher_id != 0;
    f->channel = name_ref(channel);
    e->u.frame = f;
    return ERR_OK;
}

static int reserve(struct restoring *s, size_t count)
{
    if (count <= s->room)
        return ERR_OK;
    struct entry *more = realloc(s->entries, count * sizeof *more);
    if (more == NULL)
        return out_of_memory(s);
    s->entries = more;
    s->room = count;
    return ERR_OK;
}

/* Whether an entry may follow the one before it: positions grow, and only a hole may stand where
 * the entry before it does. */
static bool in_order(const struct restoring *s, const struct entry *e, uint64_t before)
{
    uint64_t seq = entry_seq(e);
    return seq <= s->reached && (entry_is_hole(e) ? seq >= before : seq > before);
}

/* Read the entries of one log into s->entries. A failure leaves none. */
static int read_entries(struct restoring *s, struct name *channel, size_t *count)
{
    size_t n = unpack_count(&s->in, SAVED_ENTRY_MIN);
    int err = n > SAVED_ENTRIES_MAX ? refuse(s, damaged) : reserve(s, n);
    uint64_t before = 0;
    size_t done = 0, row = 0;
    while (err == ERR_OK && done < n) {
        struct entry *e = &s->entries[done];
        e->word = unpack_u64(&s->in);
        row = entry_is_hole(e) ? row + 1 : 0;
        if (s->in.failed || !in_order(s, e, before) || (channel != NULL && row > HOLES_IN_A_ROW))
            err = refuse(s, damaged);
        else
            err = entry_is_hole(e) ? restore_hole(s, e, channel) : restore_frame(s, e, channel);
        before = entry_seq(e);
        done += err == ERR_OK ? 1 : 0;
    }
    if (err == ERR_OK && s->in.failed)
        err = refuse(s, damaged);
    *count = done;
    while (err != ERR_OK && done > 0)
        entry_release(&s->entries[--done]);
    return err;
}

/* The outages, and the one that ends with this start. It is told to a stream with `history` too:
 * that sees events from before and after it as one row. */
static int restore_marks(struct restoring *s)
{
    size_t count;
    int err = read_entries(s, NULL, &count);
    if (err != ERR_OK)
        return err;
    if (ring_assign(&s->marks, s->entries, count) != ERR_OK)
        return out_of_memory(s);
    return count <= RING_DISTINCT_MAX ? ERR_OK : refuse(s, damaged);
}

static int mark_restart(struct restoring *s)
{
    uint64_t seq = hubclock_next(&s->r->clock);
    if (ring_push_mark(&s->marks, seq, GAP_RESTART, s->reached + 1) != ERR_OK)
        return out_of_memory(s);
    ring_at(&s->marks, s->marks.count - 1)->u.hole->never_kept = true;
    return ERR_OK;
}

static int restore_log(struct restoring *s, struct channel *c)
{
    size_t count;
    int err = read_entries(s, c->name, &count);
    if (err != ERR_OK)
        return err;
    if (chanlog_restore(&c->log, s->entries, count) != ERR_OK)
        return out_of_memory(s);
    channel_obey(s->r, c);
    return ERR_OK;
}

static int restore_channel(struct restoring *s)
{
    size_t len = unpack_u8(&s->in);
    const char *name = unpack_bytes(&s->in, len);
    struct channel *c;
    if (name == NULL || !topic_valid(name, len) || topic_reserved(name, len))
        return refuse(s, damaged);
    int err = channel_restore(s->r, name, len, &c);
    if (err == ERR_EXISTS)
        return refuse(s, damaged);
    if (err != ERR_OK)
        return out_of_memory(s);
    err = restore_log(s, c);
    channel_touch(s->r, c);
    if (err == ERR_OK)
        registry_enforce_total(s->r);
    return err;
}

static int restore_channels(struct restoring *s)
{
    size_t count = unpack_count(&s->in, SAVED_CHANNEL_MIN);
    int err = s->in.failed ? refuse(s, damaged) : ERR_OK;
    for (; err == ERR_OK && count > 0; count--)
        err = restore_channel(s);
    return err;
}

/* ---- subscriptions --------------------------------------------------------------------------- */

static bool read_subscription(const struct restoring *s, struct unpack *in,
                              struct upstream_held *held)
{
    held->topic.pattern = unpack_u8(in) != 0;
    held->topic.len = unpack_u8(in);
    held->topic.name = unpack_bytes(in, held->topic.len);
    held->since = unpack_u64(in);
    return !in->failed && held->since <= s->reached &&
           (held->topic.pattern || topic_valid(held->topic.name, held->topic.len));
}

/* What was listened to is listened to again, and lingers until somebody comes for it: so the logs
 * stay worth keeping. Those that nothing covers go when the source is up. */
static int restore_subscriptions(struct restoring *s)
{
    for (int pass = 0; pass < 2; pass++) { /* first look, then act: it cannot be undone */
        struct unpack in = s->in;
        size_t count = unpack_count(&in, SAVED_SUBSCRIPTION_MIN);
        for (; !in.failed && count > 0; count--) {
            struct upstream_held held;
            if (!read_subscription(s, &in, &held))
                in.failed = true;
            else if (pass == 1)
                upstream_keep(&s->r->upstream, &held, hubclock_now(&s->r->clock));
        }
        if (in.failed || unpack_left(&in) > 0)
            return refuse(s, damaged);
    }
    return ERR_OK;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static void forget(struct registry *r)
{
    struct link *it;
    while ((it = list_first(&r->sweep)) != NULL)
        channel_destroy(r, container_of(it, struct channel, sweep));
    r->watermark = 0;
}

static void count_events(const struct registry *r, struct saved_summary *sum)
{
    size_t pos = 0;
    const struct channel *c;
    while ((c = strmap_next(&r->channels, &pos)) != NULL) {
        sum->events += ring_frames(&c->log.ring);
        sum->channels += ring_frames(&c->log.ring) > 0 ? 1 : 0;
    }
}

static int restore(struct restoring *s, const char *source, const struct saved_now *now,
                   struct saved_summary *sum)
{
    int err = check_kind(s);
    if (err == ERR_OK)
        err = check_owner(s, source);
    if (err == ERR_OK)
        err = restore_clock(s, now, sum);
    if (err == ERR_OK)
        err = restore_marks(s);
    if (err == ERR_OK)
        err = restore_channels(s);
    if (err == ERR_OK)
        err = mark_restart(s);
    return err == ERR_OK ? restore_subscriptions(s) : err;
}

int registry_restore(struct registry *r, const char *source, const void *bytes, size_t len,
                     const struct saved_now *now, struct saved_summary *sum, const char **why)
{
    struct hubclock before = r->clock;
    struct restoring s = {.r = r, .entries = NULL};
    *sum = (struct saved_summary){0};
    ring_init(&s.marks);
    s.marks.distinct = true;
    unpack_init(&s.in, bytes, len);
    int err = restore(&s, source, now, sum);
    free(s.entries);
    if (err != ERR_OK) {
        *why = s.why;
        ring_finish(&s.marks);
        forget(r);
        r->clock = before;
        return err;
    }
    ring_finish(&r->marks);
    r->marks = s.marks;
    r->heard = r->outage = s.reached; /* what is missing since lies behind all that was heard */
    count_events(r, sum);
    return ERR_OK;
}
