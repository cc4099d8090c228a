/* What a type and a range cannot say: syntax of some strings, and rules across keys. */
#include "config_internal.h"

#include <string.h>

#include "tickerd/wire/netblock.h"
#include "tickerd/wire/utf8.h"

bool config_check_listen(const char *text, const char **why)
{
    struct addr a;
    return addr_parse(&a, text, why) == 0;
}

bool config_check_admin_host(const char *text, const char **why)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyz0123456789-._";
    size_t len = strlen(text);
    *why = "lower case, without scheme and port";
    return len > 0 && len <= ADDR_HOST_MAX && strspn(text, allowed) == len;
}

bool config_check_redis_url(const char *text, const char **why)
{
    struct redis_url url;
    if (redis_url_parse(&url, text, why) != 0)
        return false;
    redis_url_finish(&url);
    return true;
}

/* A host without a port, v6 without brackets; "" is no host, and fine. */
bool config_check_host(const char *text, const char **why)
{
    struct addr a;
    struct buf with_port = BUF_INIT;
    if (text[0] == '\0')
        return true;
    bool v6 = strchr(text, ':') != NULL;
    buf_printf(&with_port, v6 ? "[%s]:1" : "%s:1", text);
    int rc = addr_parse(&a, buf_cstr(&with_port), why);
    buf_finish(&with_port);
    if (rc == 0 && (a.is_unix || a.port != 1 || strcmp(a.host, text) != 0))
        *why = "only the name or address may stand here";
    else if (rc == 0)
        return true;
    else if (v6)
        *why = "it is no IPv6 address, and a name is given without a port";
    return false;
}

bool config_check_sentinel(const char *text, const char **why)
{
    struct redis_url url;
    if (sentinel_parse(&url, text, why) != 0)
        return false;
    redis_url_finish(&url);
    return true;
}

bool config_check_node(const char *text, const char **why)
{
    struct addr a;
    if (addr_parse(&a, text, why) != 0)
        return false;
    *why = "it must be host:port";
    return !a.is_unix && a.port != 0;
}

bool config_check_master(const char *text, const char **why)
{
    *why = "names of masters have no blanks and no control bytes";
    for (const char *p = text; *p != '\0'; p++) {
        if ((unsigned char)*p <= 0x20 || *p == 0x7f)
            return false;
    }
    return true;
}

bool config_check_path(const char *text, const char **why)
{
    const char *slash = strrchr(text, '/');
    const char *name = slash == NULL ? text : slash + 1;
    if (*name != '\0' && strcmp(name, ".") != 0 && strcmp(name, "..") != 0)
        return true;
    *why = "it names a directory";
    return false;
}

/* Keys are not told: one that stands where its place should be is refused, but never quoted. */
bool config_check_key_file(const char *text, const char **why)
{
    *why = "this looks like a key: put it into a file, and give the path here";
    return strstr(text, "-----BEGIN") == NULL && text[0] != '{' && strpbrk(text, "\r\n") == NULL &&
           config_check_path(text, why);
}

bool config_check_env(const char *text, const char **why)
{
    *why = "names of variables have letters, digits and _ only, and begin with no digit";
    return text[0] > '9' && text[strspn(text, "_0123456789abcdefghijklmnopqrstuvwxyz"
                                              "ABCDEFGHIJKLMNOPQRSTUVWXYZ")] == '\0';
}

/* A token of RFC 9110 §5.6.2, as RFC 6265 §4.1.1 wants the names of cookies. */
bool config_check_cookie(const char *text, const char **why)
{
    *why = "names of cookies have letters, digits and !#$%&'*+-.^_`|~ only";
    return text[strspn(text, "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
                             "ABCDEFGHIJKLMNOPQRSTUVWXYZ")] == '\0';
}

bool config_check_query(const char *text, const char **why)
{
    static const char *const taken[] = {"channel",       "pattern",     "history",
                                        "last_event_id", "lastEventId", "format"};
    *why = "the parameter has another meaning";
    for (size_t i = 0; i < sizeof taken / sizeof taken[0]; i++) {
        if (strcmp(text, taken[i]) == 0)
            return false;
    }
    return true;
}

