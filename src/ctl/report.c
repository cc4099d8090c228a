#include "tickerd/ctl/report.h"

#include <string.h>

#include "tickerd/ctl/text.h"

enum { NAME_COLUMNS = 12, PROXY_COLUMNS = 9, INDENT = 4 };

static const char *verdict_name(enum verdict verdict)
{
    static const char *const names[] = {"ok", "not checked", "warning", "FAULT"};
    return names[verdict];
}

static enum hue verdict_hue(enum verdict verdict)
{
    static const enum hue hues[] = {HUE_GOOD, HUE_DIM, HUE_WARN, HUE_BAD};
    return hues[verdict];
}

static void put_coloured(struct buf *out, const struct screen *s, enum hue hue, const char *text)
{
    buf_printf(out, "%s%s%s", screen_on(s, hue), text, screen_off(s, hue));
}

/* The lines of one proxy: its name before the first, the others below it. */
static void put_lines(struct buf *out, const struct screen *s, const char *name, const char *lines)
{
    for (const char *p = lines; *p != '\0';) {
        size_t len = strcspn(p, "\n");
        buf_printf(out, "      %s%-*s%s %.*s\n", screen_on(s, HUE_DIM), PROXY_COLUMNS,
                   p == lines ? name : "", screen_off(s, HUE_DIM), (int)len, p);
        p += len + (p[len] == '\n');
    }
}

static void put_prose(struct buf *out, const struct screen *s, const char *prose)
{
    struct buf line = BUF_INIT;
    buf_printf(&line, "%*s%s\n", INDENT, "", prose);
    text_wrapped(out, line.data, line.len, INDENT, s->columns);
    buf_finish(&line);
}

/* Lines of configuration are never broken. */
static void put_cure(struct buf *out, const struct screen *s, enum cure cure, enum proxy only)
{
    const struct cure_row *row = cure_row(cure);
    if (row->meaning != NULL)
        put_prose(out, s, row->meaning);
    if (row->tickerd != NULL)
        put_prose(out, s, row->tickerd);
    for (size_t i = 0; i < PROXIES; i++) {
        if (row->lines[i] != NULL && (only == PROXIES || only == (enum proxy)i))
            put_lines(out, s, proxy_name((enum proxy)i), row->lines[i]);
    }
}

static void put_summary(struct buf *out, const struct screen *s, const struct findings *f)
{
    size_t faults = findings_count(f, VERDICT_FAULT), warnings = findings_count(f, VERDICT_WARN);
    size_t skipped = findings_count(f, VERDICT_SKIPPED);
    buf_byte(out, '\n');
    buf_str(out, screen_on(s, faults > 0 ? HUE_BAD : HUE_GOOD));
    if (faults == 0)
        buf_str(out, "no fault");
    else
        buf_printf(out, "%zu fault%s", faults, faults == 1 ? "" : "s");
    buf_str(out, screen_off(s, faults > 0 ? HUE_BAD : HUE_GOOD));
    buf_printf(out, ", %zu warning%s, %zu check%s not made\n", warnings, warnings == 1 ? "" : "s",
               skipped, skipped == 1 ? "" : "s");
}

static void put_finding(struct buf *out, const struct screen *s, enum check check,
                        const struct finding *one)
{
    struct buf line = BUF_INIT;
    buf_printf(&line, "%-*s ", NAME_COLUMNS, check_name(check));
    put_coloured(&line, s, verdict_hue(one->verdict), verdict_name(one->verdict));
    buf_str(&line, ": ");
    text_safe(&line, one->text.data, one->text.len);
    buf_byte(&line, '\n');
    text_wrapped(out, line.data, line.len, NAME_COLUMNS + 1, s->columns);
    out->failed = out->failed || line.failed || one->text.failed;
    buf_finish(&line);
}

void report_text(struct buf *out, const struct screen *s, const struct findings *f, enum proxy only)
{
    bool reached = f->of[CHECK_REACH].verdict != VERDICT_FAULT;
    for (size_t i = 0; i < CHECKS; i++) {
        const struct finding *one = &f->of[i];
        if (!reached && one->verdict == VERDICT_SKIPPED)
            continue; /* what could not be checked then is no news */
        put_finding(out, s, (enum check)i, one);
        if (one->verdict >= VERDICT_WARN && one->cure != CURE_NONE)
            put_cure(out, s, one->cure, only);
    }
    put_summary(out, s, f);
}

static json_t *cure_json(enum cure cure, enum proxy only)
{
    static const char *const keys[PROXIES] = {"nginx", "haproxy", "caddy", "apache"};
    const struct cure_row *row = cure_row(cure);
    json_t *object = json_object();
    if (row->tickerd != NULL)
        (void)json_object_set_new(object, "tickerd", json_string(row->tickerd));
    for (size_t i = 0; i < PROXIES; i++) {
        if (row->lines[i] != NULL && (only == PROXIES || only == (enum proxy)i))
            (void)json_object_set_new(object, keys[i], json_string(row->lines[i]));
    }
    return object;
}

static json_t *finding_json(enum check check, const struct finding *one, enum proxy only)
{
    static const char *const verdicts[] = {"ok", "skipped", "warning", "fault"};
    struct buf safe = BUF_INIT;
    json_t *object = json_object();
    text_safe(&safe, one->text.data, one->text.len);
    (void)json_object_set_new(object, "check", json_string(check_name(check)));
    (void)json_object_set_new(object, "verdict", json_string(verdicts[one->verdict]));
    (void)json_object_set_new(object, "found", json_string(buf_cstr(&safe)));
    if (one->verdict >= VERDICT_WARN && one->cure != CURE_NONE) {
        const char *meaning = cure_row(one->cure)->meaning;
        (void)json_object_set_new(object, "meaning", json_string(meaning));
        (void)json_object_set_new(object, "cure", cure_json(one->cure, only));
    }
    buf_finish(&safe);
    return object;
}

json_t *report_json(const struct sights *s, const struct findings *f, enum proxy only)
{
    json_t *checks = json_array(), *object = json_object();
    for (size_t i = 0; i < CHECKS; i++)
        (void)json_array_append_new(checks, finding_json((enum check)i, &f->of[i], only));
    (void)json_object_set_new(object, "url", json_string(s->url));
    (void)json_object_set_new(object, "faults",
                              json_integer((json_int_t)findings_count(f, VERDICT_FAULT)));
    (void)json_object_set_new(object, "warnings",
                              json_integer((json_int_t)findings_count(f, VERDICT_WARN)));
    (void)json_object_set_new(object, "checks", checks);
    return object;
}
