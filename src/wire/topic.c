#include "tickerd/wire/topic.h"

#include "tickerd/wire/utf8.h"

bool topic_valid(const char *name, size_t len)
{
    if (len == 0 || len > TOPIC_MAX)
        return false;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)name[i];
        if (c < 0x20 || c == 0x7f)
            return false;
    }
    return utf8_valid(name, len);
}
