#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/net/redis_publish.h"
#include "fake_redis.h"
#include "redis_rig.h"

enum { TIMEOUT = 250, MANY = 100 };

/* What became of what was published, in order. */
struct outcome {
    size_t count;
    long long receivers; /* of the last one */
    char error[700];     /* the last one; "" */
    size_t failed;
    bool again;
};

struct rig {
    uv_loop_t loop;
    uv_timer_t beat;
    struct fake_redis fake;
    const char *says;
    struct redis_url url;
    struct redis_publisher *publisher;
    bool destroyed;
    struct outcome out;
};

static struct rig *current;

static void send_text(struct rig *r, const char *channel, const char *payload);

static void done(void *ctx, long long receivers, const char *error)
{
    struct outcome *o = ctx;
    o->count++;
    o->receivers = receivers;
    o->failed += error != NULL;
    assert_int_equal(receivers < 0, error != NULL);
    (void)snprintf(o->error, sizeof o->error, "%s", error == NULL ? "" : error);
    if (!o->again)
        return;
    o->again = false;
    send_text(current, "again", "x");
}

static void send_text(struct rig *r, const char *channel, const char *payload)
{
    redis_publisher_send(r->publisher, channel, strlen(channel), payload, strlen(payload), done,
                         &r->out);
}

static const char *answer(struct fake_redis *f, const char *command)
{
    struct rig *r = f->ctx;
    if (strncmp(command, "AUTH", 4) == 0)
        return strcmp(command, "AUTH joe secret") == 0 ? "+OK\r\n" : "-WRONGPASS 'secret' no\r\n";
    return r->says;
}

static void on_beat(uv_timer_t *beat)
{
    (void)beat;
}

static void begin(struct rig *r, char *password)
{
    static char user[] = "joe";
    *r = (struct rig){.says = ":3\r\n"};
    current = r;
    assert_true(signal(SIGPIPE, SIG_IGN) != SIG_ERR);
    assert_int_equal(uv_loop_init(&r->loop), 0);
    assert_int_equal(uv_timer_init(&r->loop, &r->beat), 0);
    assert_int_equal(uv_timer_start(&r->beat, on_beat, 2, 2), 0);
    fake_redis_start(&r->fake, &r->loop, answer, r);
    struct redis_url url = {.user = password == NULL ? NULL : user, .password = password};
    struct redis_options options = {.url = &url, .ping_timeout_ms = TIMEOUT};
    r->publisher = redis_publisher_create(&r->loop, &options);
    assert_non_null(r->publisher);
}

static void start(struct rig *r, const struct fake_redis *at)
{
    struct addr addr = fake_redis_addr(at);
    redis_publisher_start(r->publisher, &addr);
}

static void end(struct rig *r)
{
    if (!r->destroyed)
        redis_publisher_destroy(r->publisher);
    fake_redis_stop(&r->fake);
    uv_close((uv_handle_t *)&r->beat, NULL);
    (void)uv_run(&r->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&r->loop), 0);
}

static void says(const struct rig *r, const char *part)
{
    if (strstr(r->out.error, part) == NULL)
        fail_msg("\"%s\" is not in \"%s\"", part, r->out.error);
}

static void is_published_and_counted(void **state)
{
    (void)state;
    struct rig r;
    begin(&r, NULL);
    start(&r, &r.fake);
    assert_null(r.fake.clients); /* only when there is something */
    send_text(&r, "sse:news", "hello");
    assert_int_equal(r.out.count, 0);
    RIG_UNTIL(&r, r.out.count == 1);
    assert_int_equal(r.out.receivers, 3);
    assert_string_equal(r.out.error, "");
    assert_int_equal(fake_redis_heard(&r.fake, "PUBLISH sse:news hello\n"), 1);
    assert_non_null(r.fake.clients);
    RIG_UNTIL(&r, r.fake.clients == NULL); /* idle for a while */
    send_text(&r, "sse:news", "hello");
    RIG_UNTIL(&r, r.out.count == 2);
    assert_int_equal(r.out.failed, 0);
    end(&r);
}

