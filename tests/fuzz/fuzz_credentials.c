/* What a browser brings to say who it is and whose page it shows. The first byte says what follows:
 *     c    a Cookie header, in which the cookie "sid" is looked for
 *     b    an Authorization header
 *     o    an Origin, against rules with and without an asterisk
 *     h    an Origin, a line end, and a Host
 * What is taken from them is what regular expressions, or other ways to read them, take. */
#include <ctype.h>
#include <regex.h>
#include <strings.h>

#include "fuzz.h"
#include "tickerd/wire/bearer.h"
#include "tickerd/wire/cookie.h"
#include "tickerd/wire/cors.h"

enum { RULES = 3 };

static char *rules[RULES] = {"https://*.example.org", "http://*.example.net:8080",
                             "https://app.example.com"};
static const char *const allowed[RULES] = {"^https://([a-z0-9_-]+[.])+example[.]org$",
                                           "^http://([a-z0-9_-]+[.])+example[.]net:8080$",
                                           "^https://app[.]example[.]com$"};
static regex_t allowed_by[RULES], scheme_bearer, bearer;

static void compile(regex_t *r, const char *pattern, int flags)
{
    FUZZ_CHECK(regcomp(r, pattern, REG_EXTENDED | REG_NOSUB | flags) == 0);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    for (size_t i = 0; i < RULES; i++)
        compile(&allowed_by[i], allowed[i], 0);
    compile(&bearer, "^bearer +[a-z0-9._~+/-]+=*$", REG_ICASE);
    compile(&scheme_bearer, "^bearer($|[^a-z0-9!#$%&'*+.^_`|~-])", REG_ICASE);
    return 0;
}

/* A NUL is one of the bytes, and no end; but the sanitizer wants one behind them. */
static bool matches(const regex_t *r, struct fuzz_text t)
{
    regmatch_t whole = {0, (regoff_t)t.len};
    char *text = malloc(t.len + 1);
    FUZZ_CHECK(text != NULL);
    memcpy(text, t.p, t.len);
    text[t.len] = '\0';
    bool fits = regexec(r, text, 1, &whole, REG_STARTEND) == 0;
    free(text);
    return fits;
}

static bool within(struct http_slice part, struct fuzz_text all)
{
    return part.p >= all.p && part.len <= all.len && (size_t)(part.p - all.p) <= all.len - part.len;
}

/* ---- cookies --------------------------------------------------------------------------------- */

static enum cookie_found find(struct fuzz_text header, struct http_slice *value)
{
    return cookie_find((struct http_slice){header.p, header.len}, "sid", value);
}

/* With one more pair, before or behind what is there. */
static void check_with(struct fuzz_text header, enum cookie_found found, struct http_slice value,
                       bool before)
{
    static const char pair[] = "sid=another";
    size_t len = header.len + sizeof pair, at = before ? 0 : header.len + 1;
    char *joined = malloc(len);
    FUZZ_CHECK(joined != NULL);
    memset(joined, ';', len);
    memcpy(joined + at, pair, sizeof pair - 1);
    if (header.len > 0)
        memcpy(joined + (before ? sizeof pair : 0), header.p, header.len);
    bool same = found == COOKIE_NONE || fuzz_same(value.p, value.len, "another", 7);
    struct http_slice got = {NULL, 0};
    enum cookie_found expected = found != COOKIE_CONFLICT && same ? COOKIE_ONE : COOKIE_CONFLICT;
    FUZZ_CHECK(find((struct fuzz_text){joined, len}, &got) == expected);
    free(joined);
}

