#include "tickerd/ctl/options.h"

#include <stdlib.h>
#include <string.h>

#include "tickerd/base/err.h"
#include "tickerd/ctl/text.h"
#include "tickerd/wire/addr.h"
#include "tickerd/wire/config.h"

enum {
    LIMIT_MAX = 1000,
    DECIMAL = 10,
    HELP_COLUMNS = 80,
    COMMAND_COLUMNS = 25,
    OPTION_COLUMNS = 20
};

struct command_row {
    const char *name, *args, *help;
    size_t min, max; /* how many arguments */
};

static const struct command_row commands[CTL_COMMANDS] = {
    [CTL_STATUS] = {"status", "", "What the daemon is doing, in one page", 0, 0},
    [CTL_CHANNELS] = {"channels", "", "The channels: subscribers, traffic, history", 0, 0},
    [CTL_CLIENTS] = {"clients", "",
                     "The clients, oldest first: who, what, since when, how far behind", 0, 0},
    [CTL_TAIL] = {"tail", "CHANNEL", "Show the events of a channel as they come; Ctrl-C ends it", 0,
                  1},
    [CTL_PUBLISH] = {"publish", "CHANNEL [DATA|-]",
                     "Publish DATA, or standard input; needs admin_publish", 1, 2},
    [CTL_DISCONNECT] = {"disconnect", "", "End the streams of a subject, a channel, or both", 0, 0},
    [CTL_RELOAD] = {"reload", "", "Read the configuration again, and say what has changed", 0, 0},
    [CTL_DRAIN] = {"drain", "", "Send the clients away gently, then stop (as TERM does)", 0, 0},
    [CTL_DOCTOR] = {"doctor", "URL",
                    "Examine a stream through the proxy in front, and say what is wrong with it", 1,
                    1},
    [CTL_HELP] = {"help", "[COMMAND]", "Print this text, or what one command takes", 0, 1},
    [CTL_VERSION] = {"version", "", "Print the version", 0, 0},
};

enum kind { FLAG, TEXT, NUMBER, DURATION, WORD, LIST };

struct option_row {
    const char *name, *value;
    enum kind kind;
    uint32_t commands; /* bit n: command n takes it; 0: all do */
    uint64_t max;      /* of a number */
    const char *words; /* of a word: " a b " */
    const char *help;
};

#define FOR(command) (UINT32_C(1) << (command))

