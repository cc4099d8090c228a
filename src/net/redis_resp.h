/* Private to net's Redis source. Bytes from the server in, flat RESP replies out: hiredis'
 * redisReader with object functions that build no reply trees. And a command's bytes. */
#ifndef TICKERD_NET_REDIS_RESP_H
#define TICKERD_NET_REDIS_RESP_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "tickerd/base/buf.h"

enum resp_kind {
    RESP_STATUS, /* part[0] is the text */
    RESP_ERROR,  /* part[0] is the text */
    RESP_STRING, /* part[0] is the text */
    RESP_ARRAY,  /* 1 to RESP_PARTS elements in part[]; an array inside it counts as a blank */
    RESP_OTHER   /* anything Pub/Sub does not use: other scalars, empty or long arrays */
};

/* A message has four, the answer to HELLO fourteen. */
enum { RESP_PARTS = 16 };

struct resp_slice {
    const char *p; /* not NUL-terminated; "" for a nil, an integer, an array, an empty string */
    size_t n;
};

static inline bool resp_is(struct resp_slice s, const char *word)
{
    return s.n == strlen(word) && memcmp(s.p, word, s.n) == 0;
}

struct resp_reply {
    enum resp_kind kind;
    size_t count; /* parts that are set */
    struct resp_slice part[RESP_PARTS];
};

/* Takes one reply, whose bytes are valid during the call only. Non-zero ends the feed that is
 * running. Must not feed or destroy the reader. */
typedef int resp_take(void *ctx, const struct resp_reply *reply);

/* Append a command of words. `lens` may be NULL: then they are strings. */
void resp_command(struct buf *out, int argc, const char **argv, const size_t *lens);

struct resp_reader;

/* `max`: bytes that one reply may have. NULL when memory is out. */
struct resp_reader *resp_create(resp_take *take, void *ctx, size_t max);
void resp_destroy(struct resp_reader *r);

/* Parse more bytes; replies may be split anywhere. Returns 0, what `take` returned, or
 * ERR_INVALID (no RESP, or a reply that is too long) or ERR_NOMEM. After anything but 0 the
 * reader is of no use any more. */
int resp_feed(struct resp_reader *r, const char *data, size_t n);

/* After ERR_INVALID: what was wrong. Valid until the reader is destroyed. */
const char *resp_error(const struct resp_reader *r);

#endif
