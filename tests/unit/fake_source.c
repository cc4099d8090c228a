#include "fake_source.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "tickerd/base/err.h"
#include "tickerd/wire/topic.h"

struct fake_sub {
    struct link active; /* in fake_source.active while the server has it */
    bool wanted;
    bool refused;
    size_t len;
    char key[]; /* kind, then the name */
};

enum item_kind { ITEM_ON, ITEM_OFF, ITEM_UP, ITEM_REFUSED, ITEM_MESSAGE };

struct item {
    struct link link;
    enum item_kind kind;
    enum source_sub sub;
    bool by_pattern;
    char *name; /* of the subscription */
    size_t name_len;
    char *channel, *payload;
    size_t channel_len, payload_len;
};

static void *must(void *p)
{
    if (p == NULL)
        abort();
    return p;
}

static char *copy_of(const char *p, size_t len)
{
    char *copy = must(malloc(len + 1));
    if (len > 0)
        memcpy(copy, p, len);
    copy[len] = '\0';
    return copy;
}

static struct item *push_item(struct link *queue, enum item_kind kind, enum source_sub sub,
                              const char *name, size_t len)
{
    struct item *i = must(calloc(1, sizeof *i));
    i->kind = kind;
    i->sub = sub;
    i->name = copy_of(name, len);
    i->name_len = len;
    list_push(queue, &i->link);
    return i;
}

static void free_item(struct item *i)
{
    list_remove(&i->link);
    free(i->name);
    free(i->channel);
    free(i->payload);
    free(i);
}

static void clear(struct link *queue)
{
    list_each(queue, it) {
        free_item(container_of(it, struct item, link));
    }
}

static struct fake_sub *find(const struct fake_source *f, enum source_sub kind, const char *name,
                             size_t len)
{
    char *key = must(malloc(len + 1));
    key[0] = (char)kind;
    memcpy(key + 1, name, len);
    struct fake_sub *s = strmap_get(&f->subs, key, len + 1);
    free(key);
    return s;
}

static struct fake_sub *get(struct fake_source *f, enum source_sub kind, const char *name,
                            size_t len)
{
    struct fake_sub *s = find(f, kind, name, len);
    if (s != NULL)
        return s;
    s = must(calloc(1, sizeof *s + len + 1));
    list_init(&s->active);
    s->len = len;
    s->key[0] = (char)kind;
    memcpy(s->key + 1, name, len);
    if (strmap_put(&f->subs, s->key, len + 1, s) != ERR_OK)
        abort();
    return s;
}

static void send_command(struct fake_source *f, bool on, enum source_sub kind, const char *name,
                         size_t len)
{
    if (!f->connected)
        return;
    (void)push_item(&f->commands, on ? ITEM_ON : ITEM_OFF, kind, name, len);
    if (on)
        f->sent++;
    else
        f->unsent++;
}

/* ---- the interface --------------------------------------------------------------------------- */

static int op_subscribe(struct source *s, enum source_sub kind, const char *name, size_t len)
{
    struct fake_source *f = container_of(s, struct fake_source, source);
    assert(!f->closed);
    if (f->failing > 0) {
        f->failing--;
        return ERR_NOMEM;
    }
    struct fake_sub *sub = get(f, kind, name, len);
    if (!sub->wanted)
        send_command(f, true, kind, name, len);
    sub->wanted = true;
    sub->refused = false;
    return ERR_OK;
}

static void op_unsubscribe(struct source *s, enum source_sub kind, const char *name, size_t len)
{
    struct fake_source *f = container_of(s, struct fake_source, source);
    assert(!f->closed);
    struct fake_sub *sub = find(f, kind, name, len);
    if (sub == NULL || !sub->wanted)
        return;
    sub->wanted = false;
    send_command(f, false, kind, name, len);
}

static int op_start(struct source *s)
{
    (void)s;
    return ERR_OK;
}

static void op_close(struct source *s)
{
    container_of(s, struct fake_source, source)->closed = true;
}

static void op_publish(struct source *s, const char *channel, size_t channel_len,
                       const char *payload, size_t payload_len, source_published *done, void *ctx)
{
    struct fake_source *f = container_of(s, struct fake_source, source);
    done(ctx, (long long)fake_source_publish(f, channel, channel_len, payload, payload_len), NULL);
}

static const struct source_ops fake_ops = {.subscribe = op_subscribe,
                                           .unsubscribe = op_unsubscribe,
                                           .publish = op_publish,
                                           .start = op_start,
                                           .close = op_close};

void fake_source_init(struct fake_source *f, const struct source_events *events, void *ctx)
{
    *f = (struct fake_source){.source = {.ops = &fake_ops}, .events = events, .ctx = ctx};
    strmap_init(&f->subs);
    list_init(&f->active);
    list_init(&f->commands);
    list_init(&f->output);
}

void fake_source_finish(struct fake_source *f)
{
    clear(&f->commands);
    clear(&f->output);
    size_t pos = 0;
    struct fake_sub *s;
    while ((s = strmap_next(&f->subs, &pos)) != NULL)
        free(s);
    strmap_finish(&f->subs);
}

/* ---- the server ------------------------------------------------------------------------------ */

void fake_source_connect(struct fake_source *f)
{
    assert(!f->connected);
    f->connected = true;
    size_t pos = 0;
    struct fake_sub *s;
    while ((s = strmap_next(&f->subs, &pos)) != NULL) {
        if (s->wanted)
            send_command(f, true, (enum source_sub)s->key[0], s->key + 1, s->len);
    }
    (void)push_item(&f->commands, ITEM_UP, SOURCE_CHANNEL, "", 0);
}

