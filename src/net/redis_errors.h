/* Private to net's Redis source. What an error reply of Redis means, and what to do about it. */
#ifndef TICKERD_NET_REDIS_ERRORS_H
#define TICKERD_NET_REDIS_ERRORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum redis_verdict {
    REDIS_LOGIN,   /* the login is refused: close, try again later */
    REDIS_NOT_NOW, /* the server cannot serve anybody at the moment: close, try again later */
    REDIS_COMMAND  /* this one command is refused; the connection is fine */
};

struct redis_error {
    enum redis_verdict verdict;
    const char *what; /* static: the kind of error in the server's words, without arguments */
    const char *todo; /* static: a sentence on what to do; "" when nothing is known */
};

/* Classify an error reply (without the leading '-'). `to_auth`: it answers AUTH. Nothing of the
 * text is in the result, because servers may quote arguments, such as a password, in it. */
struct redis_error redis_error_classify(const char *text, size_t len, bool to_auth);

/* So that a lasting trouble is one line a minute, not one per retry. Zero it to start. */
struct redis_notice {
    uint32_t key;
    uint64_t again_us; /* 0: nothing has been noted */
};

/* Whether this trouble deserves a line at its proper level now: it differs from the last one, or a
 * minute has passed. Otherwise log it for debugging only. */
bool redis_notice_due(struct redis_notice *n, const char *key, uint64_t now_us);

/* The trouble is over: the next one is news. */
void redis_notice_reset(struct redis_notice *n);

#endif
