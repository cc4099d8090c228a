/* Packing: numbers (little-endian) and bytes as one stream with a checksum at its end, and the way
 * back, which believes nothing.
 *
 *     | bytes … | CRC-32 of all before it |
 *
 * Both sides have an error that sticks: pack or unpack as much as there is, ask once at the end. */
#ifndef TICKERD_WIRE_PACK_H
#define TICKERD_WIRE_PACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PACK_BUFFER = 64 * 1024, PACK_TRAILER = 4 };

struct pack {
    /* Take bytes on. 0, or a negative code, which sticks. */
    int (*write)(void *ctx, const void *bytes, size_t len);
    void *ctx;
    int error; /* 0 so far, or what `write` said */
    uint32_t sum;
    uint64_t total; /* bytes packed so far */
    size_t held;    /* of them in the buffer */
    unsigned char buffer[PACK_BUFFER];
};

/* Begin; `write` gets the bytes in portions. Owns nothing, so there is nothing to finish. */
void pack_init(struct pack *p, int (*write)(void *ctx, const void *bytes, size_t len), void *ctx);

void pack_u8(struct pack *p, uint8_t v);
void pack_u16(struct pack *p, uint16_t v);
void pack_u32(struct pack *p, uint32_t v);
void pack_u64(struct pack *p, uint64_t v);
void pack_bytes(struct pack *p, const void *bytes, size_t len);

/* Write the checksum and all that is held. Returns 0 or the first error. */
int pack_end(struct pack *p);

struct unpack {
    const unsigned char *start, *at, *end; /* borrowed */
    bool failed;                           /* something did not fit; what was read since is zeros */
};

/* Begin at packed bytes, which must stay as long as what unpack_bytes returns. */
void unpack_init(struct unpack *u, const void *bytes, size_t len);

/* Whether the checksum at the end agrees with all before it, what has been read included; if so it
 * is cut off. Reads everything once. */
bool unpack_intact(struct unpack *u);

uint8_t unpack_u8(struct unpack *u);
uint16_t unpack_u16(struct unpack *u);
uint32_t unpack_u32(struct unpack *u);
uint64_t unpack_u64(struct unpack *u);

/* The next `len` bytes, where they stand. NULL (and `failed`) where there are fewer. */
const char *unpack_bytes(struct unpack *u, size_t len);

/* A number of things of at least `least` bytes each that are to follow: more than there can be is a
 * failure, so that it may be allocated for. */
uint32_t unpack_count(struct unpack *u, size_t least);

static inline size_t unpack_left(const struct unpack *u)
{
    return (size_t)(u->end - u->at);
}

#endif
