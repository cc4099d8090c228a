/* Encoding events as blocks of an event stream (WHATWG HTML §9.2). A block is: `event:` if named,
 * `retry:` if set, one `data:` line per line of data, `id:` last, and a blank line. */
#ifndef TICKERD_WIRE_SSE_H
#define TICKERD_WIRE_SSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tickerd/base/buf.h"

struct sse_event {
    const char *data; /* any bytes; lines end at LF, CRLF or CR; invalid UTF-8 becomes U+FFFD */
    size_t data_len;
    const char *event; /* NULL: a plain message */
    size_t event_len;
    const char *id; /* one line; NULL: no id line */
    size_t id_len;
    uint32_t retry_ms; /* 0: no retry line */
};

/* One heartbeat: a comment with ONE line end, since some parsers make a blank line a message. */
#define SSE_HEARTBEAT ":\n"

/* Append the event as one block. Returns the number of U+FFFD put in for invalid UTF-8. A failed
 * allocation shows in out->failed. */
size_t sse_encode(struct buf *out, const struct sse_event *event);

/* Whether these bytes are a block as sse_encode makes them, with an id of `id_len` bytes: what
 * sse_encode_json relies on. */
bool sse_block_valid(const char *block, size_t len, size_t id_len);

/* Append the `format=json` form of a block that sse_encode made: no event line, and one data line
 * {"channel":…,"id":…,"event":…,"data":"…"} where `data` is what event.data would be and `event`
 * is "message" where the block names none; retry and id lines as in the block. Channel is UTF-8. */
void sse_encode_json(struct buf *out, const char *block, size_t len, const char *channel,
                     size_t channel_len);

#endif
