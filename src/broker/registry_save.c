#include "tickerd/broker/saved.h"

#include <string.h>

#include "registry_internal.h"
#include "saved_format.h"

static void save_text(struct pack *out, const char *text, size_t len)
{
    pack_u16(out, (uint16_t)len);
    pack_bytes(out, text, len);
}

static void save_line(struct pack *out, const struct hubclock *c)
{
    pack_u64(out, c->last);
    pack_u8(out, c->line.many_orders);
    pack_u8(out, (uint8_t)c->line.count);
    for (uint32_t i = 0; i < c->line.count; i++) {
        const struct epoch *e = &c->line.epochs[i];
        pack_u64(out, e->start);
        pack_u32(out, e->tag);
        pack_u64(out, (uint64_t)e->shift);
    }
    pack_u32(out, c->line.stalled);
    for (uint32_t i = 0; i < TIMELINE_STALLS; i++) {
        pack_u64(out, c->line.stalls[i].from);
        pack_u64(out, c->line.stalls[i].to);
    }
}

static void save_hole(struct pack *out, const struct hole *h)
{
    pack_u8(out, (uint8_t)h->reason);
    pack_u8(out, h->channel != NULL);
#define SAVE_FIELD(width, name) pack_##width(out, h->name);
    SAVED_HOLE_FIELDS(SAVE_FIELD)
#undef SAVE_FIELD
}

static void save_frame(struct pack *out, const struct frame *f)
{
    pack_u32(out, f->fp);
    pack_u8(out, f->publisher_id);
    pack_u16(out, f->id_len);
    pack_u32(out, f->len);
    pack_bytes(out, f->block, f->len);
}

static void save_ring(struct pack *out, const struct ring *ring)
{
    pack_u32(out, ring->count);
    for (uint32_t i = 0; i < ring->count; i++) {
        const struct entry *e = ring_at(ring, i);
        pack_u64(out, e->word);
        if (entry_is_hole(e))
            save_hole(out, e->u.hole);
        else
            save_frame(out, e->u.frame);
    }
}

struct saving {
    struct pack *out; /* NULL: only count */
    bool on_demand;
    struct saved_summary sum;
    uint32_t count; /* of what is being saved */
};

/* In mode on-demand even a log that keeps nothing says since when it does. */
static bool says_anything(const struct saving *s, const struct channel *c)
{
    return channel_remembers(c) || (s->on_demand && c->log.ring.count > 0);
}

static void save_channel(struct saving *s, const struct channel *c)
{
    if (!says_anything(s, c))
        return;
    s->count++;
    if (s->out == NULL)
        return;
    uint32_t events = ring_frames(&c->log.ring);
    s->sum.channels += events > 0 ? 1 : 0;
    s->sum.events += events;
    pack_u8(s->out, (uint8_t)c->name->len);
    pack_bytes(s->out, c->name->bytes, c->name->len);
    save_ring(s->out, &c->log.ring);
}

/* In the order in which they would give way, so that they do after the restart. */
static void each_channel(const struct registry *r, struct saving *s)
{
    size_t pos = 0;
    const struct channel *c;
    list_each(&r->idle, it) {
        save_channel(s, container_of(it, struct channel, lru));
    }
    while ((c = strmap_next(&r->channels, &pos)) != NULL) {
        if (list_empty(&c->lru)) /* in use, but without an event */
            save_channel(s, c);
    }
    list_each(&r->used, it) {
        save_channel(s, container_of(it, struct channel, lru));
    }
}

static void save_channels(const struct registry *r, struct saving *s)
{
    struct saving counting = {.out = NULL, .on_demand = s->on_demand};
    each_channel(r, &counting);
    pack_u32(s->out, counting.count);
    each_channel(r, s);
}

static void save_subscription(void *ctx, const struct upstream_held *held)
{
    struct saving *s = ctx;
    s->count++;
    if (s->out == NULL)
        return;
    pack_u8(s->out, held->topic.pattern);
    pack_u8(s->out, (uint8_t)held->topic.len);
    pack_bytes(s->out, held->topic.name, held->topic.len);
    pack_u64(s->out, held->since);
}

static void save_subscriptions(const struct registry *r, struct saving *s)
{
    struct saving counting = {.out = NULL};
    if (s->on_demand) /* else there is but one, always */
        upstream_each(&r->upstream, save_subscription, &counting);
    pack_u32(s->out, counting.count);
    if (s->on_demand)
        upstream_each(&r->upstream, save_subscription, s);
}

int registry_save(const struct registry *r, const char *source, struct pack *out,
                  struct saved_summary *sum)
{
    struct saving s = {.out = out, .on_demand = r->upstream.mode == REDIS_MODE_ON_DEMAND};
    pack_bytes(out, SAVED_MAGIC, SAVED_MAGIC_LEN);
    pack_u32(out, SAVED_VERSION);
    pack_u8(out, (uint8_t)r->config->redis.mode);
    save_text(out, r->config->redis.prefix, r->config->redis.prefix_len);
    save_text(out, source, strlen(source));
    save_line(out, &r->clock);
    pack_u64(out, r->watermark);
    save_ring(out, &r->marks);
    save_channels(r, &s);
    save_subscriptions(r, &s);
    *sum = s.sum;
    return pack_end(out);
}
