/* The log sink: the one piece of global state. Lines go to stderr, each in a single write(2), so
 * that threads do not mix; control bytes in a message are escaped, so that no input can forge a
 * line. Text: `<time> <level> <message>`; JSON: one object per line with time, level, message. */
#ifndef TICKERD_BASE_LOG_H
#define TICKERD_BASE_LOG_H

#include <stdbool.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };
enum log_format { LOG_TEXT, LOG_JSON };

/* Set what is logged and how. May be called again at any time from any thread. */
void log_setup(enum log_level level, enum log_format format);

/* Whether a line of this level would be written; for messages that are costly to build. */
bool log_enabled(enum log_level level);

/* Write one line. Longer than 2,000 bytes: cut, with an ellipsis. */
void log_write(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Write each line of a text as a line of its own, so that with LOG_JSON they are objects too. */
void log_lines(enum log_level level, const char *text);

#define log_error(...) log_write(LOG_ERROR, __VA_ARGS__)
#define log_warn(...) log_write(LOG_WARN, __VA_ARGS__)
#define log_info(...) log_write(LOG_INFO, __VA_ARGS__)
#define log_debug(...)                                                                             \
    do {                                                                                           \
        if (log_enabled(LOG_DEBUG))                                                                \
            log_write(LOG_DEBUG, __VA_ARGS__);                                                     \
    } while (0)

#endif
