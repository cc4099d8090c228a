#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tickerd/base/err.h"
#include "tickerd/base/file.h"

static void reads_all_of_a_file(void **state)
{
    static const size_t sizes[] = {0, 1, 16383, 16384, 16385, 100000};
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        char path[] = "/tmp/tickerd-file-XXXXXX";
        int fd = mkstemp(path);
        char *bytes = malloc(sizes[i] + 1);
        struct buf out = BUF_INIT;
        mode_t mode = 0;
        for (size_t k = 0; k < sizes[i]; k++)
            bytes[k] = (char)(k * 7 + k / 251);
        assert_int_equal(write(fd, bytes, sizes[i]), (ssize_t)sizes[i]);
        assert_int_equal(fchmod(fd, 0640), 0);
        buf_str(&out, "before");
        assert_int_equal(file_read(&out, path, sizes[i], &mode), ERR_OK);
        assert_int_equal(out.len, 6 + sizes[i]);
        assert_memory_equal(out.data, "before", 6);
        assert_memory_equal(out.data + 6, bytes, sizes[i]);
        assert_true(S_ISREG(mode));
        assert_int_equal(mode & 0777, 0640);
        buf_finish(&out);
        if (sizes[i] > 0)
            assert_int_equal(file_read(&out, path, sizes[i] - 1, NULL), ERR_TOO_LONG);
        buf_finish(&out);
        free(bytes);
        assert_int_equal(close(fd), 0);
        assert_int_equal(unlink(path), 0);
    }
}

static void reads_a_pipe(void **state)
{
    int ends[2];
    char path[32];
    struct buf out = BUF_INIT;
    mode_t mode = 0;
    (void)state;
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], "secret", 6), 6);
    assert_int_equal(close(ends[1]), 0);
    (void)snprintf(path, sizeof path, "/dev/fd/%d", ends[0]);
    assert_int_equal(file_read(&out, path, 100, &mode), ERR_OK);
    assert_string_equal(buf_cstr(&out), "secret");
    assert_true(S_ISFIFO(mode));
    assert_int_equal(close(ends[0]), 0);
    buf_forget(&out);
    assert_null(out.data);
    assert_int_equal(out.len, 0);
    buf_forget(&out);
}

static void says_what_is_wrong(void **state)
{
    struct buf out = BUF_INIT;
    (void)state;
    assert_int_equal(file_read(&out, "/nonexistent/x", 10, NULL), ERR_UNKNOWN);
    assert_int_equal(errno, ENOENT);
    assert_int_equal(file_read(&out, "/tmp", 10, NULL), ERR_SYSTEM);
    assert_int_equal(errno, EISDIR);
    assert_int_equal(file_read(&out, "/dev/zero", 100000, NULL), ERR_TOO_LONG);
    buf_finish(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_all_of_a_file),
        cmocka_unit_test(reads_a_pipe),
        cmocka_unit_test(says_what_is_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
