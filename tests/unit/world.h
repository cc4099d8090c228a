/* The whole broker in memory: one registry over a fake source, workers' fan-outs connected to it by
 * small bounded queues, and clients on fake transports. Nothing moves by itself: the test says when
 * each queue is read and what time it is. Needs cmocka.h before it. */
#ifndef TICKERD_TESTS_WORLD_H
#define TICKERD_TESTS_WORLD_H

#include "fake_source.h"
#include "fake_transport.h"
#include "tickerd/broker/fanout.h"
#include "tickerd/broker/registry.h"
#include "tickerd/broker/session.h"

enum { WORLD_WORKERS = 4, WORLD_QUEUE = 65536 };

#define WORLD_SECOND ((uint64_t)1000000)

/* As net/inbox.h, without the threads. */
struct world_queue {
    struct note *slots;
    size_t size, head, count;
    bool overflown;
};

struct world;

struct world_worker {
    struct world *world;
    uint32_t index;
    struct world_queue notes, requests; /* from and to the hub */
    struct fanout fanout;
    struct metrics metrics;
};

struct world {
    struct config *config;
    struct fake_source source;
    struct registry registry;
    struct metrics metrics;
    struct frame_stats stats;
    uint64_t mono;      /* the time */
    int64_t wall;       /* the wall clock shows so much more; changing it is a step of the clock */
    uint32_t fresh_tag; /* for the epoch after the next such step; 0: there must be none */
    uint64_t reached;   /* as the hub published it at the end of its turn */
    struct world_worker workers[WORLD_WORKERS];
    uint32_t worker_count;
    /* Called for each message that reaches the hub, with the position it got; may be NULL. */
    void (*stamped)(void *ctx, const char *payload, size_t len, uint64_t before, uint64_t seq);
    void *ctx;
};

#define WORLD_WALL (INT64_C(1700000000) * 1000000)

/* What an instance finds when it starts. Tags from `tag` on are its own, one for each epoch. */
struct world_clock {
    uint64_t mono;
    int64_t wall; /* as in struct world */
    uint32_t tag;
};

/* Defaults, but for `settings` (NULL-terminated, or NULL). To be changed by the test before
 * world_init. */
struct config *world_config(const char *const *settings);

/* Takes over the configuration. The source is not connected yet, the workers have asked for their
 * marks but not got them. `queue` bounds each queue to a worker. */
void world_init(struct world *r, struct config *config, uint32_t workers, size_t queue);
/* The same, one of several instances: its clock and its tags are its own, and may be stepped. */
void world_init_at(struct world *r, struct config *config, uint32_t workers, size_t queue,
                   const struct world_clock *at);
void world_finish(struct world *r);

/* The same, connected and settled. */
void world_start(struct world *r, const char *const *settings);

/* Stop and start again `down_us` later with what was saved, and the same configuration. `wall` may
 * have been changed before: that is what the clock did meanwhile. All clients must have been
 * disconnected. The source is not connected yet, as after world_init. */
void world_restart(struct world *r, uint64_t down_us);

/* ---- the hub ---- */

/* Handle up to n requests of a worker. */
size_t world_requests(struct world *r, uint32_t worker, size_t n);
void world_hub_tick(struct world *r);
/* Publish to prefix + channel; stays at the server until the source delivers. */
size_t world_send(struct world *r, const char *channel, const char *payload);
/* The same, all the way to the workers' queues. */
void world_publish(struct world *r, const char *channel, const char *payload);

/* ---- the workers ---- */

/* What a worker does when it wakes up: all its notes, then one flush. */
void world_turn(struct world *r, uint32_t worker);
void world_tick(struct world *r, uint32_t worker);

/* Requests and notes of everybody, and the source, until nothing moves. */
void world_settle(struct world *r);

/* ---- clients ---- */

struct world_client {
    struct fake_transport transport;
    struct session session;
    struct target target;
};

#define WORLD_HEAD "HTTP/1.1 200 OK\r\n\r\n"

/* Ask for `url` (e.g. "/events/a?history=2") at a worker, with this Last-Event-ID (NULL: none). */
void world_connect(struct world *r, uint32_t worker, struct world_client *c, const char *url,
                   const char *last_event_id);
/* The same with a transport that has this much room. */
void world_connect_room(struct world *r, uint32_t worker, struct world_client *c, const char *url,
                        const char *last_event_id, size_t room);
/* The same with this grant, which is the session's then. */
void world_connect_granted(struct world *r, uint32_t worker, struct world_client *c,
                           const char *url, const char *last_event_id, size_t room,
                           struct grant *grant);
/* The peer goes (where the session has not ended), and everything is freed. */
void world_disconnect(struct world_client *c);
/* Room for more bytes; calls session_writable if the session asked for it. */
void world_room(struct world *r, struct world_client *c, size_t room);

/* world_start and a first client at worker 0, settled. */
void world_open(struct world *r, const char *const *settings, struct world_client *c,
                const char *url);
/* Publish, and let worker 0 have its turn. */
void world_deliver(struct world *r, const char *channel, const char *payload);
/* Let time go by in steps as the loops of the hub and worker 0 would, with everything quick. */
void world_sleep(struct world *r, uint64_t us);

/* The client's i-th event, counted from 0, which is tickerd:open. Fails if there is none. */
const struct sse_message *world_event(const struct world_client *c, size_t i);
/* All events so far must be these: "data" of plain events, and for the broker's own their type
 * behind `tickerd:` with the words of their data that matter: "open continued", "gap a evicted"
 * (channel, or * for null). `text` joins them by " | ". */
void world_expect(const struct world_client *c, const char *text);

#endif
