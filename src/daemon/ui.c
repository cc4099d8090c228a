#include "tickerd/daemon/ui.h"

#include <string.h>

/* The assembler puts the file there as it is; the path is from the root of the source tree. */
#define EMBED(name, file)                                                                          \
    __asm__(".pushsection .rodata\n"                                                               \
            ".globl ui_" #name "\n"                                                                \
            ".globl ui_" #name "_end\n"                                                            \
            ".hidden ui_" #name "\n"                                                               \
            ".hidden ui_" #name "_end\n"                                                           \
            "ui_" #name ":\n"                                                                      \
            ".incbin \"src/daemon/ui/" file "\"\n"                                                 \
            "ui_" #name "_end:\n"                                                                  \
            ".byte 0\n"                                                                            \
            ".popsection\n");                                                                      \
    extern const char ui_##name[], ui_##name##_end[]

EMBED(page, "index.html");
EMBED(style, "style.css");
EMBED(app, "app.js");
EMBED(chart, "chart.js");
EMBED(kit, "kit.js");
EMBED(tables, "tables.js");
EMBED(tail, "tail.js");
EMBED(timeline, "timeline.js");

#define SCRIPT "text/javascript; charset=utf-8"

bool ui_find(struct ui_asset *out, const char *path, size_t len)
{
    const struct {
        const char *path, *type, *begin, *end;
    } files[] = {
        {"/", "text/html; charset=utf-8", ui_page, ui_page_end},
        {"/style.css", "text/css; charset=utf-8", ui_style, ui_style_end},
        {"/app.js", SCRIPT, ui_app, ui_app_end},
        {"/chart.js", SCRIPT, ui_chart, ui_chart_end},
        {"/kit.js", SCRIPT, ui_kit, ui_kit_end},
        {"/tables.js", SCRIPT, ui_tables, ui_tables_end},
        {"/tail.js", SCRIPT, ui_tail, ui_tail_end},
        {"/timeline.js", SCRIPT, ui_timeline, ui_timeline_end},
    };
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        if (strlen(files[i].path) != len || memcmp(files[i].path, path, len) != 0)
            continue;
        *out = (struct ui_asset){files[i].path, files[i].type, files[i].begin,
                                 (size_t)(files[i].end - files[i].begin)};
        return true;
    }
    return false;
}
