#include "tickerd/ctl/show.h"

#include <jansson.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

#include "tickerd/base/clock.h"
#include "tickerd/ctl/admin.h"
#include "tickerd/ctl/text.h"
#include "tickerd/wire/utf8.h"

enum { TIME_MAX = 40 };

const char *show_gap_reason(const char *reason)
{
    static const struct {
        const char *reason, *words;
    } reasons[] = {
        {"evicted", "what came between is no longer kept"},
        {"restart", "tickerd was restarted, and what came meanwhile is lost"},
        {"upstream", "Redis was out of reach, and what was published meanwhile is lost"},
        {"unsubscribed", "nobody listened for a while, so what was published then was not heard"},
        {"slow", "this connection was too slow, and events were skipped"},
        {"oversize", "a message was larger than limits.message_bytes and is left out"},
        {"unknown-id", "the last event id is not known here; all that is kept follows"},
    };
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++) {
        if (strcmp(reasons[i].reason, reason) == 0)
            return reasons[i].words;
    }
    return "events are missing";
}

static bool is(const char *text, size_t len, const char *name)
{
    return strlen(name) == len && memcmp(text, name, len) == 0;
}

static void put_member(struct buf *out, const char *name, const char *text, size_t len)
{
    struct buf repaired = BUF_INIT, quoted = BUF_INIT;
    (void)utf8_repair(&repaired, text, len);
    buf_json(&quoted, repaired.data, repaired.len);
    buf_printf(out, ",\"%s\":\"", name);
    text_safe_json(out, quoted.data, quoted.len);
    buf_byte(out, '"');
    out->failed = out->failed || repaired.failed || quoted.failed;
    buf_finish(&quoted);
    buf_finish(&repaired);
}

void show_json(struct buf *out, const struct reader_event *event, uint64_t wall_us)
{
    char when[TIME_MAX];
    struct tm tm;
    time_t seconds = (time_t)(wall_us / US_PER_S);
    (void)gmtime_r(&seconds, &tm);
    (void)strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &tm);
    buf_printf(out, "{\"time\":\"%s.%03uZ\"", when, (unsigned)(wall_us % US_PER_S / US_PER_MS));
    put_member(out, "id", event->id, event->id_len);
    put_member(out, "event", event->type, event->type_len);
    put_member(out, "data", event->data, event->data_len);
    buf_str(out, "}\n");
}

static void put_time(struct buf *out, const struct screen *s, uint64_t wall_us)
{
    char when[TIME_MAX];
    struct tm tm;
    time_t seconds = (time_t)(wall_us / US_PER_S);
    (void)localtime_r(&seconds, &tm);
    (void)strftime(when, sizeof when, "%H:%M:%S", &tm);
    buf_printf(out, "%s%s.%03u%s  ", screen_on(s, HUE_DIM), when,
               (unsigned)(wall_us % US_PER_S / US_PER_MS), screen_off(s, HUE_DIM));
}

/* tickerd:open and tickerd:gap in words. False: the data is not what these events have. */
static bool put_words(struct buf *out, const struct screen *s, const struct reader_event *event)
{
    json_t *data = json_loadb(event->data, event->data_len, 0, NULL);
    const char *resume = member_text(data, "resume", NULL);
    const char *reason = member_text(data, "reason", NULL);
    const char *channel = member_text(data, "channel", NULL);
    bool open = is(event->type, event->type_len, "tickerd:open") && resume != NULL;
    bool gap = is(event->type, event->type_len, "tickerd:gap") && reason != NULL;
    enum hue hue = gap ? HUE_WARN : HUE_GOOD;
    buf_str(out, screen_on(s, open || gap ? hue : HUE_NONE));
    if (open && strcmp(resume, "new") == 0) {
        buf_str(out, "listening");
    } else if (open && strcmp(resume, "continued") == 0) {
        buf_str(out, "listening again; nothing was missed");
    } else if (open) {
        buf_str(out, "listening again; something was missed");
    } else if (gap) {
        buf_str(out, "gap");
        if (channel != NULL) {
            buf_str(out, " in ");
            text_safe(out, channel, strlen(channel));
        }
        buf_str(out, ": ");
        buf_str(out, show_gap_reason(reason));
        buf_str(out, " (");
        text_safe(out, reason, strlen(reason));
        buf_byte(out, ')');
    }
    buf_str(out, screen_off(s, open || gap ? hue : HUE_NONE));
    json_decref(data);
    return open || gap;
}

void show_line(struct buf *out, const struct screen *s, const struct reader_event *event,
               uint64_t wall_us)
{
    bool named = !is(event->type, event->type_len, "message");
    put_time(out, s, wall_us);
    if (event->id_len > 0) {
        buf_str(out, screen_on(s, HUE_DIM));
        text_safe(out, event->id, event->id_len);
        buf_printf(out, "%s  ", screen_off(s, HUE_DIM));
    }
    if (!put_words(out, s, event)) {
        if (named) {
            buf_str(out, screen_on(s, HUE_NAME));
            text_safe(out, event->type, event->type_len);
            buf_printf(out, "%s  ", screen_off(s, HUE_NAME));
        }
        text_safe(out, event->data, event->data_len);
    }
    buf_byte(out, '\n');
}
