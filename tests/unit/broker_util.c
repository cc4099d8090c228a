#include "broker_util.h"

#include <stdlib.h>
#include <string.h>

#include "tickerd/base/err.h"

static void *need(void *p)
{
    if (p == NULL)
        abort();
    return p;
}

/* ---- names, frames, entries ------------------------------------------------------------------ */

struct name *make_name(const char *text)
{
    return need(name_create(text, strlen(text)));
}

uint32_t fingerprint(const struct name *channel, const char *payload)
{
    return eventid_fingerprint(channel->bytes, channel->len, payload, strlen(payload));
}

struct id_text make_id(uint64_t seq, uint32_t tag, uint32_t fp)
{
    struct id_text out;
    struct eventid id = {.seq = seq, .tag = tag, .fp = fp};
    eventid_format(out.text, &id);
    out.text[EVENTID_LEN] = '\0';
    return out;
}

static struct frame *encode(struct name *channel, uint64_t seq, uint32_t fp, const char *data,
                            size_t len, const char *id)
{
    struct id_text own = make_id(seq, TAG_OWN, fp);
    struct sse_event event = {.data = data, .data_len = len, .id = id == NULL ? own.text : id};
    event.id_len = strlen(event.id);
    struct buf scratch = BUF_INIT;
    struct frame *f = need(frame_create(&event, channel, &scratch, NULL));
    buf_finish(&scratch);
    f->seq = seq;
    f->fp = fp;
    f->publisher_id = id != NULL;
    return f;
}

struct frame *make_frame(struct name *channel, uint64_t seq, const char *payload)
{
    return encode(channel, seq, fingerprint(channel, payload), payload, strlen(payload), NULL);
}

struct frame *make_published(struct name *channel, uint64_t seq, const char *payload,
                             const char *id)
{
    return encode(channel, seq, fingerprint(channel, payload), payload, strlen(payload), id);
}

struct frame *make_sized(struct name *channel, uint64_t seq, uint32_t fp, size_t len)
{
    char *data = need(malloc(len + 1));
    memset(data, 'x', len);
    struct frame *f = encode(channel, seq, fp, data, len, NULL);
    free(data);
    return f;
}

void unref_names(struct name **names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        name_unref(names[i]);
}

struct snapshot *make_snapshot(const struct ring *ring, uint64_t head, bool live)
{
    size_t count = ring == NULL ? 0 : ring->count;
    struct snapshot *s = need(malloc(sizeof *s + count * sizeof s->entries[0]));
    *s = (struct snapshot){.live = live, .head = head, .count = count};
    if (count > 0 && ring_copy(ring, s->entries) != ERR_OK)
        abort();
    return s;
}

struct timeline make_timeline(void)
{
    struct timeline t;
    memset(&t, 0, sizeof t);
    t.count = 1;
    t.epochs[0].tag = TAG_OWN;
    return t;
}

/* ---- the rig --------------------------------------------------------------------------------- */

static bool take(void *ctx, struct note *n)
{
    struct rig *g = ctx;
    if (g->accept == 0)
        return false;
    g->accept--;
    if (g->sent_count == g->sent_room) {
        g->sent_room = g->sent_room == 0 ? 16 : g->sent_room * 2;
        g->sent = need(realloc(g->sent, g->sent_room * sizeof *g->sent));
    }
    g->sent[g->sent_count++] = *n;
    return true;
}

static void note_ready(void *ctx, struct view *v)
{
    struct rig *g = ctx;
    g->ready++;
    g->last_ready = v;
}

static const struct replica_events rig_events = {take, note_ready};

void rig_init(struct rig *g)
{
    memset(g, 0, sizeof *g);
    g->accept = SIZE_MAX;
    if (replica_init(&g->replica, &rig_events, g, 5000000) != ERR_OK)
        abort();
    replica_pump(&g->replica);
    struct timeline t = make_timeline();
    rig_timeline(g, &t);
    rig_reset(g, g->replica.marks, NULL, 0);
    struct note up = {.kind = NOTE_UPSTREAM, .arg = UPSTREAM_UP};
    replica_apply(&g->replica, &up);
    rig_forget(g);
}

void rig_forget(struct rig *g)
{
    for (size_t i = 0; i < g->sent_count; i++)
        note_release(&g->sent[i]);
    g->sent_count = 0;
}

void rig_finish(struct rig *g)
{
    rig_forget(g);
    free(g->sent);
    g->sent = NULL;
    replica_finish(&g->replica);
}

struct view *rig_subscribe(struct rig *g, struct sub *sub, const char *topic, bool pattern)
{
    memset(sub, 0, sizeof *sub);
    list_init(&sub->link);
    if (replica_subscribe(&g->replica, sub, topic, strlen(topic), pattern) != ERR_OK)
        abort();
    if (!sub->view->loaded)
        rig_reset(g, sub->view, NULL, g->replica.head);
    return sub->view;
}

static void apply(struct rig *g, const struct view *v, struct note n)
{
    n.view = v->id;
    n.gen = v->gen;
    replica_apply(&g->replica, &n);
}

void rig_frame(struct rig *g, const struct view *v, struct frame *f)
{
    apply(g, v, (struct note){.kind = NOTE_FRAME, .ref = f});
}

void rig_hole(struct rig *g, const struct view *v, uint64_t seq, struct name *channel,
              enum gap_reason reason)
{
    apply(g, v,
          (struct note){
              .kind = NOTE_HOLE, .seq = seq, .arg = (uint8_t)reason, .ref = name_ref(channel)});
}

void rig_evict(struct rig *g, const struct view *v, uint64_t seq)
{
    apply(g, v, (struct note){.kind = NOTE_EVICT, .seq = seq});
    replica_settle(&g->replica); /* as at the end of a turn */
}

void rig_reset(struct rig *g, const struct view *v, const struct ring *log, uint64_t head)
{
    struct snapshot *s = make_snapshot(log, head, true);
    apply(g, v, (struct note){.kind = NOTE_RESET, .ref = s});
}

void rig_live(struct rig *g, const struct view *v, bool live)
{
    apply(g, v, (struct note){.kind = NOTE_LIVE, .arg = live});
}

void rig_mark(struct rig *g, uint64_t seq, enum gap_reason reason)
{
    apply(g, g->replica.marks,
          (struct note){.kind = NOTE_MARK, .seq = seq, .arg = (uint8_t)reason, .first = seq});
}

void rig_timeline(struct rig *g, const struct timeline *t)
{
    struct note n = {.kind = NOTE_TIMELINE, .ref = need(malloc(sizeof *t))};
    memcpy(n.ref, t, sizeof *t);
    replica_apply(&g->replica, &n);
}
