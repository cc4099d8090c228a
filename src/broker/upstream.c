#include "tickerd/broker/upstream.h"

#include <stdlib.h>
#include <string.h>

#include "tickerd/base/buf.h"
#include "tickerd/base/err.h"

struct upsub {
    bool pattern;
    bool acked;
    bool ending; /* unsubscribed, and the source has not confirmed yet */
    bool torn;   /* the same, but wanted again: subscribed behind that */
    uint32_t users;
    uint64_t since;     /* position of the acknowledgement */
    uint64_t held;      /* the same in an earlier run; 0: none */
    uint64_t unused_us; /* since when it lingers */
    struct link linger; /* in `lingering`, or in `ended` while `ending` */
    char *wire;         /* what the source calls it; owned */
    size_t wire_len;
    size_t len;
    char topic[]; /* channel or literal head, without prefix */
};

static struct strmap *map_of(struct upstream *u, bool pattern)
{
    return pattern ? &u->patterns : &u->channels;
}

static enum source_sub kind_of(const struct upsub *s)
{
    return s->pattern ? SOURCE_PATTERN : SOURCE_CHANNEL;
}

static void upsub_free(struct upsub *s)
{
    free(s->wire);
    free(s);
}

static struct upsub *upsub_create(const struct upstream *u, bool pattern, const char *topic,
                                  size_t len)
{
    struct upsub *s = calloc(1, sizeof *s + len);
    struct buf wire = BUF_INIT;
    if (pattern) {
        glob_escape(&wire, u->prefix, u->prefix_len);
        glob_escape(&wire, topic, len);
        buf_byte(&wire, '*');
    } else {
        buf_append(&wire, u->prefix, u->prefix_len);
        buf_append(&wire, topic, len);
    }
    if (s == NULL || wire.failed) {
        buf_finish(&wire);
        free(s);
        return NULL;
    }
    s->pattern = pattern;
    s->wire = wire.data;
    s->wire_len = wire.len;
    s->len = len;
    memcpy(s->topic, topic, len);
    list_init(&s->linger);
    return s;
}

static void unlink_maps(struct upstream *u, struct upsub *s)
{
    (void)strmap_del(map_of(u, s->pattern), s->topic, s->len);
    if (s->pattern) {
        (void)strmap_del(&u->wire, s->wire, s->wire_len);
        u->lengths[s->len]--;
    }
}

static int link_maps(struct upstream *u, struct upsub *s)
{
    if (strmap_put(map_of(u, s->pattern), s->topic, s->len, s) != ERR_OK)
        return ERR_NOMEM;
    if (!s->pattern)
        return ERR_OK;
    if (strmap_put(&u->wire, s->wire, s->wire_len, s) != ERR_OK) {
        (void)strmap_del(&u->patterns, s->topic, s->len);
        return ERR_NOMEM;
    }
    u->lengths[s->len]++;
    return ERR_OK;
}

static struct upsub *add(struct upstream *u, bool pattern, const char *topic, size_t len)
{
    struct upsub *s = upsub_create(u, pattern, topic, len);
    if (s == NULL)
        return NULL;
    if (link_maps(u, s) != ERR_OK) {
        upsub_free(s);
        return NULL;
    }
    if (u->source->ops->subscribe(u->source, kind_of(s), s->wire, s->wire_len) != ERR_OK) {
        unlink_maps(u, s);
        upsub_free(s);
        return NULL;
    }
    return s;
}

int upstream_init(struct upstream *u, struct source *source, const struct config *config)
{
    memset(u, 0, sizeof *u);
    u->source = source;
    u->mode = config->redis.mode;
    u->linger_us = config->redis.linger_ms * 1000;
    u->prefix_len = config->redis.prefix_len;
    strmap_init(&u->channels);
    strmap_init(&u->patterns);
    strmap_init(&u->wire);
    list_init(&u->lingering);
    list_init(&u->ended);
    u->prefix = malloc(u->prefix_len + 1);
    if (u->prefix == NULL)
        return ERR_NOMEM;
    memcpy(u->prefix, config->redis.prefix, u->prefix_len);
    if (u->mode == REDIS_MODE_ALL) {
        struct upsub *s = add(u, true, "", 0);
        if (s == NULL) {
            upstream_finish(u);
            return ERR_NOMEM;
        }
        s->users = 1;
    }
    return ERR_OK;
}

void upstream_finish(struct upstream *u)
{
    struct strmap *maps[] = {&u->channels, &u->patterns};
    for (size_t m = 0; m < 2; m++) {
        size_t pos = 0;
        struct upsub *s;
        while ((s = strmap_next(maps[m], &pos)) != NULL)
            upsub_free(s);
        strmap_finish(maps[m]);
    }
    strmap_finish(&u->wire);
    free(u->prefix);
    u->prefix = NULL;
}

