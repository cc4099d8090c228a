/* Whose a request is. The input's lines are the peer, X-Forwarded-For and Forwarded; a header whose
 * line is "none" did not come. What a trusted proxy adds at the right decides, and nothing to the
 * left of a stranger's address changes the answer. Headers without backslashes and with every quote
 * closed are also read from the left, and the answers agree. */
#include <arpa/inet.h>
#include <strings.h>

#include "fuzz.h"
#include "tickerd/base/buf.h"
#include "tickerd/base/err.h"
#include "tickerd/wire/forwarded.h"

enum { TRUSTED = 4 };

static struct netblock blocks[TRUSTED];
static const struct netblocks trusted = {blocks, TRUSTED};
static struct netaddr proxy;

static struct netaddr address(const char *text)
{
    struct netaddr a;
    FUZZ_CHECK(netaddr_parse(&a, text, strlen(text)));
    return a;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static const char *const texts[TRUSTED] = {"127.0.0.1", "10.0.0.0/8", "fd00::/8", "unix"};
    const char *why;
    (void)argc;
    (void)argv;
    for (size_t i = 0; i < TRUSTED; i++)
        FUZZ_CHECK(netblock_parse(&blocks[i], texts[i], &why) == ERR_OK);
    proxy = address("127.0.0.1");
    return 0;
}

/* ---- the headers ----------------------------------------------------------------------------- */

struct input {
    struct netaddr peer;
    struct fuzz_text lists[2]; /* X-Forwarded-For, Forwarded; p is NULL for none */
};

static struct netaddr ask(const struct netaddr *peer, struct fuzz_text x_forwarded_for,
                          struct fuzz_text forwarded)
{
    return forwarded_client(&trusted, peer,
                            (struct http_slice){x_forwarded_for.p, x_forwarded_for.len},
                            (struct http_slice){forwarded.p, forwarded.len});
}

/* With one of the two headers. */
static struct netaddr ask_one(const struct netaddr *peer, struct fuzz_text list, bool is_forwarded)
{
    struct fuzz_text none = {NULL, 0};
    char *exact = fuzz_copy(list.p, list.len);
    struct fuzz_text copy = {exact, list.len};
    struct netaddr a = ask(peer, is_forwarded ? none : copy, is_forwarded ? copy : none);
    free(exact);
    return a;
}

/* ---- a reading from the left ----------------------------------------------------------------- */

