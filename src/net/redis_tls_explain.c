/* Why TLS failed, in words that say what to do. */
#include <openssl/err.h>
#include <openssl/x509_vfy.h>
#include <stdio.h>

#include "redis_tls_internal.h"

struct words {
    int code;
    const char *text;
};

#define OTHER_CA                                                                                   \
    "the server's certificate comes from a CA that is not trusted here: redis.tls.ca must have it"

static const struct words of_verification[] = {
    {X509_V_ERR_CERT_HAS_EXPIRED, "the server's certificate, or its CA's, has expired"},
    {X509_V_ERR_CERT_NOT_YET_VALID,
     "the server's certificate, or its CA's, is not valid yet: is the clock right?"},
    {X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT,
     "the server's certificate is self-signed and not trusted here: redis.tls.ca must have it"},
    {X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN, OTHER_CA},
    {X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, OTHER_CA},
    {X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, OTHER_CA},
    {X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE, OTHER_CA},
    {X509_V_ERR_CERT_UNTRUSTED, OTHER_CA},
    {X509_V_ERR_CERT_SIGNATURE_FAILURE,
     "the server's certificate is not signed by the CA of that name in redis.tls.ca"},
    {X509_V_ERR_INVALID_PURPOSE, "the server's certificate is not one for a TLS server"},
    {X509_V_ERR_INVALID_CA, "the server's certificate is signed by one that is no CA"},
};

#define OURS " our certificate (redis.tls.cert): "

/* Alerts that the server sent; the number is that of RFC 8446, section 6. */
static const struct words of_alert[] = {
    {SSL3_AD_HANDSHAKE_FAILURE,
     "the server refuses the handshake: it may want a client certificate (redis.tls.cert), or has "
     "no cipher in common with us"},
    {TLS13_AD_CERTIFICATE_REQUIRED,
     "the server wants a client certificate: set redis.tls.cert and redis.tls.key"},
    {TLS1_AD_UNKNOWN_CA, "the server refuses" OURS "it does not know its CA"},
    {SSL3_AD_BAD_CERTIFICATE, "the server refuses" OURS "it is bad"},
    {SSL3_AD_UNSUPPORTED_CERTIFICATE, "the server refuses" OURS "its kind or purpose is wrong"},
    {SSL3_AD_CERTIFICATE_REVOKED, "the server refuses" OURS "it is revoked"},
    {SSL3_AD_CERTIFICATE_EXPIRED, "the server refuses" OURS "it has expired"},
    {SSL3_AD_CERTIFICATE_UNKNOWN, "the server refuses" OURS "it does not say why"},
    {TLS1_AD_ACCESS_DENIED, "the server refuses" OURS "it has no access"},
    {TLS1_AD_PROTOCOL_VERSION, "the server knows neither TLS 1.2 nor 1.3"},
    {TLS1_AD_UNRECOGNIZED_NAME, "the server does not know the name that it was asked for"},
};

/* What OpenSSL itself found. */
static const struct words of_library[] = {
    {SSL_R_UNSUPPORTED_PROTOCOL, "the server knows neither TLS 1.2 nor 1.3"},
    {SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC, "what the server sent was damaged on its way"},
};

#define FIND(table, code) find(table, sizeof(table) / sizeof((table)[0]), code)

static const char *find(const struct words *table, size_t count, int code)
{
    for (size_t i = 0; i < count; i++) {
        if (table[i].code == code)
            return table[i].text;
    }
    return NULL;
}

static void explain_certificate(char *out, size_t size, long verdict, const char *name)
{
    const char *text = FIND(of_verification, (int)verdict);
    if (verdict == X509_V_ERR_HOSTNAME_MISMATCH || verdict == X509_V_ERR_IP_ADDRESS_MISMATCH)
        (void)snprintf(out, size,
                       "the server's certificate is not for %s: connect by a name that is in it, "
                       "or set redis.tls.server_name",
                       name);
    else if (text != NULL)
        (void)snprintf(out, size, "%s", text);
    else
        (void)snprintf(out, size, "the server's certificate is refused: %s",
                       X509_verify_cert_error_string(verdict));
}

static void explain_alert(char *out, size_t size, int alert)
{
    const char *text = FIND(of_alert, alert);
    if (text != NULL)
        (void)snprintf(out, size, "%s", text);
    else
        (void)snprintf(out, size, "TLS alert from the server: %s (%d)",
                       SSL_alert_desc_string_long(alert), alert);
}

/* The first thing of a server that speaks something else is no record of TLS. */
static bool speaks_no_tls(int reason)
{
    return reason == SSL_R_WRONG_VERSION_NUMBER || reason == SSL_R_PACKET_LENGTH_TOO_LONG ||
           reason == SSL_R_HTTP_REQUEST || reason == SSL_R_UNEXPECTED_MESSAGE;
}

void redis_tls_explain(char *out, size_t size, const SSL *ssl, const char *name, bool shaking)
{
    unsigned long error = ERR_peek_last_error();
    int reason = ERR_GET_REASON(error);
    bool of_tls = ERR_GET_LIB(error) == ERR_LIB_SSL;
    const char *text = of_tls ? FIND(of_library, reason) : NULL;
    const char *says = ERR_reason_error_string(error);
    if (of_tls && reason == SSL_R_CERTIFICATE_VERIFY_FAILED)
        explain_certificate(out, size, SSL_get_verify_result(ssl), name);
    else if (of_tls && reason >= SSL_AD_REASON_OFFSET)
        explain_alert(out, size, reason - SSL_AD_REASON_OFFSET);
    else if (text != NULL)
        (void)snprintf(out, size, "%s", text);
    else if (of_tls && shaking && speaks_no_tls(reason))
        (void)snprintf(out, size, "the server speaks no TLS on this port");
    else
        (void)snprintf(out, size, "%s: %s",
                       shaking ? "the TLS handshake failed"
                               : "what the server sent is no valid TLS",
                       says != NULL ? says : "OpenSSL does not say why");
}