static const struct option_row options[OPT_COUNT] = {
    [OPT_ADMIN] = {"--admin", "ADDR", TEXT, 0, 0, NULL,
                   "The admin listener: host:port, [v6]:port or unix:/path"},
    [OPT_JSON] = {"--json", NULL, FLAG, 0, 0, NULL, "Print JSON, for programs"},
    [OPT_COLOR] = {"--color", "WHEN", WORD, 0, 0, " auto always never ", "auto, always or never"},
    [OPT_HELP] = {"--help", NULL, FLAG, 0, 0, NULL, "Print what there is, and exit"},
    [OPT_VERSION] = {"--version", NULL, FLAG, 0, 0, NULL, "Print the version and exit"},
    [OPT_WATCH] = {"--watch", NULL, FLAG, FOR(CTL_STATUS), 0, NULL, "Show it again every second"},
    [OPT_LIMIT] = {"--limit", "N", NUMBER, FOR(CTL_CHANNELS) | FOR(CTL_CLIENTS), LIMIT_MAX, NULL,
                   "Show at most N, up to 1000 (100)"},
    [OPT_ALL] = {"--all", NULL, FLAG, FOR(CTL_CHANNELS) | FOR(CTL_CLIENTS), 0, NULL,
                 "Show all clients; of channels, as many as can be asked for"},
    [OPT_SORT] = {"--sort", "KEY", WORD, FOR(CTL_CHANNELS), 0, " rate messages subscribers name ",
                  "rate (as without it), messages, subscribers or name"},
    [OPT_MATCH] = {"--match", "GLOB", TEXT, FOR(CTL_CHANNELS), 0, NULL,
                   "Only channels that match, as in user.*"},
    [OPT_CHANNEL] = {"--channel", "NAME", TEXT, FOR(CTL_CLIENTS) | FOR(CTL_DISCONNECT), 0, NULL,
                     "Only streams of this channel"},
    [OPT_SUB] = {"--sub", "SUBJECT", TEXT, FOR(CTL_CLIENTS) | FOR(CTL_DISCONNECT), 0, NULL,
                 "Only streams whose token names this subject"},
    [OPT_ADDRESS] = {"--address", "IP", TEXT, FOR(CTL_CLIENTS), 0, NULL,
                     "Only clients of this address"},
    [OPT_HISTORY] = {"--history", "N", TEXT, FOR(CTL_TAIL), 0, NULL,
                     "Begin with the last N events that are kept, or all"},
    [OPT_LAST_EVENT_ID] = {"--last-event-id", "ID", TEXT, FOR(CTL_TAIL), 0, NULL,
                           "Begin behind this event"},
    [OPT_URL] = {"--url", "URL", TEXT, FOR(CTL_TAIL), 0, NULL,
                 "Listen there instead: the public listener, or a proxy"},
    [OPT_EVENT] = {"--event", "NAME", TEXT, FOR(CTL_PUBLISH), 0, NULL,
                   "Publish an event of this name (in an envelope)"},
    [OPT_TOKEN] = {"--token", "JWT", TEXT, FOR(CTL_TAIL) | FOR(CTL_DOCTOR), 0, NULL,
                   "Send it as Authorization: Bearer; @FILE reads it from a file"},
    [OPT_HEADER] = {"--header", "LINE", LIST, FOR(CTL_TAIL) | FOR(CTL_DOCTOR), 0, NULL,
                    "Send 'Name: value', too; may be repeated"},
    [OPT_CA] = {"--ca", "FILE", TEXT, FOR(CTL_TAIL) | FOR(CTL_DOCTOR), 0, NULL,
                "Trust these certificates instead of the system's"},
    [OPT_ORIGIN] = {"--origin", "ORIGIN", TEXT, FOR(CTL_DOCTOR), 0, NULL,
                    "The site whose pages listen, as in https://app.example"},
    [OPT_HEARTBEAT] = {"--heartbeat", "D", DURATION, FOR(CTL_DOCTOR), 0, NULL,
                       "What stream.heartbeat is (15s)"},
    [OPT_TIME] = {"--time", "D", DURATION, FOR(CTL_DOCTOR), 0, NULL,
                  "Listen for at most this long (40s)"},
    [OPT_PUBLISH] = {"--publish", NULL, FLAG, FOR(CTL_DOCTOR), 0, NULL,
                     "Also time five events named doctor; the channel's clients get them"},
    [OPT_PROXY] = {"--proxy", "NAME", WORD, FOR(CTL_DOCTOR), 0, " nginx haproxy caddy apache ",
                   "Show the cures for nginx, haproxy, caddy or apache only"},
};

struct parser {
    struct ctl_options *o;
    struct buf *errors;
    bool bad, named; /* `named`: the command was */
};

static void complain(struct parser *p, const char *arg, const char *problem)
{
    text_safe(p->errors, arg, strcspn(arg, "="));
    buf_printf(p->errors, ": %s\n", problem);
    p->bad = true;
}

static void complain_range(struct parser *p, const struct option_row *row, const char *value)
{
    struct buf why = BUF_INIT;
    text_safe(&why, value, strlen(value));
    if (row->kind == NUMBER)
        buf_printf(&why, ": a number from 1 to %llu is needed", (unsigned long long)row->max);
    else if (row->kind == DURATION)
        buf_str(&why, ": a duration such as 500ms, 15s or 5m is needed");
    else
        buf_printf(&why, ": one of%.*s is needed", (int)strlen(row->words) - 1, row->words);
    complain(p, row->name, buf_cstr(&why));
    buf_finish(&why);
}

static bool read_number(const char *text, uint64_t max, uint64_t *out)
{
    *out = 0;
    for (const char *c = text; *c != '\0'; c++) {
        if (*c < '0' || *c > '9' || *out > max)
            return false;
        *out = *out * DECIMAL + (uint64_t)(*c - '0');
    }
    return *out >= 1 && *out <= max;
}

static bool is_word(const char *words, const char *value)
{
    struct buf padded = BUF_INIT;
    buf_printf(&padded, " %s ", value);
    bool found = strchr(value, ' ') == NULL && strstr(words, buf_cstr(&padded)) != NULL;
    buf_finish(&padded);
    return found;
}

