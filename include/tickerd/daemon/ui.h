/* The dashboard's files (src/daemon/ui), which are part of the binary. */
#ifndef TICKERD_DAEMON_UI_H
#define TICKERD_DAEMON_UI_H

#include <stdbool.h>
#include <stddef.h>

struct ui_asset {
    const char *path; /* "/" or "/app.js" */
    const char *type; /* for Content-Type */
    const char *bytes;
    size_t len;
};

/* Find the file at this path of a URL. False: there is none. */
bool ui_find(struct ui_asset *out, const char *path, size_t len);

#endif
