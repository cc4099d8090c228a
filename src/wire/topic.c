#include "tickerd/wire/topic.h"

#include "tickerd/wire/utf8.h"

/* A pattern is a row of elements, each of which is a star or takes exactly one byte. That is why
 * one remembered star is enough: once the elements before a later star have matched somewhere,
 * letting an earlier star take more could only leave fewer bytes for the rest.
 *
 * The corners are Redis's, found by asking a server, and tests/unit/test_topic.c lists them:
 * - an unclosed class ends with the pattern; an empty one, `[]`, matches nothing, `[^]` any byte;
 * - in a class a backslash takes the next byte literally, unless the pattern ends behind it;
 * - a range may be reversed, and its end may be any byte, also `]` or a backslash;
 * - ranges compare bytes as signed, as Redis does where char is signed (x86);
 * - a backslash at the very end stands for itself;
 * - stars do not match an empty name: only the empty pattern does. */

struct glob {
    const char *p;
    const char *end;
};

bool topic_valid(const char *name, size_t len)
{
    if (len == 0 || len > TOPIC_MAX)
        return false;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)name[i];
        if (c < 0x20 || c == 0x7f)
            return false;
    }
    return utf8_valid(name, len);
}

static bool in_range(char a, char b, char c)
{
    signed char low = (signed char)a, high = (signed char)b, byte = (signed char)c;
    return low <= high ? byte >= low && byte <= high : byte >= high && byte <= low;
}

/* Behind a `[`: take the class and tell whether it matches c. */
static bool class_matches(struct glob *g, char c)
{
    bool negated = g->p < g->end && *g->p == '^';
    if (negated)
        g->p++;
    bool found = false;
    while (g->p < g->end && *g->p != ']') {
        size_t left = (size_t)(g->end - g->p);
        if (*g->p == '\\' && left >= 2) {
            found |= g->p[1] == c;
            g->p += 2;
        } else if (left >= 3 && g->p[1] == '-') {
            found |= in_range(g->p[0], g->p[2], c);
            g->p += 3;
        } else {
            found |= *g->p == c;
            g->p++;
        }
    }
    if (g->p < g->end)
        g->p++;
    return found != negated;
}

/* Take one element that is no star and tell whether it matches c. */
static bool element_matches(struct glob *g, char c)
{
    char first = *g->p++;
    if (first == '?')
        return true;
    if (first == '[')
        return class_matches(g, c);
    if (first == '\\' && g->p < g->end)
        first = *g->p++;
    return first == c;
}

bool glob_match(const char *pattern, size_t pattern_len, const char *name, size_t name_len)
{
    if (name_len == 0)
        return pattern_len == 0;
    struct glob g = {pattern, pattern + pattern_len};
    const char *after_star = NULL; /* the pattern behind the last star */
    size_t star_at = 0;            /* where in the name that pattern is being tried */
    size_t i = 0;
    while (i < name_len) {
        if (g.p < g.end && *g.p == '*') {
            after_star = ++g.p;
            star_at = i;
            if (g.p == g.end)
                return true;
            continue;
        }
        if (g.p < g.end && element_matches(&g, name[i])) {
            i++;
            continue;
        }
        if (after_star == NULL)
            return false;
        g.p = after_star;
        i = ++star_at;
    }
    while (g.p < g.end && *g.p == '*')
        g.p++;
    return g.p == g.end;
}

size_t glob_head(const char *pattern, size_t pattern_len, char *out, bool *literal)
{
    size_t i = 0, n = 0;
    while (i < pattern_len && pattern[i] != '*' && pattern[i] != '?' && pattern[i] != '[') {
        if (pattern[i] == '\\' && i + 1 < pattern_len)
            i++;
        out[n++] = pattern[i++];
    }
    if (literal != NULL)
        *literal = i == pattern_len;
    return n;
}

void glob_escape(struct buf *out, const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (s[i] == '*' || s[i] == '?' || s[i] == '[' || s[i] == '\\')
            buf_byte(out, '\\');
        buf_byte(out, s[i]);
    }
}
