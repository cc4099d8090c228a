#include "redis_replies.h"

#include <hiredis/hiredis.h>
#include <stdlib.h>
#include <string.h>

#include "redis_resp.h"
#include "tickerd/base/err.h"

typedef struct resp_slice slice;

/* ---- small readers --------------------------------------------------------------------------- */

static bool read_port(uint16_t *port, slice s)
{
    unsigned value = 0;
    if (s.n == 0 || s.n > 5)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
        value = value * 10 + (unsigned)(s.p[i] - '0');
    }
    *port = (uint16_t)value;
    return value > 0 && value <= UINT16_MAX;
}

/* A name or an address, v6 without brackets. It only has to be fit for a look-up and for logs. */
static bool read_host(char host[ADDR_HOST_MAX + 1], slice s)
{
    if (s.n == 0 || s.n > ADDR_HOST_MAX)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool word = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!word && memchr(".:-_%", c, 5) == NULL)
            return false;
    }
    memcpy(host, s.p, s.n);
    host[s.n] = '\0';
    return true;
}

static bool read_addr(struct addr *a, slice host, slice port)
{
    memset(a, 0, sizeof *a);
    return read_host(a->host, host) && read_port(&a->port, port);
}

/* Takes what is before the separator, or all, off the front of *rest. */
static slice cut(slice *rest, char separator)
{
    const char *at = rest->n > 0 ? memchr(rest->p, separator, rest->n) : NULL;
    size_t n = at == NULL ? rest->n : (size_t)(at - rest->p);
    slice word = {rest->p, n};
    rest->p += at == NULL ? n : n + 1;
    rest->n -= at == NULL ? n : n + 1;
    return word;
}

static slice line_of(slice *text)
{
    slice line = cut(text, '\n');
    if (line.n > 0 && line.p[line.n - 1] == '\r')
        line.n--;
    return line;
}

/* ---- Sentinel -------------------------------------------------------------------------------- */

static bool is_text(const redisReply *r)
{
    return r->type == REDIS_REPLY_STRING || r->type == REDIS_REPLY_STATUS;
}

static slice slice_of(const redisReply *r)
{
    return is_text(r) ? (slice){r->str, (size_t)r->len} : (slice){"", 0};
}

enum redis_master_answer redis_read_master(const struct redisReply *r, struct addr *master)
{
    if (r->type == REDIS_REPLY_NIL)
        return REDIS_MASTER_NIL;
    if (r->type == REDIS_REPLY_ERROR)
        return REDIS_MASTER_ERROR;
    if (r->type != REDIS_REPLY_ARRAY || r->elements != 2 ||
        !read_addr(master, slice_of(r->element[0]), slice_of(r->element[1])))
        return REDIS_MASTER_NONSENSE;
    return REDIS_MASTER_AT;
}

bool redis_read_switch(const struct redisReply *r, const char *master, struct addr *to)
{
    if (r->type != REDIS_REPLY_ARRAY || r->elements != 3 ||
        !resp_is(slice_of(r->element[0]), "message") ||
        !resp_is(slice_of(r->element[1]), "+switch-master"))
        return false;
    /* <name> <old host> <old port> <new host> <new port> */
    slice rest = slice_of(r->element[2]);
    slice name = cut(&rest, ' ');
    (void)cut(&rest, ' ');
    (void)cut(&rest, ' ');
    slice host = cut(&rest, ' ');
    return resp_is(name, master) && read_addr(to, host, rest);
}

bool redis_is_subscribed(const struct redisReply *r)
{
    return r->type == REDIS_REPLY_ARRAY && r->elements == 3 &&
           resp_is(slice_of(r->element[0]), "subscribe");
}

/* ---- Cluster --------------------------------------------------------------------------------- */

struct node {
    struct addr addr;
    bool usable, self, voter, failing;
};

static bool has_flag(slice flags, const char *flag)
{
    while (flags.n > 0) {
        if (resp_is(cut(&flags, ','), flag))
            return true;
    }
    return false;
}

