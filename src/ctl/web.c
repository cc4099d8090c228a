#include "tickerd/ctl/web.h"

#include <curl/curl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "tickerd/base/clock.h"
#include "tickerd/base/list.h"

enum { CONNECT_MS = 10000 };

struct web {
    CURLM *multi;
    int signals;
    sigset_t before;
    bool interrupted;
    size_t active;
    struct link calls;
};

struct web_call {
    struct web *web;
    struct link link;
    CURL *easy;
    struct curl_slist *headers;
    const struct web_ops *ops;
    void *ctx;
    char why[CURL_ERROR_SIZE];
};

/* ---- callbacks ------------------------------------------------------------------------------- */

static int version_of(CURL *easy)
{
    long version = 0;
    (void)curl_easy_getinfo(easy, CURLINFO_HTTP_VERSION, &version);
    switch (version) {
    case CURL_HTTP_VERSION_1_0:
        return 10;
    case CURL_HTTP_VERSION_2_0:
        return 20;
    case CURL_HTTP_VERSION_3:
        return 30;
    default:
        return 11;
    }
}

static void head_complete(struct web_call *call)
{
    long status = 0;
    (void)curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
    if (status >= 200 && call->ops->head != NULL)
        call->ops->head(call->ctx, status, version_of(call->easy));
}

static size_t on_header(char *line, size_t size, size_t count, void *ctx)
{
    struct web_call *call = ctx;
    size_t all = size * count, len = all;
    while (len > 0 && (line[len - 1] == '\n' || line[len - 1] == '\r'))
        len--;
    const char *colon = memchr(line, ':', len);
    if (len == 0) {
        head_complete(call);
    } else if (colon != NULL && colon > line && call->ops->header != NULL) {
        const char *value = colon + 1, *end = line + len;
        while (value < end && (*value == ' ' || *value == '\t'))
            value++;
        call->ops->header(call->ctx, line, (size_t)(colon - line), value, (size_t)(end - value));
    }
    return all;
}

static size_t on_body(char *bytes, size_t size, size_t count, void *ctx)
{
    struct web_call *call = ctx;
    size_t len = size * count;
    bool go_on = call->ops->body == NULL || call->ops->body(call->ctx, bytes, len);
    return go_on ? len : CURL_WRITEFUNC_ERROR;
}

/* ---- calls ----------------------------------------------------------------------------------- */

static void call_free(struct web_call *call)
{
    if (call->easy != NULL) {
        (void)curl_multi_remove_handle(call->web->multi, call->easy);
        curl_easy_cleanup(call->easy);
    }
    if (!list_empty(&call->link))
        call->web->active--;
    list_remove(&call->link);
    curl_slist_free_all(call->headers);
    free(call);
}

static bool add_headers(struct web_call *call, const struct web_ask *ask)
{
    for (size_t i = 0; i < ask->header_count; i++) {
        struct curl_slist *longer = curl_slist_append(call->headers, ask->headers[i]);
        if (longer == NULL)
            return false;
        call->headers = longer;
    }
    /* libcurl would wait for a 100-continue, and name a type, which nobody asked for. */
    if (ask->body != NULL) {
        static const char *const own[] = {"Expect:", "Content-Type: application/octet-stream"};
        for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
            struct curl_slist *longer = curl_slist_append(call->headers, own[i]);
            if (longer == NULL)
                return false;
            call->headers = longer;
        }
    }
    return true;
}

static void set_request(CURL *easy, const struct web_ask *ask)
{
    const char *method = ask->method == NULL ? "GET" : ask->method;
    (void)curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    (void)curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
    (void)curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
    (void)curl_easy_setopt(easy, CURLOPT_USERAGENT, "tickerctl/" TICKERD_VERSION);
    (void)curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    (void)curl_easy_setopt(easy, CURLOPT_HTTP09_ALLOWED, 0L);
    if (strcmp(method, "HEAD") == 0) {
        (void)curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    } else if (ask->body != NULL) {
        (void)curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)ask->body_len);
        (void)curl_easy_setopt(easy, CURLOPT_POSTFIELDS, ask->body);
    } else {
        (void)curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method);
    }
    if (ask->compressed)
        (void)curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "");
}

