#include "config_internal.h"

#include <string.h>

#define KIB ((uint64_t)1 << 10)
#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)
#define SECOND ((uint64_t)1000)
#define MINUTE (60 * SECOND)
#define HOUR (60 * MINUTE)
#define YEAR (365 * 24 * HOUR)

#define AT(field) offsetof(struct config, field)
#define IN_RULE(field) offsetof(struct channel_rule, field)
#define IN_KEY(field) offsetof(struct auth_key, field)

enum { PREFIX_MAX = 200, MATCH_MAX = 255, URL_MAX = 4096, ORIGIN_LIST_MAX = 1000, LISTEN_MAX = 64 };
enum { FILE_NAME_MAX = 4095, ADMIN_HOSTS_MAX = 100 };
enum { STATE_PATH_MAX = 4000, CLAIM_MAX = 255, TRUSTED_MAX = 1000 };
enum { SENTINELS_MAX = 64, NODES_MAX = 256, MASTER_MAX = 255 };
enum { AUTH_KEYS_MAX = 64, ENV_NAME_MAX = 255, KID_MAX = 255 };
enum { EVENTS_MAX = 10000000, CLIENTS_MAX = 10000000, RULES_MAX = 100000 };

static const char *const mode_words[] = {"all", "on-demand", NULL};
static const char *const payload_words[] = {"auto", "raw", "envelope", NULL};
static const char *const slow_words[] = {"resume", "latest", "disconnect", NULL};
static const char *const auth_words[] = {"off", "optional", "required", NULL};
static const char *const alg_words[] = {
#define ALG_WORD(name) #name,
    TOKEN_ALG_MAP(ALG_WORD) NULL};
#undef ALG_WORD
static const char *const level_words[] = {"error", "warn", "info", "debug", NULL};
static const char *const format_words[] = {"text", "json", NULL};

_Static_assert(REDIS_MODE_ON_DEMAND == 1, "mode_words");
_Static_assert(PAYLOAD_RAW == 1 && PAYLOAD_ENVELOPE == 2, "payload_words");
_Static_assert(SLOW_LATEST == 1 && SLOW_DISCONNECT == 2, "slow_words");
_Static_assert(AUTH_OPTIONAL == 1 && AUTH_REQUIRED == 2, "auth_words");
_Static_assert(LOG_WARN == 1 && LOG_INFO == 2 && LOG_DEBUG == 3, "level_words");
_Static_assert(LOG_JSON == 1, "format_words");

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* clang-format off */
static const struct config_key rule_keys[] = {
    {.name = "match", .type = CONFIG_STRING, .offset = IN_RULE(match),
     .min = 1, .max = MATCH_MAX, .required = true, .what = "a glob of 1 to 255 bytes",
     .help = "The channels, as a Redis glob: * ? [a-c] [^e], backslash."},
    {.name = "payload", .type = CONFIG_ENUM, .offset = IN_RULE(payload),
     .initial = "auto", .words = payload_words,
     .help = "Whether payloads may be envelopes with data, event, id, retry; raw where users "
             "write the text."},
    {.name = "slow", .type = CONFIG_ENUM, .offset = IN_RULE(slow),
     .initial = "resume", .words = slow_words,
     .help = "What a client that cannot keep up gets: resume: everything in its own time, and a "
             "gap event for what the history no longer holds; latest: only the newest event; "
             "disconnect: the end of its stream once the history no longer holds what it needs."},
    {.name = "anonymous", .type = CONFIG_BOOL, .offset = IN_RULE(anonymous), .initial = "false",
     .help = "With auth.mode optional: whether these channels need no token."},
    {.name = "history.events", .type = CONFIG_UINT, .offset = IN_RULE(history.events),
     .max = EVENTS_MAX, .help = "As history.events, which it overrides."},
    {.name = "history.bytes", .type = CONFIG_SIZE, .offset = IN_RULE(history.bytes),
     .max = 1024 * GIB, .help = "As history.bytes, which it overrides."},
    {.name = "history.age", .type = CONFIG_DURATION, .offset = IN_RULE(history.age_ms),
     .max = YEAR, .help = "As history.age, which it overrides."},
};

