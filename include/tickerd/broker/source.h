/* The interface between the hub and whatever publishes: Redis Pub/Sub today. It sits with its
 * caller so that another source (Redis Streams, a test's fake) needs no change here. All calls and
 * call-backs happen on the hub's thread; call-backs may call the ops.
 *
 * Names here are the upstream's (with the prefix); patterns are the upstream's globs.
 *
 * Lifetime of subscriptions:
 *  1. Wanted subscriptions survive reconnects: the source sends them again after each connect, and
 *     reports every acknowledgement again.
 *  2. on_up comes once per connection, after everything wanted when the connection was made has
 *     been acknowledged or refused. on_down comes once for each on_up, once if the first
 *     connection attempt fails (so that the caller learns that it is not up), and once for each
 *     connection that ends after an on_acked but before its on_up (acknowledgements are void).
 *  3. Within one connection call-backs come in the order the server sent things: a message before
 *     an on_acked belongs to the time before that acknowledgement.
 *  4. A refused subscription (ACL) is retried with back-off and reported each time it is refused;
 *     it does not keep on_up from coming, nor cut the connection. */
#ifndef TICKERD_BROKER_SOURCE_H
#define TICKERD_BROKER_SOURCE_H

#include <stdbool.h>
#include <stddef.h>

enum source_sub { SOURCE_CHANNEL, SOURCE_PATTERN };

struct source_events {
    /* One message. `pattern` is NULL for a message of an exact subscription, else the pattern it
     * came by. The bytes are valid during the call only. */
    void (*on_message)(void *ctx, const char *pattern, size_t pattern_len, const char *channel,
                       size_t channel_len, const char *payload, size_t payload_len);
    /* A subscription took effect (`on`), or ended after an unsubscribe (!on); the latter follows
     * only an earlier `on` of the same connection. */
    void (*on_acked)(void *ctx, enum source_sub kind, const char *name, size_t len, bool on);
    /* The server refused a subscription; `error` is its text. */
    void (*on_refused)(void *ctx, enum source_sub kind, const char *name, size_t len,
                       const char *error);
    /* Live: connected, authenticated, all wanted subscriptions answered. */
    void (*on_up)(void *ctx);
    /* Not live any more. `reason` is a sentence for logs. `last_heard_us` is the CLOCK_MONOTONIC
     * time in microseconds at which the server was last heard (0: never): nothing that came before
     * it was lost. Acknowledgements are void; on_acked comes anew after reconnecting. */
    void (*on_down)(void *ctx, const char *reason, unsigned long long last_heard_us);
    /* The server has answered a question for a sign of life, after so long. May be NULL. */
    void (*on_round_trip)(void *ctx, unsigned long long us);
    /* All messages of one read have been handed over: flush what you gathered. */
    void (*on_batch_end)(void *ctx);
};

struct source;

/* What became of a message that was to be published: how many subscribers it reached where it was
 * handed over; or -1, and in `error` a sentence that is valid during the call. */
typedef void source_published(void *ctx, long long receivers, const char *error);

struct source_ops {
    /* Want or no longer want a subscription. Idempotent. While connected it is sent as soon as
     * the name's command before it has been answered; of several wishes only the last counts.
     * Returns 0 or ERR_NOMEM (nothing changed). */
    int (*subscribe)(struct source *s, enum source_sub kind, const char *name, size_t len);
    void (*unsubscribe)(struct source *s, enum source_sub kind, const char *name, size_t len);
    /* Publish a message of any bytes, which are copied, where the subscriptions are live. Several
     * may be under way; they arrive in the order of the calls. `done` comes once, and may come
     * during the call, or during close. */
    void (*publish)(struct source *s, const char *channel, size_t channel_len, const char *payload,
                    size_t payload_len, source_published *done, void *ctx);
    /* Connect, and stay connected until close. Call once; call-backs start after it returns. */
    int (*start)(struct source *s);
    /* Stop: no call-back comes any more, but for `done` of what was being published. The memory is
     * freed once its handles are closed. */
    void (*close)(struct source *s);
};

/* First member of every source. */
struct source {
    const struct source_ops *ops;
    /* The upstream is several servers that hand on each other's messages, and each has an order of
     * its own: where one instance stands says nothing exact about another. May change only before
     * on_up; the caller looks at it there. */
    bool many_orders;
    /* Some wanted subscription is refused at present. */
    bool refused;
};

#endif