static void set_connection(CURL *easy, const struct web_ask *ask)
{
    uint32_t ms = ask->connect_ms == 0 ? CONNECT_MS : ask->connect_ms;
    (void)curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)ms);
    (void)curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, ask->socket);
    (void)curl_easy_setopt(easy, CURLOPT_PIPEWAIT, ask->shared ? 1L : 0L);
    /* Otherwise a connection that was left idle would make a measurement better than it is. */
    (void)curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, ask->shared ? 0L : 1L);
    if (ask->ca != NULL)
        (void)curl_easy_setopt(easy, CURLOPT_CAINFO, ask->ca);
    if (ask->trusting) {
        (void)curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0L);
        (void)curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L);
    }
}

static void set_callbacks(struct web_call *call)
{
    CURL *easy = call->easy;
    (void)curl_easy_setopt(easy, CURLOPT_PRIVATE, call);
    (void)curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, call->why);
    (void)curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    (void)curl_easy_setopt(easy, CURLOPT_HEADERDATA, call);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEDATA, call);
    (void)curl_easy_setopt(easy, CURLOPT_HTTPHEADER, call->headers);
}

struct web_call *web_start(struct web *w, const struct web_ask *ask, const struct web_ops *ops,
                           void *ctx)
{
    struct web_call *call = calloc(1, sizeof *call);
    if (call == NULL)
        return NULL;
    *call = (struct web_call){.web = w, .ops = ops, .ctx = ctx};
    list_init(&call->link);
    call->easy = curl_easy_init();
    if (call->easy == NULL || !add_headers(call, ask) ||
        curl_easy_setopt(call->easy, CURLOPT_URL, ask->url) != CURLE_OK) {
        call_free(call);
        return NULL;
    }
    set_request(call->easy, ask);
    set_connection(call->easy, ask);
    set_callbacks(call);
    if (curl_multi_add_handle(w->multi, call->easy) != CURLM_OK) {
        call_free(call);
        return NULL;
    }
    list_push(&w->calls, &call->link);
    w->active++;
    return call;
}

void web_stop(struct web_call *call)
{
    call_free(call);
}

void web_stop_all(struct web *w)
{
    list_each(&w->calls, it)
        call_free(container_of(it, struct web_call, link));
}

/* ---- ends ------------------------------------------------------------------------------------ */

static enum web_end end_of(CURLcode code)
{
    switch (code) {
    case CURLE_OK:
        return WEB_ENDED;
    case CURLE_COULDNT_RESOLVE_HOST:
        return WEB_NO_HOST;
    case CURLE_COULDNT_CONNECT:
    case CURLE_OPERATION_TIMEDOUT: /* the only time limit there is is that of connecting */
        return WEB_NO_CONNECT;
    case CURLE_PEER_FAILED_VERIFICATION:
        return WEB_NO_TRUST;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
        return WEB_NO_TLS;
    case CURLE_PARTIAL_FILE:
    case CURLE_RECV_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
        return WEB_BROKEN;
    default:
        return WEB_FAILED;
    }
}

/* What the system said is more than what libcurl makes of it ("Couldn't connect to server"). */
static void explain(struct web_call *call, CURLcode code)
{
    long number = 0;
    (void)curl_easy_getinfo(call->easy, CURLINFO_OS_ERRNO, &number);
    const char *text = curl_easy_strerror(code);
    if (code == CURLE_COULDNT_CONNECT && number != 0)
        text = strerror((int)number);
    else if (call->why[0] != '\0')
        return;
    (void)snprintf(call->why, sizeof call->why, "%s", text);
}

static void finish_calls(struct web *w)
{
    int left;
    CURLMsg *message;
    while ((message = curl_multi_info_read(w->multi, &left)) != NULL) {
        struct web_call *call = NULL;
        if (message->msg != CURLMSG_DONE)
            continue;
        CURLcode code = message->data.result;
        (void)curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&call);
        explain(call, code);
        call->ops->end(call->ctx, end_of(code), code == CURLE_OK ? "" : call->why);
        call_free(call);
    }
}

bool web_turn(struct web *w, uint64_t until_us)
{
    int running;
    uint64_t now = clock_mono_us(), left = until_us > now ? until_us - now : 0;
    uint64_t ms = left / US_PER_MS + (left % US_PER_MS > 0);
    struct curl_waitfd extra = {.fd = w->signals, .events = CURL_WAIT_POLLIN};
    if (!w->interrupted && ms > 0)
        (void)curl_multi_poll(w->multi, &extra, 1, ms > INT_MAX ? INT_MAX : (int)ms, NULL);
    struct signalfd_siginfo info;
    if (read(w->signals, &info, sizeof info) > 0)
        w->interrupted = true;
    (void)curl_multi_perform(w->multi, &running);
    finish_calls(w);
    return !w->interrupted;
}

