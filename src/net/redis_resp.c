#include "redis_resp.h"

#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stdlib.h>

#include "tickerd/base/buf.h"
#include "tickerd/base/err.h"

/* A reply is handed over from inside hiredis' call for its last element: only there do the bytes
 * of that element, the payload of a message, still lie in the reader's buffer, so that they need
 * no copy. (Before redisReaderGetReply returns, hiredis moves its buffer.) The elements before it
 * may have come with an earlier feed; they are short and are copied to `held`.
 *
 * The functions give hiredis the reader itself as the object: it only has to be non-NULL. */

enum {
    LINE_MAX_LEN =
        64 * 1024,        /* of what is no bulk string; hiredis looks for its end anew each time */
    FEED_SLICE = 4096,    /* larger feeds make hiredis move what is left again and again */
    HELD_KEEP = 64 * 1024 /* one absurd channel name must not pin its memory */
};

struct resp_reader {
    redisReader *redis;
    resp_take *take;
    void *ctx;
    size_t max;
    struct buf held;        /* the parts before the last, one after the other */
    size_t end[RESP_PARTS]; /* where each of them ends in `held` */
    bool odd;               /* this reply is no array of 1 to RESP_PARTS elements */
    bool taken;             /* this reply has been handed over */
    int verdict;            /* of take */
    const char *error;      /* static; NULL: hiredis has it */
};

static bool is_last(const redisReadTask *task)
{
    return (size_t)task->idx + 1 == (size_t)task->parent->elements;
}

static void hand_over(struct resp_reader *r, const struct resp_reply *reply)
{
    r->taken = true;
    if (r->verdict == ERR_OK)
        r->verdict = r->take(r->ctx, reply);
}

static void hand_over_array(struct resp_reader *r, size_t count, const char *last, size_t n)
{
    struct resp_reply reply = {.kind = RESP_ARRAY, .count = count};
    size_t start = 0;
    for (size_t i = 0; i + 1 < count; i++) {
        size_t len = r->end[i] - start;
        reply.part[i] = (struct resp_slice){len > 0 ? r->held.data + start : "", len};
        start = r->end[i];
    }
    reply.part[count - 1] = (struct resp_slice){last, n};
    hand_over(r, &reply);
}

static void *add_element(struct resp_reader *r, const redisReadTask *task, const char *s, size_t n)
{
    if (r->odd || task->parent->parent != NULL)
        return r;
    if (task->idx < 0 || task->idx >= RESP_PARTS) {
        r->odd = true;
        return r;
    }
    if (is_last(task)) {
        hand_over_array(r, (size_t)task->idx + 1, s, n);
        return r;
    }
    buf_append(&r->held, s, n);
    r->end[task->idx] = r->held.len;
    return r->held.failed ? NULL : r;
}

static void *create_string(const redisReadTask *task, char *s, size_t n)
{
    struct resp_reader *r = task->privdata;
    if (task->parent != NULL)
        return add_element(r, task, s, n);
    struct resp_reply reply = {.kind = RESP_STRING, .count = 1, .part = {{s, n}}};
    if (task->type == REDIS_REPLY_STATUS)
        reply.kind = RESP_STATUS;
    else if (task->type == REDIS_REPLY_ERROR)
        reply.kind = RESP_ERROR;
    hand_over(r, &reply);
    return r;
}

static void *create_blank(const redisReadTask *task)
{
    struct resp_reader *r = task->privdata;
    return task->parent != NULL ? add_element(r, task, "", 0) : r;
}

static void *create_integer(const redisReadTask *task, long long value)
{
    (void)value;
    return create_blank(task);
}

static void *begin_array(const redisReadTask *task, size_t elements)
{
    struct resp_reader *r = task->privdata;
    if (task->parent != NULL)
        return add_element(r, task, "", 0);
    if (elements == 0 || elements > RESP_PARTS)
        r->odd = true;
    return r;
}

