/* An event, encoded in both forms and read by the decoder that shares no code with the encoder:
 *
 *     channel LF event LF id LF retry LF data …
 *
 * A line that is no good in its place means that there is none. The data is also taken for a block.
 */
#include <jansson.h>

#include "fuzz.h"
#include "naive_utf8.h"
#include "prng.h"
#include "sse_decoder.h"
#include "tickerd/wire/envelope.h"
#include "tickerd/wire/sse.h"
#include "tickerd/wire/topic.h"

struct input {
    struct fuzz_text channel;
    struct sse_event event;
    char *wanted; /* what event.data is to be; owned */
    size_t wanted_len, repaired;
};

static uint32_t number(struct fuzz_text t)
{
    uint64_t n = 0;
    for (size_t i = 0; i < t.len && t.p[i] >= '0' && t.p[i] <= '9' && n <= UINT32_MAX; i++)
        n = n * 10 + (uint64_t)(t.p[i] - '0');
    return n > UINT32_MAX ? 0 : (uint32_t)n;
}

static void read_input(struct input *in, struct fuzz_text rest)
{
    in->channel = fuzz_cut(&rest, '\n');
    if (!topic_valid(in->channel.p, in->channel.len))
        in->channel = (struct fuzz_text){"news", 4};
    struct fuzz_text event = fuzz_cut(&rest, '\n'), id = fuzz_cut(&rest, '\n');
    uint32_t retry = number(fuzz_cut(&rest, '\n'));
    in->event = (struct sse_event){.data = rest.p, .data_len = rest.len, .retry_ms = retry};
    if (envelope_event_ok(event.p, event.len)) {
        in->event.event = event.p;
        in->event.event_len = event.len;
    }
    if (envelope_id_ok(id.p, id.len) || fuzz_own_id(id.p, id.len)) {
        in->event.id = id.p;
        in->event.id_len = id.len;
    }
    in->wanted = malloc(3 * rest.len + 1);
    FUZZ_CHECK(in->wanted != NULL);
    in->wanted_len = naive_event_data(in->wanted, rest.p, rest.len, &in->repaired);
}

/* Feed the stream in pieces of the input's choice and expect exactly one event from it. */
static void decode(struct sse_decoder *d, const struct buf *stream, const struct input *in,
                   struct prng *random)
{
    sse_decoder_init(d);
    sse_decoder_feed(d, SSE_HEARTBEAT, strlen(SSE_HEARTBEAT));
    for (size_t i = 0; i < stream->len;) {
        size_t n = 1 + prng_below(random, stream->len - i);
        sse_decoder_feed(d, stream->data + i, n);
        i += n;
    }
    FUZZ_CHECK(!stream->failed && d->count == 1 && !d->pending && d->comments == 1);
    FUZZ_CHECK(d->bad_utf8 == 0);
    FUZZ_CHECK(fuzz_same(d->last_event_id.p, d->last_event_id.len, in->event.id, in->event.id_len));
    FUZZ_CHECK(d->retry_ms == (in->event.retry_ms == 0 ? -1 : (int64_t)in->event.retry_ms));
}

static void check_raw(const struct buf *block, const struct input *in, struct prng *random)
{
    struct sse_decoder d;
    const struct sse_event *e = &in->event;
    decode(&d, block, in, random);
    const struct sse_message *m = &d.messages[0];
    if (e->event == NULL)
        FUZZ_CHECK(fuzz_same(m->type.p, m->type.len, "message", 7));
    else
        FUZZ_CHECK(fuzz_same(m->type.p, m->type.len, e->event, e->event_len));
    FUZZ_CHECK(fuzz_same(m->data.p, m->data.len, in->wanted, in->wanted_len));
    sse_decoder_finish(&d);
}

static void check_member(const json_t *object, const char *name, const char *text, size_t len)
{
    const json_t *value = json_object_get(object, name);
    FUZZ_CHECK(value != NULL);
    if (text == NULL)
        FUZZ_CHECK(json_is_null(value));
    else
        FUZZ_CHECK(json_is_string(value) &&
                   fuzz_same(json_string_value(value), json_string_length(value), text, len));
}

static void check_json(const struct buf *block, const struct input *in, struct prng *random)
{
    struct buf json = BUF_INIT;
    struct sse_decoder d;
    const struct sse_event *e = &in->event;
    sse_encode_json(&json, block->data, block->len, in->channel.p, in->channel.len);
    decode(&d, &json, in, random);
    const struct sse_message *m = &d.messages[0];
    FUZZ_CHECK(fuzz_same(m->type.p, m->type.len, "message", 7));
    json_t *object =
        json_loadb(m->data.p, m->data.len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    FUZZ_CHECK(json_object_size(object) == 4);
    check_member(object, "channel", in->channel.p, in->channel.len);
    check_member(object, "id", e->id, e->id_len);
    check_member(object, "event", e->event == NULL ? "message" : e->event,
                 e->event == NULL ? 7 : e->event_len);
    check_member(object, "data", in->wanted, in->wanted_len);
    json_decref(object);
    sse_decoder_finish(&d);
    buf_finish(&json);
}

/* What comes from a state file is believed to be a block if this says so. */
static void check_as_block(const struct input *in)
{
    const struct sse_event *e = &in->event;
    struct buf json = BUF_INIT;
    char *block = fuzz_copy(e->data, e->data_len);
    if (sse_block_valid(block, e->data_len, e->id_len)) {
        FUZZ_CHECK(e->data_len > 2 + e->id_len && block[e->data_len - 1] == '\n');
        sse_encode_json(&json, block, e->data_len, in->channel.p, in->channel.len);
        FUZZ_CHECK(!json.failed && json.len > e->id_len + 2);
        FUZZ_CHECK(memcmp(json.data + json.len - e->id_len - 2, block + e->data_len - e->id_len - 2,
                          e->id_len + 2) == 0);
        buf_finish(&json);
    }
    free(block);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in;
    struct buf block = BUF_INIT;
    struct prng random = {fuzz_seed(data, size)};
    read_input(&in, (struct fuzz_text){(const char *)data, size});
    FUZZ_CHECK(sse_encode(&block, &in.event) == in.repaired);
    check_raw(&block, &in, &random);
    check_json(&block, &in, &random);
    FUZZ_CHECK(sse_block_valid(block.data, block.len, in.event.id_len) == (in.event.id != NULL));
    check_as_block(&in);
    buf_finish(&block);
    free(in.wanted);
    return 0;
}
