/* The end of rights: who is cut, and how a hundred thousand of them are sent away without keeping
 * the others waiting. */
#include <string.h>

#include "tickerd/base/clock.h"
#include "tickerd/broker/fanout.h"
#include "tickerd/broker/session.h"
#include "tickerd/wire/topic.h"

/* Each costs a write and a close: so many are a few milliseconds. */
enum { AWAY_BATCH = 256 };

bool fanout_away(struct fanout *f, uint64_t now_us)
{
    struct link *it;
    for (int n = 0; n < AWAY_BATCH && (it = list_first(&f->condemned)) != NULL; n++)
        session_send_away(container_of(it, struct session, timer), now_us);
    return !list_empty(&f->condemned);
}

void fanout_expire(struct fanout *f, uint64_t now_us)
{
    struct right *right;
    while ((right = rights_over(&f->rights, (int64_t)now_us + f->wall_ahead)) != NULL) {
        if (!session_condemn(right->session, CLOSING_EXPIRED))
            right_settle(right); /* it is on its way out */
    }
}

/* ---- by a command ---------------------------------------------------------------------------- */

/* Whether this subscription brings its session the channel. */
static bool brings(const struct sub *sub, struct name *channel)
{
    const struct view *v = sub->view;
    const struct right *right = sub->session->right;
    if (!v->pattern)
        return name_equal(v->topic, channel);
    if (topic_reserved(channel->bytes, channel->len) ||
        !glob_match(v->topic->bytes, v->topic->len, channel->bytes, channel->len))
        return false;
    return right == NULL || !right->restricted || right_hears(right, channel);
}

static size_t revoke(struct session *s)
{
    return session_condemn(s, CLOSING_REVOKED) ? 1 : 0;
}

/* All of a view's, or of those that match. */
static size_t revoke_view(const struct view *v, struct name *channel)
{
    size_t cut = 0;
    list_each(&v->subs, it) {
        const struct sub *sub = container_of(it, struct sub, link);
        if (brings(sub, channel))
            cut += revoke(sub->session);
    }
    return cut;
}

static size_t revoke_channel(struct fanout *f, struct name *channel)
{
    size_t cut = 0, pos = 0;
    const struct view *v = strmap_get(&f->replica.channels, channel->bytes, channel->len);
    if (v != NULL)
        cut += revoke_view(v, channel);
    while ((v = strmap_next(&f->replica.patterns, &pos)) != NULL) {
        if (glob_match(v->topic->bytes, v->topic->len, channel->bytes, channel->len))
            cut += revoke_view(v, channel);
    }
    return cut;
}

static bool is_brought(const struct session *s, struct name *channel)
{
    bool any = channel == NULL;
    for (uint16_t i = 0; i < s->sub_count && !any; i++)
        any = brings(&s->subs[i], channel);
    return any;
}

/* Of the subject's, those that are sent the channel (NULL: any). */
static size_t revoke_subject(struct fanout *f, const char *sub, size_t len, struct name *channel)
{
    size_t cut = 0;
    struct link *rights = rights_of(&f->rights, sub, len);
    if (rights == NULL)
        return 0;
    list_each(rights, it) {
        struct session *s = container_of(it, struct right, peers)->session;
        if (is_brought(s, channel))
            cut += revoke(s);
    }
    return cut;
}

size_t fanout_disconnect(struct fanout *f, const char *sub, size_t sub_len, const char *channel,
                         size_t channel_len, uint64_t now_us)
{
    size_t cut = 0;
    struct name *name = channel == NULL ? NULL : name_create(channel, channel_len);
    if (channel != NULL && name == NULL) {
        metrics_add(f->metrics, METRIC_OUT_OF_MEMORY, 1);
        return 0;
    }
    if (sub != NULL)
        cut = revoke_subject(f, sub, sub_len, name);
    else if (name != NULL)
        cut = revoke_channel(f, name);
    name_unref(name);
    (void)fanout_away(f, now_us);
    return cut;
}

size_t fanout_disconnect_all(struct fanout *f, uint64_t now_us)
{
    size_t cut = 0;
    list_each(&f->all, it) {
        cut += revoke(container_of(it, struct session, all));
    }
    (void)fanout_away(f, now_us);
    return cut;
}

/* ---- by a new configuration ------------------------------------------------------------------ */

struct judgement {
    const struct config *config;
    bool (*key_known)(void *ctx, const uint8_t key[TOKEN_ID_LEN]);
    void *ctx;
    bool anew;
};

static bool keeps_token(const struct judgement *j, const struct grant *g)
{
    if (!grant_has_token(g))
        return true;
    return !j->anew && (j->key_known == NULL || j->key_known(j->ctx, grant_key(g)));
}

/* As a request for the same would be judged now. */
static bool keeps_right(const struct judgement *j, const struct session *s)
{
    const struct grant *g = s->right == NULL ? NULL : s->right->grant;
    bool keeps = keeps_token(j, g);
    for (uint16_t i = 0; i < s->sub_count && keeps; i++) {
        const struct view *v = s->subs[i].view;
        const struct target_topic topic = {v->topic->bytes, v->topic->len, v->pattern};
        keeps = auth_judge(j->config, g, &topic) == AUTH_ALLOWED;
    }
    return keeps;
}

size_t fanout_reload(struct fanout *f, const struct config *config,
                     bool (*key_known)(void *ctx, const uint8_t key[TOKEN_ID_LEN]), void *ctx,
                     bool judge_anew, uint64_t now_us)
{
    const struct judgement j = {config, key_known, ctx, judge_anew};
    size_t cut = 0;
    fanout_configure(f, config);
    list_each(&f->all, it) {
        struct session *s = container_of(it, struct session, all);
        if (!keeps_right(&j, s) || !session_restrict(s))
            cut += revoke(s);
    }
    (void)fanout_away(f, now_us);
    return cut;
}
