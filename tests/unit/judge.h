/* A naive judge of what clients saw who go from instance to instance. It numbers the messages in
 * Redis's order and notes what became of each in every *run* of an instance (a restart begins
 * another): the position it was stamped with there, or the one that the run had reached when it was
 * lost to it. Nothing is ever compared across runs but these numbers.
 *
 * A client's account with each message of its channels: seen; announced, by a gap that covers it at
 * the instance that sent the gap; or excused, since it lies before the client's time. At the end
 * there must be nothing else.
 *
 * Keys: in each run everything has its place on one line: twice the position for what was stamped,
 * an odd number, just above the position reached, for what was lost. */
#ifndef TICKERD_TESTS_JUDGE_H
#define TICKERD_TESTS_JUDGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sim_topics.h"
#include "sse_decoder.h"
#include "tickerd/base/buf.h"
#include "tickerd/broker/timeline.h"

enum { JUDGE_MESSAGES = 1536, JUDGE_RUNS = 32, JUDGE_TEXT = 48 };

struct judge_message {
    uint32_t channel;
    bool oversize;
    uint64_t time;         /* when it was published, for the story */
    char data[JUDGE_TEXT]; /* what event.data is to be */
};

struct judge_run {
    uint32_t instance;
    uint64_t from;                   /* when it began, for the story */
    size_t next;                     /* the first message that is on its way here */
    uint32_t copies[JUDGE_MESSAGES]; /* that are on their way */
    uint64_t keys[JUDGE_MESSAGES];   /* 0: on its way */
    bool over;
};

struct judge {
    struct judge_message messages[JUDGE_MESSAGES];
    size_t count;
    struct judge_run runs[JUDGE_RUNS];
    size_t run_count;
    bool on_demand; /* what was lost while nobody had subscribed may be announced late */
    bool exactly;   /* nothing is in the way of exactly-once */
    bool lenient;   /* only loss counts: ids are tampered with */
    bool strict; /* a gap speaks for nothing before its `from`; else for all since the client came
                    to this run, who will have heard of it if it has not left meanwhile */
    bool lost;   /* the error is a silent loss */
    char error[512]; /* "": none yet */
    size_t events, gaps;
    size_t late;    /* messages that were announced by a gap which begins behind them */
    size_t foreign; /* resumes on another instance */
    size_t exact, exact_gaps, repeated; /* those after an event's own id; their gaps, repetitions */
};

enum judge_state { JUDGE_OPEN, JUDGE_SEEN, JUDGE_ANNOUNCED, JUDGE_EXCUSED };

/* One client through all its connections. */
struct judge_client {
    bool matches[SIM_CHANNELS];
    bool history;
    bool connected_once; /* it has an id */
    char last_id[160];
    size_t id_run;        /* the run that gave it */
    uint64_t id_position; /* its key there */
    uint64_t id_start;    /* and where the client came to that run; 0: to none yet */
    size_t id_message;    /* the message it is of; SIZE_MAX: of none */

    /* The connection: */
    size_t run;
    uint64_t start;      /* where the client came to this run; 0: not known yet */
    uint64_t position;   /* key of the last event or gap; 0: not known yet */
    bool resuming;       /* the next event is the open event of a resume */
    bool may_be_unknown; /* the next event may be a gap unknown-id */
    bool turned_away;    /* before it had an id, so that it will ask for its history again */
    bool exact;          /* resumed on another instance after an event's own id */
    size_t after;        /* which is that of this message */
    size_t read;         /* messages of its decoder */

    uint8_t states[JUDGE_MESSAGES];
    size_t settled[SIM_CHANNELS]; /* before this message none of the channel is open */
    struct buf *story;            /* NULL: nobody wants to know */
};

/* A run begins, at this position of its line. Returns its number. */
size_t judge_begins(struct judge *j, uint32_t instance, uint64_t time, uint64_t now);
/* It ends, with all that was on its way, at this position. */
void judge_ends(struct judge *j, size_t run, uint64_t now);

/* Published. To be followed by judge_sent for each run that is not over. */
void judge_published(struct judge *j, uint32_t channel, bool oversize, const char *data,
                     uint64_t time);
/* So many copies of the last message are on their way to a run whose hub is at `now`. */
void judge_sent(struct judge *j, size_t run, size_t copies, uint64_t now);
/* A copy has reached the hub, whose position went from `before` to `after` by it. */
void judge_stamped(struct judge *j, size_t run, uint64_t before, uint64_t after);
/* The connection to Redis was lost with all that was on its way; the hub is at `now`. */
void judge_cut_off(struct judge *j, size_t run, uint64_t now);

/* A client connects to a run with its last id, as that is after any tampering. */
void judge_connect(struct judge *j, struct judge_client *c, size_t run);
/* Judge what is new in its decoder; its hub is at `now`. */
void judge_read(struct judge *j, struct judge_client *c, const struct sse_decoder *d,
                const struct timeline *line, uint64_t now);
/* Everything has been delivered: nothing may be missing now. */
void judge_end(struct judge *j, const struct judge_client *c);

/* Add to out what became of a message in each run. */
void judge_tell(const struct judge *j, size_t message, struct buf *out);

#endif
