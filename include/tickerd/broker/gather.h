/* Gathering: what a client at position P is owed, as one vector for one write.
 *
 * The walk merges the rings of all views of a client, and the marks, by seq.
 *
 * A position says that everything up to it has been sent or told, on this instance or another: so
 * no event goes out while something older is missing untold. Mostly a hole stands before the events
 * that follow its loss. But a hole may reach far back over events of other channels; such losses
 * ahead are announced before those events, and not again where the hole stands.
 *
 * Of a pattern's channels a client may be allowed some only. To the others it is as if they were
 * not there: their events and the holes that name them are passed by, and what is sent is what a
 * client of the allowed ones would be sent; but that a hole where several channels' have melted is
 * told, since one of them may be allowed. That never cuts a client.
 *
 * Clients that stand at the same position of the same view get the same batch
 * without walking again: with a thousand clients on a channel the gathering is done once. */
#ifndef TICKERD_BROKER_GATHER_H
#define TICKERD_BROKER_GATHER_H

#include "tickerd/base/strmap.h"
#include "tickerd/broker/batch.h"
#include "tickerd/broker/replica.h"
#include "tickerd/broker/rights.h"
#include "tickerd/broker/view.h"

/* What a stream must remember beyond its position until it has caught up. */
struct replay {
    /* What a first connect with `history=` may see: events up to `until.head` only from where each
     * channel's last N begin, and no holes that were there before the client came. Zero for others.
     */
    struct moment until;
    struct strmap starts; /* channel name -> struct replay_start (owned); empty: all events */
    struct told told;
};

struct replay_start {
    struct name *channel; /* owned reference */
    uint64_t seq;         /* the first event to send */
    uint32_t left;        /* while counting back: how many are still wanted */
};

/* What decides a client's next bytes. */
struct reader {
    uint64_t position;
    uint32_t fp; /* of the event at the position; 0: none */
    enum stream_format format;
    const struct sub *subs;
    size_t sub_count;
    const struct replay *replay; /* NULL: none */
    struct right *right;         /* decides patterns channel by channel; NULL: it may hear all */
    /* It is slow, or comes back: of channels with the policy `latest` send the newest. */
    bool behind;
    /* It has been at the head: what has been evicted ahead of it, it was too slow for. */
    bool live;
};

/* Fill the batch with what the reader is owed next (perhaps nothing). While one of its views is not
 * loaded that is nothing, with `more`: what the others hold may lie behind what that one will. */
void batch_gather(struct batch *b, const struct replica *r, const struct reader *reader);

/* Whether a client that would go on from here has been too slow for a channel with the policy
 * `disconnect`. Costs nothing where there is no such channel. Which of a pattern's channels it was
 * is seen only by the walk: where they are decided one by one the answer is no, and the client is
 * cut when it takes bytes again, or by write_timeout. */
bool reader_too_slow(const struct reader *reader);

#endif
