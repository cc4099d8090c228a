/* An upstream over the fake source, for tests of what it subscribes to and which messages count. */
#ifndef TICKERD_TEST_UPSTREAM_RIG_H
#define TICKERD_TEST_UPSTREAM_RIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fake_source.h"
#include "tickerd/broker/upstream.h"

enum { SECOND = 1000000 };

struct upstream_rig {
    struct config *config;
    struct fake_source source;
    struct upstream up;
    uint64_t clock;
    struct buf accepted; /* "name=payload " of each message that counted */
};

/* Connected, with this redis.mode and redis.prefix, and a linger of 60 s. */
void upstream_rig_init(struct upstream_rig *r, const char *mode, const char *prefix);
void upstream_rig_finish(struct upstream_rig *r);

void rig_want(struct upstream_rig *r, const char *topic, bool pattern);
void rig_unwant(struct upstream_rig *r, const char *topic, bool pattern, uint64_t now);

/* No longer want it, and let it linger no more at that time. */
void rig_end_now(struct upstream_rig *r, const char *topic, bool pattern, uint64_t at);

/* Publish, and deliver everything that is under way. */
void rig_publish(struct upstream_rig *r, const char *channel, const char *payload);

/* These messages have counted since the last call. */
void rig_expect(struct upstream_rig *r, const char *accepted);

bool rig_covers(const struct upstream_rig *r, const char *name);

#endif
