/* The list of clients, oldest first. A page ends at a client, and the next one goes on behind him:
 * by when his stream was opened and, among those of the same microsecond, by his worker. So a page
 * neither leaves out nor repeats anybody because others came or went. */
#include <stdlib.h>
#include <string.h>

#include "roster_internal.h"
#include "tickerd/base/clock.h"
#include "tickerd/base/err.h"
#include "tickerd/broker/roster.h"
#include "tickerd/daemon/client.h"
#include "tickerd/daemon/roster.h"
#include "tickerd/wire/topic.h"

/* How many sessions are passed by without looking at the clock. */
enum { CLOCK_EVERY = 64 };

struct place {
    uint64_t since_us;
    uint32_t worker;
};

/* A line of the list: its text in `clients.text`. */
struct line {
    struct place place;
    size_t at, len;
};

struct clients {
    struct roster base;
    struct place after;
    struct buf channel, sub; /* who is wanted; empty: anybody */
    struct netaddr address;
    bool of_address, chosen; /* by any of these three */
    struct walker walker;
    bool walking;
    uint32_t limit;     /* of lines; one more is gathered, to know whether there is more */
    struct line *lines; /* room for two lists */
    size_t count, found_here;
    uint64_t bound_us; /* later ones are not on this page */
    uint64_t total;
    struct buf text;
};

static struct clients *clients_of(struct roster *r)
{
    return container_of(r, struct clients, base);
}

/* ---- at a worker ----------------------------------------------------------------------------- */

static struct netaddr address_of(const struct session *s)
{
    const struct conn *conn = http1_conn(s->transport);
    const struct client *client = http1_user(conn);
    return client != NULL ? *client_address(client) : http1_peer(conn);
}

static bool equals(const struct buf *wanted, const char *text)
{
    return text != NULL && strlen(text) == wanted->len &&
           memcmp(text, wanted->data, wanted->len) == 0;
}

static bool is_wanted(const struct clients *c, const struct session *s)
{
    if (c->channel.len > 0 && !session_names(s, c->channel.data, c->channel.len))
        return false;
    if (c->sub.len > 0 && !equals(&c->sub, session_subject(s)))
        return false;
    struct netaddr address;
    if (c->of_address)
        address = address_of(s);
    return !c->of_address || netaddr_equal(&address, &c->address);
}

static bool is_behind(const struct place *a, const struct place *b)
{
    return a->since_us > b->since_us || (a->since_us == b->since_us && a->worker > b->worker);
}

static void add_line(struct clients *c, const struct session *s)
{
    char text[NETADDR_TEXT_MAX];
    struct netaddr address = address_of(s);
    struct line *line = &c->lines[c->count++];
    *line = (struct line){.place = {s->started_us, c->base.worker}, .at = c->text.len};
    session_put_json(&c->text, s, netaddr_print(&address, text), c->base.worker);
    line->len = c->text.len - line->at;
    c->found_here++;
    c->base.failed = c->text.failed;
}

/* Returns whether a line was added. */
static bool look(struct clients *c, const struct session *s)
{
    const struct place here = {s->started_us, c->base.worker};
    if (!is_wanted(c, s))
        return false;
    c->total += c->chosen ? 1 : 0;
    if (!is_behind(&here, &c->after) || here.since_us >= c->bound_us || c->found_here > c->limit)
        return false;
    add_line(c, s);
    return true;
}

/* Whether nothing more can be learnt here. */
static bool had_enough(const struct clients *c, const struct session *s)
{
    return !c->chosen && (c->found_here > c->limit || s->started_us >= c->bound_us);
}

static bool at_worker(struct roster *r, struct worker *w)
{
    struct clients *c = clients_of(r);
    struct fanout *f = worker_fanout(w);
    uint64_t enough = clock_mono_us() + ROSTER_PIECE_US;
    const struct session *s;
    if (!c->walking) {
        walker_start(&c->walker, f);
        c->walking = true;
        c->found_here = 0;
        c->total += c->chosen ? 0 : f->count;
    }
    for (unsigned n = 1; (s = walker_next(&c->walker)) != NULL && !had_enough(c, s); n++) {
        bool added = look(c, s);
        if (r->failed)
            return true;
        if ((added || n % CLOCK_EVERY == 0) && clock_mono_us() >= enough)
            return false;
    }
    return true;
}

