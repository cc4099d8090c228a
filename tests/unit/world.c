#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config_util.h"
#include "tickerd/base/err.h"
#include "tickerd/broker/saved.h"
#include "world.h"

/* ---- queues ---------------------------------------------------------------------------------- */

static void queue_init(struct world_queue *q, size_t size)
{
    *q = (struct world_queue){.slots = calloc(size, sizeof(struct note)), .size = size};
    assert_non_null(q->slots);
}

static bool queue_push(struct world_queue *q, const struct note *n)
{
    if (q->count == q->size) {
        q->overflown = true;
        return false;
    }
    q->slots[(q->head + q->count++) % q->size] = *n;
    return true;
}

static bool queue_pop(struct world_queue *q, struct note *n)
{
    if (q->count == 0)
        return false;
    *n = q->slots[q->head];
    q->head = (q->head + 1) % q->size;
    q->count--;
    return true;
}

static void queue_finish(struct world_queue *q)
{
    struct note n;
    while (queue_pop(q, &n))
        note_release(&n);
    free(q->slots);
}

/* ---- the hub --------------------------------------------------------------------------------- */

static void begin_turn(struct world *r)
{
    uint64_t wall = (uint64_t)((int64_t)r->mono + r->wall);
    enum clock_news news = hubclock_turn(&r->registry.clock, r->mono, wall, r->fresh_tag);
    if (news == CLOCK_SAME)
        return;
    if (news == CLOCK_STEPPED)
        assert_int_not_equal(r->fresh_tag++, 0);
    registry_timeline(&r->registry);
}

static void end_turn(struct world *r)
{
    r->reached = hubclock_now(&r->registry.clock);
}

static bool post(void *ctx, uint32_t worker, struct note *n)
{
    struct world *r = ctx;
    return queue_push(&r->workers[worker].notes, n);
}

static void on_message(void *ctx, const char *pattern, size_t pattern_len, const char *channel,
                       size_t channel_len, const char *payload, size_t payload_len)
{
    struct world *r = ctx;
    begin_turn(r);
    uint64_t before = hubclock_now(&r->registry.clock);
    registry_message(&r->registry, pattern, pattern_len, channel, channel_len, payload,
                     payload_len);
    if (r->stamped != NULL)
        r->stamped(r->ctx, payload, payload_len, before, hubclock_now(&r->registry.clock));
}

static void on_acked(void *ctx, enum source_sub kind, const char *name, size_t len, bool on)
{
    struct world *r = ctx;
    begin_turn(r);
    registry_acked(&r->registry, kind, name, len, on);
    end_turn(r);
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
    struct world *r = ctx;
    begin_turn(r);
    registry_up(&r->registry);
    end_turn(r);
}

static void on_down(void *ctx, const char *reason, unsigned long long last_heard_us)
{
    (void)reason;
    (void)last_heard_us;
    struct world *r = ctx;
    begin_turn(r);
    registry_down(&r->registry);
    end_turn(r);
}

static void on_batch_end(void *ctx)
{
    end_turn(ctx);
}

static const struct source_events source_events = {.on_message = on_message,
                                                   .on_acked = on_acked,
                                                   .on_refused = on_refused,
                                                   .on_up = on_up,
                                                   .on_down = on_down,
                                                   .on_batch_end = on_batch_end};

size_t world_requests(struct world *r, uint32_t worker, size_t n)
{
    struct note note;
    size_t done = 0;
    begin_turn(r);
    while (done < n && queue_pop(&r->workers[worker].requests, &note)) {
        registry_request(&r->registry, worker, &note);
        done++;
    }
    end_turn(r);
    return done;
}

void world_hub_tick(struct world *r)
{
    begin_turn(r);
    registry_tick(&r->registry);
    end_turn(r);
}

size_t world_send(struct world *r, const char *channel, const char *payload)
{
    char name[300];
    int len = snprintf(name, sizeof name, "%s%s", r->config->redis.prefix, channel);
    return fake_source_publish(&r->source, name, (size_t)len, payload, strlen(payload));
}

void world_publish(struct world *r, const char *channel, const char *payload)
{
    (void)world_send(r, channel, payload);
    (void)fake_source_deliver(&r->source, SIZE_MAX);
}

/* ---- the workers ----------------------------------------------------------------------------- */

static bool send_to_hub(void *ctx, struct note *n)
{
    struct world_worker *w = ctx;
    return queue_push(&w->requests, n);
}

static void view_ready_event(void *ctx, struct view *v)
{
    struct world_worker *w = ctx;
    fanout_view_ready(&w->fanout, v);
}

static const struct replica_events replica_events = {send_to_hub, view_ready_event};

