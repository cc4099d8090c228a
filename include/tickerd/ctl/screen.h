/* What tickerctl prints on: standard output with or without colours, and tables. */
#ifndef TICKERD_CTL_SCREEN_H
#define TICKERD_CTL_SCREEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tickerd/base/buf.h"

enum hue { HUE_NONE, HUE_DIM, HUE_BOLD, HUE_GOOD, HUE_WARN, HUE_BAD, HUE_NAME };

enum screen_colour { SCREEN_AUTO, SCREEN_ALWAYS, SCREEN_NEVER };

struct screen {
    bool terminal; /* standard output is one */
    bool colour;
    size_t columns; /* 0: as wide as it likes */
};

/* Colours by the rules of no-color.org: by themselves only on a terminal without NO_COLOR. */
void screen_init(struct screen *s, enum screen_colour colour);

/* What begins and ends a colour, "" without colours. */
const char *screen_on(const struct screen *s, enum hue hue);
const char *screen_off(const struct screen *s, enum hue hue);

/* Write a text to standard output at once. False: it cannot be written to, or memory was out while
 * the text was made; it has said so, unless the reader has just gone. */
bool screen_write(const struct buf *text);

struct cell {
    size_t at, len; /* of the table's text */
    size_t columns;
    enum hue hue;
};

enum { TABLE_COLUMNS_MAX = 12 };

/* Rows of cells, the same number in each; the first row is the header. */
struct table {
    size_t columns;
    uint32_t right; /* bit n: column n is aligned to the right */
    unsigned char rank[TABLE_COLUMNS_MAX];
    struct buf text;
    struct buf cells; /* struct cell, one behind the other */
};

/* Headers are static texts, `columns` of them; those that begin with '>' stand to the right. A
 * digit before that is a rank: on a screen too narrow for all, columns of rank 1 are left out, then
 * those of rank 2, and so on. */
void table_init(struct table *t, const char *const *headers, size_t columns);
void table_finish(struct table *t);

/* The next cell, row by row: append to t->text, then say that it is complete. */
void table_cell(struct table *t, enum hue hue);
void table_text(struct table *t, enum hue hue, const char *text);
void table_count(struct table *t, uint64_t n);
void table_bytes(struct table *t, uint64_t n);

/* Append the table, one line for each row, columns two blanks apart. Where the screen has an end it
 * fits, if need be without some columns, which are named below it, and with its last one cut. */
void table_print(struct table *t, const struct screen *s, struct buf *out);

#endif