#if HIREDIS_MAJOR >= 1
static void *create_array(const redisReadTask *task, size_t elements)
{
    return begin_array(task, elements);
}

static void *create_double(const redisReadTask *task, double value, char *s, size_t n)
{
    (void)value;
    (void)s;
    (void)n;
    return create_blank(task);
}

static void *create_bool(const redisReadTask *task, int value)
{
    (void)value;
    return create_blank(task);
}
#else
static void *create_array(const redisReadTask *task, int elements)
{
    return begin_array(task, (size_t)elements);
}
#endif

static void free_object(void *object)
{
    (void)object;
}

static redisReplyObjectFunctions functions = {
    .createString = create_string,
    .createArray = create_array,
    .createInteger = create_integer,
#if HIREDIS_MAJOR >= 1
    .createDouble = create_double,
    .createBool = create_bool,
#endif
    .createNil = create_blank,
    .freeObject = free_object,
};

/* Gets ready for the next reply. */
static void rewind_reply(struct resp_reader *r)
{
    if (r->held.cap > HELD_KEEP)
        buf_finish(&r->held);
    buf_reset(&r->held);
    r->odd = r->taken = false;
}

static int fail(struct resp_reader *r)
{
    return r->redis->err == REDIS_ERR_OOM ? ERR_NOMEM : ERR_INVALID;
}

/* Hands over all replies that are complete. */
static int take_replies(struct resp_reader *r)
{
    for (;;) {
        void *object = NULL;
        if (redisReaderGetReply(r->redis, &object) != REDIS_OK)
            return r->verdict != ERR_OK ? r->verdict : fail(r);
        if (object == NULL)
            break;
        if (!r->taken)
            hand_over(r, &(struct resp_reply){.kind = RESP_OTHER, .count = 0});
        rewind_reply(r);
        if (r->verdict != ERR_OK)
            return r->verdict;
    }
    size_t left = r->redis->len - r->redis->pos;
    if (left > r->max || r->held.len > r->max - left ||
        (left > LINE_MAX_LEN &&
         memmem(r->redis->buf + r->redis->pos, LINE_MAX_LEN, "\r\n", 2) == NULL)) {
        r->error = "a reply is too long";
        return ERR_INVALID;
    }
    return ERR_OK;
}

struct resp_reader *resp_create(resp_take *take, void *ctx, size_t max)
{
    struct resp_reader *r = calloc(1, sizeof *r);
    if (r == NULL)
        return NULL;
    r->redis = redisReaderCreateWithFunctions(&functions);
    if (r->redis == NULL) {
        free(r);
        return NULL;
    }
    r->redis->privdata = r;
    r->take = take;
    r->ctx = ctx;
    r->max = max;
    buf_init(&r->held);
    return r;
}

void resp_destroy(struct resp_reader *r)
{
    if (r == NULL)
        return;
    redisReaderFree(r->redis);
    buf_finish(&r->held);
    free(r);
}

int resp_feed(struct resp_reader *r, const char *data, size_t n)
{
    int rc = ERR_OK;
    for (size_t at = 0; at < n && rc == ERR_OK; at += FEED_SLICE) {
        size_t slice = n - at < FEED_SLICE ? n - at : FEED_SLICE;
        if (redisReaderFeed(r->redis, data + at, slice) != REDIS_OK)
            return fail(r);
        rc = take_replies(r);
    }
    return rc;
}

const char *resp_error(const struct resp_reader *r)
{
    return r->error != NULL ? r->error : r->redis->errstr;
}

void resp_command(struct buf *out, int argc, const char **argv, const size_t *lens)
{
    buf_printf(out, "*%d\r\n", argc);
    for (int i = 0; i < argc; i++) {
        size_t len = lens != NULL ? lens[i] : strlen(argv[i]);
        buf_printf(out, "$%zu\r\n", len);
        buf_append(out, argv[i], len);
        buf_str(out, "\r\n");
    }
}
