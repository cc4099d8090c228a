#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "config_util.h"
#include "hub_rig.h"
#include "tickerd/base/err.h"

enum { STEP_US = 200000 };

static const uint64_t wall = UINT64_C(1700000000) * 1000000;

/* ---- writing down ---------------------------------------------------------------------------- */

static void remember(struct hub_rig *h, const struct frame *f, const char *data, size_t len)
{
    for (size_t i = 0; i < h->seen_count; i++) {
        if (h->seen[i].seq == f->seq)
            return;
    }
    size_t at = h->seen_count++ % HUB_SEEN;
    assert_true(h->seen_count < HUB_SEEN);
    h->seen[at].seq = f->seq;
    (void)snprintf(h->seen[at].data, sizeof h->seen[at].data, "%.*s", (int)len, data);
}

static void put_data(struct hub_rig *h, struct buf *out, const struct frame *f)
{
    const char *at = memmem(f->block, f->len, "data: ", 6);
    assert_non_null(at);
    at += 6;
    size_t len = strcspn(at, "\n");
    remember(h, f, at, len);
    buf_append(out, at, len);
}

static void put_seen(const struct hub_rig *h, struct buf *out, uint64_t seq)
{
    for (size_t i = 0; i < h->seen_count; i++) {
        if (h->seen[i].seq == seq)
            buf_str(out, h->seen[i].data);
    }
}

static void put_channel(struct buf *out, const struct name *channel)
{
    if (channel == NULL)
        buf_byte(out, '*');
    else
        buf_append(out, channel->bytes, channel->len);
}

static void put_reset(struct hub_rig *h, struct buf *out, const struct note *n)
{
    struct snapshot *s = n->ref;
    qsort(s->entries, s->count, sizeof s->entries[0], entry_compare); /* as a worker does */
    buf_printf(out, "reset%u.%u%c[", n->view, n->gen, s->live ? '+' : '-');
    uint64_t before = 0;
    for (size_t i = 0; i < s->count; i++) {
        const struct entry *e = &s->entries[i];
        assert_true(entry_seq(e) >= before && entry_seq(e) <= s->head);
        before = entry_seq(e);
        buf_str(out, i > 0 ? " " : "");
        if (entry_is_hole(e)) {
            buf_byte(out, '!');
            put_channel(out, e->u.hole->channel);
            buf_printf(out, ":%s", gap_reason_text(e->u.hole->reason));
        } else {
            put_channel(out, e->u.frame->channel);
            buf_byte(out, ':');
            put_data(h, out, e->u.frame);
        }
    }
    buf_byte(out, ']');
}

static void put_view(const struct hub_rig *h, struct buf *out, uint32_t worker, const char *word,
                     const struct note *n)
{
    buf_printf(out, "%s%u", word, n->view);
    if (n->gen != h->workers[worker].gen[n->view])
        buf_printf(out, ".%u", n->gen);
    buf_byte(out, ':');
}

static void write_down(struct hub_rig *h, uint32_t worker, const struct note *n)
{
    struct buf *out = &h->workers[worker].text;
    buf_str(out, out->len > 0 ? " " : "");
    switch ((enum note_kind)n->kind) {
    case NOTE_FRAME:
        put_view(h, out, worker, "frame", n);
        put_data(h, out, n->ref);
        break;
    case NOTE_EVICT:
        put_view(h, out, worker, "evict", n);
        put_seen(h, out, n->seq);
        break;
    case NOTE_HOLE:
        put_view(h, out, worker, "hole", n);
        put_channel(out, n->ref);
        buf_printf(out, ":%s", gap_reason_text((enum gap_reason)n->arg));
        break;
    case NOTE_MARK:
        put_view(h, out, worker, "hole", n);
        put_channel(out, NULL);
        buf_printf(out, ":%s", gap_reason_text((enum gap_reason)n->arg));
        break;
    case NOTE_RESET:
        put_reset(h, out, n);
        break;
    case NOTE_LIVE:
        put_view(h, out, worker, "live", n);
        buf_str(out, n->arg ? "yes" : "no");
        break;
    case NOTE_UPSTREAM:
        buf_str(out, n->arg == UPSTREAM_ALL ? "up-all" : n->arg == UPSTREAM_UP ? "up" : "down");
        break;
    case NOTE_REFUSED:
        put_view(h, out, worker, "refused", n);
        break;
    case NOTE_TIMELINE:
        buf_str(out, ((const struct timeline *)n->ref)->many_orders ? "timeline:many" : "timeline");
        break;
    case NOTE_COMMAND:
        buf_printf(out, "disconnect:");
        if (n->ref == NULL)
            buf_byte(out, '*');
        else
            buf_str(out, ((const struct command *)n->ref)->what.sub);
        break;
    default:
        fail_msg("note %d goes the wrong way", n->kind);
    }
}

static bool post(void *ctx, uint32_t worker, struct note *n)
{
    struct hub_rig *h = ctx;
    if (h->workers[worker].room == 0)
        return false;
    h->workers[worker].room--;
    write_down(h, worker, n);
    note_release(n);
    return true;
}

/* ---- the source's call-backs ----------------------------------------------------------------- */

static void begin(struct hub_rig *h)
{
    (void)hubclock_turn(&h->registry.clock, h->mono, h->mono + wall, 99);
}

