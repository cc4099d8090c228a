/* What the fuzz targets share. A target is one file fuzz_<target>.c that takes any bytes and checks
 * what must hold for them. It is linked with libFuzzer (make fuzzers KIND=fuzz), or with replay.c,
 * which runs the files of a corpus through it as an ordinary test. */
#ifndef TICKERD_TESTS_FUZZ_H
#define TICKERD_TESTS_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* libFuzzer's interface. The second is for what a target does once; few have it. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

/* What must hold. Unlike assert it stays in every build, and it says where before it aborts. */
#define FUZZ_CHECK(condition)                                                                      \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            (void)fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);   \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

struct fuzz_text {
    const char *p;
    size_t len;
};

static inline bool fuzz_same(const char *a, size_t a_len, const char *b, size_t b_len)
{
    return a_len == b_len && (a_len == 0 || memcmp(a, b, a_len) == 0);
}

static inline bool fuzz_is(struct fuzz_text t, const char *word)
{
    return fuzz_same(t.p, t.len, word, strlen(word));
}

/* A copy of exactly this size, so that the sanitizer sees a read beyond it. The caller frees it. */
static inline char *fuzz_copy(const char *p, size_t len)
{
    char *copy = calloc(len, 1);
    FUZZ_CHECK(copy != NULL || len == 0);
    if (len > 0)
        memcpy(copy, p, len);
    return copy;
}

/* Cut off what stands before the first `stop`; what is behind it becomes *rest. Without one, all.
 */
static inline struct fuzz_text fuzz_cut(struct fuzz_text *rest, char stop)
{
    const char *at = rest->len == 0 ? NULL : memchr(rest->p, stop, rest->len);
    struct fuzz_text head = {rest->p, at == NULL ? rest->len : (size_t)(at - rest->p)};
    size_t gone = head.len + (at != NULL);
    if (gone > 0)
        *rest = (struct fuzz_text){rest->p + gone, rest->len - gone};
    return head;
}

/* A seed for choices that the input shall decide (FNV-1a). */
static inline uint64_t fuzz_seed(const uint8_t *data, size_t size)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ data[i]) * UINT64_C(0x100000001b3);
    return hash;
}

/* Whether these bytes are of the broker's own id grammar, read off a template. */
static inline bool fuzz_own_id(const char *s, size_t len)
{
    static const char template[] = "0000000000000-00000000-00000000";
    if (len != sizeof template - 1)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (template[i] == '-' ? s[i] != '-' : s[i] == '\0' || !strchr("0123456789abcdef", s[i]))
            return false;
    }
    return true;
}

#endif
