/* For tests of the directories: a loop, a directory on it, and what it called back. */
#ifndef TICKERD_TESTS_WHERE_RIG_H
#define TICKERD_TESTS_WHERE_RIG_H

#include "../../src/net/redis_where.h"
#include "fake_redis.h"

enum where_event { WHERE_FOUND, WHERE_NONE, WHERE_CHANGED, WHERES };

struct where_rig {
    uv_loop_t loop;
    uv_timer_t beat; /* so that waiting goes on */
    struct redis_where *where;
    size_t seen[WHERES];
    struct addr found;         /* the last one */
    char why[512];             /* the last one */
    enum where_event close_at; /* close from within this call-back; WHERES: never */
    bool closed;
};

void where_init(struct where_rig *w);
/* With an interval and a time-out of 250 ms. */
void where_start(struct where_rig *w, struct redis_options *options);
/* Close the directory, run the loop dry and close it. The fakes must have been stopped. */
void where_finish(struct where_rig *w);

void where_close(struct where_rig *w);

/* Ask, and wait for the answer; the port that was found, 0 for none. */
int where_ask(struct where_rig *w);

/* Run the loop for so long. */
void where_run(struct where_rig *w, uint64_t ms);

/* Run the loop until the expression is true; fails after ten seconds. */
#define WHERE_UNTIL(w, expression)                                                                 \
    do {                                                                                           \
        uint64_t where_end = uv_hrtime() + 10000000000U;                                           \
        while (!(expression)) {                                                                    \
            assert_true(uv_hrtime() < where_end);                                                  \
            (void)uv_run(&(w)->loop, UV_RUN_ONCE);                                                 \
        }                                                                                          \
    } while (0)

#endif
