/* Events as tickerctl tail prints them. */
#ifndef TICKERD_CTL_SHOW_H
#define TICKERD_CTL_SHOW_H

#include <stdint.h>

#include "tickerd/base/buf.h"
#include "tickerd/ctl/reader.h"
#include "tickerd/ctl/screen.h"

/* Append the event as one JSON object and a line end; `wall_us` is when it came. */
void show_json(struct buf *out, const struct reader_event *event, uint64_t wall_us);

/* Append it as a line for people: local time, id, name, data; the broker's own events in words. */
void show_line(struct buf *out, const struct screen *s, const struct reader_event *event,
               uint64_t wall_us);

/* What the reason of a gap means, as a sentence without a full stop. */
const char *show_gap_reason(const char *reason);

#endif
