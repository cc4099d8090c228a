/* The claims of authentic tokens: times, issuer, audience, subject, channels. */
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

static struct keyring *ring;

/* Verify claims under rules at a moment; as rig_verify. */
static int judge(const char *claims, const struct token_rules *rules, int64_t now_s,
                 struct token *out)
{
    enum token_fault fault = TOKEN_FAULT_COUNT;
    struct token ignored;
    char *text = rig_plain_token(TOKEN_HS256, claims);
    int err =
        token_verify(ring, rules, text, strlen(text), now_s, out == NULL ? &ignored : out, &fault);
    free(text);
    if (err == ERR_OK && out == NULL)
        token_finish(&ignored);
    return err == ERR_OK ? ERR_OK : RIG_FAULT(fault);
}

struct expectation {
    const char *claims;
    int result;
};

static void judge_all(const struct expectation *cases, size_t count,
                      const struct token_rules *rules)
{
    for (size_t i = 0; i < count; i++) {
        int result = judge(cases[i].claims, rules, RIG_NOW, NULL);
        if (result != cases[i].result)
            fail_msg("%s: %d, not %d", cases[i].claims, result, cases[i].result);
    }
}

#define JUDGE_ALL(cases, rules) judge_all(cases, sizeof(cases) / sizeof((cases)[0]), rules)
#define BAD RIG_FAULT(TOKEN_BAD_CLAIM)
#define BROKEN RIG_FAULT(TOKEN_MALFORMED)

static const struct token_rules no_rules = {.claim = "channels"};

/* exp, nbf and iat each, at the border and a second beside it, without and with a leeway. */
static void times_end_exactly(void **state)
{
    static const int64_t leeways[] = {0, 1, 30, 3600};
    (void)state;
    for (size_t i = 0; i < sizeof leeways / sizeof leeways[0]; i++) {
        const struct token_rules rules = {.claim = "channels", .leeway_s = leeways[i]};
        int64_t l = leeways[i];
        static const char exp[] = "{\"exp\":1700000000}", nbf[] = "{\"nbf\":1700000000}",
                          iat[] = "{\"iat\":1700000000}";
        assert_int_equal(judge(exp, &rules, RIG_NOW + l - 1, NULL), ERR_OK);
        assert_int_equal(judge(exp, &rules, RIG_NOW + l, NULL), RIG_FAULT(TOKEN_EXPIRED));
        assert_int_equal(judge(exp, &rules, RIG_NOW + l + 1, NULL), RIG_FAULT(TOKEN_EXPIRED));
        assert_int_equal(judge(nbf, &rules, RIG_NOW - l, NULL), ERR_OK);
        assert_int_equal(judge(nbf, &rules, RIG_NOW - l - 1, NULL), RIG_FAULT(TOKEN_TOO_EARLY));
        assert_int_equal(judge(iat, &rules, RIG_NOW - l, NULL), ERR_OK);
        assert_int_equal(judge(iat, &rules, RIG_NOW - l - 1, NULL), RIG_FAULT(TOKEN_TOO_EARLY));
    }
}