static void on_message(void *ctx, const char *pattern, size_t pattern_len, const char *channel,
                       size_t channel_len, const char *payload, size_t payload_len)
{
    struct hub_rig *h = ctx;
    begin(h);
    registry_message(&h->registry, pattern, pattern_len, channel, channel_len, payload,
                     payload_len);
}

static void on_acked(void *ctx, enum source_sub kind, const char *name, size_t len, bool on)
{
    struct hub_rig *h = ctx;
    begin(h);
    registry_acked(&h->registry, kind, name, len, on);
}

static void on_refused(void *ctx, enum source_sub kind, const char *name, size_t len,
                       const char *error)
{
    (void)ctx;
    (void)kind;
    (void)name;
    (void)len;
    (void)error;
}

static void on_up(void *ctx)
{
    struct hub_rig *h = ctx;
    begin(h);
    registry_up(&h->registry);
}

static void on_down(void *ctx, const char *reason, unsigned long long last_heard_us)
{
    (void)reason;
    (void)last_heard_us;
    struct hub_rig *h = ctx;
    begin(h);
    registry_down(&h->registry);
}

static const struct source_events source_events = {.on_message = on_message,
                                                   .on_acked = on_acked,
                                                   .on_refused = on_refused,
                                                   .on_up = on_up,
                                                   .on_down = on_down};

/* ---- life ------------------------------------------------------------------------------------ */

void hubrig_init(struct hub_rig *h, struct config *config)
{
    memset(h, 0, sizeof *h);
    h->config = config;
    h->mono = 5000000;
    fake_source_init(&h->source, &source_events, h);
    struct hubclock clock;
    hubclock_init(&clock, h->mono, h->mono + wall, 0x01020304);
    assert_int_equal(registry_init(&h->registry, config, HUB_WORKERS, &h->source.source, &clock,
                                   &h->metrics, &h->stats),
                     ERR_OK);
    h->registry.post = post;
    h->registry.ctx = h;
    for (uint32_t w = 0; w < HUB_WORKERS; w++)
        h->workers[w].room = SIZE_MAX;
}

void hubrig_finish(struct hub_rig *h)
{
    h->source.source.ops->close(&h->source.source); /* from here on it must not be called */
    registry_finish(&h->registry);
    fake_source_finish(&h->source);
    for (uint32_t w = 0; w < HUB_WORKERS; w++)
        buf_finish(&h->workers[w].text);
    assert_int_equal(h->stats.extra_bytes, 0);
    config_destroy(h->config);
}

void hubrig_start(struct hub_rig *h, const char *const *settings)
{
    hubrig_init(h, build_ok(NULL, NULL, settings));
    for (uint32_t w = 0; w < HUB_WORKERS; w++)
        hubrig_interest(h, w, VIEW_MARKS, 1, "", false);
    fake_source_connect(&h->source);
    hubrig_settle(h);
    hubrig_forget(h);
}

/* ---- what happens ---------------------------------------------------------------------------- */

void hubrig_interest(struct hub_rig *h, uint32_t worker, uint32_t view, uint32_t gen,
                     const char *topic, bool pattern)
{
    struct note n = {.kind = NOTE_INTEREST, .view = view, .gen = gen, .arg = pattern};
    n.ref = name_create(topic, strlen(topic));
    h->workers[worker].gen[view] = gen;
    begin(h);
    registry_request(&h->registry, worker, &n);
    assert_null(n.ref);
}

void hubrig_drop(struct hub_rig *h, uint32_t worker, uint32_t view)
{
    struct note n = {.kind = NOTE_DROP, .view = view, .gen = h->workers[worker].gen[view] + 1};
    begin(h);
    registry_request(&h->registry, worker, &n);
}

void hubrig_resync(struct hub_rig *h, uint32_t worker)
{
    struct note n = {.kind = NOTE_RESYNC};
    begin(h);
    registry_request(&h->registry, worker, &n);
}

void hubrig_publish(struct hub_rig *h, const char *channel, const char *payload)
{
    char name[600];
    int len = snprintf(name, sizeof name, "%s%s", h->config->redis.prefix, channel);
    (void)fake_source_publish(&h->source, name, (size_t)len, payload, strlen(payload));
    (void)fake_source_deliver(&h->source, SIZE_MAX);
}

void hubrig_sleep(struct hub_rig *h, uint64_t us)
{
    while (us > 0) {
        uint64_t step = us < STEP_US ? us : STEP_US;
        us -= step;
        h->mono += step;
        begin(h);
        registry_tick(&h->registry);
    }
}

void hubrig_reload(struct hub_rig *h, const char *const *settings)
{
    struct config *next = build_ok(NULL, NULL, settings), *before = h->config;
    begin(h);
    registry_reload(&h->registry, next);
    h->config = next;
    config_destroy(before);
}

void hubrig_disconnect(struct hub_rig *h, const char *sub)
{
    struct control what = {.sub = strdup(sub)};
    struct command *c = command_create(&what);
    assert_true(what.sub != NULL && c != NULL);
    begin(h);
    registry_command(&h->registry, c);
}

void hubrig_settle(struct hub_rig *h)
{
    fake_source_settle(&h->source);
}

void hubrig_expect(struct hub_rig *h, uint32_t worker, const char *text)
{
    assert_string_equal(buf_cstr(&h->workers[worker].text), text);
    buf_reset(&h->workers[worker].text);
}

void hubrig_forget(struct hub_rig *h)
{
    for (uint32_t w = 0; w < HUB_WORKERS; w++)
        buf_reset(&h->workers[w].text);
}
