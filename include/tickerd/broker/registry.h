/* The hub's state: every channel's authoritative log, and which workers are interested in what.
 * Knows no sockets and no threads: messages and requests come in, notes go out by a function.
 *
 *     channel ──< edge >── interest (worker, view): a channel, or a pattern over many
 *
 * Memory is bounded: each log by its rule, all together by history.total_bytes (channels without
 * an interest give way first, least recently used first). An emptied log leaves a stub, so that a
 * quiet channel is no gap; a dropped stub raises the watermark, below which nothing is certain. */
#ifndef TICKERD_BROKER_REGISTRY_H
#define TICKERD_BROKER_REGISTRY_H

#include "tickerd/base/list.h"
#include "tickerd/base/strmap.h"
#include "tickerd/broker/chanlog.h"
#include "tickerd/broker/metrics.h"
#include "tickerd/broker/protocol.h"
#include "tickerd/broker/timeline.h"
#include "tickerd/broker/upstream.h"
#include "tickerd/wire/config.h"
#include "tickerd/wire/envelope.h"

struct interest; /* one worker's view of one topic */

struct registry_worker {
    struct interest **interests; /* by view number */
    uint32_t size;
    bool stopped; /* its inbox was full: nothing goes there until it says NOTE_RESYNC */
    /* What it has to be told then, in order; owned, of owned references. */
    struct command **commands;
    uint32_t command_count;
    bool disconnect_all; /* there were too many of them */
};

struct registry {
    struct hubclock clock;
    struct upstream upstream;
    const struct config *config; /* borrowed; see registry_reload */
    uint32_t reloads;            /* how often it has been replaced */
    struct metrics *metrics;
    struct frame_stats *stats;
    struct strmap channels; /* name -> struct channel */
    struct strmap heads;    /* literal head -> struct head: the patterns in use */
    uint32_t head_lengths[TOPIC_MAX + 1];
    struct link idle;   /* channels without interests, least recently used first */
    struct link used;   /* the others, but for those found to keep no event */
    struct link sweep;  /* all channels, in the order in which ages are checked */
    struct link walks;  /* struct channel_walk.link */
    uint64_t cost;      /* of all channels with their logs */
    uint64_t merged;    /* of their places in the merged views of patterns */
    uint64_t events;    /* kept in all logs */
    uint64_t watermark; /* newest position evicted with a dropped stub */
    struct ring marks;  /* outages of the whole instance */
    bool connected;     /* the source is up */
    bool live;          /* and nothing that is published escapes us */
    uint64_t heard;     /* the position of the last message */
    uint64_t outage;    /* the same when it was last lost; 0: it has never been live */
    struct registry_worker *workers;
    uint32_t worker_count;
    struct buf scratch, block; /* for reading envelopes, for encoding */
    /* Hand a note to a worker's inbox. False: it is full (the note stays the caller's). */
    bool (*post)(void *ctx, uint32_t worker, struct note *n);
    void *ctx;
};

/* ERR_NOMEM: nothing to finish. `clock` has been started. */
int registry_init(struct registry *r, const struct config *config, uint32_t workers,
                  struct source *source, const struct hubclock *clock, struct metrics *metrics,
                  struct frame_stats *stats);
void registry_finish(struct registry *r);

/* A message from the source (see source_events.on_message). */
void registry_message(struct registry *r, const char *pattern, size_t pattern_len,
                      const char *channel, size_t channel_len, const char *payload,
                      size_t payload_len);

/* The source's other call-backs. */
void registry_acked(struct registry *r, enum source_sub kind, const char *name, size_t len,
                    bool on);
void registry_up(struct registry *r);
void registry_down(struct registry *r);

/* A note from a worker; takes over what it owns. */
void registry_request(struct registry *r, uint32_t worker, struct note *n);

/* Tell all workers what they start from. To be called once, before anything happens. */
void registry_start(struct registry *r);

/* Tell all workers that the time line has changed. */
void registry_timeline(struct registry *r);

/* Ages, lingering subscriptions. Call several times a second. */
void registry_tick(struct registry *r);

/* Replace the configuration: bounds, policies and payload modes are the new one's from now on. It
 * differs in nothing that needs a restart. The old one is not looked at any more. */
void registry_reload(struct registry *r, const struct config *config);

/* Pass a command on to all workers; takes the caller's reference. A worker that does not listen
 * gets it when it does, and where there are too many of them, one that disconnects everybody. */
void registry_command(struct registry *r, struct command *c);

/* ---- a look at the channels: registry_roster.c ---- */

struct channel;

/* Goes over all channels in no order, in pieces, between which channels come and go: those that are
 * there all the time come once, and none comes twice. */
struct channel_walk {
    struct link link; /* in registry.walks */
    struct link *next, *last;
    bool over;
};

void channel_walk_start(struct registry *r, struct channel_walk *w);
/* NULL: those were all. The result is for channel_name and channel_describe, at once. */
const struct channel *channel_walk_next(struct registry *r, struct channel_walk *w);
void channel_walk_stop(struct channel_walk *w);

/* Borrowed. */
struct name *channel_name(const struct channel *c);

struct channel_facts {
    uint64_t messages, bytes; /* of payloads, since the start of this run */
    double rate;              /* messages a second in about the last ten of them */
    uint64_t kept_events, kept_bytes;
    uint64_t last_us; /* wall clock: of the newest event that is known; 0: none */
    size_t last_id_len;
    char last_id[ENVELOPE_ID_MAX]; /* its id; of one that is not kept any more, the broker's */
};

void channel_describe(const struct registry *r, const struct channel *c, struct channel_facts *out);

/* How many channels have a log or a stub. */
size_t registry_channels(const struct registry *r);

#endif
