/* The claims of an authentic token (RFC 7519 §4.1): what they must be, and what is kept. */
#include <stdlib.h>
#include <string.h>

#include "tickerd/base/err.h"
#include "tickerd/wire/topic.h"
#include "token_internal.h"

/* The end of the year 9999. What lies beyond is milliseconds by mistake, and would never expire. */
#define TIME_MAX_S INT64_C(253402300799)

enum presence { ABSENT, PRESENT, WRONG };

/* A NumericDate (§2): seconds since the epoch, also with a fraction, which is rounded to the side
 * on which the token is good for less time. */
static enum presence read_time(const json_t *claims, const char *name, bool up, int64_t *out)
{
    const json_t *value = json_object_get(claims, name);
    if (value == NULL)
        return ABSENT;
    double seconds = json_number_value(value);
    if (!json_is_number(value) || !(seconds >= 0 && seconds <= (double)TIME_MAX_S))
        return WRONG;
    *out = (int64_t)seconds;
    *out += up && (double)*out < seconds;
    return PRESENT;
}

/* Whether this moment has not come yet; *wrong is set if it is no time. */
static bool too_early(const json_t *claims, const char *name, int64_t latest, bool *wrong)
{
    int64_t at = 0;
    enum presence there = read_time(claims, name, true, &at);
    *wrong = *wrong || there == WRONG;
    return there == PRESENT && at > latest;
}

static bool good_times(const json_t *claims, int64_t leeway_s, int64_t now_s, struct token *out,
                       enum token_fault *fault)
{
    enum presence exp = read_time(claims, "exp", false, &out->exp_s);
    bool wrong = exp == WRONG;
    bool early = too_early(claims, "nbf", now_s + leeway_s, &wrong);
    early = too_early(claims, "iat", now_s + leeway_s, &wrong) || early;
    out->expires = exp == PRESENT;
    if (wrong)
        *fault = TOKEN_BAD_CLAIM;
    else if (exp == PRESENT && now_s >= out->exp_s + leeway_s)
        *fault = TOKEN_EXPIRED;
    else if (early)
        *fault = TOKEN_TOO_EARLY;
    else
        return true;
    return false;
}

static bool is(const json_t *value, const char *text)
{
    return json_is_string(value) && strcmp(json_string_value(value), text) == 0;
}

static bool good_issuer(const json_t *claims, const char *issuer, enum token_fault *fault)
{
    const json_t *iss = json_object_get(claims, "iss");
    if (issuer == NULL || is(iss, issuer))
        return true;
    *fault = iss == NULL || json_is_string(iss) ? TOKEN_WRONG_ISSUER : TOKEN_BAD_CLAIM;
    return false;
}

/* A string, or a list of strings with ours among them (§4.1.3). */
static bool good_audience(const json_t *claims, const char *audience, enum token_fault *fault)
{
    const json_t *aud = json_object_get(claims, "aud"), *item;
    size_t i;
    bool found = audience == NULL || is(aud, audience);
    if (found)
        return true;
    *fault = aud == NULL || json_is_string(aud) || json_is_array(aud) ? TOKEN_WRONG_AUDIENCE
                                                                      : TOKEN_BAD_CLAIM;
    json_array_foreach(aud, i, item)
    {
        found = found || is(item, audience);
        if (!json_is_string(item))
            *fault = TOKEN_BAD_CLAIM;
    }
    return found && *fault == TOKEN_WRONG_AUDIENCE;
}

/* Subjects stand in logs, so what cuts a line in a terminal (C1 too) stands in none. */
static bool good_subject(const char *sub)
{
    size_t len = strlen(sub);
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)sub[i], next = (unsigned char)sub[i + 1];
        if (c < 0x20 || c == 0x7f || (c == 0xc2 && next < 0xa0))
            return false;
    }
    return len > 0 && len <= TOKEN_SUBJECT_MAX;
}

static int take_subject(const json_t *claims, struct token *out, enum token_fault *fault)
{
    const json_t *sub = json_object_get(claims, "sub");
    if (sub == NULL)
        return ERR_OK;
    if (!json_is_string(sub) || !good_subject(json_string_value(sub))) {
        *fault = TOKEN_BAD_CLAIM;
        return ERR_INVALID;
    }
    out->subject = strdup(json_string_value(sub));
    return out->subject == NULL ? ERR_NOMEM : ERR_OK;
}

static int take_channels(const json_t *list, struct strings *out, enum token_fault *fault)
{
    size_t count = json_array_size(list);
    *fault = TOKEN_BAD_CLAIM;
    if (list == NULL)
        return ERR_OK;
    if (!json_is_array(list))
        return ERR_INVALID;
    if (count > 0 && (out->items = calloc(count, sizeof(*out->items))) == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < count; i++) {
        const char *text = json_string_value(json_array_get(list, i));
        if (text == NULL || !topic_valid(text, strlen(text)))
            return ERR_INVALID;
        if ((out->items[i] = strdup(text)) == NULL)
            return ERR_NOMEM;
        out->count++;
    }
    return ERR_OK;
}

int token_read_claims(const json_t *claims, const struct token_rules *rules, int64_t now_s,
                      struct token *out, enum token_fault *fault)
{
    if (!good_times(claims, rules->leeway_s, now_s, out, fault) ||
        !good_issuer(claims, rules->issuer, fault) ||
        !good_audience(claims, rules->audience, fault))
        return ERR_INVALID;
    int err = take_subject(claims, out, fault);
    if (err == ERR_OK)
        err = take_channels(json_object_get(claims, rules->claim), &out->channels, fault);
    if (err != ERR_OK)
        token_finish(out);
    return err;
}

void token_finish(struct token *t)
{
    free(t->subject);
    for (size_t i = 0; i < t->channels.count; i++)
        free(t->channels.items[i]);
    free(t->channels.items);
    *t = (struct token){0};
}
