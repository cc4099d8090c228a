/* A look at the sessions of a worker, for people: who is there, since when, and how far behind.
 * Nothing is kept for it; it is all read from the sessions when somebody asks. A look at very many
 * of them is taken in pieces, between which sessions come and go. */
#ifndef TICKERD_BROKER_ROSTER_H
#define TICKERD_BROKER_ROSTER_H

#include "tickerd/broker/session.h"

/* Goes over all sessions of a fan-out, oldest first. */
struct walker {
    struct fanout *fanout;
    struct link link;  /* in fanout.walkers */
    struct link *next; /* struct session.all of the next one, or the end of the list */
};

void walker_start(struct walker *w, struct fanout *f);

/* NULL: those were all. It may be asked again, for who has come meanwhile. */
struct session *walker_next(struct walker *w);

/* Must come before the fan-out's end. */
void walker_stop(struct walker *w);

/* This session is about to leave the list. */
void walkers_leave(struct fanout *f, struct session *s);

/* What a session is owed: events that it has not been sent yet, and their bytes. At most LAG_LOOKS
 * entries of its views are looked at; where that is not all, it is at least so much. */
enum { LAG_LOOKS = 10000 };

struct lag {
    uint64_t events, bytes;
    bool at_least;
};

struct lag session_lag(const struct session *s);

/* "waiting": for Redis' word on its channels; "live"; "behind": it has not caught up with what was
 * published before; "stalled": its connection takes nothing at present. */
const char *session_standing(const struct session *s);

/* Whether it asked for this channel or, spelt canonically, this pattern. */
bool session_names(const struct session *s, const char *topic, size_t len);

/* Its subject; NULL: none. */
const char *session_subject(const struct session *s);

/* Append a session as a JSON object (no blanks): address, subject, channels, patterns, since,
 * last_id, events, bytes, gaps, lag, state, worker. `address` is plain text. */
void session_put_json(struct buf *out, const struct session *s, const char *address,
                      uint32_t worker);

#endif
