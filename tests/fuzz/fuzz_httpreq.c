/* A request, with the body of a POST and without, fed whole, byte by byte and in pieces of the
 * input's choice: the outcome is the same. What is let through is read a second time, line by line,
 * and has nothing in it that a proxy in front might understand otherwise. */
#include <strings.h>

#include "fuzz.h"
#include "prng.h"
#include "tickerd/base/buf.h"
#include "tickerd/wire/httpreq.h"

enum { RANDOM_SPLITS = 3 };

/* ---- the outcome, however split
 * ------------------------------------------------------------------ */

struct bounds {
    size_t head, body;
};

struct outcome {
    struct httpreq *r;
    enum httpreq_state state;
    size_t used;
};

/* Feed a copy of exactly this size. */
static void feed(struct outcome *o, const uint8_t *data, size_t len)
{
    char *exact = fuzz_copy((const char *)data, len);
    size_t used = 0;
    o->state = httpreq_feed(o->r, exact, len, &used);
    FUZZ_CHECK(used <= len && (o->state != HTTPREQ_MORE || used == len));
    o->used += used;
    free(exact);
}

/* In pieces of at most `most` bytes. */
static struct outcome run(const uint8_t *data, size_t size, struct bounds max, size_t most,
                          struct prng *random)
{
    struct outcome o = {httpreq_create(max.head), HTTPREQ_MORE, 0};
    FUZZ_CHECK(o.r != NULL);
    httpreq_set_body_max(o.r, max.body);
    for (size_t i = 0; i < size && o.state == HTTPREQ_MORE;) {
        size_t n = random == NULL ? most : prng_below(random, most + 1);
        n = n > size - i ? size - i : n;
        feed(&o, data + i, n);
        i += n;
    }
    return o;
}

static void check_same_slice(struct http_slice a, struct http_slice b)
{
    FUZZ_CHECK((a.p == NULL) == (b.p == NULL) && fuzz_same(a.p, a.len, b.p, b.len));
}

static void check_same(const struct outcome *a, const struct outcome *b)
{
    FUZZ_CHECK(a->state == b->state && a->used == b->used);
    FUZZ_CHECK(httpreq_error(a->r) == httpreq_error(b->r));
    FUZZ_CHECK(httpreq_method(a->r) == httpreq_method(b->r));
    FUZZ_CHECK(httpreq_minor(a->r) == httpreq_minor(b->r));
    FUZZ_CHECK(httpreq_accepts_stream(a->r) == httpreq_accepts_stream(b->r));
    FUZZ_CHECK(httpreq_awaits_continue(a->r) == httpreq_awaits_continue(b->r));
    if (a->state == HTTPREQ_DONE) {
        struct http_slice body = httpreq_body(a->r), other = httpreq_body(b->r);
        FUZZ_CHECK(fuzz_same(body.p, body.len, other.p, other.len));
        check_same_slice(httpreq_target(a->r), httpreq_target(b->r));
    }
    for (int i = 0; i < HTTPREQ_HEADER_COUNT; i++)
        check_same_slice(httpreq_header(a->r, (enum httpreq_header)i),
                         httpreq_header(b->r, (enum httpreq_header)i));
}

/* ---- what is let through
 * --------------------------------------------------------------------------- */

