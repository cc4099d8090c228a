/* Listening sockets. Each worker has its own for a TCP address (SO_REUSEPORT); a unix socket is one
 * file descriptor that all workers poll. Accepts in bounded batches, so that a storm of connects
 * does not starve the streams, and survives running out of file descriptors without spinning. */
#ifndef TICKERD_NET_LISTENER_H
#define TICKERD_NET_LISTENER_H

#include <sys/types.h>
#include <uv.h>

#include "tickerd/base/buf.h"
#include "tickerd/wire/addr.h"
#include "tickerd/wire/netblock.h"

/* Open the first listening socket (non-blocking) of an address. It fails where another process
 * listens already. A TCP port of 0 is replaced in *a by the one the kernel chose; of a name's
 * addresses it is the first one that this host has. A stale unix socket is removed, one that
 * somebody serves is not; a new one's file gets this mode. Returns the descriptor, or a negative
 * err code with a sentence in `why`. */
int listener_open(struct addr *a, mode_t mode, struct buf *why);

/* Open another socket of the same TCP address, where `first` is bound; returns as above. */
int listener_open_beside(int first, const struct addr *a, struct buf *why);

/* Make a stream socket that another process has bound, and that listens, ready to be polled by all
 * workers, and say in *a where it listens. ERR_INVALID: it is none such, and `why` has a sentence
 * that names the descriptor. */
int listener_adopt(int fd, struct addr *a, struct buf *why);

/* Remove the file of a unix socket; nothing for TCP. */
void listener_unlink(const struct addr *a);

/* Let a connection, or those that are accepted from now on from a listening socket, end when the
 * peer has acknowledged nothing, or has had no room for more, for so long (TCP_USER_TIMEOUT): who
 * vanishes without a FIN would otherwise be kept for a quarter of an hour. Nothing for unix
 * sockets. */
void listener_set_patience(int fd, uint64_t ms);

/* Whose a connected socket is at the other end; "::" where the peer has just gone. */
struct netaddr listener_peer(int fd);

struct listener;

/* Poll a listening socket on this loop; accepted(ctx, fd, peer) is given every connection
 * (non-blocking, close-on-exec) and the address at its other end. The socket stays the caller's:
 * closing one of several that share an address resets what is queued on it, and other loops may
 * poll the same one. NULL: out of memory or of descriptors, which has been logged. */
typedef void listener_accepted(void *ctx, int fd, const struct netaddr *peer);
struct listener *listener_start(uv_loop_t *loop, int fd, listener_accepted *accepted, void *ctx);

/* Accept what is queued right now, before the end. */
void listener_sweep(struct listener *l);

/* Stop polling and free itself once the loop has run. NULL is allowed. */
void listener_close(struct listener *l);

#endif
