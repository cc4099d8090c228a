#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "redis_ctl.h"
#include "redis_errors.h"
#include "redis_replies.h"
#include "redis_where.h"
#include "tickerd/base/buf.h"
#include "tickerd/base/clock.h"
#include "tickerd/base/err.h"
#include "tickerd/base/list.h"
#include "tickerd/base/log.h"

/* The configured address and, if it is a node of a cluster, the other nodes: any of them hands on
 * what is published on any other.
 *
 * While connected, a second connection to the same node asks for the cluster's nodes and state. A
 * node may be cut off from the majority of the others and then hears nothing of what is published
 * there, without any error. (`cluster_state:fail` alone does not say that: it is also the state of
 * a cluster that misses a node with its slots, where Pub/Sub goes on among the rest, and leaving a
 * node for that would be a gap for nothing, again and again. So the masters that the node can reach
 * are counted.) The others are then asked, on a third connection, whether they are better off;
 * only to such a one do we go. Until there is one we stay, since what is published here still
 * arrives; and once the node is whole again it is left all the same, because only an outage tells
 * the clients what they missed meanwhile. */

enum { NODES_EVERY = 8 /* looks at the state */ };

struct node {
    struct addr addr;
    uint64_t failed_us; /* when it was last lost, or could not be had; 0: never since it was fine */
};

/* One control connection; its questions are answered in order. */
struct asker {
    struct redis_ctl *ctl;
    struct redis_url url; /* owned: the login, and where it goes */
    unsigned due;         /* answers */
    bool failing;         /* the node said `cluster_state:fail` */
};

struct nodes {
    struct redis_where base;
    const struct redis_where_events *events;
    void *owner;
    struct node *list; /* owned; first those of the configuration, then those learned */
    size_t count, seeds;
    struct addr at;     /* whom we are at, or tried last */
    struct addr self;   /* the same by its own account */
    struct addr better; /* whom to go to next, if `leaving` */
    bool leaving;
    unsigned attempts; /* since the last success */
    uint32_t salt;
    uint32_t interval_ms;

    struct asker home;  /* the node we are at */
    struct asker scout; /* another, while that one is cut off */
    size_t scouted;     /* index in list */
    bool cut_off;
    bool misfit; /* the log says that redis.nodes has no cluster */
    unsigned looks;
    uv_timer_t tick;
    struct redis_notice denied, unwell;
    char why[512];
};

static struct nodes *nodes_of(struct redis_where *w)
{
    return container_of(w, struct nodes, base);
}

/* ---- the list -------------------------------------------------------------------------------- */

static struct node *find(struct node *list, size_t count, const struct addr *a)
{
    for (size_t i = 0; i < count; i++) {
        if (addr_equal(&list[i].addr, a))
            return &list[i];
    }
    return NULL;
}

/* So that not all instances that lost the same node go to the same other one. */
static uint32_t rank(const struct nodes *n, size_t i)
{
    const struct addr *a = &n->list[i].addr;
    uint32_t h = n->salt ^ a->port;
    if (i < n->seeds)
        return (uint32_t)i;
    for (const char *p = a->host; *p != '\0'; p++)
        h = (h ^ (unsigned char)*p) * 16777619U;
    h ^= h >> 15; /* names and ports of neighbours differ in their last bits only */
    return h * 2246822519U | 0x80000000U;
}

static bool is_before(const struct nodes *n, size_t a, size_t b)
{
    uint64_t at_a = n->list[a].failed_us, at_b = n->list[b].failed_us;
    return at_a != at_b ? at_a < at_b : rank(n, a) < rank(n, b);
}

/* Whoever failed longest ago, or never. The addresses that were learned may be of no use from here,
 * so every other attempt goes to a configured one. */
static const struct addr *choose(const struct nodes *n)
{
    size_t best = 0, count = n->attempts % 2 == 0 ? n->count : n->seeds;
    for (size_t i = 1; i < count; i++) {
        if (is_before(n, i, best))
            best = i;
    }
    return &n->list[best].addr;
}

