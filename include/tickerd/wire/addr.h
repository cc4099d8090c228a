/* Addresses as users write them: `host:port`, `[v6]:port`, `unix:/path`, and Redis URLs. */
#ifndef TICKERD_WIRE_ADDR_H
#define TICKERD_WIRE_ADDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tickerd/base/buf.h"

enum { ADDR_HOST_MAX = 255, ADDR_PATH_MAX = 107 };

struct addr {
    bool is_unix;
    uint16_t port;                /* 0 is allowed for listeners: any free port */
    char host[ADDR_HOST_MAX + 1]; /* name or literal, v6 without brackets; or the socket's path */
};

/* Read an address. On ERR_INVALID, *why points to a static sentence on what is wrong. */
int addr_parse(struct addr *a, const char *text, const char **why);

/* Append the address as a user would write it. */
void addr_print(struct buf *out, const struct addr *a);

/* Whether only this host can reach it: a unix socket, or an address or a name of the loopback. */
bool addr_is_local(const struct addr *a);

/* Whether a name is `localhost` or below it, in any case, with or without the final dot: it is
 * never anything but the loopback (RFC 6761 §6.3). */
bool addr_names_localhost(const char *host, size_t len);

/* The same place, as far as the text tells: names of hosts know no case, paths do. */
bool addr_equal(const struct addr *a, const struct addr *b);

struct redis_url {
    struct addr addr;
    bool tls;       /* rediss:// */
    char *user;     /* owned; NULL: none */
    char *password; /* owned; NULL: none */
};

/* Read `redis://[user[:password]@]host[:port][/0]`, `redis://:password@…`, the same with
 * `rediss://`, or `unix://[user:password@]/path`. User and password are percent-decoded; the port
 * defaults to 6379. A database other than none or 0 is an error (Pub/Sub knows no databases).
 * On failure nothing is owned and *why points to a static sentence that never quotes the URL. */
int redis_url_parse(struct redis_url *u, const char *text, const char **why);
void redis_url_finish(struct redis_url *u);

/* Read a Sentinel's address: `host[:port]`, or a URL as above; the port defaults to 26379. */
int sentinel_parse(struct redis_url *u, const char *text, const char **why);

/* Append the URL without its password, for logs (`redis://user@host:6379`). */
void redis_url_print(struct buf *out, const struct redis_url *u);

#endif