void fake_source_lose(struct fake_source *f, unsigned long long last_heard_us)
{
    bool tell = f->up || !f->ever_up || f->acked;
    f->connected = f->up = f->acked = false;
    f->ever_up = true;
    clear(&f->commands);
    clear(&f->output);
    list_each(&f->active, it) {
        list_remove(it);
    }
    if (tell && f->events != NULL)
        f->events->on_down(f->ctx, "the test says so", last_heard_us);
}

static void serve(struct fake_source *f, const struct item *i)
{
    if (i->kind == ITEM_UP) {
        (void)push_item(&f->output, ITEM_UP, i->sub, "", 0);
        return;
    }
    struct fake_sub *s = get(f, i->sub, i->name, i->name_len);
    if (i->kind == ITEM_ON && f->refused != NULL &&
        glob_match(f->refused, strlen(f->refused), i->name, i->name_len)) {
        s->refused = true;
        (void)push_item(&f->output, ITEM_REFUSED, i->sub, i->name, i->name_len);
        return;
    }
    if (i->kind == ITEM_OFF)
        list_remove(&s->active);
    else if (list_empty(&s->active))
        list_push(&f->active, &s->active);
    (void)push_item(&f->output, i->kind, i->sub, i->name, i->name_len);
}

size_t fake_source_serve(struct fake_source *f, size_t n)
{
    size_t done = 0;
    struct link *it;
    for (; done < n && (it = list_first(&f->commands)) != NULL; done++) {
        struct item *i = container_of(it, struct item, link);
        serve(f, i);
        free_item(i);
    }
    return done;
}

static void push_message(struct fake_source *f, const struct fake_sub *s, const char *channel,
                         size_t channel_len, const char *payload, size_t payload_len)
{
    struct item *i =
        push_item(&f->output, ITEM_MESSAGE, (enum source_sub)s->key[0], s->key + 1, s->len);
    i->channel = copy_of(channel, channel_len);
    i->channel_len = channel_len;
    i->payload = copy_of(payload, payload_len);
    i->payload_len = payload_len;
}

size_t fake_source_publish(struct fake_source *f, const char *channel, size_t channel_len,
                           const char *payload, size_t payload_len)
{
    size_t copies = 0;
    if (!f->connected)
        return 0;
    const struct fake_sub *exact = find(f, SOURCE_CHANNEL, channel, channel_len);
    if (exact != NULL && !list_empty(&exact->active)) {
        push_message(f, exact, channel, channel_len, payload, payload_len);
        copies++;
    }
    list_each(&f->active, it) {
        const struct fake_sub *s = container_of(it, struct fake_sub, active);
        if (s->key[0] == (char)SOURCE_PATTERN &&
            glob_match(s->key + 1, s->len, channel, channel_len)) {
            push_message(f, s, channel, channel_len, payload, payload_len);
            copies++;
        }
    }
    return copies;
}

static void deliver(struct fake_source *f, const struct item *i)
{
    const struct source_events *e = f->events;
    bool pattern = i->sub == SOURCE_PATTERN;
    switch (i->kind) {
    case ITEM_ON:
    case ITEM_OFF:
        f->acked = true;
        e->on_acked(f->ctx, i->sub, i->name, i->name_len, i->kind == ITEM_ON);
        break;
    case ITEM_REFUSED:
        e->on_refused(f->ctx, i->sub, i->name, i->name_len, "NOPERM says the test");
        break;
    case ITEM_UP:
        f->up = f->ever_up = true;
        e->on_up(f->ctx);
        break;
    case ITEM_MESSAGE:
        f->calls_to_event++;
        e->on_message(f->ctx, pattern ? i->name : NULL, pattern ? i->name_len : 0, i->channel,
                      i->channel_len, i->payload, i->payload_len);
        break;
    }
}

size_t fake_source_deliver(struct fake_source *f, size_t n)
{
    size_t done = 0;
    struct link *it;
    for (; done < n && (it = list_first(&f->output)) != NULL; done++) {
        struct item *i = container_of(it, struct item, link);
        list_remove(&i->link);
        if (f->events != NULL)
            deliver(f, i);
        free_item(i);
    }
    if (done > 0 && f->events != NULL && f->events->on_batch_end != NULL)
        f->events->on_batch_end(f->ctx);
    return done;
}

void fake_source_settle(struct fake_source *f)
{
    while (fake_source_serve(f, SIZE_MAX) + fake_source_deliver(f, SIZE_MAX) > 0) {
    }
}

void fake_source_retry(struct fake_source *f)
{
    size_t pos = 0;
    struct fake_sub *s;
    while ((s = strmap_next(&f->subs, &pos)) != NULL) {
        if (s->wanted && s->refused)
            send_command(f, true, (enum source_sub)s->key[0], s->key + 1, s->len);
        s->refused = false;
    }
}

bool fake_source_wants(const struct fake_source *f, enum source_sub kind, const char *name)
{
    const struct fake_sub *s = find(f, kind, name, strlen(name));
    return s != NULL && s->wanted;
}

bool fake_source_serves(const struct fake_source *f, enum source_sub kind, const char *name)
{
    const struct fake_sub *s = find(f, kind, name, strlen(name));
    return s != NULL && !list_empty(&s->active);
}

size_t fake_source_wanted_count(const struct fake_source *f)
{
    size_t pos = 0, n = 0;
    const struct fake_sub *s;
    while ((s = strmap_next(&f->subs, &pos)) != NULL)
        n += s->wanted;
    return n;
}
