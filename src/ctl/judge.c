#include "tickerd/ctl/judge.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "tickerd/base/clock.h"
#include "tickerd/ctl/admin.h"
#include "tickerd/ctl/text.h"

enum {
    /* A head and tickerd:open leave tickerd in one write: more than this between them was added. */
    APART_US = 300 * US_PER_MS,
    LATE_US = 150 * US_PER_MS, /* an event: worth mentioning */
    STALLED_US = US_PER_S,     /* an event: held back */
    TOGETHER_US = 25 * US_PER_MS,
    /* Before an end: a time-out, not a farewell, which comes with it. (Most time-outs are whole
     * seconds, but while we shake hands for many streams we are late to see what has come.) */
    SILENCE_US = 400 * US_PER_MS,
    GRACE_US = 2 * US_PER_S,
};

const char *check_name(enum check check)
{
    static const char *const names[CHECKS] = {
#define CHECK_NAME(name, text) text,
        CHECK_MAP(CHECK_NAME)
#undef CHECK_NAME
    };
    return names[check];
}

void seen_init(struct seen *s)
{
    memset(s, 0, sizeof *s);
    s->head_at = s->open_at = s->heartbeat_at = s->last_at = s->end_at = SEEN_NEVER;
    for (size_t i = 0; i < SEEN_PROBES; i++)
        s->probe_at[i] = SEEN_NEVER;
}

void sights_init(struct sights *s)
{
    memset(s, 0, sizeof *s);
    seen_init(&s->head);
    seen_init(&s->browser);
    seen_init(&s->plain);
    seen_init(&s->again);
    seen_init(&s->preflight);
    for (size_t i = 0; i < SEEN_CROWD; i++)
        seen_init(&s->crowd[i]);
}

/* ---- sentences ------------------------------------------------------------------------------- */

