/* What each client address and each subject has at the moment, counted across all workers; for the
 * limits per address and per subject. An entry lives as long as somebody holds it or its budget has
 * not refilled, so memory follows the number of connections. Thread-safe. */
#ifndef TICKERD_DAEMON_TALLY_H
#define TICKERD_DAEMON_TALLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tickerd/wire/netblock.h"

struct tally;
struct tally_entry; /* one address or subject */

enum tally_kind {
    TALLY_REQUESTS, /* connections that have not sent their request yet */
    TALLY_STREAMS,
    TALLY_REPLAYS, /* streams that have not caught up yet */
    TALLY_KINDS
};

/* NULL: out of memory. */
struct tally *tally_create(void);

/* Free it; every entry has been given back. NULL is allowed. */
void tally_destroy(struct tally *t);

/* Hold the entry of an address (all of an IPv6 /64 share one; the peers of unix sockets, too), or
 * of a subject. NULL: out of memory. Each is to be given back once. */
struct tally_entry *tally_address(struct tally *t, const struct netaddr *a);
struct tally_entry *tally_subject(struct tally *t, const char *sub, size_t len);
void tally_give_back(struct tally *t, struct tally_entry *e, uint64_t now_us);

/* Count one more unless there are `max` already (0: no limit). Each true is to be followed by one
 * tally_leave. */
bool tally_enter(struct tally *t, struct tally_entry *e, enum tally_kind kind, uint32_t max);
void tally_leave(struct tally *t, struct tally_entry *e, enum tally_kind kind);

/* The budget of bytes that may be replayed: a bucket that fills in a minute. A stream that has been
 * let in may overdraw it; so that a crowd of them does not do so together, each holds back a
 * sixteenth until it has caught up. Returns in how many microseconds another replay may begin;
 * 0: it has begun, and ends with tally_leave of TALLY_REPLAYS. */
uint64_t tally_replay_begin(struct tally *t, struct tally_entry *e, uint64_t now_us);

/* Take bytes out of the budget, which is so large when it is full. */
void tally_replay_spend(struct tally *t, struct tally_entry *e, uint64_t per_minute, size_t bytes,
                        uint64_t now_us);

/* How many entries there are, for tests. */
size_t tally_count(struct tally *t);

#endif
