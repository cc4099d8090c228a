/* Which subscriptions the hub holds at the source, and what they cover.
 *
 * Mode `all` holds one pattern over the whole prefix. Mode `on-demand` holds one SUBSCRIBE per
 * channel that is wanted and one PSUBSCRIBE per literal head of a wanted pattern (`user.` for
 * `user.?5`: the rest is matched here, since every pattern in Redis costs every PUBLISH); each is
 * kept for a while after its last use.
 *
 * Subscriptions overlap, and then a message arrives more than once. It counts from the exact
 * subscription if that is acknowledged, else from the oldest acknowledged pattern; payloads are
 * never compared, since equal ones are not the same. */
#ifndef TICKERD_BROKER_UPSTREAM_H
#define TICKERD_BROKER_UPSTREAM_H

#include "tickerd/base/list.h"
#include "tickerd/base/strmap.h"
#include "tickerd/broker/source.h"
#include "tickerd/wire/config.h"
#include "tickerd/wire/topic.h"

/* Every pattern in Redis costs every PUBLISH there. */
enum { UPSTREAM_LINGER_MAX = 10000, UPSTREAM_PATTERNS_MAX = 4096 };

struct upsub; /* one subscription */

struct upstream {
    struct source *source; /* borrowed */
    enum redis_mode mode;
    char *prefix; /* owned copy */
    size_t prefix_len;
    uint64_t linger_us;
    struct strmap channels;          /* name without prefix -> struct upsub */
    struct strmap patterns;          /* literal head without prefix -> struct upsub */
    struct strmap wire;              /* pattern as the source knows it -> struct upsub */
    uint32_t lengths[TOPIC_MAX + 1]; /* how many heads there are of each length */
    struct link lingering;           /* by time of last use */
    struct link ended;               /* given up, the source has not confirmed yet */
    size_t lingering_count;
    bool resumed; /* what an earlier run was told by kept subscriptions still counts */
};

/* ERR_NOMEM: nothing to finish. In mode `all` the one subscription is asked for here. */
int upstream_init(struct upstream *u, struct source *source, const struct config *config);
void upstream_finish(struct upstream *u);

/* Want a channel, or the channels that begin with a pattern's literal head. Each call is matched
 * by one of upstream_unwant. ERR_NOMEM, or ERR_RANGE where there are UPSTREAM_PATTERNS_MAX patterns
 * in use: nothing changed. */
int upstream_want(struct upstream *u, bool pattern, const char *topic, size_t len);
void upstream_unwant(struct upstream *u, bool pattern, const char *topic, size_t len,
                     uint64_t now_us);

/* A channel, or a pattern's literal head, without prefix. */
struct upstream_topic {
    bool pattern;
    const char *name; /* from upstream_find or upstream_acked: valid until upstream_reap */
    size_t len;
};

struct upstream_held {
    struct upstream_topic topic;
    uint64_t since; /* the position since which it is acknowledged; 0: it is not */
};

/* Call `each` for every subscription that is not being given up: those that linger by time of last
 * use, then those in use. */
typedef void upstream_visit(void *ctx, const struct upstream_held *held);
void upstream_each(const struct upstream *u, upstream_visit *each, void *ctx);

/* Take up a subscription that an earlier run held: it lingers from now on. As long as the caller
 * leaves `resumed` true an acknowledgement leaves it with the position since which it was held:
 * what was missed in between, the caller knows. For mode on-demand. What there is no memory or no
 * room for is left out. */
void upstream_keep(struct upstream *u, const struct upstream_held *held, uint64_t now_us);

/* End subscriptions that have lingered long enough. */
void upstream_tick(struct upstream *u, uint64_t now_us);

/* The channel's name without the prefix if this message counts, else NULL: it is a duplicate, or
 * not under the prefix. The result points into `channel`. */
const char *upstream_accept(const struct upstream *u, const char *pattern, size_t pattern_len,
                            const char *channel, size_t channel_len, size_t *name_len);

/* An acknowledgement came, at position `now`. False if it is nothing of ours; else *topic is filled
 * in, and upstream_reap must follow once the caller has drawn its conclusions. */
bool upstream_acked(struct upstream *u, enum source_sub kind, const char *name, size_t len, bool on,
                    uint64_t now, struct upstream_topic *topic);

/* What a wire name stands for, without changing anything. False if it is nothing of ours. */
bool upstream_find(struct upstream *u, enum source_sub kind, const char *name, size_t len,
                   struct upstream_topic *topic);

/* Free the subscription behind an acknowledgement, if it has ended. */
void upstream_reap(struct upstream *u, const struct upstream_topic *topic);

/* The connection is gone: nothing is acknowledged any more. */
void upstream_down(struct upstream *u);

/* Whether every message on this channel reaches us: it is covered by a subscription that has been
 * acknowledged and not given up since, not even to be wanted again. */
bool upstream_covers(const struct upstream *u, const char *name, size_t len);

/* Whether every channel with this pattern's literal head is covered. */
bool upstream_covers_pattern(const struct upstream *u, const char *pattern, size_t len);

/* The position since which the channel, or every channel with the pattern's literal head, is
 * covered in that sense; 0: it is not. */
uint64_t upstream_since(const struct upstream *u, bool pattern, const char *topic, size_t len);

#endif
