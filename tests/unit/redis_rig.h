/* For tests of the Redis source: a real redis-server in a directory of its own, and a loop with a
 * source on it that counts its call-backs. Everything asserts; nothing is skipped silently. */
#ifndef TICKERD_TESTS_REDIS_RIG_H
#define TICKERD_TESTS_REDIS_RIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

#include "tickerd/base/strmap.h"
#include "tickerd/broker/source.h"

struct redisContext;

struct rig_server {
    pid_t pid; /* 0: not running */
    int port;
    char dir[64];
    char path[96]; /* of the unix socket */
    struct redisContext *admin;
};

/* Make the directory, choose a port, run the server and wait until it answers. */
void rig_server_start(struct rig_server *s);
/* Run it again on the same addresses, after rig_server_kill. */
void rig_server_run(struct rig_server *s);
void rig_server_kill(struct rig_server *s);
void rig_server_stop(struct rig_server *s);

/* A command over the admin connection; must not be answered by an error. The integer it was
 * answered with, or the number of elements. */
long long rig_command(struct rig_server *s, const char *format, ...);

/* The name is a channel that has subscribers on the server. */
bool rig_subscribed(struct rig_server *s, const char *channel);

enum rig_event { RIG_MESSAGE, RIG_ON, RIG_OFF, RIG_REFUSED, RIG_UP, RIG_DOWN, RIG_BATCH_END, RIGS };

struct rig_client {
    uv_loop_t loop;
    uv_timer_t beat; /* so that waiting for something outside the loop goes on */
    struct source *source;
    struct redis_tls *tls;
    size_t seen[RIGS];
    enum rig_event close_at; /* close the source from within this call-back; RIGS: never */
    bool closed;
    bool up;
    char reason[256];
    unsigned long long last_heard;
    char channel[64], payload[64], pattern[64]; /* of the last message, cut */
    size_t payload_len;
    uint64_t sum;        /* of the payload's bytes */
    long next;           /* payloads that are numbers must count from 0 */
    size_t out_of_order; /* how many did not */
    struct strmap on[2]; /* names that are acknowledged; see rig_is_on */
};

/* `url` may be NULL: the server's unix socket. */
void rig_client_start(struct rig_client *c, const char *url, uint32_t ping_interval_ms,
                      uint32_t ping_timeout_ms);
/* Close the source unless it is closed, run the loop dry and close it. */
void rig_client_stop(struct rig_client *c);

void rig_on(struct rig_client *c, enum source_sub kind, const char *name);
void rig_off(struct rig_client *c, enum source_sub kind, const char *name);
bool rig_is_on(const struct rig_client *c, enum source_sub kind, const char *name);
void rig_close(struct rig_client *c);

/* A listening TCP socket of 127.0.0.1 and its port. */
int rig_listen(int *port);

/* Run the loop until the expression is true; fails after ten seconds. */
#define RIG_UNTIL(c, expression)                                                                   \
    do {                                                                                           \
        uint64_t rig_end = uv_hrtime() + 10000000000U;                                             \
        while (!(expression)) {                                                                    \
            assert_true(uv_hrtime() < rig_end);                                                    \
            (void)uv_run(&(c)->loop, UV_RUN_ONCE);                                                 \
        }                                                                                          \
    } while (0)

#endif
