/* Why streams end: one list for the enum, the counters and the name that the access log, the
 * status and the metrics show. */
#ifndef TICKERD_BROKER_CLOSING_H
#define TICKERD_BROKER_CLOSING_H

#define CLOSINGS(X)                                                                                \
    X(CLIENT, "client", "the client closed the connection")                                        \
    X(TIMEOUT, "timeout", "the client took nothing for limits.write_timeout")                      \
    X(SLOW, "slow", "the client was too slow for a channel that disconnects")                      \
    X(EXPIRED, "expired", "its token ran out")                                                     \
    X(REVOKED, "revoked", "its right was taken away, by a command or a reload")                    \
    X(MAX_AGE, "max_age", "it was as old as stream.max_age allows")                                \
    X(DRAIN, "drain", "the server was told to stop, and sent it away")                             \
    X(SHUTDOWN, "shutdown", "the server stopped at once, or before its turn in the drain")         \
    X(REFUSED, "refused", "there was no room for its pattern")                                     \
    X(MEMORY, "memory", "memory ran out")                                                          \
    X(ERROR, "error", "the connection failed, but not by the client's doing")

enum closing {
    CLOSING_NONE, /* it has not ended */
#define CLOSING_ENUM(name, text, help) CLOSING_##name,
    CLOSINGS(CLOSING_ENUM)
#undef CLOSING_ENUM
        CLOSING_COUNT
};

/* The name for people, "" for CLOSING_NONE. Static. */
const char *closing_text(enum closing why);

#endif
