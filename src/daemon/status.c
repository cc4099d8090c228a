#include "tickerd/daemon/status.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tickerd/base/clock.h"
#include "tickerd/daemon/exposition.h"
#include "tickerd/daemon/figures.h"
#include "tickerd/wire/utf8.h"

/* ---- JSON ------------------------------------------------------------------------------------ */

/* The comma that is due, and the name; NULL: an element of an array. */
static void put_name(struct buf *out, const char *name)
{
    char last = out->len == 0 ? '\0' : out->data[out->len - 1];
    if (last != '\0' && last != '{' && last != '[')
        buf_byte(out, ',');
    if (name != NULL)
        buf_printf(out, "\"%s\":", name);
}

static void put_literal(struct buf *out, const char *name, const char *text)
{
    put_name(out, name);
    buf_str(out, text);
}

static void put_bool(struct buf *out, const char *name, bool value)
{
    put_literal(out, name, value ? "true" : "false");
}

static void put_number(struct buf *out, const char *name, uint64_t n)
{
    put_name(out, name);
    buf_printf(out, "%" PRIu64, n);
}

/* A path, say, need not be UTF-8. */
static void put_bytes(struct buf *out, const char *name, const char *text, size_t len)
{
    struct buf clean = BUF_INIT;
    (void)utf8_repair(&clean, text, len);
    put_name(out, name);
    buf_byte(out, '"');
    buf_json(out, clean.data, clean.len);
    buf_byte(out, '"');
    out->failed = out->failed || clean.failed;
    buf_finish(&clean);
}

/* NULL is null. */
static void put_text(struct buf *out, const char *name, const char *text)
{
    if (text == NULL)
        put_literal(out, name, "null");
    else
        put_bytes(out, name, text, strlen(text));
}

/* A time of the wall clock; 0 is null. */
static void put_time(struct buf *out, const char *name, uint64_t wall_us)
{
    char text[CLOCK_TEXT_MAX];
    put_text(out, name, wall_us == 0 ? NULL : clock_print(wall_us, text));
}

static void put_seconds(struct buf *out, const char *name, uint64_t us)
{
    put_name(out, name);
    exposition_seconds(out, us);
}

static void put_address(struct buf *out, const char *name, const struct addr *a)
{
    struct buf text = BUF_INIT;
    addr_print(&text, a);
    put_bytes(out, name, text.data, text.len);
    buf_finish(&text);
}

static void put_counts(struct buf *out, const char *name, const uint64_t *counts, size_t n)
{
    put_literal(out, name, "[");
    for (size_t i = 0; i < n; i++)
        put_number(out, NULL, counts[i]);
    buf_byte(out, ']');
}

/* ---- the configuration ----------------------------------------------------------------------- */

static void put_names(struct buf *out, const char *name, const char *const *names, size_t count)
{
    put_literal(out, name, "[");
    for (size_t i = 0; i < count; i++)
        put_text(out, NULL, names[i]);
    buf_byte(out, ']');
}

static void put_changes(struct buf *out, const struct reload_result *r)
{
    put_names(out, "changed", r->changes.applied, r->changes.applied_count);
    put_names(out, "needs_restart", r->changes.fixed, r->changes.fixed_count);
    put_number(out, "keys_added", r->keys_added);
    put_number(out, "keys_removed", r->keys_removed);
}

static void put_lines(struct buf *out, const char *name, const char *text)
{
    put_literal(out, name, "[");
    while (*text != '\0') {
        size_t len = strcspn(text, "\n");
        put_bytes(out, NULL, text, len);
        text += text[len] == '\0' ? len : len + 1;
    }
    buf_byte(out, ']');
}

void status_put_reload(struct buf *out, const struct reload_result *r)
{
    buf_byte(out, '{');
    if (r->ok) {
        put_bool(out, "ok", true);
        put_changes(out, r);
    } else {
        put_text(out, "error", "bad_config");
        put_text(out, "message", "The configuration is refused; the one in force stays as it is.");
        put_lines(out, "errors", r->errors);
    }
    buf_str(out, "}\n");
}

