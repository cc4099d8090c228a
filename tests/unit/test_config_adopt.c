#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "config_util.h"
#include "tickerd/base/err.h"

#define SET(...) ((const char *const[]){__VA_ARGS__, NULL})

/* Two configurations and what config_adopt says of them. */
struct pair {
    struct config *running, *next;
    struct config_changes changes;
    struct buf applied, fixed; /* names with blanks between them */
};

static void join(struct buf *out, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        buf_printf(out, "%s%s", i == 0 ? "" : " ", names[i]);
}

static void adopt(struct pair *p, struct config *running, struct config *next)
{
    *p = (struct pair){.running = running, .next = next};
    assert_int_equal(config_adopt(next, running, &p->changes), ERR_OK);
    join(&p->applied, p->changes.applied, p->changes.applied_count);
    join(&p->fixed, p->changes.fixed, p->changes.fixed_count);
}

static void pair_finish(struct pair *p)
{
    config_destroy(p->running);
    config_destroy(p->next);
    buf_finish(&p->applied);
    buf_finish(&p->fixed);
}

static void expect(const char *const *before, const char *const *after, const char *applied,
                   const char *fixed)
{
    struct pair p;
    adopt(&p, build_ok(NULL, NULL, before), build_ok(NULL, NULL, after));
    assert_string_equal(buf_cstr(&p.applied), applied);
    assert_string_equal(buf_cstr(&p.fixed), fixed);
    pair_finish(&p);
}

static void nothing_changes(void **state)
{
    (void)state;
    expect(NULL, NULL, "", "");
    expect(SET("listen=[\"h:1\",\"h:2\"]", "cors.origins=[\"https://a.org\"]", "state.file=/s"),
           SET("listen=[\"h:1\",\"h:2\"]", "cors.origins=[\"https://a.org\"]", "state.file=/s"), "",
           "");
    /* written otherwise, meant the same */
    expect(SET("stream.heartbeat=60s", "history.bytes=1MiB", "auth.issuer=null"),
           SET("stream.heartbeat=1m", "history.bytes=1048576", "auth.issuer="), "", "");
}

static void names_what_changes(void **state)
{
    (void)state;
    expect(NULL, SET("log.level=warn", "history.events=5", "cors.origins=[\"https://a.org\"]"),
           "history.events cors.origins log.level", "");
    expect(SET("auth.issuer=a", "auth.audience=x"), SET("auth.issuer=b"),
           "auth.issuer auth.audience", "");
    expect(SET("log.access=true"), NULL, "log.access", "");
    expect(SET("proxy.trusted=[\"10.0.0.1\",\"10.0.0.2\"]"),
           SET("proxy.trusted=[\"10.0.0.2\",\"10.0.0.1\"]"), "proxy.trusted", "");
    expect(SET("auth.mode=optional", "auth.jwks_file=/a"), SET("auth.jwks_file=/b"),
           "auth.mode auth.jwks_file", "");
}

/* Every key is one or the other; what needs a restart keeps its value, in every type. */
static void the_running_value_stays(void **state)
{
    static const char *const before[] = {"listen=[\"h:1\",\"h:2\"]",
                                         "workers=3",
                                         "redis.url=redis://:secret@r:1",
                                         "redis.prefix=long:",
                                         "redis.mode=on-demand",
                                         "redis.linger=5s",
                                         "control.channel=ctl",
                                         "resume.window=30s",
                                         NULL};
    static const char *const after[] = {
        "listen=[\"h:3\"]", "workers=5",       "redis.url=rediss://x",
        "redis.prefix=p",   "redis.mode=all",  "redis.linger=6s",
        "state.file=/s",    "stream.retry=3s", NULL};
    struct pair p;
    (void)state;
    adopt(&p, build_ok(NULL, NULL, before), build_ok(NULL, NULL, after));
    assert_string_equal(buf_cstr(&p.applied), "stream.retry");
    assert_string_equal(buf_cstr(&p.fixed),
                        "listen workers redis.url redis.prefix redis.mode redis.linger "
                        "resume.window control.channel state.file");
    const struct config *c = p.next;
    assert_int_equal(c->listen.count, 2);
    assert_string_equal(c->listen.items[1], "h:2");
    assert_ptr_not_equal(c->listen.items[1], p.running->listen.items[1]);
    assert_int_equal(c->workers, 3);
    assert_string_equal(c->redis.url, "redis://:secret@r:1");
    assert_string_equal(c->redis.prefix, "long:");
    assert_int_equal(c->redis.prefix_len, 5);
    assert_int_equal(c->redis.mode, REDIS_MODE_ON_DEMAND);
    assert_int_equal(c->redis.linger_ms, 5000);
    assert_int_equal(c->resume.window_ms, 30000);
    assert_string_equal(c->control_channel, "ctl");
    assert_null(c->state_file);
    assert_int_equal(c->stream.retry_ms, 3000);
    pair_finish(&p);
}

static struct config *of_file(const char *text)
{
    return build_ok(text, NULL, NULL);
}

static void rules_change_by_what_they_say(void **state)
{
    struct pair p;
    (void)state;
    /* what they inherit is no change of theirs */
    adopt(&p, of_file("{\"channels\":[{\"match\":\"a\"}]}"),
          of_file("{\"history\":{\"events\":7},\"channels\":[{\"match\":\"a\"}]}"));
    assert_string_equal(buf_cstr(&p.applied), "history.events");
    assert_int_equal(p.next->rules[0].history.events, 7);
    assert_int_equal(p.next->rule_default.history.events, 7);
    pair_finish(&p);

    static const char *const others[] = {
        "{\"channels\":[]}",
        "{\"channels\":[{\"match\":\"b\"}]}",
        "{\"channels\":[{\"match\":\"a\",\"slow\":\"latest\"}]}",
        "{\"channels\":[{\"match\":\"a\",\"payload\":\"raw\"}]}",
        "{\"channels\":[{\"match\":\"a\",\"anonymous\":true}]}",
        "{\"channels\":[{\"match\":\"a\",\"history\":{\"age\":\"1s\"}}]}",
        "{\"channels\":[{\"match\":\"a\"},{\"match\":\"b\"}]}",
    };
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        adopt(&p, of_file("{\"channels\":[{\"match\":\"a\"}]}"), of_file(others[i]));
        assert_string_equal(buf_cstr(&p.applied), "channels");
        assert_string_equal(buf_cstr(&p.fixed), "");
        pair_finish(&p);
    }
}

/* Whoever adopts again and again gets the same each time, and nothing of what went before. */
static void adopts_again_and_again(void **state)
{
    struct config *running = build_ok(NULL, NULL, SET("redis.prefix=p", "workers=2"));
    (void)state;
    for (int i = 0; i < 100; i++) {
        char events[40];
        struct config_changes changes;
        (void)snprintf(events, sizeof events, "history.events=%d", i);
        struct config *next = build_ok(NULL, NULL, SET("redis.prefix=q", "workers=4", events));
        assert_int_equal(config_adopt(next, running, &changes), ERR_OK);
        assert_int_equal(changes.applied_count, 1);
        assert_int_equal(changes.fixed_count, 2);
        config_destroy(running);
        running = next;
    }
    assert_string_equal(running->redis.prefix, "p");
    assert_int_equal(running->workers, 2);
    assert_int_equal(running->history.events, 99);
    config_destroy(running);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_changes),         cmocka_unit_test(names_what_changes),
        cmocka_unit_test(the_running_value_stays), cmocka_unit_test(rules_change_by_what_they_say),
        cmocka_unit_test(adopts_again_and_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
