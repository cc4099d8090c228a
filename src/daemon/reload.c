#include "tickerd/daemon/reload.h"

#include <string.h>

#include "tickerd/base/clock.h"
#include "tickerd/base/err.h"
#include "tickerd/base/log.h"

static void start(struct reload *r);

void reload_init(struct reload *r, uv_loop_t *loop, const struct config_source *from,
                 struct settings *running, const struct reload_events *events, void *ctx)
{
    *r = (struct reload){.loop = loop, .from = from, .events = events, .ctx = ctx};
    r->running = settings_ref(running);
    r->past.loaded_us = clock_wall_us();
    (void)pthread_mutex_init(&r->lock, NULL); /* cannot fail on Linux */
}

void reload_finish(struct reload *r)
{
    buf_finish(&r->past_errors);
    (void)pthread_mutex_destroy(&r->lock);
    settings_unref(r->running);
    r->running = NULL;
}

/* ---- in the pool ----------------------------------------------------------------------------- */

static void read_again(uv_work_t *work)
{
    struct reload *r = work->data;
    struct config *config = config_build(r->from, &r->errors);
    if (config == NULL)
        return;
    if (config_adopt(config, r->running->config, &r->changes) == ERR_OK) {
        r->next = settings_create(config, &r->errors);
        return;
    }
    buf_printf(&r->errors, "%s\n", err_text(ERR_NOMEM));
    config_destroy(config);
}

/* ---- on the loop ----------------------------------------------------------------------------- */

static void refuse(struct buf *errors)
{
    size_t problems = 0;
    for (size_t i = 0; i < errors->len; i++)
        problems += errors->data[i] == '\n';
    log_lines(LOG_ERROR, buf_cstr(errors));
    log_each(LOG_ERROR, "not reloaded: %zu problem%s; the configuration in force stays as it is",
             problems, problems == 1 ? "" : "s");
}

/* Keys of tokens are told apart by what they are, so that a file that was replaced by another shows
 * although its name is the same. */
static void describe_keys(struct buf *out, const struct keyring *before, const struct keyring *now)
{
    size_t added = keyring_beyond(now, before), removed = keyring_beyond(before, now);
    if (keyring_count(now) == 0 && removed == 0)
        return;
    buf_printf(out, "; keys: %zu", keyring_count(now));
    if (added > 0)
        buf_printf(out, ", %zu added", added);
    if (removed > 0)
        buf_printf(out, ", %zu removed", removed);
}

static void describe(struct buf *out, const struct reload *r)
{
    const struct config_changes *c = &r->changes;
    size_t changed = c->applied_count + keyring_beyond(r->next->keys, r->running->keys) +
                     keyring_beyond(r->running->keys, r->next->keys);
    buf_str(out, "reloaded: ");
    if (c->applied_count == 0)
        buf_str(out, changed == 0 ? "nothing changed" : "no setting changed");
    else
        buf_printf(out, "%zu key%s changed: ", c->applied_count, c->applied_count == 1 ? "" : "s");
    for (size_t i = 0; i < c->applied_count; i++)
        buf_printf(out, "%s%s", i == 0 ? "" : ", ", c->applied[i]);
    describe_keys(out, r->running->keys, r->next->keys);
}

static void put_into_force(struct reload *r, struct reload_result *result)
{
    struct settings *next = r->next, *before = r->running;
    struct buf line = BUF_INIT;
    result->ok = true;
    result->changes = r->changes;
    result->keys_added = keyring_beyond(next->keys, before->keys);
    result->keys_removed = keyring_beyond(before->keys, next->keys);
    describe(&line, r);
    for (size_t i = 0; i < r->changes.fixed_count; i++)
        log_each(LOG_WARN, "%s has changed, which needs a restart: the value in force stays",
                 r->changes.fixed[i]);
    r->events->apply(r->ctx, next);
    bool said = log_enabled(LOG_INFO); /* as long as one of the two levels allows it */
    if (said)
        log_info("%s", buf_cstr(&line));
    log_setup(next->config->log.level, next->config->log.format);
    if (!said)
        log_info("%s", buf_cstr(&line));
    r->running = next;
    settings_unref(before);
    buf_finish(&line);
}

static void tell(struct reload_waiter **list, const struct reload_result *result)
{
    struct reload_waiter *w = *list, *next;
    *list = NULL;
    for (; w != NULL; w = next) {
        next = w->next;
        w->done(w, result);
    }
}

static void note(struct reload *r, const struct reload_result *result)
{
    (void)pthread_mutex_lock(&r->lock);
    r->past.last = *result;
    r->past.reloads += result->ok;
    if (result->ok)
        r->past.loaded_us = result->at_us;
    buf_reset(&r->past_errors);
    buf_str(&r->past_errors, result->errors);
    (void)pthread_mutex_unlock(&r->lock);
}

static void conclude(struct reload *r, const struct reload_result *result)
{
    note(r, result);
    r->events->ended(r->ctx, result->ok ? NULL : result->errors);
    tell(&r->served, result);
}

static void on_read(uv_work_t *work, int status)
{
    struct reload *r = work->data;
    struct reload_result result = {.at_us = clock_wall_us()};
    struct buf errors = r->errors;
    r->errors = (struct buf)BUF_INIT;
    if (r->closed || status != 0)
        settings_unref(r->next);
    else if (r->next == NULL)
        refuse(&errors);
    else
        put_into_force(r, &result);
    r->next = NULL;
    r->busy = false;
    result.errors = result.ok ? "" : buf_cstr(&errors);
    if (!r->closed)
        conclude(r, &result);
    buf_finish(&errors);
    if (r->again && !r->closed)
        start(r);
}

static void start(struct reload *r)
{
    r->again = false;
    r->next = NULL;
    r->work.data = r;
    r->served = r->waiting;
    r->waiting = NULL;
    r->events->began(r->ctx);
    int rc = uv_queue_work(r->loop, &r->work, read_again, on_read);
    r->busy = rc == 0;
    if (rc == 0)
        return;
    log_error("not reloaded: uv_queue_work: %s", uv_strerror(rc));
    struct reload_result result = {.at_us = clock_wall_us(), .errors = uv_strerror(rc)};
    conclude(r, &result);
}

static void do_nothing(uv_work_t *work)
{
    (void)work;
}

static void on_nothing(uv_work_t *work, int status)
{
    (void)work;
    (void)status;
}

void reload_start(struct reload *r)
{
    (void)uv_queue_work(r->loop, &r->first, do_nothing, on_nothing);
}

void reload_request(struct reload *r)
{
    if (r->closed)
        return;
    if (r->busy)
        r->again = true;
    else
        start(r);
}

void reload_ask(struct reload *r, struct reload_waiter *w)
{
    w->next = r->waiting;
    r->waiting = w;
    if (r->closed)
        tell(&r->waiting, NULL);
    reload_request(r);
}

void reload_look(struct reload *r, struct reload_past *out, struct buf *errors)
{
    (void)pthread_mutex_lock(&r->lock);
    *out = r->past;
    buf_append(errors, r->past_errors.data, r->past_errors.len);
    (void)pthread_mutex_unlock(&r->lock);
    out->last.errors = buf_cstr(errors);
}

void reload_close(struct reload *r)
{
    if (r->busy && !r->closed)
        (void)uv_cancel((uv_req_t *)&r->work);
    r->closed = true;
    tell(&r->served, NULL);
    tell(&r->waiting, NULL);
}
