/* A configuration: lines `set KEY=VALUE` and `env URL` first, as from a command line and the
 * environment, then the text of the file. It is built, or there are messages; what is built is
 * printed, taken back, and prints the same. */
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz.h"
#include "naive_utf8.h"
#include "tickerd/base/err.h"
#include "tickerd/wire/config.h"

enum { SETTINGS_MAX = 8 };

struct input {
    char *set[SETTINGS_MAX]; /* owned */
    size_t set_count;
    char *env; /* owned */
    struct fuzz_text file;
};

/* A file in memory, one for all inputs. */
static int file_fd = -1;
static char file_path[40];

static const char *file_with(const char *text, size_t len)
{
    if (file_fd < 0) {
        file_fd = memfd_create("config", MFD_CLOEXEC);
        (void)snprintf(file_path, sizeof file_path, "/proc/self/fd/%d", file_fd);
    }
    FUZZ_CHECK(ftruncate(file_fd, 0) == 0);
    FUZZ_CHECK(pwrite(file_fd, text, len, 0) == (ssize_t)len);
    return file_path;
}

static char *string_of(struct fuzz_text t)
{
    char *s = malloc(t.len + 1);
    FUZZ_CHECK(s != NULL);
    memcpy(s, t.p, t.len);
    s[t.len] = '\0';
    return s;
}

/* Take a line that begins with the word off the rest; p NULL: there is none. */
static struct fuzz_text line_with(struct fuzz_text *rest, const char *word)
{
    size_t n = strlen(word);
    if (rest->len < n || memcmp(rest->p, word, n) != 0)
        return (struct fuzz_text){NULL, 0};
    struct fuzz_text line = fuzz_cut(rest, '\n');
    return (struct fuzz_text){line.p + n, line.len - n};
}

static void read_input(struct input *in, struct fuzz_text rest)
{
    for (;;) {
        struct fuzz_text line = {NULL, 0};
        if (in->set_count < SETTINGS_MAX && (line = line_with(&rest, "set ")).p != NULL)
            in->set[in->set_count++] = string_of(line);
        else if (in->env == NULL && (line = line_with(&rest, "env ")).p != NULL)
            in->env = string_of(line);
        else
            break;
    }
    in->file = rest;
}

/* One line a problem, which no input can forge. */
static void check_messages(const struct buf *errors)
{
    FUZZ_CHECK(!errors->failed && errors->data[errors->len - 1] == '\n');
    FUZZ_CHECK(naive_utf8_prefix(errors->data, errors->len) == errors->len);
    for (size_t i = 0; i < errors->len; i++) {
        unsigned char c = (unsigned char)errors->data[i];
        FUZZ_CHECK(c == '\n' ? i > 0 && errors->data[i - 1] != '\n' : c >= ' ' && c != 0x7f);
    }
}

static struct config *build(const struct config_source *from)
{
    struct buf errors = BUF_INIT;
    struct config *c = config_build(from, &errors);
    FUZZ_CHECK((c == NULL) == (errors.len > 0));
    if (c == NULL)
        check_messages(&errors);
    buf_finish(&errors);
    return c;
}

/* What --config makes of printed text. */
static struct config *taken_back(const struct buf *text)
{
    struct config_source from = {.file = file_with(text->data, text->len)};
    struct config *c = build(&from);
    FUZZ_CHECK(c != NULL);
    return c;
}

static void check_prints_the_same(const struct config *c)
{
    struct buf text = BUF_INIT, again = BUF_INIT;
    config_print(&text, c, true);
    FUZZ_CHECK(!text.failed);
    struct config *back = taken_back(&text);
    config_print(&again, back, true);
    FUZZ_CHECK(fuzz_same(text.data, text.len, again.data, again.len));
    FUZZ_CHECK(back->rule_count == c->rule_count);
    for (size_t i = 0; i < c->rule_count; i++)
        FUZZ_CHECK(fuzz_same(back->rules[i].match, back->rules[i].match_len, c->rules[i].match,
                             c->rules[i].match_len));
    config_destroy(back);
    buf_finish(&text);
    buf_finish(&again);
}

static void check_password(int (*parse)(struct redis_url *, const char *, const char **),
                           const char *text)
{
    struct redis_url url;
    const char *why;
    FUZZ_CHECK(parse(&url, text, &why) == ERR_OK);
    FUZZ_CHECK(url.password == NULL || url.password[0] == '\0' || strcmp(url.password, "***") == 0);
    redis_url_finish(&url);
}

/* Without secrets it is still a configuration, with another password in it. */
static void check_redacted(const struct config *c)
{
    struct buf text = BUF_INIT;
    config_print(&text, c, false);
    FUZZ_CHECK(!text.failed);
    struct config *back = taken_back(&text);
    check_password(redis_url_parse, back->redis.url);
    for (size_t i = 0; i < back->redis.sentinels.count; i++)
        check_password(sentinel_parse, back->redis.sentinels.items[i]);
    config_destroy(back);
    buf_finish(&text);
}

/* Some rule is found for any name. */
static void check_rules(const struct config *c, struct fuzz_text name)
{
    const struct channel_rule *rule = config_rule(c, name.p, name.len > 300 ? 300 : name.len);
    FUZZ_CHECK(rule == &c->rule_default || (rule >= c->rules && rule < c->rules + c->rule_count));
    FUZZ_CHECK(rule->history.events != UINT32_MAX && rule->history.bytes != UINT64_MAX &&
               rule->history.age_ms != UINT64_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {.set_count = 0};
    read_input(&in, (struct fuzz_text){(const char *)data, size});
    struct config_source from = {
        .redis_url = in.env, .set = (const char *const *)in.set, .set_count = in.set_count};
    if (in.file.len > 0)
        from.file = file_with(in.file.p, in.file.len);
    struct config *c = build(&from);
    if (c != NULL) {
        check_prints_the_same(c);
        check_redacted(c);
        check_rules(c, in.file);
        (void)config_uses_tls(c);
        config_destroy(c);
    }
    for (size_t i = 0; i < in.set_count; i++)
        free(in.set[i]);
    free(in.env);
    return 0;
}
