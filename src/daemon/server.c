#include "tickerd/daemon/server.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "tickerd/base/clock.h"
#include "tickerd/base/err.h"
#include "tickerd/base/log.h"
#include "tickerd/daemon/admin.h"
#include "tickerd/daemon/capacity.h"
#include "tickerd/daemon/hub.h"
#include "tickerd/daemon/manager.h"
#include "tickerd/daemon/reload.h"
#include "tickerd/daemon/sockets.h"
#include "tickerd/daemon/state.h"
#include "tickerd/daemon/worker.h"

enum { ENDED_CHECK_MS = 10, FINISH_US = 2 * US_PER_S, FINISH_PAUSE_US = 1000 };

/* What writing state.file may take, on a slow disk. */
#define SAVE_US (60 * US_PER_S)

struct server {
    struct settings *settings;   /* at the start */
    const struct config *config; /* of these: what needs a restart is read here */
    const struct redis_tls *tls; /* NULL: none */
    uv_loop_t loop;
    struct hub *hub;
    struct worker **workers;
    uint32_t worker_count;
    struct sockets sockets;
    struct capacity capacity;
    struct admin admin;          /* what the admin listener sees of all this */
    struct worker *admin_worker; /* NULL: there is none */
    struct capacity admin_capacity;
    struct frame_stats stats;
    struct state state;
    struct reload reload;
    struct manager manager;
    uv_signal_t term, interrupt, hangup;
    uv_timer_t ended; /* looks whether the workers have ended, once they are told to */
    bool draining, closed;
};

/* Block, or let through, these signals in this thread and those it makes. */
static void mask(int how, const int *signals, size_t count)
{
    sigset_t set;
    (void)sigemptyset(&set);
    for (size_t i = 0; i < count; i++)
        (void)sigaddset(&set, signals[i]);
    (void)pthread_sigmask(how, &set, NULL);
}

static const int hangup_signal[] = {SIGHUP};

void server_hold_hangup(void)
{
    mask(SIG_BLOCK, hangup_signal, 1);
}

/* ---- the end --------------------------------------------------------------------------------- */

static void close_handles(struct server *s)
{
    if (s->closed)
        return;
    s->closed = true;
    reload_close(&s->reload);
    manager_close(&s->manager);
    hub_close(s->hub);
    /* libuv gives signals back to the kernel's default, and that would end the save. */
    static const int watched[] = {SIGTERM, SIGINT, SIGHUP};
    mask(SIG_BLOCK, watched, sizeof watched / sizeof watched[0]);
    uv_close((uv_handle_t *)&s->term, NULL);
    uv_close((uv_handle_t *)&s->interrupt, NULL);
    uv_close((uv_handle_t *)&s->hangup, NULL);
    uv_close((uv_handle_t *)&s->ended, NULL);
    uv_stop(&s->loop);
}

/* Let the loop finish closing. A name look-up that hangs cannot be cancelled; the process does not
 * wait for it. */
static bool finish_loop(struct server *s)
{
    uint64_t deadline = clock_mono_us() + FINISH_US;
    while (uv_run(&s->loop, UV_RUN_NOWAIT) != 0) {
        if (clock_mono_us() > deadline)
            return false;
        (void)usleep(FINISH_PAUSE_US);
    }
    return uv_loop_close(&s->loop) == 0;
}

static bool all_workers(const struct server *s, bool (*are)(const struct worker *w))
{
    for (uint32_t w = 0; w < s->worker_count; w++) {
        if (!are(s->workers[w]))
            return false;
    }
    return true;
}

static void stop_workers(const struct server *s)
{
    for (uint32_t w = 0; w < s->worker_count; w++)
        worker_stop(s->workers[w]);
    if (s->admin_worker != NULL)
        worker_stop(s->admin_worker);
}

/* No worker stops before all have drained, so that its socket keeps answering; the admin listener's
 * serves to the end, and nobody waits for its clients. */
