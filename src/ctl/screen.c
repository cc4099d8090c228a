#include "tickerd/ctl/screen.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "tickerd/ctl/text.h"

enum { GAP = 2 };

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
    if (text->failed)
        return false;
    return fwrite(text->data, 1, text->len, stdout) == text->len && fflush(stdout) == 0;
}

void table_init(struct table *t, const char *const *headers, size_t columns)
{
    *t = (struct table){.columns = columns};
    for (size_t i = 0; i < columns; i++) {
        bool right = headers[i][0] == '>';
        if (right)
            t->right |= UINT32_C(1) << i;
        table_text(t, HUE_DIM, headers[i] + right);
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

static void print_cell(const struct table *t, const struct screen *s, size_t i, size_t width,
                       struct buf *out)
{
    struct cell cell = cell_at(t, i);
    size_t column = i % t->columns;
    bool last = column + 1 == t->columns, right = (t->right >> column & 1U) != 0;
    size_t pad = width - cell.columns;
    if (right)
        buf_printf(out, "%*s", (int)pad, "");
    buf_str(out, screen_on(s, cell.hue));
    buf_append(out, t->text.data + cell.at, cell.len);
    buf_str(out, screen_off(s, cell.hue));
    if (last)
        buf_byte(out, '\n');
    else
        buf_printf(out, "%*s", (int)(GAP + (right ? 0 : pad)), "");
}

void table_print(struct table *t, const struct screen *s, struct buf *out)
{
    size_t widths[TABLE_COLUMNS_MAX] = {0};
    out->failed = out->failed || t->text.failed || t->cells.failed;
    for (size_t i = 0; !out->failed && i < cell_count(t); i++) {
        size_t columns = cell_at(t, i).columns;
        if (widths[i % t->columns] < columns)
            widths[i % t->columns] = columns;
    }
    for (size_t i = 0; !out->failed && i < cell_count(t); i++)
        print_cell(t, s, i, widths[i % t->columns], out);
}
