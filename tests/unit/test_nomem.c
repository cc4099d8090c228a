/* Memory runs out in the broker, once at each place where it asks for some: at most a stream or a
 * message is lost, and what is lost is announced.
 *
 * The same story is told again and again; in the nth telling the nth request for memory fails, or
 * some in a row from there on. The Makefile links this program with our objects' malloc, calloc,
 * realloc and log_write renamed to the ones below. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "tickerd/base/err.h"
#include "tickerd/base/log.h"
#include "tickerd/broker/saved.h"
#include "world.h"

enum { LISTENERS = 6, CHANNELS = 2, QUEUE = 200, OVERSIZE = 60 };

/* ---- memory ---------------------------------------------------------------------------------- */

static struct {
    bool scarce; /* else there is enough */
    size_t asked, first, streak;
    size_t refused, told;
} memory;

void *scarce_malloc(size_t size);
void *scarce_calloc(size_t count, size_t size);
void *scarce_realloc(void *old, size_t size);
void scarce_log_write(enum log_level level, const char *fmt, ...);

static bool refuse(void)
{
    if (!memory.scarce)
        return false;
    size_t n = memory.asked++;
    bool yes = n >= memory.first && n - memory.first < memory.streak;
    memory.refused += yes;
    return yes;
}

void *scarce_malloc(size_t size)
{
    return refuse() ? NULL : malloc(size);
}

void *scarce_calloc(size_t count, size_t size)
{
    return refuse() ? NULL : calloc(count, size);
}

void *scarce_realloc(void *old, size_t size)
{
    return refuse() ? NULL : realloc(old, size);
}

void scarce_log_write(enum log_level level, const char *fmt, ...)
{
    memory.told += level == LOG_ERROR && strstr(fmt, "out of memory") != NULL;
}

/* In place of the system's, so that a failing telling can be repeated. */
ssize_t getrandom(void *out, size_t len, unsigned flags)
{
    (void)flags;
    memset(out, 42, len);
    return (ssize_t)len;
}

/* From now on the nth request fails, and those that follow it. */
static void make_scarce(size_t nth, size_t streak)
{
    memory.scarce = true;
    memory.asked = memory.refused = memory.told = 0;
    memory.first = nth;
    memory.streak = streak;
}

/* ---- who listens, and the account of what they get --------------------------------------------
 */

struct listener {
    const char *url;
    bool hears[CHANNELS];
    struct world_client c;
    bool open, known; /* it has a connection; it has an id */
    char last_id[160];
    size_t top[CHANNELS];       /* the highest number it has had */
    uint64_t at[CHANNELS];      /* its position, or the newest known before it */
    uint64_t excused[CHANNELS]; /* a gap said that up to here something may be missing */
    bool may_repeat;
    size_t read, last[CHANNELS]; /* of this connection */
};

struct story {
    struct world w;
    const struct source_ops *ops;
    struct listener listeners[LISTENERS];
    size_t published[CHANNELS];
    size_t nth, streak;
};

static const struct listener cast[LISTENERS] = {
    {.url = "/events/a", .hears = {true}},
    {.url = "/events?channel=a&channel=b", .hears = {true, true}},
    {.url = "/events?pattern=[ab]*&format=json&history=all", .hears = {true, true}},
    {.url = "/events?channel=b&history=2", .hears = {false, true}},
    {.url = "/events?pattern=*&channel=a", .hears = {true, true}},
    {.url = "/events?pattern=b*&format=json", .hears = {false, true}},
};

static void blame(const struct story *s, const struct listener *l, const char *what, size_t n)
{
    fail_msg("request %zu, %zu in a row: %s %s (number %zu)", s->nth, s->streak, l->url, what, n);
}

static uint64_t position(const char *id)
{
    return strlen(id) == EVENTID_LEN ? strtoull(id, NULL, 16) : 0; /* up to the first dash */
}

static void take_gap(struct listener *l, const struct sse_message *m)
{
    for (size_t c = 0; c < CHANNELS; c++) {
        char name[] = "\"channel\":\"?\"";
        name[sizeof name - 3] = (char)('a' + c);
        bool meant = strstr(m->data.p, "\"channel\":null") || strstr(m->data.p, name);
        const char *to = strstr(m->data.p, "\"to\":\"");
        assert_non_null(to);
        uint64_t upto = strtoull(to + strlen("\"to\":\""), NULL, 16);
        if (meant && upto > l->excused[c])
            l->excused[c] = upto;
    }
}

static void take_number(const struct story *s, struct listener *l, const struct sse_message *m)
{
    const char *data = m->data.p;
    const char *json = strstr(data, "\"data\":\"");
    const char *text = json == NULL ? data : json + strlen("\"data\":\"");
    size_t c = (size_t)(text[0] - 'a'), n = strtoul(text + 2, NULL, 10);
    if (c >= CHANNELS || !l->hears[c])
        blame(s, l, "got what it did not ask for", n);
    if (n <= l->last[c])
        blame(s, l, "got them out of order", n);
    if (n <= l->top[c] && !l->may_repeat)
        blame(s, l, "got it twice", n);
    if (n > l->top[c] + 1 && l->excused[c] <= l->at[c])
        blame(s, l, "lost something in silence before", n);
    l->last[c] = n;
    l->top[c] = n > l->top[c] ? n : l->top[c];
    uint64_t at = position(m->last_event_id.p);
    l->at[c] = at > l->at[c] ? at : l->at[c];
}