/* A pattern stands for its literal head. Returns what to look up and its length. */
static const char *subject(bool pattern, const char *topic, size_t *len, char head[TOPIC_MAX])
{
    if (!pattern)
        return topic;
    *len = glob_head(topic, *len, head, NULL);
    return head;
}

/* Give the subscription up. It stays in the maps until the source confirms, since messages that
 * are on their way still count; one that was never acknowledged has nothing to confirm. */
static void end(struct upstream *u, struct upsub *s)
{
    list_remove(&s->linger);
    u->lingering_count--;
    u->source->ops->unsubscribe(u->source, kind_of(s), s->wire, s->wire_len);
    s->ending = true;
    if (s->acked) {
        list_push(&u->ended, &s->linger);
        return;
    }
    unlink_maps(u, s);
    upsub_free(s);
}

static bool room_for_pattern(struct upstream *u)
{
    if (strmap_count(&u->patterns) < UPSTREAM_PATTERNS_MAX)
        return true;
    struct link *it = list_first(&u->lingering); /* not in use: gives way */
    if (it == NULL)
        return false;
    end(u, container_of(it, struct upsub, linger));
    return true;
}

int upstream_want(struct upstream *u, bool pattern, const char *topic, size_t len)
{
    if (u->mode == REDIS_MODE_ALL)
        return ERR_OK;
    char head[TOPIC_MAX];
    topic = subject(pattern, topic, &len, head);
    struct upsub *s = strmap_get(map_of(u, pattern), topic, len);
    if (s == NULL) {
        if (pattern && !room_for_pattern(u))
            return ERR_RANGE;
        s = add(u, pattern, topic, len);
        if (s == NULL)
            return ERR_NOMEM;
    } else if (s->ending) {
        if (u->source->ops->subscribe(u->source, kind_of(s), s->wire, s->wire_len) != ERR_OK)
            return ERR_NOMEM;
        s->ending = false;
        s->torn = true;
        list_remove(&s->linger);
    } else if (!list_empty(&s->linger)) {
        list_remove(&s->linger);
        u->lingering_count--;
    }
    s->users++;
    return ERR_OK;
}

/* Nobody uses the subscription. At most so many may linger. */
static void leave_lingering(struct upstream *u, struct upsub *s, uint64_t now_us)
{
    s->unused_us = now_us;
    list_push(&u->lingering, &s->linger);
    u->lingering_count++;
    if (u->lingering_count > UPSTREAM_LINGER_MAX)
        end(u, container_of(list_first(&u->lingering), struct upsub, linger));
}

/* Whether all that is published there comes here. One that has been given up may have ended at the
 * source already, while what is on its way still counts. */
static bool is_whole(const struct upsub *s)
{
    return s->acked && !s->ending && !s->torn;
}

static void visit(const struct upsub *s, upstream_visit *each, void *ctx)
{
    struct upstream_held held = {.topic = {s->pattern, s->topic, s->len},
                                 .since = is_whole(s) ? s->since : 0};
    each(ctx, &held);
}

static void each_in_use(const struct strmap *map, upstream_visit *each, void *ctx)
{
    size_t pos = 0;
    const struct upsub *s;
    while ((s = strmap_next(map, &pos)) != NULL) {
        if (s->users > 0)
            visit(s, each, ctx);
    }
}

void upstream_each(const struct upstream *u, upstream_visit *each, void *ctx)
{
    list_each(&u->lingering, it) {
        visit(container_of(it, struct upsub, linger), each, ctx);
    }
    each_in_use(&u->channels, each, ctx);
    each_in_use(&u->patterns, each, ctx); /* last: each of them covers many channels */
}

void upstream_keep(struct upstream *u, const struct upstream_held *held, uint64_t now_us)
{
    const struct upstream_topic *t = &held->topic;
    if (u->mode == REDIS_MODE_ALL || strmap_get(map_of(u, t->pattern), t->name, t->len) != NULL)
        return;
    struct upsub *s =
        !t->pattern || room_for_pattern(u) ? add(u, t->pattern, t->name, t->len) : NULL;
    if (s == NULL)
        return;
    s->held = held->since;
    u->resumed = true;
    leave_lingering(u, s, now_us);
}

void upstream_unwant(struct upstream *u, bool pattern, const char *topic, size_t len,
                     uint64_t now_us)
{
    if (u->mode == REDIS_MODE_ALL)
        return;
    char head[TOPIC_MAX];
    topic = subject(pattern, topic, &len, head);
    struct upsub *s = strmap_get(map_of(u, pattern), topic, len);
    if (s == NULL || s->users == 0 || --s->users > 0)
        return;
    leave_lingering(u, s, now_us);
}

void upstream_tick(struct upstream *u, uint64_t now_us)
{
    struct link *it;
    while ((it = list_first(&u->lingering)) != NULL) {
        struct upsub *s = container_of(it, struct upsub, linger);
        if (now_us - s->unused_us < u->linger_us)
            return;
        end(u, s);
    }
}

