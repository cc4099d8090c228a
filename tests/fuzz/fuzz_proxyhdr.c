/* A PROXY header, fed whole, byte by byte and in pieces of the input's choice: the outcome is the
 * same. It is taken just when a second reading, of all the bytes at once, finds one at their
 * beginning, and says what that one says. */
#include <arpa/inet.h>

#include "fuzz.h"
#include "prng.h"
#include "tickerd/wire/proxyhdr.h"

enum { RANDOM_SPLITS = 3, IPV6_TEXT_MAX = 45 };

/* ---- however split --------------------------------------------------------------------------- */

struct outcome {
    struct proxyhdr header;
    size_t used;
};

/* In pieces of at most `most` bytes, each a copy of its exact size. */
static struct outcome run(const uint8_t *data, size_t size, size_t most, struct prng *random)
{
    struct outcome o = {.used = 0};
    proxyhdr_init(&o.header);
    while (o.used < size && o.header.state == PROXYHDR_MORE) {
        size_t n = random == NULL ? most : prng_below(random, most + 1), used = SIZE_MAX;
        n = n > size - o.used ? size - o.used : n;
        char *piece = fuzz_copy((const char *)data + o.used, n);
        enum proxyhdr_state state = proxyhdr_feed(&o.header, piece, n, &used);
        free(piece);
        FUZZ_CHECK(state == o.header.state);
        FUZZ_CHECK(used <= n && (state != PROXYHDR_MORE || used == n));
        o.used += used;
    }
    return o;
}

static void check_same(const struct outcome *a, const struct outcome *b)
{
    FUZZ_CHECK(a->header.state == b->header.state && a->used == b->used);
    FUZZ_CHECK(a->header.error == b->header.error && a->header.local == b->header.local);
    FUZZ_CHECK(netaddr_equal(&a->header.client, &b->header.client));
}

/* ---- the second reading ---------------------------------------------------------------------- */

struct reading {
    bool whole; /* there is a header at the beginning, to its end */
    size_t len;
    bool local;
    struct netaddr client;
};

static bool read_v4(struct netaddr *a, const char *text)
{
    unsigned n[4];
    char again[32], behind;
    if (sscanf(text, "%3u.%3u.%3u.%3u%c", &n[0], &n[1], &n[2], &n[3], &behind) != 4)
        return false;
    (void)snprintf(again, sizeof again, "%u.%u.%u.%u", n[0], n[1], n[2], n[3]);
    uint8_t bytes[4] = {(uint8_t)n[0], (uint8_t)n[1], (uint8_t)n[2], (uint8_t)n[3]};
    *a = netaddr_v4(bytes);
    return strcmp(again, text) == 0 && n[0] < 256 && n[1] < 256 && n[2] < 256 && n[3] < 256;
}

static bool read_address(struct netaddr *a, struct fuzz_text s, bool v6)
{
    char text[IPV6_TEXT_MAX + 1] = {0};
    if (s.len > IPV6_TEXT_MAX)
        return false;
    memcpy(text, s.p, s.len);
    *a = (struct netaddr){.is_unix = false};
    return v6 ? inet_pton(AF_INET6, text, a->bytes) == 1 : read_v4(a, text);
}

static bool is_port(struct fuzz_text s)
{
    char text[6] = {0}, again[16];
    if (s.len > 5)
        return false;
    memcpy(text, s.p, s.len);
    int n = atoi(text);
    (void)snprintf(again, sizeof again, "%d", n);
    return strcmp(text, again) == 0 && n >= 0 && n <= 65535;
}

static struct reading read_v1(struct fuzz_text all)
{
    struct reading r = {.whole = false};
    struct fuzz_text rest = all, line = fuzz_cut(&rest, '\n'), other = line;
    if (line.len == all.len || line.len < 7 || line.len + 1 > PROXYHDR_V1_MAX)
        return r;
    r.len = line.len + 1;
    line.len--; /* a CR, and the only one */
    for (size_t i = 0; i <= line.len; i++) {
        if (i == line.len ? line.p[i] != '\r' : line.p[i] < ' ' || line.p[i] > '~')
            return r;
    }
    other = line;
    (void)fuzz_cut(&other, ' ');
    struct fuzz_text words[5], family = fuzz_cut(&other, ' ');
    r.local = r.whole = fuzz_is(family, "UNKNOWN");
    if (r.whole)
        return r;
    bool v6 = fuzz_is(family, "TCP6");
    struct netaddr destination;
    for (size_t i = 0; i < 4; i++)
        words[i] = fuzz_cut(&other, ' ');
    r.whole = (v6 || fuzz_is(family, "TCP4")) && read_address(&r.client, words[0], v6) &&
              read_address(&destination, words[1], v6) && is_port(words[2]) && is_port(words[3]) &&
              words[3].p + words[3].len == line.p + line.len;
    return r;
}

static struct reading read_v2(struct fuzz_text all)
{
    static const size_t addresses[] = {0, 12, 36, 216};
    const uint8_t *b = (const uint8_t *)all.p;
    struct reading r = {.whole = false};
    if (all.len < 16 || (b[12] != 0x20 && b[12] != 0x21))
        return r;
    unsigned family = b[13] >> 4, protocol = b[13] & 15, n = b[14] * 256U + b[15];
    bool named = b[12] == 0x21;
    r.len = 16 + n;
    if (n > PROXYHDR_V2_MAX || r.len > all.len)
        return r;
    if (named && (family > 3 || protocol > 2 || (family == 0) != (protocol == 0)))
        return r;
    r.whole = !named || n >= addresses[family];
    r.local = !named || protocol != 1 || family == 3;
    if (r.whole && !r.local && family == 1)
        r.client = netaddr_v4(b + 16);
    else if (r.whole && !r.local)
        memcpy(r.client.bytes, b + 16, 16);
    return r;
}

static struct reading read_all(struct fuzz_text all)
{
    static const char v2[] = "\r\n\r\n\0\r\nQUIT\n";
    if (all.len >= 6 && memcmp(all.p, "PROXY ", 6) == 0)
        return read_v1(all);
    if (all.len >= 12 && memcmp(all.p, v2, 12) == 0)
        return read_v2(all);
    return (struct reading){.whole = false};
}

static void check_outcome(const struct outcome *o, struct fuzz_text all)
{
    struct reading r = read_all(all);
    FUZZ_CHECK(o->used <= PROXYHDR_V2_FIXED + PROXYHDR_V2_MAX);
    FUZZ_CHECK((o->header.state == PROXYHDR_DONE) == r.whole);
    FUZZ_CHECK((o->header.state == PROXYHDR_ERROR) == (o->header.error != NULL));
    if (!r.whole)
        return;
    FUZZ_CHECK(o->used == r.len && o->header.local == r.local);
    FUZZ_CHECK(r.local || netaddr_equal(&o->header.client, &r.client));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct prng random = {fuzz_seed(data, size)};
    struct outcome whole = run(data, size, size, NULL), other = run(data, size, 1, NULL);
    check_same(&whole, &other);
    for (size_t i = 0; i < RANDOM_SPLITS; i++) {
        other = run(data, size, 1 + prng_below(&random, size + 1), &random);
        check_same(&whole, &other);
    }
    check_outcome(&whole, (struct fuzz_text){(const char *)data, size});
    return 0;
}