void world_turn(struct world *r, uint32_t worker)
{
    struct world_worker *w = &r->workers[worker];
    struct note n;
    while (queue_pop(&w->notes, &n))
        replica_apply(&w->fanout.replica, &n);
    if (w->notes.overflown) {
        w->notes.overflown = false;
        replica_restart(&w->fanout.replica);
    } else {
        replica_reached(&w->fanout.replica, r->reached);
    }
    fanout_flush(&w->fanout, r->mono);
}

void world_tick(struct world *r, uint32_t worker)
{
    world_turn(r, worker);
    uint64_t wall = (uint64_t)((int64_t)r->mono + r->wall);
    (void)fanout_tick(&r->workers[worker].fanout, r->mono, wall);
}

void world_settle(struct world *r)
{
    for (size_t moved = 1; moved > 0;) {
        moved = fake_source_serve(&r->source, SIZE_MAX) + fake_source_deliver(&r->source, SIZE_MAX);
        for (uint32_t w = 0; w < r->worker_count; w++) {
            moved += world_requests(r, w, SIZE_MAX);
            moved += r->workers[w].notes.count + r->workers[w].notes.overflown;
            world_turn(r, w);
        }
    }
}

/* ---- life ------------------------------------------------------------------------------------ */

struct config *world_config(const char *const *settings)
{
    return build_ok(NULL, NULL, settings);
}

static void worker_init(struct world *r, uint32_t index, size_t queue)
{
    struct world_worker *w = &r->workers[index];
    w->world = r;
    w->index = index;
    queue_init(&w->notes, queue);
    queue_init(&w->requests, queue);
    assert_int_equal(
        fanout_init(&w->fanout, r->config, &r->stats, &w->metrics, &replica_events, w, index + 1),
        ERR_OK);
    replica_pump(&w->fanout.replica);
}

void world_init(struct world *r, struct config *config, uint32_t workers, size_t queue)
{
    static const struct world_clock at = {1000 * WORLD_SECOND, WORLD_WALL, 0xabcdef01};
    world_init_at(r, config, workers, queue, &at);
    r->fresh_tag = 0;
}

void world_init_at(struct world *r, struct config *config, uint32_t workers, size_t queue,
                   const struct world_clock *at)
{
    memset(r, 0, sizeof *r);
    r->config = config;
    r->mono = at->mono;
    r->wall = at->wall;
    r->fresh_tag = at->tag + 1;
    fake_source_init(&r->source, &source_events, r);
    struct hubclock clock;
    hubclock_init(&clock, r->mono, (uint64_t)((int64_t)r->mono + r->wall), at->tag);
    assert_int_equal(registry_init(&r->registry, config, workers, &r->source.source, &clock,
                                   &r->metrics, &r->stats),
                     ERR_OK);
    r->registry.post = post;
    r->registry.ctx = r;
    r->worker_count = workers;
    for (uint32_t w = 0; w < workers; w++)
        worker_init(r, w, queue);
    registry_start(&r->registry);
    end_turn(r);
}

void world_finish(struct world *r)
{
    for (uint32_t w = 0; w < r->worker_count; w++) {
        fanout_finish(&r->workers[w].fanout);
        queue_finish(&r->workers[w].notes);
        queue_finish(&r->workers[w].requests);
    }
    r->source.source.ops->close(&r->source.source); /* as the hub does: from here on it is gone */
    registry_finish(&r->registry);
    fake_source_finish(&r->source);
    assert_int_equal(r->stats.extra_bytes, 0);
    config_destroy(r->config);
}

static int append_bytes(void *ctx, const void *bytes, size_t len)
{
    buf_append(ctx, bytes, len);
    return ERR_OK;
}

void world_restart(struct world *r, uint64_t down_us)
{
    struct world before = *r;
    struct buf bytes = BUF_INIT;
    struct pack *out = calloc(1, sizeof *out);
    struct saved_summary sum;
    const char *why = "";
    assert_non_null(out);
    pack_init(out, append_bytes, &bytes);
    assert_int_equal(registry_save(&r->registry, "here", out, &sum), ERR_OK);
    free(out);
    r->config = world_config(NULL); /* to be freed in place of the one that is needed again */
    world_finish(r);
    world_init(r, before.config, before.worker_count, before.workers[0].notes.size);
    r->mono = before.mono + down_us;
    r->wall = before.wall;
    r->fresh_tag = before.fresh_tag;
    r->stamped = before.stamped;
    r->ctx = before.ctx;
    const struct timeline *line = &before.registry.clock.line;
    struct saved_now now = {r->mono, (uint64_t)((int64_t)r->mono + r->wall),
                            line->epochs[line->count - 1].tag + 1};
    if (registry_restore(&r->registry, "here", bytes.data, bytes.len, &now, &sum, &why) != ERR_OK)
        fail_msg("not restored: %s", why);
    line = &r->registry.clock.line;
    if (r->fresh_tag != 0)
        r->fresh_tag = line->epochs[line->count - 1].tag + 1;
    registry_start(&r->registry);
    world_hub_tick(r);
    buf_finish(&bytes);
}

