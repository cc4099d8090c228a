#include "tickerd/base/err.h"

const char *err_name(int code)
{
    switch (code) {
    case ERR_OK:
        return "OK";
#define ERR_CASE(name, text)                                                                       \
    case ERR_##name:                                                                               \
        return #name;
        ERR_MAP(ERR_CASE)
#undef ERR_CASE
    default:
        return "?";
    }
}

const char *err_text(int code)
{
    switch (code) {
    case ERR_OK:
        return "no error";
#define ERR_CASE(name, text)                                                                       \
    case ERR_##name:                                                                               \
        return text;
        ERR_MAP(ERR_CASE)
#undef ERR_CASE
    default:
        return "unknown error";
    }
}
