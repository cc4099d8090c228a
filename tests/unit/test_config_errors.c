#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "config_util.h"

#define SET(...) ((const char *const[]){__VA_ARGS__, NULL})

#define SIZE "expected a size such as 65536 or \"64KiB\" from "
#define DURATION "expected a duration such as \"15s\" from "
#define ADDRESS                                                                                    \
    "expected an address such as \"127.0.0.1:8090\", \"[::1]:8090\" or "                           \
    "\"unix:/run/tickerd.sock\", found "
#define ADDRESSES "expected a list of 1 to 64 strings, each an address such as \"127.0.0.1:8090\", "
#define SENTINEL                                                                                   \
    "expected a Sentinel such as \"10.0.0.1:26379\" or \"redis://user:password@10.0.0.1:26379\""
#define NODE "expected an address such as \"10.0.0.2:6379\", found "
#define URL "expected a URL such as redis://user:password@127.0.0.1:6379 or unix:///path"
#define ORIGIN                                                                                     \
    "expected an origin such as \"https://example.org\" or \"https://*.example.org\", or \"*\", "  \
    "found "
#define PREFIX "expected UTF-8 text of at most 200 bytes without control bytes, found "
#define LEVELS "expected \"error\", \"warn\", \"info\" or \"debug\", found "
#define HOST "expected a host name or an IP address, or \"\", found "
#define NO_TLS                                                                                     \
    "means something only with TLS: expected it with a redis.url that begins with rediss://\n"
#define PATH "expected null or the path of a file, such as \"/var/lib/tickerd/state\", "
#define MATCH "expected a glob of 1 to 255 bytes"

struct bad {
    const char *input, *message;
};