void world_start(struct world *r, const char *const *settings)
{
    world_init(r, world_config(settings), 1, WORLD_QUEUE);
    fake_source_connect(&r->source);
    world_settle(r);
}

/* ---- clients --------------------------------------------------------------------------------- */

static void ask(struct world *r, uint32_t worker, struct world_client *c, const char *url,
                const char *last_event_id, size_t room, struct grant *grant)
{
    memset(c, 0, sizeof *c);
    fake_transport_init(&c->transport);
    c->transport.room = room;
    struct target_error error;
    struct target_rules rules = {.topics_max = 64};
    if (target_parse(&c->target, url, strlen(url), &rules, &error) != ERR_OK)
        fail_msg("%s: %s", url, error.message);
    struct session_request q = {.target = &c->target,
                                .last_event_id = last_event_id,
                                .last_event_id_len =
                                    last_event_id == NULL ? 0 : strlen(last_event_id),
                                .head = WORLD_HEAD,
                                .head_len = sizeof WORLD_HEAD - 1,
                                .grant = grant};
    assert_int_equal(
        session_open(&c->session, &r->workers[worker].fanout, &c->transport.transport, &q, r->mono),
        ERR_OK);
    target_finish(&c->target);
}

void world_connect_room(struct world *r, uint32_t worker, struct world_client *c, const char *url,
                        const char *last_event_id, size_t room)
{
    ask(r, worker, c, url, last_event_id, room, NULL);
}

void world_connect(struct world *r, uint32_t worker, struct world_client *c, const char *url,
                   const char *last_event_id)
{
    ask(r, worker, c, url, last_event_id, SIZE_MAX, NULL);
}

void world_connect_granted(struct world *r, uint32_t worker, struct world_client *c,
                           const char *url, const char *last_event_id, size_t room,
                           struct grant *grant)
{
    ask(r, worker, c, url, last_event_id, room, grant);
}

void world_disconnect(struct world_client *c)
{
    session_peer_gone(&c->session, ERR_CLOSED);
    assert_int_equal(c->transport.closes, 1);
    fake_transport_finish(&c->transport);
}

void world_room(struct world *r, struct world_client *c, size_t room)
{
    c->transport.room = room;
    if (c->transport.wanted && c->transport.closes == 0)
        session_writable(&c->session, r->mono);
}

const struct sse_message *world_event(const struct world_client *c, size_t i)
{
    if (i >= c->transport.decoder.count)
        fail_msg("there is no event %zu, only %zu", i, c->transport.decoder.count);
    return &c->transport.decoder.messages[i];
}

static void put_word(struct buf *out, const char *data, const char *key)
{
    const char *at = strstr(data, key);
    assert_non_null(at);
    at += strlen(key);
    buf_byte(out, ' ');
    if (strncmp(at, "null", 4) == 0)
        buf_byte(out, '*');
    else
        buf_append(out, at + 1, strcspn(at + 1, "\""));
}

static void put_event(struct buf *out, const struct sse_message *m)
{
    if (strcmp(m->type.p, "tickerd:open") == 0) {
        buf_str(out, "open");
        put_word(out, m->data.p, "\"resume\":");
    } else if (strcmp(m->type.p, "tickerd:gap") == 0) {
        buf_str(out, "gap");
        put_word(out, m->data.p, "\"channel\":");
        put_word(out, m->data.p, "\"reason\":");
    } else {
        buf_append(out, m->data.p, m->data.len);
    }
}

void world_expect(const struct world_client *c, const char *text)
{
    struct buf got = BUF_INIT;
    for (size_t i = 0; i < c->transport.decoder.count; i++) {
        if (i > 0)
            buf_str(&got, " | ");
        put_event(&got, &c->transport.decoder.messages[i]);
    }
    assert_string_equal(buf_cstr(&got), text);
    buf_finish(&got);
}

void world_open(struct world *r, const char *const *settings, struct world_client *c,
                const char *url)
{
    world_start(r, settings);
    world_connect(r, 0, c, url, NULL);
    world_settle(r);
}

void world_deliver(struct world *r, const char *channel, const char *payload)
{
    world_publish(r, channel, payload);
    world_turn(r, 0);
}

void world_sleep(struct world *r, uint64_t us)
{
    enum { STEP = 250000 };
    while (us > 0) {
        uint64_t step = us < STEP ? us : STEP;
        us -= step;
        r->mono += step;
        world_hub_tick(r);
        world_tick(r, 0);
    }
}
