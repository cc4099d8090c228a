#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>

#include "config_util.h"

#define SET(...) ((const char *const[]){__VA_ARGS__, NULL})

/* Every key with a text for --set and what --print-config makes of it. */
static const struct {
    const char *key, *text, *printed;
} keys[] = {
    {"listen", "[\"[::1]:80\",\"unix:/run/t.sock\"]", "[\"[::1]:80\", \"unix:/run/t.sock\"]"},
    {"admin", "unix:/run/a.sock", "\"unix:/run/a.sock\""},
    {"admin_publish", "true", "true"},
    {"admin_hosts", "[\"status.example.org\"]", "[\"status.example.org\"]"},
    {"workers", "256", "256"},
    {"redis.url", "rediss://h:7", "\"rediss://h:7\""},
    {"redis.sentinels", "[\"h:1\",\"redis://u@[::1]\"]", "[\"h:1\", \"redis://u@[::1]\"]"},
    {"redis.master", "m", "\"m\""},
    {"redis.nodes", "[]", "[]"},
    {"redis.prefix", "caf\xc3\xa9*\"", "\"caf\xc3\xa9*\\\"\""},
    {"redis.mode", "on-demand", "\"on-demand\""},
    {"redis.linger", "0s", "\"0s\""},
    {"redis.ping_interval", "1500ms", "\"1500ms\""},
    {"redis.ping_timeout", "1000ms", "\"1s\""},
    {"redis.backoff_max", "90s", "\"90s\""},
    {"redis.tls.ca", "/ca", "\"/ca\""},
    {"redis.tls.cert", "/cert", "\"/cert\""},
    {"redis.tls.key", "/key", "\"/key\""},
    {"redis.tls.server_name", "::1", "\"::1\""},
    {"history.events", "0", "0"},
    {"history.bytes", "100000", "100000"},
    {"history.age", "24h", "\"24h\""},
    {"history.total_bytes", "1024MiB", "\"1GiB\""},
    {"stream.heartbeat", "1h", "\"1h\""},
    {"stream.retry", "100ms", "\"100ms\""},
    {"stream.retry_jitter", "0", "\"0s\""},
    {"stream.max_age", "61m", "\"61m\""},
    {"resume.window", "15s", "\"15s\""},
    {"resume.clock_skew", "2s", "\"2s\""},
    {"limits.clients", "10000000", "10000000"},
    {"limits.clients_per_ip", "20", "20"},
    {"limits.clients_per_subject", "5", "5"},
    {"limits.replay_per_minute", "64MiB", "\"64MiB\""},
    {"limits.channels_per_client", "1", "1"},
    {"limits.message_bytes", "33554432", "\"32MiB\""},
    {"limits.request_bytes", "8KiB", "\"8KiB\""},
    {"limits.request_timeout", "3s", "\"3s\""},
    {"limits.write_timeout", "120s", "\"2m\""},
    {"channels", "[]", "[]"},
    {"auth.mode", "optional", "\"optional\""},
    {"auth.keys", "[]", "[]"},
    {"auth.jwks_file", "/etc/tickerd/jwks.json", "\"/etc/tickerd/jwks.json\""},
    {"auth.issuer", "https://login.example.org/", "\"https://login.example.org/\""},
    {"auth.audience", "tickerd", "\"tickerd\""},
    {"auth.cookie", "__Host-tickerd", "\"__Host-tickerd\""},
    {"auth.query", "access_token", "\"access_token\""},
    {"auth.claim", "https://example.org/channels", "\"https://example.org/channels\""},
    {"auth.leeway", "0s", "\"0s\""},
    {"cors.origins", "[\"https://*.a.org:8443\"]", "[\"https://*.a.org:8443\"]"},
    {"cors.credentials", "false", "false"},
    {"proxy.trusted", "[\"127.0.0.1\"]", "[\"127.0.0.1\"]"},
    {"proxy.protocol", "true", "true"},
    {"control.channel", "tickerd-control", "\"tickerd-control\""},
    {"log.level", "debug", "\"debug\""},
    {"log.format", "json", "\"json\""},
    {"log.access", "true", "true"},
    {"drain.timeout", "59m", "\"59m\""},
    {"state.file", "/var/lib/tickerd/state", "\"/var/lib/tickerd/state\""},
};

