#include "tickerd/base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
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

/* Copies the message, escaping what could end the line, move a terminal's cursor or, in JSON, end
 * the string. Returns the bytes written. */
static size_t escape(char *out, const char *message, bool json)
{
    size_t n = 0;
    for (const char *p = message; *p != '\0'; p++) {
        unsigned char c = (unsigned char)*p;
        if (c < 0x20 || c == 0x7f) {
            n += (size_t)sprintf(out + n, json ? "\\u%04x" : "\\x%02x", c);
        } else {
            if (json && (c == '"' || c == '\\'))
                out[n++] = '\\';
            out[n++] = (char)c;
        }
    }
    return n;
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
    char message[LOG_MESSAGE_MAX];
    va_list args;
    va_start(args, fmt);
    int len = vsnprintf(message, sizeof message, fmt, args);
    va_end(args);
    if (len < 0)
        return;
    if ((size_t)len >= sizeof message)
        memcpy(message + sizeof message - 4, "...", 4);

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
