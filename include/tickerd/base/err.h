/* Error codes of every layer. A function that can fail returns `int`: 0 or a negative code of
 * this list. One X-map makes the enum, the names and the texts, so they cannot drift apart. */
#ifndef TICKERD_BASE_ERR_H
#define TICKERD_BASE_ERR_H

#define ERR_MAP(X)                                                                                 \
    X(NOMEM, "out of memory")                                                                      \
    X(INVALID, "malformed input")                                                                  \
    X(RANGE, "value out of range")                                                                 \
    X(TOO_LONG, "input too long")                                                                  \
    X(UNKNOWN, "unknown name")                                                                     \
    X(EXISTS, "already there")                                                                     \
    X(AGAIN, "not possible now, try again")                                                        \
    X(CLOSED, "closed by the peer")                                                                \
    X(TIMEOUT, "took too long")                                                                    \
    X(DENIED, "permission denied")                                                                 \
    X(SYSTEM, "system call failed")

enum err_index {
#define ERR_INDEX(name, text) ERR_INDEX_##name,
    ERR_MAP(ERR_INDEX)
#undef ERR_INDEX
};

enum err {
    ERR_OK = 0,
#define ERR_ENUM(name, text) ERR_##name = -1 - (int)ERR_INDEX_##name,
    ERR_MAP(ERR_ENUM)
#undef ERR_ENUM
};

/* The code's identifier, e.g. "NOMEM"; "OK" for 0, "?" for a number that is no code. Static. */
const char *err_name(int code);

/* The code's sentence, e.g. "out of memory". Static, never NULL. */
const char *err_text(int code);

#endif