static void mark(struct nodes *n, const struct addr *a, uint64_t failed_us)
{
    struct node *node = find(n->list, n->count, a);
    if (node != NULL)
        node->failed_us = failed_us;
}

static void forget_learned(struct nodes *n)
{
    n->count = n->seeds;
}

/* Replaces what was learned before; what is known of the addresses stays. */
static void learn(struct nodes *n, const struct redis_cluster *c)
{
    size_t room = n->seeds + c->count;
    struct node *list = calloc(room, sizeof *list);
    if (list == NULL)
        return;
    size_t count = n->seeds;
    memcpy(list, n->list, n->seeds * sizeof *list);
    for (size_t i = 0; i < c->count; i++) {
        if (find(list, count, &c->nodes[i]) != NULL)
            continue;
        const struct node *known = find(n->list, n->count, &c->nodes[i]);
        list[count++] = (struct node){c->nodes[i], known != NULL ? known->failed_us : 0};
    }
    if (count != n->count)
        log_debug("redis: the cluster has %zu nodes; %zu addresses to choose from", c->count,
                  count);
    free(n->list);
    n->list = list;
    n->count = count;
    if (c->self < c->count)
        n->self = c->nodes[c->self];
}

/* ---- asking a node --------------------------------------------------------------------------- */

static void ask_state(struct asker *a)
{
    a->due++;
    redis_ctl_send(a->ctl, 2, (const char *[]){"CLUSTER", "INFO"}, NULL);
}

static void ask_nodes(struct asker *a)
{
    a->due++;
    redis_ctl_send(a->ctl, 2, (const char *[]){"CLUSTER", "NODES"}, NULL);
}

static void asker_close(struct asker *a)
{
    redis_ctl_close(a->ctl);
    a->due = 0;
    a->failing = false;
}

static void asker_point(struct asker *a, const struct addr *to)
{
    asker_close(a);
    a->url.addr = *to;
    redis_ctl_point(a->ctl, &a->url);
}

enum health { HEALTH_UNKNOWN, HEALTHY, FAILING, CUT_OFF };

/* What an answer says about the node. */
static enum health read_answer(struct nodes *n, struct asker *a, const redisReply *r)
{
    struct redis_cluster c;
    size_t len = (size_t)r->len;
    a->due -= a->due > 0;
    if (r->type != REDIS_REPLY_STRING)
        return HEALTH_UNKNOWN;
    enum redis_cluster_state state = redis_cluster_read_state(r->str, len);
    if (state != REDIS_STATE_NONSENSE) {
        a->failing = state == REDIS_STATE_FAIL;
        return a->failing ? FAILING : HEALTHY;
    }
    if (redis_cluster_read(&c, r->str, len, &a->url.addr) != ERR_OK)
        return HEALTH_UNKNOWN;
    if (a == &n->home && c.count > 1) /* else it has been taken out, and knows nobody any more */
        learn(n, &c);
    bool majority = redis_cluster_has_majority(&c);
    redis_cluster_finish(&c);
    if (!a->failing)
        return HEALTH_UNKNOWN; /* the state has the last word */
    return majority ? HEALTHY : CUT_OFF;
}

static void say(struct nodes *n, const char *format, const struct addr *a)
{
    struct buf text = BUF_INIT;
    addr_print(&text, a);
    (void)snprintf(n->why, sizeof n->why, format, buf_cstr(&text));
    buf_finish(&text);
}

/* ---- the node we are at ---------------------------------------------------------------------- */

