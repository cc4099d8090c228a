/* The directory that asks Sentinels, with Sentinels that say whatever the test wants. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "tickerd/base/log.h"
#include "where_rig.h"

enum { SENTINELS = 3 };

#define ADDRESS(port) "*2\r\n$9\r\n127.0.0.1\r\n$4\r\n" port "\r\n"
#define NOBODY "*-1\r\n"
#define SUBSCRIBED "*3\r\n$9\r\nsubscribe\r\n$14\r\n+switch-master\r\n:1\r\n"
#define SWITCH_TO(port)                                                                            \
    "*3\r\n$7\r\nmessage\r\n$14\r\n+switch-master\r\n$31\r\nm 127.0.0.1 1111 127.0.0.1 " port "\r" \
    "\n"
#define ASKED "get-master-addr-by-name m\n"
#define WATCHED "SUBSCRIBE +switch-master\n"

struct office {
    struct where_rig w;
    struct fake_redis at[SENTINELS];
    const char *says[SENTINELS]; /* where the master is */
    const char *to_subscribe;
    const char *to_auth;
};

static const char *answer(struct fake_redis *f, const char *command)
{
    struct office *o = f->ctx;
    if (strncmp(command, "SENTINEL", 8) == 0)
        return o->says[f - o->at];
    if (strncmp(command, "SUBSCRIBE", 9) == 0)
        return o->to_subscribe;
    if (strncmp(command, "AUTH", 4) == 0)
        return o->to_auth;
    assert_string_equal(command, "PING");
    return "*2\r\n$4\r\npong\r\n$0\r\n\r\n";
}

static void office_open(struct office *o, char *password)
{
    static const struct redis_url data = {.addr = {.host = "unused"}};
    static char user[] = "joe";
    struct redis_url urls[SENTINELS];
    *o = (struct office){.to_subscribe = SUBSCRIBED, .to_auth = "+OK\r\n"};
    where_init(&o->w);
    for (int i = 0; i < SENTINELS; i++) {
        o->says[i] = ADDRESS("1111");
        fake_redis_start(&o->at[i], &o->w.loop, answer, o);
        urls[i] = (struct redis_url){.addr = fake_redis_addr(&o->at[i])};
        if (password != NULL) {
            urls[i].user = user;
            urls[i].password = password;
        }
    }
    struct redis_options options = {
        .url = &data, .sentinels = urls, .sentinel_count = SENTINELS, .master = "m"};
    where_start(&o->w, &options);
}

static void office_close(struct office *o)
{
    for (int i = 0; i < SENTINELS; i++)
        fake_redis_stop(&o->at[i]);
    where_finish(&o->w);
}

static size_t heard(struct office *o, const char *command)
{
    size_t n = 0;
    for (int i = 0; i < SENTINELS; i++)
        n += fake_redis_heard(&o->at[i], command);
    return n;
}

static void asked_in_turn(void **state)
{
    (void)state;
    struct office o;
    office_open(&o, NULL);
    o.says[0] = "-IDONTKNOW I have not enough information to reply\r\n";
    o.says[1] = NULL; /* silent */
    o.says[2] = ADDRESS("2222");
    assert_int_equal(where_ask(&o.w), 2222);
    assert_int_equal(fake_redis_heard(&o.at[0], ASKED), 1);
    assert_int_equal(fake_redis_heard(&o.at[1], ASKED), 1);
    /* Who answered is asked first from now on. */
    o.says[0] = o.says[1] = o.says[2];
    size_t before = o.at[2].commands;
    assert_int_equal(where_ask(&o.w), 2222);
    assert_true(o.at[2].commands > before);
    assert_int_equal(fake_redis_heard(&o.at[0], ASKED), 1);
    office_close(&o);
}

