/* Where a stream begins: the rules of DESIGN "Resuming", as pure functions on a worker's views. */
#ifndef TICKERD_BROKER_RESUME_H
#define TICKERD_BROKER_RESUME_H

#include "tickerd/broker/gather.h"

enum resume_kind { RESUME_NEW, RESUME_CONTINUED, RESUME_GAP };

struct resume {
    enum resume_kind kind; /* what `tickerd:open` says */
    uint64_t position;     /* just before what follows */
    uint32_t fp;
    bool unknown; /* announce a gap `unknown-id` first */
    bool behind;  /* unknown, but so young that it may be on its way here: better ask again; without
                     a position, which takes a look at everything: see resume_unknown */
};

/* The word in `tickerd:open`. Static. */
const char *resume_text(enum resume_kind kind);

/* What a stream listens to. */
struct scope {
    const struct replica *replica;
    const struct sub *subs;
    size_t count;
    struct right *right; /* decides patterns channel by channel; NULL: it may hear all. Channels
                            that it may not hear of count for nothing: else who asks would learn
                            what is published there. */
};

/* Resume after the client's last id, any bytes; `window_us` is W. Looks only at what the views of
 * the subscriptions hold. *looked is 0 at first; for an id that is `behind` it remembers how far it
 * was looked for, so that asking again costs only what is new. */
struct resume resume_from(const struct scope *s, const char *id, size_t len, uint64_t window_us,
                          uint64_t *looked);

/* Resume after an id that is not known: announce that, then send all that is kept. */
struct resume resume_unknown(const struct scope *s);

/* A first connect with `history`. *replay is NULL with history 0, else made by malloc, the
 * caller's; on ERR_NOMEM there is none. */
int resume_new(const struct scope *s, uint32_t history, struct resume *out, struct replay **replay);

/* NULL: out of memory. Ends with replay_destroy, which allows NULL. */
struct replay *replay_create(struct moment until);
void replay_destroy(struct replay *p);

#endif
