/* Between the parts of lists: the errand, and what is listed. */
#ifndef TICKERD_ROSTER_INTERNAL_H
#define TICKERD_ROSTER_INTERNAL_H

#include "tickerd/daemon/admin.h"
#include "tickerd/daemon/held.h"
#include "tickerd/daemon/hub.h"
#include "tickerd/daemon/worker.h"
#include "tickerd/net/desk.h"

enum { ROSTER_PIECE_US = 500, ROSTER_LIMIT = 100, ROSTER_LIMIT_MAX = 1000 };

enum roster_leg { LEG_WORKERS, LEG_HUB, LEG_HOME, LEG_END };

struct roster;
struct roster_query;

/* What makes a kind of list. The calls named `at_` do a piece of about ROSTER_PIECE_US on that
 * thread and return whether all is done there; they set roster.failed when memory is out. */
struct roster_kind {
    size_t size; /* of the structure that begins with a struct roster */
    /* Take what the query says, and set roster.leg. Mandatory. */
    void (*read)(struct roster *r, struct roster_query *q);
    bool (*at_hub)(struct roster *r, struct registry *registry); /* optional */
    bool (*at_worker)(struct roster *r, struct worker *w);       /* mandatory; see roster.worker */
    void (*at_home)(struct roster *r);                           /* on a LEG_HOME; optional */
    /* It goes from where it is, done or not: give back what it has there. Mandatory. */
    void (*leave)(struct roster *r);
    /* Append the text. Mandatory. */
    void (*print)(struct roster *r, struct buf *out);
    /* Free what it has gathered, but not itself; on any thread. Mandatory. */
    void (*clear)(struct roster *r);
};

/* The head of each list, which is one block of memory. */
struct roster {
    struct errand errand;
    const struct roster_kind *kind;
    const enum roster_leg *leg; /* the way it goes, from here; then it is printed at home */
    uint32_t worker;            /* on a LEG_WORKERS: which */
    struct admin *admin;
    struct held *held; /* whose answer it will be */
    bool failed;
};

/* Answer this request by a list. */
void roster_begin(const struct roster_kind *kind, struct exchange *x, struct http_slice query);

/* ---- reading the query; the first thing that is wrong sticks ---- */

struct roster_query {
    struct http_slice text;
    struct buf value; /* of the parameter read last */
    struct target_error why;
    bool failed;
};

/* Whether the parameter is given, and not empty. */
bool roster_param(struct roster_query *q, const char *name);

/* The last one's value is not allowed; `allowed` ends "The parameter x must be ". */
void roster_refuse(struct roster_query *q, const char *name, const char *allowed);
void roster_no_memory(struct roster_query *q);

uint32_t roster_limit(struct roster_query *q);

/* Append a JSON string. */
void roster_put_text(struct buf *out, const char *text, size_t len);

#endif
