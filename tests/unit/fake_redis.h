/* A server that says what the test wants, on the test's own loop: each command, its words joined by
 * blanks, goes to a function that answers with bytes. */
#ifndef TICKERD_TESTS_FAKE_REDIS_H
#define TICKERD_TESTS_FAKE_REDIS_H

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

#include "tickerd/base/buf.h"
#include "tickerd/wire/addr.h"

struct fake_redis;

/* The answer's bytes; NULL: say nothing; "": hang up. */
typedef const char *fake_answer(struct fake_redis *f, const char *command);

struct fake_client;

struct fake_redis {
    uv_tcp_t listener;
    int port;
    fake_answer *answer;
    void *ctx;
    struct buf heard; /* a line per command */
    size_t commands;
    struct fake_client *clients; /* a list */
};

/* Listen on a port of 127.0.0.1. */
void fake_redis_start(struct fake_redis *f, uv_loop_t *loop, fake_answer *answer, void *ctx);

/* Hang up on everybody, and no longer listen. Its memory must stay until the loop has turned. */
void fake_redis_stop(struct fake_redis *f);

/* Send these bytes to everybody. */
void fake_redis_push(struct fake_redis *f, const char *bytes);

/* Hang up on everybody. */
void fake_redis_drop(struct fake_redis *f);

struct addr fake_redis_addr(const struct fake_redis *f);

/* How often the command has been heard. */
size_t fake_redis_heard(struct fake_redis *f, const char *command);

#endif
