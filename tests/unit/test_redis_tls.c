#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/net/redis_tls_engine.h"
#include "tickerd/base/err.h"
#include "tls_rig.h"

/* The engine and its context, against OpenSSL's own server in memory. */

enum { CHUNK = 1 << 16 };

static struct tls_rig rig;
static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

static int start_rig(void **state)
{
    (void)state;
    tls_rig_start(&rig);
    return 0;
}

static int stop_rig(void **state)
{
    (void)state;
    tls_rig_stop(&rig);
    return 0;
}

/* Both ends, and what happened to the engine's. */
struct pair {
    struct tls_engine *engine;
    struct tls_peer peer;
    bool open;
    int ended;
    struct buf got; /* plain, by the engine */
};

static struct redis_tls *context(const char *server_name)
{
    struct buf errors = BUF_INIT;
    struct redis_tls *tls = redis_tls_create(
        &(struct redis_tls_options){.ca = rig.ca_path, .server_name = server_name}, &errors);
    assert_string_equal(buf_cstr(&errors), "");
    assert_non_null(tls);
    buf_finish(&errors);
    return tls;
}

static void start(struct pair *p, const char *host, const char *server_name)
{
    struct addr addr = {.port = 6379};
    struct redis_tls *tls = context(server_name);
    *p = (struct pair){.open = false};
    (void)snprintf(addr.host, sizeof addr.host, "%s", host);
    p->engine = tls_engine_create(tls, &addr);
    assert_non_null(p->engine);
    redis_tls_destroy(tls); /* an engine needs it no longer */
}

static void stop(struct pair *p)
{
    tls_engine_destroy(p->engine);
    tls_peer_stop(&p->peer);
    buf_finish(&p->got);
}

/* As redis_conn does it. */
static void step(struct pair *p, const char *data, size_t n)
{
    int rc = n > 0 ? tls_engine_feed(p->engine, data, n) : ERR_OK;
    assert_int_equal(rc, ERR_OK);
    if (!p->open) {
        rc = tls_engine_handshake(p->engine);
        p->open = rc == ERR_OK;
    }
    const char *plain;
    for (size_t got = 1; rc == ERR_OK && got > 0;) {
        rc = tls_engine_read(p->engine, &plain, &got);
        buf_append(&p->got, plain, got);
    }
    p->ended = rc == ERR_AGAIN ? ERR_OK : rc;
}

static void to_peer(struct pair *p)
{
    struct buf *out = tls_engine_out(p->engine);
    tls_peer_feed(&p->peer, out->data, out->len);
    buf_reset(out);
}

static size_t from_peer(struct pair *p, size_t split)
{
    char data[CHUNK];
    size_t n = 0, all = 0;
    assert_true(split <= sizeof data);
    while (p->ended == ERR_OK && (n = tls_peer_out(&p->peer, data, split)) > 0) {
        step(p, data, n);
        all += n;
    }
    return all;
}

/* Until nothing moves any more. */
static void exchange(struct pair *p, size_t split)
{
    step(p, NULL, 0);
    do
        to_peer(p);
    while (from_peer(p, split) > 0);
    to_peer(p);
}

static void open_pair(struct pair *p, int version, size_t split)
{
    start(p, "localhost", NULL);
    tls_peer_start(&p->peer, &rig, "DNS:localhost", version);
    exchange(p, split);
    assert_int_equal(p->ended, ERR_OK);
    assert_true(p->open);
}

static void send_all(struct pair *p, const char *data, size_t n)
{
    assert_int_equal(tls_engine_write(p->engine, data, n), ERR_OK);
}

static void check_fails(struct pair *p, const char *words)
{
    assert_true(p->ended != ERR_OK);
    if (strstr(tls_engine_reason(p->engine), words) == NULL)
        fail_msg("\"%s\" is not in: %s", words, tls_engine_reason(p->engine));
}

/* Bytes. */

static void bytes_split_everywhere(void **state)
{
    (void)state;
    static const size_t splits[] = {1, 2, 3, 4, 5, 6, 7, 17, 100, 1000, 16384, CHUNK};
    for (size_t i = 0; i < 2 * sizeof splits / sizeof splits[0]; i++) {
        struct pair p;
        char back[64];
        size_t split = splits[i / 2];
        open_pair(&p, versions[i % 2], split);
        for (int n = 0; n < 20; n++)
            tls_peer_write(&p.peer, "hello", 5);
        (void)from_peer(&p, split);
        assert_int_equal(p.got.len, 100);
        assert_memory_equal(p.got.data, "hellohello", 10);
        send_all(&p, "world", 5);
        to_peer(&p);
        assert_int_equal(tls_peer_read(&p.peer, back, sizeof back), 5);
        assert_memory_equal(back, "world", 5);
        stop(&p);
    }
}

