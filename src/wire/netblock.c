#include "tickerd/wire/netblock.h"

#include <arpa/inet.h>
#include <string.h>

#include "tickerd/base/err.h"

enum { BITS = 128, BITS_V4 = 32 };

static const uint8_t v4_prefix[12] = {[10] = 0xff, [11] = 0xff};

struct netaddr netaddr_v4(const uint8_t bytes[4])
{
    struct netaddr a = {.is_unix = false};
    memcpy(a.bytes, v4_prefix, sizeof v4_prefix);
    memcpy(a.bytes + sizeof v4_prefix, bytes, 4);
    return a;
}

bool netaddr_equal(const struct netaddr *a, const struct netaddr *b)
{
    return a->is_unix == b->is_unix && memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

bool netaddr_is_v4(const struct netaddr *a)
{
    return !a->is_unix && memcmp(a->bytes, v4_prefix, sizeof v4_prefix) == 0;
}

bool netaddr_parse(struct netaddr *a, const char *text, size_t len)
{
    char copy[NETADDR_TEXT_MAX];
    if (len == 0 || len >= sizeof copy || memchr(text, '\0', len) != NULL)
        return false;
    memcpy(copy, text, len);
    copy[len] = '\0';
    *a = (struct netaddr){.is_unix = false};
    if (inet_pton(AF_INET6, copy, a->bytes) == 1)
        return true;
    memcpy(a->bytes, v4_prefix, sizeof v4_prefix);
    return inet_pton(AF_INET, copy, a->bytes + sizeof v4_prefix) == 1;
}

const char *netaddr_print(const struct netaddr *a, char out[NETADDR_TEXT_MAX])
{
    memcpy(out, "unix", 5);
    if (netaddr_is_v4(a))
        (void)inet_ntop(AF_INET, a->bytes + sizeof v4_prefix, out, NETADDR_TEXT_MAX);
    else if (!a->is_unix)
        (void)inet_ntop(AF_INET6, a->bytes, out, NETADDR_TEXT_MAX);
    return out;
}

/* The number behind the slash; -1: it is none from 0 to max. */
static int prefix_length(const char *text, int max)
{
    int n = 0;
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || digits > 3 || text[digits] != '\0')
        return -1;
    for (size_t i = 0; i < digits; i++)
        n = n * 10 + (text[i] - '0');
    return n > max ? -1 : n;
}

static bool bit(const uint8_t *bytes, unsigned at)
{
    return (bytes[at / 8] >> (7 - at % 8) & 1) != 0;
}

int netblock_parse(struct netblock *b, const char *text, const char **why)
{
    *b = (struct netblock){.bits = BITS};
    b->base.is_unix = strcmp(text, "unix") == 0;
    if (b->base.is_unix)
        return ERR_OK;
    size_t len = strcspn(text, "/");
    if (!netaddr_parse(&b->base, text, len)) {
        *why = "it is no IP address";
        return ERR_INVALID;
    }
    bool v4 = netaddr_is_v4(&b->base) && memchr(text, ':', len) == NULL;
    int bits = v4 ? BITS_V4 : BITS;
    if (text[len] == '/' && (bits = prefix_length(text + len + 1, bits)) < 0) {
        *why = v4 ? "what is behind the slash must be a number from 0 to 32"
                  : "what is behind the slash must be a number from 0 to 128";
        return ERR_INVALID;
    }
    b->bits = (uint8_t)(v4 ? bits + BITS - BITS_V4 : bits);
    for (unsigned i = b->bits; i < BITS; i++) {
        if (bit(b->base.bytes, i)) {
            *why = "the address has bits behind its prefix; they must be zero";
            return ERR_INVALID;
        }
    }
    return ERR_OK;
}

bool netblock_contains(const struct netblock *b, const struct netaddr *a)
{
    if (a->is_unix || b->base.is_unix)
        return a->is_unix && b->base.is_unix;
    unsigned whole = b->bits / 8U, rest = b->bits % 8U;
    if (memcmp(a->bytes, b->base.bytes, whole) != 0)
        return false;
    uint8_t mask = (uint8_t)(0xff00U >> rest);
    return rest == 0 || ((a->bytes[whole] ^ b->base.bytes[whole]) & mask) == 0;
}

bool netblocks_contain(const struct netblocks *b, const struct netaddr *a)
{
    for (size_t i = 0; i < b->count; i++) {
        if (netblock_contains(&b->items[i], a))
            return true;
    }
    return false;
}
