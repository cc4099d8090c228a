/* The request target of the public listener: which resource, and for a stream what it asks for. */
#ifndef TICKERD_WIRE_TARGET_H
#define TICKERD_WIRE_TARGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tickerd/base/buf.h"

enum target_kind { TARGET_UNKNOWN, TARGET_EVENTS, TARGET_HEALTHZ, TARGET_READYZ };

enum stream_format { FORMAT_RAW, FORMAT_JSON };

#define HISTORY_ALL UINT32_MAX

/* One channel, or one pattern in its canonical spelling (glob_canonical), that was asked for; the
 * bytes live in the target's storage. */
struct target_topic {
    const char *name;
    size_t len;
    bool pattern;
};

struct target {
    enum target_kind kind;
    struct target_topic *topics; /* owned; duplicates are removed; request order */
    size_t count;
    const char *last_event_id; /* NULL: not in the query, or empty there; any bytes */
    size_t last_event_id_len;
    const char *token; /* NULL: not in the query */
    size_t token_len;
    bool token_twice; /* it came more than once; the first is kept */
    uint32_t history; /* 0: none; HISTORY_ALL */
    enum stream_format format;
    char *storage; /* owned: the decoded bytes everything above points into */
};

/* Why a target was refused. */
struct target_error {
    int status;        /* HTTP status: 400, 404; 503 when memory is out */
    const char *code;  /* static, e.g. "bad_channel" */
    char message[200]; /* a sentence for humans, plain ASCII */
};

struct target_rules {
    size_t topics_max;       /* limits.channels_per_client */
    const char *token_param; /* the query parameter that holds the JWT; NULL: none */
};

/* Read an origin-form target (`/events/news?history=5`), or absolute-form (`http://host/…`, whose
 * authority is ignored, RFC 9112 §3.2.2). Path and query are decoded as DESIGN §1 says:
 * percent-decoding in the path (`+` is a plus), form-decoding in the query. Unknown query
 * parameters are ignored; repeated single ones: the first counts. A fragment is malformed.
 * Returns 0 or ERR_INVALID / ERR_NOMEM with *error filled; on failure nothing is owned.
 * TARGET_UNKNOWN is not an error here (the caller answers 404). */
int target_parse(struct target *t, const char *text, size_t len, const struct target_rules *rules,
                 struct target_error *error);

/* Free what the target owns; harmless on a zeroed one. */
void target_finish(struct target *t);

/* Where path and query are in a target; not decoded. */
struct target_parts {
    const char *path;
    size_t path_len;
    const char *query;
    size_t query_len;
};

/* Only cut a target into its parts. ERR_INVALID, with *error filled: it is malformed. */
int target_split(struct target_parts *out, const char *text, size_t len,
                 struct target_error *error);

#endif
