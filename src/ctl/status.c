/* tickerctl status: /status as one page. A member that an older or newer daemon does not have is
 * left out of it. */
#include <stdio.h>
#include <string.h>

#include "tickerd/base/clock.h"
#include "tickerd/ctl/commands.h"
#include "tickerd/ctl/text.h"

enum { LABEL_COLUMNS = 11, RECENT_SHOWN = 8 };

/* What two looks a second apart are compared by. */
struct look {
    uint64_t at;
    double messages, deliveries, bytes;
    bool taken;
};

struct page {
    const struct screen *screen;
    const json_t *status;
    struct buf *out;
};

static void label(struct page *p, const char *name)
{
    buf_printf(p->out, "%s%-*s%s", screen_on(p->screen, HUE_DIM), LABEL_COLUMNS, name,
               screen_off(p->screen, HUE_DIM));
}

static void coloured(struct page *p, enum hue hue, const char *text)
{
    buf_str(p->out, screen_on(p->screen, hue));
    text_safe(p->out, text, strlen(text));
    buf_str(p->out, screen_off(p->screen, hue));
}

static void put_text(struct page *p, const char *path)
{
    const char *text = member_text(p->status, path, "?");
    text_safe(p->out, text, strlen(text));
}

static void put_title(struct page *p)
{
    const char *state = member_text(p->status, "state", "?");
    enum hue hue = strcmp(state, "running") == 0 ? HUE_GOOD : HUE_WARN;
    coloured(p, HUE_BOLD, "tickerd ");
    coloured(p, HUE_BOLD, member_text(p->status, "version", "?"));
    buf_str(p->out, "  ");
    coloured(p, hue, state);
    buf_printf(p->out, ", process %llu, up ", (unsigned long long)member_count(p->status, "pid"));
    text_seconds(p->out, member_number(p->status, "uptime"));
    buf_byte(p->out, '\n');
}

/* "a, b, c", or what stands for none. */
static void put_list(struct page *p, const json_t *list, const char *none)
{
    size_t i;
    const json_t *item;
    if (json_array_size(list) == 0)
        buf_str(p->out, none);
    json_array_foreach(list, i, item)
    {
        const char *text = json_string_value(item);
        buf_str(p->out, i == 0 ? "" : ", ");
        if (text != NULL)
            text_safe(p->out, text, strlen(text));
    }
}

/* Each on a line of its own: they have commas themselves. */
static void put_errors(struct page *p, const json_t *errors)
{
    size_t i;
    const json_t *item;
    json_array_foreach(errors, i, item)
    {
        const char *text = json_string_value(item);
        buf_byte(p->out, '\n');
        label(p, "");
        if (text != NULL)
            text_safe(p->out, text, strlen(text));
    }
}

static void put_config(struct page *p)
{
    const json_t *reload = member(p->status, "config.last_reload");
    label(p, "config");
    const char *file = member_text(p->status, "config.file", "no file");
    text_safe(p->out, file, strlen(file));
    buf_str(p->out, ", loaded ");
    put_text(p, "config.loaded");
    buf_byte(p->out, '\n');
    if (!json_is_object(reload))
        return;
    label(p, "");
    if (json_is_true(member(reload, "ok"))) {
        buf_str(p->out, "last reload: changed ");
        put_list(p, member(reload, "changed"), "nothing");
        if (json_array_size(member(reload, "needs_restart")) > 0) {
            coloured(p, HUE_WARN, "; needs a restart: ");
            put_list(p, member(reload, "needs_restart"), "");
        }
    } else {
        coloured(p, HUE_BAD, "the last reload was refused");
        buf_str(p->out, " (");
        put_text(p, "config.last_reload.at");
        buf_str(p->out, "):");
        put_errors(p, member(reload, "errors"));
    }
    buf_byte(p->out, '\n');
}

static void put_listeners(struct page *p)
{
    label(p, "listening");
    put_list(p, member(p->status, "listeners"), "nowhere");
    buf_str(p->out, "; admin ");
    put_text(p, "admin");
    if (json_is_true(member(p->status, "admin_publish")))
        buf_str(p->out, ", may publish");
    buf_byte(p->out, '\n');
}

