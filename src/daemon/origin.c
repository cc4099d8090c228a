#include "tickerd/daemon/origin.h"

#include <string.h>

#include "tickerd/wire/cors.h"

/* The request's Origin if it is allowed, else one without bytes. */
static struct http_slice allowed_origin(const struct config *c, const struct httpreq *request)
{
    struct http_slice origin = {NULL, 0};
    if (request != NULL)
        origin = httpreq_header(request, HTTPREQ_ORIGIN);
    if (origin.p == NULL || !cors_allows(&c->cors.origins, origin.p, origin.len))
        return (struct http_slice){NULL, 0};
    return origin;
}

void origin_put_headers(struct buf *out, const struct config *c, const struct httpreq *request,
                        int status)
{
    if (c->cors.origins.count == 0)
        return;
    /* Also without an Origin: a cache must not give this answer to somebody who has one. */
    buf_str(out, "Vary: Origin\r\n");
    struct http_slice origin = allowed_origin(c, request);
    if (origin.p == NULL)
        return;
    buf_str(out, "Access-Control-Allow-Origin: ");
    if (strcmp(c->cors.origins.items[0], "*") == 0)
        buf_byte(out, '*');
    else
        buf_append(out, origin.p, origin.len);
    buf_str(out, "\r\n");
    if (c->cors.credentials)
        buf_str(out, "Access-Control-Allow-Credentials: true\r\n");
    if (status >= 400)
        buf_str(out, "Access-Control-Expose-Headers: Retry-After, WWW-Authenticate\r\n");
}

void origin_put_preflight(struct buf *out, const struct config *c, const struct httpreq *request)
{
    if (c->cors.origins.count == 0)
        return;
    buf_str(out, "Vary: Access-Control-Request-Method, Access-Control-Request-Headers\r\n");
    if (allowed_origin(c, request).p == NULL ||
        httpreq_header(request, HTTPREQ_ACR_METHOD).p == NULL)
        return;
    buf_str(out, "Access-Control-Allow-Methods: GET, HEAD, OPTIONS\r\n"
                 "Access-Control-Allow-Headers: Authorization, Last-Event-ID, Cache-Control\r\n"
                 "Access-Control-Max-Age: 7200\r\n");
}

static bool header_is(const struct httpreq *request, enum httpreq_header which, const char *text)
{
    struct http_slice value = httpreq_header(request, which);
    return value.p != NULL && value.len == strlen(text) && memcmp(value.p, text, value.len) == 0;
}

bool origin_abuses_cookies(const struct config *c, const struct httpreq *request)
{
    if (httpreq_header(request, HTTPREQ_COOKIE).p == NULL ||
        header_is(request, HTTPREQ_SEC_FETCH_SITE, "same-origin"))
        return false;
    struct http_slice origin = httpreq_header(request, HTTPREQ_ORIGIN);
    if (origin.p == NULL) {
        /* A page that asks without CORS, by an <img> say, sends none; it could not read the stream
         * but would open it. A link that a user follows is his own doing. */
        return httpreq_header(request, HTTPREQ_SEC_FETCH_SITE).p != NULL &&
               !header_is(request, HTTPREQ_SEC_FETCH_SITE, "none") &&
               !header_is(request, HTTPREQ_SEC_FETCH_MODE, "navigate");
    }
    struct http_slice host = httpreq_header(request, HTTPREQ_HOST);
    if (host.p != NULL && cors_own(origin.p, origin.len, host.p, host.len))
        return false;
    return !c->cors.credentials || allowed_origin(c, request).p == NULL;
}
