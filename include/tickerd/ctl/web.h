/* HTTP requests over libcurl, any number at once in one thread, each with its callbacks. No proxy
 * of the environment is used, no redirect is followed, no cookie kept: what is asked is what goes
 * out. INT and TERM are caught from web_create on and end the waiting. */
#ifndef TICKERD_CTL_WEB_H
#define TICKERD_CTL_WEB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct web;
struct web_call;

/* How a call came out. */
enum web_end {
    WEB_ENDED,      /* the answer is complete, as far as HTTP can tell */
    WEB_BROKEN,     /* the connection ended in the middle of the answer */
    WEB_NO_HOST,    /* the name cannot be resolved */
    WEB_NO_CONNECT, /* refused, unreachable, or no answer to connect */
    WEB_NO_TRUST,   /* the certificate is not accepted */
    WEB_NO_TLS,     /* no TLS connection for another reason */
    WEB_FAILED,     /* anything else, such as an answer that is no HTTP */
};

struct web_ask {
    const char *url;            /* http or https */
    const char *socket;         /* path of a Unix socket to connect to; NULL: by the URL */
    const char *method;         /* NULL: GET */
    const char *const *headers; /* "Name: value" */
    size_t header_count;
    const char *body; /* NULL: none */
    size_t body_len;
    const char *ca;      /* file with certificates to trust instead of the system's; or NULL */
    bool trusting;       /* do not verify the certificate */
    bool compressed;     /* offer the codings that a browser offers, and decode */
    bool shared;         /* with HTTP/2: wait for a connection that is there, and share it */
    uint32_t connect_ms; /* give up connecting after this time; 0: 10 s */
};

/* All are called from web_turn only; any but `end` may be NULL. */
struct web_ops {
    /* One header line, without line end; `status` stands for the status line before them. */
    void (*header)(void *ctx, const char *name, size_t name_len, const char *value,
                   size_t value_len);
    /* The head is complete. `version` is 10, 11, 20 or 30; interim answers (1xx) are left out. */
    void (*head)(void *ctx, long status, int version);
    /* False gives the call up: `end` follows. */
    bool (*body)(void *ctx, const char *bytes, size_t len);
    /* The last call. `why` is libcurl's sentence, "" for WEB_ENDED. The call is gone after it. */
    void (*end)(void *ctx, enum web_end how, const char *why);
};

/* NULL: out of memory or descriptors. One at a time: it blocks INT and TERM. */
struct web *web_create(void);
/* Ends all calls without a word. */
void web_destroy(struct web *w);

/* Everything in `ask` is copied but `body`, which must live as long as the call. NULL: out of
 * memory, or the URL is malformed. */
struct web_call *web_start(struct web *w, const struct web_ask *ask, const struct web_ops *ops,
                           void *ctx);
/* End a call; `end` is not called. Not from a callback. */
void web_stop(struct web_call *call);

/* The same for all calls that are under way. */
void web_stop_all(struct web *w);

/* Wait until something happens or `until_us` (of clock_mono_us) comes, and do it. False: INT or
 * TERM came, now or before. */
bool web_turn(struct web *w, uint64_t until_us);

/* How many calls are under way. */
size_t web_active(const struct web *w);

/* "/a b" as it stands in a path or query: everything but unreserved characters is percent-encoded.
 * To be freed. NULL: out of memory. */
char *web_escape(const char *text, size_t len);

/* Of a URL: what `location` means there (RFC 3986 §5), its origin ("https://example.org:8443"; the
 * scheme's own port is left out), and its path and query. To be freed. NULL: no URL, not http or
 * https, or out of memory. */
char *web_join(const char *url, const char *location);
char *web_origin(const char *url);
char *web_target(const char *url);

#endif
