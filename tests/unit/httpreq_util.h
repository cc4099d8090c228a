/* For tests of the request reader: what comes of bytes, however they are split. */
#ifndef TICKERD_TESTS_HTTPREQ_UTIL_H
#define TICKERD_TESTS_HTTPREQ_UTIL_H

#include "tickerd/wire/httpreq.h"

enum { LIMIT = 16384 };

/* What the readers take of a POST's body. */
extern size_t httpreq_body_max;

struct httpreq *httpreq_make(size_t limit);

/* Feed bytes from a block of exactly their size, so that a read beyond them is found. */
enum httpreq_state httpreq_give(struct httpreq *r, const char *data, size_t len, size_t *total);

/* The outcome as text, after checking that it is the same however the bytes are split. To be freed.
 */
char *httpreq_check_splits(size_t limit, const char *data, size_t len);

void httpreq_check_refused(size_t limit, const char *data, size_t len, int status,
                           const char *code);

/* This request with random damage, whose limit is about its size. */
void httpreq_check_damaged(const char *sound, size_t sound_len);

#endif