static void check_cookie(struct fuzz_text header)
{
    struct http_slice value = {NULL, 0};
    enum cookie_found found = find(header, &value);
    if (found == COOKIE_ONE) {
        FUZZ_CHECK(within(value, header));
        FUZZ_CHECK(value.len == 0 || memchr(value.p, ';', value.len) == NULL);
        /* it stands behind the name, a sign, and blanks or a quote */
        const char *sign = value.p;
        while (sign > header.p && strchr(" \t\"", sign[-1]) != NULL && sign[-1] != '\0')
            sign--;
        FUZZ_CHECK(sign > header.p && *--sign == '=');
        while (sign > header.p && (sign[-1] == ' ' || sign[-1] == '\t'))
            sign--;
        FUZZ_CHECK(sign - header.p >= 3 && memcmp(sign - 3, "sid", 3) == 0);
    }
    check_with(header, found, value, true);
    check_with(header, found, value, false);
}

/* ---- tokens ---------------------------------------------------------------------------------- */

static void check_bearer(struct fuzz_text header)
{
    struct http_slice token = {NULL, 0};
    enum bearer_found found = bearer_token((struct http_slice){header.p, header.len}, &token);
    FUZZ_CHECK((found == BEARER_TOKEN) == matches(&bearer, header));
    FUZZ_CHECK((found != BEARER_NONE) == matches(&scheme_bearer, header));
    if (found != BEARER_TOKEN)
        return;
    FUZZ_CHECK(within(token, header) && token.p + token.len == header.p + header.len);
    FUZZ_CHECK(token.len > 0 && token.p[-1] == ' ' && memchr(token.p, ' ', token.len) == NULL);
}

/* ---- origins --------------------------------------------------------------------------------- */

static void check_origin(struct fuzz_text origin)
{
    char *star = "*";
    const struct strings all = {rules, RULES}, any = {&star, 1}, none = {NULL, 0};
    bool expected = false;
    for (size_t i = 0; i < RULES; i++) {
        const struct strings one = {&rules[i], 1};
        bool fits = matches(&allowed_by[i], origin);
        FUZZ_CHECK(cors_allows(&one, origin.p, origin.len) == fits);
        expected = expected || fits;
    }
    FUZZ_CHECK(cors_allows(&all, origin.p, origin.len) == expected);
    FUZZ_CHECK(cors_allows(&any, origin.p, origin.len));
    FUZZ_CHECK(!cors_allows(&none, origin.p, origin.len));
}

static bool is_joined(struct fuzz_text whole, const char *scheme, struct fuzz_text host,
                      const char *port)
{
    size_t a = strlen(scheme), b = strlen(port);
    return whole.len == a + host.len - b && host.len > b && memcmp(whole.p, scheme, a) == 0 &&
           memcmp(host.p + host.len - b, port, b) == 0 &&
           strncasecmp(whole.p + a, host.p, host.len - b) == 0;
}

/* strncasecmp ends at a NUL, and neither header can hold one. */
static void check_own(struct fuzz_text origin, struct fuzz_text host)
{
    if ((origin.len > 0 && memchr(origin.p, '\0', origin.len) != NULL) ||
        (host.len > 0 && memchr(host.p, '\0', host.len) != NULL))
        return;
    bool expected =
        is_joined(origin, "http://", host, "") || is_joined(origin, "https://", host, "") ||
        is_joined(origin, "http://", host, ":80") || is_joined(origin, "https://", host, ":443");
    FUZZ_CHECK(cors_own(origin.p, origin.len, host.p, host.len) == expected);
    char *other = fuzz_copy(host.p, host.len);
    for (size_t i = 0; i < host.len; i++)
        other[i] = (char)toupper((unsigned char)host.p[i]);
    FUZZ_CHECK(cors_own(origin.p, origin.len, other, host.len) == expected);
    free(other);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    char *exact = fuzz_copy((const char *)data + 1, size - 1);
    struct fuzz_text rest = {exact, size - 1}, head;
    switch (data[0]) {
    case 'c':
        check_cookie(rest);
        break;
    case 'b':
        check_bearer(rest);
        break;
    case 'o':
        check_origin(rest);
        break;
    case 'h':
        head = fuzz_cut(&rest, '\n');
        check_own(head, rest);
        break;
    default:
        break;
    }
    free(exact);
    return 0;
}
