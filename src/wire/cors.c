#include "tickerd/wire/cors.h"

#include <string.h>

/* The rule has an asterisk as its first label; the origin must have at least one label there, all
 * of host characters, so that nothing like a path, a user or another port can hide in it. */
static bool subdomain(const char *rule, const char *star, const char *origin, size_t len)
{
    static const char host[] = "abcdefghijklmnopqrstuvwxyz0123456789-.";
    size_t scheme = (size_t)(star - rule);
    const char *rest = star + 1; /* begins with the dot */
    size_t rest_len = strlen(rest);
    if (len <= scheme + rest_len || memcmp(origin, rule, scheme) != 0 ||
        memcmp(origin + len - rest_len, rest, rest_len) != 0)
        return false;
    const char *labels = origin + scheme;
    size_t labels_len = len - scheme - rest_len;
    for (size_t i = 0; i < labels_len; i++) {
        if (labels[i] == '\0' || strchr(host, labels[i]) == NULL)
            return false;
    }
    return labels[0] != '.';
}

bool cors_allows(const struct strings *origins, const char *origin, size_t len)
{
    for (size_t i = 0; i < origins->count; i++) {
        const char *rule = origins->items[i];
        const char *star = strstr(rule, "://*.");
        if (strcmp(rule, "*") == 0)
            return true;
        if (star != NULL && subdomain(rule, star + 3, origin, len))
            return true;
        if (strlen(rule) == len && memcmp(rule, origin, len) == 0)
            return true;
    }
    return false;
}