static void times_are_numbers(void **state)
{
    static const struct expectation cases[] = {
        {"{}", ERR_OK},
        {"{\"exp\":1700000001}", ERR_OK},
        {"{\"exp\":1700000000.9}", RIG_FAULT(TOKEN_EXPIRED)},
        {"{\"exp\":1.700000001e9}", ERR_OK},
        {"{\"exp\":1700000001.0,\"nbf\":1700000000.0,\"iat\":0}", ERR_OK},
        {"{\"nbf\":1700000000.1}", RIG_FAULT(TOKEN_TOO_EARLY)},
        {"{\"iat\":1700000000.1}", RIG_FAULT(TOKEN_TOO_EARLY)},
        {"{\"exp\":253402300799}", ERR_OK},
        {"{\"exp\":253402300800}", BAD},
        {"{\"exp\":1700000001000}", BAD}, /* milliseconds */
        {"{\"exp\":9223372036854775807}", BAD},
        {"{\"exp\":9223372036854775808}", BROKEN},
        {"{\"exp\":1e308}", BAD},
        {"{\"exp\":1e400}", BROKEN},
        {"{\"exp\":NaN}", BROKEN},
        {"{\"exp\":Infinity}", BROKEN},
        {"{\"exp\":-1}", BAD},
        {"{\"exp\":-0.5}", BAD},
        {"{\"exp\":-9223372036854775808}", BAD},
        {"{\"exp\":0}", RIG_FAULT(TOKEN_EXPIRED)},
        {"{\"exp\":1e-300}", RIG_FAULT(TOKEN_EXPIRED)},
        {"{\"exp\":\"1700000001\"}", BAD},
        {"{\"exp\":null}", BAD},
        {"{\"exp\":true}", BAD},
        {"{\"exp\":[1700000001]}", BAD},
        {"{\"exp\":{}}", BAD},
        {"{\"nbf\":\"0\"}", BAD},
        {"{\"nbf\":null}", BAD},
        {"{\"nbf\":-1}", BAD},
        {"{\"nbf\":253402300800}", BAD},
        {"{\"iat\":false}", BAD},
        {"{\"iat\":[]}", BAD},
        {"{\"iat\":1700000001000}", BAD},
        {"{\"exp\":1,\"nbf\":\"x\"}", BAD},
        {"{\"exp\":1,\"nbf\":1700000001}", RIG_FAULT(TOKEN_EXPIRED)},
    };
    (void)state;
    JUDGE_ALL(cases, &no_rules);
    struct token t;
    assert_int_equal(judge("{\"exp\":1700000100.7}", &no_rules, RIG_NOW, &t), ERR_OK);
    assert_true(t.expires);
    assert_int_equal(t.exp_s, 1700000100);
    token_finish(&t);
    assert_int_equal(judge("{}", &no_rules, RIG_NOW, &t), ERR_OK);
    assert_false(t.expires);
    token_finish(&t);
}

static void claims_are_one_object(void **state)
{
    static const struct expectation cases[] = {
        {"[]", BROKEN},
        {"null", BROKEN},
        {"1", BROKEN},
        {"\"{}\"", BROKEN},
        {"{} {}", BROKEN},
        {"{", BROKEN},
        {"{\"exp\":1700000001,\"exp\":1800000000}", BROKEN},
        {"{\"exp\":1,\"e\\u0078p\":1800000000}", BROKEN},
        {"{\"sub\":\"a\",\"sub\":\"b\"}", BROKEN},
        {"{\"channels\":[\"a\"],\"channels\":[\"*\"]}", BROKEN},
        {"{\"x\":{\"y\":1,\"y\":2}}", BROKEN},
        {"{\"x\":\"\\u0000\"}", BROKEN},
        {"{\"x\":\"\xff\"}", BROKEN},
        {"{\"x\":\"\\ud800\"}", BROKEN},
        {"{\"x\":\"a\nb\"}", BROKEN},
        {"\xef\xbb\xbf{}", BROKEN},
        {" {\"x\" : [ {} , null , -0 , 1.5e3 ] } ", ERR_OK},
    };
    (void)state;
    JUDGE_ALL(cases, &no_rules);
}

/* Brackets as deep as a token is long end no thread's stack. */
static void deep_claims_are_harmless(void **state)
{
    struct buf claims = BUF_INIT;
    (void)state;
    buf_printf(&claims, "{\"x\":%0*d}", 6000, 0);
    memset(claims.data + 5, '[', 6000);
    assert_int_equal(judge(buf_cstr(&claims), &no_rules, RIG_NOW, NULL), BROKEN);
    buf_reset(&claims);
    buf_str(&claims, "{\"x\":");
    for (int i = 0; i < 1500; i++)
        buf_byte(&claims, '[');
    for (int i = 0; i < 1500; i++)
        buf_byte(&claims, ']');
    buf_byte(&claims, '}');
    assert_int_equal(judge(buf_cstr(&claims), &no_rules, RIG_NOW, NULL), ERR_OK);
    buf_finish(&claims);
}

static void issuers(void **state)
{
    static const struct token_rules rules = {.issuer = "https://a.example/", .claim = "channels"};
    static const int other = RIG_FAULT(TOKEN_WRONG_ISSUER);
    const struct expectation cases[] = {
        {"{\"iss\":\"https://a.example/\"}", ERR_OK},
        {"{\"iss\":\"https:\\/\\/a.example\\/\"}", ERR_OK},
        {"{}", other},
        {"{\"iss\":\"https://a.example\"}", other},
        {"{\"iss\":\"https://A.example/\"}", other},
        {"{\"iss\":\"https://a.example/ \"}", other},
        {"{\"iss\":\"https://a.example/x\"}", other},
        {"{\"iss\":\"\"}", other},
        {"{\"iss\":[\"https://a.example/\"]}", BAD},
        {"{\"iss\":null}", BAD},
        {"{\"iss\":{\"https://a.example/\":1}}", BAD},
    };
    (void)state;
    JUDGE_ALL(cases, &rules);
    assert_int_equal(judge("{\"iss\":\"x\"}", &no_rules, RIG_NOW, NULL), ERR_OK);
}