/* Each is a file by itself. */
static const struct bad bad_files[] = {
    {"{\"history\":\n {\"bytes\": 1,\n  \"events\": \"many\"}}",
     "t.json:3: history.events: expected a whole number from 0 to 10000000, found \"many\"\n"},
    {"{\"history\": {\"events\": -1}}",
     "t.json:1: history.events: expected a whole number from 0 to 10000000, found -1\n"},
    {"{\"history\": {\"events\": 1.5}}",
     "t.json:1: history.events: expected a whole number from 0 to 10000000, found 1.5\n"},
    {"{\"history\": {\"events\": 10000001}}",
     "t.json:1: history.events: expected a whole number from 0 to 10000000, found 10000001\n"},
    {"{\"workers\": 257}", "t.json:1: workers: expected a whole number from 0 to 256, found 257\n"},
    {"{\"state\": {\"file\": 5}}", "t.json:1: state.file: " PATH "found 5\n"},
    {"{\"state\": {\"file\": \"/tmp/\"}}",
     "t.json:1: state.file: " PATH "found \"/tmp/\": it names a directory\n"},
    {"{\"workers\": null}",
     "t.json:1: workers: expected a whole number from 0 to 256, found null\n"},
    {"{\"workers\": \"4\"}",
     "t.json:1: workers: expected a whole number from 0 to 256, found \"4\"\n"},
    {"{\"limits\": {\"channels_per_client\": 0}}",
     "t.json:1: limits.channels_per_client: expected a whole number from 1 to 1024, found 0\n"},
    {"{\"stream\": {\"heartbeat\": 15}}",
     "t.json:1: stream.heartbeat: " DURATION
     "1s to 1h, found 15: a number needs a unit, write \"15s\" or \"15ms\"\n"},
    {"{\"stream\": {\"heartbeat\": \"999ms\"}}",
     "t.json:1: stream.heartbeat: " DURATION "1s to 1h, found \"999ms\"\n"},
    {"{\"stream\": {\"heartbeat\": \"3601s\"}}",
     "t.json:1: stream.heartbeat: " DURATION "1s to 1h, found \"3601s\"\n"},
    {"{\"stream\": {\"heartbeat\": \"15 s\"}}",
     "t.json:1: stream.heartbeat: " DURATION "1s to 1h, found \"15 s\"\n"},
    {"{\"stream\": {\"heartbeat\": \"1.5s\"}}",
     "t.json:1: stream.heartbeat: " DURATION "1s to 1h, found \"1.5s\"\n"},
    {"{\"stream\": {\"retry\": \"99ms\"}}",
     "t.json:1: stream.retry: " DURATION "100ms to 1h, found \"99ms\"\n"},
    {"{\"stream\": {\"retry\": 0}}", "t.json:1: stream.retry: " DURATION "100ms to 1h, found 0\n"},
    {"{\"history\": {\"age\": \"s\"}}",
     "t.json:1: history.age: " DURATION "0s to 8760h, found \"s\"\n"},
    {"{\"history\": {\"age\": \"20000000000000000000h\"}}",
     "t.json:1: history.age: " DURATION "0s to 8760h, found \"20000000000000000000h\"\n"},
    {"{\"history\": {\"age\": \"6000000000000000h\"}}",
     "t.json:1: history.age: " DURATION "0s to 8760h, found \"6000000000000000h\"\n"},
    {"{\"history\": {\"bytes\": \"64KB\"}}",
     "t.json:1: history.bytes: " SIZE "0 to 1024GiB, found \"64KB\"\n"},
    {"{\"history\": {\"bytes\": true}}",
     "t.json:1: history.bytes: " SIZE "0 to 1024GiB, found true\n"},
    {"{\"limits\": {\"message_bytes\": \"33MiB\"}}",
     "t.json:1: limits.message_bytes: " SIZE
     "1 to 32MiB (by default Redis drops a subscriber with 32 MB waiting), found \"33MiB\"\n"},
    {"{\"limits\": {\"message_bytes\": 0}}",
     "t.json:1: limits.message_bytes: " SIZE
     "1 to 32MiB (by default Redis drops a subscriber with 32 MB waiting), found 0\n"},
    {"{\"log\": {\"access\": \"yes\"}}",
     "t.json:1: log.access: expected true or false, found \"yes\"\n"},
    {"{\"log\": {\"access\": 1}}", "t.json:1: log.access: expected true or false, found 1\n"},
    {"{\"log\": {\"level\": \"INFO\"}}", "t.json:1: log.level: " LEVELS "\"INFO\"\n"},
    {"{\"log\": {\"level\": {}}}", "t.json:1: log.level: " LEVELS "an object\n"},
    {"{\"redis\": {\"mode\": \"some\"}}",
     "t.json:1: redis.mode: expected \"all\" or \"on-demand\", found \"some\"\n"},
    {"{\"redis\": {\"prefix\": 5}}", "t.json:1: redis.prefix: " PREFIX "5\n"},
    {"{\"redis\": {\"prefix\": \"a\\nb\"}}",
     "t.json:1: redis.prefix: " PREFIX "\"a\\nb\": it has a control byte\n"},
    {"{\"redis\": {\"url\": \"127.0.0.1\"}}",
     "t.json:1: redis.url: " URL ": it must begin with redis://, rediss:// or unix://\n"},
    {"{\"redis\": {\"url\": \"redis://:s3cret@h/3\"}}",
     "t.json:1: redis.url: " URL
     ": Pub/Sub knows no databases: nothing or /0 may follow the port\n"},
    {"{\"redis\": {\"tls\": {\"ca\": 5}}}",
     "t.json:1: redis.tls.ca: expected the path of a PEM file, or \"\", found 5\n"},
    {"{\"redis\": {\"tls\": {\"server_name\": \"h:1\"}}}",
     "t.json:1: redis.tls.server_name: " HOST
     "\"h:1\": it is no IPv6 address, and a name is given without a port\n"},
    {"{\"redis\": {\"tls\": {\"server_name\": \"a b\"}}}",
     "t.json:1: redis.tls.server_name: " HOST
     "\"a b\": the host is neither a name nor an IPv4 address\n"},
    {"{\"redis\": {\"tls\": {\n\"ca\": \"/ca\",\n\"server_name\": \"h\"}}}",
     "t.json:2: redis.tls.ca: " NO_TLS "t.json:3: redis.tls.server_name: " NO_TLS},
    {"{\"redis\": {\"url\": \"rediss://:s3cret@h\", \"tls\": {\n\"key\": \"/k\"}}}",
     "t.json:2: redis.tls.key: expected together with redis.tls.cert, found alone\n"},
    {"{\"redis\": {\"url\": [\"redis://:s3cret@h\"]}}", "t.json:1: redis.url: " URL "\n"},
    {"{\"redis\": \"redis://:s3cret@h\"}", "t.json:1: redis: expected an object, found a string\n"},
    {"{\"history\": null}", "t.json:1: history: expected an object, found null\n"},
    {"{\"log\": {\"level\": \"redis://:s3cret@h\"}}",
     "t.json:1: log.level: " LEVELS "text that may hold a password\n"},
    {"{\"redis://:s3cret@h\": 1}", "t.json:1: (not shown): unknown key\n"},
    {"{\"listen\": []}", "t.json:1: listen: " ADDRESSES
                         "\"[::1]:8090\" or \"unix:/run/tickerd.sock\", found an empty list\n"},
    {"{\"listen\": \"127.0.0.1:80\"}",
     "t.json:1: listen: " ADDRESSES
     "\"[::1]:8090\" or \"unix:/run/tickerd.sock\", found \"127.0.0.1:80\"\n"},
    {"{\"listen\": [\"a:1\",\n 5,\n \"b\"]}",
     "t.json:2: listen[1]: " ADDRESS "5\nt.json:3: listen[2]: " ADDRESS
     "\"b\": the port is missing\n"},
    {"{\n\"listen\": [\"A:1\", \"b:1\", \"a:1\"]}",
     "t.json:2: listen: expected each address once, found \"a:1\" twice\n"},
    {"{\"cors\": {\"origins\": [\"https://a/\"]}}",
     "t.json:1: cors.origins[0]: " ORIGIN
     "\"https://a/\": an origin ends with the host or port, without a slash or path\n"},
    {"{\"cors\": {\"origins\": [\"example.org\"]}}",
     "t.json:1: cors.origins[0]: " ORIGIN
     "\"example.org\": it must begin with a scheme such as https://\n"},
    {"{\"cors\": {\"origins\": [\"null\"]}}",
     "t.json:1: cors.origins[0]: " ORIGIN
     "\"null\": it must begin with a scheme such as https://\n"},
    {"{\"cors\": {\"origins\": [\"https://A.org\"]}}",
     "t.json:1: cors.origins[0]: " ORIGIN
     "\"https://A.org\": browsers send origins in lower case\n"},
    {"{\"cors\": {\"origins\": [\"https://a.*.org\"]}}",
     "t.json:1: cors.origins[0]: " ORIGIN
     "\"https://a.*.org\": the host is neither a name nor an IPv4 address\n"},
    {"{\"cors\": {\"origins\": [\"https://a:0\"]}}",
     "t.json:1: cors.origins[0]: " ORIGIN
     "\"https://a:0\": the port must be a number from 1 to 65535\n"},
    {"{\"cors\": {\"origins\": [\"https://a:443\"]}}",
     "t.json:1: cors.origins[0]: " ORIGIN
     "\"https://a:443\": browsers leave out the port that the scheme implies\n"},
    {"{\"cors\": {\"origins\": [\"http://[::1]:80\"]}}",
     "t.json:1: cors.origins[0]: " ORIGIN
     "\"http://[::1]:80\": browsers leave out the port that the scheme implies\n"},
    {"{\"cors\": {\"origins\": [\"https://b\u00fccher.org\"]}}",
     "t.json:1: cors.origins[0]: " ORIGIN
     "\"https://b\u00fccher.org\": browsers send names of hosts in ASCII (xn--...)\n"},
    {"{\"cors\": {\"origins\": [\"https://*\"]}}",
     "t.json:1: cors.origins[0]: " ORIGIN
     "\"https://*\": the host is neither a name nor an IPv4 address\n"},
    {"{\"cors\": {\"origins\": [\"https://*.\"]}}",
     "t.json:1: cors.origins[0]: " ORIGIN "\"https://*.\": the host is missing\n"},
    {"{\"cors\": {\"origins\": [\"https://u@a\"]}}",
     "t.json:1: cors.origins[0]: " ORIGIN
     "text that may hold a password: the host is neither a name nor an IPv4 address\n"},
    {"{\"cors\": {\"origins\": [\"https://\"]}}",
     "t.json:1: cors.origins[0]: " ORIGIN "\"https://\": the host is missing\n"},
    {"{\"cors\": {\n\"origins\": [\"*\"]}}",
     "t.json:2: cors.origins: \"*\" is not allowed with credentials: name the origins, or set "
     "cors.credentials=false\n"},
    {"{\"cors\": {\"credentials\": false, \"origins\": [\"*\", \"https://a\"]}}",
     "t.json:1: cors.origins: expected \"*\" alone, found it in a list of 2\n"},
    {"{\"resume\": {\n \"window\": \"9s\"}}",
     "t.json:2: resume.window: expected at least 10s (resume.clock_skew 5s + redis.ping_interval "
     "2s + redis.ping_timeout 3s), found 9s\n"},
    {"{\"redis\": {\n \"ping_timeout\": \"3001ms\"}}",
     "t.json:2: resume.window: expected at least 10001ms (resume.clock_skew 5s + "
     "redis.ping_interval 2s + redis.ping_timeout 3001ms), found 10s\n"},
    {"{\"channels\": {}}",
     "t.json:1: channels: expected a list of rules such as [{\"match\": \"user.*\"}], found an "
     "object\n"},
    {"{\"channels\": [\n5]}",
     "t.json:2: channels[0]: expected an object such as {\"match\": \"user.*\"}, found 5\n"},
    {"{\"channels\": [{\"match\": \"a\"},\n{}]}",
     "t.json:2: channels[1]: \"match\" is missing: " MATCH "\n"},
    {"{\"channels\": [{\"match\": \"\"}]}", "t.json:1: channels[0].match: " MATCH ", found \"\"\n"},
    {"{\"channels\": [{\"match\": null}]}", "t.json:1: channels[0].match: " MATCH ", found null\n"},
    {"{\"channels\": [{\"match\": \"a\",\n\"slow\": \"fast\"}]}",
     "t.json:2: channels[0].slow: expected \"resume\", \"latest\" or "
     "\"disconnect\", found \"fast\"\n"},
    {"{\"channels\": [{\"match\": \"a\", \"payload\": 1}]}",
     "t.json:1: channels[0].payload: expected \"auto\", \"raw\" or \"envelope\", found 1\n"},
    {"{\"channels\": [{\"match\": \"a\", \"history\": {\n\"events\": []}}]}",
     "t.json:2: channels[0].history.events: expected a whole number from 0 to 10000000, found an "
     "empty list\n"},
    {"{\"channels\": [{\"match\": \"a\", \"history\": 1}]}",
     "t.json:1: channels[0].history: expected an object, found a number\n"},
    {"{\"channels\": [{\"mach\": \"a\"}]}",
     "t.json:1: channels[0].mach: unknown key, did you mean match?\nt.json:1: channels[0]: "
     "\"match\" is missing: " MATCH "\n"},
    {"[1]", "t.json:1: expected an object at the top, found a list\n"},
};

