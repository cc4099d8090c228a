#include "tickerd/base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LOG_MESSAGE_MAX = 2000, LOG_LINE_MAX = LOG_MESSAGE_MAX * 6 + 128 };

static _Atomic int threshold = LOG_INFO;
static _Atomic int style = LOG_TEXT;

static const char *const level_names[] = {"error", "warn", "info", "debug"};

void log_setup(enum log_level level, enum log_format format)
{
    atomic_store(&threshold, (int)level);
    atomic_store(&style, (int)format);
}

bool log_enabled(enum log_level level)
{
    return (int)level <= atomic_load_explicit(&threshold, memory_order_relaxed);
}

/* The length of the printable character at s, or 0 where there is none: a control (C0, DEL, or C1,
 * which some terminals obey too) or no UTF-8. A terminating NUL ends any sequence. */
static size_t printable(const unsigned char *s)
{
    static const uint32_t least[] = {0, 0x20, 0xa0, 0x800, 0x10000};
    size_t len = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
    if (len == 0 || s[0] > 0xf4)
        return 0;
    uint32_t c = len == 1 ? s[0] : s[0] & (0x7fU >> len);
    for (size_t i = 1; i < len; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (s[i] & 0x3f);
    }
    bool legal = c != 0x7f && c <= 0x10ffff && (c < 0xd800 || c > 0xdfff);
    return legal && c >= least[len] ? len : 0;
}

/* Copies the message, escaping what could end the line, move a terminal's cursor or, in JSON, end
 * the string or make the line no JSON. Returns the bytes written, at most six for each one. */
static size_t escape(char *out, const char *message, bool json)
{
    size_t n = 0;
    for (const unsigned char *p = (const unsigned char *)message; *p != '\0';) {
        size_t len = printable(p);
        if (len == 0) {
            const char *form = !json ? "\\x%02x" : *p < 0x80 ? "\\u%04x" : "\\\\x%02x";
            n += (size_t)sprintf(out + n, form, *p);
            len = 1;
        } else {
            if (json && (*p == '"' || *p == '\\'))
                out[n++] = '\\';
            memcpy(out + n, p, len);
            n += len;
        }
        p += len;
    }
    return n;
}

/* Ends a full message with an ellipsis, not within a character. */
static void cut(char *message)
{
    size_t at = LOG_MESSAGE_MAX - 3;
    while (at > LOG_MESSAGE_MAX - 6 && ((unsigned char)message[at] & 0xc0) == 0x80)
        at--;
    memcpy(message + at, "...", 4);
}

static size_t stamp(char *out, size_t size)
{
    struct timespec now;
    struct tm tm;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)gmtime_r(&now.tv_sec, &tm);
    size_t n = strftime(out, size, "%Y-%m-%dT%H:%M:%S", &tm);
    return n + (size_t)snprintf(out + n, size - n, ".%03dZ", (int)(now.tv_nsec / 1000000));
}

void log_write(enum log_level level, const char *fmt, ...)
{
    if (!log_enabled(level))
        return;
    char message[LOG_MESSAGE_MAX + 1];
    va_list args;
    va_start(args, fmt);
    int len = vsnprintf(message, sizeof message, fmt, args);
    va_end(args);
    if (len < 0)
        return;
    if ((size_t)len >= sizeof message)
        cut(message);

    char line[LOG_LINE_MAX];
    char when[40];
    (void)stamp(when, sizeof when);
    bool json = atomic_load(&style) == LOG_JSON;
    size_t n = (size_t)sprintf(
        line, json ? "{\"time\":\"%s\",\"level\":\"%s\",\"message\":\"" : "%s %-5s ", when,
        level_names[level]);
    n += escape(line + n, message, json);
    n += (size_t)sprintf(line + n, json ? "\"}\n" : "\n");
    ssize_t written = write(STDERR_FILENO, line, n);
    (void)written; /* nowhere left to report it */
}

void log_lines(enum log_level level, const char *text)
{
    while (*text != '\0') {
        size_t len = strcspn(text, "\n");
        log_write(level, "%.*s", (int)len, text);
        text += len + (text[len] == '\n' ? 1 : 0);
    }
}