static const struct config_key auth_key_keys[] = {
    {.name = "alg", .type = CONFIG_ENUM, .offset = IN_KEY(alg), .required = true,
     .words = alg_words,
     .help = "The algorithm, which only this key verifies and which it verifies alone."},
    {.name = "file", .type = CONFIG_STRING, .offset = IN_KEY(file), .optional = true,
     .max = FILE_NAME_MAX, .initial = "null", .secret = true, .check = config_check_key_file,
     .what = "null or the path of a file with the key, not the key itself",
     .help = "The file of the key: for HS256, HS384 and HS512 the secret as it is, but for one "
             "newline at its end (at least 32, 48 and 64 bytes), else a public key or a "
             "certificate in PEM form."},
    {.name = "env", .type = CONFIG_STRING, .offset = IN_KEY(env), .optional = true,
     .max = ENV_NAME_MAX, .initial = "null", .secret = true, .check = config_check_env,
     .what = "null or the name of an environment variable with the key, not the key itself",
     .help = "Instead of file: the environment variable that has the key."},
    {.name = "kid", .type = CONFIG_STRING, .offset = IN_KEY(kid), .optional = true,
     .max = KID_MAX, .initial = "null", .what = "null or a string of at most 255 bytes",
     .help = "The key's name; tokens with another kid are not verified with it. null: tokens with "
             "any kid are."},
};
/* clang-format on */

const struct config_table config_rule_table = {rule_keys, COUNT(rule_keys)};
static const struct config_table auth_key_table = {auth_key_keys, COUNT(auth_key_keys)};

static const struct config_list rule_list = {
    .table = &config_rule_table,
    .size = sizeof(struct channel_rule),
    .count_offset = AT(rule_count),
    .example = "{\"match\": \"user.*\"}",
    .begin = config_begin_rule,
    .end = config_end_rule,
};
static const struct config_list auth_key_list = {
    .table = &auth_key_table,
    .size = sizeof(struct auth_key),
    .count_offset = AT(auth.key_count),
    .example = "{\"alg\": \"HS256\", \"file\": \"/etc/tickerd/secret\"}",
    .end = config_end_auth_key,
};