enum { KEY_COUNT = sizeof(keys) / sizeof(keys[0]) };

static char *print(const struct config *c, bool secrets)
{
    struct buf out = BUF_INIT;
    config_print(&out, c, secrets);
    char *text = strdup(buf_cstr(&out));
    buf_finish(&out);
    return text;
}

/* The line of a key in a print, without its name and the comma. */
static char *printed_value(const char *text, const char *key)
{
    char group[64] = "", member[64];
    const char *dot = strchr(key, '.'), *at = text;
    if (dot != NULL) {
        (void)snprintf(group, sizeof(group), "\n  \"%.*s\": {", (int)(dot - key), key);
        at = strstr(text, group);
        assert_non_null(at);
    }
    (void)snprintf(member, sizeof(member), "\"%s\": ", dot == NULL ? key : strrchr(key, '.') + 1);
    at = strstr(at, member);
    assert_non_null(at);
    at += strlen(member);
    size_t len = strcspn(at, "\n");
    return strndup(at, at[len - 1] == ',' ? len - 1 : len);
}

static size_t leaves(const json_t *value)
{
    size_t n = 0;
    const char *key;
    json_t *member;
    if (!json_is_object(value))
        return 1;
    json_object_foreach((json_t *)(uintptr_t)value, key, member)
    {
        n += leaves(member);
    }
    return n;
}

static void has_the_documented_defaults(void **state)
{
    struct config *c = build_ok(NULL, NULL, NULL);
    (void)state;
    assert_int_equal(c->listen.count, 1);
    assert_string_equal(c->listen.items[0], "127.0.0.1:8090");
    assert_int_equal(c->workers, 0);
    assert_string_equal(c->redis.url, "redis://127.0.0.1:6379");
    assert_string_equal(c->redis.prefix, "sse:");
    assert_int_equal(c->redis.prefix_len, 4);
    assert_int_equal(c->redis.mode, REDIS_MODE_ALL);
    assert_int_equal(c->redis.linger_ms, 60000);
    assert_int_equal(c->redis.ping_interval_ms, 2000);
    assert_int_equal(c->redis.ping_timeout_ms, 3000);
    assert_int_equal(c->redis.backoff_max_ms, 10000);
    assert_false(config_uses_tls(c));
    assert_string_equal(c->redis.tls.ca, "");
    assert_string_equal(c->redis.tls.cert, "");
    assert_string_equal(c->redis.tls.key, "");
    assert_string_equal(c->redis.tls.server_name, "");
    assert_int_equal(c->history.events, 1000);
    assert_int_equal(c->history.bytes, 1 << 20);
    assert_int_equal(c->history.age_ms, 600000);
    assert_int_equal(c->history_total_bytes, 256 << 20);
    assert_int_equal(c->stream.heartbeat_ms, 15000);
    assert_int_equal(c->stream.retry_ms, 2000);
    assert_int_equal(c->stream.retry_jitter_ms, 1000);
    assert_int_equal(c->stream.max_age_ms, 0);
    assert_int_equal(c->resume.window_ms, 10000);
    assert_int_equal(c->resume.clock_skew_ms, 5000);
    assert_int_equal(c->limits.clients, 0);
    assert_int_equal(c->limits.channels_per_client, 64);
    assert_int_equal(c->limits.message_bytes, 1 << 20);
    assert_int_equal(c->limits.request_bytes, 16384);
    assert_int_equal(c->limits.request_timeout_ms, 10000);
    assert_int_equal(c->limits.write_timeout_ms, 60000);
    assert_int_equal(c->rule_count, 0);
    assert_int_equal(c->cors.origins.count, 0);
    assert_true(c->cors.credentials);
    assert_int_equal(c->log.level, LOG_INFO);
    assert_int_equal(c->log.format, LOG_TEXT);
    assert_false(c->log.access);
    assert_int_equal(c->drain_timeout_ms, 10000);
    assert_null(c->state_file);
    assert_int_equal(c->rule_default.payload, PAYLOAD_AUTO);
    assert_int_equal(c->rule_default.slow, SLOW_RESUME);
    assert_int_equal(c->rule_default.history.events, 1000);
    config_destroy(c);
    config_destroy(NULL);
}