static void on_ended_check(uv_timer_t *timer)
{
    struct server *s = timer->data;
    if (all_workers(s, worker_ended) && (s->admin_worker == NULL || worker_ended(s->admin_worker)))
        close_handles(s);
    else if (all_workers(s, worker_drained))
        stop_workers(s);
}

/* `by` says who wants it. The second time it is at once. */
static void end(struct server *s, const char *by)
{
    bool again = s->draining;
    s->draining = true;
    reload_close(&s->reload);
    manager_stopping(&s->manager, s->reload.running->config->drain_timeout_ms * US_PER_MS +
                                      FANOUT_GRACE_US + SAVE_US);
    if (again)
        log_info("%s again: stopping at once", by);
    else
        log_info("%s: sending the clients away over %llu ms, then stopping", by,
                 (unsigned long long)s->reload.running->config->drain_timeout_ms);
    atomic_store(&s->admin.state, ADMIN_DRAINING);
    if (again)
        stop_workers(s);
    for (uint32_t w = 0; w < s->worker_count && !again; w++)
        worker_drain(s->workers[w]);
    (void)uv_timer_start(&s->ended, on_ended_check, ENDED_CHECK_MS, ENDED_CHECK_MS);
}

static void on_end_signal(uv_signal_t *handle, int signum)
{
    end(handle->data, signum == SIGTERM ? "TERM" : "INT");
}

static void on_drain_order(void *ctx)
{
    struct server *s = ctx;
    if (!s->draining)
        end(s, "admin: drain");
}

static void on_hangup(uv_signal_t *handle, int signum)
{
    struct server *s = handle->data;
    (void)signum;
    if (s->draining)
        log_info("HUP is ignored: stopping");
    else
        reload_request(&s->reload);
}

static void reload_began(void *ctx)
{
    struct server *s = ctx;
    manager_reloading(&s->manager);
}

static void reload_ended(void *ctx, const char *problem)
{
    struct server *s = ctx;
    manager_reloaded(&s->manager, problem);
}

static void reload_admin(const struct server *s, struct settings *next)
{
    struct settings *own = settings_for_admin(next);
    if (own == NULL)
        log_error("admin: not reloaded: %s", err_text(ERR_NOMEM));
    else
        worker_reload(s->admin_worker, own);
    settings_unref(own);
}

static void apply(void *ctx, struct settings *next)
{
    struct server *s = ctx;
    const struct config *c = next->config;
    capacity_set_clients(&s->capacity, c->limits.clients);
    /* For connections that come from now on; the workers see to those that are there. */
    sockets_set_patience(&s->sockets, c->limits.write_timeout_ms);
    hub_reload(s->hub, c);
    for (uint32_t w = 0; w < s->worker_count; w++)
        worker_reload(s->workers[w], next);
    if (s->admin_worker != NULL)
        reload_admin(s, next);
}

static const struct reload_events reload_events = {reload_began, apply, reload_ended};

/* ---- the beginning --------------------------------------------------------------------------- */

static uint32_t cpu_count(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : n > WORKERS_MAX ? WORKERS_MAX : (uint32_t)n;
}

static struct worker *make_worker(struct server *s, uint32_t index,
                                  const struct worker_options *options)
{
    struct worker_options o = *options;
    o.stats = &s->stats;
    o.hub_clock = hub_clock(s->hub);
    o.to_hub = hub_inbox(s->hub, index);
    struct worker *w = worker_create(&o);
    if (w != NULL)
        hub_set_worker(s->hub, index, worker_inbox(w));
    return w;
}

static int make_admin(struct server *s)
{
    struct settings *own = settings_for_admin(s->settings);
    if (own == NULL) {
        log_error("cannot set up the admin listener: %s", err_text(ERR_NOMEM));
        return ERR_NOMEM;
    }
    s->admin.hub = s->hub;
    s->admin.workers = s->workers;
    s->admin.worker_count = s->worker_count;
    s->admin.capacity = &s->capacity;
    s->admin.reload = &s->reload;
    s->admin.drain = on_drain_order;
    s->admin.server = s;
    s->admin.config_file = s->reload.from->file;
    s->admin.listen = s->sockets.addrs;
    s->admin.listen_count = s->sockets.count;
    s->admin.address = s->sockets.admin.addr;
    capacity_init_admin(&s->admin_capacity);
    struct worker_options options = {
        .settings = own,
        .capacity = &s->admin_capacity,
        .fds = &s->sockets.admin.fd,
        .fd_count = 1,
        .fds_inherited = s->sockets.admin_inherited,
        .admin = &s->admin,
    };
    s->admin.self = s->admin_worker = make_worker(s, s->worker_count, &options);
    settings_unref(own);
    return s->admin_worker == NULL ? ERR_SYSTEM : ERR_OK;
}

