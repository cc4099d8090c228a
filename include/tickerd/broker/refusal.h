/* Why requests are refused: one list for the enum, the counters and the name in the metrics. */
#ifndef TICKERD_BROKER_REFUSAL_H
#define TICKERD_BROKER_REFUSAL_H

#define REFUSALS(X)                                                                                \
    X(BAD_REQUEST, "bad_request")   /* cannot be read, or asks for what there is not */            \
    X(UNAUTHORISED, "unauthorised") /* 401: no good token */                                       \
    X(FORBIDDEN, "forbidden")       /* 403 */                                                      \
    X(TOO_MANY, "too_many")         /* 429: this client has as many streams as it may have */      \
    X(UNAVAILABLE, "unavailable")   /* 503: overloaded, or going down */                           \
    X(NO_ROOM, "no_room")           /* a connection that was closed without an answer */

enum refusal {
#define REFUSAL_ENUM(name, text) REFUSAL_##name,
    REFUSALS(REFUSAL_ENUM)
#undef REFUSAL_ENUM
        REFUSAL_COUNT
};

/* The name for people. Static. */
const char *refusal_text(enum refusal why);

/* What an answer with this status of HTTP is. */
enum refusal refusal_of(int status);

#endif
