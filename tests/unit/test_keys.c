/* Keys from files and the environment, as the configuration names them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <sys/stat.h>

#include "config_util.h"
#include "tickerd/base/err.h"
#include "tickerd/base/log.h"
#include "tickerd/daemon/keys.h"
#include "token_rig.h"

/* "A secret, thirty-two bytes long: A" */
#define JWKS                                                                                       \
    "{\"keys\":[{\"kty\":\"oct\",\"k\":\"QSBzZWNyZXQsIHRoaXJ0eS10d28gYnl0ZXMgbG9uZzogQQ\"}]}"

static char dir[] = "/tmp/tickerd-keys-XXXXXX";

static void path_of(char path[128], const char *name)
{
    (void)snprintf(path, 128, "%s/%s", dir, name);
}

static void put(const char *name, const char *bytes, size_t len, mode_t mode)
{
    char path[128];
    path_of(path, name);
    (void)unlink(path);
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, len), (ssize_t)len);
    assert_int_equal(fchmod(fd, mode), 0);
    assert_int_equal(close(fd), 0);
}

static void put_text(const char *name, const char *text)
{
    put(name, text, strlen(text), 0600);
}

static struct config *configure(const char *mode, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* A configuration with this auth.keys, where each %s is a folder's name, and auth.jwks_file. */
static struct config *configure(const char *mode, const char *format, ...)
{
    struct buf setting = BUF_INIT, mode_setting = BUF_INIT;
    char text[2048];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    buf_printf(&setting, "auth.%s", text);
    buf_printf(&mode_setting, "auth.mode=%s", mode);
    const char *const set[] = {buf_cstr(&mode_setting), buf_cstr(&setting), NULL};
    struct config *c = build_ok(NULL, NULL, set);
    buf_finish(&setting);
    buf_finish(&mode_setting);
    return c;
}

/* Run keys_load with stderr in a file; what is logged is appended to `logged` (may be NULL). */
static struct keyring *load(const struct config *c, struct buf *errors, struct buf *logged)
{
    FILE *to = tmpfile();
    int saved = dup(STDERR_FILENO);
    assert_non_null(to);
    assert_true(dup2(fileno(to), STDERR_FILENO) >= 0);
    struct keyring *k = keys_load(c, errors);
    assert_true(dup2(saved, STDERR_FILENO) >= 0);
    assert_int_equal(close(saved), 0);
    char text[4096];
    rewind(to);
    size_t n = fread(text, 1, sizeof text, to);
    if (logged != NULL)
        buf_append(logged, text, n);
    assert_int_equal(fclose(to), 0);
    return k;
}

/* Load where it must work, without a word in the log unless `words`. Frees the configuration. */
static struct keyring *load_ok(struct config *c, const char *words)
{
    struct buf errors = BUF_INIT, logged = BUF_INIT;
    struct keyring *k = load(c, &errors, &logged);
    assert_string_equal(buf_cstr(&errors), "");
    assert_non_null(k);
    if (words == NULL)
        assert_int_equal(logged.len, 0);
    else
        assert_non_null(strstr(buf_cstr(&logged), words));
    buf_finish(&errors);
    buf_finish(&logged);
    config_destroy(c);
    return k;
}

/* Load where it must not; the messages, with the folder's name as DIR. */
static void load_fails(struct config *c, const char *messages)
{
    struct buf errors = BUF_INIT, text = BUF_INIT;
    assert_null(load(c, &errors, NULL));
    for (const char *p = buf_cstr(&errors), *hit; *p != '\0'; p = hit + strlen(dir)) {
        hit = strstr(p, dir);
        buf_append(&text, p, hit == NULL ? strlen(p) : (size_t)(hit - p));
        if (hit == NULL)
            break;
        buf_str(&text, "DIR");
    }
    assert_string_equal(buf_cstr(&text), messages);
    buf_finish(&errors);
    buf_finish(&text);
    config_destroy(c);
}

static bool opens(const struct keyring *k, const void *secret, size_t len)
{
    char *text = rig_token_by(TOKEN_HS256, NULL, secret, len, "{\"alg\":\"HS256\"}", "{}");
    int err = rig_verify(k, text, NULL);
    free(text);
    return err == ERR_OK;
}

/* One newline at the end is not of the secret; anything else is. */
static void a_secret_loses_one_newline(void **state)
{
    static const struct {
        const char *file, *secret;
    } cases[] = {
        {RIG_SECRET, RIG_SECRET},           {RIG_SECRET "\n", RIG_SECRET},
        {RIG_SECRET "\r\n", RIG_SECRET},    {RIG_SECRET "\n\n", RIG_SECRET "\n"},
        {RIG_SECRET "\r", RIG_SECRET "\r"}, {RIG_SECRET " \n", RIG_SECRET " "},
        {"\n" RIG_SECRET, "\n" RIG_SECRET},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        put_text("secret", cases[i].file);
        struct keyring *k = load_ok(
            configure("required", "keys=[{\"alg\":\"HS256\",\"file\":\"%s/secret\"}]", dir), NULL);
        assert_true(opens(k, cases[i].secret, strlen(cases[i].secret)));
        assert_int_equal(keyring_count(k), 1);
        keyring_destroy(k);
    }
}

static void keys_of_all_places_meet(void **state)
{
    char *pem = rig_pem(rig_p256());
    (void)state;
    put_text("login.pem", pem);
    put_text("jwks.json", JWKS);
    assert_int_equal(setenv("TICKERD_TEST_KEY", RIG_SECRET, 1), 0);
    char keys[512], jwks[160];
    (void)snprintf(keys, sizeof keys,
                   "auth.keys=[{\"alg\":\"HS256\",\"env\":\"TICKERD_TEST_KEY\",\"kid\":\"e\"},"
                   "{\"alg\":\"ES256\",\"file\":\"%s/login.pem\"}]",
                   dir);
    (void)snprintf(jwks, sizeof jwks, "auth.jwks_file=%s/jwks.json", dir);
    struct config *c =
        build_ok(NULL, NULL, ((const char *const[]){"auth.mode=optional", keys, jwks, NULL}));
    struct keyring *k = load_ok(c, NULL);
    assert_int_equal(keyring_count(k), 3);
    assert_true(opens(k, RIG_SECRET, strlen(RIG_SECRET)));
    assert_true(opens(k, "A secret, thirty-two bytes long: A", 34));
    char *token = rig_plain_token(TOKEN_ES256, "{}");
    assert_int_equal(rig_verify(k, token, NULL), ERR_OK);
    free(token);
    free(pem);
    keyring_destroy(k);
    assert_int_equal(unsetenv("TICKERD_TEST_KEY"), 0);
}

static void without_auth_nothing_is_read(void **state)
{
    (void)state;
    struct keyring *k =
        load_ok(configure("off", "keys=[{\"alg\":\"HS256\",\"file\":\"%s/nowhere\"}]", dir), NULL);
    assert_int_equal(keyring_count(k), 0);
    keyring_destroy(k);
}

/* All that is wrong at once, and never a key. */
static void errors_name_key_place_and_cure(void **state)
{
    char *pem = rig_private_pem(rig_p256()), *huge = calloc(1, (1 << 20) + 1);
    (void)state;
    put_text("private.pem", pem);
    put_text("short", "s3cret\n");
    put("huge", huge, (1 << 20) + 1, 0600);
    put_text("empty", "");
    put_text("jwks.json", "{\"keys\":\n[s3cret]}");
    assert_int_equal(setenv("TICKERD_TEST_SHORT", "s3cret", 1), 0);
    assert_int_equal(setenv("TICKERD_TEST_EMPTY", "", 1), 0);
    (void)unsetenv("TICKERD_TEST_UNSET");
    load_fails(
        configure("required",
                  "keys=[{\"alg\":\"HS256\",\"file\":\"%s/nowhere\"},"
                  "{\"alg\":\"HS256\",\"file\":\"s3cret-put-where-the-path-belongs\"},"
                  "{\"alg\":\"HS256\",\"file\":\"%s/short\"},"
                  "{\"alg\":\"HS256\",\"file\":\"%s/huge\"},"
                  "{\"alg\":\"ES256\",\"file\":\"%s/empty\"},"
                  "{\"alg\":\"ES256\",\"file\":\"%s/private.pem\"},"
                  "{\"alg\":\"ES256\",\"file\":\"%s\"},"
                  "{\"alg\":\"HS512\",\"env\":\"TICKERD_TEST_SHORT\"},"
                  "{\"alg\":\"HS512\",\"env\":\"TICKERD_TEST_EMPTY\"},"
                  "{\"alg\":\"HS512\",\"env\":\"TICKERD_TEST_UNSET\"}]",
                  dir, dir, dir, dir, dir, dir),
        "auth.keys[0] (HS256, DIR/nowhere): No such file or directory\n"
        "auth.keys[1] (HS256, file): No such file or directory\n"
        "auth.keys[2] (HS256, DIR/short): the secret has 6 bytes, and HS256 needs at least 32: "
        "make one with openssl rand -hex 32\n"
        "auth.keys[3] (HS256, DIR/huge): the file is larger than 1 MiB, which no key is\n"
        "auth.keys[4] (ES256, DIR/empty): the file is empty\n"
        "auth.keys[5] (ES256, DIR/private.pem): this is a private key, which only whoever signs "
        "the tokens may have: give the public one, made with openssl pkey -pubout\n"
        "auth.keys[6] (ES256, DIR): Is a directory\n"
        "auth.keys[7] (HS512, TICKERD_TEST_SHORT): the secret has 6 bytes, and HS512 needs at "
        "least 64: make one with openssl rand -hex 64\n"
        "auth.keys[8] (HS512, env): the environment variable that env names is empty\n"
        "auth.keys[9] (HS512, env): the environment variable that env names is not set\n");
    load_fails(configure("required", "jwks_file=%s/jwks.json", dir),
               "auth.jwks_file: DIR/jwks.json: it is not valid JSON, at line 2\n");
    load_fails(configure("required", "jwks_file=%s/nowhere", dir),
               "auth.jwks_file: DIR/nowhere: No such file or directory\n");
    load_fails(configure("required", "jwks_file=s3cret"),
               "auth.jwks_file: No such file or directory\n");
    free(huge);
    free(pem);
}

static void secrets_that_everybody_may_read_are_told(void **state)
{
    char *pem = rig_pem(rig_p256());
    (void)state;
    put("open", RIG_SECRET, 64, 0644);
    put("open.pem", pem, strlen(pem), 0644);
    put("group", RIG_SECRET, 64, 0640);
    put("open.json", JWKS, strlen(JWKS), 0644);
    keyring_destroy(
        load_ok(configure("required", "keys=[{\"alg\":\"HS256\",\"file\":\"%s/open\"}]", dir),
                "/open): everybody on this machine may read the secret"));
    keyring_destroy(load_ok(configure("required", "jwks_file=%s/open.json", dir),
                            "/open.json: everybody on this machine may read the secret"));
    keyring_destroy(load_ok(configure("required",
                                      "keys=[{\"alg\":\"ES256\",\"file\":\"%s/open.pem\"},"
                                      "{\"alg\":\"HS256\",\"file\":\"%s/group\"}]",
                                      dir, dir),
                            NULL));
    free(pem);
}

static int make_dir(void **state)
{
    (void)state;
    return mkdtemp(dir) == NULL ? -1 : 0;
}

static int remove_all(void **state)
{
    static const char *const names[] = {"secret", "login.pem", "jwks.json", "private.pem",
                                        "short",  "huge",      "empty",     "open",
                                        "group",  "open.pem",  "open.json"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[128];
        path_of(path, names[i]);
        (void)unlink(path);
    }
    (void)rig_free_keys(state);
    return rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_secret_loses_one_newline),
        cmocka_unit_test(keys_of_all_places_meet),
        cmocka_unit_test(without_auth_nothing_is_read),
        cmocka_unit_test(errors_name_key_place_and_cure),
        cmocka_unit_test(secrets_that_everybody_may_read_are_told),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_all);
}