static bool is_acked(const struct upsub *s)
{
    return s->acked;
}

typedef bool counts_fn(const struct upsub *s);

/* Of the pattern subscriptions that cover a name and count, the one acknowledged first. */
static const struct upsub *oldest_pattern(const struct upstream *u, const char *name, size_t len,
                                          counts_fn *counts)
{
    const struct upsub *oldest = NULL;
    for (size_t n = 0; n <= len && n <= TOPIC_MAX; n++) {
        const struct upsub *s = u->lengths[n] == 0 ? NULL : strmap_get(&u->patterns, name, n);
        if (s != NULL && counts(s) && (oldest == NULL || s->since < oldest->since))
            oldest = s;
    }
    return oldest;
}

static const struct upsub *exact(const struct upstream *u, const char *name, size_t len,
                                 counts_fn *counts)
{
    const struct upsub *s = strmap_get(&u->channels, name, len);
    return s != NULL && counts(s) ? s : NULL;
}

const char *upstream_accept(const struct upstream *u, const char *pattern, size_t pattern_len,
                            const char *channel, size_t channel_len, size_t *name_len)
{
    if (channel_len < u->prefix_len || memcmp(channel, u->prefix, u->prefix_len) != 0)
        return NULL;
    const char *name = channel + u->prefix_len;
    size_t len = channel_len - u->prefix_len;
    *name_len = len;
    if (u->mode == REDIS_MODE_ALL)
        return name;
    const struct upsub *counts = exact(u, name, len, is_acked);
    if (counts == NULL)
        counts = oldest_pattern(u, name, len, is_acked);
    const struct upsub *came = pattern == NULL ? strmap_get(&u->channels, name, len)
                                               : strmap_get(&u->wire, pattern, pattern_len);
    return came != NULL && came == counts ? name : NULL;
}

static struct upsub *by_wire(struct upstream *u, enum source_sub kind, const char *name, size_t len)
{
    if (kind == SOURCE_PATTERN)
        return strmap_get(&u->wire, name, len);
    if (len < u->prefix_len || memcmp(name, u->prefix, u->prefix_len) != 0)
        return NULL;
    return strmap_get(&u->channels, name + u->prefix_len, len - u->prefix_len);
}

bool upstream_find(struct upstream *u, enum source_sub kind, const char *name, size_t len,
                   struct upstream_topic *topic)
{
    const struct upsub *s = by_wire(u, kind, name, len);
    if (s == NULL)
        return false;
    *topic = (struct upstream_topic){s->pattern, s->topic, s->len};
    return true;
}

bool upstream_acked(struct upstream *u, enum source_sub kind, const char *name, size_t len, bool on,
                    uint64_t now, struct upstream_topic *topic)
{
    struct upsub *s = by_wire(u, kind, name, len);
    if (s == NULL)
        return false;
    s->acked = on;
    s->torn = s->torn && on;
    s->since = u->resumed && s->held > 0 ? s->held : now;
    *topic = (struct upstream_topic){s->pattern, s->topic, s->len};
    return true;
}

void upstream_reap(struct upstream *u, const struct upstream_topic *topic)
{
    struct upsub *s = strmap_get(map_of(u, topic->pattern), topic->name, topic->len);
    if (s == NULL || !s->ending || s->acked)
        return;
    list_remove(&s->linger);
    unlink_maps(u, s);
    upsub_free(s);
}

static void forget_acks(struct strmap *map)
{
    size_t pos = 0;
    struct upsub *s;
    while ((s = strmap_next(map, &pos)) != NULL)
        s->acked = s->torn = false;
}

void upstream_down(struct upstream *u)
{
    list_each(&u->ended, it) { /* the source forgets these with the connection */
        struct upsub *s = container_of(it, struct upsub, linger);
        list_remove(&s->linger);
        unlink_maps(u, s);
        upsub_free(s);
    }
    forget_acks(&u->channels);
    forget_acks(&u->patterns);
}

bool upstream_covers(const struct upstream *u, const char *name, size_t len)
{
    return exact(u, name, len, is_whole) != NULL || oldest_pattern(u, name, len, is_whole) != NULL;
}

bool upstream_covers_pattern(const struct upstream *u, const char *pattern, size_t len)
{
    char head[TOPIC_MAX];
    size_t head_len = glob_head(pattern, len, head, NULL);
    return oldest_pattern(u, head, head_len, is_whole) != NULL;
}

uint64_t upstream_since(const struct upstream *u, bool pattern, const char *topic, size_t len)
{
    char head[TOPIC_MAX];
    const struct upsub *s = pattern ? NULL : exact(u, topic, len, is_whole);
    topic = subject(pattern, topic, &len, head);
    const struct upsub *p = oldest_pattern(u, topic, len, is_whole);
    if (s == NULL || (p != NULL && p->since < s->since))
        s = p;
    return s == NULL ? 0 : s->since;
}