size_t web_active(const struct web *w)
{
    return w->active;
}

/* ---- life ------------------------------------------------------------------------------------ */

struct web *web_create(void)
{
    sigset_t caught;
    struct web *w = calloc(1, sizeof *w);
    if (w == NULL || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        free(w);
        return NULL;
    }
    list_init(&w->calls);
    (void)sigemptyset(&caught);
    (void)sigaddset(&caught, SIGINT);
    (void)sigaddset(&caught, SIGTERM);
    (void)sigprocmask(SIG_BLOCK, &caught, &w->before);
    w->signals = signalfd(-1, &caught, SFD_CLOEXEC | SFD_NONBLOCK);
    w->multi = curl_multi_init();
    if (w->signals < 0 || w->multi == NULL) {
        web_destroy(w);
        return NULL;
    }
    return w;
}

void web_destroy(struct web *w)
{
    if (w == NULL)
        return;
    web_stop_all(w);
    if (w->multi != NULL)
        (void)curl_multi_cleanup(w->multi);
    if (w->signals >= 0)
        (void)close(w->signals);
    (void)sigprocmask(SIG_SETMASK, &w->before, NULL);
    curl_global_cleanup();
    free(w);
}

/* A copy of what curl allocated, in memory that free() takes. */
static char *own(char *text)
{
    char *copy = text == NULL ? NULL : strdup(text);
    curl_free(text);
    return copy;
}

char *web_escape(const char *text, size_t len)
{
    return len > INT_MAX ? NULL : own(curl_easy_escape(NULL, text, (int)len));
}

/* ---- URLs ------------------------------------------------------------------------------------ */

static bool is_web(CURLU *u)
{
    char *scheme = NULL;
    bool web = curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
               (strcmp(scheme, "http") == 0 || strcmp(scheme, "https") == 0);
    curl_free(scheme);
    return web;
}

/* The URL, or what the second one means there; NULL as above. */
static CURLU *url_open(const char *url, const char *relative)
{
    CURLU *u = curl_url();
    if (u == NULL)
        return NULL;
    if (curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK &&
        (relative == NULL || curl_url_set(u, CURLUPART_URL, relative, 0) == CURLUE_OK) && is_web(u))
        return u;
    curl_url_cleanup(u);
    return NULL;
}

char *web_join(const char *url, const char *location)
{
    char *joined = NULL;
    CURLU *u = url_open(url, location);
    if (u != NULL)
        (void)curl_url_get(u, CURLUPART_URL, &joined, 0);
    curl_url_cleanup(u);
    return own(joined);
}

/* The URL without some of its parts. */
static char *url_without(const char *url, const CURLUPart *parts, size_t count, unsigned flags)
{
    char *text = NULL;
    CURLU *u = url_open(url, NULL);
    for (size_t i = 0; u != NULL && i < count; i++)
        (void)curl_url_set(u, parts[i], NULL, 0);
    if (u != NULL)
        (void)curl_url_get(u, CURLUPART_URL, &text, flags);
    curl_url_cleanup(u);
    return own(text);
}

char *web_origin(const char *url)
{
    static const CURLUPart parts[] = {CURLUPART_USER, CURLUPART_PASSWORD, CURLUPART_PATH,
                                      CURLUPART_QUERY, CURLUPART_FRAGMENT};
    char *text = url_without(url, parts, sizeof parts / sizeof *parts, CURLU_NO_DEFAULT_PORT);
    size_t len = text == NULL ? 0 : strlen(text);
    if (len > 0 && text[len - 1] == '/')
        text[len - 1] = '\0';
    return text;
}

char *web_target(const char *url)
{
    static const CURLUPart parts[] = {CURLUPART_FRAGMENT};
    char *text = url_without(url, parts, 1, 0), *copy = NULL;
    char *authority = text == NULL ? NULL : strstr(text, "://");
    if (authority != NULL) {
        char *path = strchr(authority + 3, '/');
        copy = strdup(path == NULL ? "/" : path);
    }
    free(text);
    return copy;
}
