#include "tickerd/daemon/exposition.h"

#include <uv.h>

/* ---- lines ----------------------------------------------------------------------------------- */

void exposition_label(struct buf *out, const char *text)
{
    buf_byte(out, '"');
    for (; *text != '\0'; text++) {
        if (*text == '\\' || *text == '"')
            buf_byte(out, '\\');
        if (*text == '\n')
            buf_str(out, "\\n");
        else
            buf_byte(out, *text);
    }
    buf_byte(out, '"');
}

void exposition_seconds(struct buf *out, uint64_t us)
{
    unsigned long long whole = us / 1000000, part = us % 1000000;
    int digits = 6;
    while (digits > 0 && part % 10 == 0) {
        part /= 10;
        digits--;
    }
    buf_printf(out, "%llu", whole);
    if (digits > 0)
        buf_printf(out, ".%0*llu", digits, part);
}

static void put_head(struct buf *out, const char *name, const char *type, const char *help)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void put_number(struct buf *out, const char *name, uint64_t value)
{
    buf_printf(out, "%s %llu\n", name, (unsigned long long)value);
}

static void put_labelled(struct buf *out, const char *name, const char *label, const char *text,
                         uint64_t value)
{
    buf_printf(out, "%s{%s=", name, label);
    exposition_label(out, text);
    buf_printf(out, "} %llu\n", (unsigned long long)value);
}

static void put_counter(struct buf *out, const char *name, const char *help, uint64_t value)
{
    put_head(out, name, "counter", help);
    put_number(out, name, value);
}

static void put_gauge(struct buf *out, const char *name, const char *help, uint64_t value)
{
    put_head(out, name, "gauge", help);
    put_number(out, name, value);
}

static void put_time(struct buf *out, const char *name, const char *type, const char *help,
                     uint64_t us)
{
    put_head(out, name, type, help);
    buf_printf(out, "%s ", name);
    exposition_seconds(out, us);
    buf_byte(out, '\n');
}

/* One series of a histogram; `labels` is empty or ends with a comma. */
static void put_series(struct buf *out, const char *name, const char *labels, const char *alone,
                       const struct histogram_sums *h)
{
    static const uint32_t bounds[HISTOGRAM_BOUND_COUNT] = HISTOGRAM_BOUNDS;
    unsigned long long count = 0;
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        count += h->counts[i];
        buf_printf(out, "%s_bucket{%sle=\"", name, labels);
        if (i < HISTOGRAM_BOUND_COUNT)
            exposition_seconds(out, bounds[i]);
        else
            buf_str(out, "+Inf");
        buf_printf(out, "\"} %llu\n", count);
    }
    buf_printf(out, "%s_sum%s ", name, alone);
    exposition_seconds(out, h->sum_us);
    buf_printf(out, "\n%s_count%s %llu\n", name, alone, count);
}

/* ---- families -------------------------------------------------------------------------------- */

static const struct counter {
    enum metric metric;
    const char *name, *help;
} counters[] = {
    {METRIC_MESSAGES, "tickerd_messages_total", "Messages received from Redis."},
    {METRIC_MESSAGE_BYTES, "tickerd_message_bytes_total",
     "Bytes of the payloads of messages received from Redis."},
    {METRIC_IGNORED_NAMES, "tickerd_messages_ignored_total",
     "Messages on channels whose names are not allowed."},
    {METRIC_OVERSIZE, "tickerd_messages_oversize_total",
     "Messages above limits.message_bytes, announced as gaps."},
    {METRIC_REPAIRED, "tickerd_utf8_repairs_total",
     "Invalid UTF-8 sequences in messages that were replaced."},
    {METRIC_EVICTED, "tickerd_history_evicted_events_total", "Events evicted from histories."},
    {METRIC_OUTAGES, "tickerd_redis_outages_total", "Times Redis was lost."},
    {METRIC_CONNECTS, "tickerd_redis_connects_total",
     "Times Redis was connected and had answered all subscriptions."},
    {METRIC_STALE, "tickerd_worker_overflows_total",
     "Times a worker fell behind the hub and asked for its channels again."},
    {METRIC_OUT_OF_MEMORY, "tickerd_out_of_memory_total",
     "Messages, streams and views refused for want of memory."},
    {METRIC_ACCEPTED, "tickerd_connections_accepted_total", "Connections accepted."},
    {METRIC_SHED, "tickerd_connections_shed_total",
     "Connections without a request cut to make room for new ones."},
    {METRIC_STREAMS, "tickerd_streams_opened_total", "Streams opened."},
    {METRIC_DELIVERIES, "tickerd_deliveries_total", "Events written to clients."},
    {METRIC_BYTES, "tickerd_sent_bytes_total", "Bytes written to clients' streams."},
};