bool config_check_trusted(const char *text, const char **why)
{
    struct netblock block;
    return netblock_parse(&block, text, why) == 0;
}

static const char *const lower = "abcdefghijklmnopqrstuvwxyz0123456789+-.";

/* host[:port]; addr_parse judges both, given a port where there is none. */
static const char *check_authority(const char *host)
{
    struct addr a;
    struct buf text = BUF_INIT;
    const char *why = NULL;
    const char *port = host[0] == '[' ? strchr(host, ']') : host;
    bool has_port = port != NULL && strchr(port, ':') != NULL;
    if (strncmp(host, "*.", 2) == 0)
        host += 2;
    buf_printf(&text, "%s%s", host, has_port ? "" : ":1");
    int rc = addr_parse(&a, buf_cstr(&text), &why);
    buf_finish(&text);
    if (rc == 0 && (a.is_unix || a.port == 0))
        return "the port must be a number from 1 to 65535";
    return rc == 0 ? NULL : why;
}

/* Whether the host names the port that its scheme implies. */
static bool has_default_port(const char *text, const char *host)
{
    size_t scheme = (size_t)(host - text);
    const char *port = scheme == 7 && strncmp(text, "http://", scheme) == 0    ? ":80"
                       : scheme == 8 && strncmp(text, "https://", scheme) == 0 ? ":443"
                                                                               : NULL;
    size_t len = strlen(host);
    return port != NULL && len > strlen(port) && strcmp(host + len - strlen(port), port) == 0;
}

static bool is_ascii(const char *text)
{
    while (*text != '\0' && (unsigned char)*text < 0x80)
        text++;
    return *text == '\0';
}

bool config_check_origin(const char *text, const char **why)
{
    if (strcmp(text, "*") == 0)
        return true;
    const char *host = strstr(text, "://");
    *why = NULL;
    if (host == NULL || host == text || text[0] < 'a' || text[0] > 'z' ||
        strspn(text, lower) != (size_t)(host - text))
        *why = "it must begin with a scheme such as https://";
    else if (strpbrk(host + 3, "/?#") != NULL)
        *why = "an origin ends with the host or port, without a slash or path";
    else if (host[3 + strcspn(host + 3, "ABCDEFGHIJKLMNOPQRSTUVWXYZ")] != '\0')
        *why = "browsers send origins in lower case";
    else if (!is_ascii(host))
        *why = "browsers send names of hosts in ASCII (xn--...)";
    else if (has_default_port(text, host + 3))
        *why = "browsers leave out the port that the scheme implies";
    else
        *why = check_authority(host + 3);
    return *why == NULL;
}

void config_begin_rule(void *object)
{
    struct channel_rule *rule = object;
    rule->history = (struct history_limits){CONFIG_INHERIT_EVENTS, CONFIG_INHERIT, CONFIG_INHERIT};
}

void config_end_rule(struct config_build *b, void *object, const struct config_place *at)
{
    struct channel_rule *rule = object;
    (void)b;
    (void)at;
    rule->match_len = rule->match == NULL ? 0 : strlen(rule->match); /* NULL: out of memory */
}

void config_end_auth_key(struct config_build *b, void *object, const struct config_place *at)
{
    const struct auth_key *key = object;
    if (key->file != NULL && key->env != NULL)
        config_error(b, at, "expected only one of file and env, found both");
    else if (key->file == NULL && key->env == NULL)
        config_error(b, at, "expected file or env, which say where the key is, found neither");
}

/* The origin to blame for a clash of keys: the one of highest precedence, else the first. */
static const struct config_origin *blame(const struct config_build *b, const char *const *names,
                                         size_t count)
{
    const struct config_origin *found = NULL;
    for (size_t i = 0; i < count; i++) {
        const struct config_origin *o =
            &b->origins[config_find(&config_table, names[i]) - config_table.keys];
        if (o->bad)
            return NULL;
        if (found == NULL || o->from > found->from)
            found = o;
    }
    return found;
}

