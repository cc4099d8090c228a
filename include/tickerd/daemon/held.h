/* Requests to the admin listener whose answers need other threads: the connection is held until
 * then, and may be gone before; who works for the answer need not care. */
#ifndef TICKERD_DAEMON_HELD_H
#define TICKERD_DAEMON_HELD_H

#include "tickerd/daemon/answer.h"

struct held;

/* Hold the request's connection. What is returned ends with held_answer or held_error, once and
 * soon. NULL: out of memory, which has been answered. */
struct held *held_create(struct exchange *x);

/* From any thread: answer with this JSON text (which is taken over and left empty; `failed`: memory
 * was out, and that is answered), or with an error as answer_error does. */
void held_answer(struct held *h, int status, struct buf *json);
void held_error(struct held *h, int status, const char *code, const char *message);
void held_no_memory(struct held *h);

/* From any thread: whether nobody waits for the answer any more. One must be given all the same. */
bool held_is_gone(const struct held *h);

/* Instead of an answer, where the listener has closed: an errand there was cancelled. */
void held_drop(struct held *h);

/* On the listener's thread: the connection is gone. */
void held_gone(struct held *h);

#endif