static int compare(const void *a, const void *b)
{
    const struct place *x = &((const struct line *)a)->place, *y = &((const struct line *)b)->place;
    return is_behind(x, y) ? 1 : is_behind(y, x) ? -1 : 0;
}

/* Keep the oldest of what has been gathered so far. */
static void leave(struct roster *r)
{
    struct clients *c = clients_of(r);
    if (!c->walking)
        return;
    walker_stop(&c->walker);
    c->walking = false;
    qsort(c->lines, c->count, sizeof *c->lines, compare);
    if (c->count > c->limit) {
        c->count = c->limit + 1;
        c->bound_us = c->lines[c->limit].place.since_us;
    }
}

/* ---- at home --------------------------------------------------------------------------------- */

static void print(struct roster *r, struct buf *out)
{
    const struct clients *c = clients_of(r);
    size_t n = c->count < c->limit ? c->count : c->limit;
    buf_printf(out, "{\"total\":%llu,\"clients\":[", (unsigned long long)c->total);
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            buf_byte(out, ',');
        buf_append(out, c->text.data + c->lines[i].at, c->lines[i].len);
    }
    buf_str(out, "],\"next\":");
    if (c->count > n)
        buf_printf(out, "\"%llu-%u\"}\n", (unsigned long long)c->lines[n - 1].place.since_us,
                   c->lines[n - 1].place.worker);
    else
        buf_str(out, "null}\n");
}

static void clear(struct roster *r)
{
    struct clients *c = clients_of(r);
    buf_finish(&c->channel);
    buf_finish(&c->sub);
    buf_finish(&c->text);
    free(c->lines);
}

/* ---- the query ------------------------------------------------------------------------------- */

/* Digits, up to the first byte that is none or the end. False: there are none, or too many. */
static bool read_number(const char **p, const char *end, uint64_t max, uint64_t *out)
{
    const char *first = *p;
    *out = 0;
    for (; *p < end && **p >= '0' && **p <= '9' && *p - first < 18; (*p)++)
        *out = *out * 10 + (uint64_t)(**p - '0');
    return *p > first && *out <= max;
}

static void read_after(struct clients *c, struct roster_query *q)
{
    uint64_t worker = 0;
    if (!roster_param(q, "after"))
        return;
    const char *p = q->value.data, *end = p + q->value.len;
    bool good = read_number(&p, end, UINT64_MAX, &c->after.since_us) && p < end && *p++ == '-' &&
                read_number(&p, end, UINT32_MAX, &worker) && p == end;
    c->after.worker = (uint32_t)worker;
    if (!good)
        roster_refuse(q, "after", "what the page before has as \"next\"");
}

static void read_text(struct buf *to, struct roster_query *q, const char *name)
{
    if (!roster_param(q, name))
        return;
    buf_append(to, q->value.data, q->value.len);
    if (to->failed)
        roster_no_memory(q);
}

static void read_query(struct roster *r, struct roster_query *q)
{
    static const enum roster_leg way[] = {LEG_WORKERS, LEG_END};
    struct clients *c = clients_of(r);
    r->leg = way;
    c->bound_us = UINT64_MAX;
    c->limit = roster_limit(q);
    read_after(c, q);
    read_text(&c->sub, q, "sub");
    read_text(&c->channel, q, "channel");
    if (roster_param(q, "address")) {
        c->of_address = true;
        c->address.is_unix = q->value.len == 4 && memcmp(q->value.data, "unix", 4) == 0;
        if (!c->address.is_unix && !netaddr_parse(&c->address, q->value.data, q->value.len))
            roster_refuse(q, "address", "an IP address without a port, or \"unix\"");
    }
    c->chosen = c->of_address || c->sub.len > 0 || c->channel.len > 0;
    c->lines = q->failed ? NULL : calloc(2 * ((size_t)c->limit + 1), sizeof *c->lines);
    if (c->lines == NULL)
        roster_no_memory(q); /* unless something else is wrong */
}

void roster_clients(struct exchange *x, struct http_slice query)
{
    static const struct roster_kind kind = {.size = sizeof(struct clients),
                                            .read = read_query,
                                            .at_worker = at_worker,
                                            .leave = leave,
                                            .print = print,
                                            .clear = clear};
    roster_begin(&kind, x, query);
}