static void say(struct finding *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void say(struct finding *f, const char *fmt, ...)
{
    char line[2 * SEEN_URL_MAX];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    buf_str(&f->text, line);
}

static void say_time(struct finding *f, uint64_t us)
{
    text_seconds(&f->text, (double)us / US_PER_S);
}

static void set(struct finding *f, enum verdict verdict, enum cure cure)
{
    f->verdict = verdict;
    f->cure = cure;
}

static void skip(struct finding *f, const char *why)
{
    set(f, VERDICT_SKIPPED, CURE_NONE);
    say(f, "%s", why);
}

/* A stream of tickerd's, as far as the head and the first event tell. */
static bool is_open(const struct seen *s)
{
    return s->open_at != SEEN_NEVER;
}

static bool is_stream(const struct seen *s)
{
    static const char type[] = "text/event-stream";
    return s->status == 200 && strncasecmp(s->type, type, strlen(type)) == 0;
}

/* For how long nothing had come when the stream ended; 0 if it has not. */
static uint64_t silence_at_end(const struct seen *s)
{
    bool known = s->end_at != SEEN_NEVER && s->last_at != SEEN_NEVER;
    return known && s->end_at > s->last_at ? s->end_at - s->last_at : 0;
}

/* ---- the connection -------------------------------------------------------------------------- */

static void judge_reach(const struct sights *s, struct finding *f)
{
    const struct seen *b = &s->browser;
    if (b->status != 0) {
        say(f, "an answer after ");
        say_time(f, b->head_at - b->asked_at);
    } else if (s->head.status != 0 || b->end_at == SEEN_NEVER) {
        say(f, "the connection stands");
    } else if (b->how == WEB_NO_TLS) {
        set(f, VERDICT_FAULT, CURE_TLS);
        say(f, "something answers, but TLS fails (is it http?): %s", b->why);
    } else {
        set(f, VERDICT_FAULT, CURE_REACH);
        say(f, "no answer: %s", b->why);
    }
}

static void judge_tls(const struct sights *s, struct finding *f)
{
    if (!s->tls)
        skip(f, "no https");
    else if (s->trust[0] != '\0') {
        set(f, VERDICT_FAULT, CURE_TLS);
        say(f, "the certificate is not accepted: %s (the rest was checked in spite of it)",
            s->trust);
    } else {
        say(f, "the certificate is accepted");
    }
}

static void judge_redirect(const struct sights *s, struct finding *f)
{
    if (s->hop_count == 0 && s->browser.status == 0 && s->head.status == 0) {
        skip(f, "no answer");
        return;
    }
    if (s->hop_count == 0) {
        say(f, "none");
        return;
    }
    bool fault = s->too_many_hops || s->insecure_hop;
    set(f, fault ? VERDICT_FAULT : VERDICT_WARN, CURE_REDIRECT);
    for (size_t i = 0; i < s->hop_count; i++)
        say(f, "%s%ld to %s", i == 0 ? "" : ", then ", s->hops[i].status, s->hops[i].to);
    if (s->insecure_hop)
        say(f, "; from https to http, which a page with https may not follow");
    else if (s->too_many_hops)
        say(f, "; and so on, without an end");
}

/* ---- the head -------------------------------------------------------------------------------- */

/* The sentence of an error of tickerd's. False: the body is not of that kind. */
static bool own_words(const struct seen *b, struct finding *f)
{
    json_t *json = json_loads(b->body, JSON_DISABLE_EOF_CHECK, NULL);
    const char *message = member_text(json, "message", NULL);
    const char *error = member_text(json, "error", NULL);
    bool own = message != NULL && error != NULL;
    if (own) {
        set(f, VERDICT_FAULT, CURE_REFUSED);
        say(f, "%ld, and tickerd says: %s (%s)", b->status, message, error);
    }
    json_decref(json);
    return own;
}

static void judge_refusal(const struct seen *b, struct finding *f)
{
    if (own_words(b, f))
        return;
    if (b->status >= 500) {
        set(f, VERDICT_FAULT, CURE_LATER);
        say(f, "%ld, a page of the proxy's", b->status);
    } else if (b->status == 204) {
        set(f, VERDICT_FAULT, CURE_ROUTE);
        say(f, "204 tells an EventSource never to come back");
    } else if (b->status == 401 || b->status == 403) {
        set(f, VERDICT_FAULT, CURE_ROUTE);
        say(f, "%ld, and not by tickerd: something before it wants credentials, or refuses",
            b->status);
    } else {
        set(f, VERDICT_FAULT, CURE_ROUTE);
        say(f, "%ld, and not by tickerd", b->status);
    }
}

static void judge_status(const struct sights *s, struct finding *f)
{
    const struct seen *b = &s->browser;
    bool stand_in = is_stream(b) && !is_open(b) && b->retry && b->end_at != SEEN_NEVER;
    if (b->status == 0) {
        skip(f, "no answer to this request");
    } else if (s->too_many_hops) {
        skip(f, "nothing but redirects");
    } else if (b->status != 200) {
        judge_refusal(b, f);
    } else if (stand_in) {
        set(f, VERDICT_FAULT, CURE_LATER);
        say(f, "tickerd does not answer; the proxy sends browsers away for now, as it should");
    } else {
        say(f, "200");
    }
}

static void judge_type(const struct sights *s, struct finding *f)
{
    const struct seen *b = &s->browser;
    bool ended = b->end_at != SEEN_NEVER;
    if (b->status != 200) {
        skip(f, "no answer with status 200");
    } else if (!is_stream(b)) {
        set(f, VERDICT_FAULT, CURE_ROUTE);
        say(f, "%s instead of text/event-stream", b->type[0] == '\0' ? "no type" : b->type);
    } else if (ended && !is_open(b) && !b->retry) {
        set(f, VERDICT_FAULT, CURE_ROUTE);
        say(f, "an event stream, but not of tickerd: it ended without tickerd:open");
    } else {
        say(f, "%s", b->type);
    }
}

/* Whether a list such as "no-cache, no-transform" has the word, with or without a value. */
static bool has_word(const char *list, const char *word)
{
    size_t len = strlen(word);
    for (const char *p = list; *p != '\0'; p += strcspn(p, ",") + (p[strcspn(p, ",")] != '\0')) {
        p += strspn(p, " \t");
        if (strncasecmp(p, word, len) == 0 && strchr(" \t,=;", p[len]) != NULL)
            return true;
    }
    return false;
}

static void judge_cache(const struct sights *s, struct finding *f)
{
    const struct seen *b = &s->browser;
    bool kept_out = has_word(b->cache, "no-cache") || has_word(b->cache, "no-store");
    if (!is_stream(b)) {
        skip(f, "no stream");
    } else if (b->age[0] != '\0') {
        set(f, VERDICT_FAULT, CURE_CACHE);
        say(f, "the answer is out of a cache (Age: %s)", b->age);
    } else if (!kept_out) {
        bool invited = has_word(b->cache, "public") || has_word(b->cache, "max-age") ||
                       has_word(b->cache, "s-maxage");
        set(f, invited ? VERDICT_FAULT : VERDICT_WARN, CURE_CACHE);
        if (b->cache[0] == '\0')
            say(f, "Cache-Control has been removed; tickerd sends no-cache, no-transform");
        else
            say(f, "Cache-Control is \"%s\"; tickerd sends no-cache, no-transform", b->cache);
    } else if (!has_word(b->cache, "no-transform")) {
        set(f, VERDICT_WARN, CURE_CACHE);
        say(f, "Cache-Control is \"%s\": without no-transform proxies on the way may compress",
            b->cache);
    } else {
        say(f, "%s", b->cache);
    }
}

/* ---- time ------------------------------------------------------------------------------------ */

struct delays {
    size_t sent, came;
    size_t late; /* by more than LATE_US */
    uint64_t worst;
    size_t together; /* that came at once though they were sent apart */
};

static struct delays delays_of(const struct sights *s, const struct seen *stream)
{
    struct delays d = {0};
    for (size_t i = 0; i < SEEN_PROBES; i++) {
        uint64_t at = stream->probe_at[i];
        if (!s->published || s->sent_at[i] == 0)
            continue;
        d.sent++;
        if (at == SEEN_NEVER)
            continue;
        d.came++;
        uint64_t took = at > s->sent_at[i] ? at - s->sent_at[i] : 0;
        d.late += took > LATE_US;
        if (took > d.worst)
            d.worst = took;
        uint64_t before = i == 0 ? SEEN_NEVER : stream->probe_at[i - 1];
        d.together += before != SEEN_NEVER && at >= before && at - before < TOGETHER_US;
    }
    return d;
}

/* What holds a stream back, said if so. */
static bool held_back(const struct sights *s, const struct seen *stream, struct finding *f)
{
    struct delays d = delays_of(s, stream);
    bool quiet = stream->heartbeats == 0 && stream->end_at == SEEN_NEVER;
    if (stream->status == 0) {
        say(f, "nothing of the answer has come in ");
        say_time(f, s->listened_us);
    } else if (!is_open(stream)) {
        say(f, "the head has come, but not the first event (tickerd:open), which tickerd sends "
               "with it");
    } else if (stream->open_at - stream->head_at > APART_US) {
        say(f, "the first event came ");
        say_time(f, stream->open_at - stream->head_at);
        say(f, " behind the head, though tickerd sends them together");
    } else if (d.came < d.sent) {
        say(f, "%zu of %zu events that were published have not come", d.sent - d.came, d.sent);
    } else if (d.worst > STALLED_US) {
        say(f, "an event took ");
        say_time(f, d.worst);
    } else if (d.together >= 2) {
        say(f, "events that were published one by one came together");
    } else if (quiet && s->heartbeat_known && s->listened_us > s->heartbeat_us + GRACE_US &&
               stream->events <= 1) {
        say(f, "no heartbeat has come in ");
        say_time(f, s->listened_us);
        say(f, ", though there is one each ");
        say_time(f, s->heartbeat_us);
    } else {
        return false;
    }
    return true;
}

static void say_swift(const struct sights *s, const struct seen *p, struct finding *f)
{
    struct delays d = delays_of(s, p);
    say(f, "the first event came with the head");
    if (d.sent > 0) {
        say(f, ", and %zu published events within ", d.came);
        say_time(f, d.worst);
        if (d.late > d.came / 2) { /* one or two may be our own doing */
            set(f, VERDICT_WARN, CURE_BUFFERING);
            say(f, ", most above 150 ms, where a few are possible");
        }
    } else {
        say(f, p->heartbeats > 0 ? ", and heartbeats come" : "");
        say(f, "; messages were not timed (%s)",
            s->publish_why[0] == '\0' ? "--publish does" : s->publish_why);
    }
}

static void judge_buffering(const struct sights *s, struct finding *f)
{
    const struct seen *p = &s->plain;
    bool answered = s->head.status != 0;
    if (!p->asked || (p->status != 0 && !is_stream(p))) {
        skip(f, "no stream");
    } else if (p->end_at != SEEN_NEVER && !is_open(p)) {
        skip(f, "the stream ended before its first event");
    } else if (held_back(s, p, f)) {
        set(f, VERDICT_FAULT, CURE_BUFFERING);
        if (p->status == 0 && answered)
            say(f, ", while a HEAD was answered at once");
    } else {
        say_swift(s, p, f);
    }
}

static void judge_compression(const struct sights *s, struct finding *f)
{
    const struct seen *b = &s->browser;
    struct finding plain = {.text = BUF_INIT};
    bool both = s->plain.status == 0 || held_back(s, &s->plain, &plain);
    if ((b->status != 0 && !is_stream(b)) || (b->end_at != SEEN_NEVER && !is_open(b))) {
        skip(f, "no stream");
    } else if (both && b->coding[0] == '\0') {
        skip(f, "cannot be told from buffering");
    } else if (!both && held_back(s, b, f)) {
        set(f, VERDICT_FAULT, CURE_COMPRESSION);
        say(f, "; so it is where a browser offers compression%s%s%s, and only there",
            b->coding[0] == '\0' ? "" : " (the answer is Content-Encoding: ", b->coding,
            b->coding[0] == '\0' ? "" : ")");
    } else if (b->coding[0] != '\0') {
        set(f, VERDICT_WARN, CURE_COMPRESSION);
        say(f, "the proxy compresses the stream (Content-Encoding: %s)%s", b->coding,
            both ? "" : ", though events do come through");
    } else {
        say(f, "none");
    }
    buf_finish(&plain.text);
}

static void judge_idle(const struct sights *s, struct finding *f)
{
    const struct seen *p = &s->plain;
    bool ended = p->end_at != SEEN_NEVER;
    uint64_t silence = silence_at_end(p);
    if (!is_open(p)) {
        skip(f, "no stream");
    } else if (ended && silence >= SILENCE_US) {
        set(f, VERDICT_FAULT, CURE_IDLE);
        say(f, "the stream was cut after a silence of ");
        say_time(f, silence);
        say(f, "; heartbeats come each ");
        say_time(f, s->heartbeat_us);
        say(f, s->heartbeat_known ? "" : " unless configured otherwise (--heartbeat)");
    } else if (ended) {
        set(f, VERDICT_WARN, CURE_CROWD);
        say(f, "the stream was ended at once: tickerd sends clients away for now (its limits, "
               "or it is stopping)");
    } else if (p->heartbeats > 0) {
        say(f, "a heartbeat came after ");
        say_time(f, p->heartbeat_at - p->asked_at);
        say(f, ", and the stream lives on");
    } else {
        set(f, VERDICT_SKIPPED, CURE_NONE);
        say(f, "no heartbeat within ");
        say_time(f, s->listened_us);
        say(f, p->events > 1 ? ": the channel is too busy for one"
                             : "; --time must be longer than stream.heartbeat");
    }
}

/* ---- the rest -------------------------------------------------------------------------------- */

static void judge_resume(const struct sights *s, struct finding *f)
{
    const struct seen *a = &s->again;
    if (s->browser.id[0] == '\0' || !a->asked) {
        skip(f, "there was no id to come back with");
    } else if (strcmp(a->resume, "continued") == 0) {
        say(f, "with its last id a stream continues where it was");
    } else if (strcmp(a->resume, "new") == 0) {
        set(f, VERDICT_FAULT, CURE_RESUME);
        say(f, "the Last-Event-ID header does not reach tickerd: it takes who comes back for new");
    } else if (strcmp(a->resume, "gap") == 0) {
        set(f, VERDICT_WARN, CURE_NONE);
        say(f, "the id arrived, but tickerd answers with a gap: several instances without the "
               "same Redis, or Redis is away");
    } else {
        set(f, VERDICT_WARN, CURE_NONE);
        say(f, "the stream that came back got no first event (status %ld)", a->status);
    }
}

static void judge_preflight(const struct sights *s, struct finding *f)
{
    const struct seen *p = &s->preflight;
    bool fits = p->status / 100 == 2 && p->origins == 1 &&
                (has_word(p->allow_headers, "authorization") || strcmp(p->allow_headers, "*") == 0);
    if (fits) {
        say(f, "; with an Authorization header, too");
        return;
    }
    set(f, s->bearer ? VERDICT_FAULT : VERDICT_WARN, CURE_CORS);
    say(f,
        "; but the preflight of a request with Authorization is %s (status %ld), which "
        "clients that use fetch need",
        p->status / 100 == 2 ? "answered without allowing it" : "refused", p->status);
}

static void judge_cors(const struct sights *s, struct finding *f)
{
    const struct seen *b = &s->browser;
    bool any = strcmp(b->allow_origin, "*") == 0;
    if (s->origin == NULL) {
        skip(f, "the site of the pages is not known; --origin names it");
    } else if (s->same_origin) {
        say(f, "not needed: the pages are of the same origin");
    } else if (!is_stream(b)) {
        skip(f, "no stream");
    } else if (b->origins == 0) {
        set(f, VERDICT_FAULT, CURE_CORS);
        say(f, "no Access-Control-Allow-Origin for %s", s->origin);
    } else if (b->origins > 1 || strchr(b->allow_origin, ',') != NULL) {
        set(f, VERDICT_FAULT, CURE_CORS_TWICE);
        say(f, "Access-Control-Allow-Origin comes more than once");
    } else if (!any && strcmp(b->allow_origin, s->origin) != 0) {
        set(f, VERDICT_FAULT, CURE_CORS);
        say(f, "Access-Control-Allow-Origin is %s, not %s", b->allow_origin, s->origin);
    } else {
        say(f, "%s may read it", s->origin);
        if (any || !b->allow_credentials) {
            set(f, VERDICT_WARN, CURE_CORS);
            say(f, ", but not with cookies (withCredentials)");
        }
        judge_preflight(s, f);
    }
}

static void judge_http2(const struct sights *s, struct finding *f)
{
    int version = s->browser.status != 0 ? s->browser.version : s->head.version;
    if (version == 0) {
        skip(f, "no answer");
    } else if (version >= 20) {
        say(f, "HTTP/%d: all streams of a browser share a connection", version / 10);
    } else {
        set(f, VERDICT_WARN, CURE_HTTP2);
        say(f, "HTTP/1.%d only%s", version % 10,
            s->tls ? "" : ", since browsers speak HTTP/2 over https alone");
    }
}

struct crowd {
    size_t asked, open, brief, waiting;
    long refused; /* the status of the last one that got no 200; 0: none */
};

static struct crowd count_crowd(const struct sights *s)
{
    struct crowd n = {0};
    for (size_t i = 0; i < SEEN_CROWD; i++) {
        const struct seen *c = &s->crowd[i];
        bool ended = c->end_at != SEEN_NEVER && silence_at_end(c) < SILENCE_US;
        n.asked += c->asked;
        n.open += is_open(c) && !ended;
        n.brief += is_open(c) && ended;
        n.waiting += c->asked && c->status == 0 && !ended;
        if (c->asked && c->status != 0 && c->status != 200)
            n.refused = c->status;
    }
    return n;
}

static void judge_crowd(const struct sights *s, struct finding *f)
{
    enum { APACHE_FIRST = 5 }; /* six at once, one of which is the browser's */
    struct crowd n = count_crowd(s);
    if (n.asked == 0) {
        skip(f, "there was no stream to multiply");
        return;
    }
    say(f, "%zu of %zu streams at once are open", n.open, n.asked);
    if (n.open == n.asked)
        return;
    if (s->browser.version >= 20 && n.open >= APACHE_FIRST && n.open + n.waiting == n.asked) {
        set(f, VERDICT_WARN, CURE_WAITING);
        say(f, "; the others wait for their turn on the HTTP/2 connection");
        return;
    }
    set(f, VERDICT_FAULT, CURE_CROWD);
    if (n.refused != 0)
        say(f, "; others got %ld", n.refused);
    if (n.brief > 0)
        say(f, "; %zu ended soon after their first event", n.brief);
}

/* ---- all ------------------------------------------------------------------------------------- */

void judge(const struct sights *s, struct findings *out)
{
    static void (*const judges[CHECKS])(const struct sights *, struct finding *) = {
        [CHECK_REACH] = judge_reach,
        [CHECK_TLS] = judge_tls,
        [CHECK_REDIRECT] = judge_redirect,
        [CHECK_STATUS] = judge_status,
        [CHECK_TYPE] = judge_type,
        [CHECK_BUFFERING] = judge_buffering,
        [CHECK_COMPRESSION] = judge_compression,
        [CHECK_IDLE] = judge_idle,
        [CHECK_RESUME] = judge_resume,
        [CHECK_CACHE] = judge_cache,
        [CHECK_CORS] = judge_cors,
        [CHECK_HTTP2] = judge_http2,
        [CHECK_CROWD] = judge_crowd,
    };
    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < CHECKS; i++)
        judges[i](s, &out->of[i]);
}

void findings_finish(struct findings *f)
{
    for (size_t i = 0; i < CHECKS; i++)
        buf_finish(&f->of[i].text);
}

size_t findings_count(const struct findings *f, enum verdict verdict)
{
    size_t count = 0;
    for (size_t i = 0; i < CHECKS; i++)
        count += f->of[i].verdict == verdict;
    return count;
}