static void put_redis(struct page *p)
{
    const char *state = member_text(p->status, "redis.state", "?");
    uint64_t outages = member_count(p->status, "redis.outages");
    label(p, "redis");
    coloured(p, strcmp(state, "up") == 0 ? HUE_GOOD : HUE_BAD, state);
    buf_str(p->out, ", ");
    put_text(p, "redis.address");
    buf_str(p->out, ", mode ");
    put_text(p, "redis.mode");
    if (json_is_number(member(p->status, "redis.round_trip"))) {
        buf_printf(p->out, ", round trip %.2f ms",
                   member_number(p->status, "redis.round_trip") * MS_PER_S);
    }
    buf_str(p->out, ", ");
    text_count(p->out, outages);
    buf_printf(p->out, " outage%s\n", outages == 1 ? "" : "s");
}

static void put_clients(struct page *p)
{
    uint64_t lagging = member_count(p->status, "lagging");
    uint64_t channels = member_count(p->status, "channels");
    label(p, "clients");
    text_count(p->out, member_count(p->status, "clients"));
    buf_str(p->out, " of at most ");
    text_count(p->out, member_count(p->status, "clients_max"));
    buf_str(p->out, ", on ");
    text_count(p->out, channels);
    buf_str(p->out, channels == 1 ? " channel" : " channels");
    if (lagging > 0) {
        buf_str(p->out, screen_on(p->screen, HUE_WARN));
        buf_str(p->out, "; ");
        text_count(p->out, lagging);
        buf_printf(p->out, " behind%s", screen_off(p->screen, HUE_WARN));
    }
    buf_byte(p->out, '\n');
}

static void put_traffic(struct page *p, const struct look *last, const struct look *now)
{
    uint64_t streams = member_count(p->status, "totals.streams");
    label(p, "so far");
    text_count(p->out, member_count(p->status, "totals.messages"));
    buf_str(p->out, " messages in, ");
    text_count(p->out, member_count(p->status, "totals.deliveries"));
    buf_str(p->out, " events out (");
    text_bytes(p->out, member_count(p->status, "totals.bytes"));
    buf_str(p->out, "), ");
    text_count(p->out, streams);
    buf_printf(p->out, " stream%s\n", streams == 1 ? "" : "s");
    if (!last->taken || now->at <= last->at)
        return;
    double s = (double)(now->at - last->at) / US_PER_S;
    label(p, "now");
    text_count(p->out, (uint64_t)((now->messages - last->messages) / s + 0.5));
    buf_str(p->out, " messages/s in, ");
    text_count(p->out, (uint64_t)((now->deliveries - last->deliveries) / s + 0.5));
    buf_str(p->out, " events/s out, ");
    text_bytes(p->out, (uint64_t)((now->bytes - last->bytes) / s + 0.5));
    buf_str(p->out, "/s\n");
}

/* The members of an object of counts that are not zero: "evicted 3, slow 12". */
static void put_counts(struct page *p, const char *name, const char *path, const char *none)
{
    const json_t *counts = member(p->status, path);
    void *it = json_object_iter((json_t *)counts);
    bool any = false;
    if (counts == NULL)
        return;
    label(p, name);
    for (; it != NULL; it = json_object_iter_next((json_t *)counts, it)) {
        double n = json_number_value(json_object_iter_value(it));
        const char *key = json_object_iter_key(it);
        if (n <= 0)
            continue;
        buf_str(p->out, any ? ", " : "");
        text_safe(p->out, key, strlen(key));
        buf_byte(p->out, ' ');
        text_count(p->out, (uint64_t)n);
        any = true;
    }
    buf_printf(p->out, "%s\n", any ? "" : none);
}

/* The bound below which this share of what was counted lies; negative: above all bounds. */
static double quantile(const json_t *bounds, const json_t *counts, double share)
{
    double all = 0, sum = 0;
    size_t i, n = json_array_size(counts);
    for (i = 0; i < n; i++)
        all += json_number_value(json_array_get(counts, i));
    for (i = 0; i < n; i++) {
        sum += json_number_value(json_array_get(counts, i));
        if (sum >= share * all)
            break;
    }
    return i < json_array_size(bounds) ? json_number_value(json_array_get(bounds, i)) : -1;
}

