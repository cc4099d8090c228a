#include "tickerd/daemon/worker.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <uv.h>

#include "tickerd/base/clock.h"
#include "tickerd/base/err.h"
#include "tickerd/base/log.h"
#include "tickerd/daemon/admin.h"
#include "tickerd/net/listener.h"
#include "tickerd/net/turns.h"

enum { ORDER_NONE, ORDER_DRAIN, ORDER_STOP };

enum { NOTES_US = 2 * US_PER_MS, NOTES_CHECK = 256, DRAIN_TURNS = 100 };

struct worker {
    struct worker_options options;
    struct settings *settings;         /* in force; one reference */
    _Atomic(struct settings *) coming; /* to be put into force; NULL or one reference */
    uv_loop_t loop;
    pthread_t thread;
    bool started;
    struct inbox inbox;
    struct desk desk;
    uv_async_t orders;
    uv_timer_t tick;
    struct fanout fanout;
    struct public public;
    struct turns turns;
    struct metrics metrics;
    struct listener **listeners;
    _Atomic int order;
    _Atomic bool drained;
    _Atomic uint64_t pulse;
    _Atomic bool ended;
    bool deaf; /* the listeners have been closed */
    bool stopping;
    bool tick_soon; /* does not wait for the usual time */
};

static void on_tick(uv_timer_t *timer);

/* ---- the hub's side -------------------------------------------------------------------------- */

static bool send_to_hub(void *ctx, struct note *n)
{
    struct worker *w = ctx;
    if (!inbox_push(w->options.to_hub, n))
        return false;
    inbox_wake(w->options.to_hub);
    return true;
}

static void view_is_ready(void *ctx, struct view *v)
{
    struct worker *w = ctx;
    fanout_view_ready(&w->fanout, v);
}

/* ---- commands -------------------------------------------------------------------------------- */

/* Whoever was cut goes with the next ticks. Asked for again and again, it still comes. */
static void tick_soon(struct worker *w)
{
    if (w->tick_soon || w->stopping)
        return;
    w->tick_soon = true;
    (void)uv_timer_start(&w->tick, on_tick, 1, 0);
}

static void report(const struct command *c, uint64_t streams)
{
    struct buf text = BUF_INIT;
    control_print(&text, &c->what);
    log_info("control: %s: %llu stream%s", buf_cstr(&text), (unsigned long long)streams,
             streams == 1 ? "" : "s");
    buf_finish(&text);
}

static void obey(struct worker *w, struct command *c)
{
    uint64_t now = clock_mono_us(), total;
    size_t cut = 0;
    if (c == NULL && w->options.admin != NULL)
        return;
    tick_soon(w);
    if (c == NULL) {
        log_warn("control: too many commands while a worker was behind: its %zu streams are closed",
                 fanout_disconnect_all(&w->fanout, now));
        return;
    }
    const char *sub = c->what.sub, *channel = c->what.channel;
    if (w->options.admin == NULL)
        cut = fanout_disconnect(&w->fanout, sub, sub == NULL ? 0 : strlen(sub), channel,
                                channel == NULL ? 0 : strlen(channel), now);
    if (!command_done(c, cut, &total))
        return;
    report(c, total);
    command_destroy(c);
}

/* ---- the hub's notes ------------------------------------------------------------------------- */

/* Apply notes until the inbox is empty or the clients have waited long enough: whole logs of many
 * channels may come in a row. */
static void apply_notes(struct worker *w)
{
    uint64_t enough = clock_mono_us() + NOTES_US;
    struct note n;
    for (unsigned i = 1; inbox_pop(&w->inbox, &n); i++) {
        bool whole_log = n.kind == NOTE_RESET;
        if (n.kind == NOTE_COMMAND)
            obey(w, n.ref);
        else
            replica_apply(&w->fanout.replica, &n);
        if ((whole_log || i % NOTES_CHECK == 0) && clock_mono_us() > enough)
            return;
    }
}

static const struct replica_events replica_events = {send_to_hub, view_is_ready};

/* Apply what is in the inbox, then let every client have one write; the rest comes next turn. */
static bool take_notes(struct worker *w)
{
    struct replica *r = &w->fanout.replica;
    /* Read before draining: what the hub had stamped by then is in the inbox by now. */
    uint64_t reached = atomic_load_explicit(w->options.hub_clock, memory_order_acquire);
    apply_notes(w);
    bool more = inbox_rewake(&w->inbox);
    if (!more) { /* drained whole */
        if (inbox_overflown(&w->inbox)) {
            log_warn("a worker fell behind the hub and asks for its channels again");
            replica_restart(r);
        } else {
            replica_reached(r, reached);
        }
    }
    fanout_flush(&w->fanout, clock_mono_us());
    return more;
}

