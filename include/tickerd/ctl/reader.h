/* Reading an event stream as an EventSource does (WHATWG HTML §9.2.6), one addition: comments are
 * reported too, since a broker's heartbeats are comments. Fed with bytes in any pieces; it has no
 * limits but `READER_EVENT_MAX`, so that a stream without line ends cannot eat the memory. */
#ifndef TICKERD_CTL_READER_H
#define TICKERD_CTL_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tickerd/base/buf.h"

enum { READER_EVENT_MAX = 64 * 1024 * 1024 };

/* What is dispatched; the bytes are the reader's and valid during the call. Each has a NUL behind
 * it, but may hold others. */
struct reader_event {
    const char *type; /* "message" where the stream names none */
    size_t type_len;
    const char *data; /* lines joined by LF */
    size_t data_len;
    const char *id; /* the last event id: of this block, else of an earlier one; may be empty */
    size_t id_len;
};

struct reader_ops {
    void (*event)(void *ctx, const struct reader_event *event);
    void (*comment)(void *ctx);                  /* may be NULL */
    void (*retry)(void *ctx, uint32_t retry_ms); /* may be NULL; what is larger is UINT32_MAX */
};

struct reader {
    const struct reader_ops *ops;
    void *ctx;
    struct buf line, data, type;
    struct buf id;      /* as the newest id line has it */
    struct buf last_id; /* as of the newest blank line: what a reconnect sends */
    bool after_cr;      /* an LF that comes next belongs to the line that has ended */
    bool started;       /* the byte order mark is behind us, or there was none */
};

/* `ops` and `ctx` must outlive the reader. */
void reader_init(struct reader *r, const struct reader_ops *ops, void *ctx);
void reader_finish(struct reader *r);

/* A new connection: what was not finished is dropped, the last event id stays. */
void reader_restart(struct reader *r);

/* False: out of memory, or an event above READER_EVENT_MAX. The stream should be given up then. */
bool reader_feed(struct reader *r, const char *bytes, size_t len);

#endif
