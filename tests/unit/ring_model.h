/* The naive model of a log: it remembers everything that ever happened, and says of a ring whether
 * it tells a client at any position the same. */
#ifndef TICKERD_TESTS_RING_MODEL_H
#define TICKERD_TESTS_RING_MODEL_H

#include "tickerd/broker/ring.h"

enum model_kind { MODEL_KEPT, MODEL_EVICTED, MODEL_HOLE };

struct model_entry {
    uint64_t seq;
    uint32_t fp, len;
    enum model_kind kind;
    const struct name *channel; /* of an event; borrowed */
};

struct ring_model {
    struct model_entry *all; /* by seq */
    size_t count, room;
    size_t oldest; /* nothing before this index is kept */
    size_t kept;
    uint64_t bytes; /* of the kept */
};

void model_init(struct ring_model *m);
void model_finish(struct ring_model *m);

void model_append(struct ring_model *m, const struct frame *f);
void model_hole(struct ring_model *m, uint64_t seq);

/* The oldest kept entry, or NULL. */
struct model_entry *model_oldest(struct ring_model *m);

/* The kept entry at exactly this seq, or NULL. */
struct model_entry *model_find(struct ring_model *m, uint64_t seq);
void model_evict(struct ring_model *m, struct model_entry *e);

/* Asserts (cmocka) that the entries above `position` are the frames kept, in order, and in each
 * place where something was lost at least one hole, standing at losses only, the last at the newest
 * of them, with what it says of evicted events right. */
void model_check(const struct ring_model *m, const struct ring *r, uint64_t position);

/* Asserts that the counts of the ring agree with its slots, and their order. */
void model_check_shape(const struct ring_model *m, const struct ring *r);

#endif
