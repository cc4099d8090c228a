/* Verifying: attacks on the form of a token. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tickerd/base/err.h"
#include "token_rig.h"

#define CLAIMS "{\"sub\":\"42\",\"exp\":1700000600,\"channels\":[\"news\",\"user.42.*\"]}"

static void one_bit_is_enough(void **state)
{
    static const enum token_alg algs[] = {TOKEN_HS256, TOKEN_ES256, TOKEN_RS256, TOKEN_PS256};
    (void)state;
    for (size_t i = 0; i < sizeof algs / sizeof algs[0]; i++) {
        struct keyring *k = rig_ring(algs[i], NULL);
        char *text = rig_plain_token(algs[i], "{\"channels\":[\"a\"]}");
        size_t len = strlen(text);
        for (size_t at = 0; at < len; at++) {
            for (unsigned bit = 0; bit < 8; bit++) {
                text[at] = (char)(text[at] ^ (1 << bit));
                if (text[at] != '\0')
                    assert_int_not_equal(rig_verify(k, text, NULL), ERR_OK);
                text[at] = (char)(text[at] ^ (1 << bit));
            }
        }
        assert_int_equal(rig_verify(k, text, NULL), ERR_OK);
        free(text);
        keyring_destroy(k);
    }
}

static void a_part_is_not_enough(void **state)
{
    struct keyring *k = rig_ring(TOKEN_HS256, NULL);
    char *text = rig_plain_token(TOKEN_HS256, CLAIMS);
    size_t len = strlen(text);
    (void)state;
    for (size_t cut = 0; cut < len; cut++) {
        char *head = strndup(text, cut);
        assert_int_not_equal(rig_verify(k, head, NULL), ERR_OK);
        if (cut > 0)
            assert_int_not_equal(rig_verify(k, text + cut, NULL), ERR_OK);
        free(head);
    }
    free(text);
    keyring_destroy(k);
}

/* Bytes put in or taken out; NUL bytes among them. */
static void nothing_may_be_added(void **state)
{
    static const char added[] = {'\0', '\n', '\r', ' ', '\t', '.',    '=',
                                 '+',  '/',  '%',  'A', '-',  '\x80', '\xff'};
    static const struct token_rules rules = {.claim = "channels"};
    struct keyring *k = rig_ring(TOKEN_HS256, NULL);
    char *text = rig_plain_token(TOKEN_HS256, CLAIMS);
    size_t len = strlen(text);
    (void)state;
    for (size_t at = 0; at <= len; at++) {
        for (size_t i = 0; i < sizeof added; i++) {
            char *longer = malloc(len + 1);
            struct token t;
            enum token_fault fault;
            memcpy(longer, text, at);
            longer[at] = added[i];
            memcpy(longer + at + 1, text + at, len - at);
            assert_int_equal(token_verify(k, &rules, longer, len + 1, RIG_NOW, &t, &fault),
                             ERR_INVALID);
            free(longer);
        }
    }
    free(text);
    keyring_destroy(k);
}

static void only_three_full_parts(void **state)
{
    struct keyring *k = rig_ring(TOKEN_HS256, NULL);
    char *text = rig_plain_token(TOKEN_HS256, CLAIMS);
    const char *dot = strchr(text, '.'), *last = strrchr(text, '.');
    static const char *const bad[] = {"", ".", "..", "...", "....", "a", "a.b", "null", "{}"};
    struct buf b = BUF_INIT;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        rig_expect_fault(k, bad[i], TOKEN_MALFORMED);
    buf_printf(&b, "%s.%s.%s", text, "AAAA", "AAAA"); /* five parts: a JWE */
    rig_expect_fault(k, buf_cstr(&b), TOKEN_MALFORMED);
    buf_reset(&b);
    buf_printf(&b, "%s.", text);
    rig_expect_fault(k, buf_cstr(&b), TOKEN_MALFORMED);
    buf_reset(&b);
    buf_printf(&b, ".%s", text);
    rig_expect_fault(k, buf_cstr(&b), TOKEN_MALFORMED);
    buf_reset(&b);
    buf_printf(&b, "%.*s..%s", (int)(dot - text), text, last + 1); /* a detached payload */
    rig_expect_fault(k, buf_cstr(&b), TOKEN_MALFORMED);
    buf_reset(&b);
    buf_printf(&b, "%.*s", (int)(last + 1 - text), text); /* no signature */
    rig_expect_fault(k, buf_cstr(&b), TOKEN_MALFORMED);
    buf_reset(&b);
    /* JSON serialisations (RFC 7515 §7.2) */
    buf_printf(
        &b, "{\"payload\":\"%.*s\",\"signatures\":[{\"protected\":\"%.*s\",\"signature\":\"%s\"}]}",
        (int)(last - dot - 1), dot + 1, (int)(dot - text), text, last + 1);
    rig_expect_fault(k, buf_cstr(&b), TOKEN_MALFORMED);
    buf_finish(&b);
    free(text);
    keyring_destroy(k);
}

