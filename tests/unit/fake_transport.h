/* A transport without a network: a real implementation of transport.h that takes as many bytes as
 * it has room for, then stalls; that may fail; and that remembers what it took. */
#ifndef TICKERD_TESTS_FAKE_TRANSPORT_H
#define TICKERD_TESTS_FAKE_TRANSPORT_H

#include "sse_decoder.h"
#include "tickerd/base/buf.h"
#include "tickerd/broker/transport.h"

struct fake_transport {
    struct transport transport;
    size_t room;                /* bytes that may still be taken; SIZE_MAX: any number */
    size_t writes;              /* calls of write */
    size_t closes;              /* calls of close: at most one is right */
    int error;                  /* returned by write instead; 0: none */
    bool wanted;                /* want_write(true) is in force */
    bool caught_up;             /* the stream said so */
    bool aborted;               /* how it was closed */
    bool forget;                /* do not keep the bytes, only decode them */
    struct buf bytes;           /* all that was taken */
    size_t head_len;            /* bytes before the stream proper; 0: not complete yet */
    struct sse_decoder decoder; /* reads what follows the head */
    unsigned head_state;
};

void fake_transport_init(struct fake_transport *t);
void fake_transport_finish(struct fake_transport *t);

/* All bytes as a C string. */
const char *fake_transport_text(struct fake_transport *t);

#endif
