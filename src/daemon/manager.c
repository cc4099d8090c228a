#include "tickerd/daemon/manager.h"

#include <inttypes.h>
#include <string.h>

#include "tickerd/base/clock.h"
#include "tickerd/base/err.h"
#include "tickerd/base/log.h"
#include "tickerd/wire/utf8.h"

enum { REASON_MAX = 200, STATUS_MS = 1000 };

void manager_init(struct manager *m)
{
    *m = (struct manager){.refused = BUF_INIT, .status = BUF_INIT, .text = BUF_INIT};
    notify_init(&m->notify);
}

void manager_finish(struct manager *m)
{
    notify_finish(&m->notify);
    watchdog_finish(&m->watchdog);
    buf_finish(&m->refused);
    buf_finish(&m->status);
    buf_finish(&m->text);
}

/* ---- the line -------------------------------------------------------------------------------- */

/* 12034 as 12,034. */
static void put_number(struct buf *out, uint64_t n)
{
    if (n >= 1000) {
        put_number(out, n / 1000);
        buf_printf(out, ",%03u", (unsigned)(n % 1000));
    } else {
        buf_printf(out, "%u", (unsigned)n);
    }
}

static void put_count(struct buf *out, uint64_t n, const char *what)
{
    put_number(out, n);
    buf_printf(out, " %s%s", what, n == 1 ? "" : "s");
}

static void put_duration(struct buf *out, uint64_t us)
{
    uint64_t s = us / US_PER_S;
    if (s < 120)
        buf_printf(out, "%" PRIu64 " s", s);
    else if (s < 7200)
        buf_printf(out, "%" PRIu64 " min", s / 60);
    else
        buf_printf(out, "%" PRIu64 " h", s / 3600);
}

void manager_describe(struct buf *out, const struct manager_facts *facts)
{
    if (facts->draining) {
        buf_str(out, "draining, ");
        put_count(out, facts->clients, "client");
        buf_str(out, " left");
        return;
    }
    put_count(out, facts->clients, "client");
    buf_str(out, ", ");
    put_count(out, facts->channels, "channel");
    buf_str(out, ", redis ");
    if (facts->redis_away_us == 0) {
        buf_str(out, "up");
    } else {
        buf_str(out, "away for ");
        put_duration(out, facts->redis_away_us);
    }
    if (facts->refused[0] != '\0')
        buf_printf(out, "; reload refused: %s", facts->refused);
}

static struct manager_facts observe(struct manager *m, uint64_t now)
{
    struct registry *r = hub_registry(m->hub);
    if (r->live)
        m->away_us = 0;
    else if (m->away_us == 0)
        m->away_us = now;
    return (struct manager_facts){
        .clients = atomic_load_explicit(&m->capacity->streams, memory_order_relaxed),
        .channels = registry_channels(r),
        .redis_away_us = r->live ? 0 : now - m->away_us + 1,
        .draining = m->stopping,
        .refused = buf_cstr(&m->refused),
    };
}

/* The line is sent when it has changed and has been left alone for a second; `news` of any other
 * kind takes it along at once. */
static void tell(struct manager *m, const char *news)
{
    if (!m->started)
        return;
    uint64_t at_ms = uv_now(m->timer.loop);
    if (news == NULL && at_ms - m->told_ms < STATUS_MS)
        return;
    struct manager_facts facts = observe(m, clock_mono_us());
    buf_reset(&m->text);
    buf_str(&m->text, "STATUS=");
    manager_describe(&m->text, &facts);
    bool same =
        m->text.len == m->status.len && memcmp(m->text.data, m->status.data, m->text.len) == 0;
    struct buf last = m->status;
    m->status = m->text;
    m->text = last;
    if (news == NULL && same)
        return;
    m->told_ms = at_ms;
    buf_reset(&m->text);
    buf_printf(&m->text, "%s%s%s", news == NULL ? "" : news, news == NULL ? "" : "\n",
               buf_cstr(&m->status));
    if (!notify_send(&m->notify, buf_cstr(&m->text), news != NULL))
        buf_reset(&m->status); /* so that it is new in a second, too */
}

/* ---- the watchdog ---------------------------------------------------------------------------- */

static void look_at_threads(struct manager *m, uint64_t now)
{
    for (uint32_t w = 0; w < m->worker_count; w++)
        watchdog_see(&m->watchdog, w,
                     worker_ended(m->workers[w]) ? now : worker_pulse(m->workers[w]), now);
    uint64_t since = watchdog_hangs_since(&m->watchdog, now);
    if (since != 0 && !m->hung)
        log_error("a worker has stood still for %" PRIu64 " ms: the service manager's watchdog is "
                  "not fed until it moves",
                  (now - since) / US_PER_MS);
    m->hung = since != 0;
}

static void on_timer(uv_timer_t *timer)
{
    struct manager *m = timer->data;
    uint64_t now = clock_mono_us();
    look_at_threads(m, now);
    if (watchdog_feed(&m->watchdog, now))
        (void)notify_send(&m->notify, "WATCHDOG=1", false);
    notify_catch_up(&m->notify);
    tell(m, NULL);
}

/* ---- events ---------------------------------------------------------------------------------- */

void manager_ready(struct manager *m, uv_loop_t *loop, struct hub *hub, struct worker **workers,
                   uint32_t worker_count, const struct capacity *capacity)
{
    if (m->notify.fd < 0)
        return;
    m->hub = hub;
    m->workers = workers;
    m->worker_count = worker_count;
    m->capacity = capacity;
    if (watchdog_init(&m->watchdog, m->notify.watchdog_us, worker_count, clock_mono_us()) != ERR_OK)
        m->worker_count = 0;              /* no worker is watched; the hub is */
    (void)uv_timer_init(loop, &m->timer); /* cannot fail */
    m->timer.data = m;
    m->started = true;
    uint64_t period = watchdog_period_ms(&m->watchdog);
    (void)uv_timer_start(&m->timer, on_timer, period, period);
    tell(m, "READY=1");
}

void manager_reloading(struct manager *m)
{
    struct buf news = BUF_INIT;
    /* The same clock as the manager's, by which it tells whose reload this is. */
    buf_printf(&news, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, clock_mono_us());
    tell(m, buf_cstr(&news));
    buf_finish(&news);
}

/* The first line, without control bytes, and cut where it is long, between characters. */
static void note_refusal(struct buf *out, const char *problem)
{
    size_t len = strcspn(problem, "\n"), cut = len < REASON_MAX ? len : REASON_MAX;
    while (cut < len && cut > 0 && ((unsigned char)problem[cut] & 0xc0) == 0x80)
        cut--;
    utf8_repair(out, problem, cut);
    for (size_t i = 0; i < out->len; i++) {
        if ((unsigned char)out->data[i] < ' ' || out->data[i] == 0x7f)
            out->data[i] = '?';
    }
    if (cut < len)
        buf_str(out, "...");
}

void manager_reloaded(struct manager *m, const char *problem)
{
    buf_reset(&m->refused);
    if (problem != NULL)
        note_refusal(&m->refused, problem);
    tell(m, "READY=1");
}

void manager_stopping(struct manager *m, uint64_t within_us)
{
    struct buf news = BUF_INIT;
    m->stopping = true;
    buf_printf(&news, "STOPPING=1\nEXTEND_TIMEOUT_USEC=%" PRIu64, within_us);
    tell(m, buf_cstr(&news));
    buf_finish(&news);
}

void manager_close(struct manager *m)
{
    if (m->started)
        uv_close((uv_handle_t *)&m->timer, NULL);
}
