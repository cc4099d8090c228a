#include "tickerd/wire/addr.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "tickerd/base/err.h"
#include "tickerd/wire/netblock.h"
#include "tickerd/wire/query.h"

enum { REDIS_PORT = 6379, SENTINEL_PORT = 26379, LABEL_MAX = 63, PORT_DIGITS = 5 };

static int refuse(const char **why, const char *sentence)
{
    *why = sentence;
    return ERR_INVALID;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_alnum(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static int parse_port(uint16_t *port, const char *s, size_t len, const char **why)
{
    uint32_t value = 0;
    bool ok = len > 0 && len <= PORT_DIGITS;
    for (size_t i = 0; ok && i < len; i++) {
        ok = is_digit(s[i]);
        value = value * 10 + (uint32_t)(s[i] - '0');
    }
    if (!ok || value > UINT16_MAX)
        return refuse(why, "the port must be a number from 0 to 65535");
    *port = (uint16_t)value;
    return 0;
}

/* Digits and dots only must be a real IPv4 address: resolvers read "1.2.3" as 1.2.0.3. */
static bool name_ok(const char *host)
{
    struct in_addr v4;
    if (host[strspn(host, "0123456789.")] == '\0')
        return inet_pton(AF_INET, host, &v4) == 1;
    size_t label = 0;
    for (const char *p = host; *p != '\0'; p++) {
        if (*p == '.') {
            if (label == 0)
                return false;
            label = 0;
        } else if (!is_alnum(*p) && *p != '-' && *p != '_') {
            return false;
        } else if (++label > LABEL_MAX) {
            return false;
        }
    }
    return true;
}

/* A zone (`fe80::1%eth0`) is the resolver's business; only its alphabet is checked. */
static bool v6_ok(const char *host)
{
    struct in6_addr v6;
    char plain[INET6_ADDRSTRLEN];
    size_t len = strcspn(host, "%");
    if (len >= sizeof(plain))
        return false;
    memcpy(plain, host, len);
    plain[len] = '\0';
    if (inet_pton(AF_INET6, plain, &v6) != 1)
        return false;
    if (host[len] == '\0')
        return true;
    size_t zone = len + 1;
    for (; host[zone] != '\0'; zone++) {
        if (!is_alnum(host[zone]) && strchr("._-", host[zone]) == NULL)
            return false;
    }
    return zone > len + 1;
}

/* `host`, `host:port` or `[v6]:port`; without a port *has_port is false. */
static int parse_authority(struct addr *a, const char *s, size_t len, bool *has_port,
                           const char **why)
{
    const char *host = s, *rest = NULL, *end = s + len;
    bool v6 = len > 0 && s[0] == '[';
    if (v6) {
        host++;
        const char *close = memchr(s, ']', len);
        if (close == NULL)
            return refuse(why, "the bracket of the IPv6 address is not closed");
        rest = close + 1;
    } else {
        const char *colon = memchr(s, ':', len);
        rest = colon == NULL ? end : colon;
        if (colon != NULL && memchr(colon + 1, ':', (size_t)(end - colon - 1)) != NULL)
            return refuse(why, "an IPv6 address needs brackets, as in [::1]:8090");
    }
    size_t host_len = (size_t)(rest - host) - (v6 ? 1 : 0);
    if (host_len == 0)
        return refuse(why, "the host is missing");
    if (host_len > ADDR_HOST_MAX)
        return refuse(why, "the host is too long");
    memcpy(a->host, host, host_len);
    a->host[host_len] = '\0';
    if (v6 ? !v6_ok(a->host) : !name_ok(a->host))
        return refuse(why, v6 ? "what is in brackets is no IPv6 address"
                              : "the host is neither a name nor an IPv4 address");
    *has_port = rest < end;
    if (!*has_port)
        return 0;
    if (*rest != ':')
        return refuse(why, "only a colon and a port may follow the bracket");
    return parse_port(&a->port, rest + 1, (size_t)(end - rest - 1), why);
}

static int parse_path(struct addr *a, const char *path, const char **why)
{
    size_t len = strlen(path);
    if (path[0] != '/' || len < 2)
        return refuse(why, "the path of a unix socket must be absolute");
    if (len > ADDR_PATH_MAX)
        return refuse(why, "the path of a unix socket has at most 107 bytes");
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)path[i] < 0x20 || path[i] == 0x7f)
            return refuse(why, "the path of a unix socket has no control bytes");
    }
    memcpy(a->host, path, len + 1);
    a->is_unix = true;
    a->port = 0;
    return 0;
}

