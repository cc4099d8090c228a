#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tickerd/wire/topic.h"

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
 * - stars do not match an empty name: only the empty pattern does.
 *
 * glob_match reads the pattern as it goes, so a long class is read again at each place in the name
 * where it is tried. What strangers send is compiled instead, into runs of equal elements:
 *
 *     OP_LITERAL n, n bytes      OP_ANY n      OP_SET n, 32 bytes of set      OP_STAR
 *
 * The runs between two stars (a segment) take a fixed number of bytes, and that gives the order of
 * work: the length, the head, the tail at the end of the name, and only then a search for what lies
 * between, each segment where it first fits. What the name has over the elements is the slack; a
 * byte left to a star uses up one, and without slack the search is over. */

enum { OP_LITERAL, OP_ANY, OP_SET, OP_STAR };

enum { SET_BYTES = 256 / 8, RUN_MAX = UINT8_MAX };

struct shape {
    size_t size;       /* bytes of code */
    size_t width;      /* bytes of a name that all elements but the stars take */
    size_t tail;       /* where the code behind the last star begins; 0: there is no star */
    size_t tail_width; /* bytes of a name that this code takes */
};

struct glob {
    struct shape shape;
    uint8_t code[];
};

static bool in_set(const uint8_t *set, uint8_t byte)
{
    return ((unsigned)set[byte / 8] >> (byte % 8) & 1U) != 0;
}

/* ---- reading a pattern --------------------------------------------------------------------- */

struct cursor {
    const char *p;
    const char *end;
};

struct range {
    signed char low, high;
};

/* Behind a `[`: take a `^`. */
static bool take_negation(struct cursor *c)
{
    bool negated = c->p < c->end && *c->p == '^';
    c->p += negated;
    return negated;
}

/* In a class: take its next range (a byte is a range of one), or its end, and then return false. */
static bool take_range(struct cursor *c, struct range *range)
{
    size_t left = (size_t)(c->end - c->p);
    if (left == 0)
        return false;
    signed char first = (signed char)c->p[0];
    if (first == ']') {
        c->p++;
        return false;
    }
    *range = (struct range){first, first};
    if (first == '\\' && left >= 2) {
        range->low = range->high = (signed char)c->p[1];
        c->p += 2;
    } else if (left >= 3 && c->p[1] == '-') {
        signed char last = (signed char)c->p[2];
        *range = first <= last ? (struct range){first, last} : (struct range){last, first};
        c->p += 3;
    } else {
        c->p++;
    }
    return true;
}

/* Take a run of stars and `?` and count the `?`; returns whether there was a star. */
static bool take_wild(struct cursor *c, size_t *any)
{
    bool star = false;
    for (*any = 0; c->p < c->end && (*c->p == '*' || *c->p == '?'); c->p++) {
        star |= *c->p == '*';
        *any += *c->p == '?';
    }
    return star;
}

/* Take a byte that stands for itself, escaped or not. */
static char take_literal(struct cursor *c)
{
    char first = *c->p++;
    return first == '\\' && c->p < c->end ? *c->p++ : first;
}

static bool class_matches(struct cursor *c, char name_byte)
{
    bool negated = take_negation(c), found = false;
    struct range range;
    while (take_range(c, &range))
        found |= (signed char)name_byte >= range.low && (signed char)name_byte <= range.high;
    return found != negated;
}

/* Take one element that is no star and tell whether it matches the byte. */
static bool element_matches(struct cursor *c, char name_byte)
{
    if (*c->p == '?') {
        c->p++;
        return true;
    }
    if (*c->p == '[') {
        c->p++;
        return class_matches(c, name_byte);
    }
    return take_literal(c) == name_byte;
}

/* ---- compiling ----------------------------------------------------------------------------- */

/* Goes over the pattern twice: once to count, with code NULL, and once to write. */
struct compiler {
    uint8_t *code;
    struct shape shape; /* so far */
    uint8_t op;         /* of the run being written */
    uint8_t count;      /* its elements; 0: no run is open */
    size_t count_at;
    uint8_t set[SET_BYTES]; /* of an OP_SET run */
};