static void sets_each_key_alone(void **state)
{
    struct config *defaults = build_ok(NULL, NULL, NULL);
    char *before = print(defaults, true);
    (void)state;
    for (size_t i = 0; i < KEY_COUNT; i++) {
        char setting[128];
        if (strncmp(keys[i].key, "redis.tls.", 10) == 0) /* valid only together */
            continue;
        if (strcmp(keys[i].key, "redis.sentinels") == 0 || strcmp(keys[i].key, "redis.master") == 0)
            continue;                                   /* go together only */
        if (strcmp(keys[i].key, "proxy.protocol") == 0) /* needs proxy.trusted */
            continue;
        if (strcmp(keys[i].key, "auth.mode") == 0) /* needs a key */
            continue;
        (void)snprintf(setting, sizeof(setting), "%s=%s", keys[i].key, keys[i].text);
        struct config *c = build_ok(NULL, NULL, SET(setting));
        char *after = print(c, true);
        for (size_t j = 0; j < KEY_COUNT; j++) {
            char *old = printed_value(before, keys[j].key);
            char *new = printed_value(after, keys[j].key);
            assert_string_equal(new, i == j ? keys[i].printed : old);
            free(old);
            free(new);
        }
        free(after);
        config_destroy(c);
    }
    free(before);
    config_destroy(defaults);
}

static void stores_each_key_in_its_field(void **state)
{
    const char *set[KEY_COUNT + 1] = {NULL};
    char settings[KEY_COUNT][128];
    (void)state;
    for (size_t i = 0; i < KEY_COUNT; i++) {
        (void)snprintf(settings[i], sizeof(settings[i]), "%s=%s", keys[i].key, keys[i].text);
        set[i] = settings[i];
    }
    struct config *c = build_ok(NULL, NULL, set);
    assert_int_equal(c->listen.count, 2);
    assert_string_equal(c->listen.items[1], "unix:/run/t.sock");
    assert_int_equal(c->workers, 256);
    assert_string_equal(c->redis.url, "rediss://h:7");
    assert_true(config_uses_tls(c));
    assert_string_equal(c->redis.tls.ca, "/ca");
    assert_string_equal(c->redis.tls.cert, "/cert");
    assert_string_equal(c->redis.tls.key, "/key");
    assert_string_equal(c->redis.tls.server_name, "::1");
    assert_int_equal(c->redis.sentinels.count, 2);
    assert_string_equal(c->redis.sentinels.items[1], "redis://u@[::1]");
    assert_string_equal(c->redis.master, "m");
    assert_int_equal(c->redis.nodes.count, 0);
    assert_int_equal(c->redis.prefix_len, 7);
    assert_int_equal(c->redis.mode, REDIS_MODE_ON_DEMAND);
    assert_int_equal(c->redis.linger_ms, 0);
    assert_int_equal(c->redis.ping_interval_ms, 1500);
    assert_int_equal(c->redis.ping_timeout_ms, 1000);
    assert_int_equal(c->redis.backoff_max_ms, 90000);
    assert_int_equal(c->history.events, 0);
    assert_int_equal(c->history.bytes, 100000);
    assert_int_equal(c->history.age_ms, 86400000);
    assert_int_equal(c->history_total_bytes, 1 << 30);
    assert_int_equal(c->stream.heartbeat_ms, 3600000);
    assert_int_equal(c->stream.retry_ms, 100);
    assert_int_equal(c->stream.retry_jitter_ms, 0);
    assert_int_equal(c->stream.max_age_ms, 3660000);
    assert_int_equal(c->resume.window_ms, 15000);
    assert_int_equal(c->resume.clock_skew_ms, 2000);
    assert_int_equal(c->limits.clients, 10000000);
    assert_int_equal(c->limits.channels_per_client, 1);
    assert_int_equal(c->limits.message_bytes, 32 << 20);
    assert_int_equal(c->limits.request_bytes, 8192);
    assert_int_equal(c->limits.request_timeout_ms, 3000);
    assert_int_equal(c->limits.write_timeout_ms, 120000);
    assert_string_equal(c->cors.origins.items[0], "https://*.a.org:8443");
    assert_false(c->cors.credentials);
    assert_int_equal(c->log.level, LOG_DEBUG);
    assert_int_equal(c->log.format, LOG_JSON);
    assert_true(c->log.access);
    assert_int_equal(c->drain_timeout_ms, 3540000);
    assert_string_equal(c->state_file, "/var/lib/tickerd/state");
    config_destroy(c);
}