/* clang-format off */
static const struct config_key keys[] = {
    {.name = "listen", .type = CONFIG_STRINGS, .offset = AT(listen),
     .min = 1, .max = LISTEN_MAX, .initial = "[\"127.0.0.1:8090\"]",
     .check = config_check_listen,
     .what = "an address such as \"127.0.0.1:8090\", \"[::1]:8090\" or \"unix:/run/tickerd.sock\"",
     .fixed = true,
     .help = "The addresses of the public listener."},
    {.name = "admin", .type = CONFIG_STRING, .offset = AT(admin), .optional = true,
     .max = ADDR_HOST_MAX + 16, .initial = "127.0.0.1:8091", .check = config_check_listen,
     .what = "null or an address such as \"127.0.0.1:8091\" or \"unix:/run/tickerd-admin.sock\"",
     .fixed = true,
     .help = "The address of the admin listener: dashboard, metrics, status, and orders such as "
             "reload. Whoever reaches it may do all of that, and read every channel: keep it on "
             "the loopback or on a unix socket. null: none."},
    {.name = "admin_publish", .type = CONFIG_BOOL, .offset = AT(admin_publish),
     .initial = "false",
     .help = "Whether the admin listener may publish messages to Redis."},
    {.name = "admin_hosts", .type = CONFIG_STRINGS, .offset = AT(admin_hosts),
     .max = ADMIN_HOSTS_MAX, .initial = "[]", .check = config_check_admin_host,
     .what = "a host name such as \"status.example.org\"",
     .help = "Host names by which the admin listener may be called, besides IP addresses and "
             "localhost; needed where a reverse proxy stands before it. Others are refused, so "
             "that no web page can reach it by a name of its own."},
    {.name = "workers", .type = CONFIG_UINT, .offset = AT(workers),
     .max = 256, .initial = "0",
     .fixed = true,
     .help = "Threads that serve clients; 0 means one per CPU."},

    {.name = "redis.url", .type = CONFIG_STRING, .offset = AT(redis.url),
     .min = 1, .max = URL_MAX, .initial = "redis://127.0.0.1:6379", .secret = true,
     .check = config_check_redis_url,
     .what = "a URL such as redis://user:password@127.0.0.1:6379 or unix:///path",
     .fixed = true,
     .help = "The Redis server: redis://, rediss:// (TLS) or unix:///path, with user and password "
             "if need be."},
    {.name = "redis.sentinels", .type = CONFIG_STRINGS, .offset = AT(redis.sentinels),
     .max = SENTINELS_MAX, .initial = "[]", .secret = true, .check = config_check_sentinel,
     .what = "a Sentinel such as \"10.0.0.1:26379\" or \"redis://user:password@10.0.0.1:26379\"",
     .fixed = true,
     .help = "The Sentinels that say where the Redis server is; redis.url then gives only the "
             "scheme, user and password."},
    {.name = "redis.master", .type = CONFIG_STRING, .offset = AT(redis.master),
     .max = MASTER_MAX, .initial = "", .check = config_check_master,
     .what = "a name of at most 255 bytes such as mymaster",
     .fixed = true,
     .help = "The name by which the Sentinels know the Redis server."},
    {.name = "redis.nodes", .type = CONFIG_STRINGS, .offset = AT(redis.nodes),
     .max = NODES_MAX, .initial = "[]", .check = config_check_node,
     .what = "an address such as \"10.0.0.2:6379\"",
     .fixed = true,
     .help = "With Redis Cluster: more nodes to begin with than the one in redis.url; the others "
             "are learned from them."},
    {.name = "redis.prefix", .type = CONFIG_STRING, .offset = AT(redis.prefix),
     .max = PREFIX_MAX, .initial = "sse:",
     .what = "UTF-8 text of at most 200 bytes without control bytes",
     .fixed = true,
     .help = "What a Redis channel's name must begin with to reach clients; the rest is the name "
             "they use."},
    {.name = "redis.mode", .type = CONFIG_ENUM, .offset = AT(redis.mode),
     .initial = "all", .words = mode_words,
     .fixed = true,
     .help = "Subscribe to everything under the prefix, or only to what clients listen to."},
    {.name = "redis.linger", .type = CONFIG_DURATION, .offset = AT(redis.linger_ms),
     .max = 24 * HOUR, .initial = "1m",
     .fixed = true,
     .help = "With mode on-demand: how long a subscription outlives its last client."},
    {.name = "redis.ping_interval", .type = CONFIG_DURATION, .offset = AT(redis.ping_interval_ms),
     .min = 100, .max = HOUR, .initial = "2s",
     .fixed = true,
     .help = "How often Redis is asked for a sign of life."},
    {.name = "redis.ping_timeout", .type = CONFIG_DURATION, .offset = AT(redis.ping_timeout_ms),
     .min = 100, .max = HOUR, .initial = "3s",
     .fixed = true,
     .help = "How long Redis may take to answer, connecting included."},
    {.name = "redis.backoff_max", .type = CONFIG_DURATION, .offset = AT(redis.backoff_max_ms),
     .min = 100, .max = HOUR, .initial = "10s",
     .fixed = true,
     .help = "The longest pause between two attempts to connect."},
    {.name = "redis.tls.ca", .type = CONFIG_STRING, .offset = AT(redis.tls.ca),
     .max = FILE_NAME_MAX, .initial = "", .what = "the path of a PEM file, or \"\"",
     .fixed = true,
     .help = "With rediss://: the CA certificates (a PEM file) that the server's certificate must "
             "come from; \"\" means those the system trusts."},
    {.name = "redis.tls.cert", .type = CONFIG_STRING, .offset = AT(redis.tls.cert),
     .max = FILE_NAME_MAX, .initial = "", .what = "the path of a PEM file, or \"\"",
     .fixed = true,
     .help = "With rediss://: the client certificate with its chain (a PEM file), if the server "
             "wants one."},
    {.name = "redis.tls.key", .type = CONFIG_STRING, .offset = AT(redis.tls.key),
     .max = FILE_NAME_MAX, .initial = "", .what = "the path of a PEM file, or \"\"",
     .fixed = true,
     .help = "The private key of redis.tls.cert (a PEM file without a password)."},
    {.name = "redis.tls.server_name", .type = CONFIG_STRING, .offset = AT(redis.tls.server_name),
     .max = ADDR_HOST_MAX, .initial = "", .check = config_check_host,
     .what = "a host name or an IP address, or \"\"",
     .fixed = true,
     .help = "With rediss://: the name that the server's certificate must have; \"\" means the "
             "host of the URL."},

    {.name = "history.events", .type = CONFIG_UINT, .offset = AT(history.events),
     .max = EVENTS_MAX, .initial = "1000",
     .help = "Events kept per channel; 0 keeps only the newest."},
    {.name = "history.bytes", .type = CONFIG_SIZE, .offset = AT(history.bytes),
     .max = 1024 * GIB, .initial = "1MiB",
     .help = "Bytes kept per channel; the newest event is kept whatever its size."},
    {.name = "history.age", .type = CONFIG_DURATION, .offset = AT(history.age_ms),
     .max = YEAR, .initial = "10m",
     .help = "How long events are kept; 0s means no limit by age."},
    {.name = "history.total_bytes", .type = CONFIG_SIZE, .offset = AT(history_total_bytes),
     .min = KIB, .max = 1024 * GIB, .initial = "256MiB",
     .help = "Memory for all histories together, overheads included."},

    {.name = "stream.heartbeat", .type = CONFIG_DURATION, .offset = AT(stream.heartbeat_ms),
     .min = SECOND, .max = HOUR, .initial = "15s",
     .help = "Silence after which a stream gets a comment, so that proxies keep it open."},
    {.name = "stream.retry", .type = CONFIG_DURATION, .offset = AT(stream.retry_ms),
     .min = 100, .max = HOUR, .initial = "2s",
     .help = "How long clients are told to wait before they reconnect."},
    {.name = "stream.retry_jitter", .type = CONFIG_DURATION, .offset = AT(stream.retry_jitter_ms),
     .max = HOUR, .initial = "1s",
     .help = "How far that wait differs at random from client to client, up or down."},
    {.name = "stream.max_age", .type = CONFIG_DURATION, .offset = AT(stream.max_age_ms),
     .max = YEAR, .initial = "0s",
     .help = "Age at which a stream is closed, to be resumed by the client; 0s means never."},

    {.name = "resume.window", .type = CONFIG_DURATION, .offset = AT(resume.window_ms),
     .min = 100, .max = HOUR, .initial = "10s",
     .fixed = true,
     .help = "How far the clocks and arrivals of two instances may differ when a client changes "
             "over; at least resume.clock_skew + redis.ping_interval + redis.ping_timeout."},
    {.name = "resume.clock_skew", .type = CONFIG_DURATION, .offset = AT(resume.clock_skew_ms),
     .max = HOUR, .initial = "5s",
     .fixed = true,
     .help = "How far the clocks of the instances may differ."},

    {.name = "limits.clients", .type = CONFIG_UINT, .offset = AT(limits.clients),
     .max = CLIENTS_MAX, .initial = "0",
     .help = "Streams at a time; 0 means what the limit of open files allows."},
    {.name = "limits.clients_per_ip", .type = CONFIG_UINT, .offset = AT(limits.clients_per_ip),
     .max = CLIENTS_MAX, .initial = "0",
     .help = "Streams at a time from one client address (of IPv6: one /64); 0 means no limit. "
             "Behind a reverse proxy it needs proxy.trusted. Streams that were opened while no "
             "limit per address or subject was set do not count."},
    {.name = "limits.clients_per_subject", .type = CONFIG_UINT,
     .offset = AT(limits.clients_per_subject), .max = CLIENTS_MAX, .initial = "0",
     .help = "Streams at a time with tokens of one subject (sub); 0 means no limit."},
    {.name = "limits.replay_per_minute", .type = CONFIG_SIZE,
     .offset = AT(limits.replay_per_minute), .max = 1024 * GIB, .initial = "0",
     .help = "Bytes of history that may be sent in a minute to one subject, or without a token to "
             "one client address, before it is told to come back later; 0 means no limit."},
    {.name = "limits.channels_per_client", .type = CONFIG_UINT,
     .offset = AT(limits.channels_per_client), .min = 1, .max = 1024, .initial = "64",
     .help = "Channels and patterns that one connection may ask for."},
    {.name = "limits.message_bytes", .type = CONFIG_SIZE, .offset = AT(limits.message_bytes),
     .min = 1, .max = 32 * MIB, .initial = "1MiB",
     .what = "by default Redis drops a subscriber with 32 MB waiting",
     .help = "The largest payload that is delivered; a larger one is announced as a gap."},
    {.name = "limits.request_bytes", .type = CONFIG_SIZE, .offset = AT(limits.request_bytes),
     .min = 256, .max = MIB, .initial = "16KiB",
     .help = "The largest request head."},
    {.name = "limits.request_timeout", .type = CONFIG_DURATION,
     .offset = AT(limits.request_timeout_ms), .min = 100, .max = HOUR, .initial = "10s",
     .help = "How long a client may take to send its request."},
    {.name = "limits.write_timeout", .type = CONFIG_DURATION,
     .offset = AT(limits.write_timeout_ms), .min = 100, .max = HOUR, .initial = "1m",
     .help = "A client that takes nothing for this long is closed."},

    {.name = "channels", .type = CONFIG_OBJECTS, .offset = AT(rules),
     .list = &rule_list, .max = RULES_MAX, .initial = "[]",
     .what = "a list of rules such as [{\"match\": \"user.*\"}]",
     .help = "Rules for channels, a list of objects; the first whose match fits counts."},

    {.name = "auth.mode", .type = CONFIG_ENUM, .offset = AT(auth.mode),
     .initial = "off", .words = auth_words,
     .help = "Whether streams need a token (a JWT): never; but for channels whose rule says "
             "anonymous; always."},
    {.name = "auth.keys", .type = CONFIG_OBJECTS, .offset = AT(auth.keys),
     .list = &auth_key_list, .max = AUTH_KEYS_MAX, .initial = "[]", .secret = true,
     .what = "a list of at most 64 keys such as "
             "[{\"alg\": \"HS256\", \"file\": \"/etc/tickerd/secret\"}]",
     .help = "The keys that tokens are verified with, a list of objects; read again on reload."},
    {.name = "auth.jwks_file", .type = CONFIG_STRING, .offset = AT(auth.jwks_file),
     .optional = true, .max = FILE_NAME_MAX, .initial = "null", .secret = true,
     .check = config_check_key_file, .what = "null or the path of a file, not the keys themselves",
     .help = "A JSON Web Key Set with keys for tokens; read again on reload."},
    {.name = "auth.issuer", .type = CONFIG_STRING, .offset = AT(auth.issuer),
     .optional = true, .max = CLAIM_MAX, .initial = "null", .what = "null or a string",
     .help = "What a token's iss must be; null: anything."},
    {.name = "auth.audience", .type = CONFIG_STRING, .offset = AT(auth.audience),
     .optional = true, .max = CLAIM_MAX, .initial = "null", .what = "null or a string",
     .help = "What a token's aud must be or contain; null: anything."},
    {.name = "auth.cookie", .type = CONFIG_STRING, .offset = AT(auth.cookie),
     .optional = true, .max = CLAIM_MAX, .initial = "null", .check = config_check_cookie,
     .what = "null or the name of a cookie",
     .help = "The cookie that may hold the token; null: none."},
    {.name = "auth.query", .type = CONFIG_STRING, .offset = AT(auth.query),
     .optional = true, .max = CLAIM_MAX, .initial = "token", .check = config_check_query,
     .what = "null or the name of a query parameter",
     .help = "The query parameter that may hold the token; null: none. URLs end up in logs and "
             "histories: prefer a cookie or the Authorization header."},
    {.name = "auth.claim", .type = CONFIG_STRING, .offset = AT(auth.claim),
     .min = 1, .max = CLAIM_MAX, .initial = "channels", .what = "the name of a claim",
     .help = "The claim that lists the channels and globs which a token opens."},
    {.name = "auth.leeway", .type = CONFIG_DURATION, .offset = AT(auth.leeway_ms),
     .max = HOUR, .initial = "30s",
     .help = "How far the clock of whoever makes the tokens may be off."},

    {.name = "cors.origins", .type = CONFIG_STRINGS, .offset = AT(cors.origins),
     .max = ORIGIN_LIST_MAX, .initial = "[]", .check = config_check_origin,
     .what = "an origin such as \"https://example.org\" or \"https://*.example.org\", or \"*\"",
     .help = "Web origins whose pages may listen, e.g. [\"https://*.example.org\"]; [\"*\"] means "
             "all."},
    {.name = "cors.credentials", .type = CONFIG_BOOL, .offset = AT(cors.credentials),
     .initial = "true",
     .help = "Whether such pages may send cookies; must be false where all origins may listen."},

    {.name = "proxy.trusted", .type = CONFIG_STRINGS, .offset = AT(proxy.trusted),
     .max = TRUSTED_MAX, .initial = "[]", .check = config_check_trusted,
     .what = "an address or block such as \"127.0.0.1\", \"10.0.0.0/8\" or \"fd00::/8\", or \"unix\"",
     .help = "The reverse proxies whose word on a client's address is taken (X-Forwarded-For, "
             "Forwarded); \"unix\" stands for whoever connects to a unix socket."},
    {.name = "proxy.protocol", .type = CONFIG_BOOL, .offset = AT(proxy.protocol),
     .initial = "false",
     .help = "Whether the proxies of proxy.trusted begin each connection with a PROXY protocol "
             "header (version 1 or 2)."},

    {.name = "control.channel", .type = CONFIG_STRING, .offset = AT(control_channel),
     .optional = true, .max = PREFIX_MAX, .initial = "null",
     .what = "null or the name of a Redis channel",
     .fixed = true,
     .help = "A Redis channel outside redis.prefix whose messages command all instances, such as "
             "{\"disconnect\": {\"sub\": \"42\"}}."},

    {.name = "log.level", .type = CONFIG_ENUM, .offset = AT(log.level),
     .initial = "info", .words = level_words,
     .help = "What is logged to stderr, with all that is more severe."},
    {.name = "log.format", .type = CONFIG_ENUM, .offset = AT(log.format),
     .initial = "text", .words = format_words,
     .help = "One line of text, or one JSON object, per message."},
    {.name = "log.access", .type = CONFIG_BOOL, .offset = AT(log.access),
     .initial = "false",
     .help = "Whether every request is logged."},

    {.name = "drain.timeout", .type = CONFIG_DURATION, .offset = AT(drain_timeout_ms),
     .max = HOUR, .initial = "10s",
     .help = "Time over which the streams are closed when the daemon stops."},

    {.name = "state.file", .type = CONFIG_STRING, .offset = AT(state_file), .optional = true,
     .min = 1, .max = STATE_PATH_MAX, .initial = "null", .check = config_check_path,
     .what = "null or the path of a file, such as \"/var/lib/tickerd/state\"",
     .fixed = true,
     .help = "Where histories and event ids are kept from a clean stop to the next start; null: "
             "they are not. Beside it are FILE.lock, FILE.tmp while it is written, and FILE.bad."},
};
/* clang-format on */

_Static_assert(COUNT(keys) <= CONFIG_KEYS_MAX, "struct config_build has an origin for each key");

const struct config_table config_table = {keys, COUNT(keys)};

const struct config_key *config_find(const struct config_table *t, const char *name)
{
    for (size_t i = 0; i < t->count; i++) {
        if (strcmp(t->keys[i].name, name) == 0)
            return &t->keys[i];
    }
    return NULL;
}

bool config_is_group(const struct config_table *t, const char *name)
{
    size_t len = strlen(name);
    for (size_t i = 0; i < t->count; i++) {
        if (len > 0 && strncmp(t->keys[i].name, name, len) == 0 && t->keys[i].name[len] == '.')
            return true;
    }
    return false;
}