static void large_ones_both_ways(void **state)
{
    (void)state;
    enum { SIZE = 3 << 20 };
    char *data = malloc(SIZE), *back = malloc(SIZE);
    assert_true(data != NULL && back != NULL);
    for (size_t i = 0; i < SIZE; i++)
        data[i] = (char)(i * 7 % 251);
    for (int v = 0; v < 2; v++) {
        struct pair p;
        size_t n = 0, got = 0;
        open_pair(&p, versions[v], CHUNK);
        tls_peer_write(&p.peer, data, SIZE);
        (void)from_peer(&p, CHUNK);
        assert_int_equal(p.got.len, SIZE);
        assert_memory_equal(p.got.data, data, SIZE);
        send_all(&p, data, SIZE);
        to_peer(&p);
        while ((n = tls_peer_read(&p.peer, back + got, SIZE - got)) > 0)
            got += n;
        assert_int_equal(got, SIZE);
        assert_memory_equal(back, data, SIZE);
        stop(&p);
    }
    free(data);
    free(back);
}

static void garbage_instead_of_tls(void **state)
{
    (void)state;
    static const char *const said[] = {"-ERR unknown command\r\n", "HTTP/1.0 400 Bad Request\r\n",
                                       "+OK\r\n+OK\r\n"};
    for (size_t i = 0; i < sizeof said / sizeof said[0]; i++) {
        for (size_t split = 1; split < 6; split += 4) {
            struct pair p;
            start(&p, "localhost", NULL);
            tls_peer_start(&p.peer, &rig, "DNS:localhost", 0);
            step(&p, NULL, 0);
            for (size_t at = 0; at < strlen(said[i]) && p.ended == ERR_OK; at += split)
                step(&p, said[i] + at, split);
            check_fails(&p, "speaks no TLS");
            stop(&p);
        }
    }
}

/* One bit is wrong, wherever it is: never other bytes than those sent, and an end with a reason. */
static void damaged_records(void **state)
{
    (void)state;
    for (int v = 0; v < 2; v++) {
        for (size_t at = 0; at < 40; at++) {
            struct pair p;
            char data[CHUNK];
            open_pair(&p, versions[v], CHUNK);
            tls_peer_write(&p.peer, "secret message", 14);
            size_t n = tls_peer_out(&p.peer, data, sizeof data);
            if (at >= n) {
                stop(&p);
                break;
            }
            data[at] = (char)(data[at] ^ 1);
            step(&p, data, n);
            assert_int_equal(p.got.len, 0);
            if (p.ended != ERR_OK)
                check_fails(&p, "server sent");
            else
                assert_true(at == 3 || at == 4); /* the length: it waits for more */
            stop(&p);
        }
    }
}

/* Whether the byte is one of the version that stands in each record's head, and means nothing. */
static bool ignored(const char *data, size_t n, size_t at)
{
    for (size_t i = 0; i + 5 <= n;) {
        if (at == i + 1 || at == i + 2)
            return true;
        i += 5 + ((size_t)(unsigned char)data[i + 3] << 8) + (unsigned char)data[i + 4];
    }
    return false;
}

static void damaged_handshakes(void **state)
{
    (void)state;
    srandom(5);
    for (int i = 0; i < 300; i++) {
        struct pair p;
        char data[CHUNK];
        start(&p, "localhost", NULL);
        tls_peer_start(&p.peer, &rig, "DNS:localhost", versions[i % 2]);
        step(&p, NULL, 0);
        to_peer(&p);
        size_t n = tls_peer_out(&p.peer, data, sizeof data);
        assert_true(n > 100);
        size_t at = (size_t)random() % n;
        bool harmless = versions[i % 2] == TLS1_3_VERSION && ignored(data, n, at);
        data[at] = (char)(data[at] ^ (1 << random() % 8));
        step(&p, data, n);
        /* Not before the peer's last word can it be open, and that one is missing with 1.2. */
        assert_true(!p.open || harmless);
        if (p.ended != ERR_OK)
            assert_true(strlen(tls_engine_reason(p.engine)) > 10);
        stop(&p);
    }
}

static void goodbye_and_silence(void **state)
{
    (void)state;
    for (int v = 0; v < 2; v++) {
        struct pair p;
        char data[CHUNK];
        open_pair(&p, versions[v], CHUNK);
        tls_peer_write(&p.peer, "last", 4);
        size_t n = tls_peer_out(&p.peer, data, sizeof data);
        for (size_t i = 0; i + 1 < n; i++) { /* all but the last byte: nothing is there yet */
            step(&p, data + i, 1);
            assert_int_equal(p.got.len, 0);
            assert_int_equal(p.ended, ERR_OK);
        }
        step(&p, data + n - 1, 1);
        assert_int_equal(p.got.len, 4);
        tls_peer_write(&p.peer, "words", 5);
        (void)SSL_shutdown(p.peer.ssl);
        (void)from_peer(&p, CHUNK);
        assert_int_equal(p.ended, ERR_CLOSED);
        assert_int_equal(p.got.len, 9);
        tls_engine_bye(p.engine);
        to_peer(&p);
        assert_int_equal(SSL_shutdown(p.peer.ssl), 1);
        stop(&p);
    }
}

