#include "tickerd/daemon/gate.h"

#include <stdio.h>
#include <string.h>

#include "tickerd/base/clock.h"
#include "tickerd/base/err.h"
#include "tickerd/daemon/client.h"
#include "tickerd/daemon/origin.h"
#include "tickerd/wire/bearer.h"
#include "tickerd/wire/cookie.h"
#include "tickerd/wire/token.h"

/* ---- refusals -------------------------------------------------------------------------------- */

/* A refusal with a challenge (RFC 6750 §3). `error` NULL: the request brought no token, and then
 * the challenge is bare. `description` may be NULL; both are plain ASCII without quotes. */
static void challenge(struct exchange *x, int status, const char *code, const char *message,
                      const char *error, const char *description)
{
    struct buf extra = BUF_INIT;
    buf_str(&extra, "WWW-Authenticate: Bearer realm=\"tickerd\"");
    if (error != NULL)
        buf_printf(&extra, ", error=\"%s\"", error);
    if (description != NULL)
        buf_printf(&extra, ", error_description=\"%s\"", description);
    buf_str(&extra, "\r\n");
    answer_error(x, status, code, message, buf_cstr(&extra));
    buf_finish(&extra);
}

static void put_topic(struct buf *out, const struct target_topic *topic)
{
    buf_str(out, topic->pattern ? "the pattern \"" : "the channel \"");
    buf_append(out, topic->name, topic->len);
    buf_byte(out, '"');
}

/* Where a token may be put. */
static void put_places(struct buf *out, const struct config *c)
{
    buf_str(out, "an Authorization header (Bearer)");
    if (c->auth.query != NULL)
        buf_printf(out, "%s the query parameter %s", c->auth.cookie == NULL ? " or" : ",",
                   c->auth.query);
    if (c->auth.cookie != NULL)
        buf_printf(out, " or the cookie %s", c->auth.cookie);
}

static void refuse_without_token(struct exchange *x, const struct target_topic *topic)
{
    struct buf message = BUF_INIT;
    buf_str(&message, "A token is needed for ");
    put_topic(&message, topic);
    buf_str(&message, "; it may come in ");
    put_places(&message, x->p->config);
    buf_byte(&message, '.');
    challenge(x, 401, "token_missing", buf_cstr(&message), NULL, NULL);
    buf_finish(&message);
}

static void refuse_topic(struct exchange *x, const struct target_topic *topic)
{
    struct buf message = BUF_INIT;
    buf_str(&message, "The token does not open ");
    put_topic(&message, topic);
    buf_byte(&message, '.');
    challenge(x, 403, "forbidden", buf_cstr(&message), "insufficient_scope", NULL);
    buf_finish(&message);
}

static void refuse_token(struct exchange *x, enum token_fault fault)
{
    const char *text = token_fault_text(fault);
    struct buf message = BUF_INIT;
    buf_printf(&message, "The token is refused: %s.", text);
    challenge(x, 401, fault == TOKEN_EXPIRED ? "token_expired" : "token_invalid",
              buf_cstr(&message), "invalid_token", text);
    buf_finish(&message);
}

/* ---- the token ------------------------------------------------------------------------------- */

/* The request's token; without bytes: it brings none (an empty parameter or cookie is what a page
 * sends that has none yet). Returns NULL, or why it cannot be told which is meant. */
static const char *find_token(const struct exchange *x, const struct target *t,
                              struct http_slice *token)
{
    const struct config *c = x->p->config;
    *token = (struct http_slice){NULL, 0};
    enum bearer_found bearer =
        bearer_token(httpreq_header(x->request, HTTPREQ_AUTHORIZATION), token);
    if (bearer == BEARER_MALFORMED)
        return "The Authorization header says Bearer, but what follows is no token.";
    if (t->token_twice)
        return "The query holds more than one token.";
    if (bearer == BEARER_TOKEN && t->token_len > 0)
        return "There is a token in the Authorization header and one in the query.";
    if (t->token_len > 0)
        *token = (struct http_slice){t->token, t->token_len};
    if (token->len > 0 || c->auth.cookie == NULL)
        return NULL;
    struct http_slice cookies = httpreq_header(x->request, HTTPREQ_COOKIE);
    if (cookie_find(cookies, c->auth.cookie, token) == COOKIE_CONFLICT)
        return "There are several cookies for the token, and they differ.";
    return NULL;
}

/* Verify a token and make its grant; NULL: the request has been answered. */
static struct grant *take_token(struct exchange *x, struct http_slice text)
{
    const struct config *c = x->p->config;
    int64_t now_s = (int64_t)(clock_wall_us() / US_PER_S);
    struct token_rules rules = {.issuer = c->auth.issuer,
                                .audience = c->auth.audience,
                                .claim = c->auth.claim,
                                .leeway_s = (int64_t)(c->auth.leeway_ms / MS_PER_S)};
    struct token token;
    enum token_fault fault;
    struct grant *grant = NULL;
    int err = token_verify(x->p->keys, &rules, text.p, text.len, now_s, &token, &fault);
    if (err == ERR_INVALID) {
        refuse_token(x, fault);
        return NULL;
    }
    if (err == ERR_OK) {
        grant = grant_create(&token, now_s, rules.leeway_s);
        token_finish(&token);
    }
    if (grant == NULL)
        answer_no_memory(x, NULL);
    return grant;
}

/* ---- the decision ---------------------------------------------------------------------------- */

static bool decide(struct exchange *x, const struct target *t, const struct grant *grant)
{
    const struct target_topic *culprit = NULL;
    switch (auth_decide(x->p->config, grant, t, &culprit)) {
    case AUTH_ALLOWED:
        return true;
    case AUTH_NEEDS_TOKEN:
        refuse_without_token(x, culprit);
        break;
    case AUTH_FORBIDDEN:
        refuse_topic(x, culprit);
        break;
    }
    return false;
}

bool gate_pass(struct exchange *x, const struct target *t, struct grant **grant)
{
    *grant = NULL;
    if (origin_abuses_cookies(x->p->config, x->request)) {
        answer_error(x, 403, "foreign_origin",
                     "Pages of this origin may not bring cookies here (see cors.origins).", "");
        return false;
    }
    if (x->p->config->auth.mode == AUTH_OFF)
        return true;
    struct http_slice text;
    const char *why = find_token(x, t, &text);
    if (why != NULL) {
        challenge(x, 400, "invalid_request", why, "invalid_request", why);
        return false;
    }
    if (text.len > 0) {
        *grant = take_token(x, text);
        if (*grant == NULL)
            return false;
        const char *sub = grant_subject(*grant);
        if (sub != NULL)
            client_subject(http1_user(x->conn), sub, strlen(sub));
    }
    if (!decide(x, t, *grant)) {
        grant_destroy(*grant);
        *grant = NULL;
        return false;
    }
    return true;
}
