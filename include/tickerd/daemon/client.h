/* Who is at the other end of a connection: the address that counts (behind trusted proxies), the
 * token's subject, what they have against limits per address and per subject, and the line of the
 * access log. Hangs on the connection; exists only where some key asks for it. */
#ifndef TICKERD_DAEMON_CLIENT_H
#define TICKERD_DAEMON_CLIENT_H

#include "tickerd/daemon/tally.h"
#include "tickerd/net/http1.h"
#include "tickerd/wire/config.h"
#include "tickerd/wire/httpreq.h"

/* Connections that have not sent their request, above limits.clients_per_ip. */
enum { CLIENT_REQUESTS_EXTRA = 16 };

struct client;

/* Whether the configuration has a use for clients at all. */
bool client_wanted(const struct config *config);

/* Whether connections of this peer begin with a PROXY header. */
bool client_proxied(const struct config *config, const struct netaddr *peer);

/* A new connection: see http1_events.on_peer. NULL: it must be closed, since its address has too
 * many connections that have sent nothing yet, or memory is out. Ends with client_destroy. */
struct client *client_create(const struct config *config, struct tally *tally,
                             const struct netaddr *peer, const struct netaddr *source);

/* Its request has come, or (NULL) could not be read: now it is known whose it is. False: memory is
 * out, so limits cannot be kept. */
bool client_asks(struct client *c, const struct config *config, const struct httpreq *request);

/* What the access log is to say. The subject is copied. */
void client_status(struct client *c, int status);
void client_subject(struct client *c, const char *sub, size_t len);

/* The address that counts. */
const struct netaddr *client_address(const struct client *c);

enum client_verdict {
    CLIENT_WELCOME,
    CLIENT_TOO_MANY_OF_ADDRESS, /* limits.clients_per_ip */
    CLIENT_TOO_MANY_OF_SUBJECT, /* limits.clients_per_subject */
    CLIENT_REPLAYED_TOO_MUCH,   /* limits.replay_per_minute; come back after *wait_us */
    CLIENT_NO_MEMORY,
};

/* May it open a stream? If so, that is counted until client_destroy. If it asks for the `past`, for
 * events from before now, the budget of bytes is that of its subject, if it has one
 * (client_subject), else of its address: people behind one address do not pay for each other where
 * they can be told apart. Peers of unix sockets that bring no forwarded address are not limited. */
enum client_verdict client_enter(struct client *c, const struct config *config, bool past,
                                 uint64_t now_us, uint64_t *wait_us);

/* Its stream was sent so many bytes before it had caught up; it has caught up. */
void client_replayed(struct client *c, const struct config *config, size_t bytes, uint64_t now_us);
void client_caught_up(struct client *c);

/* Give everything back and write the access log's line. */
void client_destroy(struct client *c, const struct http1_end *end, uint64_t now_us);

/* All of these take NULL for a client that does not exist, and then do nothing (client_asks: true;
 * client_enter: CLIENT_WELCOME). */

#endif
