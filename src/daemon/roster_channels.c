/* The list of channels: the hub knows what came on them, the workers who listens. Of very many
 * channels only the first few by the order that is asked for are kept while the hub's are gone
 * over; then each worker is asked for these by name. By subscribers it is the other way round: the
 * workers say first what is listened to. */
#include <stdlib.h>
#include <string.h>

#include "roster_internal.h"
#include "tickerd/base/clock.h"
#include "tickerd/base/err.h"
#include "tickerd/daemon/roster.h"
#include "tickerd/wire/topic.h"

enum {
    CLOCK_EVERY = 64, /* channels or views that are gone over without looking at the clock */
    PATTERNS_MAX = 100,
    HEARD_MIN = 256,
};

enum order { ORDER_RATE, ORDER_MESSAGES, ORDER_SUBSCRIBERS, ORDER_NAME };

struct line {
    struct name *name; /* owned reference */
    uint64_t subscribers;
    struct channel_facts facts;
};

/* What a worker's streams listen to. */
struct heard {
    struct name *topic; /* owned reference */
    uint64_t subscribers;
};

struct heards {
    struct heard *items; /* owned */
    size_t count, room;
};

struct channels {
    struct roster base;
    uint32_t limit;
    enum order order;
    struct glob *match;  /* owned; NULL: any */
    struct line *lines;  /* room for two lists */
    size_t count, total; /* of lines; of channels that match */
    bool cut;            /* lines[limit - 1] is the last that was good enough when it was cut */
    struct channel_walk walk;
    bool walking;
    uint32_t slot;                    /* of the worker's views, up to which they have been seen */
    struct heards patterns, channels; /* the latter by ORDER_SUBSCRIBERS only */
    struct strmap by_name;            /* to `channels`, once each name is there once */
};

static struct channels *channels_of(struct roster *r)
{
    return container_of(r, struct channels, base);
}

static bool matches(const struct channels *c, const struct name *n)
{
    return c->match == NULL || glob_matches(c->match, n->bytes, n->len);
}

/* ---- the order ------------------------------------------------------------------------------- */

static int compare_names(const struct name *a, const struct name *b)
{
    int order = memcmp(a->bytes, b->bytes, a->len < b->len ? a->len : b->len);
    return order != 0 ? order : (a->len > b->len) - (a->len < b->len);
}

#define MORE_FIRST(a, b) (((a) < (b)) - ((a) > (b)))

static int by_rate(const void *a, const void *b)
{
    const struct line *x = a, *y = b;
    int order = MORE_FIRST(x->facts.rate, y->facts.rate);
    if (order == 0)
        order = MORE_FIRST(x->facts.messages, y->facts.messages);
    return order != 0 ? order : compare_names(x->name, y->name);
}

static int by_messages(const void *a, const void *b)
{
    const struct line *x = a, *y = b;
    int order = MORE_FIRST(x->facts.messages, y->facts.messages);
    return order != 0 ? order : compare_names(x->name, y->name);
}

static int by_subscribers(const void *a, const void *b)
{
    const struct line *x = a, *y = b;
    int order = MORE_FIRST(x->subscribers, y->subscribers);
    return order != 0 ? order : compare_names(x->name, y->name);
}

static int by_name(const void *a, const void *b)
{
    return compare_names(((const struct line *)a)->name, ((const struct line *)b)->name);
}

static int (*const comparisons[])(const void *, const void *) = {
    [ORDER_RATE] = by_rate,
    [ORDER_MESSAGES] = by_messages,
    [ORDER_SUBSCRIBERS] = by_subscribers,
    [ORDER_NAME] = by_name,
};

/* ---- at the hub ------------------------------------------------------------------------------ */

/* Keep the first ones. */
static void cut(struct channels *c)
{
    qsort(c->lines, c->count, sizeof *c->lines, comparisons[c->order]);
    while (c->count > c->limit)
        name_unref(c->lines[--c->count].name);
    c->cut = c->count == c->limit;
}

static uint64_t subscribers_of(const struct channels *c, const struct name *n)
{
    const struct heard *h = strmap_get(&c->by_name, n->bytes, n->len);
    return h == NULL ? 0 : h->subscribers;
}

static void add_line(struct channels *c, const struct registry *registry,
                     const struct channel *channel)
{
    struct name *name = channel_name(channel);
    if (!matches(c, name))
        return;
    c->total++;
    if (c->count == 2 * (size_t)c->limit)
        cut(c);
    struct line *line = &c->lines[c->count];
    line->name = name;
    line->subscribers = subscribers_of(c, name);
    channel_describe(registry, channel, &line->facts);
    if (c->cut && comparisons[c->order](line, &c->lines[c->limit - 1]) > 0)
        return;
    (void)name_ref(name);
    c->count++;
}

