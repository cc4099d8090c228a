#include "upstream_rig.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "config_util.h"
#include "tickerd/base/err.h"

static void on_message(void *ctx, const char *pattern, size_t pattern_len, const char *channel,
                       size_t channel_len, const char *payload, size_t payload_len)
{
    struct upstream_rig *r = ctx;
    size_t len = 0;
    const char *name = upstream_accept(&r->up, pattern, pattern_len, channel, channel_len, &len);
    if (name == NULL)
        return;
    buf_append(&r->accepted, name, len);
    buf_byte(&r->accepted, '=');
    buf_append(&r->accepted, payload, payload_len);
    buf_byte(&r->accepted, ' ');
}

static void on_acked(void *ctx, enum source_sub kind, const char *name, size_t len, bool on)
{
    struct upstream_rig *r = ctx;
    struct upstream_topic t;
    if (upstream_acked(&r->up, kind, name, len, on, ++r->clock, &t))
        upstream_reap(&r->up, &t);
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
    (void)ctx;
}

static void on_down(void *ctx, const char *reason, unsigned long long last_heard_us)
{
    (void)reason;
    (void)last_heard_us;
    upstream_down(&((struct upstream_rig *)ctx)->up);
}

static const struct source_events events = {.on_message = on_message,
                                            .on_acked = on_acked,
                                            .on_refused = on_refused,
                                            .on_up = on_up,
                                            .on_down = on_down};

void upstream_rig_init(struct upstream_rig *r, const char *mode, const char *prefix)
{
    char set[2][64];
    (void)snprintf(set[0], sizeof set[0], "redis.mode=%s", mode);
    (void)snprintf(set[1], sizeof set[1], "redis.prefix=%s", prefix);
    const char *settings[] = {set[0], set[1], "redis.linger=60s", NULL};
    memset(r, 0, sizeof *r);
    r->config = build_ok(NULL, NULL, settings);
    fake_source_init(&r->source, &events, r);
    assert_int_equal(upstream_init(&r->up, &r->source.source, r->config), ERR_OK);
    fake_source_connect(&r->source);
}

void upstream_rig_finish(struct upstream_rig *r)
{
    r->source.source.ops->close(&r->source.source);
    upstream_finish(&r->up);
    fake_source_finish(&r->source);
    config_destroy(r->config);
    buf_finish(&r->accepted);
}

void rig_want(struct upstream_rig *r, const char *topic, bool pattern)
{
    assert_int_equal(upstream_want(&r->up, pattern, topic, strlen(topic)), ERR_OK);
}

void rig_unwant(struct upstream_rig *r, const char *topic, bool pattern, uint64_t now)
{
    upstream_unwant(&r->up, pattern, topic, strlen(topic), now);
}

void rig_publish(struct upstream_rig *r, const char *channel, const char *payload)
{
    (void)fake_source_publish(&r->source, channel, strlen(channel), payload, strlen(payload));
    (void)fake_source_deliver(&r->source, SIZE_MAX);
}

void rig_expect(struct upstream_rig *r, const char *accepted)
{
    assert_string_equal(buf_cstr(&r->accepted), accepted);
    buf_reset(&r->accepted);
}

bool rig_covers(const struct upstream_rig *r, const char *name)
{
    return upstream_covers(&r->up, name, strlen(name));
}

void rig_end_now(struct upstream_rig *r, const char *topic, bool pattern, uint64_t at)
{
    rig_unwant(r, topic, pattern, at);
    upstream_tick(&r->up, at + 60 * SECOND);
}