static const struct level {
    enum gauge gauge;
    const char *name, *help;
} levels[] = {
    {GAUGE_SUBSCRIPTIONS, "tickerd_redis_subscriptions", "Subscriptions held at Redis."},
    {GAUGE_CHANNELS, "tickerd_channels",
     "Channels that are known: with a history, or listened to."},
    {GAUGE_PATTERNS, "tickerd_patterns",
     "Patterns that clients listen to, counted once for each worker."},
    {GAUGE_HISTORY_EVENTS, "tickerd_history_events", "Events kept in histories."},
    {GAUGE_CLIENTS, "tickerd_clients", "Streams that are open, or wait for their channels."},
    {GAUGE_WAITING, "tickerd_clients_waiting", "Streams that wait for their channels."},
    {GAUGE_LAGGING, "tickerd_clients_lagging", "Streams that have not caught up."},
    {GAUGE_STALLED, "tickerd_clients_stalled",
     "Streams whose connections take no bytes at present."},
    {GAUGE_CONNECTIONS, "tickerd_connections",
     "Connections that are open, those without a stream included."},
};

static void put_simple(struct buf *out, const struct figures *f)
{
    for (size_t i = 0; i < sizeof counters / sizeof counters[0]; i++)
        put_counter(out, counters[i].name, counters[i].help, f->value[counters[i].metric]);
    for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++)
        put_gauge(out, levels[i].name, levels[i].help, f->gauge[levels[i].gauge]);
    put_gauge(out, "tickerd_clients_max", "Streams that there is room for.", f->clients_max);
}

static void put_build(struct buf *out)
{
    put_head(out, "tickerd_build_info", "gauge", "1, with the version of tickerd and its libuv.");
    buf_str(out, "tickerd_build_info{version=");
    exposition_label(out, TICKERD_VERSION);
    buf_str(out, ",libuv=");
    exposition_label(out, uv_version_string());
    buf_str(out, "} 1\n");
}

static void put_redis(struct buf *out, const struct figures *f)
{
    uint64_t state = f->gauge[GAUGE_UPSTREAM];
    put_gauge(out, "tickerd_redis_connected", "Whether there is a connection to Redis.",
              state == UPSTREAM_STATE_DOWN ? 0 : 1);
    put_gauge(out, "tickerd_redis_up",
              "Whether Redis is connected and everything wanted is subscribed to.",
              state == UPSTREAM_STATE_UP ? 1 : 0);
    if (f->gauge[GAUGE_UPSTREAM_SINCE] > 0)
        put_time(out, "tickerd_redis_since_timestamp_seconds", "gauge",
                 "When that last changed, in seconds since 1970.", f->gauge[GAUGE_UPSTREAM_SINCE]);
    if (f->gauge[GAUGE_ROUND_TRIP] > 0)
        put_time(out, "tickerd_redis_round_trip_seconds", "gauge",
                 "How long Redis took to answer the last PING on the subscribed connection.",
                 f->gauge[GAUGE_ROUND_TRIP]);
}