static bool at_hub(struct roster *r, struct registry *registry)
{
    struct channels *c = channels_of(r);
    uint64_t enough = clock_mono_us() + ROSTER_PIECE_US;
    const struct channel *channel;
    if (!c->walking)
        channel_walk_start(registry, &c->walk);
    c->walking = true;
    for (unsigned n = 1; (channel = channel_walk_next(registry, &c->walk)) != NULL; n++) {
        add_line(c, registry, channel);
        if (n % CLOCK_EVERY == 0 && clock_mono_us() >= enough)
            return false;
    }
    cut(c);
    return true;
}

/* ---- at a worker ----------------------------------------------------------------------------- */

/* False: out of memory. Growing is moving pages, where it is large. */
static bool hear(struct heards *h, const struct view *v)
{
    if (h->count == h->room) {
        size_t room = h->room == 0 ? HEARD_MIN : h->room * 2;
        struct heard *more = realloc(h->items, room * sizeof *more);
        if (more == NULL)
            return false;
        h->items = more;
        h->room = room;
    }
    h->items[h->count++] = (struct heard){name_ref(v->topic), v->sub_count};
    return true;
}

static void ask_by_name(struct channels *c, const struct replica *replica)
{
    for (size_t i = 0; i < c->count; i++) {
        const struct name *n = c->lines[i].name;
        const struct view *v = strmap_get(&replica->channels, n->bytes, n->len);
        c->lines[i].subscribers += v == NULL ? 0 : v->sub_count;
    }
}

static void note_view(struct channels *c, const struct view *v)
{
    if (v == NULL || v->topic == NULL || v->sub_count == 0)
        return;
    bool good = true;
    if (v->pattern)
        good = hear(&c->patterns, v);
    else if (c->order == ORDER_SUBSCRIBERS && matches(c, v->topic))
        good = hear(&c->channels, v);
    c->base.failed = c->base.failed || !good;
}

static bool at_worker(struct roster *r, struct worker *w)
{
    struct channels *c = channels_of(r);
    const struct replica *replica = &worker_fanout(w)->replica;
    uint64_t enough = clock_mono_us() + ROSTER_PIECE_US;
    if (c->slot == 0 && c->order != ORDER_SUBSCRIBERS)
        ask_by_name(c, replica);
    if (strmap_count(&replica->patterns) == 0 && c->order != ORDER_SUBSCRIBERS)
        return true;
    while (c->slot < replica->slot_count && !r->failed) {
        note_view(c, replica->slots[c->slot++].view);
        if (c->slot % CLOCK_EVERY == 0 && clock_mono_us() >= enough)
            return false;
    }
    return true;
}

static void leave(struct roster *r)
{
    struct channels *c = channels_of(r);
    if (c->walking)
        channel_walk_stop(&c->walk);
    c->walking = false;
    c->slot = 0;
}

/* ---- at home --------------------------------------------------------------------------------- */

static int heard_by_name(const void *a, const void *b)
{
    return compare_names(((const struct heard *)a)->topic, ((const struct heard *)b)->topic);
}

static int heard_by_count(const void *a, const void *b)
{
    const struct heard *x = a, *y = b;
    int order = MORE_FIRST(x->subscribers, y->subscribers);
    return order != 0 ? order : heard_by_name(a, b);
}

/* Add up what several workers have heard. */
static void add_up(struct heards *h)
{
    size_t n = 0;
    if (h->count > 0)
        qsort(h->items, h->count, sizeof *h->items, heard_by_name);
    for (size_t i = 0; i < h->count; i++) {
        if (n > 0 && name_equal(h->items[n - 1].topic, h->items[i].topic)) {
            h->items[n - 1].subscribers += h->items[i].subscribers;
            name_unref(h->items[i].topic);
        } else {
            h->items[n++] = h->items[i];
        }
    }
    h->count = n;
}

/* Between the workers and the hub, which shall find the numbers quickly. */
static void at_home(struct roster *r)
{
    struct channels *c = channels_of(r);
    add_up(&c->channels);
    for (size_t i = 0; i < c->channels.count && !r->failed; i++) {
        struct heard *h = &c->channels.items[i];
        r->failed = strmap_put(&c->by_name, h->topic->bytes, h->topic->len, h) != ERR_OK;
    }
}

