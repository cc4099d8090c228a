/* GET /channels and /clients of the admin listener. What they say is spread over the hub and the
 * workers, so a list is an errand that goes from one to the other, looks around for half a
 * millisecond a turn, and comes home with the text. Nothing is locked and nothing is kept for it in
 * between: streams come and go meanwhile, and the list is as true as that allows. Where the asker
 * has gone, it is given up.
 *
 * Both take `limit` (1 to 1000), and
 *
 *   channels: `sort` (rate, messages, subscribers, name), `match` (a glob)
 *   clients:  `after` (the `next` of the page before), `channel` (or a pattern, in its canonical
 *             spelling; that was asked for), `sub`, `address`
 *
 * Empty ones count as not given. */
#ifndef TICKERD_DAEMON_ROSTER_H
#define TICKERD_DAEMON_ROSTER_H

#include "tickerd/daemon/admin.h"

admin_handler roster_channels;
admin_handler roster_clients;

#endif
