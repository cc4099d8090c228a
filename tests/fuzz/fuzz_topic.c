/* `pattern LF name`: all that reads globs agrees, with each other and with a naive matcher, and no
 * pattern takes more time than the product of both lengths allows. */
#include <time.h>

#include "fuzz.h"
#include "naive_glob.h"
#include "naive_utf8.h"
#include "tickerd/wire/topic.h"

enum { LONGEST = 4 * TOPIC_MAX }; /* what comes by HTTP or from a file is at most TOPIC_MAX */

/* Some twenty times what it takes under sanitizers; a matcher that tries every star takes for ever.
 * The time of this thread alone, and a second look, since a machine can also be slow. */
enum { NS_PER_STEP = 400, NS_FLOOR = 5000000, LOOKS = 3 };

static int64_t cpu_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static bool timed(const struct glob *g, struct fuzz_text pattern, struct fuzz_text name)
{
    int64_t most = NS_FLOOR + NS_PER_STEP * (int64_t)((pattern.len + 1) * (name.len + 1));
    for (int look = 0;; look++) {
        int64_t start = cpu_ns();
        bool matches = g != NULL ? glob_matches(g, name.p, name.len)
                                 : glob_match(pattern.p, pattern.len, name.p, name.len);
        if (cpu_ns() - start <= most)
            return matches;
        FUZZ_CHECK(look < LOOKS);
    }
}

/* What both kinds of matcher say, which is the same. */
static bool match(struct fuzz_text pattern, struct fuzz_text name)
{
    char *p = fuzz_copy(pattern.p, pattern.len);
    struct glob *g = glob_compile(p, pattern.len);
    FUZZ_CHECK(g != NULL);
    bool matches = timed(NULL, (struct fuzz_text){p, pattern.len}, name);
    free(p);
    FUZZ_CHECK(timed(g, pattern, name) == matches);
    glob_destroy(g);
    return matches;
}

static void check_head(struct fuzz_text pattern, struct fuzz_text name, bool matches)
{
    bool literal;
    char *head = malloc(pattern.len);
    FUZZ_CHECK(head != NULL || pattern.len == 0);
    size_t len = glob_head(pattern.p, pattern.len, head, &literal);
    FUZZ_CHECK(len <= pattern.len);
    bool begins = len <= name.len && fuzz_same(name.p, len, head, len);
    FUZZ_CHECK(begins || !matches);
    if (literal)
        FUZZ_CHECK(matches == (begins && len == name.len));
    free(head);
}

static void check_same_head(struct fuzz_text a, struct fuzz_text b)
{
    bool literal[2];
    char *head[2] = {malloc(a.len), malloc(b.len)};
    size_t len = glob_head(a.p, a.len, head[0], &literal[0]);
    FUZZ_CHECK(glob_head(b.p, b.len, head[1], &literal[1]) == len && literal[0] == literal[1]);
    FUZZ_CHECK(fuzz_same(head[0], len, head[1], len));
    free(head[0]);
    free(head[1]);
}

static void check_canonical(struct fuzz_text pattern, struct fuzz_text name, bool matches)
{
    char *out = malloc(pattern.len), *again = fuzz_copy(pattern.p, pattern.len);
    FUZZ_CHECK(out != NULL || pattern.len == 0);
    size_t len = glob_canonical(pattern.p, pattern.len, out);
    FUZZ_CHECK(len <= pattern.len);
    FUZZ_CHECK(match((struct fuzz_text){out, len}, name) == matches);
    check_same_head(pattern, (struct fuzz_text){out, len});
    FUZZ_CHECK(fuzz_same(again, glob_canonical(again, pattern.len, again), out, len));
    FUZZ_CHECK(fuzz_same(again, glob_canonical(again, len, again), out, len));
    free(out);
    free(again);
}

/* The name escaped is a pattern for itself only. */
static void check_escape(struct fuzz_text pattern, struct fuzz_text name)
{
    struct buf escaped = BUF_INIT;
    glob_escape(&escaped, name.p, name.len);
    struct fuzz_text text = {escaped.data, escaped.len};
    FUZZ_CHECK(!escaped.failed);
    FUZZ_CHECK(match(text, name));
    FUZZ_CHECK(match(text, pattern) == fuzz_same(name.p, name.len, pattern.p, pattern.len));
    check_head(text, name, true);
    buf_finish(&escaped);
}

static void check_validity(struct fuzz_text name)
{
    bool good =
        name.len >= 1 && name.len <= TOPIC_MAX && naive_utf8_prefix(name.p, name.len) == name.len;
    for (size_t i = 0; i < name.len; i++)
        good = good && (unsigned char)name.p[i] >= ' ' && name.p[i] != 0x7f;
    FUZZ_CHECK(topic_valid(name.p, name.len) == good);
    FUZZ_CHECK(topic_reserved(name.p, name.len) == (name.len > 0 && name.p[0] == '$'));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > LONGEST)
        return 0;
    struct fuzz_text rest = {(const char *)data, size};
    struct fuzz_text pattern = fuzz_cut(&rest, '\n');
    char *exact = fuzz_copy(rest.p, rest.len);
    struct fuzz_text name = {exact, rest.len};
    bool matches = naive_glob(pattern.p, pattern.len, name.p, name.len);
    FUZZ_CHECK(match(pattern, name) == matches);
    check_head(pattern, name, matches);
    check_canonical(pattern, name, matches);
    check_escape(pattern, name);
    check_validity(pattern);
    check_validity(name);
    free(exact);
    return 0;
}
