#include "tickerd/daemon/held.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "tickerd/daemon/admin.h"

struct held {
    struct errand errand; /* to the listener's thread, with the answer */
    struct admin *admin;
    struct public *public; /* that thread's, and gone with it: not for others */
    struct conn *conn;
    _Atomic bool gone; /* the connection */
    enum http_method method;
    int status;
    struct buf body;
};

static struct held *held_of(struct errand *e)
{
    return (struct held *)(void *)e;
}

static void destroy(struct held *h)
{
    buf_finish(&h->body);
    free(h);
}

static bool run(struct errand *e, void *ctx)
{
    struct held *h = held_of(e);
    struct exchange x = {.p = h->public, .conn = h->conn, .method = h->method};
    (void)ctx;
    if (atomic_load(&h->gone))
        ;
    else if (h->body.failed)
        answer_no_memory(&x, NULL);
    else
        answer_body(&x, h->status, "application/json", "", h->body.data, h->body.len);
    destroy(h);
    return true;
}

/* The listener has closed, and with it every connection. */
static void cancel(struct errand *e)
{
    destroy(held_of(e));
}

struct held *held_create(struct exchange *x)
{
    struct held *h = calloc(1, sizeof *h);
    if (h == NULL) {
        answer_no_memory(x, NULL);
        return NULL;
    }
    h->errand = (struct errand){.run = run, .cancel = cancel};
    h->admin = x->p->admin;
    h->public = x->p;
    h->conn = x->conn;
    h->method = x->method;
    http1_hold(x->conn, h);
    return h;
}

static void post(struct held *h)
{
    admin_post(h->admin, &h->errand);
}

void held_answer(struct held *h, int status, struct buf *json)
{
    h->status = status;
    h->body = *json;
    *json = (struct buf)BUF_INIT;
    post(h);
}

void held_error(struct held *h, int status, const char *code, const char *message)
{
    h->status = status;
    answer_put_error(&h->body, code, message);
    post(h);
}

void held_no_memory(struct held *h)
{
    h->body.failed = true;
    post(h);
}

void held_gone(struct held *h)
{
    atomic_store(&h->gone, true);
}

bool held_is_gone(const struct held *h)
{
    return atomic_load(&h->gone);
}

void held_drop(struct held *h)
{
    destroy(h);
}
