/* A source without a network: a real implementation of source.h with the two ways to and from an
 * imaginary Redis as queues, so that a test decides when commands arrive there and when what it
 * sends arrives here.
 *
 *     ops → commands → (fake_source_serve) the server → output → (fake_source_deliver) events
 *
 * The server does what Redis does: it answers in order, and sends a published message once for the
 * exact subscription and once for each matching pattern, the oldest first. */
#ifndef TICKERD_TESTS_FAKE_SOURCE_H
#define TICKERD_TESTS_FAKE_SOURCE_H

#include "tickerd/base/list.h"
#include "tickerd/base/strmap.h"
#include "tickerd/broker/source.h"

struct fake_source {
    struct source source;
    const struct source_events *events;
    void *ctx;
    struct strmap subs;    /* kind and name -> struct fake_sub */
    struct link active;    /* what the server has subscribed, oldest first */
    struct link commands;  /* on their way to the server */
    struct link output;    /* on its way from the server */
    const char *refused;   /* names that match this glob are refused; NULL: none */
    bool connected;        /* else publishing reaches nobody */
    bool up;               /* on_up has been called */
    bool ever_up;          /* or on_down, once */
    bool acked;            /* on_acked has been called for this connection */
    bool closed;           /* ops must not be called any more */
    unsigned failing;      /* that many subscribe calls fail from now on */
    size_t sent, unsent;   /* SUBSCRIBE and UNSUBSCRIBE commands so far */
    size_t calls_to_event; /* copies of messages delivered */
};

/* `events` may be NULL, then nobody listens. */
void fake_source_init(struct fake_source *f, const struct source_events *events, void *ctx);
void fake_source_finish(struct fake_source *f);

/* Connect: everything wanted goes to the server, and on_up follows when that is answered. */
void fake_source_connect(struct fake_source *f);

/* The connection is lost with all that is under way. */
void fake_source_lose(struct fake_source *f, unsigned long long last_heard_us);

/* Let the server handle up to n commands, or deliver up to n of its answers and messages. Return
 * how many it were. */
size_t fake_source_serve(struct fake_source *f, size_t n);
size_t fake_source_deliver(struct fake_source *f, size_t n);

/* Both until nothing is under way. */
void fake_source_settle(struct fake_source *f);

/* Ask again for what has been refused. */
void fake_source_retry(struct fake_source *f);

/* PUBLISH, at the server. Returns how many copies are sent here. */
size_t fake_source_publish(struct fake_source *f, const char *channel, size_t channel_len,
                           const char *payload, size_t payload_len);

/* What is asked for, and what the server does at this moment. */
bool fake_source_wants(const struct fake_source *f, enum source_sub kind, const char *name);
bool fake_source_serves(const struct fake_source *f, enum source_sub kind, const char *name);
size_t fake_source_wanted_count(const struct fake_source *f);

#endif
