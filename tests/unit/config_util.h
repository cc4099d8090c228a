/* Building configurations in tests: from the text of a file, an environment and settings. */
#ifndef TICKERD_TESTS_CONFIG_UTIL_H
#define TICKERD_TESTS_CONFIG_UTIL_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tickerd/wire/config.h"

/* Build from up to four settings; `file` is the text of the file, or NULL for none. In the messages
 * the file is called t.json. */
static inline struct config *build_from(const char *file, const char *env, const char *const *set,
                                        struct buf *errors)
{
    char path[] = "/tmp/tickerd-config-XXXXXX";
    struct config_source from = {NULL, env, set, 0};
    struct buf raw = BUF_INIT;
    if (file != NULL) {
        int fd = mkstemp(path);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, file, strlen(file)), (ssize_t)strlen(file));
        assert_int_equal(close(fd), 0);
        from.file = path;
    }
    while (set != NULL && set[from.set_count] != NULL)
        from.set_count++;
    struct config *c = config_build(&from, &raw);
    for (const char *p = buf_cstr(&raw), *hit; *p != '\0'; p = hit + strlen(path)) {
        hit = strstr(p, path);
        if (hit == NULL) {
            buf_str(errors, p);
            break;
        }
        buf_append(errors, p, (size_t)(hit - p));
        buf_str(errors, "t.json");
    }
    if (file != NULL)
        assert_int_equal(unlink(path), 0);
    buf_finish(&raw);
    return c;
}

/* The same where it must succeed. */
static inline struct config *build_ok(const char *file, const char *env, const char *const *set)
{
    struct buf errors = BUF_INIT;
    struct config *c = build_from(file, env, set, &errors);
    assert_string_equal(buf_cstr(&errors), "");
    assert_non_null(c);
    buf_finish(&errors);
    return c;
}

/* The same where it must fail with exactly these messages. */
static inline void build_fails(const char *file, const char *env, const char *const *set,
                               const char *messages)
{
    struct buf errors = BUF_INIT;
    struct config *c = build_from(file, env, set, &errors);
    assert_string_equal(buf_cstr(&errors), messages);
    assert_null(c);
    buf_finish(&errors);
}

#endif
