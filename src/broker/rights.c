#include "tickerd/broker/rights.h"

#include <stdlib.h>
#include <string.h>

#include "tickerd/base/clock.h"
#include "tickerd/base/err.h"

struct subject {
    struct link rights;
    size_t len;
    char bytes[];
};

void rights_init(struct rights *r, const struct config *config)
{
    memset(r, 0, sizeof *r);
    r->config = config;
    strmap_init(&r->subjects);
}

void rights_finish(struct rights *r)
{
    auth_forget(&r->memory);
    strmap_finish(&r->subjects);
    free(r->ends);
    r->ends = NULL;
}

void rights_reload(struct rights *r, const struct config *config)
{
    auth_forget(&r->memory);
    r->config = config;
}

/* ---- subjects ------------------------------------------------------------------------------ */

static struct subject *subject_of(struct rights *r, const char *sub)
{
    size_t len = strlen(sub);
    struct subject *s = strmap_get(&r->subjects, sub, len);
    if (s != NULL)
        return s;
    s = malloc(sizeof *s + len);
    if (s == NULL)
        return NULL;
    list_init(&s->rights);
    s->len = len;
    memcpy(s->bytes, sub, len);
    if (strmap_put(&r->subjects, s->bytes, len, s) != ERR_OK) {
        free(s);
        return NULL;
    }
    return s;
}

static void leave_subject(struct right *right)
{
    struct subject *s = right->subject;
    list_remove(&right->peers);
    if (s == NULL || !list_empty(&s->rights))
        return;
    (void)strmap_del(&right->rights->subjects, s->bytes, s->len);
    free(s);
}

struct link *rights_of(const struct rights *r, const char *sub, size_t len)
{
    struct subject *s = strmap_get(&r->subjects, sub, len);
    return s == NULL ? NULL : &s->rights;
}

/* ---- ends ---------------------------------------------------------------------------------- */

enum { ENDS_MIN = 64 };

static int64_t end_at(const struct rights *r, uint32_t place)
{
    return grant_ends_s(r->ends[place - 1]->grant);
}

static void put(struct rights *r, uint32_t place, struct right *right)
{
    r->ends[place - 1] = right;
    right->place = place;
}

/* Move a right from this place, which is free, towards the first or the last as its end demands. */
static void sift(struct rights *r, uint32_t place, struct right *right)
{
    int64_t end = grant_ends_s(right->grant);
    for (; place > 1 && end_at(r, place / 2) > end; place /= 2)
        put(r, place, r->ends[place / 2 - 1]);
    for (uint32_t next; (next = 2 * place) <= r->end_count; place = next) {
        if (next < r->end_count && end_at(r, next + 1) < end_at(r, next))
            next++;
        if (end_at(r, next) >= end)
            break;
        put(r, place, r->ends[next - 1]);
    }
    put(r, place, right);
}

static int note_end(struct rights *r, struct right *right)
{
    if (r->end_count == r->end_room) {
        uint32_t room = r->end_room == 0 ? ENDS_MIN : 2 * r->end_room;
        struct right **more = realloc(r->ends, room * sizeof(struct right *));
        if (more == NULL)
            return ERR_NOMEM;
        r->ends = more;
        r->end_room = room;
    }
    r->end_count++;
    sift(r, r->end_count, right);
    return ERR_OK;
}

void right_settle(struct right *right)
{
    struct rights *r = right->rights;
    uint32_t place = right->place;
    if (place == 0)
        return;
    right->place = 0;
    struct right *last = r->ends[--r->end_count];
    if (last != right)
        sift(r, place, last);
}

bool right_is_over(const struct right *right, int64_t wall_us)
{
    int64_t ends = grant_ends_s(right->grant);
    return ends <= INT64_MAX / US_PER_S && wall_us >= ends * US_PER_S;
}

struct right *rights_over(const struct rights *r, int64_t wall_us)
{
    return r->end_count > 0 && right_is_over(r->ends[0], wall_us) ? r->ends[0] : NULL;
}

/* ---- one right ----------------------------------------------------------------------------- */

static int join_subject(struct rights *r, struct right *right, const char *sub)
{
    right->subject = sub == NULL ? NULL : subject_of(r, sub);
    if (right->subject != NULL)
        list_push(&right->subject->rights, &right->peers);
    return sub == NULL || right->subject != NULL ? ERR_OK : ERR_NOMEM;
}

struct right *right_create(struct rights *r, struct grant *grant, struct session *session)
{
    struct right *right = calloc(1, sizeof *right);
    if (right == NULL)
        return NULL;
    right->rights = r;
    right->grant = grant;
    right->session = session;
    right->restricted = true;
    list_init(&right->peers);
    if (join_subject(r, right, grant_subject(grant)) == ERR_OK &&
        (grant_ends_s(grant) == INT64_MAX || note_end(r, right) == ERR_OK))
        return right;
    right->grant = NULL; /* stays the caller's */
    right_destroy(right);
    return NULL;
}

void right_destroy(struct right *right)
{
    if (right == NULL)
        return;
    right_settle(right);
    leave_subject(right);
    grant_destroy(right->grant);
    free(right);
}
