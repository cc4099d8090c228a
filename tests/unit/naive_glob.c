#include "naive_glob.h"

#include <stdlib.h>
#include <string.h>

struct element {
    bool star;
    bool takes[256];
};

/* Read a class whose bracket is behind p already; returns how many bytes it has. */
static size_t read_class(struct element *e, const char *p, size_t n)
{
    size_t i = 0;
    bool negated = n > 0 && p[0] == '^';
    i += negated;
    while (i < n && p[i] != ']') {
        int from = (signed char)p[i], to = from;
        size_t step = 1;
        if (p[i] == '\\' && n - i > 1) {
            from = to = (signed char)p[i + 1];
            step = 2;
        } else if (n - i > 2 && p[i + 1] == '-') {
            to = (signed char)p[i + 2];
            step = 3;
        }
        for (int b = from < to ? from : to; b <= (from < to ? to : from); b++)
            e->takes[(unsigned char)b] = true;
        i += step;
    }
    for (int b = 0; b < 256; b++)
        e->takes[b] = e->takes[b] != negated;
    return i < n ? i + 1 : n;
}

/* Read the element at p; returns how many bytes of the pattern it has. */
static size_t read_element(struct element *e, const char *p, size_t n)
{
    memset(e, 0, sizeof *e);
    e->star = p[0] == '*';
    if (p[0] == '[')
        return 1 + read_class(e, p + 1, n - 1);
    bool escaped = p[0] == '\\' && n > 1;
    e->takes[(unsigned char)p[escaped]] = true;
    if (p[0] == '?')
        memset(e->takes, true, sizeof e->takes);
    return escaped ? 2 : 1;
}

/* reached[i]: the elements so far match the first i bytes of the name. */
bool naive_glob(const char *pattern, size_t pattern_len, const char *name, size_t name_len)
{
    struct element e;
    if (name_len == 0)
        return pattern_len == 0;
    bool *reached = calloc(name_len + 1, sizeof *reached);
    if (reached == NULL)
        abort();
    reached[0] = true;
    for (size_t at = 0; at < pattern_len;) {
        at += read_element(&e, pattern + at, pattern_len - at);
        for (size_t i = 1; i <= name_len && e.star; i++)
            reached[i] = reached[i] || reached[i - 1];
        for (size_t i = name_len; i > 0 && !e.star; i--)
            reached[i] = reached[i - 1] && e.takes[(unsigned char)name[i - 1]];
        reached[0] = reached[0] && e.star;
    }
    bool matches = reached[name_len];
    free(reached);
    return matches;
}
