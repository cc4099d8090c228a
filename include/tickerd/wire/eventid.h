/* The broker's event ids: `<seq>-<tag>-<fp>` in lower-case hex, exactly 13, 8 and 8 digits.
 *
 * seq is a time in microseconds, made strictly increasing; tag names the run of an instance; fp
 * is a fingerprint of channel and payload, 0 for a position without an event. */
#ifndef TICKERD_WIRE_EVENTID_H
#define TICKERD_WIRE_EVENTID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { EVENTID_LEN = 13 + 1 + 8 + 1 + 8 };

#define EVENTID_SEQ_MAX (((uint64_t)1 << 52) - 1)

struct eventid {
    uint64_t seq; /* at most EVENTID_SEQ_MAX */
    uint32_t tag;
    uint32_t fp;
};

/* Write the id; out gets EVENTID_LEN bytes and no NUL. */
void eventid_format(char out[EVENTID_LEN], const struct eventid *id);

/* Read an id. False when the bytes are not exactly of the grammar: upper case, blanks or other
 * lengths are somebody else's ids. */
bool eventid_parse(const char *s, size_t len, struct eventid *out);

/* CRC-32 (ISO-HDLC, zlib's) of channel, a NUL byte and payload, exactly as Redis delivered them,
 * so that all instances and versions agree; a result of 0 becomes 1. */
uint32_t eventid_fingerprint(const char *channel, size_t channel_len, const char *payload,
                             size_t payload_len);

#endif
