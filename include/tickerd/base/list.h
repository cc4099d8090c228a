/* Intrusive doubly linked lists. A `struct link` sits inside the element; a list is a link whose
 * neighbours are itself. Lists ordered by time (append at the tail, look at the head) make
 * time-outs of one length O(1). Nothing here allocates or owns. */
#ifndef TICKERD_BASE_LIST_H
#define TICKERD_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct link {
    struct link *prev, *next;
};

/* The element that contains `ptr` as its member `member`. */
#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* Make an empty list head, or mark an element as being in no list. */
static inline void list_init(struct link *l)
{
    l->prev = l->next = l;
}

static inline bool list_empty(const struct link *l)
{
    return l->next == l;
}

/* Insert `e` before `at`; with `at` the list head that is the tail. `e` must be in no list. */
static inline void list_insert(struct link *at, struct link *e)
{
    e->prev = at->prev;
    e->next = at;
    at->prev->next = e;
    at->prev = e;
}

static inline void list_push(struct link *list, struct link *e)
{
    list_insert(list, e);
}

/* Take `e` out of whatever list it is in; harmless when it is in none. */
static inline void list_remove(struct link *e)
{
    e->prev->next = e->next;
    e->next->prev = e->prev;
    list_init(e);
}

/* The first element's link, or NULL. */
static inline struct link *list_first(const struct link *list)
{
    return list->next == list ? NULL : list->next;
}

/* Move every element of `from` to the tail of `to`; `from` ends empty. */
static inline void list_splice(struct link *to, struct link *from)
{
    if (list_empty(from))
        return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    list_init(from);
}

/* Walk the list; the body may remove (or free) the current element. */
#define list_each(list, it)                                                                        \
    for (struct link *it = (list)->next, *it##_next = it->next; it != (list);                      \
         it = it##_next, it##_next = it->next)

#endif
