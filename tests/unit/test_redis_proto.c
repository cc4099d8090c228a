#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>
#include <string.h>

#include "../../src/net/redis_proto.h"
#include "tickerd/base/err.h"
#include "tickerd/base/log.h"

struct talk {
    struct redis_proto *p;
    struct buf heard;  /* a line per call-back */
    bool stop;         /* stop at the next call-back */
    bool swap;         /* at a refusal: unsubscribe and subscribe again */
    const char *again; /* at an end of this channel: subscribe it again */
    struct redis_hello hello;
    bool will_not_do, stop_at_hello;
};

static void on_message(void *ctx, const char *pattern, size_t pattern_len, const char *channel,
                       size_t channel_len, const char *payload, size_t payload_len)
{
    struct talk *t = ctx;
    buf_printf(&t->heard, "msg %.*s %.*s %.*s\n", (int)pattern_len, pattern ? pattern : "",
               (int)channel_len, channel, (int)payload_len, payload);
    if (t->stop)
        redis_proto_stop(t->p);
}

static void on_acked(void *ctx, enum source_sub kind, const char *name, size_t len, bool on)
{
    struct talk *t = ctx;
    buf_printf(&t->heard, "%s %s %.*s\n", on ? "on" : "off", kind ? "pattern" : "channel", (int)len,
               name);
    if (!on && t->again != NULL)
        assert_int_equal(redis_proto_subscribe(t->p, kind, t->again, strlen(t->again)), 0);
    if (t->stop)
        redis_proto_stop(t->p);
}

static void on_refused(void *ctx, enum source_sub kind, const char *name, size_t len,
                       const char *error)
{
    struct talk *t = ctx;
    if (t->swap) {
        redis_proto_unsubscribe(t->p, kind, name, len);
        assert_int_equal(redis_proto_subscribe(t->p, kind, name, len), 0);
    }
    buf_printf(&t->heard, "refused %s %.*s %s\n", kind ? "pattern" : "channel", (int)len, name,
               error);
}

static int on_hello(void *owner, const struct redis_hello *hello, const char **why)
{
    struct talk *t = owner;
    t->hello = *hello;
    *why = "it will not do";
    if (t->stop_at_hello)
        redis_proto_stop(t->p);
    return t->will_not_do ? ERR_INVALID : ERR_OK;
}

static void on_ready(void *owner)
{
    struct talk *t = owner;
    buf_str(&t->heard, "ready\n");
}

static const struct source_events events = {
    .on_message = on_message, .on_acked = on_acked, .on_refused = on_refused};

static void talk_start(struct talk *t, const char *user, const char *password)
{
    *t = (struct talk){.heard = BUF_INIT};
    const struct redis_proto_options options = {.user = user,
                                                .password = password,
                                                .events = &events,
                                                .ctx = t,
                                                .on_hello = on_hello,
                                                .on_ready = on_ready,
                                                .owner = t};
    t->p = redis_proto_create(&options);
    assert_non_null(t->p);
}

static void talk_end(struct talk *t)
{
    redis_proto_destroy(t->p);
    buf_finish(&t->heard);
}

static void on(struct talk *t, enum source_sub kind, const char *name)
{
    assert_int_equal(redis_proto_subscribe(t->p, kind, name, strlen(name)), 0);
}

static void off(struct talk *t, enum source_sub kind, const char *name)
{
    redis_proto_unsubscribe(t->p, kind, name, strlen(name));
}

static int feed(struct talk *t, const char *s)
{
    return redis_proto_feed(t->p, s, strlen(s));
}

static void sent(struct talk *t, const char *text)
{
    assert_string_equal(buf_cstr(redis_proto_out(t->p)), text);
    buf_reset(redis_proto_out(t->p));
}

static void heard(struct talk *t, const char *text)
{
    assert_string_equal(buf_cstr(&t->heard), text);
    buf_reset(&t->heard);
}

#define HELLO "*2\r\n$5\r\nHELLO\r\n$1\r\n2\r\n"
#define INFO "*1\r\n$4\r\nINFO\r\n"
#define HELLO_IS(mode_len, mode, role_len, role)                                                   \
    "*14\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n$5\r\nproto\r\n:2\r\n" \
    "$2\r\nid\r\n:7\r\n$4\r\nmode\r\n$" mode_len "\r\n" mode "\r\n$4\r\nrole\r\n$" role_len        \
    "\r\n" role                                                                                    \
    "\r\n$7\r\nmodules\r\n*1\r\n*4\r\n$4\r\nname\r\n$2\r\nbf\r\n$3\r\nver\r\n:999999\r\n"