struct head {
    struct fuzz_text names[HTTPREQ_HEADERS_MAX], values[HTTPREQ_HEADERS_MAX];
    size_t count;
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* The next line, without its CR LF. Both stand only there. */
static struct fuzz_text line_of(struct fuzz_text *rest)
{
    struct fuzz_text line = fuzz_cut(rest, '\n');
    FUZZ_CHECK(line.len > 0 && line.p[line.len - 1] == '\r');
    line.len--;
    for (size_t i = 0; i < line.len; i++) {
        unsigned char c = (unsigned char)line.p[i];
        FUZZ_CHECK((c >= ' ' || c == '\t') && c != 0x7f);
    }
    return line;
}

static void check_request_line(const struct httpreq *r, struct fuzz_text line)
{
    static const char *const methods[] = {"GET", "HEAD", "OPTIONS", "POST"};
    struct fuzz_text method = fuzz_cut(&line, ' '), target = fuzz_cut(&line, ' ');
    struct http_slice got = httpreq_target(r);
    FUZZ_CHECK(target.len > 0 && fuzz_same(target.p, target.len, got.p, got.len));
    FUZZ_CHECK(fuzz_is(line, httpreq_minor(r) == 1 ? "HTTP/1.1" : "HTTP/1.0"));
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        FUZZ_CHECK(fuzz_is(method, methods[i]) == (httpreq_method(r) == (enum http_method)i));
}

static void add_header(struct head *h, struct fuzz_text line)
{
    struct fuzz_text name = fuzz_cut(&line, ':');
    FUZZ_CHECK(h->count < HTTPREQ_HEADERS_MAX && name.len > 0);
    for (size_t i = 0; i < name.len; i++) /* no folded line, no blank before the colon */
        FUZZ_CHECK(name.p[i] > ' ' && name.p[i] < 0x7f &&
                   strchr("\"(),/:;<=>?@[]{}\\", name.p[i]) == NULL);
    FUZZ_CHECK(line.p == name.p + name.len + 1);
    while (line.len > 0 && is_blank(line.p[0]))
        line = (struct fuzz_text){line.p + 1, line.len - 1};
    while (line.len > 0 && is_blank(line.p[line.len - 1]))
        line.len--;
    h->names[h->count] = name;
    h->values[h->count++] = line;
}

static bool named(struct fuzz_text name, const char *text)
{
    return name.len == strlen(text) && strncasecmp(name.p, text, name.len) == 0;
}

static size_t count_of(const struct head *h, const char *name)
{
    size_t n = 0;
    for (size_t i = 0; i < h->count; i++)
        n += named(h->names[i], name);
    return n;
}

/* A header's values joined are what the reader says it is. */
static void check_header(const struct httpreq *r, const struct head *h, enum httpreq_header which,
                         const char *name)
{
    struct buf all = BUF_INIT;
    struct http_slice got = httpreq_header(r, which);
    FUZZ_CHECK((got.p != NULL) == (count_of(h, name) > 0));
    bool first = true;
    for (size_t i = 0; i < h->count; i++) {
        if (!named(h->names[i], name))
            continue;
        buf_str(&all, first ? "" : which == HTTPREQ_COOKIE ? "; " : ", ");
        buf_append(&all, h->values[i].p, h->values[i].len);
        first = false;
    }
    FUZZ_CHECK(fuzz_same(all.data, all.len, got.p, got.len));
    buf_finish(&all);
}

/* RFC 9112 §6: nobody in front may see a body where there is none for us, or another end of it. */
static void check_framing(const struct httpreq *r, const struct head *h, struct fuzz_text body,
                          size_t body_max)
{
    size_t lengths = count_of(h, "content-length"), codings = count_of(h, "transfer-encoding");
    bool reads = httpreq_method(r) == HTTP_M_POST && body_max > 0;
    bool ignores = httpreq_method(r) >= HTTP_M_POST && !reads;
    size_t announced = 0;
    FUZZ_CHECK(lengths <= 1 && (lengths == 0 || codings == 0));
    FUZZ_CHECK(ignores || codings == 0);
    for (size_t i = 0; i < h->count; i++) {
        if (!named(h->names[i], "content-length"))
            continue;
        FUZZ_CHECK(h->values[i].len > 0);
        for (size_t k = 0; k < h->values[i].len; k++) {
            char c = h->values[i].p[k];
            FUZZ_CHECK(c >= '0' && c <= '9' && (c == '0' || reads || ignores));
            announced = announced * 10 + (size_t)(c - '0');
            FUZZ_CHECK(!reads || announced <= body_max);
        }
    }
    FUZZ_CHECK(body.len == (reads ? announced : 0));
    struct http_slice got = httpreq_body(r);
    FUZZ_CHECK(fuzz_same(got.p, got.len, body.p, body.len));
}

static void check_single(const struct httpreq *r, const struct head *h)
{
    static const char *const single[] = {"host", "authorization", "origin", "last-event-id"};
    for (size_t i = 0; i < sizeof single / sizeof *single; i++)
        FUZZ_CHECK(count_of(h, single[i]) <= 1);
    FUZZ_CHECK(httpreq_minor(r) == 0 || count_of(h, "host") == 1);
}

static void check_accept(const struct httpreq *r)
{
    static const char type[] = "text/event-stream";
    struct http_slice accept = httpreq_header(r, HTTPREQ_ACCEPT);
    bool there = false;
    for (size_t i = 0; accept.len >= sizeof type - 1 && i <= accept.len - (sizeof type - 1); i++)
        there = there || strncasecmp(accept.p + i, type, sizeof type - 1) == 0;
    if (httpreq_accepts_stream(r))
        FUZZ_CHECK(there);
    else
        FUZZ_CHECK(!there || accept.len > sizeof type - 1);
}

static void check_done(const struct httpreq *r, const uint8_t *data, size_t used, size_t body_max)
{
    static const char *const names[] = {
#define HEADER_NAME(id, text) text,
        HTTPREQ_HEADERS(HEADER_NAME)
#undef HEADER_NAME
    };
    struct fuzz_text rest = {(const char *)data, used}, line;
    struct head h = {.count = 0};
    while ((line = line_of(&rest)).len == 0)
        continue;
    check_request_line(r, line);
    while ((line = line_of(&rest)).len > 0)
        add_header(&h, line);
    for (int i = 0; i < HTTPREQ_HEADER_COUNT; i++)
        check_header(r, &h, (enum httpreq_header)i, names[i]);
    check_framing(r, &h, rest, body_max);
    check_single(r, &h);
}

static void check_error(const struct httpreq *r)
{
    static const int statuses[] = {400, 411, 413, 414, 431, 501, 505};
    const struct httpreq_error *e = httpreq_error(r);
    bool known = false;
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++)
        known = known || e->status == statuses[i];
    FUZZ_CHECK(known && e->code[0] != '\0' && e->message[0] != '\0');
}

static void check(const uint8_t *data, size_t size, struct bounds max)
{
    struct prng random = {fuzz_seed(data, size)};
    struct outcome whole = run(data, size, max, size, NULL), other = run(data, size, max, 1, NULL);
    check_same(&whole, &other);
    httpreq_destroy(other.r);
    for (size_t i = 0; i < RANDOM_SPLITS; i++) {
        other = run(data, size, max, 1 + prng_below(&random, size + 1), &random);
        check_same(&whole, &other);
        httpreq_destroy(other.r);
    }
    /* Only a target may go beyond, and only as far as itself is within. */
    FUZZ_CHECK(whole.used <= 2 * max.head + max.body + 64 &&
               (whole.state != HTTPREQ_DONE || whole.used <= max.head + max.body));
    if (whole.state == HTTPREQ_DONE)
        check_done(whole.r, data, whole.used, max.body);
    else if (whole.state == HTTPREQ_ERROR)
        check_error(whole.r);
    check_accept(whole.r);
    httpreq_destroy(whole.r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check(data, size, (struct bounds){16384, 0});
    check(data, size, (struct bounds){256, 0});
    check(data, size, (struct bounds){16384, 1024 * 1024});
    check(data, size, (struct bounds){256, 20});
    return 0;
}