static int make_workers(struct server *s)
{
    for (uint32_t w = 0; w < s->worker_count; w++) {
        struct worker_options options = {
            .settings = s->settings,
            .capacity = &s->capacity,
            .fds = sockets_of(&s->sockets, w),
            .fd_count = s->sockets.count,
            .fds_inherited = s->sockets.inherited,
        };
        s->workers[w] = make_worker(s, w, &options);
        if (s->workers[w] == NULL)
            return ERR_SYSTEM;
    }
    return s->sockets.admin.fd < 0 ? ERR_OK : make_admin(s);
}

static int watch_signal(struct server *s, uv_signal_t *handle, uv_signal_cb cb, int signum)
{
    const char *call = "uv_signal_init";
    int rc = uv_signal_init(&s->loop, handle);
    if (rc == 0) {
        handle->data = s;
        call = "uv_signal_start";
        rc = uv_signal_start(handle, cb, signum);
    }
    if (rc != 0)
        log_error("cannot watch for signals: %s: %s", call, uv_strerror(rc));
    return rc == 0 ? ERR_OK : ERR_SYSTEM;
}

static int make_all(struct server *s)
{
    s->hub = hub_create(&s->loop, s->config, s->tls,
                        s->worker_count + (s->sockets.admin.fd < 0 ? 0 : 1), &s->stats);
    if (s->hub == NULL) {
        log_error("cannot set up the hub");
        return ERR_SYSTEM;
    }
    if (make_workers(s) != ERR_OK || watch_signal(s, &s->term, on_end_signal, SIGTERM) != ERR_OK ||
        watch_signal(s, &s->interrupt, on_end_signal, SIGINT) != ERR_OK ||
        watch_signal(s, &s->hangup, on_hangup, SIGHUP) != ERR_OK)
        return ERR_SYSTEM;
    mask(SIG_UNBLOCK, hangup_signal, 1);
    (void)uv_timer_init(&s->loop, &s->ended); /* cannot fail */
    s->ended.data = s;
    return ERR_OK;
}

static void announce(const struct server *s)
{
    struct buf line = BUF_INIT;
    struct redis_url url;
    const char *why;
    sockets_announce(&s->sockets);
    if (s->config->redis.sentinels.count > 0) {
        buf_printf(&line, "master %s by %zu Sentinel%s", s->config->redis.master,
                   s->config->redis.sentinels.count,
                   s->config->redis.sentinels.count == 1 ? "" : "s");
    } else if (redis_url_parse(&url, s->config->redis.url, &why) == ERR_OK) {
        redis_url_print(&line, &url);
        redis_url_finish(&url);
    }
    log_info("tickerd %s ready: %zu listener%s, redis %s, prefix \"%s\", mode %s, %u worker%s, "
             "room for %zu streams",
             TICKERD_VERSION, s->sockets.count, s->sockets.count == 1 ? "" : "s", buf_cstr(&line),
             s->config->redis.prefix, s->config->redis.mode == REDIS_MODE_ALL ? "all" : "on-demand",
             s->worker_count, s->worker_count == 1 ? "" : "s", s->capacity.max_streams);
    buf_finish(&line);
}