/* Nobody but the configuration tells of other nodes then. */
static void denied(struct nodes *n, const redisReply *r)
{
    n->home.due -= n->home.due > 0;
    if ((size_t)r->len >= 4 && memcmp(r->str, "BUSY", 4) == 0)
        return; /* asked again at the next look */
    if (redis_notice_due(&n->denied, "denied", clock_mono_us()))
        log_warn("redis: the cluster node refused CLUSTER INFO or NODES (%.200s): other nodes are "
                 "not learned, and a node that is cut off is not found out; grant "
                 "+cluster|info +cluster|nodes",
                 r->str);
    asker_close(&n->home);
    (void)uv_timer_stop(&n->tick); /* until the next connection */
}

static void found_cut_off(struct nodes *n)
{
    if (!n->cut_off) {
        say(n,
            "redis: the cluster node %s is cut off from most of the cluster: what is published "
            "there does not arrive; looking for a better one",
            &n->at);
        log_warn("%s", n->why);
    }
    n->cut_off = true;
}

static void found_healthy(struct nodes *n)
{
    if (!n->cut_off)
        return;
    n->cut_off = false;
    n->better = n->at;
    n->leaving = true;
    say(n, "%s is with its cluster again, but what was published elsewhere meanwhile is lost",
        &n->at);
    n->events->on_changed(n->owner, n->why);
}

static void on_home_reply(void *owner, const struct redisReply *r)
{
    struct nodes *n = owner;
    if (r->type == REDIS_REPLY_ERROR) {
        denied(n, r);
        return;
    }
    enum health health = read_answer(n, &n->home, r);
    if (health == FAILING && n->home.due == 0)
        ask_nodes(&n->home); /* what does that mean? */
    if (health == CUT_OFF)
        found_cut_off(n);
    if (health == HEALTHY)
        found_healthy(n);
}

static void on_home_failed(void *owner, const char *why)
{
    struct nodes *n = owner;
    n->home.due = 0;
    if (redis_notice_due(&n->unwell, why, clock_mono_us()))
        log_warn("redis: a cluster node cannot be asked about its cluster: %s", why);
}

/* ---- a better one ---------------------------------------------------------------------------- */

static void on_scout_reply(void *owner, const struct redisReply *r)
{
    struct nodes *n = owner;
    if (read_answer(n, &n->scout, r) != HEALTHY)
        return;
    n->better = n->scout.url.addr;
    n->leaving = true;
    say(n, "it is cut off from most of its cluster, and %s is not", &n->better);
    n->events->on_changed(n->owner, n->why);
}

static void on_scout_failed(void *owner, const char *why)
{
    struct nodes *n = owner;
    (void)why;
    n->scout.due = 0;
}

/* Asks the next of the others, one at a look. */
static void send_scout(struct nodes *n)
{
    if (n->scout.due > 0)
        return;
    for (size_t i = 0; i < n->count; i++) {
        n->scouted = (n->scouted + 1) % n->count;
        const struct addr *a = &n->list[n->scouted].addr;
        if (addr_equal(a, &n->at) || addr_equal(a, &n->self))
            continue;
        asker_point(&n->scout, a);
        ask_state(&n->scout);
        ask_nodes(&n->scout);
        return;
    }
}

static void look(struct nodes *n)
{
    if (n->home.due == 0) {
        ask_state(&n->home);
        if (n->home.failing || n->looks++ % NODES_EVERY == 0)
            ask_nodes(&n->home);
    }
    if (n->cut_off)
        send_scout(n);
}

static void on_tick(uv_timer_t *tick)
{
    look(tick->data);
}

/* ---- the ops --------------------------------------------------------------------------------- */

static void ask(struct redis_where *w)
{
    struct nodes *n = nodes_of(w);
    struct addr next = n->leaving ? n->better : *choose(n);
    n->leaving = false;
    n->attempts++;
    n->at = n->self = next;
    n->events->on_found(n->owner, &next);
}