static void take(struct story *s, struct listener *l)
{
    const struct sse_decoder *d = &l->c.transport.decoder;
    for (; l->read < d->count; l->read++) {
        const struct sse_message *m = &d->messages[l->read];
        if (strcmp(m->type.p, "tickerd:open") == 0) {
            bool new = strstr(m->data.p, "\"new\"") != NULL;
            l->may_repeat = strstr(m->data.p, "\"continued\"") == NULL;
            for (size_t c = 0; new &&c < CHANNELS; c++)
                l->top[c] = s->published[c];
        } else if (strcmp(m->type.p, "tickerd:gap") == 0) {
            take_gap(l, m);
        } else {
            take_number(s, l, m);
        }
        (void)snprintf(l->last_id, sizeof l->last_id, "%s", m->last_event_id.p);
        l->known = true;
    }
}

static void leave(struct story *s, struct listener *l)
{
    if (!l->open)
        return;
    take(s, l);
    world_disconnect(&l->c);
    l->open = false;
}

/* As world_connect, but for what may happen when memory is short. */
static void come(struct story *s, size_t who, size_t room)
{
    struct listener *l = &s->listeners[who];
    struct target_error error;
    struct target_rules rules = {.topics_max = 64};
    leave(s, l);
    memset(&l->c, 0, sizeof l->c);
    memset(l->last, 0, sizeof l->last);
    l->read = 0;
    if (target_parse(&l->c.target, l->url, strlen(l->url), &rules, &error) != ERR_OK) {
        assert_int_equal(error.status, 503);
        return;
    }
    fake_transport_init(&l->c.transport);
    l->c.transport.forget = true;
    l->c.transport.room = room;
    struct session_request q = {.target = &l->c.target,
                                .last_event_id = l->known ? l->last_id : NULL,
                                .last_event_id_len = strlen(l->last_id),
                                .head = WORLD_HEAD,
                                .head_len = sizeof WORLD_HEAD - 1};
    int err = session_open(&l->c.session, &s->w.workers[0].fanout, &l->c.transport.transport, &q,
                           s->w.mono);
    target_finish(&l->c.target);
    l->open = err == ERR_OK;
    if (!l->open) {
        assert_int_equal(err, ERR_NOMEM);
        assert_int_equal(l->c.transport.closes, 0);
        fake_transport_finish(&l->c.transport);
    }
}

/* ---- the story ------------------------------------------------------------------------------- */

/* The fake source is a test's: it always has memory. */
static struct story *telling;

static int patient_subscribe(struct source *src, enum source_sub kind, const char *name, size_t len)
{
    bool scarce = memory.scarce;
    memory.scarce = false;
    int err = telling->ops->subscribe(src, kind, name, len);
    memory.scarce = scarce;
    return err;
}

static struct story *begin(const char *mode, size_t nth, size_t streak)
{
    const char *settings[] = {mode, "history.events=4", "limits.message_bytes=60",
                              "redis.linger=1s", NULL};
    static struct source_ops patient;
    struct story *s = calloc(1, sizeof *s);
    assert_non_null(s);
    telling = s;
    memcpy(s->listeners, cast, sizeof cast);
    s->nth = nth;
    s->streak = streak;
    world_init(&s->w, world_config(settings), 1, QUEUE);
    s->ops = s->w.source.source.ops;
    patient = *s->ops;
    patient.subscribe = patient_subscribe;
    s->w.source.source.ops = &patient;
    return s;
}

static void publish(struct story *s, size_t c, const char *form)
{
    char text[2 * OVERSIZE], name[] = {(char)('a' + c), '\0'};
    /* NOLINTNEXTLINE(clang-diagnostic-format-nonliteral): the forms are those of this file */
    (void)snprintf(text, sizeof text, form, name[0], ++s->published[c]);
    world_publish(&s->w, name, text);
}

#define PLAIN "%c %zu"
#define NAMED "{\"data\":\"%c %zu\",\"event\":\"news\",\"id\":\"mine\"}"
#define LARGE "%c %zu ...................................................................."

static void publish_some(struct story *s, size_t count)
{
    for (size_t i = 0; i < count; i++)
        publish(s, i % CHANNELS, PLAIN);
}

static void all_come(struct story *s)
{
    for (size_t i = 0; i < LISTENERS; i++)
        come(s, i, i == 1 ? 150 : SIZE_MAX);
}

static void all_read(struct story *s)
{
    for (size_t i = 0; i < LISTENERS; i++) {
        if (s->listeners[i].open)
            take(s, &s->listeners[i]);
    }
}

