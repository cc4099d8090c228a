#include "tickerd/ctl/screen.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "tickerd/ctl/admin.h"
#include "tickerd/ctl/text.h"

enum { GAP = 2, LAST_MIN = 20 };

void screen_init(struct screen *s, enum screen_colour colour)
{
    struct winsize size;
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
    *s = (struct screen){.terminal = isatty(STDOUT_FILENO) == 1};
    bool plain = (no != NULL && no[0] != '\0') || term == NULL || strcmp(term, "dumb") == 0;
    s->colour = colour == SCREEN_ALWAYS || (colour == SCREEN_AUTO && s->terminal && !plain);
    if (s->terminal && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0)
        s->columns = size.ws_col;
}

const char *screen_on(const struct screen *s, enum hue hue)
{
    static const char *const codes[] = {"",         "\x1b[2m",    "\x1b[1m", "\x1b[32m",
                                        "\x1b[33m", "\x1b[1;31m", "\x1b[36m"};
    return s->colour ? codes[hue] : "";
}

const char *screen_off(const struct screen *s, enum hue hue)
{
    return s->colour && hue != HUE_NONE ? "\x1b[0m" : "";
}

bool screen_write(const struct buf *text)
{
    if (text->failed) {
        ctl_say("out of memory");
        return false;
    }
    if (fwrite(text->data, 1, text->len, stdout) == text->len && fflush(stdout) == 0)
        return true;
    if (errno != EPIPE)
        ctl_say("standard output cannot be written to: %s", strerror(errno));
    return false;
}

void table_init(struct table *t, const char *const *headers, size_t columns)
{
    *t = (struct table){.columns = columns};
    for (size_t i = 0; i < columns; i++) {
        const char *name = headers[i];
        if (*name >= '1' && *name <= '9')
            t->rank[i] = (unsigned char)(*name++ - '0');
        if (*name == '>') {
            t->right |= UINT32_C(1) << i;
            name++;
        }
        table_text(t, HUE_DIM, name);
    }
}

void table_finish(struct table *t)
{
    buf_finish(&t->text);
    buf_finish(&t->cells);
}

static size_t cell_count(const struct table *t)
{
    return t->cells.len / sizeof(struct cell);
}

static struct cell cell_at(const struct table *t, size_t i)
{
    struct cell cell;
    memcpy(&cell, t->cells.data + i * sizeof cell, sizeof cell);
    return cell;
}

void table_cell(struct table *t, enum hue hue)
{
    size_t count = cell_count(t), at = 0;
    if (count > 0) {
        struct cell last = cell_at(t, count - 1);
        at = last.at + last.len;
    }
    struct cell cell = {.at = at, .len = t->text.len - at, .hue = hue};
    cell.columns = cell.len == 0 ? 0 : text_columns(t->text.data + at, cell.len);
    buf_append(&t->cells, &cell, sizeof cell);
}

void table_text(struct table *t, enum hue hue, const char *text)
{
    buf_str(&t->text, text);
    table_cell(t, hue);
}

void table_count(struct table *t, uint64_t n)
{
    text_count(&t->text, n);
    table_cell(t, HUE_NONE);
}

void table_bytes(struct table *t, uint64_t n)
{
    text_bytes(&t->text, n);
    table_cell(t, HUE_NONE);
}

/* ---- its place on the screen ----------------------------------------------------------------- */

struct layout {
    size_t widths[TABLE_COLUMNS_MAX];
    uint32_t left_out; /* bit n: column n is not shown */
    size_t last;       /* the last one that is */
};

static bool shown(const struct layout *l, size_t column)
{
    return (l->left_out >> column & 1U) == 0;
}

/* How wide all columns before this one are, with the gaps behind them. */
static size_t width_before(const struct layout *l, size_t column)
{
    size_t width = 0;
    for (size_t i = 0; i < column; i++)
        width += shown(l, i) ? l->widths[i] + GAP : 0;
    return width;
}

static void find_last(const struct table *t, struct layout *l)
{
    l->last = t->columns > 0 ? t->columns - 1 : 0;
    while (l->last > 0 && !shown(l, l->last))
        l->last--;
}

/* The last column may be cut, but not to nothing. */
static bool fits(const struct layout *l, const struct screen *s)
{
    size_t last = l->widths[l->last] < LAST_MIN ? l->widths[l->last] : LAST_MIN;
    return s->columns == 0 || width_before(l, l->last) + last <= s->columns;
}

static void lay_out(const struct table *t, const struct screen *s, struct layout *l)
{
    for (size_t i = 0; i < cell_count(t); i++) {
        size_t columns = cell_at(t, i).columns;
        if (l->widths[i % t->columns] < columns)
            l->widths[i % t->columns] = columns;
    }
    find_last(t, l);
    for (unsigned rank = 1; rank <= 9 && !fits(l, s); rank++) {
        for (size_t i = 0; i < t->columns; i++)
            l->left_out |= t->rank[i] == rank ? UINT32_C(1) << i : 0;
        find_last(t, l);
    }
    size_t before = width_before(l, l->last);
    if (s->columns > 0 && before + l->widths[l->last] > s->columns)
        l->widths[l->last] = before + LAST_MIN < s->columns ? s->columns - before : LAST_MIN;
}

static void print_cell(const struct table *t, const struct screen *s, size_t i,
                       const struct layout *l, struct buf *out)
{
    struct cell cell = cell_at(t, i);
    size_t column = i % t->columns, width = l->widths[column];
    bool last = column == l->last, right = (t->right >> column & 1U) != 0;
    size_t pad = width > cell.columns ? width - cell.columns : 0;
    if (right)
        buf_printf(out, "%*s", (int)pad, "");
    buf_str(out, screen_on(s, cell.hue));
    text_safe_cut(out, t->text.data + cell.at, cell.len, cell.columns > width ? width : 0);
    buf_str(out, screen_off(s, cell.hue));
    if (last)
        buf_byte(out, '\n');
    else
        buf_printf(out, "%*s", (int)(GAP + (right ? 0 : pad)), "");
}

static void name_left_out(const struct table *t, const struct screen *s, const struct layout *l,
                          struct buf *out)
{
    const char *between = "not shown, for want of room: ";
    if (l->left_out == 0)
        return;
    buf_str(out, screen_on(s, HUE_DIM));
    for (size_t i = 0; i < t->columns; i++) {
        struct cell header = cell_at(t, i);
        if (shown(l, i))
            continue;
        buf_str(out, between);
        buf_append(out, t->text.data + header.at, header.len);
        between = ", ";
    }
    buf_printf(out, "%s\n", screen_off(s, HUE_DIM));
}

void table_print(struct table *t, const struct screen *s, struct buf *out)
{
    struct layout l = {.left_out = 0};
    out->failed = out->failed || t->text.failed || t->cells.failed;
    if (out->failed)
        return;
    lay_out(t, s, &l);
    for (size_t i = 0; i < cell_count(t); i++) {
        if (shown(&l, i % t->columns))
            print_cell(t, s, i, &l, out);
    }
    name_left_out(t, s, &l, out);
}
