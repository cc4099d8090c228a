/* tickerctl doctor: looks at one stream through whatever stands before tickerd. First one request
 * finds the way (redirects, the certificate); then all that can be is asked at once, since most of
 * the time is spent waiting for a heartbeat; then judge.c says what follows. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "tickerd/base/clock.h"
#include "tickerd/ctl/commands.h"
#include "tickerd/ctl/headers.h"
#include "tickerd/ctl/report.h"
#include "tickerd/ctl/watch.h"
#include "tickerd/wire/addr.h"
#include "tickerd/wire/target.h"

enum {
    WAIT_MS = 5000,       /* for what should come at once */
    BEHIND_MS = 1500,     /* how far one stream's heartbeat may be behind the other's */
    APART_MS = 300,       /* between two events that are published */
    TIME_MS = 40000,      /* --time */
    HEARTBEAT_MS = 15000, /* stream.heartbeat without --heartbeat */
    MARK_MAX = 60,
};

struct doctor {
    struct ctl *c;
    struct sights sights;
    struct headers common; /* of each request: what a client of this user's sends */
    struct headers asking; /* of the preflight: nothing that a browser keeps for later */
    struct watch browser, plain, head, again, preflight, crowd[SEEN_CROWD];
    char mark[MARK_MAX];
    struct buf channel;    /* whose stream it is; empty: none, or several */
    uint64_t began, until; /* of clock_mono_us */
    uint64_t crowd_until;  /* 0: not begun */
    size_t sent;           /* probes */
    uint64_t next_probe;
    struct buf probes[SEEN_PROBES]; /* bodies, for as long as they are on their way */
    struct buf publish_url;
    const char *socket;
    char storage[ADDR_PATH_MAX + 1];
    bool interrupted;
};

static void look(struct doctor *d, struct watch *w, struct seen *seen, const struct watch_ask *how)
{
    struct watch_ask ask = *how;
    ask.url = d->sights.url;
    ask.ca = d->c->options->value[OPT_CA];
    if (ask.common == NULL)
        ask.common = &d->common;
    ask.trusting = d->sights.trust[0] != '\0';
    watch_init(w, seen, d->mark);
    watch_start(w, d->c->web, &ask);
}

/* One round. False: INT or TERM. */
static bool turn(struct doctor *d, uint64_t until)
{
    bool go_on = web_turn(d->c->web, until);
    d->interrupted = d->interrupted || !go_on;
    return go_on;
}

static uint64_t in_ms(uint64_t ms)
{
    return clock_mono_us() + ms * US_PER_MS;
}

/* ---- the way --------------------------------------------------------------------------------- */

static bool set_url(struct doctor *d, const char *url)
{
    struct sights *s = &d->sights;
    if (strlen(url) >= sizeof s->url)
        return false;
    (void)snprintf(s->url, sizeof s->url, "%s", url);
    s->tls = strncasecmp(url, "https:", 6) == 0;
    return true;
}

static bool of_same_origin(const char *a, const char *b)
{
    char *one = web_origin(a), *other = web_origin(b);
    bool same = one != NULL && other != NULL && strcasecmp(one, other) == 0;
    free(one);
    free(other);
    return same;
}

/* What --token and --header say is for the site that was named, not for where it sends us. */
static void forget_credentials(struct doctor *d)
{
    headers_finish(&d->common);
    d->sights.bearer = false;
    if (d->sights.origin != NULL)
        headers_add(&d->common, "Origin", d->sights.origin, strlen(d->sights.origin));
}

/* Note the redirect that was answered. False: there is none, or none that can be followed. */
static bool follow(struct doctor *d)
{
    struct sights *s = &d->sights;
    bool redirect = s->browser.status / 100 == 3 && s->browser.location[0] != '\0';
    if (!redirect)
        return false;
    if (s->hop_count == SEEN_HOPS) {
        s->too_many_hops = true;
        return false;
    }
    char *to = web_join(s->url, s->browser.location);
    bool was_tls = s->tls, stays = to != NULL && of_same_origin(s->url, to);
    bool followed = to != NULL && set_url(d, to);
    if (followed) {
        if (!stays)
            forget_credentials(d);
        struct hop *hop = &s->hops[s->hop_count++];
        hop->status = s->browser.status;
        (void)snprintf(hop->to, sizeof hop->to, "%s", to);
        s->insecure_hop = s->insecure_hop || (was_tls && !s->tls);
    }
    free(to);
    return followed;
}

