#include "tickerd/wire/forwarded.h"

#include <string.h>
#include <strings.h>

enum { PORT_DIGITS = 5 };

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_alnum(char c)
{
    return is_digit(c) || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

/* ---- addresses with ports -------------------------------------------------------------------- */

/* Digits, or an obfuscated port of RFC 7239 §6.2. */
static bool is_port(const char *p, size_t len)
{
    bool obfuscated = len > 1 && p[0] == '_';
    if (len == 0 || (!obfuscated && len > PORT_DIGITS))
        return false;
    for (size_t i = obfuscated ? 1 : 0; i < len; i++) {
        bool fits = obfuscated ? is_alnum(p[i]) || (p[i] != '\0' && strchr("._-", p[i]) != NULL)
                               : is_digit(p[i]);
        if (!fits)
            return false;
    }
    return true;
}

/* What is behind an address: nothing, or a colon and a port. */
static bool is_rest(const char *p, size_t len)
{
    return len == 0 || (p[0] == ':' && is_port(p + 1, len - 1));
}

static bool read_bracketed(struct netaddr *a, const char *p, size_t len)
{
    const char *end = memchr(p, ']', len);
    if (end == NULL)
        return false;
    size_t n = (size_t)(end - p);
    return memchr(p, ':', n) != NULL && netaddr_parse(a, p + 1, n - 1) &&
           is_rest(end + 1, len - n - 1);
}

/* "192.0.2.1", "192.0.2.1:567", "[2001:db8::1]", "[2001:db8::1]:567", and, where `bare`, as in
 * X-Forwarded-For, "2001:db8::1". */
static bool read_node(struct netaddr *a, struct http_slice s, bool bare)
{
    if (s.len == 0)
        return false;
    if (s.p[0] == '[')
        return read_bracketed(a, s.p, s.len);
    const char *colon = memchr(s.p, ':', s.len);
    if (colon == NULL)
        return netaddr_parse(a, s.p, s.len);
    size_t n = (size_t)(colon - s.p);
    if (memchr(colon + 1, ':', s.len - n - 1) != NULL)
        return bare && netaddr_parse(a, s.p, s.len);
    return is_rest(colon, s.len - n) && netaddr_parse(a, s.p, n);
}

/* ---- lists, from the right ------------------------------------------------------------------- */

/* Whether the quote at p[i] is preceded by an odd number of backslashes. */
static bool is_escaped(const char *p, size_t i)
{
    size_t n = 0;
    while (n < i && p[i - 1 - n] == '\\')
        n++;
    return n % 2 == 1;
}

/* Take what is behind the last `separator` outside quoted strings off the end. From the right,
 * nothing that stands further left can swallow what a trusted proxy has added. */
static struct http_slice last_part(struct http_slice *list, char separator)
{
    bool quoted = false;
    size_t i = list->len;
    while (i > 0 && (quoted || list->p[i - 1] != separator)) {
        i--;
        if (list->p[i] == '"' && !(quoted && is_escaped(list->p, i)))
            quoted = !quoted;
    }
    struct http_slice part = {list->p + i, list->len - i};
    list->len = i > 0 ? i - 1 : 0;
    return http_trim(part);
}

/* A parameter's value without the quotes. No address needs an escape. */
static bool unquote(struct http_slice *s)
{
    if (s->len == 0 || s->p[0] != '"')
        return s->len > 0 && memchr(s->p, '"', s->len) == NULL;
    if (s->len < 2 || s->p[s->len - 1] != '"')
        return false;
    *s = (struct http_slice){s->p + 1, s->len - 2};
    return memchr(s->p, '\\', s->len) == NULL && memchr(s->p, '"', s->len) == NULL;
}

/* Find the one `for` of an element, `for=192.0.2.1;proto=https` (RFC 7239 §4). */
static bool read_element(struct netaddr *a, struct http_slice element)
{
    bool found = false;
    while (element.len > 0) {
        struct http_slice pair = last_part(&element, ';');
        if (pair.len < 4 || strncasecmp(pair.p, "for=", 4) != 0)
            continue;
        struct http_slice value = {pair.p + 4, pair.len - 4};
        if (found || !unquote(&value) || !read_node(a, value, false))
            return false;
        found = true;
    }
    return found;
}

static struct netaddr walk(const struct netblocks *trusted, const struct netaddr *peer,
                           struct http_slice list, bool x_forwarded_for)
{
    struct netaddr last = *peer;
    for (int i = 0; i < FORWARDED_HOPS_MAX && list.len > 0; i++) {
        struct netaddr next;
        struct http_slice part = last_part(&list, ',');
        if (part.len == 0) /* RFC 9110 §5.6.1.2: empty elements do not count */
            continue;
        if (!netblocks_contain(trusted, &last))
            break;
        if (!(x_forwarded_for ? read_node(&next, part, true) : read_element(&next, part)))
            break;
        last = next;
    }
    return last;
}

struct netaddr forwarded_client(const struct netblocks *trusted, const struct netaddr *peer,
                                struct http_slice x_forwarded_for, struct http_slice forwarded)
{
    if (x_forwarded_for.p == NULL)
        return walk(trusted, peer, forwarded, false);
    struct netaddr client = walk(trusted, peer, x_forwarded_for, true);
    if (forwarded.p == NULL)
        return client;
    struct netaddr other = walk(trusted, peer, forwarded, false);
    return netaddr_equal(&client, &other) ? client : *peer;
}
