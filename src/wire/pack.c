#include "tickerd/wire/pack.h"

#include <string.h>
#include <zlib.h>

void pack_init(struct pack *p, int (*write)(void *ctx, const void *bytes, size_t len), void *ctx)
{
    p->write = write;
    p->ctx = ctx;
    p->error = 0;
    p->sum = (uint32_t)crc32_z(0, NULL, 0);
    p->total = 0;
    p->held = 0;
}

static void flush(struct pack *p)
{
    if (p->error == 0 && p->held > 0)
        p->error = p->write(p->ctx, p->buffer, p->held);
    p->held = 0;
}

static void put(struct pack *p, const void *bytes, size_t len)
{
    const unsigned char *from = bytes;
    while (len > 0 && p->error == 0) {
        size_t room = PACK_BUFFER - p->held;
        size_t n = len < room ? len : room;
        memcpy(p->buffer + p->held, from, n);
        p->held += n;
        p->total += n;
        from += n;
        len -= n;
        if (p->held == PACK_BUFFER)
            flush(p);
    }
}

void pack_bytes(struct pack *p, const void *bytes, size_t len)
{
    p->sum = (uint32_t)crc32_z(p->sum, bytes, len);
    put(p, bytes, len);
}

static void spell(unsigned char *out, uint64_t v, size_t size)
{
    for (size_t i = 0; i < size; i++)
        out[i] = (unsigned char)(v >> (8 * i));
}

static void pack_number(struct pack *p, uint64_t v, size_t size)
{
    unsigned char bytes[8];
    spell(bytes, v, size);
    pack_bytes(p, bytes, size);
}

void pack_u8(struct pack *p, uint8_t v)
{
    pack_number(p, v, 1);
}

void pack_u16(struct pack *p, uint16_t v)
{
    pack_number(p, v, 2);
}

void pack_u32(struct pack *p, uint32_t v)
{
    pack_number(p, v, 4);
}

void pack_u64(struct pack *p, uint64_t v)
{
    pack_number(p, v, 8);
}

int pack_end(struct pack *p)
{
    unsigned char sum[PACK_TRAILER];
    spell(sum, p->sum, sizeof sum);
    put(p, sum, sizeof sum);
    flush(p);
    return p->error;
}

void unpack_init(struct unpack *u, const void *bytes, size_t len)
{
    const unsigned char *at = bytes;
    *u = (struct unpack){.start = at, .at = at, .end = at + len, .failed = false};
}

static uint64_t read_number(const unsigned char *at, size_t size)
{
    uint64_t v = 0;
    for (size_t i = size; i > 0; i--)
        v = v << 8 | at[i - 1];
    return v;
}

bool unpack_intact(struct unpack *u)
{
    if (unpack_left(u) < PACK_TRAILER)
        return false;
    size_t len = (size_t)(u->end - u->start) - PACK_TRAILER;
    uint64_t sum = crc32_z(crc32_z(0, NULL, 0), u->start, len);
    if (sum != read_number(u->end - PACK_TRAILER, PACK_TRAILER))
        return false;
    u->end -= PACK_TRAILER;
    return true;
}

const char *unpack_bytes(struct unpack *u, size_t len)
{
    if (u->failed || len > unpack_left(u)) {
        u->failed = true;
        return NULL;
    }
    const char *bytes = (const char *)u->at;
    u->at += len;
    return bytes;
}

static uint64_t unpack_number(struct unpack *u, size_t size)
{
    const char *bytes = unpack_bytes(u, size);
    return bytes == NULL ? 0 : read_number((const unsigned char *)bytes, size);
}

uint8_t unpack_u8(struct unpack *u)
{
    return (uint8_t)unpack_number(u, 1);
}

uint16_t unpack_u16(struct unpack *u)
{
    return (uint16_t)unpack_number(u, 2);
}

uint32_t unpack_u32(struct unpack *u)
{
    return (uint32_t)unpack_number(u, 4);
}

uint64_t unpack_u64(struct unpack *u)
{
    return unpack_number(u, 8);
}

uint32_t unpack_count(struct unpack *u, size_t least)
{
    uint32_t n = unpack_u32(u);
    if (n <= unpack_left(u) / least)
        return n;
    u->failed = true;
    return 0;
}