static void put_by_reason(struct buf *out, const struct figures *f)
{
    static const char gaps[] = "tickerd_gaps_total";
    static const char closed[] = "tickerd_streams_closed_total";
    static const char refused[] = "tickerd_refused_total";
    put_head(out, gaps, "counter", "Gap events written to clients, by the reason they give.");
    for (size_t i = 0; i < GAP_REASON_COUNT; i++)
        put_labelled(out, gaps, "reason", gap_reason_text((enum gap_reason)i), f->gaps[i]);
    put_head(out, closed, "counter", "Streams closed, by the reason.");
    for (size_t i = CLOSING_NONE + 1; i < CLOSING_COUNT; i++)
        put_labelled(out, closed, "reason", closing_text((enum closing)i), f->closed[i]);
    put_head(out, refused, "counter", "Requests and connections refused, by why.");
    for (size_t i = 0; i < REFUSAL_COUNT; i++)
        put_labelled(out, refused, "why", refusal_text((enum refusal)i), f->refused[i]);
}

static void put_histograms(struct buf *out, const struct figures *f)
{
    static const char latency[] = "tickerd_delivery_latency_seconds";
    static const char turns[] = "tickerd_loop_turn_seconds";
    put_head(out, latency, "histogram",
             "Time from the read of an event from Redis to its write to a client that was there.");
    put_series(out, latency, "", "", &f->latency);
    put_head(out, turns, "histogram",
             "How long the turns of the event loops took, without waiting for events.");
    put_series(out, turns, "thread=\"hub\",", "{thread=\"hub\"}", &f->hub_turns);
    put_series(out, turns, "thread=\"worker\",", "{thread=\"worker\"}", &f->worker_turns);
}

static void put_workers(struct buf *out, const struct figures *f)
{
    static const char clients[] = "tickerd_worker_clients";
    static const char deliveries[] = "tickerd_worker_deliveries_total";
    put_head(out, clients, "gauge", "Streams of each worker thread.");
    for (uint32_t w = 0; w < f->worker_count; w++)
        buf_printf(out, "%s{worker=\"%u\"} %llu\n", clients, w,
                   (unsigned long long)f->workers[w].clients);
    put_head(out, deliveries, "counter", "Events written to clients by each worker thread.");
    for (uint32_t w = 0; w < f->worker_count; w++)
        buf_printf(out, "%s{worker=\"%u\"} %llu\n", deliveries, w,
                   (unsigned long long)f->workers[w].deliveries);
}

/* With the names that all client libraries of Prometheus give them. */
static void put_process(struct buf *out, const struct figures *f)
{
    static const char memory[] = "tickerd_memory_bytes";
    const struct process_figures *p = &f->process;
    put_head(out, memory, "gauge", "Memory by what it is used for, as far as it is counted.");
    for (size_t i = 0; i < MEMORY_COUNT; i++)
        put_labelled(out, memory, "part", memory_part_text((enum memory_part)i), f->memory[i]);
    put_time(out, "process_start_time_seconds", "gauge",
             "When the process started, in seconds since 1970.", f->gauge[GAUGE_STARTED]);
    put_time(out, "process_cpu_seconds_total", "counter", "CPU time used, user and system.",
             p->cpu_us);
    put_gauge(out, "process_resident_memory_bytes", "Resident memory.", p->resident);
    put_gauge(out, "process_virtual_memory_bytes", "Virtual memory.", p->virtual);
    put_gauge(out, "process_open_fds", "Open file descriptors.", p->open_fds);
    if (p->max_fds > 0)
        put_gauge(out, "process_max_fds", "The limit of open file descriptors.", p->max_fds);
}

void exposition_print(struct buf *out, const struct figures *f)
{
    put_build(out);
    put_redis(out, f);
    put_simple(out, f);
    put_by_reason(out, f);
    put_histograms(out, f);
    put_workers(out, f);
    put_process(out, f);
}