static void no_state_file_is_null_or_empty(void **state)
{
    (void)state;
    static const char *const nothing[] = {"state.file=null", "state.file="};
    static const char *const files[] = {"{\"state\": {\"file\": null}}",
                                        "{\"state\": {\"file\": \"\"}}"};
    for (size_t i = 0; i < 2; i++) {
        const char *set[] = {"state.file=/some/where", nothing[i], NULL};
        struct config *c = build_ok(NULL, NULL, set);
        assert_null(c->state_file);
        char *text = print(c, true);
        assert_non_null(strstr(text, "\"file\": null"));
        free(text);
        config_destroy(c);
        c = build_ok(files[i], NULL, NULL);
        assert_null(c->state_file);
        config_destroy(c);
    }
}

/* Read back what a print says and print again. */
static void check_round_trip(struct config *c)
{
    char *once = print(c, true);
    struct config *again = build_ok(once, NULL, NULL);
    char *twice = print(again, true);
    assert_string_equal(once, twice);
    free(once);
    free(twice);
    config_destroy(again);
    config_destroy(c);
}

static const char rules_text[] =
    "[{\"match\":\"user.*\",\"payload\":\"raw\",\"slow\":\"resume\","
    "\"history\":{\"events\":0,\"bytes\":\"2MiB\",\"age\":\"1s\"}},"
    "{\"match\":\"log.[a-c]\",\"payload\":\"envelope\",\"slow\":\"resume\","
    "\"history\":{\"events\":7}},{\"match\":\"q\\\"*\"}]";

static void print_is_taken_back(void **state)
{
    const char *set[KEY_COUNT + 2] = {NULL};
    char settings[KEY_COUNT][128], rules[512];
    (void)state;
    check_round_trip(build_ok(NULL, NULL, NULL));
    for (size_t i = 0; i < KEY_COUNT; i++) {
        (void)snprintf(settings[i], sizeof(settings[i]), "%s=%s", keys[i].key, keys[i].text);
        set[i] = settings[i];
    }
    (void)snprintf(rules, sizeof(rules), "channels=%s", rules_text);
    set[KEY_COUNT] = rules;
    check_round_trip(build_ok(NULL, NULL, set));
}

static void reads_rules(void **state)
{
    struct buf file = BUF_INIT;
    (void)state;
    buf_printf(&file, "{\"channels\": %s, \"history\": {\"age\": \"5m\", \"events\": 3}}",
               rules_text);
    struct config *c = build_ok(buf_cstr(&file), NULL, SET("history.bytes=99"));
    assert_int_equal(c->rule_count, 3);
    const struct channel_rule *r = config_rule(c, "user.1/x", 8);
    assert_ptr_equal(r, &c->rules[0]);
    assert_int_equal(r->payload, PAYLOAD_RAW);
    assert_int_equal(r->slow, SLOW_RESUME);
    assert_int_equal(r->history.events, 0);
    assert_int_equal(r->history.bytes, 2 << 20);
    assert_int_equal(r->history.age_ms, 1000);
    r = config_rule(c, "log.b", 5);
    assert_ptr_equal(r, &c->rules[1]);
    assert_int_equal(r->payload, PAYLOAD_ENVELOPE);
    assert_int_equal(r->slow, SLOW_RESUME);
    assert_int_equal(r->history.events, 7);
    assert_int_equal(r->history.bytes, 99);
    assert_int_equal(r->history.age_ms, 300000);
    r = config_rule(c, "q\"", 2);
    assert_ptr_equal(r, &c->rules[2]);
    assert_int_equal(r->match_len, 3);
    assert_int_equal(r->payload, PAYLOAD_AUTO);
    assert_int_equal(r->slow, SLOW_RESUME);
    r = config_rule(c, "other", 5);
    assert_ptr_equal(r, &c->rule_default);
    assert_int_equal(r->history.events, 3);
    assert_int_equal(r->history.bytes, 99);
    config_destroy(c);
    buf_finish(&file);
}

