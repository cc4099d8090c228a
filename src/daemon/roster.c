#include "roster_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tickerd/base/err.h"
#include "tickerd/wire/query.h"

/* ---- the way --------------------------------------------------------------------------------- */

static void post(struct roster *r)
{
    switch (*r->leg) {
    case LEG_WORKERS:
        desk_post(worker_desk(r->admin->workers[r->worker]), &r->errand);
        break;
    case LEG_HUB:
        desk_post(hub_desk(r->admin->hub), &r->errand);
        break;
    case LEG_HOME:
    case LEG_END:
        admin_post(r->admin, &r->errand);
        break;
    }
}

/* Returns whether all is done here. */
static bool look_around(struct roster *r)
{
    switch (*r->leg) {
    case LEG_WORKERS:
        return r->kind->at_worker(r, r->admin->workers[r->worker]);
    case LEG_HUB:
        return r->kind->at_hub(r, hub_registry(r->admin->hub));
    case LEG_HOME:
        r->kind->at_home(r);
        break;
    case LEG_END:
        break;
    }
    return true;
}

static void go_home(struct roster *r)
{
    static const enum roster_leg end = LEG_END;
    r->leg = &end;
}

static void go_on(struct roster *r)
{
    r->kind->leave(r);
    if (r->failed || held_is_gone(r->held))
        go_home(r);
    else if (*r->leg != LEG_WORKERS || ++r->worker == r->admin->worker_count)
        r->leg++;
    post(r);
}

static void destroy(struct roster *r)
{
    r->kind->clear(r);
    free(r);
}

static void deliver(struct roster *r)
{
    struct buf json = BUF_INIT;
    if (!r->failed && !held_is_gone(r->held))
        r->kind->print(r, &json);
    if (r->failed)
        held_no_memory(r->held);
    else
        held_answer(r->held, 200, &json);
    destroy(r);
}

static bool run(struct errand *e, void *ctx)
{
    struct roster *r = container_of(e, struct roster, errand);
    (void)ctx; /* is the place */
    if (*r->leg == LEG_END) {
        deliver(r);
        return true;
    }
    if (!held_is_gone(r->held) && !look_around(r) && !r->failed)
        return false;
    go_on(r);
    return true;
}

/* The place has closed, and it goes home; unless that is what has closed. Then it must not be
 * posted there, and nobody waits any more. */
static void on_closed(struct errand *e)
{
    struct roster *r = container_of(e, struct roster, errand);
    if (*r->leg == LEG_END || *r->leg == LEG_HOME) {
        held_drop(r->held);
        destroy(r);
        return;
    }
    r->failed = true;
    go_on(r);
}

static struct roster *create(const struct roster_kind *kind, struct roster_query *q)
{
    struct roster *r = calloc(1, kind->size);
    if (r == NULL) {
        roster_no_memory(q);
        return NULL;
    }
    r->errand = (struct errand){.run = run, .cancel = on_closed};
    r->kind = kind;
    kind->read(r, q);
    buf_finish(&q->value);
    if (!q->failed)
        return r;
    destroy(r);
    return NULL;
}

void roster_begin(const struct roster_kind *kind, struct exchange *x, struct http_slice query)
{
    struct roster_query q = {.text = query};
    struct roster *r = create(kind, &q);
    if (r == NULL) {
        answer_error(x, q.why.status, q.why.code, q.why.message, "");
        return;
    }
    r->admin = x->p->admin;
    r->held = held_create(x);
    if (r->held == NULL)
        destroy(r);
    else
        post(r);
}

/* ---- the query ------------------------------------------------------------------------------- */

bool roster_param(struct roster_query *q, const char *name)
{
    int err = query_find(q->text.p, q->text.len, name, &q->value);
    if (err == ERR_INVALID)
        roster_refuse(q, name, "percent-encoded: % and two hexadecimal digits");
    if (err == ERR_NOMEM)
        roster_no_memory(q);
    return err == ERR_OK && q->value.len > 0;
}

void roster_refuse(struct roster_query *q, const char *name, const char *allowed)
{
    if (q->failed)
        return;
    q->failed = true;
    q->why.status = 400;
    q->why.code = "bad_parameter";
    (void)snprintf(q->why.message, sizeof q->why.message, "The parameter %s must be %s.", name,
                   allowed);
}

void roster_no_memory(struct roster_query *q)
{
    if (q->failed)
        return;
    q->failed = true;
    q->why.status = 503;
    q->why.code = "overloaded";
    (void)snprintf(q->why.message, sizeof q->why.message, "Out of memory; come back later.");
}

uint32_t roster_limit(struct roster_query *q)
{
    if (!roster_param(q, "limit"))
        return ROSTER_LIMIT;
    uint32_t n = 0;
    bool good = q->value.len <= 4;
    for (size_t i = 0; good && i < q->value.len; i++) {
        char c = q->value.data[i];
        good = c >= '0' && c <= '9';
        n = n * 10 + (uint32_t)(c - '0');
    }
    if (!good || n == 0 || n > ROSTER_LIMIT_MAX)
        roster_refuse(q, "limit", "a whole number from 1 to 1000");
    return n;
}

void roster_put_text(struct buf *out, const char *text, size_t len)
{
    buf_byte(out, '"');
    buf_json(out, text, len);
    buf_byte(out, '"');
}