static void sum_up(struct server *s)
{
    uint64_t streams = 0, deliveries = 0, gaps = 0;
    log_flush();
    for (uint32_t w = 0; w < s->worker_count; w++) {
        const struct metrics *m = worker_metrics(s->workers[w]);
        streams += metrics_get(m, METRIC_STREAMS);
        deliveries += metrics_get(m, METRIC_DELIVERIES);
        gaps += metrics_gaps(m);
    }
    log_info("stopped: %llu messages, %llu streams, %llu deliveries, %llu gaps announced",
             (unsigned long long)metrics_get(hub_metrics(s->hub), METRIC_MESSAGES),
             (unsigned long long)streams, (unsigned long long)deliveries, (unsigned long long)gaps);
}

static int allocate(struct server *s)
{
    int rc = uv_loop_init(&s->loop);
    if (rc != 0) {
        log_error("cannot start: uv_loop_init: %s", uv_strerror(rc));
        return ERR_SYSTEM;
    }
    s->workers = calloc(s->worker_count, sizeof(struct worker *));
    int err = state_init(&s->state, s->config);
    if (err == ERR_OK && s->workers != NULL)
        return ERR_OK;
    log_error("cannot start: %s", err_text(ERR_NOMEM));
    return ERR_NOMEM;
}

static void release(struct server *s)
{
    sockets_finish(&s->sockets);
    manager_finish(&s->manager);
    state_finish(&s->state);
    capacity_finish(&s->capacity);
    reload_finish(&s->reload);
    free((void *)s->workers);
}

static int run_loop(struct server *s)
{
    for (uint32_t w = 0; w < s->worker_count; w++) {
        if (worker_start(s->workers[w]) != ERR_OK)
            return EXIT_FAILURE;
    }
    if (s->admin_worker != NULL && worker_start(s->admin_worker) != ERR_OK)
        return EXIT_FAILURE;
    if (hub_start(s->hub) != ERR_OK) {
        log_error("cannot start the connection to Redis: out of memory");
        return EXIT_FAILURE;
    }
    reload_start(&s->reload);
    announce(s);
    manager_ready(&s->manager, &s->loop, s->hub, s->workers, s->worker_count, &s->capacity);
    atomic_store(&s->admin.state, ADMIN_RUNNING);
    (void)uv_run(&s->loop, UV_RUN_DEFAULT);
    return EXIT_SUCCESS;
}

int server_run(struct settings *settings, const struct redis_tls *tls,
               const struct config_source *from)
{
    const struct config *config = settings->config;
    struct server s = {.settings = settings, .config = config, .tls = tls};
    s.worker_count = config->workers == 0 ? cpu_count() : config->workers;
    (void)signal(SIGPIPE, SIG_IGN);
    manager_init(&s.manager);
    admin_init(&s.admin);
    if (sockets_init(&s.sockets, config, s.worker_count) != ERR_OK)
        return EXIT_FAILURE;
    if (capacity_init(&s.capacity, config->limits.clients, s.worker_count, s.sockets.count,
                      sockets_has_admin(&s.sockets, config)) != ERR_OK ||
        allocate(&s) != ERR_OK) {
        sockets_finish(&s.sockets);
        return EXIT_FAILURE;
    }
    reload_init(&s.reload, &s.loop, from, settings, &reload_events, &s);
    if (sockets_open(&s.sockets, config) != ERR_OK) {
        release(&s);
        (void)uv_loop_close(&s.loop);
        return EXIT_FAILURE;
    }
    if (make_all(&s) != ERR_OK) {
        release(&s);
        _exit(EXIT_FAILURE); /* nothing runs yet; hub and workers need not be taken apart */
    }
    state_load(&s.state, s.hub); /* who has connected by now waits in the kernel's queue */
    int status = run_loop(&s);
    if (status == EXIT_SUCCESS)
        sum_up(&s);
    worker_destroy(s.admin_worker); /* before those that it looks at */
    for (uint32_t w = 0; w < s.worker_count; w++)
        worker_destroy(s.workers[w]);
    close_handles(&s);
    state_save(&s.state, s.hub); /* nothing comes in any more, and nobody is told of anything */
    if (!finish_loop(&s))
        _exit(status);
    hub_destroy(s.hub);
    release(&s);
    admin_finish(&s.admin);
    return status;
}