static void put_latency(struct page *p)
{
    static const struct {
        double share;
        const char *name;
    } shares[] = {{0.5, "half"}, {0.99, "99 %"}, {0.999, "99.9 %"}};
    const json_t *bounds = member(p->status, "latency.bounds");
    const json_t *counts = member(p->status, "latency.counts");
    double all = 0;
    for (size_t i = 0; i < json_array_size(counts); i++)
        all += json_number_value(json_array_get(counts, i));
    if (all <= 0)
        return;
    label(p, "latency");
    for (size_t i = 0; i < sizeof shares / sizeof *shares; i++) {
        double bound = quantile(bounds, counts, shares[i].share);
        buf_printf(p->out, "%s%s within ", i == 0 ? "" : ", ", shares[i].name);
        if (bound < 0)
            buf_str(p->out, "more than can be told");
        else
            buf_printf(p->out, "%.4g ms", bound * MS_PER_S);
    }
    buf_str(p->out, " (from Redis to the client's socket)\n");
}

static void put_memory(struct page *p)
{
    static const char *const parts[] = {"histories", "frames", "views", "connections", "inboxes"};
    char path[32];
    if (member(p->status, "memory") == NULL)
        return;
    label(p, "memory");
    text_bytes(p->out, member_count(p->status, "memory.rss"));
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        (void)snprintf(path, sizeof path, "memory.%s", parts[i]);
        if (member(p->status, path) == NULL)
            continue;
        buf_printf(p->out, ", %s ", parts[i]);
        text_bytes(p->out, member_count(p->status, path));
    }
    buf_byte(p->out, '\n');
}

static void put_recent(struct page *p)
{
    const json_t *gaps = member(p->status, "recent_gaps"), *gap;
    size_t i;
    json_array_foreach(gaps, i, gap)
    {
        const char *channel = member_text(gap, "channel", NULL);
        if (i >= RECENT_SHOWN)
            break;
        label(p, i == 0 ? "last gaps" : "");
        coloured(p, HUE_DIM, member_text(gap, "at", "?"));
        buf_str(p->out, "  ");
        coloured(p, HUE_WARN, member_text(gap, "reason", "?"));
        buf_str(p->out, ", ");
        if (channel != NULL)
            text_safe_cut(p->out, channel, strlen(channel), 40);
        else
            buf_str(p->out, "all channels");
        buf_str(p->out, ", clients: ");
        text_count(p->out, member_count(gap, "clients"));
        buf_byte(p->out, '\n');
    }
}

static void put_page(const struct screen *screen, const json_t *status, const struct look *last,
                     const struct look *now, struct buf *out)
{
    struct page p = {.screen = screen, .status = status, .out = out};
    put_title(&p);
    put_config(&p);
    put_listeners(&p);
    put_redis(&p);
    put_clients(&p);
    put_traffic(&p, last, now);
    put_counts(&p, "gaps", "gaps", "none");
    put_counts(&p, "closed", "closed", "no stream yet");
    put_latency(&p);
    put_memory(&p);
    put_recent(&p);
}

static struct look look_at(const json_t *status)
{
    return (struct look){.at = clock_mono_us(),
                         .messages = member_number(status, "totals.messages"),
                         .deliveries = member_number(status, "totals.deliveries"),
                         .bytes = member_number(status, "totals.bytes"),
                         .taken = true};
}

static int show(struct ctl *c, struct look *last, bool again)
{
    struct admin_answer answer;
    struct buf out = BUF_INIT, page = BUF_INIT;
    int status = admin_order(c, "GET", "/status", NULL, &answer);
    if (status == CTL_GOOD && c->options->value[OPT_JSON] != NULL) {
        status = ctl_print_json(c, answer.json) ? CTL_GOOD : CTL_REFUSED;
    } else if (status == CTL_GOOD) {
        struct look now = look_at(answer.json);
        if (again)
            buf_str(&out, c->screen.terminal ? "\x1b[H\x1b[J" : "\n");
        put_page(&c->screen, answer.json, last, &now, &page);
        text_wrapped(&out, page.data, page.len, LABEL_COLUMNS, c->screen.columns);
        out.failed = out.failed || page.failed;
        status = screen_write(&out) ? CTL_GOOD : CTL_REFUSED;
        *last = now;
    }
    if (answer.interrupted)
        status = CTL_GOOD;
    buf_finish(&out);
    buf_finish(&page);
    admin_answer_finish(&answer);
    return status;
}

int command_status(struct ctl *c)
{
    struct look last = {.taken = false};
    bool watch = c->options->value[OPT_WATCH] != NULL;
    int status = show(c, &last, false);
    for (bool go_on = watch; go_on && status == CTL_GOOD;) {
        uint64_t until = clock_mono_us() + US_PER_S;
        while (go_on && clock_mono_us() < until)
            go_on = web_turn(c->web, until);
        if (go_on)
            status = show(c, &last, true);
    }
    return status;
}