static void put_config(struct buf *out, const struct admin *a)
{
    struct reload_past past;
    struct buf errors = BUF_INIT;
    reload_look(a->reload, &past, &errors);
    put_literal(out, "config", "{");
    put_text(out, "file", a->config_file);
    put_time(out, "loaded", past.loaded_us);
    put_number(out, "reloads", past.reloads);
    if (past.last.at_us == 0) {
        put_literal(out, "last_reload", "null");
    } else {
        put_literal(out, "last_reload", "{");
        put_time(out, "at", past.last.at_us);
        put_bool(out, "ok", past.last.ok);
        put_changes(out, &past.last);
        put_lines(out, "errors", past.last.errors);
        buf_byte(out, '}');
    }
    buf_byte(out, '}');
    buf_finish(&errors);
}

/* ---- who and where --------------------------------------------------------------------------- */

static void put_process(struct buf *out, const struct admin *a)
{
    static const char *const states[] = {"starting", "running", "draining"};
    put_text(out, "version", TICKERD_VERSION);
    put_number(out, "pid", (uint64_t)getpid());
    put_text(out, "state", states[atomic_load(&a->state)]);
    put_seconds(out, "uptime", clock_mono_us() - a->started_us);
    put_time(out, "started", a->started_wall_us);
    put_time(out, "now", clock_wall_us());
}

static void put_listeners(struct buf *out, const struct admin *a, const struct config *c)
{
    put_literal(out, "listeners", "[");
    for (size_t i = 0; i < a->listen_count; i++)
        put_address(out, NULL, &a->listen[i]);
    buf_byte(out, ']');
    put_address(out, "admin", &a->address);
    put_bool(out, "admin_publish", c->admin_publish);
}

/* Without passwords. */
static void put_redis_address(struct buf *out, const struct config *c)
{
    struct buf text = BUF_INIT;
    struct redis_url url;
    const char *why;
    if (c->redis.sentinels.count > 0) {
        buf_printf(&text, "master %s", c->redis.master);
    } else if (redis_url_parse(&url, c->redis.url, &why) == 0) {
        redis_url_print(&text, &url);
        redis_url_finish(&url);
    }
    put_text(out, "address", buf_cstr(&text));
    buf_finish(&text);
}

static void put_redis(struct buf *out, const struct figures *f, const struct config *c)
{
    static const char *const states[] = {
        [UPSTREAM_STATE_DOWN] = "down",
        [UPSTREAM_STATE_PARTLY] = "partly",
        [UPSTREAM_STATE_UP] = "up",
    };
    put_literal(out, "redis", "{");
    put_text(out, "state", states[f->gauge[GAUGE_UPSTREAM]]);
    put_redis_address(out, c);
    put_text(out, "mode", c->redis.mode == REDIS_MODE_ALL ? "all" : "on-demand");
    put_text(out, "prefix", c->redis.prefix);
    put_time(out, "since", f->gauge[GAUGE_UPSTREAM_SINCE]);
    if (f->gauge[GAUGE_ROUND_TRIP] == 0)
        put_literal(out, "round_trip", "null");
    else
        put_seconds(out, "round_trip", f->gauge[GAUGE_ROUND_TRIP]);
    put_number(out, "outages", f->value[METRIC_OUTAGES]);
    buf_byte(out, '}');
}

/* ---- figures --------------------------------------------------------------------------------- */

static void put_totals(struct buf *out, const struct figures *f)
{
    put_literal(out, "totals", "{");
    put_number(out, "messages", f->value[METRIC_MESSAGES]);
    put_number(out, "message_bytes", f->value[METRIC_MESSAGE_BYTES]);
    put_number(out, "deliveries", f->value[METRIC_DELIVERIES]);
    put_number(out, "bytes", f->value[METRIC_BYTES]);
    put_number(out, "connections", f->value[METRIC_ACCEPTED]);
    put_number(out, "streams", f->value[METRIC_STREAMS]);
    put_number(out, "refused", f->refused_all);
    put_number(out, "evicted", f->value[METRIC_EVICTED]);
    put_number(out, "oversize", f->value[METRIC_OVERSIZE]);
    put_number(out, "ignored", f->value[METRIC_IGNORED_NAMES]);
    buf_byte(out, '}');
}