static void files_name_the_line(void **state)
{
    (void)state;
    assert_true(sizeof(bad_files) / sizeof(bad_files[0]) >= 40);
    for (size_t i = 0; i < sizeof(bad_files) / sizeof(bad_files[0]); i++)
        build_fails(bad_files[i].input, NULL, NULL, bad_files[i].message);
}

static void unknown_keys_get_a_hint(void **state)
{
    static const struct bad cases[] = {
        {"{\"history\": {\"event\": 5}}",
         "history.event: unknown key, did you mean history.events?"},
        {"{\"heartbeat\": \"5s\"}", "heartbeat: unknown key, did you mean stream.heartbeat?"},
        {"{\"redus\": {\"url\": 1}}", "redus: unknown key, did you mean redis?"},
        {"{\"listn\": []}", "listn: unknown key, did you mean listen?"},
        {"{\"tickets\": {\"mode\": \"off\"}}", "tickets: unknown key"},
        {"{\"history\": {\"foo\": 5}}", "history.foo: unknown key"},
        {"{\"x\": 5}", "x: unknown key"},
        {"{\"\": 5}", ": unknown key"},
        {"{\"listen\": [\"a:1\"], \"listen.x\": 5}", "listen.x: unknown key"},
        {"{\"a\\u0007\\\"b\": 5}", "a\\u0007\"b: unknown key"},
        {"{\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
         "a\":1}",
         "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa…: "
         "unknown "
         "key"},
        {"{\"history.events\": 5}",
         "history.events: in a file, write it nested: {\"history\": {\"events\": …}}"},
        {"{\"channels\": [{\"match\":\"a\",\"history.events\": 5}]}",
         "channels[0].history.events: in a file, write it nested: {\"history\": {\"events\": …}}"},
        {"{\"channels\": [{\"match\":\"a\",\"events\": 5}]}",
         "channels[0].events: unknown key, did you mean history.events?"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf message = BUF_INIT;
        buf_printf(&message, "t.json:1: %s\n", cases[i].message);
        build_fails(cases[i].input, NULL, NULL, buf_cstr(&message));
        buf_finish(&message);
    }
}

static void syntax_errors_name_the_column(void **state)
{
    static const struct bad cases[] = {
        {"", "t.json:1: not valid JSON: '[' or '{' expected near end of file\n"},
        {"{\"workers\": 1,\n \"x\" 2}", "t.json:2:6: not valid JSON: ':' expected\n"},
        {"{\"workers\": 1", "t.json:1:13: not valid JSON: '}' expected near end of file\n"},
        {"{} x", "t.json:1:4: not valid JSON: end of file expected\n"},
        {"{\"redis\": {\"url\": \"redis://:s3cret\n\"}}",
         "t.json:1:34: not valid JSON: unexpected newline\n"},
        {"{\"a\": \"\\u0000\"}", "t.json:1:14: \\u0000 is not allowed\n"},
        {"{\"workers\": 1,\n\"workers\": 999}",
         "t.json:2:9: duplicate key \"workers\"\nt.json:2: workers: expected a whole number from 0 "
         "to 256, found 999\n"},
        {"{\"limits\": {\"channels_per_client\": 1, \"channels_per_client\": 1}}",
         "t.json:1:59: duplicate key\n"},
        {"{\"a@b\": 1, \"a@b\": 1}",
         "t.json:1:16: duplicate key text that may hold a password\nt.json:1: (not shown): unknown "
         "key\n"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        build_fails(cases[i].input, NULL, NULL, cases[i].message);
}

static void settings_name_themselves(void **state)
{
    static const struct bad cases[] = {
        {"history.events=many",
         "=many: expected a whole number from 0 to 10000000, found \"many\""},
        {"history.events=", "=: expected a whole number from 0 to 10000000, found \"\""},
        {"history.events=-5", "=-5: expected a whole number from 0 to 10000000, found \"-5\""},
        {"history.events=99999999999999999999",
         "=99999999999999999999: expected a whole number from 0 to 10000000, found "
         "\"99999999999999999999\""},
        {"stream.retry=15",
         "=15: " DURATION "100ms to 1h, found \"15\": a number needs a unit, write 15s or 15ms"},
        {"stream.retry=2h", "=2h: " DURATION "100ms to 1h, found \"2h\""},
        {"history.bytes=1M", "=1M: " SIZE "0 to 1024GiB, found \"1M\""},
        {"log.access=1", "=1: expected true or false, found \"1\""},
        {"log.level=loud", "=loud: " LEVELS "\"loud\""},
        {"listen=[\"a\"]", "=[\"a\"]: listen[0]: " ADDRESS "\"a\": the port is missing"},
        {"channels=[{match:1}]",
         "=[{match:1}]: expected a list of rules such as [{\"match\": \"user.*\"}], found "
         "\"[{match:1}]\""},
        {"channels=[{\"match\":\"a\",\"x\":1}]",
         "=[{\"match\":\"a\",\"x\":1}]: channels[0].x: unknown key"},
        {"redis.prefix=\xff", "=\xef\xbf\xbd: " PREFIX "\"\xef\xbf\xbd\": it is not valid UTF-8"},
        {"redis.tls.ca=/a\xff", "=/a\xef\xbf\xbd: expected the path of a PEM file, or \"\", found "
                                "\"/a\xef\xbf\xbd\": it is not "
                                "valid UTF-8"},
        {"auth.issuer=a\tb",
         "=a\\tb: expected null or a string, found \"a\\tb\": it has a control byte"},
        {"redis.url=redis://:s3cret@h:x", ": " URL ": the port must be a number from 0 to 65535"},
        {"log.level=redis://:s3cret@h", ": " LEVELS "text that may hold a password"},
        {"redis.sentinels=[\"redis://:s3cret@h:x\"]",
         ": redis.sentinels[0]: " SENTINEL ": the port must be a number from 0 to 65535"},
        {"redis.sentinels=[\":s3cret@h\"]",
         ": redis.sentinels[0]: " SENTINEL
         ": with user or password it must be a URL, beginning with redis://"},
        {"redis.nodes=[\"h\"]", "=[\"h\"]: redis.nodes[0]: " NODE "\"h\": the port is missing"},
        {"redis.nodes=[\"h:0\"]",
         "=[\"h:0\"]: redis.nodes[0]: " NODE "\"h:0\": it must be host:port"},
        {"redis.nodes=[\"unix:/x\"]",
         "=[\"unix:/x\"]: redis.nodes[0]: " NODE "\"unix:/x\": it must be host:port"},
        {"redis.master=my master",
         "=my master: expected a name of at most 255 bytes such as mymaster, found \"my master\": "
         "names of masters have no blanks and no control bytes"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf message = BUF_INIT;
        buf_printf(&message, "--set %.*s%s\n", (int)strcspn(cases[i].input, "="), cases[i].input,
                   cases[i].message);
        build_fails(NULL, NULL, SET(cases[i].input), buf_cstr(&message));
        buf_finish(&message);
    }
    build_fails(
        NULL, NULL, SET("redis.sentinels=[\"h\"]"),
        "--set redis.sentinels: redis.master: expected the name that the Sentinels know the "
        "master by, as redis.sentinels is set\n");
    build_fails(NULL, NULL, SET("redis.master=m"),
                "--set redis.master=m: redis.sentinels: expected at least one Sentinel, as "
                "redis.master is set\n");
    build_fails(
        NULL, NULL, SET("redis.master=m", "redis.sentinels=[\"h\"]", "redis.nodes=[\"h:1\"]"),
        "--set redis.sentinels: redis.nodes: nodes are of a cluster, which has no Sentinels: "
        "set only one of redis.nodes and redis.sentinels\n");
    build_fails(NULL, NULL, SET("workers"), "--set workers: expected KEY=VALUE\n");
    build_fails(NULL, NULL, SET("redis.ur=s3cret"),
                "--set redis.ur: unknown key, did you mean redis.url?\n");
    build_fails(NULL, NULL, SET("redis=s3cret"),
                "--set redis: a group of keys, set one at a time: redis.KEY=VALUE\n");
    build_fails(NULL, NULL, SET("=5"), "--set : unknown key\n");
    build_fails(NULL, NULL, SET("redis://:s3cret@h"), "--set : expected KEY=VALUE\n");
}

static void environment_names_itself(void **state)
{
    (void)state;
    build_fails(NULL, "redis://u\xff@h", NULL,
                "TICKERD_REDIS_URL: " URL ": it is not valid UTF-8\n");
    build_fails(NULL, "", NULL, "TICKERD_REDIS_URL: " URL "\n");
    build_fails(NULL, "redis://:s3cret@h/x", NULL,
                "TICKERD_REDIS_URL: " URL
                ": Pub/Sub knows no databases: nothing or /0 may follow the port\n");
}

static void files_that_cannot_be_read(void **state)
{
    static const struct bad cases[] = {
        {"/nonexistent/t.json",
         "/nonexistent/t.json: cannot be opened: No such file or directory\n"},
        {"/tmp", "/tmp: cannot be read: Is a directory\n"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf errors = BUF_INIT;
        struct config_source from = {.file = cases[i].input};
        assert_null(config_build(&from, &errors));
        assert_string_equal(buf_cstr(&errors), cases[i].message);
        buf_finish(&errors);
    }
}

/* One line each, from all sources, in the order they are read; what a refused value takes part in
 * is not judged on top. */
static void reports_everything_at_once(void **state)
{
    (void)state;
    build_fails("{\"workers\": -1,\n\"resume\": {\"window\": \"x\", \"clock_skew\": \"1h\"},\n"
                "\"cors\": {\"origins\": [\"*\"]}}",
                "x", SET("log.level=x", "foo=1"),
                "t.json:1: workers: expected a whole number from 0 to 256, found -1\n"
                "t.json:2: resume.window: " DURATION "100ms to 1h, found \"x\"\n"
                "TICKERD_REDIS_URL: " URL ": it must begin with redis://, rediss:// or unix://\n"
                "--set log.level=x: " LEVELS "\"x\"\n"
                "--set foo: unknown key\n"
                "t.json:3: cors.origins: \"*\" is not allowed with credentials: name the origins, "
                "or set cors.credentials=false\n");
}

/* A clash is told where the source of highest precedence had its say. */
static void clashes_blame_the_last_word(void **state)
{
    (void)state;
    build_fails("{\"resume\": {\"window\": \"10s\"}}", NULL, SET("redis.ping_timeout=30s"),
                "--set redis.ping_timeout=30s: resume.window: expected at least 37s "
                "(resume.clock_skew 5s + redis.ping_interval 2s + redis.ping_timeout 30s), found "
                "10s\n");
    build_fails("{\"cors\": {\"origins\": [\"*\"]}}", NULL, SET("cors.credentials=true"),
                "--set cors.credentials=true: cors.origins: \"*\" is not allowed with credentials: "
                "name the origins, or set cors.credentials=false\n");
    build_fails(NULL, NULL, SET("listen=[\"a:1\",\"a:1\"]"),
                "--set listen=[\"a:1\",\"a:1\"]: listen: expected each address once, found "
                "\"a:1\" twice\n");
}

static void knows_its_lengths(void **state)
{
    char set[400] = "redis.prefix=", file[400];
    (void)state;
    memset(set + 13, 'x', 200);
    config_destroy(build_ok(NULL, NULL, SET(set)));
    set[213] = 'x';
    struct buf message = BUF_INIT;
    buf_printf(&message, "--set redis.prefix=%.80s…: " PREFIX "\"%.80s…\"\n", set + 13, set + 13);
    build_fails(NULL, NULL, SET(set), buf_cstr(&message));
    memset(set, 'x', sizeof(set));
    (void)snprintf(file, sizeof(file), "{\"channels\":[{\"match\":\"%.255s\"}]}", set);
    config_destroy(build_ok(file, NULL, NULL));
    (void)snprintf(file, sizeof(file), "{\"channels\":[{\"match\":\"%.256s\"}]}", set);
    buf_reset(&message);
    buf_printf(&message, "t.json:1: channels[0].match: " MATCH ", found \"%.80s…\"\n", set);
    build_fails(file, NULL, NULL, buf_cstr(&message));
    buf_finish(&message);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_name_the_line),
        cmocka_unit_test(unknown_keys_get_a_hint),
        cmocka_unit_test(syntax_errors_name_the_column),
        cmocka_unit_test(settings_name_themselves),
        cmocka_unit_test(environment_names_itself),
        cmocka_unit_test(files_that_cannot_be_read),
        cmocka_unit_test(reports_everything_at_once),
        cmocka_unit_test(clashes_blame_the_last_word),
        cmocka_unit_test(knows_its_lengths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
