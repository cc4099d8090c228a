/* Answers of the public listener: status lines and heads, bodies, errors as JSON (DESIGN §1), and
 * refusals that do not kill an EventSource. Each request gets exactly one. */
#ifndef TICKERD_DAEMON_ANSWER_H
#define TICKERD_DAEMON_ANSWER_H

#include "tickerd/daemon/public.h"
#include "tickerd/wire/target.h"

/* What is known of the request while it is answered. */
struct exchange {
    struct public *p;
    struct conn *conn;
    const struct httpreq *request; /* NULL: it could not be read */
    enum http_method method;       /* HTTP_M_OTHER if it could not be read that far */
    bool wants_stream;             /* Accept names text/event-stream */
    bool token_in_url;             /* the query holds a token */
};

/* Begin an answer in p->answer: the status line and what every head has. The caller appends further
 * header lines and the blank one, and then calls answer_send. */
void answer_begin(struct exchange *x, int status);

/* Put the whole head of a stream into p->answer. */
void answer_stream_head(struct exchange *x);

/* Send what p->answer holds and close. */
void answer_send(struct exchange *x);

/* A whole answer; to a HEAD without the body. `extra` is "" or header lines with their ends. */
void answer_body(struct exchange *x, int status, const char *type, const char *extra,
                 const char *body, size_t len);

/* A final refusal: `{"error":"<code>","message":"<message>"}`. The code is plain; the message may
 * hold any UTF-8. */
void answer_error(struct exchange *x, int status, const char *code, const char *message,
                  const char *extra);

/* Append the body of such a refusal. */
void answer_put_error(struct buf *out, const char *code, const char *message);

/* A refusal that should be temporary. A native EventSource gives up for good on any status but 200,
 * so one that asks for a stream gets a stream that ends at once and says when to come back; others
 * get 503 and Retry-After. `t` may be NULL: the target could not be read. */
void answer_for_now(struct exchange *x, const struct target *t, const char *code,
                    const char *message);
/* The same for want of memory, which is counted. */
void answer_no_memory(struct exchange *x, const struct target *t);

/* The same for what is up to this client, and not before so long: others get 429 (RFC 6585 §4). */
void answer_too_much(struct exchange *x, const struct target *t, const char *code,
                     const char *message, uint64_t wait_us);

#endif
