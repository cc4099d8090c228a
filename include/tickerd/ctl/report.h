/* What the doctor found, for people and for programs. */
#ifndef TICKERD_CTL_REPORT_H
#define TICKERD_CTL_REPORT_H

#include <jansson.h>

#include "tickerd/ctl/judge.h"
#include "tickerd/ctl/screen.h"

/* Append it as text. `only`: the proxy whose configuration is shown; PROXIES: all. */
void report_text(struct buf *out, const struct screen *s, const struct findings *f,
                 enum proxy only);

/* The same as JSON; the caller's. NULL: out of memory. */
json_t *report_json(const struct sights *s, const struct findings *f, enum proxy only);

#endif
