#include "tickerd/daemon/options.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "tickerd/base/err.h"

struct option_row {
    const char *name;
    const char *value; /* what the help calls its value; NULL: takes none */
    const char *key;   /* the configuration key it sets, or NULL */
    enum options_mode mode;
    const char *help;
};

enum { ROW_CONFIG, ROW_LISTEN, ROW_ADMIN, ROW_REDIS, ROW_WORKERS, ROW_SET, ROW_COUNT = 10 };

static const struct option_row rows[ROW_COUNT] = {
    [ROW_CONFIG] = {"--config", "FILE", NULL, OPTIONS_RUN, "Read this JSON file"},
    [ROW_LISTEN] = {"--listen", "ADDR", "listen", OPTIONS_RUN,
                    "Listen here: host:port, [v6]:port or unix:/path; may be repeated"},
    [ROW_ADMIN] = {"--admin", "ADDR", "admin", OPTIONS_RUN,
                   "Serve dashboard, metrics and orders here; null: nowhere"},
    [ROW_REDIS] = {"--redis", "URL", "redis.url", OPTIONS_RUN,
                   "Use this Redis; a password belongs in TICKERD_REDIS_URL or the file"},
    [ROW_WORKERS] = {"--workers", "N", "workers", OPTIONS_RUN,
                     "Serve with N threads; 0 is one per CPU"},
    [ROW_SET] = {"--set", "KEY=VALUE", NULL, OPTIONS_RUN,
                 "Set any key below; lists as JSON; may be repeated"},
    {"--check-config", NULL, NULL, OPTIONS_CHECK, "Check the configuration and exit"},
    {"--print-config", NULL, NULL, OPTIONS_PRINT, "Print the effective configuration and exit"},
    {"--version", NULL, NULL, OPTIONS_VERSION, "Print the version and exit"},
    {"--help", NULL, NULL, OPTIONS_HELP, "Print this text and exit"},
};

struct parser {
    struct options *options;
    struct buf *errors;
    struct buf listen; /* the JSON list of all --listen so far, without its closing bracket */
    size_t listen_at;  /* its place in the settings; SIZE_MAX: none yet */
    bool bad, nomem;
};

static const struct option_row *find_row(const char *arg, size_t len)
{
    for (size_t i = 0; i < ROW_COUNT; i++) {
        if (strlen(rows[i].name) == len && memcmp(rows[i].name, arg, len) == 0)
            return &rows[i];
    }
    return NULL;
}

/* A setting takes ownership of its text; the room for all of them was made at the start. */
static void put_setting(struct parser *p, size_t at, struct buf *text)
{
    struct options *o = p->options;
    char *copy = strdup(buf_cstr(text));
    if (copy == NULL || text->failed) {
        free(copy);
        p->nomem = true;
        return;
    }
    free(o->set[at]);
    o->set[at] = copy;
    if (at == o->source.set_count)
        o->source.set_count++;
}

static void add_listen(struct parser *p, const char *addr)
{
    struct buf text = BUF_INIT;
    bool first = p->listen_at == SIZE_MAX;
    if (first)
        p->listen_at = p->options->source.set_count;
    buf_str(&p->listen, first ? "[\"" : ",\"");
    buf_json(&p->listen, addr, strlen(addr));
    buf_byte(&p->listen, '"');
    buf_printf(&text, "listen=%s]", buf_cstr(&p->listen));
    text.failed = text.failed || p->listen.failed;
    put_setting(p, p->listen_at, &text);
    buf_finish(&text);
}

static void take(struct parser *p, const struct option_row *row, const char *value)
{
    struct buf text = BUF_INIT;
    if (row->value == NULL) {
        if (row->mode > p->options->mode)
            p->options->mode = row->mode;
    } else if (row == &rows[ROW_CONFIG]) {
        p->options->source.file = value;
    } else if (row == &rows[ROW_LISTEN]) {
        add_listen(p, value);
    } else {
        buf_printf(&text, "%s%s%s", row->key == NULL ? "" : row->key, row->key == NULL ? "" : "=",
                   value);
        put_setting(p, p->options->source.set_count, &text);
    }
    buf_finish(&text);
}

