/* tickerctl channels and clients: rows of the admin listener as tables. */
#include <stdio.h>
#include <string.h>

#include "tickerd/ctl/commands.h"
#include "tickerd/ctl/text.h"

enum { NAME_COLUMNS = 40, TOPICS_SHOWN = 3 };

static void put_time(struct table *t, const char *time)
{
    /* "2026-11-20T19:00:00.000Z": without parts of a second, and as two words. */
    size_t len = time == NULL ? 0 : strlen(time);
    if (len >= 19 && time[10] == 'T') {
        text_safe(&t->text, time, 10);
        buf_byte(&t->text, ' ');
        text_safe(&t->text, time + 11, 8);
        buf_byte(&t->text, 'Z');
    } else {
        buf_byte(&t->text, '-');
    }
    table_cell(t, HUE_DIM);
}

static void put_name(struct table *t, const char *name, size_t columns)
{
    text_safe_cut(&t->text, name, strlen(name), columns);
    table_cell(t, HUE_NAME);
}

static int print_table(struct ctl *c, struct table *t, struct buf *tail)
{
    struct buf out = BUF_INIT;
    table_print(t, &c->screen, &out);
    buf_append(&out, tail->data, tail->len);
    int status = screen_write(&out) ? CTL_GOOD : CTL_REFUSED;
    buf_finish(&out);
    return status;
}

static void put_limit(struct buf *target, const struct ctl_options *o)
{
    if (o->value[OPT_ALL] != NULL)
        query_add(target, "limit", "1000");
    else
        query_add(target, "limit", o->value[OPT_LIMIT]);
}

/* ---- channels -------------------------------------------------------------------------------- */

/* Names are cut for people only: what reads a pipe needs them whole. */
static size_t name_columns(const struct screen *s, size_t columns)
{
    return s->terminal ? columns : 0;
}

static void put_channel(struct table *t, const struct screen *s, const json_t *row)
{
    put_name(t, member_text(row, "channel", "?"), name_columns(s, NAME_COLUMNS));
    table_count(t, member_count(row, "subscribers"));
    buf_printf(&t->text, "%.1f", member_number(row, "rate"));
    table_cell(t, HUE_NONE);
    table_count(t, member_count(row, "messages"));
    table_bytes(t, member_count(row, "bytes"));
    table_count(t, member_count(row, "kept.events"));
    table_bytes(t, member_count(row, "kept.bytes"));
    put_time(t, member_text(row, "last_at", NULL));
}

static void put_patterns(struct buf *out, const struct screen *s, const json_t *patterns)
{
    size_t i;
    const json_t *row;
    json_array_foreach(patterns, i, row)
    {
        const char *pattern = member_text(row, "pattern", "?");
        if (i == 0)
            buf_printf(out, "\n%sPATTERNS THAT CLIENTS LISTEN TO%s\n", screen_on(s, HUE_DIM),
                       screen_off(s, HUE_DIM));
        text_safe_cut(out, pattern, strlen(pattern), name_columns(s, NAME_COLUMNS));
        buf_str(out, "  ");
        text_count(out, member_count(row, "subscribers"));
        buf_byte(out, '\n');
    }
}

static int print_channels(struct ctl *c, const json_t *json)
{
    static const char *const headers[] = {"CHANNEL",      ">SUBSCRIBERS", ">PER SECOND",
                                          "5>MESSAGES",   "2>BYTES",      "3>KEPT",
                                          "1>KEPT BYTES", "4LAST MESSAGE"};
    const json_t *rows = member(json, "channels");
    struct table t;
    struct buf tail = BUF_INIT;
    table_init(&t, headers, sizeof headers / sizeof *headers);
    for (size_t i = 0; i < json_array_size(rows); i++)
        put_channel(&t, &c->screen, json_array_get(rows, i));
    uint64_t total = member_count(json, "total");
    if (total > json_array_size(rows)) {
        text_count(&tail, json_array_size(rows));
        buf_str(&tail, " of ");
        text_count(&tail, total);
        buf_str(&tail, " channels; --limit, --sort and --match choose others\n");
    }
    put_patterns(&tail, &c->screen, member(json, "patterns"));
    int status = print_table(c, &t, &tail);
    buf_finish(&tail);
    table_finish(&t);
    return status;
}

int command_channels(struct ctl *c)
{
    const struct ctl_options *o = c->options;
    struct buf target = BUF_INIT;
    struct admin_answer answer;
    buf_str(&target, "/channels");
    put_limit(&target, o);
    query_add(&target, "sort", o->value[OPT_SORT]);
    query_add(&target, "match", o->value[OPT_MATCH]);
    int status = admin_order(c, "GET", buf_cstr(&target), NULL, &answer);
    if (status == CTL_GOOD && o->value[OPT_JSON] != NULL)
        status = ctl_print_json(c, answer.json) ? CTL_GOOD : CTL_REFUSED;
    else if (status == CTL_GOOD)
        status = print_channels(c, answer.json);
    admin_answer_finish(&answer);
    buf_finish(&target);
    return status;
}

/* ---- clients --------------------------------------------------------------------------------- */