static void the_user_logs_in(void **state)
{
    (void)state;
    struct rig r;
    char right[] = "secret", wrong[] = "sesame";
    begin(&r, right);
    start(&r, &r.fake);
    send_text(&r, "a", "x");
    RIG_UNTIL(&r, r.out.count == 1);
    assert_int_equal(r.out.receivers, 3);
    end(&r);
    begin(&r, wrong);
    start(&r, &r.fake);
    send_text(&r, "a", "x");
    RIG_UNTIL(&r, r.out.count == 1);
    says(&r, "login refused: WRONGPASS");
    says(&r, "redis.url");
    assert_null(strstr(r.out.error, "secret"));
    assert_null(strstr(r.out.error, wrong));
    end(&r);
}

static void while_redis_is_away(void **state)
{
    (void)state;
    struct rig r;
    begin(&r, NULL);
    send_text(&r, "a", "x");
    assert_int_equal(r.out.count, 1);
    says(&r, "Redis is away (not connected yet)");
    start(&r, &r.fake);
    r.says = NULL;
    send_text(&r, "a", "x");
    send_text(&r, "a", "y");
    RIG_UNTIL(&r, r.fake.commands == 2);
    redis_publisher_stop(r.publisher, "reset by peer");
    assert_int_equal(r.out.failed, 3);
    says(&r, "Redis has not confirmed that it was published: reset by peer.");
    send_text(&r, "a", "x");
    assert_int_equal(r.out.failed, 4);
    says(&r, "Redis is away (reset by peer)");
    end(&r);
    assert_int_equal(r.out.count, 4);
}

/* It goes where the subscriptions are. */
static void after_a_failover(void **state)
{
    (void)state;
    struct rig r;
    struct fake_redis other;
    begin(&r, NULL);
    fake_redis_start(&other, &r.loop, answer, &r);
    start(&r, &r.fake);
    send_text(&r, "a", "x");
    RIG_UNTIL(&r, r.out.count == 1);
    redis_publisher_stop(r.publisher, "failover");
    start(&r, &other);
    send_text(&r, "a", "y");
    RIG_UNTIL(&r, r.out.count == 2);
    assert_int_equal(r.out.failed, 0);
    assert_int_equal(fake_redis_heard(&other, "PUBLISH a y\n"), 1);
    assert_int_equal(r.fake.commands, 1);
    fake_redis_stop(&other);
    end(&r);
}

static void silence_and_hanging_up(void **state)
{
    (void)state;
    struct rig r;
    begin(&r, NULL);
    start(&r, &r.fake);
    r.says = NULL;
    send_text(&r, "a", "x");
    send_text(&r, "a", "x");
    RIG_UNTIL(&r, r.out.count == 2);
    assert_int_equal(r.out.failed, 2);
    says(&r, "no answer within 250 ms");
    r.says = "";
    r.out.again = true; /* asked for by who learns of a failure: a new attempt */
    send_text(&r, "a", "x");
    RIG_UNTIL(&r, r.out.count == 4);
    assert_int_equal(r.out.failed, 4);
    assert_int_equal(fake_redis_heard(&r.fake, "PUBLISH again x\n"), 1);
    r.says = "+OK\r\n";
    send_text(&r, "a", "x");
    RIG_UNTIL(&r, r.out.count == 5);
    says(&r, "something unknown");
    r.says = ":0\r\n";
    send_text(&r, "a", "x");
    RIG_UNTIL(&r, r.out.count == 6);
    assert_int_equal(r.out.receivers, 0);
    end(&r);
}