static void check_window(struct config_build *b)
{
    static const char *const names[] = {"resume.window", "resume.clock_skew", "redis.ping_interval",
                                        "redis.ping_timeout"};
    const struct config *c = b->config;
    const uint64_t parts[] = {c->resume.clock_skew_ms, c->redis.ping_interval_ms,
                              c->redis.ping_timeout_ms};
    uint64_t need = parts[0] + parts[1] + parts[2];
    const struct config_origin *at = blame(b, names, 4);
    if (at == NULL || c->resume.window_ms >= need)
        return;
    struct buf text = BUF_INIT;
    buf_str(&text, "expected at least ");
    config_put_duration(&text, need);
    for (size_t i = 0; i < 3; i++) {
        buf_printf(&text, "%s%s ", i == 0 ? " (" : " + ", names[i + 1]);
        config_put_duration(&text, parts[i]);
    }
    buf_str(&text, "), found ");
    config_put_duration(&text, c->resume.window_ms);
    config_error_origin(b, at, names[0], "%s", buf_cstr(&text));
    buf_finish(&text);
}

static void check_cors(struct config_build *b)
{
    static const char *const names[] = {"cors.origins", "cors.credentials"};
    const struct strings *origins = &b->config->cors.origins;
    bool star = false;
    for (size_t i = 0; i < origins->count; i++)
        star = star || strcmp(origins->items[i], "*") == 0;
    const struct config_origin *at = blame(b, names, 1);
    if (at != NULL && star && origins->count > 1)
        config_error_origin(b, at, names[0], "expected \"*\" alone, found it in a list of %zu",
                            origins->count);
    at = blame(b, names, 2);
    if (at != NULL && star && b->config->cors.credentials)
        config_error_origin(b, at, names[0],
                            "\"*\" is not allowed with credentials: name the origins, or set "
                            "cors.credentials=false");
}

/* Names of hosts know no case; paths do. */
static bool same_addr(const char *a, const char *b)
{
    const char *why;
    struct addr x, y;
    if (addr_parse(&x, a, &why) != 0 || addr_parse(&y, b, &why) != 0)
        return false;
    return addr_equal(&x, &y);
}

static void check_listen(struct config_build *b)
{
    static const char *const names[] = {"listen"};
    const struct strings *listen = &b->config->listen;
    const struct config_origin *at = blame(b, names, 1);
    for (size_t i = 1; at != NULL && i < listen->count; i++) {
        for (size_t j = 0; j < i; j++) {
            if (!same_addr(listen->items[i], listen->items[j]))
                continue;
            struct buf text = BUF_INIT;
            config_quote(&text, listen->items[i]);
            config_error_origin(b, at, names[0], "expected each address once, found %s twice",
                                buf_cstr(&text));
            buf_finish(&text);
            break;
        }
    }
}

/* Port 0 is another one each time. */
static bool takes_address(const char *a, const char *b)
{
    const char *why;
    struct addr x;
    return same_addr(a, b) && addr_parse(&x, a, &why) == 0 && (x.is_unix || x.port != 0);
}

static void check_admin(struct config_build *b)
{
    static const char *const names[] = {"admin", "listen"};
    const struct config *c = b->config;
    const struct config_origin *at = blame(b, names, 2);
    for (size_t i = 0; at != NULL && c->admin != NULL && i < c->listen.count; i++) {
        if (!takes_address(c->admin, c->listen.items[i]))
            continue;
        struct buf text = BUF_INIT;
        config_quote(&text, c->admin);
        config_error_origin(b, at, names[0],
                            "expected an address that is not in listen, found %s: choose another "
                            "one, or set admin to null",
                            buf_cstr(&text));
        buf_finish(&text);
    }
}