static void put_ends(struct buf *out, const struct figures *f)
{
    put_literal(out, "gaps", "{");
    for (size_t i = 0; i < GAP_REASON_COUNT; i++)
        put_number(out, gap_reason_text((enum gap_reason)i), f->gaps[i]);
    buf_byte(out, '}');
    put_literal(out, "closed", "{");
    for (size_t i = CLOSING_NONE + 1; i < CLOSING_COUNT; i++)
        put_number(out, closing_text((enum closing)i), f->closed[i]);
    buf_byte(out, '}');
}

static void put_bounds(struct buf *out)
{
    static const uint64_t bounds[HISTOGRAM_BOUND_COUNT] = HISTOGRAM_BOUNDS;
    put_literal(out, "bounds", "[");
    for (size_t i = 0; i < HISTOGRAM_BOUND_COUNT; i++)
        put_seconds(out, NULL, bounds[i]);
    buf_byte(out, ']');
}

static void put_histograms(struct buf *out, const struct figures *f)
{
    put_literal(out, "latency", "{");
    put_bounds(out);
    put_counts(out, "counts", f->latency.counts, HISTOGRAM_BUCKETS);
    buf_byte(out, '}');
    put_literal(out, "turns", "{");
    put_bounds(out);
    put_counts(out, "hub", f->hub_turns.counts, HISTOGRAM_BUCKETS);
    put_counts(out, "workers", f->worker_turns.counts, HISTOGRAM_BUCKETS);
    buf_byte(out, '}');
}

static void put_memory(struct buf *out, const struct figures *f)
{
    put_literal(out, "memory", "{");
    put_number(out, "rss", f->process.resident);
    for (size_t i = 0; i < MEMORY_COUNT; i++)
        put_number(out, memory_part_text((enum memory_part)i), f->memory[i]);
    buf_byte(out, '}');
}

static void put_workers(struct buf *out, const struct figures *f)
{
    put_literal(out, "workers", "[");
    for (uint32_t w = 0; w < f->worker_count; w++) {
        put_literal(out, NULL, "{");
        put_number(out, "clients", f->workers[w].clients);
        put_number(out, "deliveries", f->workers[w].deliveries);
        put_number(out, "lagging", f->workers[w].lagging);
        buf_byte(out, '}');
    }
    buf_byte(out, ']');
}

static void put_recent_gaps(struct buf *out, const struct admin *a)
{
    struct recent_gap gaps[RECENT_GAPS];
    size_t count = figures_gaps(gaps, a->workers, a->worker_count);
    put_literal(out, "recent_gaps", "[");
    for (size_t i = 0; i < count; i++) {
        const struct name *channel = gaps[i].channel;
        put_literal(out, NULL, "{");
        put_time(out, "at", gaps[i].at_us);
        put_text(out, "reason", gap_reason_text(gaps[i].reason));
        if (channel == NULL)
            put_literal(out, "channel", "null");
        else
            put_bytes(out, "channel", channel->bytes, channel->len);
        put_number(out, "clients", gaps[i].clients);
        buf_byte(out, '}');
    }
    buf_byte(out, ']');
    recent_gaps_release(gaps, count);
}

static void put_figures(struct buf *out, const struct figures *f)
{
    put_number(out, "clients", f->gauge[GAUGE_CLIENTS]);
    put_number(out, "clients_max", f->clients_max);
    put_number(out, "channels", f->gauge[GAUGE_CHANNELS]);
    put_number(out, "lagging", f->gauge[GAUGE_LAGGING]);
    put_totals(out, f);
    put_ends(out, f);
    put_histograms(out, f);
    put_memory(out, f);
    put_workers(out, f);
}

void status_answer(struct exchange *x, struct http_slice query)
{
    const struct admin *a = x->p->admin;
    const struct config *c = x->p->config;
    struct figures *f = malloc(sizeof *f);
    struct buf json = BUF_INIT;
    (void)query;
    if (f != NULL) {
        figures_take(f, a->hub, a->workers, a->worker_count, a->capacity);
        buf_byte(&json, '{');
        put_process(&json, a);
        put_config(&json, a);
        put_listeners(&json, a, c);
        put_redis(&json, f, c);
        put_figures(&json, f);
        put_recent_gaps(&json, a);
        buf_str(&json, "}\n");
    }
    if (f == NULL || json.failed)
        answer_no_memory(x, NULL);
    else
        answer_body(x, 200, "application/json", "", json.data, json.len);
    buf_finish(&json);
    free(f);
}