int addr_parse(struct addr *a, const char *text, const char **why)
{
    bool has_port = false;
    memset(a, 0, sizeof(*a));
    if (text[0] == '\0')
        return refuse(why, "the address is empty");
    if (strncmp(text, "unix:", 5) == 0)
        return parse_path(a, text + 5, why);
    int rc = parse_authority(a, text, strlen(text), &has_port, why);
    if (rc == 0 && !has_port)
        return refuse(why, "the port is missing");
    return rc;
}

void addr_print(struct buf *out, const struct addr *a)
{
    if (a->is_unix)
        buf_printf(out, "unix:%s", a->host);
    else if (strchr(a->host, ':') != NULL)
        buf_printf(out, "[%s]:%u", a->host, a->port);
    else
        buf_printf(out, "%s:%u", a->host, a->port);
}

bool addr_names_localhost(const char *host, size_t len)
{
    static const char name[] = "localhost";
    const size_t n = sizeof name - 1;
    if (len > 0 && host[len - 1] == '.')
        len--;
    return len >= n && strncasecmp(host + len - n, name, n) == 0 &&
           (len == n || (len > n + 1 && host[len - n - 1] == '.'));
}

bool addr_is_local(const struct addr *a)
{
    static const uint8_t v4[] = {127, 0, 0, 0}, v6[16] = {[15] = 1};
    struct netaddr host, one = {.is_unix = false};
    memcpy(one.bytes, v6, sizeof v6);
    if (a->is_unix || addr_names_localhost(a->host, strlen(a->host)))
        return true;
    if (!netaddr_parse(&host, a->host, strlen(a->host)))
        return false;
    const struct netblock loopback = {netaddr_v4(v4), 96 + 8};
    return netblock_contains(&loopback, &host) || netaddr_equal(&host, &one);
}

bool addr_equal(const struct addr *a, const struct addr *b)
{
    if (a->is_unix != b->is_unix || a->port != b->port)
        return false;
    return (a->is_unix ? strcmp(a->host, b->host) : strcasecmp(a->host, b->host)) == 0;
}

static int percent_decode(char **out, const char *s, size_t len, const char **why)
{
    char *text = malloc(len + 1);
    if (text == NULL) {
        *why = err_text(ERR_NOMEM);
        return ERR_NOMEM;
    }
    ptrdiff_t n = query_decode(text, s, len, false);
    if (n < 0 || memchr(text, '\0', (size_t)n) != NULL) {
        free(text);
        return refuse(why, "a % in user or password must begin a code such as %40");
    }
    text[n] = '\0';
    *out = text;
    return 0;
}

/* What stands before the @: `user`, `user:password` or `:password`. Without a user an empty
 * password means none at all, since there is nothing to log in with. */
static int parse_userinfo(struct redis_url *u, const char *s, size_t len, const char **why)
{
    const char *colon = memchr(s, ':', len);
    size_t user_len = colon == NULL ? len : (size_t)(colon - s);
    if (user_len > 0) {
        int rc = percent_decode(&u->user, s, user_len, why);
        if (rc != 0)
            return rc;
    }
    if (colon == NULL || (user_len == 0 && len == 1))
        return 0;
    return percent_decode(&u->password, colon + 1, len - user_len - 1, why);
}