static void on_inbox(void *ctx)
{
    struct worker *w = ctx;
    turns_mark(&w->turns);
    if (!w->stopping)
        (void)take_notes(w);
}

/* ---- life ------------------------------------------------------------------------------------ */

static void close_listeners(struct worker *w)
{
    bool sweep = w->fanout.draining && !w->options.fds_inherited;
    for (size_t i = 0; i < w->options.fd_count && !w->deaf; i++) {
        if (sweep) /* who has connected by now still gets his answer */
            listener_sweep(w->listeners[i]);
        listener_close(w->listeners[i]);
    }
    w->deaf = true;
}

static void stop_loop(struct worker *w)
{
    if (w->stopping)
        return;
    w->stopping = true;
    close_listeners(w);
    if (w->options.admin != NULL)
        fanout_dismiss(&w->fanout, clock_mono_us());
    public_close(&w->public);
    if (w->options.admin != NULL)
        admin_close(w->options.admin);
    desk_close(&w->desk);
    inbox_close(&w->inbox);
    uv_close((uv_handle_t *)&w->orders, NULL);
    turns_close(&w->turns);
    uv_close((uv_handle_t *)&w->tick, NULL);
}

static void check_drained(struct worker *w, uint64_t now)
{
    if (!w->fanout.draining || w->stopping)
        return;
    uint64_t span = w->settings->config->drain_timeout_ms * US_PER_MS;
    uint64_t since = now - w->fanout.drain_start_us;
    bool late = since > span + FANOUT_GRACE_US;
    bool drained = late || !http1_busy(&w->public.http);
    /* An inherited socket keeps who comes now for the next process. Once the streams are gone it is
     * left to that, and the grace is for who has been accepted: with clients that come all the time
     * it would never be quiet here, and the last of them would be cut. */
    if (w->options.fds_inherited && (drained || since > span))
        close_listeners(w);
    atomic_store(&w->drained, drained);
}

static void show(struct worker *w)
{
    const struct replica *r = &w->fanout.replica;
    struct metrics *m = &w->metrics;
    uint64_t patterns = strmap_count(&r->patterns);
    uint64_t views = strmap_count(&r->channels) + patterns;
    gauge_set(m, GAUGE_CONNECTIONS, w->public.http.count);
    gauge_set(m, GAUGE_CONNECTION_BYTES, http1_memory(&w->public.http));
    gauge_set(m, GAUGE_PATTERNS, patterns);
    gauge_set(m, GAUGE_VIEWS, views);
    gauge_set(m, GAUGE_VIEW_BYTES, r->ring_bytes + views * sizeof(struct view));
}

static void on_tick(uv_timer_t *timer)
{
    struct worker *w = timer->data;
    (void)atomic_fetch_add_explicit(&w->pulse, 1, memory_order_relaxed);
    (void)take_notes(w);
    w->tick_soon = false;
    uint64_t now = clock_mono_us();
    uint64_t next = fanout_tick(&w->fanout, now, clock_wall_us());
    http1_tick(&w->public.http);
    check_drained(w, now);
    show(w);
    if (!w->stopping)
        (void)uv_timer_start(timer, on_tick, next / US_PER_MS, 0);
}

static bool key_known(void *ctx, const uint8_t key[TOKEN_ID_LEN])
{
    const struct settings *s = ctx;
    return keyring_has(s->keys, key);
}

static void take_settings(struct worker *w)
{
    struct settings *next = atomic_exchange(&w->coming, NULL);
    if (next == NULL)
        return;
    struct settings *before = w->settings;
    w->settings = next;
    (void)fanout_reload(&w->fanout, next->config, key_known, next,
                        settings_judge_anew(before, next), clock_mono_us());
    public_reload(&w->public, next);
    settings_unref(before);
    tick_soon(w);
}

static void on_order(uv_async_t *async)
{
    struct worker *w = async->data;
    turns_mark(&w->turns);
    take_settings(w);
    int order = atomic_load(&w->order);
    if (order == ORDER_STOP) {
        stop_loop(w);
    } else if (order == ORDER_DRAIN && !w->stopping) {
        for (int i = 0; i < DRAIN_TURNS && take_notes(w); i++)
            ; /* nobody is sent away before what he was owed */
        fanout_drain(&w->fanout, clock_mono_us());
        (void)uv_timer_start(&w->tick, on_tick, 1, 0);
    }
}

static int start_listeners(struct worker *w)
{
    w->listeners = calloc(w->options.fd_count, sizeof *w->listeners);
    if (w->listeners == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < w->options.fd_count; i++) {
        w->listeners[i] = listener_start(&w->loop, w->options.fds[i], public_accept, &w->public);
        if (w->listeners[i] == NULL)
            return ERR_SYSTEM;
    }
    return ERR_OK;
}

