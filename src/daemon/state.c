#include "tickerd/daemon/state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tickerd/base/clock.h"
#include "tickerd/base/err.h"
#include "tickerd/base/log.h"

enum { MODE_OWNER_ONLY = 0600, SIZE_FACTOR = 2 };

/* A file may be larger than what is kept, since limits can have been lowered; up to here, or up to
 * SIZE_FACTOR times history.total_bytes. */
#define SIZE_ALLOWED ((uint64_t)1 << 30)

static char *beside(const char *path, const char *suffix)
{
    char *out = NULL;
    return asprintf(&out, "%s%s", path, suffix) < 0 ? NULL : out;
}

int state_init(struct state *s, const struct config *config)
{
    const char *path = config->state_file;
    *s = (struct state){.lock_fd = -1, .total_bytes = config->history_total_bytes};
    if (path == NULL)
        return ERR_OK;
    s->file = strdup(path);
    s->temp = beside(path, ".tmp");
    s->bad = beside(path, ".bad");
    s->lock = beside(path, ".lock");
    if (s->file != NULL && s->temp != NULL && s->bad != NULL && s->lock != NULL)
        return ERR_OK;
    state_finish(s);
    return ERR_NOMEM;
}

void state_finish(struct state *s)
{
    free(s->file);
    free(s->temp);
    free(s->bad);
    free(s->lock);
    if (s->lock_fd >= 0)
        (void)close(s->lock_fd);
    *s = (struct state){.lock_fd = -1};
}

/* Whatever happened to names in the file's directory has happened for good after this. */
static int sync_directory(const struct state *s)
{
    const char *slash = strrchr(s->file, '/');
    size_t len = slash == NULL ? 1 : slash == s->file ? 1 : (size_t)(slash - s->file);
    char *name = strndup(slash == NULL ? "." : s->file, len);
    int fd = name == NULL ? -1 : open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    free(name);
    if (fd < 0)
        return ERR_SYSTEM;
    int rc = fsync(fd);
    bool cannot = rc != 0 && errno == EINVAL; /* a file system without: nothing to be done */
    (void)close(fd);
    return rc == 0 || cannot ? ERR_OK : ERR_SYSTEM;
}

/* ---- whose it is ----------------------------------------------------------------------------- */

static bool take_lock(struct state *s)
{
    if (s->lock_fd >= 0)
        return true;
    int fd = open(s->lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, MODE_OWNER_ONLY);
    if (fd < 0) {
        log_error("state.file: cannot open %s: %s", s->lock, strerror(errno));
        return false;
    }
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
        s->lock_fd = fd;
        return true;
    }
    if (errno == EWOULDBLOCK)
        log_error("state.file: another process uses %s; every instance needs a file of its own",
                  s->file);
    else
        log_error("state.file: cannot lock %s: %s", s->lock, strerror(errno));
    (void)close(fd);
    return false;
}

/* A new, empty file to write to; what a stop that was cut short has left goes. -1: see errno. */
static int open_temp(const struct state *s)
{
    (void)unlink(s->temp);
    return open(s->temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, MODE_OWNER_ONLY);
}

/* Better known now than at the stop. */
static void try_writing(const struct state *s)
{
    int fd = open_temp(s);
    if (fd < 0) {
        log_error("state.file: cannot write %s: %s; a restart will lose the histories", s->temp,
                  strerror(errno));
        return;
    }
    (void)close(fd);
    (void)unlink(s->temp);
}

/* ---- reading --------------------------------------------------------------------------------- */

static bool size_sane(uint64_t size, uint64_t total_bytes)
{
    return size <= SIZE_ALLOWED || size / SIZE_FACTOR <= total_bytes;
}