static void later_sources_win(void **state)
{
    static const char file[] = "{\"redis\": {\"url\": \"redis://file\"}, \"workers\": 2}";
    (void)state;
    struct config *c = build_ok(file, NULL, NULL);
    assert_string_equal(c->redis.url, "redis://file");
    assert_int_equal(c->workers, 2);
    config_destroy(c);
    c = build_ok(file, "redis://env", SET("workers=3"));
    assert_string_equal(c->redis.url, "redis://env");
    assert_int_equal(c->workers, 3);
    config_destroy(c);
    c = build_ok(file, "redis://env", SET("redis.url=redis://set", "workers=3", "workers=4"));
    assert_string_equal(c->redis.url, "redis://set");
    assert_int_equal(c->workers, 4);
    config_destroy(c);
    c = build_ok("{\"listen\": [\"a:1\", \"b:1\"]}", NULL,
                 SET("listen=[\"c:1\"]", "redis.prefix="));
    assert_int_equal(c->listen.count, 1);
    assert_string_equal(c->listen.items[0], "c:1");
    assert_string_equal(c->redis.prefix, "");
    config_destroy(c);
}

/* What is broken only half-way is judged when all sources are read. */
static void judges_the_whole(void **state)
{
    (void)state;
    config_destroy(
        build_ok("{\"resume\": {\"window\": \"6s\"}}", NULL, SET("resume.clock_skew=1s")));
    config_destroy(
        build_ok("{\"cors\": {\"origins\": [\"*\"]}}", NULL, SET("cors.credentials=false")));
    config_destroy(build_ok("{\"auth\": {\"mode\": \"required\"}}", NULL,
                            SET("auth.keys=[{\"alg\":\"HS256\",\"env\":\"E\"}]")));
    config_destroy(
        build_ok("{\"listen\": [\"a:1\", \"a:2\", \"unix:/a\", \"unix:/A\"]}", NULL, NULL));
}

static void accepts_origins(void **state)
{
    static const char *const good[] = {
        "https://example.org",  "http://localhost:3000", "https://*.example.org",
        "https://[::1]:8443",   "http://127.0.0.1",      "capacitor://localhost",
        "chrome-extension://a", "https://[::1]",         "http://a:443",
        "https://a:80",         "https://a:4430",        "https://xn--bcher-kva.example",
    };
    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        char setting[128];
        (void)snprintf(setting, sizeof(setting), "cors.origins=[\"%s\"]", good[i]);
        struct config *c = build_ok(NULL, NULL, SET(setting));
        assert_string_equal(c->cors.origins.items[0], good[i]);
        config_destroy(c);
    }
}

