/* Private to the log: which lines are repeats. Whoever calls has the lock. */
#ifndef TICKERD_BASE_LOG_REPEAT_H
#define TICKERD_BASE_LOG_REPEAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    REPEAT_LINES = 10,
    REPEAT_WINDOW_S = 10,
    REPEAT_CALLS = 128, /* which is more than there are; what is beyond is never held back */
    REPEAT_TEXT = 120,
};

/* One call, by its format string. */
struct repeat_call {
    const char *fmt; /* NULL: free */
    uint64_t since_us;
    uint64_t count; /* since then */
    int level;
    char text[REPEAT_TEXT + 1]; /* the beginning of the last one written */
};

struct repeats {
    struct repeat_call calls[REPEAT_CALLS];
    uint64_t held; /* in all */
};

/* A sum to be written. */
struct repeat_sum {
    uint64_t held; /* 0: there is none */
    int level;
    char text[REPEAT_TEXT + 1];
};

/* Whether this one is written. If it begins a new window, *sum has what was held back in the one
 * before. */
bool repeat_admit(struct repeats *r, const char *fmt, int level, uint64_t now_us,
                  struct repeat_sum *sum);

/* It was written, with this text. */
void repeat_note(struct repeats *r, const char *fmt, const char *text);

/* The sum of a call whose window is over, or of any if `all`. False: there is none left. */
bool repeat_next(struct repeats *r, bool all, uint64_t now_us, struct repeat_sum *sum);

#endif