/* What stands at a key of redis.tls, in the order of the table. */
static void check_tls(struct config_build *b)
{
    static const char *const names[] = {"redis.url", "redis.tls.ca", "redis.tls.cert",
                                        "redis.tls.key", "redis.tls.server_name"};
    enum { CERT = 2, KEY = 3, NAMES = 5 };
    const struct config *c = b->config;
    const char *const values[NAMES] = {c->redis.url, c->redis.tls.ca, c->redis.tls.cert,
                                       c->redis.tls.key, c->redis.tls.server_name};
    if (blame(b, names, NAMES) == NULL)
        return;
    for (size_t i = 1; i < NAMES && !config_uses_tls(c); i++) {
        if (values[i][0] != '\0')
            config_error_origin(b, blame(b, names + i, 1), names[i],
                                "means something only with TLS: expected it with a redis.url that "
                                "begins with rediss://");
    }
    bool cert = values[CERT][0] != '\0', key = values[KEY][0] != '\0';
    size_t alone = cert ? CERT : KEY, missing = cert ? KEY : CERT;
    if (cert != key)
        config_error_origin(b, blame(b, names + alone, 1), names[alone],
                            "expected together with %s, found alone", names[missing]);
}

/* Sentinels and the master's name make sense together only; a cluster is something else. */
static void check_sentinels(struct config_build *b)
{
    static const char *const names[] = {"redis.sentinels", "redis.master", "redis.nodes"};
    const struct config *c = b->config;
    bool sentinels = c->redis.sentinels.count > 0;
    const struct config_origin *at = blame(b, names, 2);
    if (at != NULL && sentinels && c->redis.master[0] == '\0')
        config_error_origin(b, at, names[1],
                            "expected the name that the Sentinels know the master by, as "
                            "redis.sentinels is set");
    if (at != NULL && !sentinels && c->redis.master[0] != '\0')
        config_error_origin(b, at, names[0],
                            "expected at least one Sentinel, as redis.master is set");
    at = blame(b, names, 3);
    if (at != NULL && sentinels && c->redis.nodes.count > 0)
        config_error_origin(b, at, names[2],
                            "nodes are of a cluster, which has no Sentinels: set only one of "
                            "redis.nodes and redis.sentinels");
}

/* Clients must not be able to read what commands the instances. */
static void check_control(struct config_build *b)
{
    static const char *const names[] = {"control.channel", "redis.prefix"};
    const struct config *c = b->config;
    const struct config_origin *at = blame(b, names, 2);
    if (at == NULL || c->control_channel == NULL)
        return;
    size_t prefix_len = strlen(c->redis.prefix);
    if (strncmp(c->control_channel, c->redis.prefix, prefix_len) == 0 &&
        c->control_channel[prefix_len] != '$')
        config_error_origin(b, at, names[0],
                            "expected a name that does not begin with redis.prefix, or has \"$\" "
                            "behind it: clients could listen to this one");
}

static void check_proxy(struct config_build *b)
{
    static const char *const names[] = {"proxy.protocol", "proxy.trusted"};
    const struct config *c = b->config;
    const struct config_origin *at = blame(b, names, 2);
    if (at != NULL && c->proxy.protocol && c->proxy.trusted.count == 0)
        config_error_origin(b, at, names[0],
                            "means something only with proxy.trusted: name the proxies that send "
                            "the header");
}

static void check_auth(struct config_build *b)
{
    static const char *const names[] = {"auth.mode", "auth.keys", "auth.jwks_file"};
    const struct config *c = b->config;
    const struct config_origin *at = blame(b, names, 3);
    if (at != NULL && c->auth.mode != AUTH_OFF && c->auth.key_count == 0 &&
        c->auth.jwks_file == NULL)
        config_error_origin(b, at, names[0],
                            "needs a key to verify tokens with: set auth.keys or auth.jwks_file");
}

void config_cross_check(struct config_build *b)
{
    check_tls(b);
    check_sentinels(b);
    check_listen(b);
    check_admin(b);
    check_window(b);
    check_cors(b);
    check_control(b);
    check_proxy(b);
    check_auth(b);
}