static void answers_that_are_none(void **state)
{
    (void)state;
    static const char *const answers[] = {"+OK\r\n",
                                          "*2\r\n$1\r\nh\r\n$1\r\nx\r\n",
                                          ":1\r\n",
                                          "nonsense\r\n",
                                          "*1000000000\r\n",
                                          "",
                                          NULL,
                                          "-ERR no\r\n",
                                          "-LOADING x\r\n"};
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
        struct office o;
        office_open(&o, NULL);
        for (int k = 0; k < SENTINELS; k++)
            o.says[k] = answers[i];
        assert_int_equal(where_ask(&o.w), 0);
        assert_non_null(strstr(o.w.why, "no Sentinel can say where the master m is"));
        assert_int_equal(heard(&o, ASKED), SENTINELS);
        for (int k = 0; k < SENTINELS; k++)
            o.says[k] = ADDRESS("2222");
        assert_int_equal(where_ask(&o.w), 2222);
        office_close(&o);
    }
}

static void a_name_nobody_knows(void **state)
{
    (void)state;
    struct office o;
    office_open(&o, NULL);
    o.says[0] = o.says[2] = NOBODY;
    o.says[1] = "-ERR no\r\n";
    assert_int_equal(where_ask(&o.w), 0);
    assert_string_equal(o.w.why, "2 of 3 Sentinels know no master named \"m\": check redis.master");
    office_close(&o);
}

static void logins(void **state)
{
    (void)state;
    char s3cret[] = "s3cret";
    struct office o;
    office_open(&o, s3cret);
    assert_int_equal(where_ask(&o.w), 1111);
    assert_int_equal(fake_redis_heard(&o.at[0], "AUTH joe s3cret\nSENTINEL " ASKED), 1);
    WHERE_UNTIL(&o.w, heard(&o, "AUTH joe s3cret\n" WATCHED) == 1);
    office_close(&o);

    office_open(&o, s3cret);
    o.to_auth = "-WRONGPASS s3cret is wrong\r\n";
    assert_int_equal(where_ask(&o.w), 0);
    assert_non_null(strstr(o.w.why, "login refused: WRONGPASS; check user and password in "
                                    "redis.sentinels"));
    assert_null(strstr(o.w.why, "s3cret"));
    office_close(&o);

    office_open(&o, NULL);
    for (int k = 0; k < SENTINELS; k++)
        o.says[k] = "-NOAUTH Authentication required.\r\n";
    assert_int_equal(where_ask(&o.w), 0);
    assert_non_null(strstr(o.w.why, "login refused: NOAUTH"));
    office_close(&o);
}

static void a_switch_is_announced(void **state)
{
    (void)state;
    struct office o;
    office_open(&o, NULL);
    assert_int_equal(where_ask(&o.w), 1111);
    WHERE_UNTIL(&o.w, heard(&o, WATCHED) == 1);
    where_run(&o.w, 50);
    fake_redis_push(&o.at[0], SWITCH_TO("1111")); /* no news */
    fake_redis_push(&o.at[0], "*3\r\n$7\r\nmessage\r\n$14\r\n+switch-master\r\n$1\r\nm\r\n");
    where_run(&o.w, 50);
    assert_int_equal(o.w.seen[WHERE_CHANGED], 0);
    for (int k = 0; k < SENTINELS; k++)
        o.says[k] = ADDRESS("2222");
    fake_redis_push(&o.at[0], SWITCH_TO("2222"));
    WHERE_UNTIL(&o.w, o.w.seen[WHERE_CHANGED] == 1);
    assert_non_null(strstr(o.w.why, "127.0.0.1:2222, not 127.0.0.1:1111"));
    assert_int_equal(where_ask(&o.w), 2222);
    where_run(&o.w, 600);
    assert_int_equal(o.w.seen[WHERE_CHANGED], 1);
    office_close(&o);
}

/* No message comes, but the answer changes; also while nobody is connected. */
static void a_switch_is_found_by_asking(void **state)
{
    (void)state;
    struct office o;
    office_open(&o, NULL);
    assert_int_equal(where_ask(&o.w), 1111);
    for (int k = 0; k < SENTINELS; k++)
        o.says[k] = ADDRESS("2222");
    WHERE_UNTIL(&o.w, o.w.seen[WHERE_CHANGED] == 1);
    assert_int_equal(where_ask(&o.w), 2222);
    office_close(&o);
}

