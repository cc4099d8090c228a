#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "tickerd/base/clock.h"
#include "tickerd/ctl/judge.h"
#include "tickerd/ctl/report.h"

#define MS(n) ((uint64_t)(n)*US_PER_MS)
#define TEXT(field, text) (void)snprintf(field, sizeof(field), "%s", text)

enum { BEGAN_MS = 1000 };

/* A stream as it is through a proxy that does nothing wrong: a head after 20 ms, the first event
 * with it, a heartbeat after 5 s. */
static void sound_stream(struct seen *s, int version)
{
    seen_init(s);
    s->asked = true;
    s->asked_at = MS(BEGAN_MS);
    s->head_at = s->open_at = MS(BEGAN_MS + 20);
    s->heartbeat_at = s->last_at = MS(BEGAN_MS + 5020);
    s->status = 200;
    s->version = version;
    s->events = s->heartbeats = 1;
    s->retry = true;
    TEXT(s->type, "text/event-stream");
    TEXT(s->cache, "no-cache, no-transform");
    TEXT(s->id, "660babb46f0f7-fc113722-00000000");
    TEXT(s->resume, "new");
    TEXT(s->allow_origin, "https://app.example");
    s->origins = 1;
    s->allow_credentials = true;
}

static void sound(struct sights *s)
{
    sights_init(s);
    TEXT(s->url, "https://example.org/events/news");
    s->tls = true;
    s->origin = "https://app.example";
    s->heartbeat_us = MS(5000);
    s->heartbeat_known = true;
    s->listened_us = MS(5500);
    sound_stream(&s->browser, 20);
    sound_stream(&s->plain, 20);
    sound_stream(&s->head, 20);
    sound_stream(&s->again, 20);
    TEXT(s->again.resume, "continued");
    sound_stream(&s->preflight, 20);
    s->preflight.status = 204;
    TEXT(s->preflight.allow_headers, "Authorization, Last-Event-ID, Cache-Control");
    for (size_t i = 0; i < SEEN_CROWD; i++)
        sound_stream(&s->crowd[i], 20);
}

static void publish(struct sights *s, uint64_t delay_ms)
{
    s->published = true;
    for (size_t i = 0; i < SEEN_PROBES; i++) {
        s->sent_at[i] = MS(BEGAN_MS + 500 + 300 * i);
        s->plain.probe_at[i] = s->browser.probe_at[i] = s->sent_at[i] + MS(delay_ms);
    }
}

static void end(struct seen *s, uint64_t last_ms, uint64_t end_ms)
{
    s->last_at = MS(BEGAN_MS + last_ms);
    s->end_at = MS(BEGAN_MS + end_ms);
    s->heartbeat_at = SEEN_NEVER;
    s->heartbeats = 0;
}

/* Of a sound stream, what is held back: nothing, the body, all. */
static void hold_back(struct seen *s, bool head)
{
    s->open_at = s->heartbeat_at = s->last_at = SEEN_NEVER;
    s->events = s->heartbeats = 0;
    if (head) {
        s->head_at = SEEN_NEVER;
        s->status = 0;
    }
}

/* The check has this verdict and cure, and its sentence has these words. No other is a fault. */
static void expect(const struct sights *s, enum check check, enum verdict verdict, enum cure cure,
                   const char *words)
{
    struct findings f;
    judge(s, &f);
    struct finding *one = &f.of[check];
    if (one->verdict != verdict || one->cure != cure || strstr(buf_cstr(&one->text), words) == NULL)
        fail_msg("%s: %d, cure %d: %s", check_name(check), one->verdict, one->cure,
                 buf_cstr(&one->text));
    for (size_t i = 0; i < CHECKS; i++) {
        if (i != check && f.of[i].verdict == VERDICT_FAULT)
            fail_msg("%s is a fault, too: %s", check_name((enum check)i), buf_cstr(&f.of[i].text));
    }
    findings_finish(&f);
}

