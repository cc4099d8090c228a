/* A worker's replica of one channel's log, or the merged log of all channels that match a pattern,
 * with the subscriptions of the worker's clients to it. Same ring, same meaning as the hub's. */
#ifndef TICKERD_BROKER_VIEW_H
#define TICKERD_BROKER_VIEW_H

#include <stdbool.h>

#include "tickerd/base/list.h"
#include "tickerd/broker/protocol.h"
#include "tickerd/broker/ring.h"

struct session;

struct view {
    struct ring ring;
    struct link subs;     /* struct sub.link */
    struct link dirty;    /* in the replica's list while something new waits to be flushed */
    struct link outgoing; /* in the replica's list while a request waits to be sent */
    struct link idle;     /* in the replica's list while it has no subscription */
    struct name *topic;   /* owned reference */
    uint32_t id, gen;
    uint32_t sub_count;
    uint32_t publisher_ids; /* frames pushed since the last reset that carry a publisher's id */
    bool pattern;
    bool asked;  /* an interest was sent and is not answered yet */
    bool loaded; /* the hub has answered; what the view says is whole up to the replica's head */
    bool live;   /* the upstream subscription is confirmed */
    uint64_t unconfirmed; /* else: the replica's head when it began to wait for that */
    bool lacking;         /* there was no memory for what it was told since the last reset */
    bool refused;         /* the hub has no room for it; its sessions are to be sent away */
};

/* One session's subscription to one view. Lives in the session or an array of its. */
struct sub {
    struct link link;
    struct view *view;
    struct session *session;
};

/* A view with no subscription, not loaded. Takes a reference on topic. NULL: out of memory. */
struct view *view_create(struct name *topic, bool pattern, uint32_t id, uint32_t gen);
void view_destroy(struct view *v);

/* Apply a FRAME, EVICT, HOLE, MARK or RESET note, taking over what it owns; `made` is for the hole
 * that an eviction leaves. Without memory for it the view is not loaded any more, but lacking. */
void view_apply(struct view *v, struct note *n, uint64_t made);

/* Whether the frame at this position is still kept. */
bool view_holds(const struct view *v, uint64_t seq);

#endif
