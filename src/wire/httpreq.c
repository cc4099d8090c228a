#include "tickerd/wire/httpreq.h"

#include <llhttp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "tickerd/base/buf.h"

/* The head is taken in line by line. Bytes are checked one at a time for what no head may hold
 * (bare CR, bare LF, control bytes, too much); a line that is complete goes to llhttp in one
 * piece, and what is wanted of it is kept. So llhttp sees the same calls however the bytes were
 * split, and whatever is refused is refused at the same byte with the same reason.
 *
 * llhttp alone is not enough: it has no limits, versions differ in what they tolerate, and it
 * cannot tell 505 and 501 from 400. So everything with a meaning of its own is looked at here
 * first, and llhttp has the last word on syntax.
 *
 * One block of memory holds it all, in this order, and its contents never exceed what has arrived:
 *
 *     | target | values kept so far … | the line being read |
 *                                     ^ kept                ^ len
 *
 * A value that continues an earlier one is rotated to its place behind it. A body, where one may
 * come, is kept apart from it, and llhttp does not see it: with a length it needs no parsing. */

enum {
    LINE_MIN = 256,      /* first allocation */
    METHOD_MAX = 32,     /* longer ones are unknown anyway */
    EMPTY_LINES_MAX = 4, /* before the request line; RFC 9112 §2.2 asks for one at least */
    LIMIT_SLACK = 64,    /* method and version around a target of exactly max_bytes */
};

enum refusal {
    REFUSE_NOTHING,
    REFUSE_BAD_REQUEST,
    REFUSE_BAD_LINE_END,
    REFUSE_BAD_BYTE,
    REFUSE_BAD_TARGET,
    REFUSE_BAD_METHOD,
    REFUSE_BAD_HEADER,
    REFUSE_BAD_HOST,
    REFUSE_BAD_LENGTH,
    REFUSE_BAD_FRAMING,
    REFUSE_DUPLICATE,
    REFUSE_MISSING_HOST,
    REFUSE_UNEXPECTED_BODY,
    REFUSE_NO_LENGTH,
    REFUSE_BODY_TOO_LARGE,
    REFUSE_URI_TOO_LONG,
    REFUSE_TOO_LARGE,
    REFUSE_TOO_MANY,
    REFUSE_NOT_IMPLEMENTED,
    REFUSE_NO_MEMORY,
    REFUSE_HTTP_VERSION,
};

static const struct httpreq_error refusals[] = {
    [REFUSE_NOTHING] = {0, "", ""},
    [REFUSE_BAD_REQUEST] = {400, "bad_request", "The request is not valid HTTP/1.1."},
    [REFUSE_BAD_LINE_END] = {400, "bad_request",
                             "Every line of the request head must end with CR LF."},
    [REFUSE_BAD_BYTE] = {400, "bad_request", "The request head holds a control byte."},
    [REFUSE_BAD_TARGET] = {400, "bad_request",
                           "The request target must be printable ASCII; percent-encode the rest."},
    [REFUSE_BAD_METHOD] = {400, "bad_request", "The request does not begin with a method."},
    [REFUSE_BAD_HEADER] = {400, "bad_request", "A header line is malformed."},
    [REFUSE_BAD_HOST] = {400, "bad_request", "The Host header is malformed."},
    [REFUSE_BAD_LENGTH] = {400, "bad_request", "The Content-Length header is malformed."},
    [REFUSE_BAD_FRAMING] = {400, "bad_request",
                            "Content-Length and Transfer-Encoding must not come together."},
    [REFUSE_DUPLICATE] = {400, "bad_request", "A header that may come once came twice."},
    [REFUSE_MISSING_HOST] = {400, "missing_host", "An HTTP/1.1 request must have a Host header."},
    [REFUSE_UNEXPECTED_BODY] = {400, "unexpected_body",
                                "A request with this method must have no body."},
    [REFUSE_NO_LENGTH] = {411, "length_required",
                          "A body must come with its Content-Length, not in chunks."},
    [REFUSE_BODY_TOO_LARGE] = {413, "body_too_large", "The body is larger than this server takes."},
    [REFUSE_URI_TOO_LONG] = {414, "uri_too_long", "The request target is too long."},
    [REFUSE_TOO_LARGE] = {431, "headers_too_large", "The request head is too large."},
    [REFUSE_TOO_MANY] = {431, "headers_too_large", "The request has too many headers."},
    [REFUSE_NOT_IMPLEMENTED] = {501, "not_implemented", "The request method is not implemented."},
    [REFUSE_NO_MEMORY] = {503, "no_memory", "The server is out of memory."},
    [REFUSE_HTTP_VERSION] = {505, "http_version", "Only HTTP/1.0 and HTTP/1.1 are spoken here."},
};

