/* Datagrams to the service manager, by the protocol of sd_notify(3). Where nobody asked for them,
 * sending does nothing. */
#ifndef TICKERD_DAEMON_NOTIFY_H
#define TICKERD_DAEMON_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "tickerd/base/buf.h"

struct notify {
    int fd; /* -1: off */
    struct sockaddr_un to;
    socklen_t to_len;
    uint64_t watchdog_us; /* within which WATCHDOG=1 is expected again and again; 0: never */
    struct buf owed;      /* what could not be sent yet, but must be */
};

/* Take over NOTIFY_SOCKET (a path, or @ and an abstract name), WATCHDOG_USEC and WATCHDOG_PID from
 * the environment, and unset them. Before there are threads. Anything unfit turns it off, with a
 * line in the log at level debug. */
void notify_init(struct notify *n);
void notify_finish(struct notify *n);

/* Send one or more lines VARIABLE=VALUE. Never blocks: with no room in the manager's queue `state`
 * is dropped, unless it `must` arrive: then it goes before the next one that is sent. False: it was
 * dropped. */
bool notify_send(struct notify *n, const char *state, bool must);

/* Send what must arrive and has not, if there is room by now: to be called now and then, or a
 * READY=1 would wait for other news. */
void notify_catch_up(struct notify *n);

#endif