static void audiences(void **state)
{
    static const struct token_rules rules = {.audience = "tickerd", .claim = "channels"};
    static const int other = RIG_FAULT(TOKEN_WRONG_AUDIENCE);
    const struct expectation cases[] = {
        {"{\"aud\":\"tickerd\"}", ERR_OK},
        {"{\"aud\":[\"tickerd\"]}", ERR_OK},
        {"{\"aud\":[\"a\",\"tickerd\",\"b\"]}", ERR_OK},
        {"{}", other},
        {"{\"aud\":\"\"}", other},
        {"{\"aud\":\"Tickerd\"}", other},
        {"{\"aud\":\"tickerd2\"}", other},
        {"{\"aud\":\"a tickerd\"}", other},
        {"{\"aud\":[]}", other},
        {"{\"aud\":[\"a\",\"b\"]}", other},
        {"{\"aud\":[[\"tickerd\"]]}", BAD},
        {"{\"aud\":[\"tickerd\",1]}", BAD},
        {"{\"aud\":[null]}", BAD},
        {"{\"aud\":null}", BAD},
        {"{\"aud\":{\"tickerd\":1}}", BAD},
        {"{\"aud\":1}", BAD},
    };
    (void)state;
    JUDGE_ALL(cases, &rules);
    assert_int_equal(judge("{\"aud\":\"x\"}", &no_rules, RIG_NOW, NULL), ERR_OK);
}

static void subjects(void **state)
{
    static const struct expectation cases[] = {
        {"{\"sub\":\"\"}", BAD},
        {"{\"sub\":42}", BAD},
        {"{\"sub\":null}", BAD},
        {"{\"sub\":[\"a\"]}", BAD},
        {"{\"sub\":{}}", BAD},
        {"{\"sub\":\"a\\nb\"}", BAD},
        {"{\"sub\":\"a\\u001b[2J\"}", BAD},
        {"{\"sub\":\"a\\u007f\"}", BAD},
        {"{\"sub\":\"a\\u0085b\"}", BAD},
        {"{\"sub\":\"\\u009b2J\"}", BAD},
        {"{\"sub\":\"a\\u0000b\"}", BROKEN},
        {"{\"sub\":\"J\xc3\xb6rg \\u00a0 \\\"x\\\"\"}", ERR_OK},
    };
    (void)state;
    JUDGE_ALL(cases, &no_rules);
    for (int len = TOKEN_SUBJECT_MAX; len <= TOKEN_SUBJECT_MAX + 1; len++) {
        char claims[300];
        struct token t;
        (void)snprintf(claims, sizeof claims, "{\"sub\":\"%0*d\"}", len, 7);
        int result = judge(claims, &no_rules, RIG_NOW, &t);
        assert_int_equal(result, len == TOKEN_SUBJECT_MAX ? ERR_OK : BAD);
        if (result != ERR_OK)
            continue;
        assert_int_equal(strlen(t.subject), TOKEN_SUBJECT_MAX);
        token_finish(&t);
    }
}

static void channels(void **state)
{
    static const struct expectation cases[] = {
        {"{\"channels\":\"a\"}", BAD},          {"{\"channels\":\"*\"}", BAD},
        {"{\"channels\":null}", BAD},           {"{\"channels\":true}", BAD},
        {"{\"channels\":{\"0\":\"a\"}}", BAD},  {"{\"channels\":[1]}", BAD},
        {"{\"channels\":[\"a\",null]}", BAD},   {"{\"channels\":[[\"a\"]]}", BAD},
        {"{\"channels\":[\"a\",\"\"]}", BAD},   {"{\"channels\":[\"a\\nb\"]}", BAD},
        {"{\"channels\":[\"a\\u007f\"]}", BAD}, {"{\"channels\":[\"a\\u0000b\"]}", BROKEN},
        {"{\"channels\":[\"\xff\"]}", BROKEN},  {"{\"Channels\":[\"a\"]}", ERR_OK},
    };
    struct token t;
    (void)state;
    JUDGE_ALL(cases, &no_rules);
    static const char *const none[] = {"{}", "{\"channels\":[]}", "{\"Channels\":[\"a\"]}"};
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) {
        assert_int_equal(judge(none[i], &no_rules, RIG_NOW, &t), ERR_OK);
        assert_int_equal(t.channels.count, 0);
        token_finish(&t);
    }
    /* Names and globs as they are: who may hear what is decided elsewhere, of `$` names too. */
    assert_int_equal(judge("{\"channels\":[\"\\u00e9\",\"$x\",\"[\",\"a b\",\"*\",\"*\"]}",
                           &no_rules, RIG_NOW, &t),
                     ERR_OK);
    static const char *const expected[] = {"\xc3\xa9", "$x", "[", "a b", "*", "*"};
    assert_int_equal(t.channels.count, 6);
    for (size_t i = 0; i < 6; i++)
        assert_string_equal(t.channels.items[i], expected[i]);
    token_finish(&t);
    for (int len = 255; len <= 256; len++) {
        char claims[300];
        (void)snprintf(claims, sizeof claims, "{\"channels\":[\"a\",\"%0*d\"]}", len, 7);
        assert_int_equal(judge(claims, &no_rules, RIG_NOW, NULL), len == 255 ? ERR_OK : BAD);
    }
}

