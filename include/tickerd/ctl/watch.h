/* One request of the doctor's: it asks, and fills in a struct seen. */
#ifndef TICKERD_CTL_WATCH_H
#define TICKERD_CTL_WATCH_H

#include "tickerd/ctl/headers.h"
#include "tickerd/ctl/reader.h"
#include "tickerd/ctl/seen.h"
#include "tickerd/ctl/web.h"

struct watch {
    struct seen *seen;
    struct reader reader;
    struct web_call *call; /* NULL once it has ended, or was never started */
    const char *mark;      /* what the data of a probe has, before its number; NULL: none */
};

struct watch_ask {
    const char *url, *method, *ca; /* method NULL: GET; ca NULL: the system's */
    const struct headers *common;
    const char *name, *value; /* one header more; NULL: none */
    bool trusting, compressed, shared;
};

/* `seen` must be as seen_init left it, and outlive the watch, as must what `mark` points to. */
void watch_init(struct watch *w, struct seen *seen, const char *mark);
void watch_start(struct watch *w, struct web *web, const struct watch_ask *ask);
/* End the request, if it has not ended: what was seen stays. */
void watch_finish(struct watch *w);

#endif
