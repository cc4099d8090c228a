#include "tickerd/wire/httpreq.h"

/* Cut `*rest` at the first `stop` outside a quoted string. */
static struct http_slice cut(struct http_slice *rest, char stop)
{
    bool quoted = false;
    size_t i = 0;
    for (; i < rest->len && (quoted || rest->p[i] != stop); i++) {
        if (rest->p[i] == '"')
            quoted = !quoted;
        else if (quoted && rest->p[i] == '\\' && i + 1 < rest->len)
            i++;
    }
    struct http_slice head = {rest->p, i};
    size_t gone = i < rest->len ? i + 1 : i;
    rest->p += gone;
    rest->len -= gone;
    return http_trim(head);
}

/* Whether a quality is 0, 0., 0.0, 0.00 or 0.000. */
static bool quality_zero(struct http_slice q)
{
    if (q.len == 0 || q.p[0] != '0' || (q.len > 1 && q.p[1] != '.'))
        return false;
    for (size_t i = 2; i < q.len; i++) {
        if (q.p[i] != '0')
            return false;
    }
    return true;
}

bool httpreq_accepts_stream(const struct httpreq *r)
{
    struct http_slice accept = httpreq_header(r, HTTPREQ_ACCEPT);
    while (accept.len > 0) {
        struct http_slice range = cut(&accept, ',');
        bool named = http_slice_is(cut(&range, ';'), "text/event-stream");
        while (named && range.len > 0) {
            struct http_slice value = cut(&range, ';');
            if (http_slice_is(cut(&value, '='), "q"))
                named = !quality_zero(http_trim(value));
        }
        if (named)
            return true;
    }
    return false;
}