/* A certificate that is not accepted is noted; then it goes on as if it were. */
static bool mistrust(struct doctor *d)
{
    struct sights *s = &d->sights;
    bool refused = s->browser.end_at != SEEN_NEVER && s->browser.how == WEB_NO_TRUST;
    if (refused && s->trust[0] == '\0') {
        (void)snprintf(s->trust, sizeof s->trust, "%s", s->browser.why);
        return true;
    }
    return false;
}

/* Ask as a browser does until an answer is no redirect; that request goes on. */
static void find_way(struct doctor *d)
{
    struct sights *s = &d->sights;
    for (bool again = true; again;) {
        uint64_t until = in_ms(WAIT_MS);
        look(d, &d->browser, &s->browser, &(struct watch_ask){.compressed = true});
        while (s->browser.status == 0 && d->browser.call != NULL && clock_mono_us() < until &&
               turn(d, until))
            ;
        again = !d->interrupted && (follow(d) || mistrust(d));
        if (again) {
            watch_finish(&d->browser);
            seen_init(&s->browser);
        }
    }
}

/* ---- published events ------------------------------------------------------------------------ */

static void find_channel(struct doctor *d)
{
    struct target target;
    struct target_error error;
    const struct target_rules rules = {.topics_max = 2};
    char *text = web_target(d->sights.url);
    if (text != NULL && target_parse(&target, text, strlen(text), &rules, &error) == 0) {
        if (target.kind == TARGET_EVENTS && target.count == 1 && !target.topics[0].pattern)
            buf_append(&d->channel, target.topics[0].name, target.topics[0].len);
        target_finish(&target);
    }
    free(text);
}

static void no_probes(struct doctor *d, const char *why)
{
    (void)snprintf(d->sights.publish_why, sizeof d->sights.publish_why, "%s", why);
}

/* Whether events can be published for this; if not, why is noted. */
static void prepare_probes(struct doctor *d)
{
    struct admin_answer status;
    struct buf target = BUF_INIT;
    if (d->c->options->value[OPT_PUBLISH] == NULL)
        return;
    find_channel(d);
    admin_ask(d->c, "GET", "/status", NULL, &status);
    if (d->channel.len == 0) {
        no_probes(d, "the URL names no single channel");
    } else if (status.how != WEB_ENDED || status.status != 200) {
        no_probes(d, "the admin listener gives no status: see --admin");
    } else if (!json_is_true(member(status.json, "admin_publish"))) {
        no_probes(d, "admin_publish is off");
    } else {
        buf_str(&target, "/publish");
        query_add(&target, "channel", buf_cstr(&d->channel));
        admin_url(&d->publish_url, d->c->options->value[OPT_ADMIN], buf_cstr(&target), &d->socket,
                  d->storage);
        d->sights.published = !target.failed && !d->publish_url.failed;
    }
    buf_finish(&target);
    admin_answer_finish(&status);
}

static void on_published(void *ctx, enum web_end how, const char *why)
{
    (void)ctx, (void)how, (void)why;
}

/* An event of a name of its own: no page's onmessage sees it. */
static void send_probe(struct doctor *d)
{
    static const struct web_ops publishing = {.end = on_published};
    struct buf *body = &d->probes[d->sent];
    buf_printf(body, "{\"event\":\"doctor\",\"data\":\"%s%zu\"}", d->mark, d->sent);
    const struct web_ask ask = {.url = buf_cstr(&d->publish_url),
                                .socket = d->socket,
                                .method = "POST",
                                .body = body->data,
                                .body_len = body->len,
                                .shared = true};
    d->sights.sent_at[d->sent++] = clock_mono_us();
    (void)web_start(d->c->web, &ask, &publishing, NULL);
    d->next_probe = in_ms(APART_MS);
}

static bool probes_done(const struct doctor *d)
{
    const struct sights *s = &d->sights;
    bool missing = false;
    if (!s->published)
        return true;
    if (d->sent < SEEN_PROBES)
        return false;
    for (size_t i = 0; i < SEEN_PROBES; i++)
        missing =
            missing || s->plain.probe_at[i] == SEEN_NEVER || s->browser.probe_at[i] == SEEN_NEVER;
    return !missing || clock_mono_us() > s->sent_at[SEEN_PROBES - 1] + WAIT_MS * US_PER_MS;
}

/* ---- the examination ------------------------------------------------------------------------- */

