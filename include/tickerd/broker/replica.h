/* All views of one worker: what the hub told it, found by topic, and the requests it owes the hub.
 * Knows nothing of clients but that views with subscriptions are needed. */
#ifndef TICKERD_BROKER_REPLICA_H
#define TICKERD_BROKER_REPLICA_H

#include "tickerd/base/strmap.h"
#include "tickerd/broker/view.h"

struct replica_slot {
    struct view *view; /* NULL: free */
    uint32_t gen;      /* of the last request made with this number */
    uint32_t next_free;
};

/* So many interests may be unanswered: each answer is a note, and were there more of them than the
 * inbox holds, a worker that has fallen behind could never catch up. */
enum { REPLICA_UNANSWERED = 1024 };

/* An eviction that waits for the end of the turn. */
struct replica_eviction {
    uint32_t view, gen;
    uint64_t seq;
};

struct replica_events {
    /* Send a note to the hub. False: no room now, try again later (the note stays the caller's). */
    bool (*send)(void *ctx, struct note *n);
    /* A view that sessions may be waiting for became loaded or live. */
    void (*ready)(void *ctx, struct view *v);
};

struct replica {
    struct strmap channels, patterns; /* topic -> struct view */
    struct replica_slot *slots;       /* by view number */
    uint32_t slot_count, free_slot;
    struct link dirty;    /* views with news since the last flush */
    struct link outgoing; /* views with a request to send */
    struct link idle;     /* views without a subscription */
    uint32_t unanswered;  /* views that have been asked for */
    size_t ring_bytes;    /* of all views' rings, without the frames */
    bool lacking;         /* some view is: replica_sweep asks for it */
    struct view *marks;
    struct timeline timeline;
    uint64_t head;      /* the position reached: whatever comes later is above it */
    uint64_t evictions; /* NOTE_EVICTs applied: what says which hole is older than which client */
    struct replica_eviction *pending; /* owned; applied by replica_settle */
    size_t pending_count, pending_room;
    bool upstream;   /* the source is live */
    uint64_t outage; /* the last message before it was last lost; 0: it has never been live */
    bool resync;     /* NOTE_RESYNC is to be sent before anything else */
    bool deaf;       /* and has not been answered: what the hub says is dropped until then */
    /* A subscription that is not confirmed in so many us is refused: the source answers in order,
     * and one that does not answer at all is given up before that. */
    uint64_t patience;
    const struct replica_events *events;
    void *ctx;
};

/* Make a replica that has only the marks view, and ask for it. ERR_NOMEM: nothing to finish. */
int replica_init(struct replica *r, const struct replica_events *events, void *ctx,
                 uint64_t patience);
void replica_finish(struct replica *r);

/* Subscribe to a topic's view, which is made and asked for if it is not there yet; fills in
 * sub->view and puts sub in the view's list. ERR_NOMEM: nothing happened. */
int replica_subscribe(struct replica *r, struct sub *sub, const char *topic, size_t len,
                      bool pattern);

/* End a subscription. The view itself stays until replica_sweep, so that it may be called while
 * views are being walked, and a client that comes straight back finds its view still there. */
void replica_unsubscribe(struct replica *r, struct sub *sub);

/* Drop the views that nobody subscribes to any more, and ask anew for those that are lacking. Not
 * while views are being walked. */
void replica_sweep(struct replica *r);

/* Apply a note from the hub, taking over what it owns. Evictions wait for replica_settle. */
void replica_apply(struct replica *r, struct note *n);

/* Apply the evictions of this turn. To be called once the turn's news have been flushed, so that a
 * burst larger than the history still reaches every client that keeps up, as far as it fits into
 * one batch. */
void replica_settle(struct replica *r);

/* Everything up to this position has been applied. */
void replica_reached(struct replica *r, uint64_t seq);

/* The hub gave up sending: ask for everything again. Call after the inbox has been drained. Until
 * the hub has answered for a view again it counts as not loaded. */
void replica_restart(struct replica *r);

/* Send what waits to be sent, as far as there is room. */
void replica_pump(struct replica *r);

/* Whether a session on this view may start: the hub has answered and the upstream confirmed. */
static inline bool view_ready(const struct view *v)
{
    return v->loaded && v->live;
}

#endif
