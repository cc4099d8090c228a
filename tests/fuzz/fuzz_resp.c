/* What a Redis server sends, fed whole, byte by byte and in pieces of the input's choice: the same
 * replies, and the same complaint. With a low limit no reply is larger than that. */
#include "../../src/net/redis_resp.h"
#include "fuzz.h"
#include "prng.h"
#include "tickerd/base/buf.h"
#include "tickerd/base/err.h"

enum { HIGH = 1024 * 1024, LOW = 100, RANDOM_SPLITS = 3 };

struct taken {
    struct buf text;
    size_t replies, largest;
    int code;
};

static int take(void *ctx, const struct resp_reply *r)
{
    struct taken *t = ctx;
    size_t size = 0;
    FUZZ_CHECK(r->count <= RESP_PARTS && r->kind <= RESP_OTHER);
    FUZZ_CHECK(r->kind == RESP_ARRAY ? r->count > 0 : r->count == (r->kind != RESP_OTHER));
    buf_printf(&t->text, "%d:%zu", (int)r->kind, r->count);
    for (size_t i = 0; i < r->count; i++) {
        FUZZ_CHECK(r->part[i].p != NULL);
        buf_printf(&t->text, " %zu:", r->part[i].n);
        buf_append(&t->text, r->part[i].p, r->part[i].n);
        size += r->part[i].n;
    }
    buf_byte(&t->text, '\n');
    t->largest = size > t->largest ? size : t->largest;
    t->replies++;
    return ERR_OK;
}

/* In pieces of at most `most` bytes. */
static struct taken run(const uint8_t *data, size_t size, size_t max, size_t most,
                        struct prng *random)
{
    struct taken t = {.text = BUF_INIT, .code = ERR_OK};
    struct resp_reader *r = resp_create(take, &t, max);
    FUZZ_CHECK(r != NULL);
    for (size_t i = 0; i < size && t.code == ERR_OK;) {
        size_t n = random == NULL ? most : prng_below(random, most + 1);
        n = n > size - i ? size - i : n;
        char *exact = fuzz_copy((const char *)data + i, n);
        t.code = resp_feed(r, exact, n);
        free(exact);
        i += n;
    }
    FUZZ_CHECK(t.code == ERR_OK || t.code == ERR_INVALID);
    if (t.code == ERR_INVALID)
        FUZZ_CHECK(resp_error(r) != NULL && resp_error(r)[0] != '\0');
    resp_destroy(r);
    return t;
}

static void check_same(const struct taken *a, struct taken b)
{
    FUZZ_CHECK(a->code == b.code && a->replies == b.replies);
    FUZZ_CHECK(fuzz_same(a->text.data, a->text.len, b.text.data, b.text.len));
    buf_finish(&b.text);
}

/* Byte by byte, so that the limit is looked at everywhere. */
static void check_limit(const uint8_t *data, size_t size, const struct taken *unlimited)
{
    struct taken t = run(data, size, LOW, 1, NULL);
    FUZZ_CHECK(t.largest <= LOW);
    FUZZ_CHECK(t.text.len <= unlimited->text.len);
    FUZZ_CHECK(fuzz_same(t.text.data, t.text.len, unlimited->text.data, t.text.len));
    FUZZ_CHECK(t.code == ERR_INVALID || t.replies == unlimited->replies);
    buf_finish(&t.text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct prng random = {fuzz_seed(data, size)};
    struct taken whole = run(data, size, HIGH, size, NULL);
    check_same(&whole, run(data, size, HIGH, 1, NULL));
    for (int i = 0; i < RANDOM_SPLITS; i++)
        check_same(&whole, run(data, size, HIGH, 1 + prng_below(&random, size + 1), &random));
    check_limit(data, size, &whole);
    buf_finish(&whole.text);
    return 0;
}
