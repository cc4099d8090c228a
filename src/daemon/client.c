#include "tickerd/daemon/client.h"

#include <stdlib.h>
#include <string.h>

#include "tickerd/base/clock.h"
#include "tickerd/daemon/access.h"
#include "tickerd/wire/forwarded.h"

struct client {
    struct tally *tally;
    struct netaddr peer, source, address;
    struct tally_entry *by_address; /* held; NULL: without limits */
    struct tally_entry *by_subject; /* held; NULL: it has none, or opened no stream */
    struct tally_entry *payer;      /* for its replay: one of the two, or NULL */
    struct access *access;
    char *sub; /* owned; NULL: none */
    size_t sub_len;
    bool asking;     /* counted as TALLY_REQUESTS of by_address */
    bool of_address; /* counted as TALLY_STREAMS of by_address */
    bool of_subject; /* and of by_subject */
    bool replaying;  /* counted as TALLY_REPLAYS of payer */
    bool no_memory;
};

static bool has_limits(const struct config *c)
{
    return c->limits.clients_per_ip > 0 || c->limits.clients_per_subject > 0 ||
           c->limits.replay_per_minute > 0;
}

bool client_wanted(const struct config *config)
{
    bool shown = config->admin != NULL && config->proxy.blocks.count > 0;
    return config->log.access || has_limits(config) || shown;
}

bool client_proxied(const struct config *config, const struct netaddr *peer)
{
    return config->proxy.protocol && netblocks_contain(&config->proxy.blocks, peer);
}

/* Count the connection until its request is there. Not those of proxies: their headers will say
 * whose they are. */
static bool count_request(struct client *c, const struct config *config)
{
    uint32_t max = config->limits.clients_per_ip;
    if (max == 0 || netblocks_contain(&config->proxy.blocks, &c->source))
        return true;
    c->by_address = tally_address(c->tally, &c->source);
    c->asking = c->by_address != NULL &&
                tally_enter(c->tally, c->by_address, TALLY_REQUESTS, max + CLIENT_REQUESTS_EXTRA);
    return c->asking;
}

struct client *client_create(const struct config *config, struct tally *tally,
                             const struct netaddr *peer, const struct netaddr *source)
{
    struct client *c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    c->tally = tally;
    c->peer = *peer;
    c->source = c->address = *source;
    if (count_request(c, config))
        return c;
    client_destroy(c, NULL, clock_mono_us());
    return NULL;
}

/* Returns whether the headers said anything. */
static bool find_address(struct client *c, const struct config *config,
                         const struct httpreq *request)
{
    if (request == NULL)
        return false;
    struct http_slice list = httpreq_header(request, HTTPREQ_X_FORWARDED_FOR);
    struct http_slice forwarded = httpreq_header(request, HTTPREQ_FORWARDED);
    c->address = forwarded_client(&config->proxy.blocks, &c->source, list, forwarded);
    return list.p != NULL || forwarded.p != NULL;
}

bool client_asks(struct client *c, const struct config *config, const struct httpreq *request)
{
    if (c == NULL)
        return true;
    struct tally_entry *before = c->by_address;
    bool told = find_address(c, config, request);
    if (c->asking)
        tally_leave(c->tally, before, TALLY_REQUESTS);
    c->asking = false;
    c->by_address = NULL;
    /* Who is sent by a local proxy without a word on whose it is stays without limits; with words
     * that cannot be believed he does not. */
    bool limited = has_limits(config) && (!c->address.is_unix || told);
    if (limited)
        c->by_address = tally_address(c->tally, &c->address);
    if (before != NULL)
        tally_give_back(c->tally, before, clock_mono_us());
    if (config->log.access)
        c->access = access_begin(request);
    return !limited || c->by_address != NULL;
}

const struct netaddr *client_address(const struct client *c)
{
    return &c->address;
}

void client_status(struct client *c, int status)
{
    if (c != NULL)
        access_status(c->access, status);
}

void client_subject(struct client *c, const char *sub, size_t len)
{
    if (c == NULL || sub == NULL || c->sub != NULL)
        return;
    c->sub = malloc(len + 1);
    c->no_memory = c->no_memory || c->sub == NULL;
    if (c->sub == NULL)
        return;
    memcpy(c->sub, sub, len);
    c->sub_len = len;
}

static enum client_verdict enter(struct client *c, const struct config *config, bool past,
                                 uint64_t now_us, uint64_t *wait_us)
{
    if (c->by_address != NULL)
        c->of_address =
            tally_enter(c->tally, c->by_address, TALLY_STREAMS, config->limits.clients_per_ip);
    if (c->by_address != NULL && !c->of_address)
        return CLIENT_TOO_MANY_OF_ADDRESS;
    if (c->by_subject != NULL)
        c->of_subject =
            tally_enter(c->tally, c->by_subject, TALLY_STREAMS, config->limits.clients_per_subject);
    if (c->by_subject != NULL && !c->of_subject)
        return CLIENT_TOO_MANY_OF_SUBJECT;
    /* Who wants nothing old holds back nothing: many may wait for Redis' word at once. */
    if (config->limits.replay_per_minute == 0 || !past)
        return CLIENT_WELCOME;
    c->payer = c->by_subject != NULL ? c->by_subject : c->by_address;
    if (c->payer == NULL)
        return CLIENT_WELCOME;
    *wait_us = tally_replay_begin(c->tally, c->payer, now_us);
    c->replaying = *wait_us == 0;
    return c->replaying ? CLIENT_WELCOME : CLIENT_REPLAYED_TOO_MUCH;
}

/* Take back what `enter` and client_create have counted. */
static void leave(struct client *c)
{
    client_caught_up(c);
    if (c->asking)
        tally_leave(c->tally, c->by_address, TALLY_REQUESTS);
    if (c->of_address)
        tally_leave(c->tally, c->by_address, TALLY_STREAMS);
    if (c->of_subject)
        tally_leave(c->tally, c->by_subject, TALLY_STREAMS);
    c->asking = c->of_address = c->of_subject = false;
}

enum client_verdict client_enter(struct client *c, const struct config *config, bool past,
                                 uint64_t now_us, uint64_t *wait_us)
{
    *wait_us = 0;
    if (c == NULL)
        return CLIENT_WELCOME;
    if (c->sub != NULL && has_limits(config)) {
        c->by_subject = tally_subject(c->tally, c->sub, c->sub_len);
        c->no_memory = c->by_subject == NULL;
    }
    enum client_verdict verdict =
        c->no_memory ? CLIENT_NO_MEMORY : enter(c, config, past, now_us, wait_us);
    if (verdict != CLIENT_WELCOME)
        leave(c);
    return verdict;
}

void client_replayed(struct client *c, const struct config *config, size_t bytes, uint64_t now_us)
{
    uint64_t budget = config->limits.replay_per_minute;
    if (c != NULL && c->replaying && budget > 0)
        tally_replay_spend(c->tally, c->payer, budget, bytes, now_us);
}

void client_caught_up(struct client *c)
{
    if (c == NULL || !c->replaying)
        return;
    tally_leave(c->tally, c->payer, TALLY_REPLAYS);
    c->replaying = false;
}

void client_destroy(struct client *c, const struct http1_end *end, uint64_t now_us)
{
    if (c == NULL)
        return;
    leave(c);
    if (c->by_address != NULL)
        tally_give_back(c->tally, c->by_address, now_us);
    if (c->by_subject != NULL)
        tally_give_back(c->tally, c->by_subject, now_us);
    struct access_peer from = {&c->address, &c->peer, c->sub, c->sub_len};
    access_end(c->access, &from, end);
    free(c->sub);
    free(c);
}
