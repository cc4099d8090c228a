#include "log_repeat.h"

#include <string.h>

#include "tickerd/base/clock.h"

/* The place of a call in an open table, from which nothing is ever removed. NULL: it is full. */
static struct repeat_call *find(struct repeats *r, const char *fmt)
{
    size_t at = ((uintptr_t)fmt >> 3) * 2654435761U % REPEAT_CALLS;
    for (size_t i = 0; i < REPEAT_CALLS; i++) {
        struct repeat_call *c = &r->calls[(at + i) % REPEAT_CALLS];
        if (c->fmt == fmt || c->fmt == NULL)
            return c;
    }
    return NULL;
}

static bool is_over(const struct repeat_call *c, uint64_t now_us)
{
    return now_us - c->since_us >= (uint64_t)REPEAT_WINDOW_S * US_PER_S;
}

/* End the window of a call. */
static void sum_up(struct repeats *r, struct repeat_call *c, struct repeat_sum *sum)
{
    sum->held = c->count > REPEAT_LINES ? c->count - REPEAT_LINES : 0;
    sum->level = c->level;
    memcpy(sum->text, c->text, sizeof sum->text);
    r->held -= sum->held;
    c->count = 0;
}

bool repeat_admit(struct repeats *r, const char *fmt, int level, uint64_t now_us,
                  struct repeat_sum *sum)
{
    struct repeat_call *c = find(r, fmt);
    sum->held = 0;
    if (c == NULL)
        return true;
    if (c->count > 0 && is_over(c, now_us))
        sum_up(r, c, sum);
    if (c->count == 0)
        c->since_us = now_us;
    c->fmt = fmt;
    c->level = level;
    c->count++;
    r->held += c->count > REPEAT_LINES;
    return c->count <= REPEAT_LINES;
}

void repeat_note(struct repeats *r, const char *fmt, const char *text)
{
    struct repeat_call *c = find(r, fmt);
    if (c == NULL)
        return;
    size_t len = strlen(text);
    size_t n = len < REPEAT_TEXT ? len : REPEAT_TEXT;
    while (n < len && n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80)
        n--; /* not within a character */
    memcpy(c->text, text, n);
    c->text[n] = '\0';
}

bool repeat_next(struct repeats *r, bool all, uint64_t now_us, struct repeat_sum *sum)
{
    for (size_t i = 0; r->held > 0 && i < REPEAT_CALLS; i++) {
        struct repeat_call *c = &r->calls[i];
        if (c->count > REPEAT_LINES && (all || is_over(c, now_us))) {
            sum_up(r, c, sum);
            return true;
        }
    }
    return false;
}
