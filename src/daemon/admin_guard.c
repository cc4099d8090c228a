#include "tickerd/daemon/admin_guard.h"

#include <string.h>
#include <strings.h>

#include "tickerd/wire/addr.h"
#include "tickerd/wire/cors.h"
#include "tickerd/wire/netblock.h"

static bool all_digits(const char *p, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (p[i] < '0' || p[i] > '9')
            return false;
    }
    return true;
}

/* Cut the port off. False: what is behind the colon is none. */
static bool cut_port(struct http_slice *host)
{
    const char *colon = memrchr(host->p, ':', host->len);
    if (colon == NULL || host->p[host->len - 1] == ']')
        return true;
    size_t len = (size_t)(colon - host->p);
    bool port = all_digits(colon + 1, host->len - len - 1);
    host->len = len;
    return port;
}

static bool is_address(struct http_slice host)
{
    struct netaddr a;
    bool bracketed = host.len > 2 && host.p[0] == '[' && host.p[host.len - 1] == ']';
    if (bracketed)
        host = (struct http_slice){host.p + 1, host.len - 2};
    return netaddr_parse(&a, host.p, host.len) &&
           bracketed == (memchr(host.p, ':', host.len) != NULL);
}

bool admin_host_fits(const struct strings *names, struct http_slice host)
{
    if (host.p == NULL || host.len == 0 || !cut_port(&host) || host.len == 0)
        return false;
    if (is_address(host) || addr_names_localhost(host.p, host.len))
        return true;
    if (host.p[host.len - 1] == '.')
        host.len--;
    for (size_t i = 0; i < names->count; i++) {
        if (strlen(names->items[i]) == host.len &&
            strncasecmp(names->items[i], host.p, host.len) == 0)
            return true;
    }
    return false;
}

static bool says(struct http_slice value, const char *text)
{
    return value.len == strlen(text) && memcmp(value.p, text, value.len) == 0;
}

bool admin_order_fits(const struct httpreq *request)
{
    struct http_slice site = httpreq_header(request, HTTPREQ_SEC_FETCH_SITE);
    struct http_slice origin = httpreq_header(request, HTTPREQ_ORIGIN);
    struct http_slice host = httpreq_header(request, HTTPREQ_HOST);
    if (site.p != NULL && !says(site, "same-origin") && !says(site, "none"))
        return false;
    return origin.p == NULL || (host.p != NULL && cors_own(origin.p, origin.len, host.p, host.len));
}
