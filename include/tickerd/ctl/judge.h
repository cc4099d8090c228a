/* What follows from what the doctor saw: for each check a verdict, a sentence, and a cure. Pure. */
#ifndef TICKERD_CTL_JUDGE_H
#define TICKERD_CTL_JUDGE_H

#include "tickerd/base/buf.h"
#include "tickerd/ctl/seen.h"

#define CHECK_MAP(X)                                                                               \
    X(REACH, "reach")                                                                              \
    X(TLS, "tls")                                                                                  \
    X(REDIRECT, "redirect")                                                                        \
    X(STATUS, "status")                                                                            \
    X(TYPE, "type")                                                                                \
    X(BUFFERING, "buffering")                                                                      \
    X(COMPRESSION, "compression")                                                                  \
    X(IDLE, "idle")                                                                                \
    X(RESUME, "resume")                                                                            \
    X(CACHE, "cache")                                                                              \
    X(CORS, "cors")                                                                                \
    X(HTTP2, "http2")                                                                              \
    X(CROWD, "streams")

enum check {
#define CHECK_ENUM(name, text) CHECK_##name,
    CHECK_MAP(CHECK_ENUM)
#undef CHECK_ENUM
        CHECKS
};

enum verdict { VERDICT_OK, VERDICT_SKIPPED, VERDICT_WARN, VERDICT_FAULT };

enum cure {
    CURE_NONE,
    CURE_REACH,
    CURE_TLS,
    CURE_REDIRECT,
    CURE_LATER,
    CURE_REFUSED,
    CURE_ROUTE,
    CURE_BUFFERING,
    CURE_COMPRESSION,
    CURE_IDLE,
    CURE_RESUME,
    CURE_CACHE,
    CURE_CORS,
    CURE_CORS_TWICE,
    CURE_HTTP2,
    CURE_CROWD,
    CURE_WAITING,
    CURES
};

struct finding {
    enum verdict verdict;
    enum cure cure;
    struct buf text; /* owned: what was found; a stranger's words in it are as they came */
};

struct findings {
    struct finding of[CHECKS];
};

/* The check's name, e.g. "buffering". */
const char *check_name(enum check check);

void judge(const struct sights *s, struct findings *out);
void findings_finish(struct findings *f);
size_t findings_count(const struct findings *f, enum verdict verdict);

/* ---- the cures: one table (cures.c) ---- */

enum proxy { PROXY_NGINX, PROXY_HAPROXY, PROXY_CADDY, PROXY_APACHE, PROXIES };

struct cure_row {
    const char *meaning;        /* for users: one sentence */
    const char *tickerd;        /* what to do about tickerd itself, or NULL */
    const char *lines[PROXIES]; /* configuration, lines separated by LF; NULL: none */
};

const struct cure_row *cure_row(enum cure cure);
const char *proxy_name(enum proxy proxy);

#endif
