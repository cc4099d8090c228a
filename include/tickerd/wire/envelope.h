/* What a Redis payload means: raw data, or an envelope `{"data":…,"event":…,"id":…,"retry":…}`.
 * DESIGN: whatever is not exactly an envelope is delivered raw, never dropped. */
#ifndef TICKERD_WIRE_ENVELOPE_H
#define TICKERD_WIRE_ENVELOPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tickerd/base/buf.h"

enum payload_mode {
    PAYLOAD_AUTO,     /* parse only where the object's first key is one of the four */
    PAYLOAD_RAW,      /* never parse */
    PAYLOAD_ENVELOPE, /* parse whatever looks like an object */
};

enum { ENVELOPE_ID_MAX = 128, ENVELOPE_RETRY_MIN_MS = 100, ENVELOPE_RETRY_MAX_MS = 3600000 };

/* The slices point into the payload or into the scratch buffer and live as long as both do. */
struct envelope {
    const char *data;
    size_t data_len;
    const char *event; /* NULL: none */
    size_t event_len;
    const char *id; /* NULL: none */
    size_t id_len;
    uint32_t retry_ms; /* 0: none */
    bool enveloped;    /* false: data is the whole payload */
};

/* Read a payload. `scratch` is reset and used for decoded parts. Never fails: what cannot be an
 * envelope, or runs out of memory while being read as one, is raw. */
void envelope_parse(struct envelope *out, enum payload_mode mode, const char *payload, size_t len,
                    struct buf *scratch);

/* Whether a publisher may use this id: 1 to 128 printable ASCII bytes (0x20–0x7e; no blank at
 * either end, since header parsing strips those), not of the broker's own grammar. */
bool envelope_id_ok(const char *id, size_t len);

/* Whether a publisher may use this event name: non-empty, one line, no NUL, not `open`, `error` or
 * `tickerd:…`; valid UTF-8. */
bool envelope_event_ok(const char *event, size_t len);

#endif
