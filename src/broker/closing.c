#include "tickerd/broker/closing.h"

const char *closing_text(enum closing why)
{
    static const char *const texts[CLOSING_COUNT] = {[CLOSING_NONE] = "",
#define CLOSING_TEXT(name, text, help) [CLOSING_##name] = (text),
                                                     CLOSINGS(CLOSING_TEXT)
#undef CLOSING_TEXT
    };
    return texts[why];
}