static int parse_tcp_url(struct redis_url *u, const char *s, size_t authority_len, uint16_t port,
                         const char **why)
{
    const char *at = memrchr(s, '@', authority_len); /* an @ in a password is often left bare */
    const char *host = at == NULL ? s : at + 1;
    const char *path = s + authority_len;
    bool has_port = false;
    int rc = at == NULL ? 0 : parse_userinfo(u, s, (size_t)(at - s), why);
    if (rc == 0)
        rc = parse_authority(&u->addr, host, (size_t)(path - host), &has_port, why);
    if (rc != 0)
        return rc;
    if (!has_port)
        u->addr.port = port;
    if (u->addr.port == 0)
        return refuse(why, "the port must be a number from 1 to 65535");
    if (strpbrk(path, "?#") != NULL)
        return refuse(why, "a Redis URL has no ? and no # part");
    if (path[0] != '\0' && strcmp(path, "/") != 0 && strcmp(path, "/0") != 0)
        return refuse(why, "Pub/Sub knows no databases: nothing or /0 may follow the port");
    return 0;
}

static int parse_unix_url(struct redis_url *u, const char *s, size_t authority_len,
                          const char **why)
{
    if (authority_len > 0 && s[authority_len - 1] != '@')
        return refuse(why, "a unix URL has three slashes, as in unix:///run/redis.sock");
    if (strpbrk(s + authority_len, "?#") != NULL)
        return refuse(why, "a Redis URL has no ? and no # part");
    int rc = authority_len == 0 ? 0 : parse_userinfo(u, s, authority_len - 1, why);
    return rc != 0 ? rc : parse_path(&u->addr, s + authority_len, why);
}

static int parse_url(struct redis_url *u, const char *text, uint16_t port, const char **why)
{
    const char *rest = strstr(text, "://");
    size_t scheme_len = rest == NULL ? 0 : (size_t)(rest - text);
    bool is_unix = scheme_len == 4 && strncasecmp(text, "unix", 4) == 0;
    memset(u, 0, sizeof(*u));
    u->tls = scheme_len == 6 && strncasecmp(text, "rediss", 6) == 0;
    if (rest == NULL ||
        (!is_unix && !u->tls && (scheme_len != 5 || strncasecmp(text, "redis", 5) != 0)))
        return refuse(why, "it must begin with redis://, rediss:// or unix://");
    for (const char *p = text; *p != '\0'; p++) {
        if ((unsigned char)*p <= 0x20 || *p == 0x7f)
            return refuse(why, "blanks and control bytes must be percent-encoded");
    }
    rest += 3;
    size_t authority_len = strcspn(rest, "/");
    if (strchr(rest + authority_len, '@') != NULL && !is_unix)
        return refuse(why, "a / in user or password must be percent-encoded as %2F");
    int rc = is_unix ? parse_unix_url(u, rest, authority_len, why)
                     : parse_tcp_url(u, rest, authority_len, port, why);
    if (rc != 0)
        redis_url_finish(u);
    return rc;
}

int redis_url_parse(struct redis_url *u, const char *text, const char **why)
{
    return parse_url(u, text, REDIS_PORT, why);
}

int sentinel_parse(struct redis_url *u, const char *text, const char **why)
{
    if (strstr(text, "://") != NULL)
        return parse_url(u, text, SENTINEL_PORT, why);
    memset(u, 0, sizeof(*u));
    if (strchr(text, '@') != NULL)
        return refuse(why, "with user or password it must be a URL, beginning with redis://");
    bool has_port = false;
    int rc = parse_authority(&u->addr, text, strlen(text), &has_port, why);
    if (rc == 0 && !has_port)
        u->addr.port = SENTINEL_PORT;
    if (rc == 0 && u->addr.port == 0)
        return refuse(why, "the port must be a number from 1 to 65535");
    return rc;
}

void redis_url_finish(struct redis_url *u)
{
    free(u->user);
    if (u->password != NULL)
        explicit_bzero(u->password, strlen(u->password));
    free(u->password);
    memset(u, 0, sizeof(*u));
}

void redis_url_print(struct buf *out, const struct redis_url *u)
{
    buf_str(out, u->addr.is_unix ? "unix://" : u->tls ? "rediss://" : "redis://");
    if (u->user != NULL) {
        for (const char *p = u->user; *p != '\0'; p++) {
            if (is_alnum(*p) || strchr("-._~", *p) != NULL)
                buf_byte(out, *p);
            else
                buf_printf(out, "%%%02X", (unsigned char)*p);
        }
        buf_byte(out, '@');
    }
    if (u->addr.is_unix)
        buf_str(out, u->addr.host);
    else
        addr_print(out, &u->addr);
}