/* The same bytes in another spelling: a token has one only, so that it can be told apart. */
static void base64url_has_one_spelling(void **state)
{
    struct keyring *k = rig_ring(TOKEN_HS256, NULL);
    /* 32 bytes leave two bits in the last character, which must be 0. */
    char *text = rig_plain_token(TOKEN_HS256, CLAIMS);
    size_t len = strlen(text);
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const char right = text[len - 1];
    (void)state;
    assert_int_equal((strchr(alphabet, right) - alphabet) % 4, 0);
    for (int stray = 1; stray < 4; stray++) {
        text[len - 1] = strchr(alphabet, right)[stray];
        rig_expect_fault(k, text, TOKEN_MALFORMED);
    }
    text[len - 1] = right;
    struct buf padded = BUF_INIT;
    buf_printf(&padded, "%s=", text);
    rig_expect_fault(k, buf_cstr(&padded), TOKEN_MALFORMED);
    buf_finish(&padded);
    free(text);
    /* A payload and a signature with - and _, in the other alphabet. */
    for (unsigned i = 0, seen = 0; seen < 2; i++) {
        char claims[64];
        (void)snprintf(claims, sizeof claims, "{\"n\":%u,\"s\":\">>>~~~\xc3\xbf\"}", i);
        text = rig_plain_token(TOKEN_HS256, claims);
        char *at = strpbrk(strrchr(text, '.'), "-_");
        if (at == NULL)
            at = strpbrk(strchr(text, '.'), "-_");
        else
            seen++;
        assert_non_null(at);
        assert_int_equal(rig_verify(k, text, NULL), ERR_OK);
        *at = *at == '-' ? '+' : '/';
        rig_expect_refusal(k, text, TOKEN_MALFORMED);
    }
    keyring_destroy(k);
}

static void sizes_are_bounded(void **state)
{
    struct keyring *k = rig_ring(TOKEN_HS256, NULL);
    struct buf claims = BUF_INIT;
    char *text = NULL;
    (void)state;
    /* The longest there is: grow the claims until the token has TOKEN_MAX bytes or one less. */
    for (size_t fill = 6000; text == NULL || strlen(text) < TOKEN_MAX - 1; fill++) {
        buf_reset(&claims);
        buf_printf(&claims, "{\"x\":\"%*s\"}", (int)fill, "");
        free(text);
        text = rig_plain_token(TOKEN_HS256, buf_cstr(&claims));
    }
    assert_true(strlen(text) <= TOKEN_MAX);
    assert_int_equal(rig_verify(k, text, NULL), ERR_OK);
    free(text);
    buf_reset(&claims);
    buf_printf(&claims, "{\"x\":\"%*s\"}", 6100, "");
    text = rig_plain_token(TOKEN_HS256, buf_cstr(&claims));
    assert_true(strlen(text) > TOKEN_MAX);
    rig_expect_refusal(k, text, TOKEN_TOO_LONG);
    char *huge = malloc(1 << 20);
    memset(huge, 'A', (1 << 20) - 1);
    huge[(1 << 20) - 1] = '\0';
    rig_expect_refusal(k, huge, TOKEN_TOO_LONG);
    buf_finish(&claims);
    keyring_destroy(k);
}

/* A token around a token: its payload is no object. */
static void nested_tokens_are_refused(void **state)
{
    struct keyring *k = rig_ring(TOKEN_HS256, NULL);
    char *inner = rig_plain_token(TOKEN_HS256, CLAIMS);
    (void)state;
    rig_expect_refusal(k, rig_token(TOKEN_HS256, "{\"alg\":\"HS256\",\"cty\":\"JWT\"}", inner),
                       TOKEN_MALFORMED);
    free(inner);
    keyring_destroy(k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_bit_is_enough),          cmocka_unit_test(a_part_is_not_enough),
        cmocka_unit_test(nothing_may_be_added),       cmocka_unit_test(only_three_full_parts),
        cmocka_unit_test(base64url_has_one_spelling), cmocka_unit_test(sizes_are_bounded),
        cmocka_unit_test(nested_tokens_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, rig_free_keys);
}
