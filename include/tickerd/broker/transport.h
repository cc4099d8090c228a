/* The interface between a session and whatever carries its bytes: HTTP/1 over a socket today. It
 * sits with its caller, so that HTTP/2 or a test's fake needs no change here. All calls are on the
 * session's thread. None of them calls back into the session. */
#ifndef TICKERD_BROKER_TRANSPORT_H
#define TICKERD_BROKER_TRANSPORT_H

#include <stdbool.h>
#include <sys/types.h>
#include <sys/uio.h>

struct transport;

struct transport_ops {
    /* Hand over bytes, in one system call. Returns how many were taken (less than all: the peer is
     * slow, 0 included), or a negative code for session_peer_gone. Mandatory. */
    ssize_t (*write)(struct transport *t, struct iovec *iov, int count);
    /* Ask for, or stop, a call of session_writable once bytes can be taken again. Mandatory. */
    void (*want_write)(struct transport *t, bool on);
    /* The stream has caught up for the first time: what follows is live. Optional. */
    void (*caught_up)(struct transport *t);
    /* End the connection: orderly (what was taken is delivered, then FIN) or, with `abort`, at
     * once. The session is finished already; the transport frees itself later. Mandatory. */
    void (*close)(struct transport *t, bool abort);
};

struct transport {
    const struct transport_ops *ops;
};

#endif
