/* Event ids: the grammar, and both ways between text and numbers. Of `channel LF payload` the
 * fingerprint is a CRC-32 as the text-book has it. */
#include "fuzz.h"
#include "tickerd/wire/eventid.h"

static void check_parse(const char *text, size_t len)
{
    struct eventid id;
    char again[EVENTID_LEN];
    char *exact = fuzz_copy(text, len);
    bool ours = eventid_parse(exact, len, &id);
    FUZZ_CHECK(ours == fuzz_own_id(text, len));
    if (ours) {
        FUZZ_CHECK(id.seq <= EVENTID_SEQ_MAX);
        eventid_format(again, &id);
        FUZZ_CHECK(fuzz_same(again, EVENTID_LEN, text, len));
    }
    free(exact);
}

/* Ids are in the order of their numbers, as text too. */
static void check_numbers(const uint8_t *data, size_t size)
{
    struct eventid ids[2], back;
    char text[2][EVENTID_LEN];
    if (size < sizeof ids)
        return;
    memcpy(ids, data, sizeof ids);
    for (int i = 0; i < 2; i++) {
        ids[i].seq &= EVENTID_SEQ_MAX;
        eventid_format(text[i], &ids[i]);
        FUZZ_CHECK(eventid_parse(text[i], EVENTID_LEN, &back));
        FUZZ_CHECK(back.seq == ids[i].seq && back.tag == ids[i].tag && back.fp == ids[i].fp);
    }
    if (ids[0].seq != ids[1].seq)
        FUZZ_CHECK((ids[0].seq < ids[1].seq) == (memcmp(text[0], text[1], EVENTID_LEN) < 0));
}

static uint32_t crc_byte(uint32_t crc, uint8_t byte)
{
    crc ^= byte;
    for (int bit = 0; bit < 8; bit++)
        crc = (crc & 1) != 0 ? crc >> 1 ^ 0xedb88320 : crc >> 1;
    return crc;
}

static void check_fingerprint(struct fuzz_text rest)
{
    struct fuzz_text channel = fuzz_cut(&rest, '\n');
    uint32_t crc = 0xffffffff;
    for (size_t i = 0; i < channel.len; i++)
        crc = crc_byte(crc, (uint8_t)channel.p[i]);
    crc = crc_byte(crc, 0);
    for (size_t i = 0; i < rest.len; i++)
        crc = crc_byte(crc, (uint8_t)rest.p[i]);
    crc = ~crc;
    uint32_t got = eventid_fingerprint(channel.p, channel.len, rest.p, rest.len);
    FUZZ_CHECK(got == (crc == 0 ? 1 : crc));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_text rest = {(const char *)data, size};
    check_parse(rest.p, rest.len);
    check_numbers(data, size);
    check_fingerprint(rest);
    while (rest.len > 0) {
        struct fuzz_text line = fuzz_cut(&rest, '\n');
        check_parse(line.p, line.len);
    }
    return 0;
}