/* "news, user.*, …": the first few of what a client listens to. */
static void put_topics(struct table *t, const struct screen *s, const json_t *row)
{
    static const char *const lists[] = {"channels", "patterns"};
    size_t shown = 0;
    for (size_t l = 0; l < sizeof lists / sizeof *lists; l++) {
        const json_t *list = member(row, lists[l]), *topic;
        size_t i;
        json_array_foreach(list, i, topic)
        {
            const char *text = json_string_value(topic);
            if (shown > TOPICS_SHOWN || text == NULL)
                continue;
            buf_str(&t->text, shown == 0 ? "" : ", ");
            if (shown++ == TOPICS_SHOWN)
                buf_str(&t->text, "\xe2\x80\xa6");
            else
                text_safe_cut(&t->text, text, strlen(text), name_columns(s, NAME_COLUMNS / 2));
        }
    }
    table_cell(t, HUE_NAME);
}

static enum hue hue_of(const char *state)
{
    if (strcmp(state, "live") == 0)
        return HUE_GOOD;
    return strcmp(state, "waiting") == 0 ? HUE_NONE : HUE_WARN;
}

static void put_client(struct table *t, const struct screen *s, const json_t *row)
{
    const char *subject = member_text(row, "subject", "-");
    const char *state = member_text(row, "state", "?");
    const char *address = member_text(row, "address", "?");
    text_safe_cut(&t->text, address, strlen(address), name_columns(s, NAME_COLUMNS));
    table_cell(t, HUE_NONE);
    text_safe_cut(&t->text, subject, strlen(subject), name_columns(s, NAME_COLUMNS / 2));
    table_cell(t, HUE_NONE);
    put_time(t, member_text(row, "since", NULL));
    text_safe(&t->text, state, strlen(state));
    table_cell(t, hue_of(state));
    table_count(t, member_count(row, "events"));
    table_bytes(t, member_count(row, "bytes"));
    table_count(t, member_count(row, "gaps"));
    text_count(&t->text, member_count(row, "lag.events"));
    buf_str(&t->text, " / ");
    text_bytes(&t->text, member_count(row, "lag.bytes"));
    table_cell(t, HUE_NONE);
    put_topics(t, s, row);
}

static void clients_target(struct buf *target, const struct ctl_options *o, const char *after)
{
    buf_reset(target);
    buf_str(target, "/clients");
    put_limit(target, o);
    query_add(target, "channel", o->value[OPT_CHANNEL]);
    query_add(target, "sub", o->value[OPT_SUB]);
    query_add(target, "address", o->value[OPT_ADDRESS]);
    query_add(target, "after", after);
}

/* One page of rows into the table, or as JSON. *next: the cursor of the page behind it, or NULL;
 * valid as long as the answer. */
static int take_page(struct ctl *c, const struct admin_answer *answer, struct table *t,
                     const char **next)
{
    const json_t *rows = member(answer->json, "clients");
    *next = member_text(answer->json, "next", NULL);
    if (c->options->value[OPT_JSON] != NULL)
        return ctl_print_json(c, answer->json) ? CTL_GOOD : CTL_REFUSED;
    for (size_t i = 0; i < json_array_size(rows); i++)
        put_client(t, &c->screen, json_array_get(rows, i));
    return CTL_GOOD;
}

/* Page after page into the table. *left: there is more than was asked for. */
static int take_clients(struct ctl *c, struct table *t, uint64_t *total, bool *left)
{
    struct buf target = BUF_INIT, after = BUF_INIT;
    bool all = c->options->value[OPT_ALL] != NULL, more = true;
    int status = CTL_GOOD;
    *left = false;
    while (status == CTL_GOOD && more) {
        struct admin_answer answer;
        const char *next = NULL;
        clients_target(&target, c->options, after.len > 0 ? buf_cstr(&after) : NULL);
        status = admin_order(c, "GET", buf_cstr(&target), NULL, &answer);
        if (status == CTL_GOOD)
            status = take_page(c, &answer, t, &next);
        *total = member_count(answer.json, "total");
        *left = next != NULL;
        more = all && next != NULL;
        buf_reset(&after);
        buf_str(&after, next == NULL ? "" : next);
        admin_answer_finish(&answer);
    }
    buf_finish(&after);
    buf_finish(&target);
    return status;
}

int command_clients(struct ctl *c)
{
    static const char *const headers[] = {"ADDRESS", "6SUBJECT", "3SINCE", "STATE",     "2>EVENTS",
                                          "1>BYTES", "4>GAPS",   "5>LAG",  "LISTENS TO"};
    struct table t;
    struct buf tail = BUF_INIT;
    uint64_t total = 0;
    bool left = false;
    table_init(&t, headers, sizeof headers / sizeof *headers);
    int status = take_clients(c, &t, &total, &left);
    if (left) {
        buf_str(&tail, "there are more, of ");
        text_count(&tail, total);
        buf_str(&tail, " clients in all; --all shows them\n");
    }
    if (status == CTL_GOOD && c->options->value[OPT_JSON] == NULL)
        status = print_table(c, &t, &tail);
    buf_finish(&tail);
    table_finish(&t);
    return status;
}
