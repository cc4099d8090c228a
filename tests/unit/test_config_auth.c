/* auth.*: where keys are, and what is said when that is wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "config_util.h"

#define SET(...) ((const char *const[]){__VA_ARGS__, NULL})

static char *print(const struct config *c)
{
    struct buf out = BUF_INIT;
    config_print(&out, c, false);
    char *text = strdup(buf_cstr(&out));
    buf_finish(&out);
    return text;
}

static const char keys_text[] = "[{\"alg\":\"HS256\",\"file\":\"/etc/tickerd/secret\"},"
                                "{\"alg\":\"PS256\",\"env\":\"_KEY2\",\"kid\":\"2026-1\"},"
                                "{\"alg\":\"ES384\",\"file\":\"k\",\"env\":null,\"kid\":\"\"}]";

static void reads_keys(void **state)
{
    struct buf set = BUF_INIT;
    (void)state;
    buf_printf(&set, "auth.keys=%s", keys_text);
    struct config *c = build_ok(NULL, NULL, SET("auth.mode=required", buf_cstr(&set)));
    assert_int_equal(c->auth.key_count, 3);
    assert_int_equal(c->auth.keys[0].alg, TOKEN_HS256);
    assert_string_equal(c->auth.keys[0].file, "/etc/tickerd/secret");
    assert_null(c->auth.keys[0].env);
    assert_null(c->auth.keys[0].kid);
    assert_int_equal(c->auth.keys[1].alg, TOKEN_PS256);
    assert_null(c->auth.keys[1].file);
    assert_string_equal(c->auth.keys[1].env, "_KEY2");
    assert_string_equal(c->auth.keys[1].kid, "2026-1");
    assert_int_equal(c->auth.keys[2].alg, TOKEN_ES384);
    assert_string_equal(c->auth.keys[2].file, "k");
    assert_null(c->auth.keys[2].kid);
    char *text = print(c);
    assert_non_null(strstr(text, "        \"file\": \"/etc/tickerd/secret\",\n"));
    assert_non_null(strstr(text, "        \"env\": \"_KEY2\",\n"));
    assert_non_null(strstr(text, "        \"kid\": null\n"));
    free(text);
    char *whole = print(c);
    struct config *again = build_ok(whole, NULL, NULL);
    char *twice = print(again);
    assert_string_equal(whole, twice);
    free(whole);
    free(twice);
    config_destroy(again);
    config_destroy(c);
    c = build_ok(NULL, NULL, SET(buf_cstr(&set), "auth.keys=[]"));
    assert_int_equal(c->auth.key_count, 0);
    config_destroy(c);
    for (unsigned alg = 0; alg < TOKEN_ALG_COUNT; alg++) {
        buf_reset(&set);
        buf_printf(&set, "auth.keys=[{\"alg\":\"%s\",\"env\":\"E\"}]",
                   token_alg_name((enum token_alg)alg));
        c = build_ok(NULL, NULL, SET(buf_cstr(&set)));
        assert_int_equal(c->auth.keys[0].alg, alg);
        config_destroy(c);
    }
    buf_finish(&set);
}

#define KEYS                                                                                       \
    "expected a list of at most 64 keys such as [{\"alg\": \"HS256\", \"file\": "                  \
    "\"/etc/tickerd/secret\"}]"
#define ALGS                                                                                       \
    "expected \"HS256\", \"HS384\", \"HS512\", \"RS256\", \"RS384\", \"RS512\", \"PS256\", "       \
    "\"ES256\" or \"ES384\""
#define FILE_ "expected null or the path of a file with the key, not the key itself"
#define ENV "expected null or the name of an environment variable with the key, not the key itself"
#define LOOKS ": this looks like a key: put it into a file, and give the path here"

/* What stands where a place should be may be the secret itself: no message has it. */
static void errors_say_where_and_quote_no_secret(void **state)
{
    static const struct {
        const char *keys, *message;
    } cases[] = {
        {"\"s3cret\"", ": " KEYS},
        {"{}", ": " KEYS},
        {"[\n5]", "[0]: expected an object such as {\"alg\": \"HS256\", \"file\": "
                  "\"/etc/tickerd/secret\"}, found 5"},
        {"[{\"file\":\"/f\"}]", "[0]: \"alg\" is missing: " ALGS},
        {"[{\"alg\":\"none\",\"file\":\"/f\"}]", "[0].alg: " ALGS ", found \"none\""},
        {"[{\"alg\":\"hs256\",\"file\":\"/f\"}]", "[0].alg: " ALGS ", found \"hs256\""},
        {"[{\"alg\":\"HS256\"}]",
         "[0]: expected file or env, which say where the key is, found neither"},
        {"[{\"alg\":\"HS256\",\"file\":null,\"env\":\"\"}]",
         "[0]: expected file or env, which say where the key is, found neither"},
        {"[{\"alg\":\"HS256\",\"file\":\"/f\"},{\"alg\":\"HS256\",\"file\":\"/f\",\"env\":\"E\"}]",
         "[1]: expected only one of file and env, found both"},
        {"[{\"alg\":\"HS256\",\"file\":\"s3cret\\n\"}]", "[0].file: " FILE_ LOOKS},
        {"[{\"alg\":\"RS256\",\"file\":\"-----BEGIN PUBLIC KEY-----s3cret\"}]",
         "[0].file: " FILE_ LOOKS},
        {"[{\"alg\":\"RS256\",\"file\":\"{\\\"keys\\\":s3cret}\"}]", "[0].file: " FILE_ LOOKS},
        {"[{\"alg\":\"HS256\",\"file\":\"/s3cret/\"}]",
         "[0].file: " FILE_ ": it names a directory"},
        {"[{\"alg\":\"HS256\",\"file\":[\"s3cret\"]}]", "[0].file: " FILE_},
        {"[{\"alg\":\"HS256\",\"env\":\"s3cret+/=\"}]",
         "[0].env: " ENV ": names of variables have letters, digits and _ only, and begin with no "
         "digit"},
        {"[{\"alg\":\"HS256\",\"env\":\"3s3cret\"}]",
         "[0].env: " ENV ": names of variables have letters, digits and _ only, and begin with no "
         "digit"},
        {"[{\"alg\":\"HS256\",\"secret\":\"s3cret\",\"file\":\"/f\"}]", "[0].secret: unknown key"},
        {"[{\"alg\":\"HS256\",\"file\":\"/f\",\"kid\":7}]",
         "[0].kid: expected null or a string of at most 255 bytes, found 7"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buf file = BUF_INIT, set = BUF_INIT, message = BUF_INIT;
        buf_printf(&file, "{\"auth\": {\"keys\": %s}}", cases[i].keys);
        buf_printf(&message, "t.json:%d: auth.keys%s\n", strchr(cases[i].keys, '\n') ? 2 : 1,
                   cases[i].message);
        build_fails(buf_cstr(&file), NULL, NULL, buf_cstr(&message));
        buf_printf(&set, "auth.keys=%s", cases[i].keys);
        buf_reset(&message);
        buf_printf(&message, "--set auth.keys: %s%s\n",
                   cases[i].message[0] == ':' ? "" : "auth.keys",
                   cases[i].message + (cases[i].message[0] == ':' ? 2 : 0));
        build_fails(NULL, NULL, SET(buf_cstr(&set)), buf_cstr(&message));
        buf_finish(&file);
        buf_finish(&set);
        buf_finish(&message);
    }
    build_fails(NULL, NULL, SET("auth.jwks_file={\"keys\":[\"s3cret\"]}"),
                "--set auth.jwks_file: expected null or the path of a file, not the keys "
                "themselves" LOOKS "\n");
}

static void streams_that_need_tokens_need_keys(void **state)
{
    (void)state;
    build_fails("{\"auth\":\n {\"mode\": \"required\"}}", NULL, NULL,
                "t.json:2: auth.mode: needs a key to verify tokens with: set auth.keys or "
                "auth.jwks_file\n");
    build_fails(NULL, NULL, SET("auth.mode=optional"),
                "--set auth.mode=optional: auth.mode: needs a key to verify tokens with: set "
                "auth.keys or auth.jwks_file\n");
    build_fails("{\"auth\": {\"mode\": \"required\", \"jwks_file\": \"/f\"}}", NULL,
                SET("auth.jwks_file=null"),
                "--set auth.jwks_file: auth.mode: needs a key to verify tokens with: set auth.keys "
                "or auth.jwks_file\n");
    /* A key that is refused is not missing, too. */
    build_fails(NULL, NULL, SET("auth.mode=required", "auth.keys=[{\"alg\":\"HS256\"}]"),
                "--set auth.keys: auth.keys[0]: expected file or env, which say where the key is, "
                "found neither\n");
    config_destroy(build_ok(NULL, NULL, SET("auth.mode=required", "auth.jwks_file=/f")));
    config_destroy(build_ok(NULL, NULL, SET("auth.keys=[{\"alg\":\"HS256\",\"file\":\"f\"}]")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_keys),
        cmocka_unit_test(errors_say_where_and_quote_no_secret),
        cmocka_unit_test(streams_that_need_tokens_need_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
