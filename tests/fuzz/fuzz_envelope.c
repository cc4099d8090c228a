/* A payload, read as an envelope and judged against what jansson makes of it. */
#include <jansson.h>

#include "fuzz.h"
#include "tickerd/wire/envelope.h"
#include "tickerd/wire/json.h"

static bool id_ok(const char *id, size_t len)
{
    if (len == 0 || len > ENVELOPE_ID_MAX || id[0] == ' ' || id[len - 1] == ' ')
        return false;
    for (size_t i = 0; i < len; i++) {
        if (id[i] < ' ' || id[i] > '~')
            return false;
    }
    return !fuzz_own_id(id, len);
}

static bool event_ok(const char *event, size_t len)
{
    struct fuzz_text name = {event, len};
    if (len == 0 || fuzz_is(name, "open") || fuzz_is(name, "error") ||
        (len >= 8 && memcmp(event, "tickerd:", 8) == 0))
        return false;
    for (size_t i = 0; i < len; i++) {
        if (event[i] == '\n' || event[i] == '\r' || event[i] == '\0')
            return false;
    }
    return true;
}

/* Whether an object that jansson has read is an envelope. */
static bool is_envelope(const json_t *root)
{
    const json_t *event = json_object_get(root, "event"), *id = json_object_get(root, "id");
    const json_t *retry = json_object_get(root, "retry");
    size_t known = 1U + (event != NULL) + (id != NULL) + (retry != NULL);
    if (json_object_get(root, "data") == NULL || json_object_size(root) != known)
        return false;
    if (event != NULL &&
        (!json_is_string(event) || !event_ok(json_string_value(event), json_string_length(event))))
        return false;
    if (id != NULL && !json_is_integer(id) &&
        (!json_is_string(id) || !id_ok(json_string_value(id), json_string_length(id))))
        return false;
    json_int_t ms = json_integer_value(retry);
    return retry == NULL ||
           (json_is_integer(retry) && ms >= ENVELOPE_RETRY_MIN_MS && ms <= ENVELOPE_RETRY_MAX_MS);
}

static void check_string(const json_t *value, const char *text, size_t len)
{
    FUZZ_CHECK((value == NULL) == (text == NULL));
    if (json_is_string(value))
        FUZZ_CHECK(fuzz_same(json_string_value(value), json_string_length(value), text, len));
}

/* The slices say what jansson has read. */
static void check_fields(const json_t *root, const struct envelope *e)
{
    const json_t *data = json_object_get(root, "data"), *id = json_object_get(root, "id");
    check_string(json_object_get(root, "event"), e->event, e->event_len);
    check_string(id, e->id, e->id_len);
    if (json_is_integer(id)) {
        char digits[32] = "";
        FUZZ_CHECK(e->id_len < sizeof digits);
        memcpy(digits, e->id, e->id_len);
        FUZZ_CHECK(strtoll(digits, NULL, 10) == json_integer_value(id));
    }
    FUZZ_CHECK(e->retry_ms == (uint32_t)json_integer_value(json_object_get(root, "retry")));
    check_string(data, e->data, e->data_len);
    if (json_is_string(data))
        return;
    json_t *again = json_loadb(e->data, e->data_len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    FUZZ_CHECK(again != NULL && json_equal(data, again));
    json_decref(again);
}

/* jansson knows no surrogate halves, no NUL in keys, and limits to numbers, and does not tell an
 * integer beyond them from a real; where it says no for that, nothing is said here. And it skips a
 * NUL byte behind a number, which is no JSON. */
static void check_against_jansson(const char *payload, size_t len, const struct envelope *e)
{
    size_t flags = JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, brackets = 0;
    if (len > 0 && memchr(payload, '\0', len) != NULL) {
        FUZZ_CHECK(!e->enveloped);
        return;
    }
    json_t *root = json_loadb(payload, len, flags, NULL);
    for (size_t i = 0; i < len; i++)
        brackets += payload[i] == '[' || payload[i] == '{';
    if (root != NULL && brackets <= JSON_DEPTH_MAX)
        FUZZ_CHECK(e->enveloped == (json_is_object(root) && is_envelope(root)));
    if (root != NULL && e->enveloped)
        check_fields(root, e);
    json_decref(root);
    if (root == NULL && e->enveloped &&
        brackets == 1) { /* flat: then only an integer explains it */
        root = json_loadb(payload, len, flags | JSON_DECODE_INT_AS_REAL, NULL);
        const json_t *data = json_object_get(root, "data");
        FUZZ_CHECK(root != NULL || (e->data_len > 0 && e->data[0] != '"'));
        FUZZ_CHECK(data == NULL || json_is_string(data) || json_is_number(data));
        json_decref(root);
    }
}

static void check_own_rules(const struct envelope *e, const char *payload, size_t len)
{
    if (!e->enveloped) {
        FUZZ_CHECK(e->data == payload && e->data_len == len);
        FUZZ_CHECK(e->event == NULL && e->id == NULL && e->retry_ms == 0);
        return;
    }
    FUZZ_CHECK(e->event == NULL || event_ok(e->event, e->event_len));
    FUZZ_CHECK(e->id == NULL || id_ok(e->id, e->id_len));
    FUZZ_CHECK(e->retry_ms == 0 ||
               (e->retry_ms >= ENVELOPE_RETRY_MIN_MS && e->retry_ms <= ENVELOPE_RETRY_MAX_MS));
    FUZZ_CHECK(e->data != NULL && e->data_len <= len);
}

static void check_rules_of_names(const char *p, size_t len)
{
    FUZZ_CHECK(envelope_id_ok(p, len) == id_ok(p, len));
    if (envelope_event_ok(p, len))
        FUZZ_CHECK(event_ok(p, len));
}

/* Every key of an envelope is one of the four, so it does not matter whether AUTO or ENVELOPE. */
static void check_same(const struct envelope *a, const struct envelope *b)
{
    FUZZ_CHECK(a->enveloped == b->enveloped && a->retry_ms == b->retry_ms);
    FUZZ_CHECK(fuzz_same(a->data, a->data_len, b->data, b->data_len));
    FUZZ_CHECK(fuzz_same(a->event, a->event_len, b->event, b->event_len));
    FUZZ_CHECK(fuzz_same(a->id, a->id_len, b->id, b->id_len));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *payload = (const char *)data;
    struct envelope of_auto, of_envelope, of_raw;
    struct buf scratch[2] = {BUF_INIT, BUF_INIT};
    envelope_parse(&of_raw, PAYLOAD_RAW, payload, size, &scratch[0]);
    FUZZ_CHECK(!of_raw.enveloped);
    check_own_rules(&of_raw, payload, size);
    envelope_parse(&of_auto, PAYLOAD_AUTO, payload, size, &scratch[0]);
    envelope_parse(&of_envelope, PAYLOAD_ENVELOPE, payload, size, &scratch[1]);
    check_own_rules(&of_envelope, payload, size);
    check_same(&of_auto, &of_envelope);
    check_against_jansson(payload, size, &of_envelope);
    check_rules_of_names(payload, size);
    buf_finish(&scratch[0]);
    buf_finish(&scratch[1]);
    return 0;
}