/* Append "name: problem"; the name ends at its = and at anything that looks like a URL. */
static void complain(struct parser *p, const char *arg, const char *problem)
{
    size_t len = strcspn(arg, "=");
    const char *colon = strstr(arg, "://");
    if (colon != NULL && (size_t)(colon - arg) < len)
        len = (size_t)(colon - arg);
    buf_json(p->errors, arg, len);
    buf_printf(p->errors, ": %s, try --help\n", problem);
    p->bad = true;
}

/* Read the argument at argv[i]; returns how many were used. */
static int read_arg(struct parser *p, int argc, char **argv, int i)
{
    const char *arg = argv[i];
    size_t len = strcspn(arg, "=");
    bool attached = arg[len] == '=';
    const struct option_row *row = find_row(arg, len);
    if (row == NULL) {
        complain(p, arg, arg[0] == '-' ? "unknown option" : "unexpected argument");
    } else if (row->value == NULL) {
        if (attached)
            complain(p, arg, "takes no value");
        else
            take(p, row, NULL);
    } else if (attached) {
        take(p, row, arg + len + 1);
    } else if (i + 1 < argc && strncmp(argv[i + 1], "--", 2) != 0) {
        take(p, row, argv[i + 1]);
        return 2;
    } else {
        struct buf text = BUF_INIT;
        buf_printf(&text, "needs a value (%s)", row->value);
        complain(p, arg, buf_cstr(&text));
        buf_finish(&text);
    }
    return 1;
}

int options_parse(struct options *o, int argc, char **argv, struct buf *errors)
{
    struct parser p = {.options = o, .errors = errors, .listen_at = SIZE_MAX};
    memset(o, 0, sizeof(*o));
    o->set = calloc((size_t)(argc > 0 ? argc : 1), sizeof(*o->set));
    if (o->set == NULL)
        return ERR_NOMEM;
    for (int i = 1; i < argc;)
        i += read_arg(&p, argc, argv, i);
    o->source.set = (const char *const *)o->set;
    buf_finish(&p.listen);
    if (p.nomem)
        return ERR_NOMEM;
    return p.bad ? ERR_INVALID : 0;
}

void options_finish(struct options *o)
{
    for (size_t i = 0; o->set != NULL && i < o->source.set_count; i++)
        free(o->set[i]);
    free(o->set);
    memset(o, 0, sizeof(*o));
}

void options_help(struct buf *out)
{
    buf_str(out, "Usage: tickerd [OPTION]…\n"
                 "Serves the messages of Redis Pub/Sub to browsers as Server-Sent Events.\n"
                 "\nOptions:\n");
    for (size_t i = 0; i < ROW_COUNT; i++) {
        struct buf text = BUF_INIT;
        buf_printf(&text, "%s %s", rows[i].name, rows[i].value == NULL ? "" : rows[i].value);
        buf_printf(out, "  %-18s %s.\n", buf_cstr(&text), rows[i].help);
        buf_finish(&text);
    }
    buf_str(out, "\nSignals:\n"
                 "  TERM, INT          Close the streams over drain.timeout and exit; a second one "
                 "exits at once.\n"
                 "  HUP                Read file and keys again; what is wrong with them changes "
                 "nothing.\n"
                 "\nEnvironment:\n"
                 "  " CONFIG_ENV_REDIS_URL "  Stands in for redis.url; --redis beats it, it beats "
                 "the file.\n"
                 "\nKeys of the configuration file (JSON, nested at the dots) and of --set, with "
                 "their defaults:\n");
    config_help(out);
    buf_str(out, "\nDurations are written 500ms, 15s, 5m, 1h; sizes 65536, 64KiB, 1MiB, 1GiB.\n");
}