static void print_line(struct buf *out, const struct line *l)
{
    const struct channel_facts *f = &l->facts;
    char at[CLOCK_TEXT_MAX];
    buf_str(out, "{\"channel\":");
    roster_put_text(out, l->name->bytes, l->name->len);
    buf_printf(out, ",\"subscribers\":%llu,\"messages\":%llu,\"bytes\":%llu,\"rate\":%.2f,",
               (unsigned long long)l->subscribers, (unsigned long long)f->messages,
               (unsigned long long)f->bytes, f->rate);
    buf_printf(out, "\"kept\":{\"events\":%llu,\"bytes\":%llu},\"last_id\":",
               (unsigned long long)f->kept_events, (unsigned long long)f->kept_bytes);
    if (f->last_us == 0) {
        buf_str(out, "null,\"last_at\":null}");
        return;
    }
    roster_put_text(out, f->last_id, f->last_id_len);
    buf_printf(out, ",\"last_at\":\"%s\"}", clock_print(f->last_us, at));
}

static void print(struct roster *r, struct buf *out)
{
    struct channels *c = channels_of(r);
    buf_printf(out, "{\"total\":%zu,\"channels\":[", c->total);
    for (size_t i = 0; i < c->count; i++) {
        buf_str(out, i > 0 ? "," : "");
        print_line(out, &c->lines[i]);
    }
    add_up(&c->patterns);
    if (c->patterns.count > 0)
        qsort(c->patterns.items, c->patterns.count, sizeof *c->patterns.items, heard_by_count);
    buf_str(out, "],\"patterns\":[");
    for (size_t i = 0; i < c->patterns.count && i < PATTERNS_MAX; i++) {
        const struct heard *h = &c->patterns.items[i];
        buf_str(out, i > 0 ? ",{\"pattern\":" : "{\"pattern\":");
        roster_put_text(out, h->topic->bytes, h->topic->len);
        buf_printf(out, ",\"subscribers\":%llu}", (unsigned long long)h->subscribers);
    }
    buf_str(out, "]}\n");
}

static void forget(struct heards *h)
{
    for (size_t i = 0; i < h->count; i++)
        name_unref(h->items[i].topic);
    free(h->items);
}

static void clear(struct roster *r)
{
    struct channels *c = channels_of(r);
    for (size_t i = 0; i < c->count; i++)
        name_unref(c->lines[i].name);
    free(c->lines);
    forget(&c->patterns);
    forget(&c->channels);
    strmap_finish(&c->by_name);
    glob_destroy(c->match);
}

/* ---- the query ------------------------------------------------------------------------------- */

static enum order read_order(struct roster_query *q)
{
    static const char *const names[] = {[ORDER_RATE] = "rate",
                                        [ORDER_MESSAGES] = "messages",
                                        [ORDER_SUBSCRIBERS] = "subscribers",
                                        [ORDER_NAME] = "name"};
    if (!roster_param(q, "sort"))
        return ORDER_RATE;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(names[i], buf_cstr(&q->value)) == 0)
            return (enum order)i;
    }
    roster_refuse(q, "sort", "rate, messages, subscribers or name");
    return ORDER_RATE;
}

static void read_match(struct channels *c, struct roster_query *q)
{
    if (!roster_param(q, "match"))
        return;
    c->match = glob_compile(q->value.data, q->value.len);
    if (c->match == NULL)
        roster_no_memory(q);
}

static void read_query(struct roster *r, struct roster_query *q)
{
    static const enum roster_leg usual[] = {LEG_HUB, LEG_WORKERS, LEG_END};
    static const enum roster_leg subscribers[] = {LEG_WORKERS, LEG_HOME, LEG_HUB, LEG_END};
    struct channels *c = channels_of(r);
    strmap_init(&c->by_name);
    c->limit = roster_limit(q);
    c->order = read_order(q);
    r->leg = c->order == ORDER_SUBSCRIBERS ? subscribers : usual;
    read_match(c, q);
    c->lines = q->failed ? NULL : calloc(2 * (size_t)c->limit, sizeof *c->lines);
    if (c->lines == NULL)
        roster_no_memory(q); /* unless something else is wrong */
}

void roster_channels(struct exchange *x, struct http_slice query)
{
    static const struct roster_kind kind = {.size = sizeof(struct channels),
                                            .read = read_query,
                                            .at_hub = at_hub,
                                            .at_worker = at_worker,
                                            .at_home = at_home,
                                            .leave = leave,
                                            .print = print,
                                            .clear = clear};
    roster_begin(&kind, x, query);
}