static void silence_changes_nothing(void **state)
{
    (void)state;
    struct office o;
    office_open(&o, NULL);
    assert_int_equal(where_ask(&o.w), 1111);
    for (int k = 0; k < SENTINELS; k++)
        o.says[k] = k == 0 ? NULL : k == 1 ? "" : NOBODY;
    where_run(&o.w, 1500);
    assert_int_equal(o.w.seen[WHERE_CHANGED], 0);
    assert_true(heard(&o, ASKED) > SENTINELS);
    office_close(&o);
}

/* The one that is watched goes; another is watched, and asked at once. */
static void another_is_watched(void **state)
{
    (void)state;
    struct office o;
    office_open(&o, NULL);
    assert_int_equal(where_ask(&o.w), 1111);
    /* Not the one that is asked: so two of them are heard. */
    WHERE_UNTIL(&o.w, fake_redis_heard(&o.at[1], WATCHED) == 1);
    assert_int_equal(fake_redis_heard(&o.at[0], WATCHED), 0);
    fake_redis_stop(&o.at[1]);
    WHERE_UNTIL(&o.w, fake_redis_heard(&o.at[2], WATCHED) == 1);
    o.to_subscribe = "-NOPERM no\r\n";
    fake_redis_drop(&o.at[2]);
    WHERE_UNTIL(&o.w, fake_redis_heard(&o.at[0], WATCHED) >= 1);
    o.to_subscribe = SUBSCRIBED;
    WHERE_UNTIL(&o.w, heard(&o, "PING\n") > 2);
    assert_int_equal(o.w.seen[WHERE_CHANGED], 0);
    office_close(&o);
}

static void closed_in_a_call_back(void **state)
{
    (void)state;
    for (enum where_event at = WHERE_FOUND; at < WHERES; at++) {
        struct office o;
        office_open(&o, NULL);
        o.w.close_at = at;
        for (int k = 0; k < SENTINELS && at == WHERE_NONE; k++)
            o.says[k] = NOBODY;
        o.w.where->ops->ask(o.w.where);
        if (at == WHERE_CHANGED) {
            WHERE_UNTIL(&o.w, o.w.seen[WHERE_FOUND] == 1);
            for (int k = 0; k < SENTINELS; k++)
                o.says[k] = ADDRESS("2222");
        }
        WHERE_UNTIL(&o.w, o.w.closed);
        where_run(&o.w, 50);
        office_close(&o);
    }
}

static void who_will_do(void **state)
{
    (void)state;
    static const struct {
        struct redis_hello hello;
        const char *why; /* NULL: it will do */
    } cases[] = {
        {{REDIS_STANDALONE, REDIS_MASTER}, NULL},
        {{REDIS_KIND_UNKNOWN, REDIS_ROLE_UNKNOWN}, NULL},
        {{REDIS_STANDALONE, REDIS_REPLICA}, "it is a replica"},
        {{REDIS_SENTINEL, REDIS_ROLE_UNKNOWN}, "a Sentinel is the master"},
    };
    struct office o;
    office_open(&o, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *why = NULL;
        int rc = o.w.where->ops->greeted(o.w.where, &cases[i].hello, &why);
        assert_int_equal(rc == 0, cases[i].why == NULL);
        if (rc != 0)
            assert_non_null(strstr(why, cases[i].why));
    }
    office_close(&o);
}

int main(void)
{
    log_setup(LOG_ERROR, LOG_TEXT);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(asked_in_turn),           cmocka_unit_test(answers_that_are_none),
        cmocka_unit_test(a_name_nobody_knows),     cmocka_unit_test(logins),
        cmocka_unit_test(a_switch_is_announced),   cmocka_unit_test(a_switch_is_found_by_asking),
        cmocka_unit_test(silence_changes_nothing), cmocka_unit_test(another_is_watched),
        cmocka_unit_test(closed_in_a_call_back),   cmocka_unit_test(who_will_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
