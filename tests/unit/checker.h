/* A naive judge of what clients saw. It knows what was published, in Redis's order, and what became
 * of it (the position it got, or that it was lost), and reads each client's events with nothing but
 * DESIGN's promises in mind: in order, nothing twice, nothing missing that no gap announces, no gap
 * where nothing could be missing.
 *
 * Everything has a key on one line: twice its position for what the hub has stamped; an odd number
 * for what was lost, just above the position the hub had reached. */
#ifndef TICKERD_TESTS_CHECKER_H
#define TICKERD_TESTS_CHECKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sse_decoder.h"
#include "tickerd/broker/timeline.h"

enum { CHECKER_CHANNELS = 8, CHECKER_TEXT = 48 };

struct checker_message {
    uint32_t channel;
    uint32_t copies; /* that are still on their way to the hub */
    bool oversize;
    uint64_t key;            /* 0: on its way */
    char data[CHECKER_TEXT]; /* what event.data is to be */
};

struct checker_outage {
    uint64_t from, to; /* keys */
};

struct checker {
    const char *const *channels; /* CHECKER_CHANNELS names */
    struct checker_message *messages;
    size_t count, room;
    size_t next; /* the first that is on its way */
    struct checker_outage *outages;
    size_t outage_count;
    bool on_demand;      /* gaps `upstream` and `unsubscribed` may come at any time */
    bool watermark;      /* stubs have been dropped: gaps `evicted` may be needless */
    char error[512];     /* "": none yet */
    size_t events, gaps; /* judged so far */
};

/* One client through all its connections. */
struct checker_client {
    bool matches[CHECKER_CHANNELS];
    bool connected_once; /* it has an id */
    bool publisher_id;   /* its last id is a publisher's */
    bool resuming;       /* the next event is the open event of a resume */
    bool history;
    char last_id[160];
    uint64_t position;                  /* key of the last event or gap */
    uint64_t settled[CHECKER_CHANNELS]; /* up to here all is seen or announced */
    uint64_t fresh[CHECKER_CHANNELS];   /* history: what lies below may be hidden; 0: nothing */
    /* In mode on-demand a stream may have begun before its subscription was confirmed, and hear of
     * a channel by another one: what it missed is then announced later. Key of such a loss; 0:
     * none. */
    uint64_t owed[CHECKER_CHANNELS];
    bool may_be_unknown; /* the next event may be a gap unknown-id */
    size_t seen;         /* messages of this connection's decoder */
};

void checker_init(struct checker *k, const char *const *channels);
void checker_finish(struct checker *k);

/* Published: so many copies are on their way. Returns the message's number, which is to be part of
 * unique data. */
size_t checker_published(struct checker *k, uint32_t channel, size_t copies, bool oversize,
                         const char *data, uint64_t now);
/* A copy has reached the hub, whose position went from `before` to `after` by it. */
void checker_stamped(struct checker *k, uint64_t before, uint64_t after);
/* The connection was lost with all that was on its way; the hub is at `now`. */
void checker_lost(struct checker *k, uint64_t now);
/* The source is live (again); the hub is at `now`. */
void checker_up(struct checker *k, uint64_t now);

/* A connection begins: what the client remembers stays. */
void checker_connect(struct checker_client *c);
/* Judge what is new in the decoder; the hub is at `now`. */
void checker_read(struct checker *k, struct checker_client *c, const struct sse_decoder *d,
                  const struct timeline *line, uint64_t now);
/* Everything has been delivered: nothing may be missing now. */
void checker_end(struct checker *k, const struct checker_client *c);

#endif
