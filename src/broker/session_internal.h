/* Between the parts of a session. */
#ifndef TICKERD_SESSION_INTERNAL_H
#define TICKERD_SESSION_INTERNAL_H

#include "tickerd/broker/session.h"

/* ---- session.c: its life ---- */

/* Move it to the end of one of the fan-out's lists in order of time. */
void session_enter(struct session *s, struct link *list, uint64_t now_us);

/* Note why it ends, unless something else has begun its end. */
void session_blame(struct session *s, enum closing why);

/* session_start; without `may_wait` it begins at once. */
void session_begin(struct session *s, bool may_wait, uint64_t now_us);

/* What decides its patterns channel by channel; NULL: it may hear all of them. */
struct right *session_restriction(const struct session *s);

/* Whether its right has ended, by the clock or otherwise; it is condemned then. */
bool session_right_lost(struct session *s, uint64_t now_us);

/* Whether it has something to catch up with. */
void session_set_behind(struct session *s, bool behind);

/* ---- session_send.c: what it sends ---- */

/* What decides its next bytes. */
struct reader session_reader(const struct session *s);

/* A gap event is on its way for good; `channel` NULL: all. */
void session_count_gap(struct session *s, enum gap_reason reason, struct name *channel);

#endif
