/* What the parts of the registry share. */
#ifndef TICKERD_BROKER_REGISTRY_INTERNAL_H
#define TICKERD_BROKER_REGISTRY_INTERNAL_H

#include "tickerd/broker/registry.h"

/* What has come on a channel since the start of this run. The rate is that of two windows of time,
 * the present and the one before. */
struct traffic {
    uint64_t messages, bytes;
    uint32_t window; /* number of the present one */
    uint32_t now, before;
};

struct channel {
    struct name *name;               /* owned reference; its bytes are the map's key */
    const struct channel_rule *rule; /* to be used after channel_renew */
    struct chanlog log;
    struct link edges; /* struct edge.of_channel */
    struct link lru;
    struct link sweep;
    uint64_t counted;  /* what registry.cost holds for it */
    uint64_t merged;   /* what registry.merged holds for it */
    uint32_t patterns; /* edges to patterns */
    uint32_t events;   /* what registry.events holds for it */
    uint32_t reloads;  /* registry.reloads when `rule` was found */
    struct traffic traffic;
};

struct interest {
    uint32_t worker, view, gen;
    bool pattern;
    bool live;           /* what the worker was told last */
    struct name *topic;  /* owned reference */
    struct glob *glob;   /* patterns: compiled, owned */
    struct link edges;   /* struct edge.of_interest */
    struct link at_head; /* patterns: in struct head.interests */
    size_t edge_count;
};

struct edge {
    struct channel *channel;
    struct interest *interest;
    struct link of_channel, of_interest;
};

/* All patterns in use that begin with the same literal bytes. */
struct head {
    struct link interests;
    size_t len;
    char bytes[];
};

/* Give a note to a worker. False: it does not listen, and the note stays the caller's. */
bool registry_try(struct registry *r, uint32_t worker, struct note *n);

/* Give a note to a worker, or release it where the worker does not listen. A full inbox stops the
 * worker's notes until it asks for a resync. */
void registry_post(struct registry *r, uint32_t worker, struct note *n);

/* Something is missing on all channels, but nothing before `first`. Needs no memory. */
void registry_mark(struct registry *r, enum gap_reason reason, uint64_t first);

/* ---- registry_channel.c: channels, logs, memory ---- */

/* Find a channel, or make it with what is known of its past. NULL: out of memory. */
struct channel *channel_get(struct registry *r, const char *name, size_t len);

/* Make a channel whose log, still empty, is to be filled with what is known of its past. No
 * interest is joined: there is none yet. ERR_NOMEM, or ERR_EXISTS if it is there. */
int channel_restore(struct registry *r, const char *name, size_t len, struct channel **out);

/* Whether the log says anything that a new one would not. */
bool channel_remembers(const struct channel *c);

/* Free a channel and its log; it must have no interest. */
void channel_destroy(struct registry *r, struct channel *c);

/* What a log or a pattern's view that starts empty must confess: the position up to which nothing
 * is known, and why. In mode on-demand nobody listened before the subscription; else only stubs
 * that were dropped. False: nothing. */
bool registry_confession(struct registry *r, bool pattern, const struct name *topic, uint64_t *seq,
                         enum gap_reason *reason);

/* Note what the channel's memory costs now, and that it was used. */
void channel_touch(struct registry *r, struct channel *c);

/* The same without the use. */
void channel_recount(struct registry *r, struct channel *c);

/* Drop the channel if nothing is known or wanted of it. */
void channel_drop_if_empty(struct registry *r, struct channel *c);

/* Append a hole and tell the workers. */
void channel_hole(struct registry *r, struct channel *c, enum gap_reason reason);

/* Make the log what the rule says of its bounds and of slow clients. */
void channel_obey(struct registry *r, struct channel *c);

/* Find the rule again if there has been a reload since. Before every use of it. */
void channel_renew(struct registry *r, struct channel *c);

/* Evict by age. */
void channel_expire(struct registry *r, struct channel *c);

/* Expire so many channels, whose turn it is; but stop after so many evictions. */
void channels_sweep(struct registry *r, size_t channels, uint64_t evictions);

/* Evict until history.total_bytes holds. */
void registry_enforce_total(struct registry *r);

/* The chanlog_evicted call-back; ctx is a struct evicting. */
struct evicting {
    struct registry *r;
    struct channel *c;
};
void channel_evicted(void *ctx, uint64_t seq);

/* ---- registry_roster.c: what people see of channels ---- */

/* A message of so many bytes has come at this position. */
void traffic_count(struct traffic *t, uint64_t now, size_t bytes);

/* Messages a second in about the last ten of them. */
double traffic_rate(const struct traffic *t, uint64_t now);

/* The channel is about to go. */
void channel_walks_leave(struct registry *r, struct channel *c);

/* ---- registry_command.c: what is not about logs ---- */

/* Give a worker that listens again the commands it has not got. */
void registry_repeat_commands(struct registry *r, uint32_t worker);

void registry_forget_commands(struct registry *r);

/* ---- registry_interest.c: who wants what ---- */

/* Link a new channel with the patterns that match it. ERR_NOMEM: not linked at all. */
int interests_join(struct registry *r, struct channel *c);

/* Take, replace or drop a worker's interest. */
void interest_take(struct registry *r, uint32_t worker, const struct note *n);
void interest_drop(struct registry *r, uint32_t worker, uint32_t view);

/* Where merged views have outgrown their bound, refuse the one that spans most channels. */
void interests_shed(struct registry *r);

/* Tell interests whose coverage has changed. */
void interest_refresh(struct registry *r, struct interest *i);

#endif