#define HELLO_OK HELLO_IS("10", "standalone", "6", "master")
#define PING "*1\r\n$4\r\nPING\r\n"
#define CMD(verb_len, verb, name_len, name)                                                        \
    "*2\r\n$" verb_len "\r\n" verb "\r\n$" name_len "\r\n" name "\r\n"
#define SUB_A CMD("9", "SUBSCRIBE", "1", "a")
#define UNSUB_A CMD("11", "UNSUBSCRIBE", "1", "a")
#define PSUB_B CMD("10", "PSUBSCRIBE", "2", "b*")
#define ON_A "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n"
#define OFF_A "*3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:0\r\n"
#define ON_B "*3\r\n$10\r\npsubscribe\r\n$2\r\nb*\r\n:2\r\n"
#define PONG2 "*2\r\n$4\r\npong\r\n$0\r\n\r\n"
#define NOPERM "-NOPERM not yours\r\n"

/* Connected and greeted; what is wanted waits to be sent. */
static void begin(struct talk *t)
{
    assert_int_equal(redis_proto_begin(t->p), 0);
    sent(t, HELLO);
    assert_int_equal(feed(t, HELLO_OK), 0);
}

static void begin_up(struct talk *t)
{
    begin(t);
    sent(t, PING);
    assert_int_equal(feed(t, "+PONG\r\n"), 0);
    heard(t, "ready\n");
}

static void login(void **state)
{
    (void)state;
    struct talk t;
    talk_start(&t, "joe", "secret");
    on(&t, SOURCE_CHANNEL, "a");
    assert_int_equal(redis_proto_begin(t.p), 0);
    on(&t, SOURCE_PATTERN, "b*"); /* has to wait */
    redis_proto_ping(t.p);
    sent(&t, "*3\r\n$4\r\nAUTH\r\n$3\r\njoe\r\n$6\r\nsecret\r\n" HELLO);
    assert_int_equal(feed(&t, "+OK\r\n" HELLO_OK), 0);
    sent(&t, SUB_A PSUB_B PING);
    assert_int_equal(feed(&t, ON_A ON_B PONG2), 0);
    heard(&t, "on channel a\non pattern b*\nready\n");
    assert_int_equal(t.hello.kind, REDIS_STANDALONE);
    assert_int_equal(t.hello.role, REDIS_MASTER);
    talk_end(&t);

    talk_start(&t, NULL, "secret");
    assert_int_equal(redis_proto_begin(t.p), 0);
    sent(&t, "*2\r\n$4\r\nAUTH\r\n$6\r\nsecret\r\n" HELLO);
    assert_int_equal(feed(&t, "+OK\r\n" HELLO_OK "+PONG\r\n"), 0);
    sent(&t, PING);
    heard(&t, "ready\n");
    talk_end(&t);
}

