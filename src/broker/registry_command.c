#include <stdlib.h>
#include <string.h>

#include "registry_internal.h"
#include "tickerd/base/err.h"

/* So many are kept for a worker that does not listen. What is more must not be lost either, since
 * whoever sent it counts on it; to disconnect everybody is to obey them all, and needs no memory.
 */
enum { COMMANDS_MAX = 256 };

static bool keep(struct registry_worker *w, struct command *c)
{
    if (w->disconnect_all)
        return false; /* that is in it */
    if (w->commands == NULL)
        w->commands = calloc(COMMANDS_MAX, sizeof(struct command *));
    w->disconnect_all = w->commands == NULL || w->command_count == COMMANDS_MAX;
    if (w->disconnect_all)
        return false;
    w->commands[w->command_count++] = c;
    return true;
}

static void forget(struct registry_worker *w)
{
    for (uint32_t i = 0; i < w->command_count; i++) {
        struct note n = {.kind = NOTE_COMMAND, .ref = w->commands[i]};
        note_release(&n);
    }
    free((void *)w->commands);
    w->commands = NULL;
    w->command_count = 0;
}

void registry_command(struct registry *r, struct command *c)
{
    for (uint32_t w = 0; w < r->worker_count; w++) {
        struct note n = {.kind = NOTE_COMMAND, .ref = command_ref(c)};
        if (!registry_try(r, w, &n) && !keep(&r->workers[w], n.ref))
            note_release(&n);
    }
    struct note own = {.kind = NOTE_COMMAND, .ref = c};
    note_release(&own);
}

void registry_repeat_commands(struct registry *r, uint32_t worker)
{
    struct registry_worker *w = &r->workers[worker];
    struct note all = {.kind = NOTE_COMMAND, .ref = NULL};
    if (w->disconnect_all) {
        if (!registry_try(r, worker, &all))
            return; /* full again: it will say so again */
        w->disconnect_all = false;
        forget(w);
        return;
    }
    uint32_t sent = 0;
    while (sent < w->command_count) {
        struct note n = {.kind = NOTE_COMMAND, .ref = w->commands[sent]};
        if (!registry_try(r, worker, &n))
            break;
        sent++;
    }
    w->command_count -= sent;
    if (w->command_count > 0)
        memmove((void *)w->commands, (void *)(w->commands + sent),
                w->command_count * sizeof(struct command *));
    else
        forget(w);
}

void registry_forget_commands(struct registry *r)
{
    for (uint32_t w = 0; w < r->worker_count; w++)
        forget(&r->workers[w]);
}
