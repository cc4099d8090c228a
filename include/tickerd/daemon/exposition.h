/* Figures as text for Prometheus: its text exposition format, version 0.0.4
 * (https://prometheus.io/docs/instrumenting/exposition_formats/), names by its conventions. No
 * series is named for a channel or a client: their number is not ours to bound. */
#ifndef TICKERD_DAEMON_EXPOSITION_H
#define TICKERD_DAEMON_EXPOSITION_H

#include "tickerd/base/buf.h"
#include "tickerd/daemon/figures.h"

#define EXPOSITION_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* Append all families. */
void exposition_print(struct buf *out, const struct figures *f);

/* Append a label's value with its quotes. */
void exposition_label(struct buf *out, const char *text);

/* Append microseconds as seconds, without needless zeros. */
void exposition_seconds(struct buf *out, uint64_t us);

#endif
