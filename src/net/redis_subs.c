#include "redis_subs.h"

#include <stdlib.h>
#include <string.h>

#include "tickerd/base/err.h"

void redis_subs_init(struct redis_subs *t)
{
    strmap_init(&t->names[SOURCE_CHANNEL]);
    strmap_init(&t->names[SOURCE_PATTERN]);
}

void redis_subs_finish(struct redis_subs *t)
{
    for (int kind = 0; kind < 2; kind++) {
        size_t pos = 0;
        struct redis_sub *sub;
        while ((sub = strmap_next(&t->names[kind], &pos)) != NULL)
            free(sub);
        strmap_finish(&t->names[kind]);
    }
}

size_t redis_subs_count(const struct redis_subs *t)
{
    return strmap_count(&t->names[0]) + strmap_count(&t->names[1]);
}

struct redis_sub *redis_subs_find(const struct redis_subs *t, enum source_sub kind,
                                  const char *name, size_t len)
{
    return strmap_get(&t->names[kind], name, len);
}

struct redis_sub *redis_subs_get(struct redis_subs *t, enum source_sub kind, const char *name,
                                 size_t len)
{
    struct redis_sub *sub = redis_subs_find(t, kind, name, len);
    if (sub != NULL)
        return sub;
    sub = calloc(1, sizeof *sub + len + 1);
    if (sub == NULL)
        return NULL;
    list_init(&sub->link);
    sub->kind = kind;
    sub->len = len;
    if (len > 0)
        memcpy(sub->name, name, len);
    if (strmap_put(&t->names[kind], sub->name, len, sub) != ERR_OK) {
        free(sub);
        return NULL;
    }
    return sub;
}

enum redis_sub_todo redis_sub_next(struct redis_sub *sub)
{
    if (sub->flight == FLIGHT_SENT)
        return TODO_NOTHING;
    if (sub->wanted != sub->on)
        return sub->flight == FLIGHT_REFUSED ? TODO_NOTHING : TODO_SEND;
    sub->flight = FLIGHT_NONE;
    list_remove(&sub->link);
    return sub->on ? TODO_NOTHING : TODO_RELEASE;
}

bool redis_sub_acked(struct redis_sub *sub, bool on)
{
    /* An end that nobody asked for is believed as well: it is sent again if it is still wanted. A
     * beginning that nobody asked for cannot be. */
    if (sub->on == on || (on && sub->flight != FLIGHT_SENT))
        return false;
    sub->on = on;
    sub->flight = FLIGHT_NONE;
    list_remove(&sub->link);
    return true;
}

void redis_subs_release(struct redis_subs *t, struct redis_sub *sub)
{
    (void)strmap_del(&t->names[sub->kind], sub->name, sub->len);
    list_remove(&sub->link);
    sub->gone = true;
    if (!sub->pinned)
        free(sub);
}

void redis_sub_pin(struct redis_sub *sub)
{
    sub->pinned = true;
}

void redis_sub_unpin(struct redis_sub *sub)
{
    sub->pinned = false;
    if (sub->gone)
        free(sub);
}

/* A map must not change while it is walked: those to be released are gathered in a list first. */
void redis_subs_forget(struct redis_subs *t)
{
    struct link unwanted;
    list_init(&unwanted);
    for (int kind = 0; kind < 2; kind++) {
        size_t pos = 0;
        struct redis_sub *sub;
        while ((sub = strmap_next(&t->names[kind], &pos)) != NULL) {
            sub->on = false;
            sub->flight = FLIGHT_NONE;
            list_remove(&sub->link);
            if (!sub->wanted)
                list_push(&unwanted, &sub->link);
        }
    }
    list_each(&unwanted, it)
        redis_subs_release(t, container_of(it, struct redis_sub, link));
}
