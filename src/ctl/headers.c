#include "tickerd/ctl/headers.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tickerd/base/err.h"
#include "tickerd/base/file.h"
#include "tickerd/ctl/admin.h"

enum { TOKEN_MAX = 64 * 1024 };

void headers_finish(struct headers *h)
{
    for (size_t i = 0; i < h->count; i++) {
        explicit_bzero(h->lines[i], strlen(h->lines[i]));
        free(h->lines[i]);
    }
    free(h->lines);
    *h = (struct headers)HEADERS_INIT;
}

static void add_line(struct headers *h, const char *line)
{
    char **longer = realloc(h->lines, (h->count + 1) * sizeof *longer);
    char *copy = strdup(line);
    if (longer != NULL)
        h->lines = longer;
    if (longer == NULL || copy == NULL) {
        free(copy);
        h->failed = true;
        return;
    }
    h->lines[h->count++] = copy;
}

void headers_add(struct headers *h, const char *name, const char *value, size_t len)
{
    struct buf line = BUF_INIT;
    buf_printf(&line, "%s: ", name);
    buf_append(&line, value, len);
    if (line.failed)
        h->failed = true;
    else
        add_line(h, buf_cstr(&line));
    buf_forget(&line);
}

void headers_add_all(struct headers *h, const struct headers *other)
{
    h->failed = h->failed || other->failed;
    for (size_t i = 0; i < other->count; i++)
        add_line(h, other->lines[i]);
}

/* Nothing that could begin a line of its own. */
static bool one_line(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)text[i] < ' ' || text[i] == 0x7f)
            return false;
    }
    return true;
}

static int add_token(struct headers *h, const char *token)
{
    struct buf value = BUF_INIT;
    int status = CTL_GOOD;
    buf_str(&value, "Bearer ");
    if (token[0] == '@') {
        int err = file_read(&value, token + 1, TOKEN_MAX, NULL);
        if (err != 0) {
            ctl_say("--token: %s cannot be read: %s", token + 1,
                    err == ERR_UNKNOWN || err == ERR_SYSTEM ? strerror(errno) : err_text(err));
            status = CTL_USAGE;
        }
    } else {
        buf_str(&value, token);
    }
    while (value.len > 0 && strchr(" \r\n", value.data[value.len - 1]) != NULL)
        value.len--;
    if (status == CTL_GOOD && !one_line(value.data, value.len)) {
        ctl_say("--token: a token is one line of letters, digits, and - _ .");
        status = CTL_USAGE;
    }
    headers_add(h, "Authorization", value.data, value.len);
    buf_forget(&value);
    return status;
}

int headers_of_options(struct headers *h, const struct ctl_options *o)
{
    int status = CTL_GOOD;
    for (size_t i = 0; i < o->header_count; i++) {
        const char *line = o->headers[i];
        const char *colon = strchr(line, ':');
        if (colon == NULL || colon == line || !one_line(line, strlen(line))) {
            ctl_say("--header: write it as 'Name: value'");
            status = CTL_USAGE;
        } else {
            add_line(h, line);
        }
    }
    if (o->value[OPT_TOKEN] != NULL && status == CTL_GOOD)
        status = add_token(h, o->value[OPT_TOKEN]);
    return status;
}