static void many_channels(void **state)
{
    struct token t;
    (void)state;
    for (size_t count = 1400; count <= 10000; count += 8600) {
        struct buf claims = BUF_INIT;
        buf_str(&claims, "{\"channels\":[\"a\"");
        for (size_t i = 1; i < count; i++)
            buf_str(&claims, ",\"b\"");
        buf_str(&claims, "]}");
        int result = judge(buf_cstr(&claims), &no_rules, RIG_NOW, &t);
        buf_finish(&claims);
        assert_int_equal(result, count == 1400 ? ERR_OK : RIG_FAULT(TOKEN_TOO_LONG));
        if (result != ERR_OK)
            continue;
        assert_int_equal(t.channels.count, count);
        assert_string_equal(t.channels.items[count - 1], "b");
        token_finish(&t);
    }
}

/* The claim's name is taken whole, dots and slashes too. */
static void the_claim_has_any_name(void **state)
{
    static const struct token_rules rules = {.claim = "https://example.org/channels.v1"};
    struct token t;
    (void)state;
    assert_int_equal(judge("{\"channels\":[\"no\"],\"https://example.org/channels.v1\":[\"yes\"]}",
                           &rules, RIG_NOW, &t),
                     ERR_OK);
    assert_int_equal(t.channels.count, 1);
    assert_string_equal(t.channels.items[0], "yes");
    token_finish(&t);
}

/* Faults about claims are told to who holds an authentic token only. */
static void strangers_learn_nothing_of_the_rules(void **state)
{
    static const char *const claims[] = {"{\"exp\":1}",
                                         "{\"nbf\":1800000000}",
                                         "{\"iss\":\"x\"}",
                                         "{\"aud\":\"x\"}",
                                         "{\"sub\":1}",
                                         "{\"channels\":1}",
                                         "[",
                                         "{\"exp\":1,\"exp\":1}"};
    static const struct token_rules rules = {.issuer = "i", .audience = "a", .claim = "channels"};
    (void)state;
    for (size_t i = 0; i < sizeof claims / sizeof claims[0]; i++) {
        struct token t;
        enum token_fault fault = TOKEN_FAULT_COUNT;
        char *text =
            rig_token_by(TOKEN_HS256, NULL, RIG_OTHER_SECRET, 64, "{\"alg\":\"HS256\"}", claims[i]);
        assert_int_equal(token_verify(ring, &rules, text, strlen(text), RIG_NOW, &t, &fault),
                         ERR_INVALID);
        assert_int_equal(fault, TOKEN_BAD_SIGNATURE);
        free(text);
    }
}

static int make_ring(void **state)
{
    (void)state;
    ring = rig_ring(TOKEN_HS256, NULL);
    return 0;
}

static int free_ring(void **state)
{
    (void)state;
    keyring_destroy(ring);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_end_exactly),
        cmocka_unit_test(times_are_numbers),
        cmocka_unit_test(claims_are_one_object),
        cmocka_unit_test(deep_claims_are_harmless),
        cmocka_unit_test(issuers),
        cmocka_unit_test(audiences),
        cmocka_unit_test(subjects),
        cmocka_unit_test(channels),
        cmocka_unit_test(many_channels),
        cmocka_unit_test(the_claim_has_any_name),
        cmocka_unit_test(strangers_learn_nothing_of_the_rules),
    };
    return cmocka_run_group_tests(tests, make_ring, free_ring);
}