static void put(struct compiler *c, const void *bytes, size_t len)
{
    if (c->code != NULL)
        memcpy(c->code + c->shape.size, bytes, len);
    c->shape.size += len;
}

/* Add one element: the bytes are the literal's one or the set's. */
static void add(struct compiler *c, uint8_t op, const void *bytes)
{
    bool extends = c->count > 0 && c->count < RUN_MAX && c->op == op &&
                   (op != OP_SET || memcmp(c->set, bytes, SET_BYTES) == 0);
    if (!extends) {
        c->op = op;
        c->count = 0;
        c->count_at = c->shape.size + 1;
        put(c, (const uint8_t[]){op, 0}, 2);
    }
    if (op == OP_LITERAL) {
        put(c, bytes, 1);
    } else if (op == OP_SET && !extends) {
        memcpy(c->set, bytes, SET_BYTES);
        put(c, bytes, SET_BYTES);
    }
    c->count++;
    if (c->code != NULL)
        c->code[c->count_at] = c->count;
    c->shape.width++;
    c->shape.tail_width++;
}

static void add_wild(struct compiler *c, struct cursor *in)
{
    size_t any;
    bool star = take_wild(in, &any);
    while (any-- > 0)
        add(c, OP_ANY, NULL);
    if (!star)
        return;
    put(c, (const uint8_t[]){OP_STAR}, 1);
    c->count = 0;
    c->shape.tail = c->shape.size;
    c->shape.tail_width = 0;
}

/* A class of one byte is a literal, and one of all bytes a `?`: smaller, and quicker to compare. */
static void add_class(struct compiler *c, struct cursor *in)
{
    uint8_t set[SET_BYTES] = {0};
    bool negated = take_negation(in);
    struct range range;
    while (take_range(in, &range)) {
        for (signed char byte = range.low;; byte++) {
            set[(uint8_t)byte / 8] |= (uint8_t)(1U << ((uint8_t)byte % 8));
            if (byte == range.high)
                break;
        }
    }
    unsigned members = 0;
    uint8_t member = 0;
    for (size_t i = 0; i < sizeof set && negated; i++)
        set[i] = (uint8_t)~set[i];
    for (unsigned byte = 0; byte < 256; byte++) {
        if (!in_set(set, (uint8_t)byte))
            continue;
        members++;
        member = (uint8_t)byte;
    }
    if (members == 1)
        add(c, OP_LITERAL, &member);
    else if (members == 256)
        add(c, OP_ANY, NULL);
    else
        add(c, OP_SET, set);
}

static struct shape compile(const char *pattern, size_t len, uint8_t *code)
{
    struct compiler c = {.code = code};
    struct cursor in = {pattern, pattern + len};
    while (in.p < in.end) {
        if (*in.p == '*' || *in.p == '?') {
            add_wild(&c, &in);
        } else if (*in.p == '[') {
            in.p++;
            add_class(&c, &in);
        } else {
            char literal = take_literal(&in);
            add(&c, OP_LITERAL, &literal);
        }
    }
    return c.shape;
}

struct glob *glob_compile(const char *pattern, size_t len)
{
    struct glob *g = malloc(sizeof *g + compile(pattern, len, NULL).size);
    if (g != NULL)
        g->shape = compile(pattern, len, g->code);
    return g;
}

void glob_destroy(struct glob *g)
{
    free(g);
}

/* ---- matching ------------------------------------------------------------------------------ */

static bool all_in_set(const uint8_t *set, const char *at, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (!in_set(set, (uint8_t)at[i]))
            return false;
    }
    return true;
}

/* Match the segment at *code here, where the name is long enough for it. Returns what is behind it
 * in the name, with *code at the star that ends it or at the end; or NULL. */