static void hides_the_password(void **state)
{
    static const struct {
        const char *url, *printed;
    } cases[] = {
        {"redis://u:s3cret@h:1/0", "\"redis://u:***@h:1/0\""},
        {"redis://:s3@cret@h", "\"redis://:***@h\""},
        {"unix://u:s3cret@/r@s", "\"unix://u:***@/r@s\""},
        {"redis://u@h", "\"redis://u@h\""},
        {"redis://h", "\"redis://h\""},
        {"unix:///a:b@c", "\"unix:///a:b@c\""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct config *c = build_ok(NULL, cases[i].url, NULL);
        char *hidden = print(c, false), *open = print(c, true);
        char *value = printed_value(hidden, "redis.url"), *full = printed_value(open, "redis.url");
        assert_string_equal(value, cases[i].printed);
        assert_int_equal(strncmp(full + 1, cases[i].url, strlen(cases[i].url)), 0);
        config_destroy(build_ok(hidden, NULL, NULL));
        free(hidden);
        free(open);
        free(value);
        free(full);
        config_destroy(c);
    }
}

static void hides_passwords_in_lists(void **state)
{
    (void)state;
    struct config *c = build_ok(
        NULL, NULL, SET("redis.master=m", "redis.sentinels=[\"h\",\"redis://:s3@cret@h:2\"]"));
    char *hidden = print(c, false), *open = print(c, true);
    char *value = printed_value(hidden, "redis.sentinels");
    assert_string_equal(value, "[\"h\", \"redis://:***@h:2\"]");
    assert_null(strstr(hidden, "s3"));
    assert_non_null(strstr(open, "redis://:s3@cret@h:2"));
    config_destroy(build_ok(hidden, NULL, NULL));
    free(hidden);
    free(open);
    free(value);
    config_destroy(c);
}

static void shipped_file_agrees(void **state)
{
    struct buf errors = BUF_INIT;
    struct config_source from = {.file = "conf/tickerd.json"};
    struct config *c = config_build(&from, &errors);
    struct config *defaults = build_ok(NULL, NULL, NULL);
    char text[16384] = "";
    (void)state;
    assert_string_equal(buf_cstr(&errors), "");
    FILE *f = fopen("conf/tickerd.json", "r");
    assert_non_null(f);
    assert_true(fread(text, 1, sizeof(text) - 1, f) > 0);
    assert_int_equal(fclose(f), 0);
    char *expected = print(defaults, true), *found = print(c, true);
    assert_string_equal(text, expected);
    assert_string_equal(found, expected);
    json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    assert_int_equal(leaves(root), KEY_COUNT);
    json_decref(root);
    free(expected);
    free(found);
    config_destroy(c);
    config_destroy(defaults);
    buf_finish(&errors);
}

static void help_lists_each_key(void **state)
{
    struct buf help = BUF_INIT;
    static const char *const more[] = {
        "  channels[].match            (required) ",  "  channels[].slow             resume ",
        "  channels[].history.age      (inherited) ", "  auth.keys[].alg             (required) ",
        "  auth.keys[].env             null ",        "One of: HS256,",
        "  redis.prefix                \"sse:\" ",    "  log.level                   info ",
        "  stream.heartbeat            15s ",         "One of: auto, raw, envelope.",
    };
    (void)state;
    config_help(&help);
    const char *text = buf_cstr(&help);
    for (size_t i = 0; i < KEY_COUNT; i++) {
        char name[64];
        (void)snprintf(name, sizeof(name), "  %s ", keys[i].key);
        assert_non_null(strstr(text, name));
    }
    for (size_t i = 0; i < sizeof(more) / sizeof(more[0]); i++)
        assert_non_null(strstr(text, more[i]));
    for (const char *p = text; *p != '\0'; p += strcspn(p, "\n") + 1)
        assert_true(strcspn(p, "\n") <= 100);
    buf_finish(&help);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_state_file_is_null_or_empty),
        cmocka_unit_test(has_the_documented_defaults),
        cmocka_unit_test(sets_each_key_alone),
        cmocka_unit_test(stores_each_key_in_its_field),
        cmocka_unit_test(print_is_taken_back),
        cmocka_unit_test(reads_rules),
        cmocka_unit_test(later_sources_win),
        cmocka_unit_test(judges_the_whole),
        cmocka_unit_test(accepts_origins),
        cmocka_unit_test(hides_the_password),
        cmocka_unit_test(hides_passwords_in_lists),
        cmocka_unit_test(shipped_file_agrees),
        cmocka_unit_test(help_lists_each_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
