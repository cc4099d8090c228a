#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>

#include "where_rig.h"

enum { INTERVAL_MS = 250, TIMEOUT_MS = 250 };

static void saw(struct where_rig *w, enum where_event event)
{
    assert_false(w->closed);
    w->seen[event]++;
    if (event == w->close_at)
        where_close(w);
}

static void on_found(void *owner, const struct addr *addr)
{
    struct where_rig *w = owner;
    w->found = *addr;
    saw(w, WHERE_FOUND);
}

static void on_none(void *owner, const char *why)
{
    struct where_rig *w = owner;
    (void)snprintf(w->why, sizeof w->why, "%s", why);
    saw(w, WHERE_NONE);
}

static void on_changed(void *owner, const char *why)
{
    struct where_rig *w = owner;
    (void)snprintf(w->why, sizeof w->why, "%s", why);
    saw(w, WHERE_CHANGED);
}

static void on_beat(uv_timer_t *beat)
{
    (void)beat;
}

void where_init(struct where_rig *w)
{
    *w = (struct where_rig){.close_at = WHERES};
    assert_true(signal(SIGPIPE, SIG_IGN) != SIG_ERR);
    assert_int_equal(uv_loop_init(&w->loop), 0);
    assert_int_equal(uv_timer_init(&w->loop, &w->beat), 0);
    assert_int_equal(uv_timer_start(&w->beat, on_beat, 2, 2), 0);
}

void where_start(struct where_rig *w, struct redis_options *options)
{
    static const struct redis_where_events events = {
        .on_found = on_found, .on_none = on_none, .on_changed = on_changed};
    options->ping_interval_ms = INTERVAL_MS;
    options->ping_timeout_ms = TIMEOUT_MS;
    options->backoff_max_ms = 200;
    w->where = redis_where_create(&w->loop, options, &events, w);
    assert_non_null(w->where);
}

void where_close(struct where_rig *w)
{
    w->closed = true;
    w->where->ops->close(w->where);
}

void where_finish(struct where_rig *w)
{
    if (!w->closed)
        where_close(w);
    uv_close((uv_handle_t *)&w->beat, NULL);
    uint64_t end = uv_hrtime() + 10000000000U;
    while (uv_run(&w->loop, UV_RUN_ONCE) != 0)
        assert_true(uv_hrtime() < end);
    assert_int_equal(uv_loop_close(&w->loop), 0);
}

int where_ask(struct where_rig *w)
{
    size_t before = w->seen[WHERE_FOUND] + w->seen[WHERE_NONE];
    w->found.port = 0;
    w->where->ops->ask(w->where);
    WHERE_UNTIL(w, w->seen[WHERE_FOUND] + w->seen[WHERE_NONE] > before);
    assert_int_equal(w->seen[WHERE_FOUND] + w->seen[WHERE_NONE], before + 1);
    return w->found.port;
}

void where_run(struct where_rig *w, uint64_t ms)
{
    uint64_t end = uv_hrtime() + ms * 1000000;
    WHERE_UNTIL(w, uv_hrtime() >= end);
}