static void what_is_sound_has_no_fault(void **state)
{
    (void)state;
    struct sights s;
    struct findings f;
    sound(&s);
    publish(&s, 4);
    judge(&s, &f);
    for (size_t i = 0; i < CHECKS; i++) {
        if (f.of[i].verdict != VERDICT_OK || f.of[i].text.len == 0)
            fail_msg("%s: %s", check_name((enum check)i), buf_cstr(&f.of[i].text));
    }
    assert_int_equal(findings_count(&f, VERDICT_OK), CHECKS);
    findings_finish(&f);
}

static void nobody_there(void **state)
{
    (void)state;
    struct sights s;
    struct findings f;
    sights_init(&s);
    s.browser.asked = true;
    s.browser.end_at = 1;
    s.browser.how = WEB_NO_CONNECT;
    TEXT(s.browser.why, "Connection refused");
    expect(&s, CHECK_REACH, VERDICT_FAULT, CURE_REACH, "Connection refused");
    judge(&s, &f);
    assert_int_equal(f.of[CHECK_REDIRECT].verdict, VERDICT_SKIPPED);
    findings_finish(&f);
    s.browser.how = WEB_NO_TLS;
    expect(&s, CHECK_REACH, VERDICT_FAULT, CURE_TLS, "is it http?");
}

static void certificates(void **state)
{
    (void)state;
    struct sights s;
    sound(&s);
    TEXT(s.trust, "certificate has expired");
    expect(&s, CHECK_TLS, VERDICT_FAULT, CURE_TLS, "certificate has expired");
    s.tls = false;
    s.trust[0] = '\0';
    expect(&s, CHECK_TLS, VERDICT_SKIPPED, CURE_NONE, "");
}

static void redirects(void **state)
{
    (void)state;
    struct sights s;
    sound(&s);
    s.hop_count = 1;
    s.hops[0].status = 301;
    TEXT(s.hops[0].to, "https://example.org/events/news/");
    expect(&s, CHECK_REDIRECT, VERDICT_WARN, CURE_REDIRECT, "301 to https://example.org/events/n");
    s.insecure_hop = true;
    expect(&s, CHECK_REDIRECT, VERDICT_FAULT, CURE_REDIRECT, "from https to http");
}

