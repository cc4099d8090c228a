#include "tickerd/base/log.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "log_repeat.h"
#include "tickerd/base/clock.h"

enum {
    LOG_MESSAGE_MAX = 2000,
    LOG_VALUE_MAX = 200,
    LOG_LINE_MAX = LOG_MESSAGE_MAX * 6 + 128,
    LOG_LINE_END = 8, /* what a line ends with always fits */
};

enum { TO_UNKNOWN, TO_FILE, TO_JOURNAL };

static _Atomic int threshold = LOG_INFO;
static _Atomic int style = LOG_TEXT;
static _Atomic int target = TO_UNKNOWN;
static pthread_mutex_t repeats_lock = PTHREAD_MUTEX_INITIALIZER;
static struct repeats repeats;

static const char *const level_names[] = {"error", "warn", "info", "debug"};
static const char priorities[] = "3467"; /* RFC 5424 §6.2.1 */

/* ---- where to -------------------------------------------------------------------------------- */

/* systemd.exec(5): the device and the inode of the journal's end, if that is where stderr or stdout
 * went at first. A shell in between may have sent it elsewhere since. */
static int find_target(void)
{
    const char *text = getenv("JOURNAL_STREAM");
    struct stat st;
    char *end;
    if (text == NULL || fstat(STDERR_FILENO, &st) != 0)
        return TO_FILE;
    unsigned long long dev = strtoull(text, &end, 10);
    if (end == text || *end != ':')
        return TO_FILE;
    text = end + 1;
    unsigned long long ino = strtoull(text, &end, 10);
    bool same = end != text && *end == '\0' && dev == st.st_dev && ino == st.st_ino;
    return same ? TO_JOURNAL : TO_FILE;
}

void log_setup(enum log_level level, enum log_format format)
{
    atomic_store(&threshold, (int)level);
    atomic_store(&style, (int)format);
    atomic_store(&target, find_target());
}

bool log_enabled(enum log_level level)
{
    return (int)level <= atomic_load_explicit(&threshold, memory_order_relaxed);
}

/* ---- lines ----------------------------------------------------------------------------------- */

struct line {
    char bytes[LOG_LINE_MAX + LOG_LINE_END];
    size_t len;
    bool json;
};

static bool has_room(const struct line *l, size_t n)
{
    return l->len + n <= LOG_LINE_MAX;
}

/* Short pieces, of at most 60 bytes. */
__attribute__((format(printf, 2, 3))) static void put(struct line *l, const char *fmt, ...)
{
    size_t room = LOG_LINE_MAX - l->len;
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(l->bytes + l->len, room, fmt, args);
    va_end(args);
    if (n > 0)
        l->len += (size_t)n < room ? (size_t)n : 0;
}

/* The length of the printable character at s, or 0 where there is none: a control (C0, DEL, or C1,
 * which some terminals obey too) or no UTF-8. *code is its number. */
static size_t printable(const unsigned char *s, size_t left, uint32_t *code)
{
    static const uint32_t least[] = {0, 0x20, 0xa0, 0x800, 0x10000};
    size_t len = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
    if (len == 0 || s[0] > 0xf4 || len > left)
        return 0;
    uint32_t c = len == 1 ? s[0] : s[0] & (0x7fU >> len);
    for (size_t i = 1; i < len; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (s[i] & 0x3f);
    }
    bool legal = c != 0x7f && c <= 0x10ffff && (c < 0xd800 || c > 0xdfff);
    *code = c;
    return legal && c >= least[len] ? len : 0;
}

/* RFC 8259 §7. */
static void put_code(struct line *l, uint32_t c)
{
    if (c < 0x10000)
        put(l, "\\u%04x", (unsigned)c);
    else
        put(l, "\\u%04x\\u%04x", (unsigned)(0xd800 + ((c - 0x10000) >> 10)),
            (unsigned)(0xdc00 + (c & 0x3ff)));
}

