/* Addresses of peers and blocks of addresses, for proxy.trusted and for limits per address. */
#ifndef TICKERD_WIRE_NETBLOCK_H
#define TICKERD_WIRE_NETBLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* An IP address, IPv4 as `::ffff:a.b.c.d` (RFC 4291 §2.5.5.2), so that one comparison serves both;
 * or the peer of a unix socket, which has none. */
struct netaddr {
    bool is_unix;
    uint8_t bytes[16];
};

enum { NETADDR_TEXT_MAX = 46 };

/* Read an IPv4 or IPv6 address without brackets, port or zone. False: it is none. */
bool netaddr_parse(struct netaddr *a, const char *text, size_t len);

/* An IPv4 address of four bytes in network order. */
struct netaddr netaddr_v4(const uint8_t bytes[4]);

bool netaddr_is_v4(const struct netaddr *a);

bool netaddr_equal(const struct netaddr *a, const struct netaddr *b);

/* Write the address as text: "192.0.2.1", "2001:db8::1" or "unix". Returns `out`. */
const char *netaddr_print(const struct netaddr *a, char out[NETADDR_TEXT_MAX]);

struct netblock {
    struct netaddr base;
    uint8_t bits; /* of 128 */
};

/* Read "10.0.0.0/8", "2001:db8::/32", a single address, or "unix". Bits behind the prefix must be
 * zero, so that a typing error does not trust too many. On ERR_INVALID, *why points to a static
 * sentence. */
int netblock_parse(struct netblock *b, const char *text, const char **why);

bool netblock_contains(const struct netblock *b, const struct netaddr *a);

struct netblocks {
    struct netblock *items; /* owned; NULL while count is 0 */
    size_t count;
};

/* Whether any of them does. */
bool netblocks_contain(const struct netblocks *b, const struct netaddr *a);

#endif
