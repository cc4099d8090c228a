/* A reader of event streams for tests, written from WHATWG HTML §9.2.6 and sharing no code with
 * what it checks. Feed it the bytes of a stream in any pieces; it collects what a browser's
 * EventSource would dispatch. Out of memory aborts: this is a test. */
#ifndef TICKERD_TESTS_SSE_DECODER_H
#define TICKERD_TESTS_SSE_DECODER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes with a NUL behind them that `len` does not count, so that they also print. */
struct sse_text {
    char *p;
    size_t len;
};

/* What addEventListener would be given. */
struct sse_message {
    struct sse_text type;          /* "message" where the stream named none */
    struct sse_text data;          /* lines joined by LF */
    struct sse_text last_event_id; /* sticky: of the newest id line up to here */
};

struct sse_decoder {
    struct sse_message *messages; /* owned by the decoder */
    size_t count;
    struct sse_text last_event_id; /* as of the newest dispatch: what a reconnect would send */
    int64_t retry_ms;              /* -1: none seen */
    size_t retries;                /* valid retry lines seen */
    size_t comments;               /* lines that begin with a colon */
    size_t bad_utf8;               /* U+FFFD put in while decoding: 0 for a stream of ours */
    bool pending;                  /* fields were read since the last blank line */

    /* Inside: */
    struct sse_text line, data, type, id;
    bool after_cr, started;
};

void sse_decoder_init(struct sse_decoder *d);
void sse_decoder_finish(struct sse_decoder *d);

/* Read on. Messages appear once their blank line is complete. */
void sse_decoder_feed(struct sse_decoder *d, const char *bytes, size_t len);

#endif
