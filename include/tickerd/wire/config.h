/* The configuration: immutable once built. One table in config_table.c defines every key (name,
 * type, range, default, unit, help); parsing, --set, --help, --print-config and
 * conf/tickerd.json come from it. */
#ifndef TICKERD_WIRE_CONFIG_H
#define TICKERD_WIRE_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tickerd/base/buf.h"
#include "tickerd/base/log.h"
#include "tickerd/wire/addr.h"
#include "tickerd/wire/envelope.h"
#include "tickerd/wire/netblock.h"
#include "tickerd/wire/token_alg.h"

enum redis_mode { REDIS_MODE_ALL, REDIS_MODE_ON_DEMAND };
/* What happens to a client that cannot keep up: it gets everything in its own time as long as the
 * history holds it; only the newest event of the channel; or it is sent away once the history no
 * longer holds what it has not got. */
enum slow_policy { SLOW_RESUME, SLOW_LATEST, SLOW_DISCONNECT };

/* Whether streams need a token: never; only for channels that are not anonymous; always. */
enum auth_mode { AUTH_OFF, AUTH_OPTIONAL, AUTH_REQUIRED };

struct history_limits {
    uint32_t events; /* per channel; 0 keeps none but the newest */
    uint64_t bytes;  /* per channel */
    uint64_t age_ms; /* 0: no limit by age */
};

/* One entry of `channels`, with what it leaves out filled in from the top level. */
struct channel_rule {
    char *match; /* owned glob */
    size_t match_len;
    enum payload_mode payload;
    enum slow_policy slow;
    bool anonymous; /* with auth.mode optional: needs no token */
    struct history_limits history;
};

/* One entry of auth.keys: where a key for tokens is. */
struct auth_key {
    enum token_alg alg;
    char *file, *env; /* owned; exactly one of them: a path, the name of an environment variable */
    char *kid;        /* owned; NULL: none */
};

struct strings {
    char **items; /* owned, each owned */
    size_t count;
};

struct config {
    struct strings listen;      /* each a valid addr */
    char *admin;                /* owned, a valid addr; NULL: no admin listener */
    bool admin_publish;         /* it may publish */
    struct strings admin_hosts; /* names it may be called by, in lower case */
    uint32_t workers;           /* 0: one per CPU */

    struct {
        char *url;                /* owned; valid for redis_url_parse */
        struct strings sentinels; /* each valid for sentinel_parse */
        char *master;             /* owned; not empty iff there are sentinels */
        struct strings nodes;     /* further addresses of a cluster, each a valid addr */
        char *prefix;
        size_t prefix_len;
        enum redis_mode mode;
        uint64_t linger_ms, ping_interval_ms, ping_timeout_ms, backoff_max_ms;
        /* For rediss://; each "": none. */
        struct {
            char *ca, *cert, *key; /* paths of PEM files; owned */
            char *server_name;     /* owned */
        } tls;
    } redis;
    struct history_limits history;
    uint64_t history_total_bytes;
    struct {
        uint64_t heartbeat_ms, retry_ms, retry_jitter_ms, max_age_ms;
    } stream;
    struct {
        uint64_t window_ms, clock_skew_ms;
    } resume;
    struct {
        uint32_t clients, channels_per_client;
        uint32_t clients_per_ip, clients_per_subject; /* 0: no limit */
        uint64_t replay_per_minute;                   /* bytes per client address; 0: no limit */
        uint64_t message_bytes, request_bytes, request_timeout_ms, write_timeout_ms;
    } limits;
    struct channel_rule *rules; /* owned */
    size_t rule_count;
    /* What a channel gets that no rule matches. */
    struct channel_rule rule_default;
    struct {
        enum auth_mode mode;
        struct auth_key *keys; /* owned */
        size_t key_count;
        char *jwks_file;         /* owned path; NULL: none */
        char *issuer, *audience; /* owned; NULL: not looked at */
        char *cookie, *query;    /* owned names; NULL: tokens are not taken from there */
        char *claim;             /* owned */
        uint64_t leeway_ms;
    } auth;
    struct {
        struct strings origins; /* "*" alone, or scheme://host[:port], host may be *.example.org */
        bool credentials;
    } cors;
    struct {
        struct strings trusted;  /* each valid for netblock_parse */
        struct netblocks blocks; /* what they mean */
        bool protocol;           /* trusted peers begin with a PROXY header */
    } proxy;
    char *control_channel; /* owned; NULL: none */
    struct {
        enum log_level level;
        enum log_format format;
        bool access;
    } log;
    uint64_t drain_timeout_ms;
    char *state_file; /* owned path; NULL: none */
};

/* The environment variable that stands in for redis.url. */
#define CONFIG_ENV_REDIS_URL "TICKERD_REDIS_URL"

/* What config_build was given, in rising precedence: defaults, file, TICKERD_REDIS_URL, command
 * line (in its order). */
struct config_source {
    const char *file;       /* path, or NULL */
    const char *redis_url;  /* CONFIG_ENV_REDIS_URL's value, or NULL */
    const char *const *set; /* "key=value" strings, also made from --listen, --redis, --workers */
    size_t set_count;
};

/* Build a configuration. On failure returns NULL and `errors` has one line per problem, each
 * naming file, line, key, what was found and what is allowed; all problems are reported, not only
 * the first. Secrets are never quoted. Free with config_destroy. */
struct config *config_build(const struct config_source *from, struct buf *errors);
void config_destroy(struct config *c);

enum { CONFIG_KEYS_MAX = 128 };

/* The keys by which two configurations differ, by name; static. */
struct config_changes {
    const char *applied[CONFIG_KEYS_MAX]; /* count from now on */
    const char *fixed[CONFIG_KEYS_MAX];   /* need a restart */
    size_t applied_count, fixed_count;
};

/* Prepare `next` to take over from `running` without a restart: what needs one gets running's
 * value. ERR_NOMEM: `next` is good for nothing but config_destroy. */
int config_adopt(struct config *next, const struct config *running, struct config_changes *out);

/* The rule for a channel: the first whose glob matches, else rule_default. Never NULL. */
const struct channel_rule *config_rule(const struct config *c, const char *name, size_t len);

/* Whether any address of Redis is rediss://, so that redis.tls.* means something. */
bool config_uses_tls(const struct config *c);

/* Append the effective configuration as nested JSON that --config takes back, secrets included
 * only where `secrets` is true (else the URL's password is printed as "***"). */
void config_print(struct buf *out, const struct config *c, bool secrets);

/* Read a duration as users write it, "500ms", "15s", "5m", "1h" or "0". False: it is none. */
bool config_duration(const char *text, uint64_t *ms);

/* Append one help line per key: name, default, meaning. */
void config_help(struct buf *out);

#endif
