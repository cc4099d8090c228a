#include "tickerd/net/inherit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tickerd/base/err.h"
#include "tickerd/base/log.h"
#include "tickerd/net/listener.h"

/* The first descriptor passed on (SD_LISTEN_FDS_START), and how many there may be. */
enum { FIRST_FD = 3, FDS_MAX = 256 };

static const char *const variables[] = {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"};

/* The number that makes up the whole text, or -1. */
static long number(const char *text)
{
    char *end;
    errno = 0;
    long n = strtol(text, &end, 10);
    return errno != 0 || end == text || *end != '\0' || n < 0 ? -1 : n;
}

/* How many are meant for this process, or ERR_INVALID. */
static long promised(const char *pid, const char *fds, struct buf *why)
{
    if (pid == NULL || fds == NULL)
        return 0;
    if (number(pid) != (long)getpid()) {
        log_debug("LISTEN_FDS is for another process: LISTEN_PID is not ours");
        return 0;
    }
    long n = number(fds);
    if (n >= 0 && n <= FDS_MAX)
        return n;
    buf_printf(why, "LISTEN_FDS is \"%s\": it must be how many sockets are passed on, at most %d",
               fds, FDS_MAX);
    return ERR_INVALID;
}

/* The name at the front of a colon-separated list, which is moved on. */
static size_t next_name(const char **names)
{
    size_t len = strcspn(*names, ":");
    *names += len + ((*names)[len] == ':' ? 1 : 0);
    return len;
}

static size_t count_names(const char *names)
{
    size_t n = 1;
    for (; *names != '\0'; names++)
        n += *names == ':';
    return n;
}

static bool is_admin(const char *name, size_t len)
{
    static const char word[] = "admin";
    return len >= sizeof word - 1 && memcmp(name, word, sizeof word - 1) == 0;
}

static int take_all(struct inheritance *in, const char *names, struct buf *why)
{
    for (size_t i = 0; i < in->count; i++) {
        struct inherited *it = &in->items[i];
        const char *name = names;
        it->fd = FIRST_FD + (int)i;
        it->admin = names != NULL && is_admin(name, next_name(&names));
        int err = listener_adopt(it->fd, &it->addr, why);
        if (err != ERR_OK)
            return ERR_INVALID;
    }
    return ERR_OK;
}

static int take(struct inheritance *in, size_t count, struct buf *why)
{
    const char *names = getenv("LISTEN_FDNAMES");
    if (count == 0)
        return ERR_OK;
    if (names != NULL && count_names(names) != count) {
        buf_printf(why, "LISTEN_FDNAMES has %zu names for the %zu sockets of LISTEN_FDS",
                   count_names(names), count);
        return ERR_INVALID;
    }
    in->items = calloc(count, sizeof *in->items);
    if (in->items == NULL) {
        buf_str(why, err_text(ERR_NOMEM));
        return ERR_NOMEM;
    }
    in->count = count;
    return take_all(in, names, why);
}

int inherit_take(struct inheritance *in, struct buf *why)
{
    *in = (struct inheritance){.items = NULL};
    long n = promised(getenv("LISTEN_PID"), getenv("LISTEN_FDS"), why);
    int err = n < 0 ? ERR_INVALID : take(in, (size_t)n, why);
    for (size_t i = 0; i < sizeof variables / sizeof variables[0]; i++)
        (void)unsetenv(variables[i]);
    if (err != ERR_OK)
        inherit_finish(in);
    return err;
}

void inherit_finish(struct inheritance *in)
{
    free(in->items);
    *in = (struct inheritance){.items = NULL};
}