static void begin(struct doctor *d)
{
    struct sights *s = &d->sights;
    look(d, &d->plain, &s->plain, &(struct watch_ask){0});
    look(d, &d->head, &s->head, &(struct watch_ask){.method = "HEAD"});
    if (s->origin != NULL && !s->same_origin)
        look(d, &d->preflight, &s->preflight,
             &(struct watch_ask){.method = "OPTIONS", .common = &d->asking});
}

/* Once there is an id: come back with it, and open many streams. */
static void begin_more(struct doctor *d)
{
    struct sights *s = &d->sights;
    const struct seen *first = s->browser.open_at != SEEN_NEVER ? &s->browser : &s->plain;
    if (d->crowd_until != 0 || first->open_at == SEEN_NEVER)
        return;
    if (first != &s->browser)
        memcpy(s->browser.id, first->id, sizeof s->browser.id);
    look(d, &d->again, &s->again,
         &(struct watch_ask){.compressed = true, .name = "Last-Event-ID", .value = s->browser.id});
    for (size_t i = 0; i < SEEN_CROWD; i++)
        look(d, &d->crowd[i], &s->crowd[i],
             &(struct watch_ask){.compressed = true, .shared = true});
    d->crowd_until = in_ms(WAIT_MS);
}

static bool settled(const struct seen *s)
{
    return !s->asked || s->open_at != SEEN_NEVER || s->end_at != SEEN_NEVER;
}

/* The crowd and the one that came back have shown what they are: they are sent home. */
static bool more_done(struct doctor *d)
{
    struct sights *s = &d->sights;
    bool all = settled(&s->again);
    if (d->crowd_until == 0)
        return false;
    for (size_t i = 0; i < SEEN_CROWD; i++)
        all = all && settled(&s->crowd[i]);
    if (!all && clock_mono_us() < d->crowd_until)
        return false;
    for (size_t i = 0; i < SEEN_CROWD; i++)
        watch_finish(&d->crowd[i]);
    watch_finish(&d->again);
    return true;
}

/* Whether the two long streams have shown all they can. */
static bool streams_done(const struct doctor *d)
{
    const struct seen *b = &d->sights.browser, *p = &d->sights.plain;
    uint64_t now = clock_mono_us();
    bool silent = d->sights.head.status == 0 ? false : p->status == 0;
    if (p->end_at != SEEN_NEVER && (b->end_at != SEEN_NEVER || p->heartbeats == 0))
        return b->end_at != SEEN_NEVER || now > p->end_at + BEHIND_MS * US_PER_MS;
    if (p->heartbeats > 0)
        return b->heartbeats > 0 || b->end_at != SEEN_NEVER ||
               now > p->heartbeat_at + BEHIND_MS * US_PER_MS;
    /* Nothing of the body comes through: waiting longer would show the same. */
    return (silent || p->open_at == SEEN_NEVER) && now > p->asked_at + WAIT_MS * US_PER_MS;
}

static void examine(struct doctor *d)
{
    struct sights *s = &d->sights;
    bool more = false;
    begin(d);
    while (clock_mono_us() < d->until) {
        uint64_t until = in_ms(100);
        bool open = s->plain.open_at != SEEN_NEVER && settled(&s->browser);
        begin_more(d);
        more = more || more_done(d);
        if (s->published && open && d->sent < SEEN_PROBES && clock_mono_us() >= d->next_probe)
            send_probe(d);
        bool others = settled(&s->head) && settled(&s->preflight);
        bool hopeless = d->crowd_until == 0;
        if (streams_done(d) && (hopeless || (more && probes_done(d) && others)))
            break;
        if (d->sent < SEEN_PROBES && d->next_probe > 0 && d->next_probe < until)
            until = d->next_probe;
        if (!turn(d, until < d->until ? until : d->until))
            break;
    }
    s->listened_us = clock_mono_us() - s->plain.asked_at;
}

/* ---- the command ----------------------------------------------------------------------------- */

static void add_header(struct headers *h, const char *name, const char *value)
{
    headers_add(h, name, value, strlen(value));
}

static void prepare_origin(struct doctor *d)
{
    if (d->sights.origin == NULL)
        return;
    add_header(&d->common, "Origin", d->sights.origin);
    add_header(&d->asking, "Origin", d->sights.origin);
    add_header(&d->asking, "Access-Control-Request-Method", "GET");
    add_header(&d->asking, "Access-Control-Request-Headers", "authorization");
}

