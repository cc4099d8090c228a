#include "tickerd/broker/refusal.h"

const char *refusal_text(enum refusal why)
{
    static const char *const texts[REFUSAL_COUNT] = {
#define REFUSAL_TEXT(name, text) text,
        REFUSALS(REFUSAL_TEXT)
#undef REFUSAL_TEXT
    };
    return texts[why];
}

enum refusal refusal_of(int status)
{
    switch (status) {
    case 401:
        return REFUSAL_UNAUTHORISED;
    case 403:
        return REFUSAL_FORBIDDEN;
    case 429:
        return REFUSAL_TOO_MANY;
    default:
        return status >= 500 ? REFUSAL_UNAVAILABLE : REFUSAL_BAD_REQUEST;
    }
}
