#include "tickerd/daemon/admin.h"

#include <string.h>

#include "tickerd/base/clock.h"
#include "tickerd/base/err.h"
#include "tickerd/daemon/admin_guard.h"
#include "tickerd/daemon/admin_metrics.h"
#include "tickerd/daemon/orders.h"
#include "tickerd/daemon/roster.h"
#include "tickerd/daemon/status.h"
#include "tickerd/daemon/ui.h"
#include "tickerd/daemon/worker.h"

/* The page's scripts and styles are its own files, and it talks to this listener only. */
static const char policy[] =
    "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'\r\n";

static void answer_asset(struct exchange *x, const struct ui_asset *asset)
{
    answer_body(x, 200, asset->type, policy, asset->bytes, asset->len);
}

static void answer_ready(struct exchange *x, struct http_slice query)
{
    (void)query;
    if (atomic_load(&x->p->admin->state) == ADMIN_DRAINING)
        answer_error(x, 503, "draining", "The server is shutting down.", "");
    else
        public_answer_ready(x);
}

/* ---- routes ---------------------------------------------------------------------------------- */

static const struct route {
    enum http_method method;
    const char *path;
    admin_handler *handler;
} routes[] = {
    /* clang-format off */
    {HTTP_M_GET, "/channels", roster_channels},
    {HTTP_M_GET, "/clients", roster_clients},
    {HTTP_M_GET, "/metrics", admin_metrics},
    {HTTP_M_GET, "/readyz", answer_ready},
    {HTTP_M_GET, "/status", status_answer},
    {HTTP_M_POST, "/disconnect", orders_disconnect},
    {HTTP_M_POST, "/drain", orders_drain},
    {HTTP_M_POST, "/publish", orders_publish},
    {HTTP_M_POST, "/reload", orders_reload},
    /* clang-format on */
};

/* Whether the method is the route's; a HEAD is a GET without the body. */
static bool takes(enum http_method method, enum http_method asked)
{
    return asked == method || (asked == HTTP_M_HEAD && method == HTTP_M_GET);
}

static void refuse_method(struct exchange *x, enum http_method method)
{
    if (method == HTTP_M_GET)
        answer_error(x, 405, "method_not_allowed", "Only GET and HEAD are allowed here.",
                     "Allow: GET, HEAD\r\n");
    else
        answer_error(x, 405, "method_not_allowed", "This is an order: it needs a POST.",
                     "Allow: POST\r\n");
}

static const struct route *find_route(const struct target_parts *t)
{
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++) {
        if (strlen(routes[i].path) == t->path_len &&
            memcmp(routes[i].path, t->path, t->path_len) == 0)
            return &routes[i];
    }
    return NULL;
}

/* ---- guards ---------------------------------------------------------------------------------- */

static void refuse_host(struct exchange *x, struct http_slice host)
{
    struct buf message = BUF_INIT;
    buf_str(&message, "The admin listener does not answer to the name \"");
    buf_append(&message, host.p, host.len);
    buf_str(&message, "\": call it by its IP address or as localhost, or add the name to "
                      "admin_hosts.");
    answer_error(x, 421, "misdirected", buf_cstr(&message), "");
    buf_finish(&message);
}

/* Whether the request may go on; if not, that has been said. A browser always names a host, so who
 * does not (HTTP/1.0) is none. */
static bool pass_guards(struct exchange *x)
{
    const struct admin *a = x->p->admin;
    struct http_slice host = httpreq_header(x->request, HTTPREQ_HOST);
    if (!a->address.is_unix && host.p != NULL &&
        !admin_host_fits(&x->p->config->admin_hosts, host)) {
        refuse_host(x, host);
        return false;
    }
    bool reads = x->method == HTTP_M_GET || x->method == HTTP_M_HEAD;
    if (reads || admin_order_fits(x->request))
        return true;
    answer_error(x, 403, "foreign_origin", "Orders may only come from this listener's own pages.",
                 "");
    return false;
}

/* ---- errands --------------------------------------------------------------------------------- */

void admin_init(struct admin *a)
{
    (void)pthread_mutex_init(&a->lock, NULL); /* cannot fail on Linux */
    a->started_us = clock_mono_us();
    a->started_wall_us = clock_wall_us();
}

void admin_finish(struct admin *a)
{
    (void)pthread_mutex_destroy(&a->lock);
}

void admin_post(struct admin *a, struct errand *e)
{
    (void)pthread_mutex_lock(&a->lock);
    bool closed = a->closed;
    if (!closed)
        desk_post(worker_desk(a->self), e);
    (void)pthread_mutex_unlock(&a->lock);
    if (closed)
        e->cancel(e);
}

void admin_close(struct admin *a)
{
    (void)pthread_mutex_lock(&a->lock);
    a->closed = true;
    (void)pthread_mutex_unlock(&a->lock);
}

/* ---- public ---------------------------------------------------------------------------------- */

bool admin_answers(struct exchange *x)
{
    struct http_slice text = httpreq_target(x->request);
    struct target_parts parts;
    struct target_error malformed;
    struct ui_asset asset;
    if (!pass_guards(x))
        return true;
    if (target_split(&parts, text.p, text.len, &malformed) != ERR_OK)
        return false; /* the public listener says what is wrong */
    const struct route *route = find_route(&parts);
    bool file = route == NULL && ui_find(&asset, parts.path, parts.path_len);
    if (route == NULL && !file)
        return false;
    enum http_method method = file ? HTTP_M_GET : route->method;
    if (!takes(method, x->method))
        refuse_method(x, method);
    else if (file)
        answer_asset(x, &asset);
    else
        route->handler(x, (struct http_slice){parts.query, parts.query_len});
    return true;
}
