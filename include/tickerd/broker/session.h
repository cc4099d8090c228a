/* One client's stream: what it subscribed to, where it stands, and what is on its way. Small on
 * purpose (there may be a hundred thousand); everything that is needed only until the stream runs
 * sits in `opening` and is freed then.
 *
 * Life: session_open (waiting for views) → started by the fan-out when all views are ready or the
 * time is up → streaming → ended by the peer (session_peer_gone), by an error or a time-out, or by
 * session_leave. What first made it end is its reason. When a session ends it calls
 * transport->close once; its memory is the transport's. */
#ifndef TICKERD_BROKER_SESSION_H
#define TICKERD_BROKER_SESSION_H

#include "tickerd/broker/fanout.h"
#include "tickerd/broker/resume.h"
#include "tickerd/broker/transport.h"

enum session_state { SESSION_WAITING, SESSION_STREAMING, SESSION_ENDED };

struct opening; /* what is known of the request until the stream starts */

struct session {
    struct transport *transport;
    struct fanout *fanout;
    uint64_t position;      /* everything up to here has been handed over */
    struct frame *inflight; /* the frame that was handed over in part; owned reference */
    uint32_t inflight_off;  /* bytes of it that are gone */
    uint32_t fp;            /* of the event at the position, for gap events' `from` */
    struct sub *subs;       /* &one, or an owned array */
    struct sub one;
    struct link timer;       /* in one of the fan-out's lists: waiting, quiet or stalled */
    struct link all;         /* in the fan-out's list of all, by age */
    uint64_t since_us;       /* when it entered its timer list */
    uint64_t started_us;     /* no other of the fan-out has the same */
    struct opening *opening; /* until the stream starts */
    struct replay *replay;   /* what it remembers until it has caught up; often NULL */
    struct right *right;     /* NULL: it has no token, and nothing is decided channel by channel */
    uint64_t events, bytes;  /* written */
    uint32_t gaps;           /* gap events among what was written, which `events` has not */
    uint32_t turn;           /* the fan-out's turn it was flushed in */
    uint16_t sub_count;
    uint8_t state;
    uint8_t format;
    bool raw;       /* the frame in flight has one form only */
    bool blocked;   /* waits for the transport to take bytes */
    bool behind;    /* has been blocked, or came back, and has not caught up since */
    bool live;      /* has caught up once */
    bool leaving;   /* ends as soon as nothing is in flight */
    bool goodbye;   /* the last line is out or in flight */
    bool condemned; /* has lost its right: gets nothing more but the last line */
    uint8_t why;    /* enum closing: what began its end */
};

struct session_request {
    const struct target *target; /* read during the call only */
    const char *last_event_id;   /* NULL: none; wins over the target's */
    size_t last_event_id_len;
    const char *head; /* the answer's head, sent in the same write as the first event */
    size_t head_len;
    struct grant *grant; /* by which auth_decide allowed the target; NULL: none, see auth.h */
};

/* Open a stream on this transport; `s` is zeroed memory of the transport's. The stream may start,
 * or even end, within the call. The grant is the session's then. On ERR_NOMEM the session is ended,
 * nothing was closed, and the grant stays the caller's. */
int session_open(struct session *s, struct fanout *f, struct transport *t,
                 const struct session_request *request, uint64_t now_us);

/* The transport can take bytes again, as asked by want_write. */
void session_writable(struct session *s, uint64_t now_us);

/* The connection is gone: ERR_CLOSED, by the peer; ERR_TIMEOUT, since the peer took nothing; else
 * for another reason. */
void session_peer_gone(struct session *s, int err);

/* Send what is owed, if the transport can take it. Once a turn at most. */
void session_flush(struct session *s, uint64_t now_us);

/* Start a waiting session, ready or not; unless it is worth while to wait a moment longer for the
 * event its id names (it then goes to fanout.behind, to be tried again). */
void session_start(struct session *s, uint64_t now_us);

/* Whether every view of a waiting session is ready. */
bool session_ready(const struct session *s);

/* Send a heartbeat. */
void session_heartbeat(struct session *s, uint64_t now_us);

/* End a stream that has been too slow for a channel with the policy `disconnect`. Whether it was.
 */
bool session_cut_if_slow(struct session *s);

/* Tell the client when to come back (fanout_retry_ms) and end on a block boundary. */
void session_leave(struct session *s, enum closing why, uint64_t now_us);

/* It has lost its right: from now on it gets nothing more but the rest of what is in flight and its
 * last line, which fanout.condemned, where it waits, brings. False: it was on its way out already.
 */
bool session_condemn(struct session *s, enum closing why);

/* Send a condemned one away. */
void session_send_away(struct session *s, uint64_t now_us);

/* Decide by the present configuration which of its patterns must be decided channel by channel.
 * False: out of memory, nothing changed. */
bool session_restrict(struct session *s);

/* End at once: detach from everything and close the transport. */
void session_end(struct session *s, enum closing why, bool abort);

/* Append the stream's first block. `id` is text of one line; NULL: none, for who is turned away and
 * shall ask for his history again, which an id would overrule. */
void open_encode(struct buf *out, uint64_t retry_ms, enum resume_kind kind, const char *id,
                 size_t id_len);

/* Whether a client's id may be repeated to it: 1–128 printable ASCII bytes. */
bool session_id_printable(const char *id, size_t len);

#endif