static int greeted(struct redis_where *w, const struct redis_hello *hello, const char **why)
{
    struct nodes *n = nodes_of(w);
    if (hello->kind == REDIS_SENTINEL) {
        *why = redis_is_sentinel;
        return ERR_INVALID;
    }
    if (hello->kind == REDIS_KIND_UNKNOWN) /* as it was, then */
        return ERR_OK;
    w->many_orders = hello->kind == REDIS_CLUSTER_NODE;
    if (w->many_orders)
        return ERR_OK;
    forget_learned(n);
    if (n->seeds > 1 && !n->misfit) {
        n->misfit = true;
        say(n,
            "redis: redis.nodes is set, but %s is no node of a cluster: what is published on "
            "the others does not arrive",
            &n->at);
        log_warn("%s", n->why);
    }
    return ERR_OK;
}

static void up(struct redis_where *w)
{
    struct nodes *n = nodes_of(w);
    n->attempts = 0;
    mark(n, &n->at, 0);
    if (!w->many_orders)
        return;
    n->looks = 0;
    asker_point(&n->home, &n->at);
    (void)uv_timer_start(&n->tick, on_tick, 0, n->interval_ms);
}

static void down(struct redis_where *w)
{
    struct nodes *n = nodes_of(w);
    uint64_t now = clock_mono_us();
    mark(n, &n->at, now);
    mark(n, &n->self, now);
    n->cut_off = false;
    (void)uv_timer_stop(&n->tick);
    asker_close(&n->home);
    asker_close(&n->scout);
}

static void release(struct nodes *n)
{
    redis_url_finish(&n->home.url);
    redis_url_finish(&n->scout.url);
    free(n->list);
    free(n);
}

static void on_closed(uv_handle_t *handle)
{
    release(handle->data);
}

static void close_all(struct redis_where *w)
{
    struct nodes *n = nodes_of(w);
    redis_ctl_destroy(n->home.ctl);
    redis_ctl_destroy(n->scout.ctl);
    uv_close((uv_handle_t *)&n->tick, on_closed);
}

static int copy_options(struct nodes *n, const struct redis_options *options)
{
    n->list = calloc(1 + options->node_count, sizeof *n->list);
    if (n->list == NULL || redis_url_copy(&n->home.url, options->url) != ERR_OK ||
        redis_url_copy(&n->scout.url, options->url) != ERR_OK)
        return ERR_NOMEM;
    n->list[n->count++].addr = options->url->addr;
    for (size_t i = 0; i < options->node_count; i++) {
        if (find(n->list, n->count, &options->nodes[i]) == NULL)
            n->list[n->count++].addr = options->nodes[i];
    }
    n->seeds = n->count;
    return ERR_OK;
}

struct redis_where *redis_nodes_create(uv_loop_t *loop, const struct redis_options *options,
                                       const struct redis_where_events *events, void *owner)
{
    static const struct redis_where_ops ops = {
        .ask = ask, .greeted = greeted, .up = up, .down = down, .close = close_all};
    static const struct redis_ctl_events home = {on_home_reply, on_home_failed};
    static const struct redis_ctl_events scout = {on_scout_reply, on_scout_failed};
    struct nodes *n = calloc(1, sizeof *n);
    if (n == NULL)
        return NULL;
    if (copy_options(n, options) == ERR_OK) {
        n->home.ctl =
            redis_ctl_create(loop, options->tls, options->ping_timeout_ms, "redis.url", &home, n);
        n->scout.ctl =
            redis_ctl_create(loop, options->tls, options->ping_timeout_ms, "redis.url", &scout, n);
    }
    if (n->home.ctl == NULL || n->scout.ctl == NULL) {
        redis_ctl_destroy(n->home.ctl);
        redis_ctl_destroy(n->scout.ctl);
        release(n);
        return NULL;
    }
    n->base.ops = &ops;
    n->events = events;
    n->owner = owner;
    n->salt = (uint32_t)clock_mono_us();
    n->interval_ms = redis_where_interval_ms(options);
    (void)uv_timer_init(loop, &n->tick);
    n->tick.data = n;
    return &n->base;
}