/* Append text, escaping what could end the line, move a terminal's cursor or, in JSON, end the
 * string or make the line no JSON; and, of what is foreign, in JSON all that is not ASCII: there
 * are further characters that viewers take for the end of a line, or that turn its direction. At
 * most six bytes for each one, for which there is room. */
static void put_escaped(struct line *l, const char *text, size_t len, bool foreign)
{
    const unsigned char *p = (const unsigned char *)text;
    uint32_t code;
    for (size_t i = 0, n; i < len; i += n) {
        n = printable(p + i, len - i, &code);
        if (n == 0) {
            put(l, !l->json ? "\\x%02x" : p[i] < 0x80 ? "\\u%04x" : "\\\\x%02x", p[i]);
            n = 1;
        } else if (n > 1 && l->json && foreign) {
            put_code(l, code);
        } else {
            if (l->json && (p[i] == '"' || p[i] == '\\'))
                l->bytes[l->len++] = '\\';
            memcpy(l->bytes + l->len, p + i, n);
            l->len += n;
        }
    }
}

static void put_time(struct line *l)
{
    struct timespec now;
    struct tm tm;
    char text[32];
    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)gmtime_r(&now.tv_sec, &tm);
    (void)strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    put(l, "%s.%03dZ", text, (int)(now.tv_nsec / 1000000));
}

/* Begin a line up to its message, which is not to be ended yet. */
static void begin(struct line *l, enum log_level level)
{
    int to = atomic_load_explicit(&target, memory_order_relaxed);
    if (to == TO_UNKNOWN) {
        to = find_target();
        atomic_store(&target, to);
    }
    l->len = 0;
    l->json = atomic_load(&style) == LOG_JSON;
    if (to == TO_JOURNAL)
        put(l, "<%c>", priorities[level]);
    if (l->json) {
        put(l, "{\"time\":\"");
        put_time(l);
        put(l, "\",\"level\":\"%s\",\"message\":\"", level_names[level]);
    } else if (to != TO_JOURNAL) {
        put_time(l);
        put(l, " %-5s ", level_names[level]);
    }
}

static void finish(struct line *l, const char *end)
{
    size_t n = strlen(end);
    memcpy(l->bytes + l->len, end, n);
    ssize_t written = write(STDERR_FILENO, l->bytes, l->len + n);
    (void)written; /* nowhere left to report it */
}

static void write_message(enum log_level level, const char *message, size_t len)
{
    struct line l;
    begin(&l, level);
    put_escaped(&l, message, len, false);
    finish(&l, l.json ? "\"}\n" : "\n");
}

/* ---- messages -------------------------------------------------------------------------------- */

/* Ends a full message with an ellipsis, not within a character. */
static void cut(char *message)
{
    size_t at = LOG_MESSAGE_MAX - 3;
    while (at > LOG_MESSAGE_MAX - 6 && ((unsigned char)message[at] & 0xc0) == 0x80)
        at--;
    memcpy(message + at, "...", 4);
}

/* False: it cannot be printed. */
__attribute__((format(printf, 2, 0))) static bool print(char message[LOG_MESSAGE_MAX + 1],
                                                        const char *fmt, va_list args)
{
    int len = vsnprintf(message, LOG_MESSAGE_MAX + 1, fmt, args);
    if (len > LOG_MESSAGE_MAX)
        cut(message);
    return len >= 0;
}

static void write_sum(const struct repeat_sum *sum)
{
    char message[REPEAT_TEXT + 80];
    if (!log_enabled((enum log_level)sum->level))
        return;
    int n =
        snprintf(message, sizeof message, "%s... and %" PRIu64 " more like this in the last %d s",
                 sum->text, sum->held, REPEAT_WINDOW_S);
    write_message((enum log_level)sum->level, message, (size_t)n);
}

static bool admit(enum log_level level, const char *fmt)
{
    struct repeat_sum sum;
    (void)pthread_mutex_lock(&repeats_lock);
    bool written = repeat_admit(&repeats, fmt, (int)level, clock_mono_us(), &sum);
    (void)pthread_mutex_unlock(&repeats_lock);
    if (sum.held > 0)
        write_sum(&sum);
    return written;
}