static int start_loop(struct worker *w)
{
    const char *call = "uv_loop_init";
    int rc = uv_loop_init(&w->loop);
    if (rc == 0) {
        call = "uv_async_init";
        rc = uv_async_init(&w->loop, &w->orders, on_order);
    }
    if (rc != 0) {
        log_error("cannot set up a worker's loop: %s: %s", call, uv_strerror(rc));
        return ERR_SYSTEM;
    }
    turns_start(&w->turns, &w->loop, &w->metrics.turns);
    (void)uv_timer_init(&w->loop, &w->tick); /* cannot fail */
    w->orders.data = w->tick.data = w;
    return ERR_OK;
}

static int start_all(struct worker *w)
{
    const struct worker_options *o = &w->options;
    uint64_t seed;
    if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) != (ssize_t)sizeof seed)
        seed = clock_mono_us(); /* spreads retries well enough */
    int err = start_loop(w);
    if (err == ERR_OK)
        err = desk_init(&w->desk, &w->loop, w);
    if (err == ERR_OK)
        err = inbox_init(&w->inbox, &w->loop, on_inbox, w);
    if (err == ERR_OK)
        err = fanout_init(&w->fanout, w->settings->config, o->stats, &w->metrics, &replica_events,
                          w, seed);
    if (err == ERR_OK)
        err = public_init(&w->public, &w->loop, &w->fanout, o->capacity, &w->metrics, w->settings,
                          o->admin);
    w->desk.turns = w->public.http.turns = &w->turns;
    return err == ERR_OK ? start_listeners(w) : err;
}

struct worker *worker_create(const struct worker_options *options)
{
    struct worker *w = calloc(1, sizeof *w);
    int err = ERR_NOMEM;
    if (w != NULL) {
        w->options = *options;
        w->settings = settings_ref(options->settings);
        err = start_all(w);
    }
    if (err == ERR_OK)
        return w;
    log_error("cannot set up a worker: %s", err_text(err));
    return NULL;
}

struct inbox *worker_inbox(struct worker *w)
{
    return &w->inbox;
}

struct desk *worker_desk(struct worker *w)
{
    return &w->desk;
}

struct fanout *worker_fanout(struct worker *w)
{
    return &w->fanout;
}

struct public *worker_public(struct worker *w)
{
    return &w->public;
}

struct metrics *worker_metrics(struct worker *w)
{
    return &w->metrics;
}

struct recent_gaps *worker_gaps(struct worker *w)
{
    return &w->fanout.gaps;
}

static void *run(void *arg)
{
    struct worker *w = arg;
    replica_pump(&w->fanout.replica);
    on_tick(&w->tick);
    (void)uv_run(&w->loop, UV_RUN_DEFAULT);
    atomic_store(&w->ended, true);
    return NULL;
}

int worker_start(struct worker *w)
{
    sigset_t all, before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the hub's */
    int rc = pthread_create(&w->thread, NULL, run, w);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    w->started = rc == 0;
    if (rc != 0)
        log_error("cannot start a worker: pthread_create: %s", strerror(rc));
    return rc == 0 ? ERR_OK : ERR_SYSTEM;
}

static void give_order(struct worker *w, int order)
{
    if (atomic_load(&w->ended))
        return;
    atomic_store(&w->order, order);
    (void)uv_async_send(&w->orders);
}

void worker_reload(struct worker *w, struct settings *next)
{
    if (atomic_load(&w->ended))
        return;
    settings_unref(atomic_exchange(&w->coming, settings_ref(next)));
    (void)uv_async_send(&w->orders);
}

void worker_drain(struct worker *w)
{
    give_order(w, ORDER_DRAIN);
}

void worker_stop(struct worker *w)
{
    give_order(w, ORDER_STOP);
}

uint64_t worker_pulse(const struct worker *w)
{
    return atomic_load_explicit(&w->pulse, memory_order_relaxed);
}

bool worker_drained(const struct worker *w)
{
    return atomic_load(&w->drained);
}

bool worker_ended(const struct worker *w)
{
    return atomic_load(&w->ended);
}

void worker_destroy(struct worker *w)
{
    if (w == NULL)
        return;
    worker_stop(w);
    if (w->started)
        (void)pthread_join(w->thread, NULL);
    if (!w->stopping) { /* never ran */
        stop_loop(w);
        (void)uv_run(&w->loop, UV_RUN_DEFAULT);
    }
    fanout_finish(&w->fanout);
    public_finish(&w->public);
    inbox_finish(&w->inbox);
    desk_finish(&w->desk);
    (void)uv_loop_close(&w->loop);
    settings_unref(w->settings);
    settings_unref(atomic_load(&w->coming));
    free(w->listeners);
    free(w);
}