static void refusals(void **state)
{
    (void)state;
    struct rig r;
    begin(&r, NULL);
    start(&r, &r.fake);
    r.says = "-NOPERM this user has no permissions\r\n";
    send_text(&r, "a", "x");
    RIG_UNTIL(&r, r.out.count == 1);
    says(&r, "NOPERM");
    says(&r, "+publish");
    r.says = "-ERR unknown command 'PUBLISH' \xff\x01\x80\r\n";
    send_text(&r, "a", "x");
    RIG_UNTIL(&r, r.out.count == 2);
    assert_string_equal(r.out.error,
                        "Redis refuses to publish it: ERR unknown command 'PUBLISH' ???");
    r.says = "-LOADING Redis is loading\r\n";
    send_text(&r, "a", "x");
    RIG_UNTIL(&r, r.out.count == 3);
    says(&r, "not served: LOADING");
    end(&r);
}

/* What is under way is done with, and its memory is nobody's, whenever that is. */
static void destroyed_meanwhile(void **state)
{
    (void)state;
    for (int moment = 0; moment < 2; moment++) {
        struct rig r;
        begin(&r, NULL);
        start(&r, &r.fake);
        r.says = NULL;
        send_text(&r, "a", "x");
        RIG_UNTIL(&r, moment == 0 || r.fake.commands == 1);
        redis_publisher_destroy(r.publisher);
        r.destroyed = true;
        assert_int_equal(r.out.failed, 1);
        says(&r, "tickerd is stopping");
        end(&r);
        assert_int_equal(r.out.count, 1);
    }
}

/* More than may wait for Redis' word is refused at once. */
static void a_line_that_stands_still(void **state)
{
    (void)state;
    struct rig r;
    begin(&r, NULL);
    start(&r, &r.fake);
    r.says = NULL;
    size_t len = 1024 * 1024, sent = 0;
    char *big = calloc(1, len);
    assert_non_null(big);
    while (r.out.count == 0 && ++sent < 1000)
        redis_publisher_send(r.publisher, "a", 1, big, len, done, &r.out);
    assert_int_equal(sent, 65);
    says(&r, "Too many messages");
    free(big);
    end(&r);
    assert_int_equal(r.out.count, sent);
}

/* ---- a real server --------------------------------------------------------------------------- */

static struct rig_server server;

static int start_server(void **state)
{
    (void)state;
    rig_server_start(&server);
    return 0;
}

static int stop_server(void **state)
{
    (void)state;
    rig_server_stop(&server);
    return 0;
}

static void publish(struct rig_client *c, struct outcome *o, const char *channel,
                    const char *payload, size_t len)
{
    c->source->ops->publish(c->source, channel, strlen(channel), payload, len, done, o);
}

static void connect_to(struct rig_client *c, const char *url)
{
    rig_client_start(c, url, 500, 3000);
    rig_on(c, SOURCE_CHANNEL, "news");
    assert_int_equal(c->source->ops->start(c->source), 0);
    RIG_UNTIL(c, c->up);
}

static void bytes_of_every_kind(void **state)
{
    (void)state;
    struct rig_client c;
    struct outcome o = {0};
    char url[160];
    size_t len = 1024 * 1024, n = 0;
    char *big = malloc(len);
    assert_non_null(big);
    for (size_t i = 0; i < len; i++)
        big[i] = (char)(i * 31 + i / 255);
    (void)snprintf(url, sizeof url, "unix://%s", server.path);
    connect_to(&c, url);
    static const char *const texts[] = {"", "\r\n", "\0a\0", "\xff\xfe\x80", "$3\r\nabc\r\n"};
    static const size_t lens[] = {0, 2, 3, 3, 9};
    for (; n < sizeof lens / sizeof *lens; n++) {
        uint64_t sum = 0;
        for (size_t i = 0; i < lens[n]; i++)
            sum += (unsigned char)texts[n][i];
        publish(&c, &o, "news", texts[n], lens[n]);
        RIG_UNTIL(&c, o.count == n + 1 && c.seen[RIG_MESSAGE] == n + 1);
        assert_int_equal(o.receivers, 1);
        assert_int_equal(c.payload_len, lens[n]);
        assert_int_equal(c.sum, sum);
    }
    uint64_t sum = 0;
    for (size_t i = 0; i < len; i++)
        sum += (unsigned char)big[i];
    publish(&c, &o, "news", big, len);
    RIG_UNTIL(&c, o.count == n + 1 && c.seen[RIG_MESSAGE] == n + 1);
    assert_int_equal(c.payload_len, len);
    assert_int_equal(c.sum, sum);
    assert_int_equal(o.failed, 0);
    publish(&c, &o, "nobody listens", "x", 1);
    RIG_UNTIL(&c, o.count == n + 2);
    assert_int_equal(o.receivers, 0);
    rig_client_stop(&c);
    free(big);
}