static void refusals(void **state)
{
    (void)state;
    struct sights s;
    static const struct {
        long status;
        const char *body;
        enum cure cure;
        const char *words;
    } cases[] = {
        {502, "<html>", CURE_LATER, "502, a page of the proxy's"},
        {503, "", CURE_LATER, "503"},
        {404, "<html>", CURE_ROUTE, "404, and not by tickerd"},
        {204, "", CURE_ROUTE, "never to come back"},
        {401, "{}", CURE_ROUTE, "credentials"},
        {401, "{\"error\":\"no_token\",\"message\":\"Bring one.\"}", CURE_REFUSED, "Bring one."},
        {503, "{\"error\":\"busy\",\"message\":\"Later.\"}", CURE_REFUSED, "Later. (busy)"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sights_init(&s);
        sound_stream(&s.browser, 20);
        s.browser.status = cases[i].status;
        s.browser.type[0] = '\0';
        TEXT(s.browser.body, cases[i].body);
        hold_back(&s.browser, false);
        end(&s.browser, 30, 30);
        expect(&s, CHECK_STATUS, VERDICT_FAULT, cases[i].cure, cases[i].words);
    }
}

static void what_is_not_tickerd(void **state)
{
    (void)state;
    struct sights s;
    sights_init(&s);
    sound_stream(&s.browser, 20);
    hold_back(&s.browser, false);
    end(&s.browser, 21, 22);
    expect(&s, CHECK_STATUS, VERDICT_FAULT, CURE_LATER, "the proxy sends browsers away for now");
    s.browser.retry = false;
    expect(&s, CHECK_TYPE, VERDICT_FAULT, CURE_ROUTE, "not of tickerd");
    TEXT(s.browser.type, "text/html");
    expect(&s, CHECK_TYPE, VERDICT_FAULT, CURE_ROUTE, "text/html instead of");
}

static void buffers(void **state)
{
    (void)state;
    struct sights s;
    sound(&s);
    hold_back(&s.browser, true);
    hold_back(&s.plain, true);
    s.browser.id[0] = '\0';
    expect(&s, CHECK_BUFFERING, VERDICT_FAULT, CURE_BUFFERING, "a HEAD was answered at once");
    sound(&s);
    hold_back(&s.browser, false);
    hold_back(&s.plain, false);
    expect(&s, CHECK_BUFFERING, VERDICT_FAULT, CURE_BUFFERING, "but not the first event");
    sound(&s);
    s.plain.open_at = s.browser.open_at = MS(BEGAN_MS + 2020);
    expect(&s, CHECK_BUFFERING, VERDICT_FAULT, CURE_BUFFERING, "2.0 s behind the head");
    sound(&s);
    s.plain.heartbeats = s.browser.heartbeats = 0;
    s.listened_us = MS(7100);
    expect(&s, CHECK_BUFFERING, VERDICT_FAULT, CURE_BUFFERING, "no heartbeat has come in 7.1 s");
    s.heartbeat_known = false;
    expect(&s, CHECK_BUFFERING, VERDICT_OK, CURE_NONE, "with the head");
    expect(&s, CHECK_IDLE, VERDICT_SKIPPED, CURE_NONE, "--time must be longer");
}

static void published_events(void **state)
{
    (void)state;
    struct sights s;
    sound(&s);
    publish(&s, 160);
    expect(&s, CHECK_BUFFERING, VERDICT_WARN, CURE_BUFFERING, "within 160 ms, most above");
    publish(&s, 4);
    s.plain.probe_at[0] += MS(500); /* one that was late is no rule */
    s.plain.probe_at[1] += MS(300);
    expect(&s, CHECK_BUFFERING, VERDICT_OK, CURE_NONE, "within 504 ms");
    publish(&s, 1100);
    expect(&s, CHECK_BUFFERING, VERDICT_FAULT, CURE_BUFFERING, "an event took 1.1 s");
    publish(&s, 4);
    for (size_t i = 0; i < SEEN_PROBES; i++)
        s.plain.probe_at[i] = s.browser.probe_at[i] = s.sent_at[SEEN_PROBES - 1] - MS(300);
    s.sent_at[SEEN_PROBES - 1] -= MS(300);
    for (size_t i = 0; i + 1 < SEEN_PROBES; i++)
        s.sent_at[i] = s.plain.probe_at[i] - MS(900 - i * 200);
    expect(&s, CHECK_BUFFERING, VERDICT_FAULT, CURE_BUFFERING, "came together");
    publish(&s, 4);
    s.plain.probe_at[3] = s.browser.probe_at[3] = SEEN_NEVER;
    expect(&s, CHECK_BUFFERING, VERDICT_FAULT, CURE_BUFFERING, "1 of 5 events");
}

static void compressors(void **state)
{
    (void)state;
    struct sights s;
    sound(&s);
    TEXT(s.browser.coding, "gzip");
    expect(&s, CHECK_COMPRESSION, VERDICT_WARN, CURE_COMPRESSION, "though events do come");
    hold_back(&s.browser, false);
    expect(&s, CHECK_COMPRESSION, VERDICT_FAULT, CURE_COMPRESSION, "Content-Encoding: gzip");
    sound(&s);
    TEXT(s.browser.coding, "br");
    publish(&s, 4);
    for (size_t i = 0; i < SEEN_PROBES; i++)
        s.browser.probe_at[i] += MS(3000);
    expect(&s, CHECK_COMPRESSION, VERDICT_FAULT, CURE_COMPRESSION, "an event took 3.0 s");
}

static void time_outs(void **state)
{
    (void)state;
    struct sights s;
    sound(&s);
    end(&s.plain, 20, 2020);
    end(&s.browser, 20, 2020);
    expect(&s, CHECK_IDLE, VERDICT_FAULT, CURE_IDLE, "cut after a silence of 2.0 s");
    for (size_t i = 0; i < SEEN_CROWD; i++)
        end(&s.crowd[i], 20, 1020);
    expect(&s, CHECK_IDLE, VERDICT_FAULT, CURE_IDLE, "cut after a silence of 2.0 s");
    sound(&s);
    end(&s.plain, 20, 25);
    end(&s.browser, 20, 25);
    expect(&s, CHECK_IDLE, VERDICT_WARN, CURE_CROWD, "sends clients away for now");
    sound(&s);
    s.plain.heartbeats = 0;
    s.plain.events = 40;
    expect(&s, CHECK_IDLE, VERDICT_SKIPPED, CURE_NONE, "too busy");
}

static void resuming(void **state)
{
    (void)state;
    struct sights s;
    sound(&s);
    TEXT(s.again.resume, "new");
    expect(&s, CHECK_RESUME, VERDICT_FAULT, CURE_RESUME, "does not reach tickerd");
    TEXT(s.again.resume, "gap");
    expect(&s, CHECK_RESUME, VERDICT_WARN, CURE_NONE, "gap");
    s.again.resume[0] = '\0';
    s.again.status = 503;
    expect(&s, CHECK_RESUME, VERDICT_WARN, CURE_NONE, "status 503");
}

static void caches(void **state)
{
    (void)state;
    struct sights s;
    static const struct {
        const char *value;
        enum verdict verdict;
    } cases[] = {
        {"", VERDICT_WARN},
        {"public", VERDICT_FAULT},
        {"max-age=60", VERDICT_FAULT},
        {"private, s-maxage = 5", VERDICT_FAULT},
        {"private", VERDICT_WARN},
        {"no-cache", VERDICT_WARN},
        {"No-Store,NO-TRANSFORM", VERDICT_OK},
        {"no-cache=\"x\", no-transform, max-age=0", VERDICT_OK},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sound(&s);
        TEXT(s.browser.cache, cases[i].value);
        bool fine = cases[i].verdict == VERDICT_OK;
        expect(&s, CHECK_CACHE, cases[i].verdict, fine ? CURE_NONE : CURE_CACHE, cases[i].value);
    }
    TEXT(s.browser.age, "12");
    expect(&s, CHECK_CACHE, VERDICT_FAULT, CURE_CACHE, "out of a cache");
}

static void origins(void **state)
{
    (void)state;
    struct sights s;
    sound(&s);
    s.browser.origins = 0;
    s.browser.allow_origin[0] = '\0';
    expect(&s, CHECK_CORS, VERDICT_FAULT, CURE_CORS, "no Access-Control-Allow-Origin");
    s.same_origin = true;
    expect(&s, CHECK_CORS, VERDICT_OK, CURE_NONE, "not needed");
    sound(&s);
    s.browser.origins = 2;
    expect(&s, CHECK_CORS, VERDICT_FAULT, CURE_CORS_TWICE, "more than once");
    sound(&s);
    TEXT(s.browser.allow_origin, "https://other.example");
    expect(&s, CHECK_CORS, VERDICT_FAULT, CURE_CORS, "https://other.example");
    TEXT(s.browser.allow_origin, "*");
    expect(&s, CHECK_CORS, VERDICT_WARN, CURE_CORS, "not with cookies");
    sound(&s);
    s.preflight.status = 405;
    expect(&s, CHECK_CORS, VERDICT_WARN, CURE_CORS, "refused (status 405)");
    s.bearer = true;
    expect(&s, CHECK_CORS, VERDICT_FAULT, CURE_CORS, "preflight");
    s.origin = NULL;
    expect(&s, CHECK_CORS, VERDICT_SKIPPED, CURE_NONE, "--origin");
}

static void old_http(void **state)
{
    (void)state;
    struct sights s;
    sound(&s);
    s.browser.version = 10;
    expect(&s, CHECK_HTTP2, VERDICT_WARN, CURE_HTTP2, "HTTP/1.0 only");
    s.browser.version = 11;
    s.tls = false;
    expect(&s, CHECK_HTTP2, VERDICT_WARN, CURE_HTTP2, "over https alone");
}

static void crowds(void **state)
{
    (void)state;
    struct sights s;
    sound(&s);
    hold_back(&s.crowd[3], false);
    s.crowd[3].status = 429;
    s.crowd[3].end_at = MS(BEGAN_MS + 40);
    expect(&s, CHECK_CROWD, VERDICT_FAULT, CURE_CROWD,
           "11 of 12 streams at once are open; others "
           "got 429");
    sound(&s);
    end(&s.crowd[0], 30, 40);
    expect(&s, CHECK_CROWD, VERDICT_FAULT, CURE_CROWD, "1 ended soon after");
    hold_back(&s.crowd[1], true);
    expect(&s, CHECK_CROWD, VERDICT_FAULT, CURE_CROWD, "10 of 12");
    sound(&s);
    for (size_t i = 5; i < SEEN_CROWD; i++)
        hold_back(&s.crowd[i], true);
    expect(&s, CHECK_CROWD, VERDICT_WARN, CURE_WAITING,
           "5 of 12 streams at once are open; the "
           "others wait");
    s.browser.version = 11;
    expect(&s, CHECK_CROWD, VERDICT_FAULT, CURE_CROWD, "5 of 12");
}

/* Every verdict that is no good names what it means, and every cure has lines for all or none. */
static void each_cure_is_whole(void **state)
{
    (void)state;
    for (int i = CURE_NONE + 1; i < CURES; i++) {
        const struct cure_row *row = cure_row((enum cure)i);
        size_t lines = 0;
        for (size_t p = 0; p < PROXIES; p++)
            lines += row->lines[p] != NULL;
        assert_non_null(row->meaning);
        assert_true(lines == PROXIES || (lines == 0 && row->tickerd != NULL));
    }
}

static void what_is_printed(void **state)
{
    (void)state;
    struct screen plain = {.colour = false};
    struct buf out = BUF_INIT;
    struct findings f;
    struct sights s;
    sound(&s);
    TEXT(s.browser.allow_origin, "\x1b[2J");
    end(&s.plain, 20, 2020);
    judge(&s, &f);
    report_text(&out, &plain, &f, PROXY_APACHE);
    const char *text = buf_cstr(&out);
    assert_non_null(
        strstr(text, "idle         FAULT: the stream was cut after a silence of 2.0 s"));
    assert_non_null(strstr(text, "      Apache    Timeout 120\n                ProxyPass"));
    assert_null(strstr(text, "nginx "));
    assert_null(strchr(text, '\x1b'));
    assert_non_null(strstr(text, "\n2 faults, 0 warnings, 0 checks not made\n"));
    json_t *json = report_json(&s, &f, PROXIES);
    assert_int_equal(json_integer_value(json_object_get(json, "faults")), 2);
    assert_int_equal(json_array_size(json_object_get(json, "checks")), CHECKS);
    json_decref(json);
    findings_finish(&f);
    buf_finish(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_sound_has_no_fault),
        cmocka_unit_test(nobody_there),
        cmocka_unit_test(certificates),
        cmocka_unit_test(redirects),
        cmocka_unit_test(refusals),
        cmocka_unit_test(what_is_not_tickerd),
        cmocka_unit_test(buffers),
        cmocka_unit_test(published_events),
        cmocka_unit_test(compressors),
        cmocka_unit_test(time_outs),
        cmocka_unit_test(resuming),
        cmocka_unit_test(caches),
        cmocka_unit_test(origins),
        cmocka_unit_test(old_http),
        cmocka_unit_test(crowds),
        cmocka_unit_test(each_cure_is_whole),
        cmocka_unit_test(what_is_printed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
