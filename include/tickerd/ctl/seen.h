/* What the doctor saw: plain values, so that what follows from them can be tested on recorded ones.
 * Times are microseconds of one monotonic clock. */
#ifndef TICKERD_CTL_SEEN_H
#define TICKERD_CTL_SEEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tickerd/ctl/web.h"

#define SEEN_NEVER UINT64_MAX

enum {
    SEEN_PROBES = 5,
    SEEN_CROWD = 12, /* streams at once; a browser with HTTP/1.1 ends at six */
    SEEN_HOPS = 5,
    SEEN_URL_MAX = 1000,
};

/* One request and its answer. Texts are cut where they are longer. */
struct seen {
    bool asked;
    uint64_t asked_at, head_at, open_at, heartbeat_at, last_at, end_at; /* or SEEN_NEVER */
    long status;                                                        /* 0: no head has come */
    int version;                                                        /* 10, 11, 20, 30 */
    enum web_end how; /* once end_at is set, and why */
    char why[200];
    char type[100], cache[200], coding[60], location[SEEN_URL_MAX], age[40];
    char allow_origin[300], allow_headers[300];
    unsigned origins; /* how many Access-Control-Allow-Origin lines */
    bool allow_credentials;
    char id[200], resume[20]; /* of tickerd:open */
    bool retry;               /* a retry line has come */
    uint64_t events, heartbeats;
    uint64_t probe_at[SEEN_PROBES]; /* when it came, or SEEN_NEVER */
    char body[400];                 /* the beginning of what is no stream */
};

struct hop {
    long status;
    char to[SEEN_URL_MAX];
};

struct sights {
    char url[SEEN_URL_MAX]; /* where the redirects ended */
    bool tls;
    char trust[200]; /* why the certificate is not accepted; "": it is */
    struct hop hops[SEEN_HOPS];
    size_t hop_count;
    bool too_many_hops;
    bool insecure_hop;     /* from https to http */
    struct seen head;      /* HEAD: comes through what holds bodies back */
    struct seen browser;   /* as a browser asks */
    struct seen plain;     /* the same without offering compression */
    struct seen again;     /* with the id of browser's first event */
    struct seen preflight; /* OPTIONS, if there is an origin */
    struct seen crowd[SEEN_CROWD];
    const char *origin;    /* NULL: unknown */
    bool same_origin;      /* the URL is of that origin */
    bool bearer;           /* an Authorization header was sent */
    uint64_t heartbeat_us; /* what stream.heartbeat is, or is taken to be */
    bool heartbeat_known;
    uint64_t listened_us;
    bool published;
    char publish_why[200]; /* why nothing was published */
    uint64_t sent_at[SEEN_PROBES];
};

/* Nothing seen yet. */
void seen_init(struct seen *s);
void sights_init(struct sights *s);

#endif