static void we_say_goodbye(void **state)
{
    (void)state;
    struct pair p;
    char data[8];
    open_pair(&p, TLS1_3_VERSION, CHUNK);
    tls_engine_bye(p.engine);
    to_peer(&p);
    assert_int_equal(tls_peer_read(&p.peer, data, sizeof data), 0);
    assert_true(SSL_get_shutdown(p.peer.ssl) & SSL_RECEIVED_SHUTDOWN);
    stop(&p);
    start(&p, "localhost", NULL); /* before the handshake there is nothing to say */
    tls_peer_start(&p.peer, &rig, "DNS:localhost", 0);
    tls_engine_bye(p.engine);
    assert_int_equal(tls_engine_out(p.engine)->len, 0);
    stop(&p);
}

/* What may come between. */

static void tickets_and_key_updates(void **state)
{
    (void)state;
    struct pair p;
    char data[16];
    open_pair(&p, TLS1_3_VERSION, 1);
    for (int i = 0; i < 200; i++) {
        assert_int_equal(SSL_key_update(p.peer.ssl, i % 2 == 0 ? SSL_KEY_UPDATE_REQUESTED
                                                               : SSL_KEY_UPDATE_NOT_REQUESTED),
                         1);
        assert_int_equal(SSL_do_handshake(p.peer.ssl), 1);
        assert_int_equal(SSL_new_session_ticket(p.peer.ssl), 1);
        tls_peer_write(&p.peer, "x", 1);
        (void)from_peer(&p, 11);
        send_all(&p, "y", 1);
        to_peer(&p);
        assert_int_equal(tls_peer_read(&p.peer, data, sizeof data), 1);
    }
    assert_int_equal(p.got.len, 200);
    assert_int_equal(p.ended, ERR_OK);
    stop(&p);
}

static void renegotiation(void **state)
{
    (void)state;
    struct pair p;
    char data[CHUNK];
    open_pair(&p, TLS1_2_VERSION, CHUNK);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(SSL_renegotiate(p.peer.ssl), 1);
        assert_int_equal(SSL_do_handshake(p.peer.ssl), 1);
        (void)from_peer(&p, 1);
        assert_int_equal(tls_engine_write(p.engine, "y", 1), ERR_AGAIN);
        do {
            to_peer(&p);
            (void)tls_peer_read(&p.peer, data, sizeof data);
        } while (from_peer(&p, 5) > 0);
        send_all(&p, "y", 1);
        to_peer(&p);
        assert_int_equal(tls_peer_read(&p.peer, data, sizeof data), 1);
        tls_peer_write(&p.peer, "x", 1);
        (void)from_peer(&p, 1);
    }
    assert_int_equal(p.got.len, 3);
    stop(&p);
}

/* Names. */