static int prepare(struct doctor *d)
{
    const struct ctl_options *o = d->c->options;
    struct sights *s = &d->sights;
    char *origin = web_origin(o->args[0]);
    int status = headers_of_options(&d->common, o);
    if (!ctl_is_url(o->args[0])) {
        status = CTL_USAGE;
    } else if (!set_url(d, o->args[0])) {
        ctl_say("the URL is too long: it may have %zu bytes", sizeof s->url - 1);
        status = CTL_USAGE;
    }
    s->origin = o->value[OPT_ORIGIN];
    s->same_origin = origin != NULL && s->origin != NULL && strcasecmp(origin, s->origin) == 0;
    free(origin);
    for (size_t i = 0; i < d->common.count; i++)
        s->bearer = s->bearer || strncasecmp(d->common.lines[i], "authorization:", 14) == 0;
    prepare_origin(d);
    s->heartbeat_known = o->value[OPT_HEARTBEAT] != NULL;
    s->heartbeat_us = (s->heartbeat_known ? o->number[OPT_HEARTBEAT] : HEARTBEAT_MS) * US_PER_MS;
    uint64_t time_ms = o->value[OPT_TIME] == NULL ? TIME_MS : o->number[OPT_TIME];
    d->began = clock_mono_us();
    d->until = d->began + time_ms * US_PER_MS;
    (void)snprintf(d->mark, sizeof d->mark, "tickerctl-doctor-%llx-",
                   (unsigned long long)clock_wall_us());
    return status;
}

static enum proxy proxy_of(const struct ctl_options *o)
{
    for (size_t i = 0; o->value[OPT_PROXY] != NULL && i < PROXIES; i++) {
        if (strcasecmp(proxy_name((enum proxy)i), o->value[OPT_PROXY]) == 0)
            return (enum proxy)i;
    }
    return PROXIES;
}

static bool print_text(struct doctor *d, const struct findings *f)
{
    struct buf out = BUF_INIT;
    report_text(&out, &d->c->screen, f, proxy_of(d->c->options));
    bool ok = screen_write(&out);
    buf_finish(&out);
    return ok;
}

static int report(struct doctor *d)
{
    const struct ctl_options *o = d->c->options;
    struct findings found;
    judge(&d->sights, &found);
    bool ok;
    if (o->value[OPT_JSON] != NULL) {
        json_t *json = report_json(&d->sights, &found, proxy_of(o));
        ok = ctl_print_json(d->c, json);
        json_decref(json);
    } else {
        ok = print_text(d, &found);
    }
    bool unreachable = found.of[CHECK_REACH].verdict == VERDICT_FAULT;
    bool faults = findings_count(&found, VERDICT_FAULT) > 0;
    findings_finish(&found);
    if (!ok)
        return CTL_REFUSED;
    return unreachable ? CTL_NO_CONNECTION : faults ? CTL_REFUSED : CTL_GOOD;
}

static void finish(struct doctor *d)
{
    struct watch *all[] = {&d->browser, &d->plain, &d->head, &d->again, &d->preflight};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        watch_finish(all[i]);
    for (size_t i = 0; i < SEEN_CROWD; i++)
        watch_finish(&d->crowd[i]);
    web_stop_all(d->c->web); /* before the bodies of what is on its way */
    for (size_t i = 0; i < SEEN_PROBES; i++)
        buf_finish(&d->probes[i]);
    buf_finish(&d->publish_url);
    buf_finish(&d->channel);
    headers_finish(&d->common);
    headers_finish(&d->asking);
}

int command_doctor(struct ctl *c)
{
    struct doctor *d = calloc(1, sizeof *d);
    if (d == NULL)
        return CTL_REFUSED;
    d->c = c;
    sights_init(&d->sights);
    int status = prepare(d);
    if (status == CTL_GOOD) {
        prepare_probes(d);
        find_way(d);
        bool reached = d->browser.call != NULL || d->sights.browser.status != 0;
        if (reached && !d->interrupted && isatty(STDERR_FILENO) == 1)
            (void)fprintf(stderr,
                          "listening, for a heartbeat to come, for at most %llu s\xe2\x80\xa6\n",
                          (unsigned long long)((d->until - d->began) / US_PER_S));
        if (reached && !d->interrupted)
            examine(d);
        status = d->interrupted ? CTL_REFUSED : report(d);
    }
    finish(d);
    free(d);
    return status;
}
