#include "redis_errors.h"

#include <string.h>

#include "tickerd/base/clock.h"

enum { NOTICE_EVERY_S = 60 };

#define SAYS_WRONG "check user and password in redis.url, and on the server ACL LIST"
#define SAYS_NONE_SET                                                                              \
    "redis.url has a password but the server has none: take it out of redis.url, or set "          \
    "requirepass or an ACL user on the server"

/* The first prefix that fits decides; the more special ones come first. */
static const struct redis_rule {
    const char *prefix;
    enum redis_verdict verdict;
    const char *what;
    const char *todo;
} rules[] = {
    {"WRONGPASS", REDIS_LOGIN, "WRONGPASS", SAYS_WRONG},
    {"ERR invalid password", REDIS_LOGIN, "ERR invalid password", SAYS_WRONG},
    {"NOAUTH", REDIS_LOGIN, "NOAUTH", "the server wants a password: give it in redis.url"},
    {"ERR AUTH <password> called without any password", REDIS_LOGIN, "no password configured",
     SAYS_NONE_SET},
    {"ERR Client sent AUTH, but no password is set", REDIS_LOGIN, "no password configured",
     SAYS_NONE_SET},
    {"ERR wrong number of arguments for 'auth'", REDIS_LOGIN, "wrong number of arguments for AUTH",
     "servers older than Redis 6 know no users: take the user out of redis.url"},
    {"DENIED", REDIS_LOGIN, "DENIED",
     "the server is in protected mode and accepts local clients only: set a password there"},
    {"LOADING", REDIS_NOT_NOW, "LOADING", "the server is loading its data: it will be tried again"},
    {"MASTERDOWN", REDIS_NOT_NOW, "MASTERDOWN",
     "this replica has lost its master: it will be tried again"},
    {"ERR max number of clients", REDIS_NOT_NOW, "max number of clients reached",
     "raise maxclients on the server, or have fewer clients"},
};

static bool starts_with(const char *text, size_t len, const char *prefix)
{
    size_t n = strlen(prefix);
    return len >= n && memcmp(text, prefix, n) == 0;
}

struct redis_error redis_error_classify(const char *text, size_t len, bool to_auth)
{
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        if (starts_with(text, len, rules[i].prefix))
            return (struct redis_error){rules[i].verdict, rules[i].what, rules[i].todo};
    }
    bool noperm = starts_with(text, len, "NOPERM");
    if (to_auth)
        return (struct redis_error){REDIS_LOGIN, noperm ? "NOPERM" : "AUTH refused",
                                    "the server did not accept AUTH: check redis.url"};
    if (noperm)
        return (struct redis_error){
            REDIS_COMMAND, "NOPERM",
            "grant it with ACL SETUSER: +subscribe +psubscribe +unsubscribe +punsubscribe +ping "
            "and &<channel>; for a pattern the very same pattern must be granted"};
    return (struct redis_error){REDIS_COMMAND, "error", ""};
}

/* FNV-1a; 0 is kept for nothing. */
static uint32_t notice_key(const char *text)
{
    uint32_t h = 2166136261U;
    for (; *text != '\0'; text++)
        h = (h ^ (unsigned char)*text) * 16777619U;
    return h == 0 ? 1 : h;
}

bool redis_notice_due(struct redis_notice *n, const char *key, uint64_t now_us)
{
    uint32_t hash = notice_key(key);
    if (n->again_us != 0 && n->key == hash && now_us < n->again_us)
        return false;
    n->key = hash;
    n->again_us = now_us + (uint64_t)NOTICE_EVERY_S * US_PER_S;
    return true;
}

void redis_notice_reset(struct redis_notice *n)
{
    *n = (struct redis_notice){0, 0};
}
