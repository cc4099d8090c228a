/* The hub: owns the source, the clock and the authoritative logs, on the loop it is given. */
#ifndef TICKERD_DAEMON_HUB_H
#define TICKERD_DAEMON_HUB_H

#include <stdatomic.h>
#include <uv.h>

#include "tickerd/broker/frame.h"
#include "tickerd/broker/metrics.h"
#include "tickerd/broker/registry.h"
#include "tickerd/broker/saved.h"
#include "tickerd/broker/source.h"
#include "tickerd/net/desk.h"
#include "tickerd/net/inbox.h"
#include "tickerd/net/redis_tls.h"
#include "tickerd/wire/config.h"

struct hub;

/* Make a hub for `workers` workers; `config`, and `tls` (NULL unless config_uses_tls) must outlive
 * it. NULL: out of memory, or redis.url cannot be read (which config_build has ruled out). */
struct hub *hub_create(uv_loop_t *loop, const struct config *config, const struct redis_tls *tls,
                       uint32_t workers, struct frame_stats *stats);

/* Replace the configuration, which outlives the next call of this. */
void hub_reload(struct hub *h, const struct config *config);

/* The inbox in which worker w's requests arrive. */
struct inbox *hub_inbox(struct hub *h, uint32_t w);

/* The position up to which everything is in the inboxes. */
const _Atomic uint64_t *hub_clock(const struct hub *h);

struct metrics *hub_metrics(struct hub *h);

/* For errands from other threads; their `ctx` is the hub. */
struct desk *hub_desk(struct hub *h);

/* Its insides, for those errands only. */
struct registry *hub_registry(struct hub *h);

/* Pass a command on to all workers; takes the caller's reference. On the hub's thread. */
void hub_command(struct hub *h, struct command *c);

/* Publish a message on a channel, whose name is without redis.prefix; source_ops.publish says when
 * `done` comes. On the hub's thread. */
void hub_publish(struct hub *h, const char *channel, size_t channel_len, const char *payload,
                 size_t payload_len, source_published *done, void *ctx);

/* Set the inbox of worker w, before hub_start. */
void hub_set_worker(struct hub *h, uint32_t w, struct inbox *inbox);

/* Pack all that is known, and take it up again; see registry_save and registry_restore. Save after
 * hub_close; restore before hub_start. */
int hub_save(const struct hub *h, struct pack *out, struct saved_summary *sum);
int hub_restore(struct hub *h, const void *bytes, size_t len, struct saved_summary *sum,
                const char **why);

/* Connect the source. */
int hub_start(struct hub *h);

/* Close the source and all handles; the loop ends what is left. */
void hub_close(struct hub *h);

/* Free, after the loop has run and the workers have ended. NULL is allowed. */
void hub_destroy(struct hub *h);

#endif
