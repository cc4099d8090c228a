#include "tickerd/broker/protocol.h"

#include <stdlib.h>

void note_release(struct note *n)
{
    switch ((enum note_kind)n->kind) {
    case NOTE_FRAME:
        frame_unref(n->ref);
        break;
    case NOTE_HOLE:
    case NOTE_INTEREST:
        name_unref(n->ref);
        break;
    case NOTE_RESET: {
        struct snapshot *s = n->ref;
        for (size_t i = 0; s != NULL && i < s->count; i++)
            entry_release(&s->entries[i]);
        free(s);
        break;
    }
    case NOTE_TIMELINE:
        free(n->ref);
        break;
    case NOTE_COMMAND: {
        uint64_t streams;
        if (n->ref != NULL && command_done(n->ref, 0, &streams))
            command_destroy(n->ref);
        break;
    }
    case NOTE_EVICT:
    case NOTE_MARK:
    case NOTE_LIVE:
    case NOTE_REFUSED:
    case NOTE_UPSTREAM:
    case NOTE_DROP:
    case NOTE_RESYNC:
        break;
    }
    n->ref = NULL;
}

struct command *command_create(const struct control *what)
{
    struct command *c = malloc(sizeof *c);
    if (c == NULL)
        return NULL;
    atomic_init(&c->refs, 1);
    atomic_init(&c->streams, 0);
    c->what = *what;
    c->done = NULL;
    return c;
}

struct command *command_ref(struct command *c)
{
    (void)atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
    return c;
}

bool command_done(struct command *c, uint64_t streams, uint64_t *total)
{
    (void)atomic_fetch_add_explicit(&c->streams, streams, memory_order_relaxed);
    if (atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
        return false;
    *total = atomic_load_explicit(&c->streams, memory_order_relaxed);
    return true;
}

void command_destroy(struct command *c)
{
    if (c == NULL)
        return;
    if (c->done != NULL)
        c->done(c->ctx, atomic_load_explicit(&c->streams, memory_order_relaxed));
    control_finish(&c->what);
    free(c);
}
