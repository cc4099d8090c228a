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
