/* A state file: it is refused and nothing has changed, or what came of it can be used and saved,
 * and what was saved is taken again. The mutator puts the checksum right, so that what lies behind
 * it is reached; the inputs are whole files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../src/broker/registry_internal.h"
#include "config_util.h"
#include "fuzz.h"
#include "prng.h"
#include "saved_util.h"
#include "tickerd/base/log.h"

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max) __attribute__((weak));
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);
size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size,
                                 uint8_t *out, size_t max, unsigned seed);

enum {
    LONGEST = 8192, /* the rig remembers a bounded number of events */
    MODE_AT = 12,   /* the byte that says redis.mode; the rules of the format see to the rest */
    UNSEALED = 16,  /* one in so many stays without a right checksum */
};

/* cmocka's assertions of the rig are to abort. */
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    (void)setenv("CMOCKA_TEST_ABORT", "1", 1);
    log_setup(LOG_ERROR, LOG_TEXT);
    return 0;
}

/* ---- mutation
 * ------------------------------------------------------------------------------------ */

static size_t seal(uint8_t *data, size_t body)
{
    struct buf b = BUF_INIT;
    buf_append(&b, data, body);
    buf_append(&b, "crc?", PACK_TRAILER);
    saved_reseal(&b);
    FUZZ_CHECK(b.len == body + PACK_TRAILER);
    memcpy(data, b.data, b.len);
    buf_finish(&b);
    return body + PACK_TRAILER;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
    if (seed % UNSEALED == 0 || max <= PACK_TRAILER)
        return LLVMFuzzerMutate(data, size, max);
    size_t body = size > PACK_TRAILER ? size - PACK_TRAILER : 0;
    return seal(data, LLVMFuzzerMutate(data, body, max - PACK_TRAILER));
}

/* The beginning of one, the end of another. */
size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size,
                                 uint8_t *out, size_t max, unsigned seed)
{
    struct prng random = {seed};
    size_t a_body = a_size > PACK_TRAILER ? a_size - PACK_TRAILER : 0;
    size_t b_body = b_size > PACK_TRAILER ? b_size - PACK_TRAILER : 0;
    size_t head = prng_below(&random, a_body + 1), tail = prng_below(&random, b_body + 1);
    if (max <= PACK_TRAILER)
        return 0;
    max -= PACK_TRAILER;
    head = head > max ? max : head;
    tail = tail > max - head ? max - head : tail;
    if (head > 0)
        memcpy(out, a, head);
    if (tail > 0)
        memcpy(out + head, b + b_body - tail, tail);
    return seal(out, head + tail);
}

/* ---- use
 * ------------------------------------------------------------------------------------------- */

static void start(struct hub_rig *h, bool on_demand, bool tiny)
{
    const char *const settings[] = {
        "log.level=error",
        on_demand ? "redis.mode=on-demand" : "redis.mode=all",
        tiny ? "history.total_bytes=1024" : "history.events=100",
        tiny ? "channels=[{\"match\":\"*\",\"slow\":\"latest\",\"history\":{\"events\":2}}]"
             : "channels=[]",
        NULL,
    };
    hubrig_init(h, build_ok(NULL, NULL, settings));
}

static void check_untouched(const struct hub_rig *h, uint64_t last)
{
    const struct registry *r = &h->registry;
    FUZZ_CHECK(registry_channels(r) == 0 && r->marks.count == 1);
    FUZZ_CHECK(r->cost == 0 && r->watermark == 0 && r->clock.last == last);
}

/* Every frame has an id where its length says, and a form for format=json. */
static size_t check_frames(struct hub_rig *h)
{
    size_t pos = 0, len, frames = 0;
    const struct channel *c;
    while ((c = strmap_next(&h->registry.channels, &pos)) != NULL) {
        uint64_t before = 0;
        for (uint32_t i = 0; i < c->log.ring.count; i++) {
            const struct entry *e = ring_at(&c->log.ring, i);
            FUZZ_CHECK(entry_seq(e) >= before && entry_seq(e) <= h->registry.clock.last);
            before = entry_seq(e);
            if (entry_is_hole(e))
                continue;
            struct frame *f = e->u.frame;
            FUZZ_CHECK(frame_id(f) > f->block && f->block[f->len - 1] == '\n');
            FUZZ_CHECK(frame_bytes(f, FORMAT_JSON, h->registry.stats, &len) != NULL && len > 0);
            frames++;
        }
    }
    return frames;
}

/* Workers come for all of it, it goes on, and time passes. */
static void live(struct hub_rig *h)
{
    char name[TOPIC_MAX + 1];
    size_t pos = 0;
    const struct channel *c = strmap_next(&h->registry.channels, &pos);
    hubrig_interest(h, 0, VIEW_MARKS, 1, "", false);
    hubrig_interest(h, 0, 1, 1, "*", true);
    if (c != NULL && memchr(c->name->bytes, '\0', c->name->len) == NULL) {
        (void)snprintf(name, sizeof name, "%.*s", (int)c->name->len, c->name->bytes);
        hubrig_interest(h, 1, 1, 1, name, false);
        fake_source_connect(&h->source);
        hubrig_settle(h);
        hubrig_publish(h, name, "{\"data\":\"more\",\"id\":\"own\"}");
    }
    hubrig_publish(h, "another", "text");
    hubrig_settle(h);
    hubrig_sleep(h, 2 * SAVED_SECOND);
}

static void save_and_take_again(const struct hub_rig *h, bool on_demand)
{
    struct buf again = BUF_INIT;
    struct hub_rig other;
    saved_take(&again, &h->registry);
    start(&other, on_demand, false);
    other.mono = h->mono;
    const char *why = saved_restore(&other, again.data, again.len, 0);
    FUZZ_CHECK(why == NULL);
    (void)check_frames(&other);
    hubrig_finish(&other);
    buf_finish(&again);
}

static bool use(const uint8_t *data, size_t size, bool tiny)
{
    struct hub_rig h;
    bool on_demand = size > MODE_AT && data[MODE_AT] == REDIS_MODE_ON_DEMAND;
    start(&h, on_demand, tiny);
    uint64_t last = h.registry.clock.last;
    bool taken = saved_restore(&h, data, size, 0) == NULL;
    if (taken) { /* within the bound, but for one event that alone is beyond it */
        uint64_t cost = h.registry.cost;
        FUZZ_CHECK(check_frames(&h) <= 1 || cost <= h.config->history_total_bytes);
        save_and_take_again(&h, on_demand);
        live(&h);
        (void)check_frames(&h);
        save_and_take_again(&h, on_demand);
    } else {
        check_untouched(&h, last);
    }
    hubrig_finish(&h);
    return taken;
}

/* A checksum that is right is wrong with any one byte changed. */
static void check_damage(const uint8_t *data, size_t size)
{
    struct hub_rig h;
    struct prng random = {fuzz_seed(data, size)};
    uint8_t *bad = (uint8_t *)fuzz_copy((const char *)data, size);
    bad[prng_below(&random, size)] ^= (uint8_t)(1 + prng_below(&random, 255));
    start(&h, data[MODE_AT] == REDIS_MODE_ON_DEMAND, false);
    uint64_t last = h.registry.clock.last;
    FUZZ_CHECK(saved_restore(&h, bad, size, 0) != NULL);
    check_untouched(&h, last);
    hubrig_finish(&h);
    free(bad);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > LONGEST)
        return 0;
    if (use(data, size, false))
        check_damage(data, size);
    (void)use(data, size, true);
    return 0;
}
