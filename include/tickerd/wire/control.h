/* Messages on control.channel, by which publishers command all instances:
 *
 *     {"disconnect":{"sub":"42"}}
 *     {"disconnect":{"channel":"news"}}
 *     {"disconnect":{"sub":"42","channel":"news"}}
 *
 * The streams that fit all that is named are closed. */
#ifndef TICKERD_WIRE_CONTROL_H
#define TICKERD_WIRE_CONTROL_H

#include <stddef.h>

#include "tickerd/base/buf.h"

enum { CONTROL_MAX = 4096 }; /* bytes of a message */

/* Whose streams are to be closed; at least one of the two is there. */
struct control {
    char *sub;     /* owned; NULL: anybody's; 1 to TOKEN_SUBJECT_MAX bytes */
    char *channel; /* owned; NULL: any; a valid name that is not reserved */
};

/* Read a message. 0; ERR_NOMEM; or ERR_INVALID with *why, a sentence without a full stop that
 * quotes nothing of the message. Nothing to finish but after 0. */
int control_parse(struct control *c, const char *text, size_t len, const char **why);
void control_finish(struct control *c);

/* What keeps a control from being one, as *why above; NULL: nothing. */
const char *control_unfit(const struct control *c);

/* Append what it does, for logs: `disconnect sub "42" channel "news"`. */
void control_print(struct buf *out, const struct control *c);

#endif