static void take(struct parser *p, enum ctl_option which, const char *value)
{
    const struct option_row *row = &options[which];
    struct ctl_options *o = p->o;
    bool fits = true;
    if (row->kind == NUMBER)
        fits = read_number(value, row->max, &o->number[which]);
    else if (row->kind == DURATION)
        fits = config_duration(value, &o->number[which]) && o->number[which] > 0;
    else if (row->kind == WORD)
        fits = is_word(row->words, value);
    if (!fits)
        complain_range(p, row, value);
    if (row->kind == LIST)
        o->headers[o->header_count++] = value;
    o->value[which] = value;
}

static enum ctl_option find_option(const char *arg, size_t len)
{
    for (size_t i = 0; i < OPT_COUNT; i++) {
        if (strlen(options[i].name) == len && memcmp(options[i].name, arg, len) == 0)
            return (enum ctl_option)i;
    }
    return OPT_COUNT;
}

/* Returns how many arguments were used. */
static int read_option(struct parser *p, int argc, char **argv, int i)
{
    const char *arg = argv[i];
    size_t len = strcspn(arg, "=");
    bool attached = arg[len] == '=';
    enum ctl_option which = find_option(arg, len);
    if (which == OPT_COUNT) {
        complain(p, arg, "unknown option");
    } else if (options[which].value == NULL) {
        if (attached)
            complain(p, arg, "takes no value");
        take(p, which, "");
    } else if (attached) {
        take(p, which, arg + len + 1);
    } else if (i + 1 < argc && strncmp(argv[i + 1], "--", 2) != 0) {
        take(p, which, argv[i + 1]);
        return 2;
    } else {
        struct buf why = BUF_INIT;
        buf_printf(&why, "needs a value (%s)", options[which].value);
        complain(p, arg, buf_cstr(&why));
        buf_finish(&why);
    }
    return 1;
}

static enum ctl_command find_command(const char *name)
{
    for (size_t i = 0; i < CTL_COMMANDS; i++) {
        if (strcmp(commands[i].name, name) == 0)
            return (enum ctl_command)i;
    }
    return CTL_COMMANDS;
}

static void read_word(struct parser *p, const char *arg)
{
    struct ctl_options *o = p->o;
    if (!p->named) {
        enum ctl_command command = find_command(arg);
        p->named = true;
        if (command == CTL_COMMANDS)
            complain(p, arg, "unknown command");
        else
            o->command = command;
    } else if (o->arg_count < CTL_ARGS_MAX) {
        o->args[o->arg_count++] = arg;
    } else {
        complain(p, arg, "unexpected argument");
    }
}

static void check_admin(struct parser *p)
{
    struct addr addr;
    struct buf why = BUF_INIT;
    const char *reason = "";
    const char *text = p->o->value[OPT_ADMIN];
    if (addr_parse(&addr, text, &reason) != 0) {
        text_safe(&why, text, strlen(text));
        buf_printf(&why, ": %s (write host:port or unix:/path)", reason);
        complain(p, "--admin", buf_cstr(&why));
    }
    buf_finish(&why);
}

static void check_command(struct parser *p)
{
    struct ctl_options *o = p->o;
    const struct command_row *row = &commands[o->command];
    if (o->arg_count < row->min)
        complain(p, row->name, "something is missing");
    if (o->arg_count > row->max)
        complain(p, o->args[row->max], "unexpected argument");
    for (size_t i = 0; i < OPT_COUNT; i++) {
        if (o->value[i] != NULL && options[i].commands != 0 &&
            (options[i].commands & FOR(o->command)) == 0) {
            struct buf why = BUF_INIT;
            buf_printf(&why, "is no option of %s", row->name);
            complain(p, options[i].name, buf_cstr(&why));
            buf_finish(&why);
        }
    }
    if (o->command == CTL_TAIL && (o->arg_count == 0) == (o->value[OPT_URL] == NULL))
        complain(p, "tail", "name a channel, or give --url, not both");
    if (o->command == CTL_DISCONNECT && o->value[OPT_SUB] == NULL && o->value[OPT_CHANNEL] == NULL)
        complain(p, "disconnect", "whom? Give --sub, --channel, or both");
    if (o->command == CTL_HELP && o->arg_count > 0 && find_command(o->args[0]) == CTL_COMMANDS)
        complain(p, o->args[0], "unknown command");
}

