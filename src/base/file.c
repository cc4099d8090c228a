#include "tickerd/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tickerd/base/err.h"

enum { ROOM = 1 << 14 };

/* By read(2), since stdio would keep a second copy, of secrets too. */
static int read_all(int fd, struct buf *out, size_t max)
{
    size_t start = out->len;
    ssize_t n = 1;
    while (n != 0 && out->len - start <= max) { /* one byte more shows that it is too long */
        if (out->cap == out->len && !buf_reserve(out, ROOM))
            return ERR_NOMEM;
        n = read(fd, out->data + out->len, out->cap - out->len);
        if (n > 0)
            out->len += (size_t)n;
        else if (n < 0 && errno != EINTR)
            return ERR_SYSTEM;
    }
    return out->len - start > max ? ERR_TOO_LONG : ERR_OK;
}

int file_read(struct buf *out, const char *path, size_t max, mode_t *mode)
{
    struct stat st = {.st_mode = 0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return ERR_UNKNOWN;
    int err = fstat(fd, &st) == 0 ? read_all(fd, out, max) : ERR_SYSTEM;
    int why = errno;
    (void)close(fd);
    errno = why;
    if (mode != NULL)
        *mode = st.st_mode;
    return err;
}
