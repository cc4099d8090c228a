/* Reading one HTTP/1.x request, over llhttp, with the limits llhttp has not. Fed with bytes as they
 * come, the result is the same however they are split. It reads exactly one request, and of most
 * only the head: bytes behind it are left alone (a GET has no body), but for the body of a POST
 * where its reader allows one. */
#ifndef TICKERD_WIRE_HTTPREQ_H
#define TICKERD_WIRE_HTTPREQ_H

#include <stdbool.h>
#include <stddef.h>

enum http_method { HTTP_M_GET, HTTP_M_HEAD, HTTP_M_OPTIONS, HTTP_M_POST, HTTP_M_OTHER };

/* The headers anybody here looks at. A header that may come once and comes twice makes the request
 * malformed where that matters (Host, Content-Length, Authorization, Origin, Last-Event-ID);
 * the others are joined as lists, cookies by "; ", the rest by ", ". */
#define HTTPREQ_HEADERS(X)                                                                         \
    X(HOST, "host")                                                                                \
    X(ACCEPT, "accept")                                                                            \
    X(ACCEPT_ENCODING, "accept-encoding")                                                          \
    X(LAST_EVENT_ID, "last-event-id")                                                              \
    X(ORIGIN, "origin")                                                                            \
    X(AUTHORIZATION, "authorization")                                                              \
    X(COOKIE, "cookie")                                                                            \
    X(SEC_FETCH_SITE, "sec-fetch-site")                                                            \
    X(SEC_FETCH_MODE, "sec-fetch-mode")                                                            \
    X(X_FORWARDED_FOR, "x-forwarded-for")                                                          \
    X(FORWARDED, "forwarded")                                                                      \
    X(ACR_METHOD, "access-control-request-method")                                                 \
    X(ACR_HEADERS, "access-control-request-headers")

enum httpreq_header {
#define HTTPREQ_ENUM(name, text) HTTPREQ_##name,
    HTTPREQ_HEADERS(HTTPREQ_ENUM)
#undef HTTPREQ_ENUM
        HTTPREQ_HEADER_COUNT
};

enum { HTTPREQ_HEADERS_MAX = 100 };

struct http_slice {
    const char *p; /* NULL: the request has no such header */
    size_t len;
};

/* Without the blanks around it (OWS, RFC 9110 §5.6.3). */
struct http_slice http_trim(struct http_slice s);

/* Whether it is this text, in any case. */
bool http_slice_is(struct http_slice s, const char *text);

enum httpreq_state { HTTPREQ_MORE, HTTPREQ_DONE, HTTPREQ_ERROR };

/* Why a request was refused. */
struct httpreq_error {
    int status;          /* 400, 411, 413, 414, 431, 501, 505; 503 when memory is out */
    const char *code;    /* static, e.g. "headers_too_large" */
    const char *message; /* static sentence */
};

struct httpreq;

/* A reader for one request of at most max_bytes (target and headers with their line ends), or
 * NULL when memory is out. Memory grows with what arrives, never beyond max_bytes + a constant. */
struct httpreq *httpreq_create(size_t max_bytes);
void httpreq_destroy(struct httpreq *r);

/* Read the body of a POST, too, of at most so many bytes and with a Content-Length (one in chunks
 * is refused with 411). 0, as in the beginning: a POST is done with its head, whatever that
 * announces. Before the first byte. */
void httpreq_set_body_max(struct httpreq *r, size_t bytes);

/* Feed bytes. Returns the state after them. HTTPREQ_DONE: the request is complete, and *used (may
 * be NULL) tells how many of these bytes belonged to it. After DONE or ERROR, feed no more. */
enum httpreq_state httpreq_feed(struct httpreq *r, const char *data, size_t len, size_t *used);

/* Also after an ERROR; HTTP_M_OTHER if it had not been read by then. */
enum http_method httpreq_method(const struct httpreq *r);

/* After DONE. Slices live as long as the reader. */
struct http_slice httpreq_target(const struct httpreq *r);
struct http_slice httpreq_header(const struct httpreq *r, enum httpreq_header which);
/* The minor version: 0 or 1. */
int httpreq_minor(const struct httpreq *r);
/* The bytes as they came, of none if there was no body or none is read. */
struct http_slice httpreq_body(const struct httpreq *r);

/* Whether the peer waits to be told that it may send the body (RFC 9110 §10.1.1): while MORE. */
bool httpreq_awaits_continue(const struct httpreq *r);

/* Whether Accept names text/event-stream (any case, with parameters; q=0 means no), also known
 * after an ERROR if the header had been read by then. */
bool httpreq_accepts_stream(const struct httpreq *r);

/* After ERROR. Never NULL. */
const struct httpreq_error *httpreq_error(const struct httpreq *r);

#endif
