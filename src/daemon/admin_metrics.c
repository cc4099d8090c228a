#include "tickerd/daemon/admin_metrics.h"

#include "tickerd/daemon/exposition.h"

void admin_metrics(struct exchange *x, struct http_slice query)
{
    const struct admin *a = x->p->admin;
    struct figures figures;
    struct buf text = BUF_INIT;
    (void)query;
    figures_take(&figures, a->hub, a->workers, a->worker_count, a->capacity);
    exposition_print(&text, &figures);
    if (text.failed)
        answer_error(x, 503, "overloaded", "Out of memory; come back later.", "");
    else
        answer_body(x, 200, EXPOSITION_TYPE, "", text.data, text.len);
    buf_finish(&text);
}
