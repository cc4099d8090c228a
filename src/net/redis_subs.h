/* Private to net's Redis source. The table of subscriptions: what is wanted, what the server has,
 * and which command is on its way. It decides; redis_proto.c sends.
 *
 * At most ONE command per name is unanswered at a time. Whatever the caller does meanwhile only
 * changes `wanted`, and the answer settles what comes next: so every interleaving ends in the
 * wanted state, what is in flight is bounded by the number of names, and entries of the queue of
 * unanswered commands can live inside the table. */
#ifndef TICKERD_NET_REDIS_SUBS_H
#define TICKERD_NET_REDIS_SUBS_H

#include <stdbool.h>
#include <stddef.h>

#include "tickerd/base/list.h"
#include "tickerd/base/strmap.h"
#include "tickerd/broker/source.h"

enum redis_flight {
    FLIGHT_NONE,
    FLIGHT_SENT,   /* a command that turns `on` over is unanswered */
    FLIGHT_REFUSED /* it was refused; to be sent again later */
};

struct redis_sub {
    struct link link; /* in the caller's list of what is SENT or REFUSED */
    enum source_sub kind;
    enum redis_flight flight;
    bool wanted;
    bool on;     /* the server has acknowledged it */
    bool pinned; /* a call-back uses its name: free it only when unpinned */
    bool gone;   /* not in the table any more */
    size_t len;
    char name[];
};

struct redis_subs {
    struct strmap names[2]; /* by enum source_sub */
};

enum redis_sub_todo {
    TODO_NOTHING,
    TODO_SEND,   /* send the command that turns `on` over; the caller sets FLIGHT_SENT */
    TODO_RELEASE /* neither wanted nor on nor in flight: redis_subs_release */
};

void redis_subs_init(struct redis_subs *t);

/* Frees all entries. */
void redis_subs_finish(struct redis_subs *t);

/* How many names the table holds, of both kinds. */
size_t redis_subs_count(const struct redis_subs *t);

struct redis_sub *redis_subs_find(const struct redis_subs *t, enum source_sub kind,
                                  const char *name, size_t len);

/* The entry of this name, made if need be (not wanted, not on). NULL when memory is out. */
struct redis_sub *redis_subs_get(struct redis_subs *t, enum source_sub kind, const char *name,
                                 size_t len);

/* What follows from the entry's state. A refusal that has become moot (wanted equals on again) is
 * forgotten here, and the entry taken out of its list. */
enum redis_sub_todo redis_sub_next(struct redis_sub *sub);

/* The server's acknowledgement. False: it changes nothing and is not to be reported. */
bool redis_sub_acked(struct redis_sub *sub, bool on);

/* Take the entry out of the table and of its list, and free it (if pinned, with redis_sub_unpin).
 */
void redis_subs_release(struct redis_subs *t, struct redis_sub *sub);

void redis_sub_pin(struct redis_sub *sub);
void redis_sub_unpin(struct redis_sub *sub);

/* The connection is gone: nothing is on nor in flight, and entries that are not wanted go. */
void redis_subs_forget(struct redis_subs *t);

#endif