static void tell(struct story *s)
{
    fake_source_connect(&s->w.source);
    world_settle(&s->w);
    all_come(s);
    world_settle(&s->w);
    publish_some(s, 6);
    world_turn(&s->w, 0);
    all_read(s);
    publish(s, 0, NAMED);
    publish(s, 1, LARGE);
    publish_some(s, 10); /* behind which the slow one does not come */
    world_turn(&s->w, 0);
    fake_source_lose(&s->w.source, 0);
    publish_some(s, 2);
    fake_source_connect(&s->w.source);
    world_settle(&s->w);
    publish_some(s, 2);
    all_read(s);
    all_come(s); /* with the ids they have */
    publish_some(s, 3);
    world_settle(&s->w);
    if (s->listeners[1].open)
        world_room(&s->w, &s->listeners[1].c, SIZE_MAX);
    leave(s, &s->listeners[2]);
    leave(s, &s->listeners[5]);
    world_sleep(&s->w, 3 * WORLD_SECOND);
    publish_some(s, 300); /* more than the inbox holds */
    world_settle(&s->w);
    all_read(s);
}

static void end(struct story *s)
{
    world_finish(&s->w);
    free(s);
}

/* There is memory again: everybody gets everything, or is told. */
static void finish(struct story *s)
{
    memory.scarce = false;
    world_settle(&s->w);
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < LISTENERS; i++) {
            struct listener *l = &s->listeners[i];
            if (!l->open || l->c.transport.closes > 0)
                come(s, i, SIZE_MAX);
            world_room(&s->w, &l->c, SIZE_MAX);
        }
        world_settle(&s->w);
        world_sleep(&s->w, WORLD_SECOND);
    }
    publish_some(s, 2 * CHANNELS);
    world_settle(&s->w);
    for (size_t i = 0; i < LISTENERS; i++) {
        struct listener *l = &s->listeners[i];
        take(s, l);
        for (size_t c = 0; c < CHANNELS; c++) {
            if (l->hears[c] && l->top[c] != s->published[c])
                blame(s, l, "does not get the last", s->published[c]);
        }
        leave(s, l);
    }
    end(s);
}

/* In the nth telling the nth request is refused, until there is no nth. */
static void tell_until_it_suffices(const char *mode, size_t streak)
{
    size_t nth = 0, told = 0;
    do {
        struct story *s = begin(mode, nth, streak);
        make_scarce(nth++, streak);
        tell(s);
        finish(s);
        told += memory.told;
    } while (memory.refused > 0);
    print_message("%s: %zu requests for memory, %zu in a row refused\n", mode, nth, streak);
    assert_true(nth > 100);
    assert_true(told > 0); /* operators read of dropped messages */
}

static void test_mode_all(void **state)
{
    (void)state;
    for (size_t streak = 1; streak < 10; streak *= 7)
        tell_until_it_suffices("redis.mode=all", streak);
}

static void test_mode_on_demand(void **state)
{
    (void)state;
    for (size_t streak = 1; streak < 10; streak *= 7)
        tell_until_it_suffices("redis.mode=on-demand", streak);
}

/* ---- what was saved -------------------------------------------------------------------------- */

static int append_bytes(void *ctx, const void *bytes, size_t len)
{
    buf_append(ctx, bytes, len);
    return ERR_OK;
}

static void save_a_story(struct buf *bytes)
{
    struct story *s = begin("redis.mode=on-demand", 0, 0);
    struct pack *out = calloc(1, sizeof *out);
    struct saved_summary sum;
    assert_non_null(out);
    tell(s);
    pack_init(out, append_bytes, bytes);
    assert_int_equal(registry_save(&s->w.registry, "here", out, &sum), ERR_OK);
    free(out);
    finish(s);
}

/* A state file that there is no memory for changes nothing: the start goes on as after a crash. */
static void test_restore(void **state)
{
    (void)state;
    struct buf bytes = BUF_INIT;
    save_a_story(&bytes);
    size_t nth = 0;
    int err;
    do {
        struct story *s = begin("redis.mode=on-demand", nth, 1);
        struct saved_now now = {s->w.mono, (uint64_t)((int64_t)s->w.mono + s->w.wall), 7};
        struct saved_summary sum;
        const char *why = NULL;
        make_scarce(nth++, 1);
        err = registry_restore(&s->w.registry, "here", bytes.data, bytes.len, &now, &sum, &why);
        memory.scarce = false;
        if (err != ERR_OK) {
            assert_int_equal(err, ERR_NOMEM);
            assert_string_equal(why, err_text(ERR_NOMEM));
            assert_int_equal(registry_channels(&s->w.registry), 0);
        }
        registry_start(&s->w.registry);
        if (err != ERR_OK) {
            tell(s);
            finish(s);
        } else {
            end(s);
        }
    } while (err != ERR_OK);
    assert_true(nth > 10);
    buf_finish(&bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mode_all),
        cmocka_unit_test(test_mode_on_demand),
        cmocka_unit_test(test_restore),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
