/* Reading the PROXY protocol's header, with which a proxy that passes bytes through says whose they
 * are ("The PROXY protocol, versions 1 & 2", of HAProxy's documentation; § numbers are its own).
 * Fed with bytes as they come, the result is the same however they are split. It is strict: the
 * header comes from a proxy that is trusted, so whatever is not exactly one is a mistake in
 * somebody's configuration, or not from the proxy. */
#ifndef TICKERD_WIRE_PROXYHDR_H
#define TICKERD_WIRE_PROXYHDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tickerd/wire/netblock.h"

enum {
    PROXYHDR_V1_MAX = 107,  /* §2.1, with its CR LF */
    PROXYHDR_V2_FIXED = 16, /* §2.2: what comes before the addresses */
    PROXYHDR_V2_MAX = 4096, /* of what the length of a version 2 header counts */
};

enum proxyhdr_state { PROXYHDR_MORE, PROXYHDR_DONE, PROXYHDR_ERROR };

/* Owns nothing. */
struct proxyhdr {
    enum proxyhdr_state state;
    bool local;            /* after DONE: it names nobody, and the peer speaks for itself */
    struct netaddr client; /* after DONE, unless local */
    const char *error;     /* after ERROR: a static sentence */
    size_t total;          /* bytes taken */
    size_t length;         /* of a version 2 header, once it is known */
    uint8_t bytes[PROXYHDR_V1_MAX]; /* the first of them; additional fields (TLVs) are skipped */
};

void proxyhdr_init(struct proxyhdr *p);

/* Feed bytes; *used tells how many of them belonged to the header. After DONE or ERROR, feed no
 * more. Local are LOCAL, UNKNOWN, and families without an IP address (§2.1, §2.2). */
enum proxyhdr_state proxyhdr_feed(struct proxyhdr *p, const char *data, size_t len, size_t *used);

#endif