static bool is_plain(struct fuzz_text t)
{
    size_t quotes = 0;
    for (size_t i = 0; i < t.len; i++) {
        if (t.p[i] == '\\' || t.p[i] == '\0')
            return false;
        quotes += t.p[i] == '"';
    }
    return quotes % 2 == 0;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* What stands before the next `stop` outside quotes, without the blanks around it. */
static struct fuzz_text cut_plain(struct fuzz_text *rest, char stop)
{
    bool quoted = false;
    size_t n = 0;
    while (n < rest->len && (quoted || rest->p[n] != stop))
        quoted ^= rest->p[n++] == '"';
    struct fuzz_text head = {rest->p, n};
    size_t gone = n + (n < rest->len);
    *rest = (struct fuzz_text){rest->p + gone, rest->len - gone};
    while (head.len > 0 && is_blank(head.p[0]))
        head = (struct fuzz_text){head.p + 1, head.len - 1};
    while (head.len > 0 && is_blank(head.p[head.len - 1]))
        head.len--;
    return head;
}

static bool read_port(const char *text)
{
    static const char obfuscated[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                     "0123456789._-";
    if (text[0] == '_')
        return text[1] != '\0' && text[1 + strspn(text + 1, obfuscated)] == '\0';
    size_t digits = strspn(text, "0123456789");
    return digits >= 1 && digits <= 5 && text[digits] == '\0';
}

static bool read_ip(struct netaddr *a, const char *text, int family)
{
    uint8_t v4[4];
    *a = (struct netaddr){.is_unix = false};
    if (family == AF_INET6)
        return inet_pton(family, text, a->bytes) == 1;
    bool fits = inet_pton(family, text, v4) == 1;
    *a = netaddr_v4(v4);
    return fits;
}

/* Tries what it can be, one after the other. `text` is changed. */
static bool read_text(struct netaddr *a, char *text, bool bare)
{
    char *end = strchr(text, ']'), *colon = strrchr(text, ':');
    if (text[0] == '[' && end != NULL) {
        *end = '\0';
        return read_ip(a, text + 1, AF_INET6) &&
               (end[1] == '\0' || (end[1] == ':' && read_port(end + 2)));
    }
    if (bare && read_ip(a, text, AF_INET6))
        return true;
    if (colon != NULL) {
        *colon = '\0';
        if (!read_port(colon + 1))
            return false;
    }
    return read_ip(a, text, AF_INET);
}

static bool read_node(struct netaddr *a, struct fuzz_text t, bool bare)
{
    char *text = strndup(t.p, t.len);
    FUZZ_CHECK(text != NULL);
    bool fits = read_text(a, text, bare);
    free(text);
    return fits;
}

static bool read_element(struct netaddr *a, struct fuzz_text element)
{
    size_t found = 0;
    bool fits = true;
    while (element.len > 0) {
        struct fuzz_text value = cut_plain(&element, ';');
        if (value.len < 4 || strncasecmp(value.p, "for=", 4) != 0)
            continue;
        value = (struct fuzz_text){value.p + 4, value.len - 4};
        if (value.len >= 2 && value.p[0] == '"' && value.p[value.len - 1] == '"')
            value = (struct fuzz_text){value.p + 1, value.len - 2};
        fits = fits && read_node(a, value, false);
        found++;
    }
    return fits && found == 1;
}

/* All from the left: an element that is not trusted, or cannot be read, makes what came before it
 * worthless.
 * False: the list is too long to be looked at as a whole. */
static bool walk(struct netaddr *client, const struct netaddr *peer, struct fuzz_text list,
                 bool is_forwarded)
{
    struct netaddr at = *peer;
    size_t elements = 0;
    bool any = false; /* `at` is the client's, if all that comes behind is trusted */
    while (list.len > 0) {
        struct fuzz_text part = cut_plain(&list, ',');
        struct netaddr hop;
        if (++elements > FORWARDED_HOPS_MAX - 2)
            return false;
        if (part.len == 0)
            continue;
        if (!(is_forwarded ? read_element(&hop, part) : read_node(&hop, part, true))) {
            any = false;
            continue;
        }
        if (!any || !netblocks_contain(&trusted, &hop))
            at = hop;
        any = true;
    }
    *client = any && netblocks_contain(&trusted, peer) ? at : *peer;
    return true;
}

static void check_reading(const struct input *in, bool is_forwarded)
{
    struct netaddr expected, got = ask_one(&in->peer, in->lists[is_forwarded], is_forwarded);
    if (is_plain(in->lists[is_forwarded]) &&
        walk(&expected, &in->peer, in->lists[is_forwarded], is_forwarded))
        FUZZ_CHECK(netaddr_equal(&got, &expected));
    if (!netblocks_contain(&trusted, &in->peer))
        FUZZ_CHECK(netaddr_equal(&got, &in->peer));
}

/* ---- what stands left ------------------------------------------------------------------------ */

static struct fuzz_text joined(struct buf *out, struct fuzz_text left, struct fuzz_text right)
{
    buf_reset(out);
    buf_append(out, left.p, left.len);
    buf_str(out, ", ");
    buf_append(out, right.p, right.len);
    return (struct fuzz_text){out->data, out->len};
}

/* A client wrote `left`, and proxies added themselves whom they heard. */
static void check_added(struct fuzz_text left, bool is_forwarded)
{
    static const char *const added[2][4] = {
        {"192.0.2.66", "192.0.2.66:4711, 10.0.0.1", "192.0.2.66,[fd00::1]:80,10.0.0.2",
         "\t192.0.2.66 ,, "},
        {"for=192.0.2.66", "For=\"192.0.2.66:4711\";proto=https, for=10.0.0.1",
         "by=_x;for=192.0.2.66,for=\"[fd00::1]:80\", proto=\"a,b\";for=10.0.0.2",
         "for=192.0.2.66;by=\"a\\\"b\" ,,"},
    };
    struct netaddr stranger = address("192.0.2.66");
    struct buf all = BUF_INIT;
    for (size_t i = 0; i < 4; i++) {
        const char *right = added[is_forwarded][i];
        struct fuzz_text list = joined(&all, left, (struct fuzz_text){right, strlen(right)});
        struct netaddr got = ask_one(&proxy, list, is_forwarded);
        FUZZ_CHECK(netaddr_equal(&got, &stranger));
    }
    buf_finish(&all);
}

/* A stranger's address that was found is found whatever is put before it. */
static void check_before(const struct input *in, struct fuzz_text left, bool is_forwarded)
{
    struct netaddr got = ask_one(&in->peer, in->lists[is_forwarded], is_forwarded), again;
    if (!is_plain(in->lists[is_forwarded]) || netblocks_contain(&trusted, &got))
        return;
    struct buf all = BUF_INIT;
    again = ask_one(&in->peer, joined(&all, left, in->lists[is_forwarded]), is_forwarded);
    FUZZ_CHECK(netaddr_equal(&got, &again));
    buf_finish(&all);
}

/* Both headers: they agree, or neither counts. */
static void check_both(const struct input *in)
{
    struct netaddr a = ask_one(&in->peer, in->lists[0], false);
    struct netaddr b = ask_one(&in->peer, in->lists[1], true);
    struct netaddr got = ask(&in->peer, in->lists[0], in->lists[1]);
    FUZZ_CHECK(netaddr_equal(&got, netaddr_equal(&a, &b) ? &a : &in->peer));
}

static struct fuzz_text line_or_none(struct fuzz_text *rest)
{
    struct fuzz_text line = fuzz_cut(rest, '\n');
    return fuzz_is(line, "none") || line.p == NULL ? (struct fuzz_text){NULL, 0} : line;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_text rest = {(const char *)data, size}, peer = fuzz_cut(&rest, '\n');
    struct input in = {.peer = {.is_unix = true}};
    if (!netaddr_parse(&in.peer, peer.p, peer.len))
        in.peer = (struct netaddr){.is_unix = true};
    in.lists[0] = line_or_none(&rest);
    in.lists[1] = line_or_none(&rest);
    for (int i = 0; i < 2; i++) {
        if (in.lists[i].p == NULL)
            continue;
        check_reading(&in, i == 1);
        check_before(&in, in.lists[1 - i], i == 1);
        check_added(in.lists[i], i == 1);
        check_added(in.lists[1 - i], i == 1);
    }
    if (in.lists[0].p != NULL && in.lists[1].p != NULL)
        check_both(&in);
    return 0;
}