int ctl_options_parse(struct ctl_options *o, int argc, char **argv, const char *env_admin,
                      struct buf *errors)
{
    struct parser p = {.o = o, .errors = errors};
    bool ended = false;
    *o = (struct ctl_options){.command = CTL_HELP};
    o->headers = calloc((size_t)(argc > 0 ? argc : 1), sizeof *o->headers);
    if (o->headers == NULL)
        return ERR_NOMEM;
    for (int i = 1; i < argc;) {
        bool word = ended || argv[i][0] != '-' || argv[i][1] != '-';
        if (!ended && strcmp(argv[i], "-h") == 0)
            o->value[OPT_HELP] = argv[i++]; /* what everybody tries */
        else if (word)
            read_word(&p, argv[i++]);
        else if (argv[i][2] == '\0')
            ended = i++ > 0;
        else
            i += read_option(&p, argc, argv, i);
    }
    if (o->value[OPT_ADMIN] == NULL)
        o->value[OPT_ADMIN] =
            env_admin != NULL && env_admin[0] != '\0' ? env_admin : CTL_ADMIN_DEFAULT;
    if (o->value[OPT_HELP] != NULL || o->value[OPT_VERSION] != NULL)
        return p.bad ? ERR_INVALID : 0;
    if (!p.named)
        complain(&p, "tickerctl", "which command? status is one");
    if (!p.bad)
        check_command(&p);
    check_admin(&p);
    return p.bad ? ERR_INVALID : 0;
}

void ctl_options_finish(struct ctl_options *o)
{
    free(o->headers);
    o->headers = NULL;
}

/* ---- help ------------------------------------------------------------------------------------ */

enum ctl_command ctl_options_about(const struct ctl_options *o)
{
    return o->command == CTL_HELP && o->arg_count > 0 ? find_command(o->args[0]) : o->command;
}

/* One entry: what is typed, and beside it what that does. */
static void put_entry(struct buf *out, int width, const char *name, const char *value,
                      const char *meaning)
{
    struct buf typed = BUF_INIT, line = BUF_INIT;
    buf_printf(&typed, "%s %s", name, value == NULL ? "" : value);
    buf_printf(&line, "  %-*s %s.\n", width, buf_cstr(&typed), meaning);
    text_wrapped(out, line.data, line.len, (size_t)width + 3, HELP_COLUMNS);
    buf_finish(&typed);
    buf_finish(&line);
}

static void put_options(struct buf *out, uint32_t mask)
{
    for (size_t i = 0; i < OPT_COUNT; i++) {
        if ((options[i].commands == 0) != (mask == 0) || (mask & options[i].commands) != mask)
            continue;
        put_entry(out, OPTION_COLUMNS, options[i].name, options[i].value, options[i].help);
    }
}

void ctl_options_help(struct buf *out, enum ctl_command command)
{
    if (command != CTL_HELP) {
        const struct command_row *row = &commands[command];
        buf_printf(out, "Usage: tickerctl [OPTION]\xe2\x80\xa6 %s %s\n%s.\n", row->name, row->args,
                   row->help);
        size_t before = out->len;
        buf_str(out, "\nOptions of this command:\n");
        size_t titled = out->len;
        put_options(out, FOR(command));
        if (out->len == titled)
            out->len = before;
    } else {
        buf_str(out, "Usage: tickerctl [OPTION]\xe2\x80\xa6 COMMAND\n"
                     "Shows and steers a running tickerd through its admin listener.\n"
                     "\nCommands:\n");
        for (size_t i = 0; i < CTL_COMMANDS; i++)
            put_entry(out, COMMAND_COLUMNS, commands[i].name, commands[i].args, commands[i].help);
        buf_str(out, "\ntickerctl help COMMAND says which options a command takes.\n");
    }
    buf_str(out, "\nOptions of every command:\n");
    put_options(out, 0);
    buf_str(out, "\nEnvironment:\n");
    put_entry(out, OPTION_COLUMNS, CTL_ENV_ADMIN, NULL,
              "Stands in for --admin; without both, " CTL_ADMIN_DEFAULT " is asked");
    put_entry(out, OPTION_COLUMNS, "NO_COLOR", NULL, "No colours, unless --color=always");
    buf_str(out, "\nExit status: 0 good; 1 refused, or the doctor found faults; 2 wrong usage;\n"
                 "3 no connection.\n");
}