/* `host:port@bus-port[,hostname[,…]]`. The host may be missing, where a node was never told its
 * own address, or be `?`. */
static bool read_node_addr(struct addr *a, slice s, const struct addr *via)
{
    slice endpoint = cut(&s, ',');
    slice hostname = cut(&s, ',');
    endpoint = cut(&endpoint, '@');
    size_t colon = endpoint.n;
    while (colon > 0 && endpoint.p[colon - 1] != ':') /* v6 has no brackets here */
        colon--;
    if (colon == 0)
        return false;
    slice host = {endpoint.p, colon - 1};
    slice port = {endpoint.p + colon, endpoint.n - colon};
    if (host.n > 0 && !resp_is(host, "?"))
        return read_addr(a, host, port);
    if (read_addr(a, hostname, port))
        return true;
    if (via->is_unix)
        return false;
    *a = *via;
    return read_port(&a->port, port);
}

/* `<id> <address> <flags> <master> <ping> <pong> <epoch> <link> <slot> …` */
static bool read_node(struct node *node, slice line, const struct addr *via)
{
    slice id = cut(&line, ' ');
    slice where = cut(&line, ' ');
    slice flags = cut(&line, ' ');
    if (id.n == 0 || where.n == 0 || flags.n == 0)
        return false;
    for (int i = 0; i < 4; i++)
        (void)cut(&line, ' ');
    slice link = cut(&line, ' ');
    if (!resp_is(link, "connected") && !resp_is(link, "disconnected"))
        return false;
    node->self = has_flag(flags, "myself");
    bool failed = has_flag(flags, "fail");
    node->failing = failed || has_flag(flags, "fail?");
    node->voter = has_flag(flags, "master") && line.n > 0;
    node->usable = !failed && !has_flag(flags, "noaddr") && !has_flag(flags, "handshake") &&
                   read_node_addr(&node->addr, where, via);
    return true;
}

static void add_node(struct redis_cluster *c, const struct node *node)
{
    c->voters += node->voter;
    c->reached += node->voter && !node->failing;
    if (!node->usable || c->count == REDIS_NODES_MAX)
        return;
    if (node->self)
        c->self = c->count;
    c->nodes[c->count++] = node->addr;
}

int redis_cluster_read(struct redis_cluster *c, const char *text, size_t len,
                       const struct addr *via)
{
    slice rest = {text, len};
    bool sense = false;
    *c = (struct redis_cluster){.self = REDIS_NODES_MAX};
    c->nodes = calloc(REDIS_NODES_MAX, sizeof *c->nodes);
    if (c->nodes == NULL)
        return ERR_NOMEM;
    while (rest.n > 0) {
        struct node node;
        slice line = line_of(&rest);
        if (!read_node(&node, line, via))
            continue;
        sense = true;
        add_node(c, &node);
    }
    if (c->self == REDIS_NODES_MAX)
        c->self = c->count;
    if (!sense)
        redis_cluster_finish(c);
    return sense ? ERR_OK : ERR_INVALID;
}

void redis_cluster_finish(struct redis_cluster *c)
{
    free(c->nodes);
    *c = (struct redis_cluster){.nodes = NULL};
}

bool redis_cluster_has_majority(const struct redis_cluster *c)
{
    /* One that knows neither masters nor anybody else has been taken out (CLUSTER RESET). */
    return c->voters == 0 ? c->count > 1 : c->reached > c->voters / 2;
}

enum redis_cluster_state redis_cluster_read_state(const char *text, size_t len)
{
    slice rest = {text, len};
    while (rest.n > 0) {
        slice line = line_of(&rest);
        slice name = cut(&line, ':');
        if (resp_is(name, "cluster_state"))
            return resp_is(line, "ok") ? REDIS_STATE_OK : REDIS_STATE_FAIL;
    }
    return REDIS_STATE_NONSENSE;
}
