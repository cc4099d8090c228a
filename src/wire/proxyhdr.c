#include "tickerd/wire/proxyhdr.h"

#include <string.h>

static const uint8_t v1_begin[] = {'P', 'R', 'O', 'X', 'Y', ' '};
static const uint8_t v2_begin[] = {'\r', '\n', '\r', '\n', 0, '\r', '\n', 'Q', 'U', 'I', 'T', '\n'};

enum { V2_LOCAL = 0x20, V2_PROXY = 0x21 }; /* version and command */
enum { V1_BLANKS = 4 };                    /* behind the family */

static const char malformed[] = "The PROXY header is malformed.";
static const char too_long[] = "The PROXY header is too long.";

void proxyhdr_init(struct proxyhdr *p)
{
    memset(p, 0, sizeof *p);
}

static void fail(struct proxyhdr *p, const char *why)
{
    p->state = PROXYHDR_ERROR;
    p->error = why;
}

static void done(struct proxyhdr *p, bool local)
{
    p->state = PROXYHDR_DONE;
    p->local = local;
}

/* ---- version 1 ------------------------------------------------------------------------------- */

struct part {
    const char *p;
    size_t len;
};

static bool is(struct part s, const char *text)
{
    return s.len == strlen(text) && memcmp(s.p, text, s.len) == 0;
}

/* Cut at the next space, which is gone then. */
static struct part next_part(struct part *rest)
{
    const char *space = rest->len == 0 ? NULL : memchr(rest->p, ' ', rest->len);
    struct part head = {rest->p, space == NULL ? rest->len : (size_t)(space - rest->p)};
    size_t gone = head.len + (space == NULL ? 0 : 1);
    rest->p += gone;
    rest->len -= gone;
    return head;
}

static bool is_port(struct part s)
{
    unsigned long n = 0;
    if (s.len == 0 || s.len > 5 || (s.len > 1 && s.p[0] == '0'))
        return false;
    for (size_t i = 0; i < s.len; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
        n = n * 10 + (unsigned long)(s.p[i] - '0');
    }
    return n <= UINT16_MAX;
}

/* An address of the family that was announced; "::ffff:192.0.2.1" is one of version 6. */
static bool read_address(struct netaddr *a, struct part s, bool v6)
{
    bool colon = s.len > 0 && memchr(s.p, ':', s.len) != NULL;
    return colon == v6 && netaddr_parse(a, s.p, s.len);
}

static void take_line(struct proxyhdr *p)
{
    struct part rest = {(const char *)p->bytes + sizeof v1_begin,
                        p->total - sizeof v1_begin - strlen("\r\n")};
    size_t blanks = 0;
    for (size_t i = 0; i < rest.len; i++)
        blanks += rest.p[i] == ' ' ? 1 : 0;
    struct part family = next_part(&rest);
    if (is(family, "UNKNOWN")) { /* §2.1: what follows is to be ignored */
        done(p, true);
        return;
    }
    bool v6 = is(family, "TCP6");
    if ((!v6 && !is(family, "TCP4")) || blanks != V1_BLANKS) {
        fail(p, malformed);
        return;
    }
    struct netaddr destination;
    struct part source = next_part(&rest), target = next_part(&rest);
    struct part source_port = next_part(&rest);
    if (!read_address(&p->client, source, v6) || !read_address(&destination, target, v6) ||
        !is_port(source_port) || !is_port(rest))
        fail(p, malformed);
    else
        done(p, false);
}

static void check_v1(struct proxyhdr *p)
{
    uint8_t last = p->bytes[p->total - 1];
    bool after_cr = p->bytes[p->total - 2] == '\r';
    bool printable = last >= ' ' && last <= '~';
    if (after_cr && last == '\n')
        take_line(p);
    else if (after_cr || (!printable && last != '\r'))
        fail(p, malformed);
    else if (p->total == PROXYHDR_V1_MAX)
        fail(p, too_long);
}

/* ---- version 2 ------------------------------------------------------------------------------- */

/* What the bytes behind the signature mean; §2.2 says which combinations there are. */
static const struct family {
    uint8_t byte; /* family and protocol */
    uint8_t len;  /* of addresses and ports */
    bool named;   /* a client of ours. Datagrams cannot be what came over this stream */
    bool v6;
} families[] = {
    {0x00, 0, false, false},   {0x11, 12, true, false}, {0x12, 12, false, false},
    {0x21, 36, true, true},    {0x22, 36, false, true}, {0x31, 216, false, false},
    {0x32, 216, false, false},
};

/* NULL: no such family. LOCAL has none, whatever stands there. */
static const struct family *family_of(const struct proxyhdr *p)
{
    if (p->bytes[12] == V2_LOCAL)
        return &families[0];
    for (size_t i = 0; p->bytes[12] == V2_PROXY && i < sizeof families / sizeof families[0]; i++) {
        if (families[i].byte == p->bytes[13])
            return &families[i];
    }
    return NULL;
}

/* The first 16 bytes are there. */
static void check_v2_fixed(struct proxyhdr *p)
{
    const struct family *family = family_of(p);
    p->length = (size_t)p->bytes[14] << 8 | p->bytes[15];
    if (family == NULL || p->length < family->len)
        fail(p, malformed);
    else if (p->length > PROXYHDR_V2_MAX)
        fail(p, too_long);
}

static void finish_v2(struct proxyhdr *p)
{
    const struct family *family = family_of(p);
    const uint8_t *source = p->bytes + PROXYHDR_V2_FIXED;
    if (family->named && family->v6)
        memcpy(p->client.bytes, source, sizeof p->client.bytes);
    else if (family->named)
        p->client = netaddr_v4(source);
    done(p, !family->named);
}

/* ---- bytes ----------------------------------------------------------------------------------- */

/* Whether the bytes so far, at most as many as are in `begin`, begin like it. */
static bool begins(const struct proxyhdr *p, const uint8_t *begin, size_t size)
{
    return memcmp(p->bytes, begin, p->total < size ? p->total : size) == 0;
}

static void take_byte(struct proxyhdr *p, uint8_t byte)
{
    if (p->total < sizeof p->bytes)
        p->bytes[p->total] = byte;
    p->total++;
    if (begins(p, v1_begin, sizeof v1_begin)) {
        if (p->total > sizeof v1_begin)
            check_v1(p);
        return;
    }
    if (!begins(p, v2_begin, sizeof v2_begin)) {
        fail(p, "Expected a PROXY header from this address (proxy.protocol).");
        return;
    }
    if (p->total == PROXYHDR_V2_FIXED)
        check_v2_fixed(p);
    if (p->state == PROXYHDR_MORE && p->total >= PROXYHDR_V2_FIXED &&
        p->total == PROXYHDR_V2_FIXED + p->length)
        finish_v2(p);
}

enum proxyhdr_state proxyhdr_feed(struct proxyhdr *p, const char *data, size_t len, size_t *used)
{
    size_t i = 0;
    while (i < len && p->state == PROXYHDR_MORE)
        take_byte(p, (uint8_t)data[i++]);
    *used = i;
    return p->state;
}