/* What servers of all ages say of themselves. */
static void greetings(void **state)
{
    (void)state;
    static const struct {
        const char *replies;
        enum redis_kind kind;
        enum redis_role role;
        bool asks_info;
    } cases[] = {
        {HELLO_IS("7", "cluster", "7", "replica"), REDIS_CLUSTER_NODE, REDIS_REPLICA, false},
        {HELLO_IS("8", "sentinel", "6", "master"), REDIS_SENTINEL, REDIS_MASTER, false},
        {HELLO_IS("5", "other", "4", "none"), REDIS_KIND_UNKNOWN, REDIS_ROLE_UNKNOWN, false},
        {"*3\r\n$4\r\nmode\r\n$7\r\ncluster\r\n$4\r\nrole\r\n", REDIS_CLUSTER_NODE,
         REDIS_ROLE_UNKNOWN, false},
        {"-ERR unknown command 'HELLO'\r\n"
         "$62\r\n# Server\r\nredis_mode:cluster\r\nx\r\n\r\n:\r\nrole:slave\r\nrole2:master\r\n",
         REDIS_CLUSTER_NODE, REDIS_REPLICA, true},
        {"-NOPROTO no\r\n$33\r\nrole:master\nredis_mode:standalone\r\n", REDIS_STANDALONE,
         REDIS_MASTER, true},
        {"-ERR unknown command\r\n-ERR unknown command\r\n", REDIS_KIND_UNKNOWN, REDIS_ROLE_UNKNOWN,
         true},
        {"-ERR unknown command\r\n$0\r\n\r\n", REDIS_KIND_UNKNOWN, REDIS_ROLE_UNKNOWN, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct talk t;
        talk_start(&t, NULL, NULL);
        on(&t, SOURCE_CHANNEL, "a");
        assert_int_equal(redis_proto_begin(t.p), 0);
        assert_int_equal(feed(&t, cases[i].replies), 0);
        sent(&t, cases[i].asks_info ? HELLO INFO SUB_A PING : HELLO SUB_A PING);
        assert_int_equal(t.hello.kind, cases[i].kind);
        assert_int_equal(t.hello.role, cases[i].role);
        assert_int_equal(feed(&t, ON_A PONG2), 0);
        heard(&t, "on channel a\nready\n");
        talk_end(&t);
    }
}

static void a_greeting_that_is_not_liked(void **state)
{
    (void)state;
    struct talk t;
    talk_start(&t, NULL, NULL);
    on(&t, SOURCE_CHANNEL, "a");
    assert_int_equal(redis_proto_begin(t.p), 0);
    t.will_not_do = true;
    assert_int_equal(feed(&t, HELLO_OK), ERR_AGAIN);
    assert_string_equal(redis_proto_reason(t.p), "it will not do");
    sent(&t, HELLO);
    redis_proto_end(t.p);
    t.will_not_do = false;
    t.stop_at_hello = true;
    assert_int_equal(redis_proto_begin(t.p), 0);
    assert_int_equal(feed(&t, HELLO_OK ON_A), ERR_CLOSED);
    heard(&t, "");
    talk_end(&t);
}

static void messages(void **state)
{
    (void)state;
    struct talk t;
    talk_start(&t, NULL, NULL);
    on(&t, SOURCE_CHANNEL, "a");
    begin(&t);
    assert_int_equal(feed(&t, ON_A PONG2 "*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\nhi\r\n"
                                         "*4\r\n$8\r\npmessage\r\n$2\r\nb*\r\n$2\r\nbc\r\n$0\r\n"
                                         "\r\n*3\r\n$8\r\nsmessage\r\n$1\r\na\r\n$1\r\nx\r\n"
                                         "*5\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n"),
                     0);
    heard(&t, "on channel a\nready\nmsg  a hi\nmsg b* bc \n");
    assert_int_equal(feed(&t, ":1\r\n"), ERR_INVALID);
    assert_true(strlen(redis_proto_reason(t.p)) > 10);
    talk_end(&t);
}

/* One command per name at a time, and the last wish counts. */
static void wishes_meanwhile(void **state)
{
    (void)state;
    struct talk t;
    talk_start(&t, NULL, NULL);
    begin_up(&t);
    on(&t, SOURCE_CHANNEL, "a");
    on(&t, SOURCE_CHANNEL, "a");
    sent(&t, SUB_A);
    off(&t, SOURCE_CHANNEL, "a");
    sent(&t, "");
    assert_int_equal(feed(&t, ON_A), 0);
    heard(&t, "on channel a\n");
    sent(&t, UNSUB_A);
    on(&t, SOURCE_CHANNEL, "a");
    off(&t, SOURCE_CHANNEL, "a");
    on(&t, SOURCE_CHANNEL, "a");
    sent(&t, "");
    assert_int_equal(feed(&t, OFF_A), 0);
    sent(&t, SUB_A);
    assert_int_equal(feed(&t, ON_A ON_A), 0);
    heard(&t, "off channel a\non channel a\n");
    off(&t, SOURCE_CHANNEL, "a");
    sent(&t, UNSUB_A);
    t.again = "a";
    assert_int_equal(feed(&t, OFF_A), 0);
    heard(&t, "off channel a\n");
    sent(&t, SUB_A);
    t.again = NULL;
    assert_int_equal(feed(&t, ON_A), 0);
    off(&t, SOURCE_CHANNEL, "a");
    assert_int_equal(feed(&t, OFF_A), 0);
    assert_int_equal(redis_proto_names(t.p), 0);
    off(&t, SOURCE_CHANNEL, "nobody wants this");
    talk_end(&t);
}

/* An end nobody asked for is reported and mended. */
static void unasked_end(void **state)
{
    (void)state;
    struct talk t;
    talk_start(&t, NULL, NULL);
    begin_up(&t);
    on(&t, SOURCE_CHANNEL, "a");
    assert_int_equal(feed(&t, ON_A), 0);
    sent(&t, SUB_A);
    assert_int_equal(feed(&t, OFF_A), 0);
    heard(&t, "on channel a\noff channel a\n");
    sent(&t, SUB_A);
    talk_end(&t);
}

static void refusals(void **state)
{
    (void)state;
    struct talk t;
    talk_start(&t, NULL, NULL);
    on(&t, SOURCE_CHANNEL, "a");
    on(&t, SOURCE_PATTERN, "b*");
    begin(&t);
    assert_int_equal(feed(&t, NOPERM ON_B PONG2), 0);
    heard(&t, "refused channel a NOPERM not yours\non pattern b*\nready\n");
    assert_true(redis_proto_refused(t.p));
    buf_reset(redis_proto_out(t.p));
    on(&t, SOURCE_CHANNEL, "a");
    sent(&t, "");
    redis_proto_retry(t.p);
    assert_false(redis_proto_refused(t.p));
    sent(&t, SUB_A);
    assert_int_equal(feed(&t, NOPERM), 0);
    heard(&t, "refused channel a NOPERM not yours\n");
    off(&t, SOURCE_CHANNEL, "a");
    assert_false(redis_proto_refused(t.p));
    assert_int_equal(redis_proto_names(t.p), 1);

    on(&t, SOURCE_CHANNEL, "a");
    sent(&t, SUB_A);
    off(&t, SOURCE_CHANNEL, "a");
    assert_int_equal(feed(&t, NOPERM), 0); /* refused when nobody wants it any more */
    heard(&t, "refused channel a NOPERM not yours\n");
    assert_int_equal(redis_proto_names(t.p), 1);

    on(&t, SOURCE_CHANNEL, "a");
    t.swap = true;
    assert_int_equal(feed(&t, NOPERM), 0);
    sent(&t, SUB_A SUB_A);
    assert_int_equal(feed(&t, ON_A), 0);
    heard(&t, "refused channel a NOPERM not yours\non channel a\n");
    talk_end(&t);
}

/* What the server keeps although it should end it: tried again, without a report. */
static void refused_unsubscribe(void **state)
{
    (void)state;
    struct talk t;
    talk_start(&t, NULL, NULL);
    begin_up(&t);
    on(&t, SOURCE_CHANNEL, "a");
    assert_int_equal(feed(&t, ON_A), 0);
    off(&t, SOURCE_CHANNEL, "a");
    sent(&t, SUB_A UNSUB_A);
    assert_int_equal(feed(&t, "-BUSY a script runs\r\n"), 0);
    redis_proto_retry(t.p);
    sent(&t, UNSUB_A);
    assert_int_equal(feed(&t, "-BUSY a script runs\r\n"), 0);
    on(&t, SOURCE_CHANNEL, "a");
    assert_false(redis_proto_refused(t.p));
    sent(&t, "");
    heard(&t, "on channel a\n");
    talk_end(&t);
}

static void login_errors(void **state)
{
    (void)state;
    static const struct {
        const char *reply;
        int code;
        const char *reason;
    } cases[] = {
        {"-WRONGPASS invalid username-password pair or user is disabled.\r\n", ERR_DENIED,
         "WRONGPASS"},
        {"-ERR invalid password\r\n", ERR_DENIED, "invalid password"},
        {"-ERR AUTH <password> called without any password configured for the default user.\r\n",
         ERR_DENIED, "requirepass"},
        {"-ERR Client sent AUTH, but no password is set\r\n", ERR_DENIED, "requirepass"},
        {"-ERR wrong number of arguments for 'auth' command\r\n", ERR_DENIED, "Redis 6"},
        {"-ERR unknown command `AUTH`, with args beginning with: `s3cret`\r\n", ERR_DENIED,
         "AUTH refused"},
        {"-DENIED Redis is running in protected mode\r\n", ERR_DENIED, "protected mode"},
        {"-ERR max number of clients reached\r\n", ERR_AGAIN, "maxclients"},
        {"+OK\r\n-LOADING Redis is loading the dataset in memory\r\n", ERR_AGAIN, "LOADING"},
        {"+OK\r\n-MASTERDOWN Link with MASTER is down\r\n", ERR_AGAIN, "MASTERDOWN"},
        {"+OK\r\n-NOAUTH Authentication required.\r\n", ERR_DENIED, "NOAUTH"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct talk t;
        talk_start(&t, NULL, "s3cret");
        on(&t, SOURCE_CHANNEL, "a");
        assert_int_equal(redis_proto_begin(t.p), 0);
        assert_int_equal(feed(&t, cases[i].reply), cases[i].code);
        assert_non_null(strstr(redis_proto_reason(t.p), cases[i].reason));
        assert_null(strstr(redis_proto_reason(t.p), "s3cret"));
        heard(&t, "");
        redis_proto_end(t.p);
        assert_int_equal(redis_proto_names(t.p), 1);
        talk_end(&t);
    }
}

static void refused_ping_is_a_sign_of_life(void **state)
{
    (void)state;
    struct talk t;
    talk_start(&t, NULL, NULL);
    begin(&t);
    assert_int_equal(feed(&t, "-NOPERM no permissions to run the 'ping' command\r\n"), 0);
    heard(&t, "ready\n");
    buf_reset(redis_proto_out(t.p));
    redis_proto_ping(t.p);
    redis_proto_ping(t.p);
    sent(&t, PING);
    assert_int_equal(feed(&t, PONG2), 0);
    redis_proto_ping(t.p);
    sent(&t, PING);
    heard(&t, "");
    talk_end(&t);
}

static void out_of_step(void **state)
{
    (void)state;
    static const char *const replies[] = {PONG2, "+OK\r\n", "$1\r\na\r\n", "*-1\r\n", "nonsense"};
    for (size_t i = 0; i < sizeof replies / sizeof replies[0]; i++) {
        struct talk t;
        talk_start(&t, NULL, NULL);
        on(&t, SOURCE_CHANNEL, "a");
        begin(&t);
        assert_int_equal(feed(&t, replies[i]), ERR_INVALID);
        assert_true(strlen(redis_proto_reason(t.p)) > 10);
        talk_end(&t);
    }
    struct talk t;
    talk_start(&t, NULL, NULL);
    begin_up(&t);
    assert_int_equal(feed(&t, "-ERR out of the blue\r\n"), ERR_INVALID);
    assert_non_null(strstr(redis_proto_reason(t.p), "out of the blue"));
    talk_end(&t);
}

static void stop_within_a_feed(void **state)
{
    (void)state;
    struct talk t;
    talk_start(&t, NULL, NULL);
    on(&t, SOURCE_CHANNEL, "a");
    begin(&t);
    t.stop = true;
    assert_int_equal(feed(&t, ON_A PONG2 "*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\nhi\r\n"),
                     ERR_CLOSED);
    heard(&t, "on channel a\n");
    assert_int_equal(feed(&t, PONG2), ERR_CLOSED);
    heard(&t, "");
    talk_end(&t);
}

static void everything_again_after_an_end(void **state)
{
    (void)state;
    struct talk t;
    talk_start(&t, NULL, NULL);
    on(&t, SOURCE_CHANNEL, "a");
    on(&t, SOURCE_PATTERN, "b*");
    begin(&t);
    assert_int_equal(feed(&t, ON_A "-NOPERM\r\n*2\r\n$4\r\npo"), 0);
    redis_proto_end(t.p);
    assert_false(redis_proto_refused(t.p));
    off(&t, SOURCE_CHANNEL, "a");
    begin(&t);
    sent(&t, PSUB_B PING);
    assert_int_equal(feed(&t, ON_B PONG2), 0);
    heard(&t, "on channel a\nrefused pattern b* NOPERM\non pattern b*\nready\n");
    talk_end(&t);
}

int main(void)
{
    log_setup(LOG_ERROR, LOG_TEXT);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(login),
        cmocka_unit_test(greetings),
        cmocka_unit_test(a_greeting_that_is_not_liked),
        cmocka_unit_test(messages),
        cmocka_unit_test(wishes_meanwhile),
        cmocka_unit_test(unasked_end),
        cmocka_unit_test(refusals),
        cmocka_unit_test(refused_unsubscribe),
        cmocka_unit_test(login_errors),
        cmocka_unit_test(refused_ping_is_a_sign_of_life),
        cmocka_unit_test(out_of_step),
        cmocka_unit_test(stop_within_a_feed),
        cmocka_unit_test(everything_again_after_an_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