static void many_keep_their_order(void **state)
{
    (void)state;
    struct rig_client c;
    struct outcome o = {0};
    char url[64];
    (void)snprintf(url, sizeof url, "redis://127.0.0.1:%d", server.port);
    connect_to(&c, url);
    for (int i = 0; i < MANY; i++) {
        char text[16];
        publish(&c, &o, "news", text, (size_t)snprintf(text, sizeof text, "%d", i));
    }
    RIG_UNTIL(&c, o.count == MANY && c.seen[RIG_MESSAGE] == MANY);
    assert_int_equal(o.failed, 0);
    assert_int_equal(c.out_of_order, 0);
    rig_client_stop(&c);
}

static void rights_and_the_end_of_the_server(void **state)
{
    (void)state;
    struct rig_client c;
    struct outcome o = {0};
    char url[160];
    (void)rig_command(&server, "ACL SETUSER tick on >pw resetchannels &news allcommands");
    (void)snprintf(url, sizeof url, "redis://tick:pw@127.0.0.1:%d", server.port);
    connect_to(&c, url);
    publish(&c, &o, "elsewhere", "x", 1);
    RIG_UNTIL(&c, o.count == 1);
    assert_non_null(strstr(o.error, "NOPERM"));
    publish(&c, &o, "news", "x", 1);
    RIG_UNTIL(&c, o.count == 2);
    assert_int_equal(o.receivers, 1);
    (void)rig_command(&server, "ACL SETUSER tick -publish");
    publish(&c, &o, "news", "x", 1);
    RIG_UNTIL(&c, o.count == 3);
    assert_non_null(strstr(o.error, "NOPERM"));
    (void)rig_command(&server, "ACL DELUSER tick"); /* which closes its connections */
    RIG_UNTIL(&c, !c.up);
    publish(&c, &o, "news", "x", 1);
    assert_int_equal(o.count, 4);
    assert_non_null(strstr(o.error, "Redis is away"));
    rig_client_stop(&c);
}

static void closed_meanwhile(void **state)
{
    (void)state;
    struct rig_client c;
    struct outcome o = {0};
    char url[160];
    (void)snprintf(url, sizeof url, "unix://%s", server.path);
    connect_to(&c, url);
    publish(&c, &o, "news", "x", 1);
    rig_client_stop(&c);
    assert_int_equal(o.count, 1);
    assert_int_equal(o.failed, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_published_and_counted),
        cmocka_unit_test(the_user_logs_in),
        cmocka_unit_test(while_redis_is_away),
        cmocka_unit_test(after_a_failover),
        cmocka_unit_test(silence_and_hanging_up),
        cmocka_unit_test(refusals),
        cmocka_unit_test(destroyed_meanwhile),
        cmocka_unit_test(a_line_that_stands_still),
        cmocka_unit_test_setup_teardown(bytes_of_every_kind, start_server, stop_server),
        cmocka_unit_test_setup_teardown(many_keep_their_order, start_server, stop_server),
        cmocka_unit_test_setup_teardown(rights_and_the_end_of_the_server, start_server,
                                        stop_server),
        cmocka_unit_test_setup_teardown(closed_meanwhile, start_server, stop_server),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
