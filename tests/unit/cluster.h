/* Several instances of the broker on one simulated Redis, and clients that go from one to another,
 * all under random load and judged by judge.h. Each PUBLISH goes in one order to every instance
 * that is connected and subscribed; from there on each is alone: how long its messages are under
 * way, what its wall clock shows, when it is cut off, stalls or crashes.
 *
 * In two seeds of three clients need tokens, and hear of their patterns what those, or the rules,
 * allow; and now and then somebody's right is taken away for a moment.
 *
 * All of it stays within what resume.window assumes: a message is under way for at most
 * ping_interval + ping_timeout, and wall clocks differ by at most resume.clock_skew or by hours. */
#ifndef TICKERD_TESTS_CLUSTER_H
#define TICKERD_TESTS_CLUSTER_H

#include "judge.h"
#include "prng.h"
#include "world.h"

enum { CLUSTER_INSTANCES = 3, CLUSTER_CLIENTS = 12 };

/* What may happen in a seed. */
enum cluster_family {
    CLUSTER_CALM,   /* nothing but delays and clocks: payloads are unique, all is kept */
    CLUSTER_ROUGH,  /* outages, crashes, stalls, clock steps, repetitions; everything is kept */
    CLUSTER_DEMAND, /* the same in mode on-demand */
    CLUSTER_TIGHT,  /* and messages that are too large, histories that clients fall off */
};

struct cluster_instance {
    struct world w;
    struct judge *judge;
    size_t run;
    int64_t wall;     /* its wall clock, when nobody has stepped it */
    uint64_t lag;     /* messages are under way for at most this long */
    uint64_t waiting; /* since when something is under way; 0: nothing is */
    uint64_t turned;  /* when the hub last had a turn */
    uint64_t woken;   /* when the last stall ended */
    uint64_t asking;  /* since when Redis owes it an answer; 0: it does not */
    uint64_t stalled; /* until then nobody has; 0: not stalled */
    uint32_t steps;   /* of the wall clock in this run */
};

struct cluster_client {
    struct world_client c;
    struct judge_client view;
    bool connected;
    bool homely; /* mostly comes back to where it was */
    size_t at;   /* instance */
    char url[SIM_URL];
    bool has_token;
    char claim[SIM_URL]; /* for grant_of */
};

struct cluster {
    struct prng rng, rights_rng;
    enum cluster_family family;
    bool naive; /* foreign ids are dressed up as the instance's own */
    uint64_t seed, time;
    struct config settings; /* what all instances are given; owns nothing */
    uint32_t workers;
    size_t queue;
    bool repeats, stalls, steps, crashes, outages;
    struct judge judge;
    struct cluster_instance instances[CLUSTER_INSTANCES];
    size_t instance_count;
    struct cluster_client clients[CLUSTER_CLIENTS];
    size_t client_count;
    const struct cluster_client *guilty; /* whose stream broke a promise */
    size_t overflows, cuts, restarts, restricted, revoked;
    struct buf *story; /* of each client; NULL: not kept */
};

/* `told`: keep the story of each client, for the report. */
struct cluster *cluster_create(uint64_t seed, enum cluster_family family, bool naive, bool told);
void cluster_destroy(struct cluster *s);

/* Run it to its end, or to the first broken promise. The verdict is in s->judge. */
void cluster_run(struct cluster *s);

/* The verdict as text, with the guilty client and its story where that is kept. */
void cluster_report(const struct cluster *s, struct buf *out);

#endif
