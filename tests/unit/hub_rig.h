/* A registry over a fake source, with workers that only write down what they are told. Needs
 * cmocka.h before it. What they write down, one word a note:
 *
 *     frame1:x  hole1:a:oversize  evict1:x  live1:yes  reset1.3+[a:x a:y !a:evicted]
 *     up  down  timeline  disconnect:42  disconnect:*
 *
 * 1 is the view, 3 the generation (for other notes only where it is not the newest: `frame1.2:x`),
 * + says live; x is the event's data, a the channel, * all channels. */
#ifndef TICKERD_TESTS_HUB_RIG_H
#define TICKERD_TESTS_HUB_RIG_H

#include "fake_source.h"
#include "tickerd/broker/registry.h"

enum { HUB_WORKERS = 3, HUB_SEEN = 512 };

struct hub_rig {
    struct config *config;
    struct fake_source source;
    struct registry registry;
    struct metrics metrics;
    struct frame_stats stats;
    uint64_t mono;
    struct {
        struct buf text;
        size_t room; /* notes that still fit */
        uint32_t gen[64];
    } workers[HUB_WORKERS];
    struct {
        uint64_t seq;
        char data[32];
    } seen[HUB_SEEN]; /* to name what is evicted */
    size_t seen_count;
};

/* Takes over the configuration. The source is not connected yet. */
void hubrig_init(struct hub_rig *h, struct config *config);
void hubrig_finish(struct hub_rig *h);
/* The same with settings, connected and up, with marks asked for and forgotten. */
void hubrig_start(struct hub_rig *h, const char *const *settings);

/* What workers ask. */
void hubrig_interest(struct hub_rig *h, uint32_t worker, uint32_t view, uint32_t gen,
                     const char *topic, bool pattern);
void hubrig_drop(struct hub_rig *h, uint32_t worker, uint32_t view);
void hubrig_resync(struct hub_rig *h, uint32_t worker);

/* Publish prefix + channel and deliver all that is under way. */
void hubrig_publish(struct hub_rig *h, const char *channel, const char *payload);
/* Let the clock go on (in steps, with ticks) by so many microseconds. */
void hubrig_sleep(struct hub_rig *h, uint64_t us);
void hubrig_settle(struct hub_rig *h);

/* Replace the configuration by one with these settings; the old one is gone. */
void hubrig_reload(struct hub_rig *h, const char *const *settings);
/* A command. */
void hubrig_disconnect(struct hub_rig *h, const char *sub);

/* The worker was told exactly this since the last call. */
void hubrig_expect(struct hub_rig *h, uint32_t worker, const char *text);
void hubrig_forget(struct hub_rig *h);

#endif