static void who_is_believed(void **state)
{
    (void)state;
    static const struct {
        const char *alt, *host, *server_name;
        bool good;
        const char *sni; /* NULL: none */
    } cases[] = {
        {"DNS:localhost", "localhost", NULL, true, "localhost"},
        {"DNS:localhost", "LOCALHOST", "", true, "LOCALHOST"},
        {"DNS:localhost", "localhost.", NULL, true, "localhost"},
        {"DNS:localhost", "127.0.0.1", NULL, false, NULL},
        {"DNS:localhost", "127.0.0.1", "localhost", true, "localhost"},
        {"DNS:localhost", "localhost", "redis.test", false, "redis.test"},
        {"DNS:*.redis.test", "a.redis.test", NULL, true, "a.redis.test"},
        {"DNS:*.redis.test", "a.b.redis.test", NULL, false, "a.b.redis.test"},
        {"DNS:*.redis.test", "redis.test", NULL, false, "redis.test"},
        {"DNS:a*.redis.test", "ab.redis.test", NULL, false, "ab.redis.test"},
        {"IP:127.0.0.1,IP:::1", "127.0.0.1", NULL, true, NULL},
        {"IP:127.0.0.1,IP:::1", "::1", NULL, true, NULL},
        {"IP:127.0.0.1,IP:::1", "0:0:0:0:0:0:0:1", NULL, true, NULL},
        {"IP:127.0.0.1,IP:::1", "::2", NULL, false, NULL},
        {"IP:127.0.0.1,IP:::1", "127.0.0.1.", NULL, true, NULL},
        {"IP:fe80::1", "fe80::1%eth0", NULL, true, NULL},
        {"IP:10.0.0.1", "redis.test", "10.0.0.1", true, NULL},
        {"DNS:127.0.0.1", "127.0.0.1", NULL, false, NULL},
        {NULL, "peer", NULL, true, "peer"}, /* without such names, the common name counts */
        {"DNS:other", "peer", NULL, false, "peer"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct pair p;
        start(&p, cases[i].host, cases[i].server_name);
        tls_peer_start(&p.peer, &rig, cases[i].alt, 0);
        exchange(&p, CHUNK);
        const char *sni = SSL_get_servername(p.peer.ssl, TLSEXT_NAMETYPE_host_name);
        if (cases[i].sni == NULL)
            assert_null(sni);
        else
            assert_string_equal(sni, cases[i].sni);
        if (p.open != cases[i].good)
            fail_msg("%s by %s", cases[i].alt, cases[i].host);
        if (!cases[i].good)
            check_fails(&p, "the server's certificate is not for ");
        stop(&p);
    }
}

static void expired_and_foreign(void **state)
{
    (void)state;
    struct tls_rig other;
    struct pair p;
    tls_rig_start(&other);
    struct {
        X509 *cert;
        struct tls_rig *by;
        const char *words;
    } cases[] = {
        {tls_rig_issue(&rig, "DNS:localhost", -3, -1), &rig, "expired"},
        {tls_rig_issue(&rig, "DNS:localhost", 1, 3), &rig, "not valid yet"},
        {tls_rig_issue(&other, "DNS:localhost", -1, 1), &other, "is not signed by the CA"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        start(&p, "localhost", NULL);
        tls_peer_start_with(&p.peer, cases[i].by, cases[i].cert, 0);
        exchange(&p, CHUNK);
        assert_false(p.open);
        check_fails(&p, cases[i].words);
        assert_false(SSL_is_init_finished(p.peer.ssl)); /* an alert has told the peer */
        stop(&p);
    }
    tls_rig_stop(&other);
}

/* Files. */

static void check_files(const struct redis_tls_options *o, const char *words)
{
    struct buf errors = BUF_INIT;
    struct redis_tls *tls = redis_tls_create(o, &errors);
    if (words == NULL)
        assert_string_equal(buf_cstr(&errors), "");
    else if (strstr(buf_cstr(&errors), words) == NULL)
        fail_msg("\"%s\" is not in: %s", words, buf_cstr(&errors));
    assert_true((tls == NULL) == (words != NULL));
    redis_tls_destroy(tls);
    buf_finish(&errors);
}

static void files(void **state)
{
    (void)state;
    char cert[96], key[96], ca_key[96];
    EVP_PKEY *other = EVP_EC_gen("P-256");
    X509 *x = tls_rig_issue(&rig, NULL, -1, 1);
    tls_rig_write(&rig, "cert", x, NULL, cert);
    tls_rig_write(&rig, "key", x, other, key); /* a certificate before it does no harm */
    tls_rig_write(&rig, "text", NULL, rig.key, ca_key);
    check_files(&(struct redis_tls_options){0}, NULL);
    check_files(&(struct redis_tls_options){"", "", "", ""}, NULL);
    check_files(&(struct redis_tls_options){.ca = cert, .cert = cert, .key = ca_key}, NULL);
    check_files(&(struct redis_tls_options){.cert = cert, .key = key},
                "the key is not that of the certificate");
    check_files(&(struct redis_tls_options){.ca = ca_key}, "has no certificate");
    check_files(&(struct redis_tls_options){.cert = cert, .key = cert}, "has no private key");
    check_files(&(struct redis_tls_options){.ca = "/none", .cert = "/dev/null", .key = key},
                "redis.tls.ca: /none: No such file or directory\n"
                "redis.tls.cert: /dev/null: it is empty\n");
    check_files(&(struct redis_tls_options){.ca = "/dev/zero"}, "larger than 16 MiB");
    check_files(&(struct redis_tls_options){.ca = "/"}, "Is a directory");
    X509_free(x);
    EVP_PKEY_free(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_split_everywhere), cmocka_unit_test(large_ones_both_ways),
        cmocka_unit_test(garbage_instead_of_tls), cmocka_unit_test(damaged_records),
        cmocka_unit_test(damaged_handshakes),     cmocka_unit_test(goodbye_and_silence),
        cmocka_unit_test(we_say_goodbye),         cmocka_unit_test(tickets_and_key_updates),
        cmocka_unit_test(renegotiation),          cmocka_unit_test(who_is_believed),
        cmocka_unit_test(expired_and_foreign),    cmocka_unit_test(files),
    };
    return cmocka_run_group_tests(tests, start_rig, stop_rig);
}