struct span {
    size_t off; /* into text */
    size_t len;
    bool present;
};

struct httpreq {
    llhttp_t parser;
    size_t max_bytes;
    char *text; /* owned */
    size_t cap;
    size_t len;  /* bytes in text */
    size_t kept; /* of which the line being read begins here */

    size_t total; /* bytes consumed */
    enum httpreq_state state;
    bool begun;    /* the request line is complete */
    bool complete; /* llhttp says that the head is */
    bool cr;       /* the last byte was a CR */
    unsigned empty_lines;
    unsigned spaces; /* in the request line so far */
    size_t target_len;
    unsigned headers;
    bool content_length, transfer_encoding, has_body, expects_continue;

    size_t body_max; /* 0: bodies are not read */
    size_t body_len; /* as announced; SIZE_MAX: more than can be counted */
    struct buf body;
    bool in_body;

    enum http_method method; /* known from the first space on, since errors depend on it too */
    bool method_known;
    int minor;
    struct span target;
    struct span values[HTTPREQ_HEADER_COUNT];
    enum refusal refusal;
};

static bool refuse(struct httpreq *r, enum refusal why)
{
    r->refusal = why;
    r->state = HTTPREQ_ERROR;
    return false;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* RFC 9110 §5.6.2 */
static bool is_token(char c)
{
    return is_digit(c) || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
           (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

struct http_slice http_trim(struct http_slice s)
{
    while (s.len > 0 && is_blank(s.p[0])) {
        s.p++;
        s.len--;
    }
    while (s.len > 0 && is_blank(s.p[s.len - 1]))
        s.len--;
    return s;
}

bool http_slice_is(struct http_slice s, const char *text)
{
    return s.len == strlen(text) && strncasecmp(s.p, text, s.len) == 0;
}

/* ---- the request line ---- */

static bool check_version(struct httpreq *r, struct http_slice v)
{
    static const char name[] = "HTTP/";
    const size_t n = sizeof name - 1;
    if (v.len != n + 3 || memcmp(v.p, name, n) != 0 || !is_digit(v.p[n]) || v.p[n + 1] != '.' ||
        !is_digit(v.p[n + 2]))
        return refuse(r, REFUSE_BAD_REQUEST);
    if (v.p[n] != '1' || v.p[n + 2] > '1')
        return refuse(r, REFUSE_HTTP_VERSION);
    r->minor = v.p[n + 2] - '0';
    return true;
}

/* What RFC 9110 and RFC 5789 define is known though not allowed, but for CONNECT: it asks for a
 * tunnel, and its target is no resource that could have an Allow. */
static void note_method(struct httpreq *r, struct http_slice m)
{
    static const char *const known[] = {"GET", "HEAD",   "OPTIONS", "POST",
                                        "PUT", "DELETE", "PATCH",   "TRACE"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (m.len == strlen(known[i]) && memcmp(m.p, known[i], m.len) == 0) {
            r->method = i < HTTP_M_OTHER ? (enum http_method)i : HTTP_M_OTHER;
            r->method_known = true;
            return;
        }
    }
}

/* Take the request line without its line end. Its bytes up to the second space are checked. */
static bool take_request_line(struct httpreq *r, const char *line, size_t len)
{
    struct http_slice method = {line, 0}, target = {NULL, 0};
    while (method.len < len && line[method.len] != ' ')
        method.len++;
    if (method.len + 1 >= len)
        return refuse(r, REFUSE_BAD_REQUEST);
    target.p = line + method.len + 1;
    size_t rest = len - method.len - 1;
    while (target.len < rest && target.p[target.len] != ' ')
        target.len++;
    if (target.len == 0)
        return refuse(r, REFUSE_BAD_REQUEST);
    if (target.len == rest)
        return refuse(r, REFUSE_HTTP_VERSION); /* HTTP/0.9 names none */
    struct http_slice version = {target.p + target.len + 1, rest - target.len - 1};
    if (!check_version(r, version))
        return false;
    if (!r->method_known)
        return refuse(r, REFUSE_NOT_IMPLEMENTED);
    r->begun = true;
    r->target = (struct span){(size_t)(target.p - r->text), target.len, true};
    return true;
}

/* ---- headers ---- */

static void reverse(char *p, size_t n)
{
    for (size_t i = 0; i < n / 2; i++) {
        char c = p[i];
        p[i] = p[n - 1 - i];
        p[n - 1 - i] = c;
    }
}

/* Make the n bytes at the end of what is kept the end of this value, which is kept too; what was
 * there comes behind them. An empty value begins where it ends, so it is told apart by itself. */
static void extend(struct httpreq *r, struct span *v, size_t n)
{
    size_t to = v->off + v->len;
    char *p = r->text + to;
    size_t all = r->kept - to;
    reverse(p, all - n);
    reverse(p + all - n, n);
    reverse(p, all);
    for (size_t i = 0; i < HTTPREQ_HEADER_COUNT; i++) {
        struct span *other = &r->values[i];
        if (other != v && other->present && other->off >= to)
            other->off += n;
    }
    v->len += n;
}

/* Move a value out of the line to the end of what is kept. It fits: its name, colon and line end
 * are longer than any separator. */
static void keep_value(struct httpreq *r, enum httpreq_header which, struct http_slice value)
{
    struct span *v = &r->values[which];
    const char *separator = !v->present ? "" : which == HTTPREQ_COOKIE ? "; " : ", ";
    size_t skip = strlen(separator);
    size_t n = skip + value.len;
    memmove(r->text + r->kept + skip, value.p, value.len);
    memcpy(r->text + r->kept, separator, skip);
    size_t at = r->kept;
    r->kept += n;
    if (v->present)
        extend(r, v, n);
    else
        *v = (struct span){at, n, true};
}

static bool may_repeat(enum httpreq_header which)
{
    return which != HTTPREQ_HOST && which != HTTPREQ_AUTHORIZATION && which != HTTPREQ_ORIGIN &&
           which != HTTPREQ_LAST_EVENT_ID;
}

/* A host and a port, loosely: enough that nothing else can be smuggled in by it. */
static bool host_valid(struct http_slice host)
{
    for (size_t i = 0; i < host.len; i++) {
        char c = host.p[i];
        if (c <= ' ' || c > '~' || strchr("\"#/<>?@\\^`{|}", c) != NULL)
            return false;
    }
    return true;
}

static bool take_content_length(struct httpreq *r, struct http_slice value)
{
    if (r->content_length)
        return refuse(r, REFUSE_DUPLICATE);
    r->content_length = true;
    for (size_t i = 0; i < value.len; i++) {
        if (!is_digit(value.p[i]))
            return refuse(r, REFUSE_BAD_LENGTH);
        r->has_body |= value.p[i] != '0';
        size_t digit = (size_t)(value.p[i] - '0');
        r->body_len = r->body_len > (SIZE_MAX - 9) / 10 ? SIZE_MAX : r->body_len * 10 + digit;
    }
    return value.len > 0 || refuse(r, REFUSE_BAD_LENGTH);
}

static bool take_header(struct httpreq *r, struct http_slice name, struct http_slice value)
{
    static const char *const names[] = {
#define HEADER_NAME(id, text) text,
        HTTPREQ_HEADERS(HEADER_NAME)
#undef HEADER_NAME
    };
    if (http_slice_is(name, "content-length"))
        return take_content_length(r, value);
    if (http_slice_is(name, "transfer-encoding"))
        r->transfer_encoding = r->has_body = true;
    if (http_slice_is(name, "expect"))
        r->expects_continue = http_slice_is(value, "100-continue");
    for (size_t i = 0; i < HTTPREQ_HEADER_COUNT; i++) {
        if (!http_slice_is(name, names[i]))
            continue;
        enum httpreq_header which = (enum httpreq_header)i;
        if (r->values[i].present && !may_repeat(which))
            return refuse(r, REFUSE_DUPLICATE);
        if (which == HTTPREQ_HOST && !host_valid(value))
            return refuse(r, REFUSE_BAD_HOST);
        keep_value(r, which, value); /* over the name, which is not to be looked at any more */
        break;
    }
    return true;
}

/* Split a header line. A blank at its start (folding), a name of no bytes and a blank before the
 * colon are all bytes that no name can hold. */
static bool split_header(struct httpreq *r, const char *line, size_t len, struct http_slice *name,
                         struct http_slice *value)
{
    size_t n = 0;
    while (n < len && is_token(line[n]))
        n++;
    if (n == 0 || n == len || line[n] != ':')
        return refuse(r, REFUSE_BAD_HEADER);
    *name = (struct http_slice){line, n};
    *value = http_trim((struct http_slice){line + n + 1, len - n - 1});
    return true;
}

/* ---- lines ---- */

static int on_headers_complete(llhttp_t *parser)
{
    struct httpreq *r = parser->data;
    r->complete = true;
    /* Stop before llhttp looks at the body, which is nobody's business here. */
    return HPE_PAUSED;
}

static const llhttp_settings_t settings = {.on_headers_complete = on_headers_complete};

/* RFC 9112 §6.3: neither a length nor a coding means no body. */
static bool begin_body(struct httpreq *r)
{
    if (r->transfer_encoding)
        return refuse(r, REFUSE_NO_LENGTH);
    if (r->body_len > r->body_max)
        return refuse(r, REFUSE_BODY_TOO_LARGE);
    r->in_body = r->body_len > 0;
    r->state = r->in_body ? HTTPREQ_MORE : HTTPREQ_DONE;
    return true;
}

static bool finish_head(struct httpreq *r)
{
    if (r->content_length && r->transfer_encoding)
        return refuse(r, REFUSE_BAD_FRAMING);
    if (r->minor == 1 && !r->values[HTTPREQ_HOST].present)
        return refuse(r, REFUSE_MISSING_HOST);
    if (r->method < HTTP_M_POST && r->has_body)
        return refuse(r, REFUSE_UNEXPECTED_BODY);
    if (!r->complete)
        return refuse(r, REFUSE_BAD_REQUEST);
    if (r->method == HTTP_M_POST && r->body_max > 0)
        return begin_body(r);
    r->state = HTTPREQ_DONE;
    return true;
}

/* A line is complete with its CR LF: check it, show it to llhttp, keep what is wanted of it. */
static bool take_line(struct httpreq *r)
{
    const char *line = r->text + r->kept;
    size_t full = r->len - r->kept;
    size_t len = full - 2;
    if (len == 0 && !r->begun) {
        r->len = r->kept;
        return ++r->empty_lines <= EMPTY_LINES_MAX || refuse(r, REFUSE_BAD_METHOD);
    }
    bool first = !r->begun;
    struct http_slice name = {NULL, 0}, value = {NULL, 0};
    if (first) {
        if (!take_request_line(r, line, len))
            return false;
    } else if (len > 0) {
        if (!split_header(r, line, len, &name, &value))
            return false;
        if (++r->headers > HTTPREQ_HEADERS_MAX)
            return refuse(r, REFUSE_TOO_MANY);
    }
    llhttp_errno_t rc = llhttp_execute(&r->parser, line, full);
    if (rc != HPE_OK && !r->complete)
        return refuse(r, REFUSE_BAD_REQUEST);
    if (first) {
        memmove(r->text, r->text + r->target.off, r->target.len);
        r->target.off = 0;
        r->kept = r->target.len;
    } else if (len == 0) {
        return finish_head(r);
    } else if (!take_header(r, name, value)) {
        return false;
    }
    r->len = r->kept;
    return true;
}

/* ---- bytes ---- */

/* The rules of the request line that need not wait for its end. A plain-text port that is spoken
 * to in TLS answers at the first byte. */
static bool check_request_byte(struct httpreq *r, char c)
{
    size_t at = r->len - r->kept;
    if (c == '\r')
        return at == 0 || r->spaces > 0 || refuse(r, REFUSE_BAD_METHOD);
    if (c == ' ') {
        if (at == 0)
            return refuse(r, REFUSE_BAD_METHOD);
        if (r->spaces++ == 0)
            note_method(r, (struct http_slice){r->text + r->kept, at});
    } else if (r->spaces == 0) {
        if (!is_token(c))
            return refuse(r, REFUSE_BAD_METHOD);
        if (at >= METHOD_MAX)
            return refuse(r, REFUSE_NOT_IMPLEMENTED);
    } else if (r->spaces == 1) {
        if (c < ' ' || c > '~')
            return refuse(r, REFUSE_BAD_TARGET);
        if (++r->target_len > r->max_bytes)
            return refuse(r, REFUSE_URI_TOO_LONG);
    }
    return true;
}

static bool check_byte(struct httpreq *r, char c)
{
    if (r->cr != (c == '\n'))
        return refuse(r, REFUSE_BAD_LINE_END);
    unsigned char u = (unsigned char)c;
    if ((u < 0x20 && c != '\t' && c != '\r' && c != '\n') || u == 0x7f)
        return refuse(r, REFUSE_BAD_BYTE);
    if (!r->begun && c != '\n' && !check_request_byte(r, c))
        return false;
    /* A target that is itself within the limit is let through to its end, so that 414 means what
     * it says. */
    bool in_target = !r->begun && r->spaces == 1 && c != '\r' && c != '\n';
    if (r->total >= r->max_bytes && !in_target)
        return refuse(r, REFUSE_TOO_LARGE);
    return true;
}

static bool add_byte(struct httpreq *r, char c)
{
    if (r->len == r->cap) {
        size_t most = r->max_bytes + LIMIT_SLACK;
        size_t cap = r->cap == 0 ? LINE_MIN : r->cap * 2;
        cap = cap < most ? cap : most;
        char *text = cap > r->len ? realloc(r->text, cap) : NULL;
        if (text == NULL)
            return refuse(r, REFUSE_NO_MEMORY);
        r->text = text;
        r->cap = cap;
    }
    r->text[r->len++] = c;
    return true;
}

static void take_head_byte(struct httpreq *r, char c)
{
    if (!check_byte(r, c) || !add_byte(r, c))
        return;
    r->total++;
    r->cr = c == '\r';
    if (c == '\n')
        (void)take_line(r);
}

/* Returns how many of the bytes belong to the body. */
static size_t take_body(struct httpreq *r, const char *data, size_t len)
{
    size_t left = r->body_len - r->body.len;
    size_t n = len < left ? len : left;
    buf_append(&r->body, data, n);
    if (r->body.failed)
        (void)refuse(r, REFUSE_NO_MEMORY);
    else if (n == left)
        r->state = HTTPREQ_DONE;
    return n;
}

/* ---- the public functions ---- */

struct httpreq *httpreq_create(size_t max_bytes)
{
    struct httpreq *r = calloc(1, sizeof *r);
    if (r == NULL)
        return NULL;
    r->max_bytes = max_bytes;
    r->method = HTTP_M_OTHER;
    llhttp_init(&r->parser, HTTP_REQUEST, &settings);
    r->parser.data = r;
    buf_init(&r->body);
    return r;
}

void httpreq_set_body_max(struct httpreq *r, size_t bytes)
{
    r->body_max = bytes;
}

void httpreq_destroy(struct httpreq *r)
{
    if (r == NULL)
        return;
    free(r->text);
    buf_finish(&r->body);
    free(r);
}

enum httpreq_state httpreq_feed(struct httpreq *r, const char *data, size_t len, size_t *used)
{
    size_t i = 0;
    while (i < len && r->state == HTTPREQ_MORE) {
        if (r->in_body)
            i += take_body(r, data + i, len - i);
        else
            take_head_byte(r, data[i++]);
    }
    if (used != NULL)
        *used = i;
    return r->state;
}

enum http_method httpreq_method(const struct httpreq *r)
{
    return r->method;
}

static struct http_slice slice_of(const struct httpreq *r, struct span s)
{
    return s.present ? (struct http_slice){r->text + s.off, s.len} : (struct http_slice){NULL, 0};
}

struct http_slice httpreq_target(const struct httpreq *r)
{
    return slice_of(r, r->target);
}

struct http_slice httpreq_header(const struct httpreq *r, enum httpreq_header which)
{
    return slice_of(r, r->values[which]);
}

int httpreq_minor(const struct httpreq *r)
{
    return r->minor;
}

struct http_slice httpreq_body(const struct httpreq *r)
{
    return (struct http_slice){r->body.data, r->body.len};
}

bool httpreq_awaits_continue(const struct httpreq *r)
{
    return r->state == HTTPREQ_MORE && r->in_body && r->expects_continue && r->minor == 1 &&
           r->body.len == 0;
}

const struct httpreq_error *httpreq_error(const struct httpreq *r)
{
    return &refusals[r->refusal];
}