static const char *segment_matches(const uint8_t **code, const uint8_t *end, const char *at)
{
    const uint8_t *p = *code;
    while (p < end && *p != OP_STAR) {
        uint8_t op = p[0], count = p[1];
        p += 2;
        if (op == OP_LITERAL) {
            /* The first byte by hand: mostly it decides, and most hostile runs are one byte. */
            if (p[0] != (uint8_t)at[0] || (count > 1 && memcmp(p + 1, at + 1, count - 1U) != 0))
                return NULL;
            p += count;
        } else if (op == OP_SET) {
            if (!all_in_set(p, at, count))
                return NULL;
            p += SET_BYTES;
        }
        at += count;
    }
    *code = p;
    return at;
}

/* Match the segment at *code at the first place where it fits. Takes what it skips off *slack. */
static const char *segment_find(const uint8_t **code, const uint8_t *end, const char *at,
                                size_t *slack)
{
    const uint8_t *p = *code;
    for (;;) {
        if (p[0] == OP_LITERAL) {
            const char *found = memmem(at, *slack + p[1], p + 2, p[1]);
            if (found == NULL)
                return NULL;
            *slack -= (size_t)(found - at);
            at = found;
        }
        const char *behind = segment_matches(code, end, at);
        if (behind != NULL || *slack == 0)
            return behind;
        at++;
        --*slack;
    }
}

bool glob_matches(const struct glob *g, const char *name, size_t len)
{
    const struct shape *shape = &g->shape;
    if (len == 0)
        return shape->size == 0;
    bool star = shape->tail != 0;
    if (star ? len < shape->width : len != shape->width)
        return false;
    const uint8_t *code = g->code, *end = code + shape->size, *tail = code + shape->tail;
    const char *at = segment_matches(&code, end, name);
    if (at == NULL || !star)
        return at != NULL;
    const uint8_t *last = tail;
    if (segment_matches(&last, end, name + len - shape->tail_width) == NULL)
        return false;
    size_t slack = len - shape->width;
    for (code++; code != tail; code++) {
        at = segment_find(&code, end, at, &slack);
        if (at == NULL)
            return false;
    }
    return true;
}

bool glob_match(const char *pattern, size_t pattern_len, const char *name, size_t name_len)
{
    if (name_len == 0)
        return pattern_len == 0;
    struct cursor c = {pattern, pattern + pattern_len};
    const char *after_star = NULL; /* the pattern behind the last star */
    size_t star_at = 0;            /* where in the name that pattern is being tried */
    size_t i = 0;
    while (i < name_len) {
        if (c.p < c.end && *c.p == '*') {
            after_star = ++c.p;
            star_at = i;
            if (c.p == c.end)
                return true;
            continue;
        }
        if (c.p < c.end && element_matches(&c, name[i])) {
            i++;
            continue;
        }
        if (after_star == NULL)
            return false;
        c.p = after_star;
        i = ++star_at;
    }
    while (c.p < c.end && *c.p == '*')
        c.p++;
    return c.p == c.end;
}

/* ---- spelling ------------------------------------------------------------------------------ */

static bool is_special(char c)
{
    return c == '*' || c == '?' || c == '[' || c == '\\';
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

/* Nothing is longer in its canonical spelling, so out never overtakes what is still to be read. */
size_t glob_canonical(const char *pattern, size_t len, char *out)
{
    struct cursor c = {pattern, pattern + len};
    char *to = out;
    while (c.p < c.end) {
        const char *from = c.p;
        if (*from == '*' || *from == '?') {
            size_t any;
            bool star = take_wild(&c, &any);
            memset(to, '?', any);
            to += any;
            if (star)
                *to++ = '*';
        } else if (*from == '[') {
            struct range range;
            c.p++;
            (void)take_negation(&c);
            while (take_range(&c, &range))
                continue;
            size_t class_len = (size_t)(c.p - from);
            memmove(to, from, class_len);
            to += class_len;
        } else {
            /* At the very end `\` and `\\` mean the same. */
            char literal = take_literal(&c);
            if (is_special(literal) && !(literal == '\\' && c.p == c.end))
                *to++ = '\\';
            *to++ = literal;
        }
    }
    return (size_t)(to - out);
}

void glob_escape(struct buf *out, const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (is_special(s[i]))
            buf_byte(out, '\\');
        buf_byte(out, s[i]);
    }
}