void log_write(enum log_level level, const char *fmt, ...)
{
    char message[LOG_MESSAGE_MAX + 1];
    bool may_repeat = level > LOG_WARN;
    if (!log_enabled(level) || (!may_repeat && !admit(level, fmt)))
        return;
    va_list args;
    va_start(args, fmt);
    bool printed = print(message, fmt, args);
    va_end(args);
    if (!printed)
        return;
    write_message(level, message, strlen(message));
    if (may_repeat)
        return;
    (void)pthread_mutex_lock(&repeats_lock);
    repeat_note(&repeats, fmt, message);
    (void)pthread_mutex_unlock(&repeats_lock);
}

void log_each(enum log_level level, const char *fmt, ...)
{
    char message[LOG_MESSAGE_MAX + 1];
    if (!log_enabled(level))
        return;
    va_list args;
    va_start(args, fmt);
    bool printed = print(message, fmt, args);
    va_end(args);
    if (printed)
        write_message(level, message, strlen(message));
}

void log_lines(enum log_level level, const char *text)
{
    while (*text != '\0') {
        size_t len = strcspn(text, "\n");
        log_each(level, "%.*s", (int)len, text);
        text += len + (text[len] == '\n' ? 1 : 0);
    }
}

static void tell_held(bool all)
{
    struct repeat_sum sum;
    bool more;
    do {
        (void)pthread_mutex_lock(&repeats_lock);
        more = repeat_next(&repeats, all, clock_mono_us(), &sum);
        (void)pthread_mutex_unlock(&repeats_lock);
        if (more)
            write_sum(&sum);
    } while (more);
}

void log_tick(void)
{
    tell_held(false);
}

void log_flush(void)
{
    tell_held(true);
}

/* ---- fields ---------------------------------------------------------------------------------- */

/* Printable ASCII but for blanks, quotes, and % and = with which encodings and fields begin. */
static bool is_plain(char c)
{
    return c > ' ' && c <= '~' && strchr("\"%'=\\`", c) == NULL;
}

/* What was left out is shown by an ellipsis. */
static void put_value(struct line *l, const char *text, size_t len)
{
    size_t n = len < LOG_VALUE_MAX ? len : LOG_VALUE_MAX;
    while (l->json && n < len && n > LOG_VALUE_MAX - 3 && ((unsigned char)text[n] & 0xc0) == 0x80)
        n--; /* not within a character */
    if (l->json) {
        put_escaped(l, text, n, true);
    } else {
        for (size_t i = 0; i < n; i++) {
            if (is_plain(text[i]))
                l->bytes[l->len++] = text[i];
            else
                put(l, "%%%02X", (unsigned char)text[i]);
        }
    }
    put(l, "%s", n < len ? "..." : "");
}

static void put_field(struct line *l, const struct log_field *f)
{
    bool quoted = l->json && (f->kind == LOG_WORD || f->kind == LOG_VALUE);
    const char *quote = quoted ? "\"" : "";
    put(l, l->json ? ",\"%s\":%s" : " %s=%s", f->name, quote);
    switch (f->kind) {
    case LOG_WORD:
        put_escaped(l, f->text, f->len, false);
        break;
    case LOG_VALUE:
        put_value(l, f->text, f->len);
        break;
    case LOG_COUNT:
        put(l, "%" PRIu64, f->n);
        break;
    case LOG_SECONDS:
        put(l, "%.3f", (double)f->n / US_PER_S);
        break;
    }
    put(l, "%s", quote);
}

void log_fields(enum log_level level, const char *message, const struct log_field *fields,
                size_t count)
{
    struct line l;
    if (!log_enabled(level))
        return;
    begin(&l, level);
    put_escaped(&l, message, strlen(message), false);
    put(&l, l.json ? "\"" : ":");
    for (size_t i = 0; i < count; i++) {
        if (has_room(&l, strlen(fields[i].name) + 6 * fields[i].len + 40))
            put_field(&l, &fields[i]);
    }
    finish(&l, l.json ? "}\n" : "\n");
}
