/* The log sink: the one piece of global state. Lines go to stderr, each in a single write(2), so
 * that threads do not mix; control bytes in a message are escaped, so that no input can forge a
 * line. Text: `<time> <level> <message>`; JSON: one object per line with time, level, message.
 *
 * Where stderr is the journal (systemd.exec(5), JOURNAL_STREAM), a line begins with its priority as
 * `<3>` (sd-daemon(3)), which the journal takes off again, and in text with nothing else: the
 * journal has a clock of its own.
 *
 * What repeats is held back: of the warnings and errors of one call, which is told by its format
 * string, ten are written in ten seconds. Behind them comes a line that says how many more they
 * were. */
#ifndef TICKERD_BASE_LOG_H
#define TICKERD_BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };
enum log_format { LOG_TEXT, LOG_JSON };

/* Set what is logged and how. May be called again at any time from any thread. */
void log_setup(enum log_level level, enum log_format format);

/* Whether a line of this level would be written; for messages that are costly to build. */
bool log_enabled(enum log_level level);

/* Write one line. Longer than 2,000 bytes: cut, with an ellipsis. */
void log_write(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The same for what is never held back: the answer to what a person has done. */
void log_each(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Write each line of a text as a line of its own, so that with LOG_JSON they are objects too. Never
 * held back. */
void log_lines(enum log_level level, const char *text);

/* Say how many were held back where ten seconds are over. Call a few times a second. */
void log_tick(void);

/* Say it now, before the end. */
void log_flush(void);

/* ---- fields ---------------------------------------------------------------------------------- */

enum log_kind {
    LOG_WORD,   /* printable ASCII without blanks, and not for others to choose freely */
    LOG_VALUE,  /* any bytes; cut after 200 of them */
    LOG_COUNT,  /* `n` */
    LOG_SECONDS /* `n` microseconds */
};

struct log_field {
    const char *name; /* a word */
    enum log_kind kind;
    const char *text;
    size_t len; /* of text */
    uint64_t n;
};

/* Write one line with fields: `<message>: name=value …` in text, where what could end a value, or
 * look like another, is percent-encoded; members of their own in JSON. Never held back. */
void log_fields(enum log_level level, const char *message, const struct log_field *fields,
                size_t count);

#define log_error(...) log_write(LOG_ERROR, __VA_ARGS__)
#define log_warn(...) log_write(LOG_WARN, __VA_ARGS__)
#define log_info(...) log_write(LOG_INFO, __VA_ARGS__)
#define log_debug(...)                                                                             \
    do {                                                                                           \
        if (log_enabled(LOG_DEBUG))                                                                \
            log_write(LOG_DEBUG, __VA_ARGS__);                                                     \
    } while (0)

#endif
