#include "tickerd/wire/cors.h"

#include <string.h>
#include <strings.h>

/* Whether these bytes are labels of a host name, one or more, none empty; so nothing like a path, a
 * user or another port can hide in them. */
static bool labels_valid(const char *p, size_t len)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789-_";
    bool within = false;
    for (size_t i = 0; i < len; i++) {
        bool letter = p[i] != '\0' && strchr(letters, p[i]) != NULL;
        if (!letter && (p[i] != '.' || !within))
            return false;
        within = letter;
    }
    return within;
}

/* The rule has an asterisk as its first label; the origin must have at least one label there. */
static bool subdomain(const char *rule, const char *star, const char *origin, size_t len)
{
    size_t scheme = (size_t)(star - rule);
    const char *rest = star + 1; /* begins with the dot */
    size_t rest_len = strlen(rest);
    return len > scheme + rest_len && memcmp(origin, rule, scheme) == 0 &&
           memcmp(origin + len - rest_len, rest, rest_len) == 0 &&
           labels_valid(origin + scheme, len - scheme - rest_len);
}

static bool rule_allows(const char *rule, const char *origin, size_t len)
{
    if (strcmp(rule, "*") == 0)
        return true;
    const char *star = strstr(rule, "://*.");
    if (star != NULL)
        return subdomain(rule, star + 3, origin, len);
    return strlen(rule) == len && memcmp(rule, origin, len) == 0;
}

bool cors_allows(const struct strings *origins, const char *origin, size_t len)
{
    for (size_t i = 0; i < origins->count; i++) {
        if (rule_allows(origins->items[i], origin, len))
            return true;
    }
    return false;
}

bool cors_own(const char *origin, size_t len, const char *host, size_t host_len)
{
    static const struct {
        const char *scheme, *port;
    } kinds[] = {{"http://", ":80"}, {"https://", ":443"}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        size_t scheme = strlen(kinds[i].scheme), port = strlen(kinds[i].port);
        if (len <= scheme || memcmp(origin, kinds[i].scheme, scheme) != 0)
            continue;
        /* A Host may name the default port, which an origin leaves out. */
        size_t n = len - scheme;
        bool same =
            n == host_len || (n + port == host_len && memcmp(host + n, kinds[i].port, port) == 0);
        return same && strncasecmp(origin + scheme, host, n) == 0;
    }
    return false;
}