/* Open the file and move it out of the way. -1: there is none, or it cannot be (logged). */
static int claim(const struct state *s, struct stat *st)
{
    int fd = open(s->file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT) {
        log_info("state.file: %s is not there: a first start, or the last run was cut short",
                 s->file);
        return -1;
    }
    if (fd < 0 || fstat(fd, st) != 0) {
        log_error("state.file: cannot open %s: %s", s->file, strerror(errno));
    } else if (!S_ISREG(st->st_mode)) {
        log_error("state.file: %s is not a regular file", s->file);
    } else if (rename(s->file, s->bad) != 0 || sync_directory(s) != ERR_OK) {
        log_error("state.file: cannot rename %s to %s: %s; it is not used, since it could not be "
                  "kept from being used again",
                  s->file, s->bad, strerror(errno));
    } else {
        return fd;
    }
    if (fd >= 0)
        (void)close(fd);
    return -1;
}

/* The file is mapped rather than read: with histories of the full size, its bytes beside the logs
 * made of them would double the memory. */
static int restore(struct hub *h, int fd, size_t size, struct saved_summary *sum, const char **why)
{
    if (size == 0)
        return hub_restore(h, "", 0, sum, why);
    void *bytes = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (bytes == MAP_FAILED) {
        *why = strerror(errno);
        return ERR_SYSTEM;
    }
    (void)madvise(bytes, size, MADV_SEQUENTIAL);
    int err = hub_restore(h, bytes, size, sum, why);
    (void)munmap(bytes, size);
    return err;
}

static void use(const struct state *s, struct hub *h, int fd, const struct stat *st)
{
    struct saved_summary sum = {0};
    const char *why = "it is far too large";
    uint64_t start = clock_mono_us(), size = (uint64_t)st->st_size;
    int err = ERR_TOO_LONG;
    if (size_sane(size, s->total_bytes))
        err = restore(h, fd, (size_t)size, &sum, &why);
    if (err != ERR_OK) {
        log_warn("state.file: %s is not used: %s; it is kept as %s, and clients get a gap as after "
                 "a crash",
                 s->file, why, s->bad);
        return;
    }
    if (unlink(s->bad) != 0 || sync_directory(s) != ERR_OK)
        log_warn("state.file: cannot remove %s: %s", s->bad, strerror(errno));
    log_info("state.file: %zu events of %zu channels restored in %llu ms, %llu s after they were "
             "saved",
             sum.events, sum.channels, (unsigned long long)(clock_mono_us() - start) / US_PER_MS,
             (unsigned long long)sum.down_us / US_PER_S);
}

void state_load(struct state *s, struct hub *h)
{
    struct stat st;
    if (s->file == NULL || !take_lock(s))
        return;
    try_writing(s);
    int fd = claim(s, &st);
    if (fd < 0)
        return;
    use(s, h, fd, &st);
    (void)close(fd);
}

/* ---- writing --------------------------------------------------------------------------------- */

static int write_all(void *ctx, const void *bytes, size_t len)
{
    const int *fd = ctx;
    const char *from = bytes;
    while (len > 0) {
        ssize_t n = write(*fd, from, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return ERR_SYSTEM;
        from += n;
        len -= (size_t)n;
    }
    return ERR_OK;
}

static int write_temp(const struct state *s, const struct hub *h, struct saved_summary *sum,
                      uint64_t *size)
{
    struct pack out;
    int fd = open_temp(s);
    if (fd < 0)
        return ERR_SYSTEM;
    pack_init(&out, write_all, &fd);
    int err = hub_save(h, &out, sum);
    if (err == ERR_OK && fsync(fd) != 0)
        err = ERR_SYSTEM;
    int before = errno;
    if (close(fd) != 0 && err == ERR_OK)
        return ERR_SYSTEM;
    errno = before;
    *size = out.total;
    return err;
}

void state_save(struct state *s, const struct hub *h)
{
    struct saved_summary sum;
    uint64_t start = clock_mono_us(), size = 0;
    if (s->file == NULL || !take_lock(s))
        return;
    if (write_temp(s, h, &sum, &size) != ERR_OK || rename(s->temp, s->file) != 0 ||
        sync_directory(s) != ERR_OK) {
        log_error("state.file: cannot write %s: %s; the histories are lost", s->file,
                  strerror(errno));
        (void)unlink(s->temp);
        return;
    }
    log_info("state.file: %zu events of %zu channels saved, %llu bytes in %llu ms", sum.events,
             sum.channels, (unsigned long long)size,
             (unsigned long long)(clock_mono_us() - start) / US_PER_MS);
}
