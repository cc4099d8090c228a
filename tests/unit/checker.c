#include "checker.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void blame(struct checker *k, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void blame(struct checker *k, const char *fmt, ...)
{
    if (k->error[0] != '\0')
        return;
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(k->error, sizeof k->error, fmt, args);
    va_end(args);
}

void checker_finish(struct checker *k)
{
    free(k->messages);
    free(k->outages);
}

static void *grow(void *p, size_t bytes)
{
    p = realloc(p, bytes);
    if (p == NULL)
        abort();
    return p;
}

static void outage_begins(struct checker *k, uint64_t now)
{
    k->outages = grow(k->outages, (k->outage_count + 1) * sizeof *k->outages);
    k->outages[k->outage_count++] = (struct checker_outage){2 * now, UINT64_MAX};
}

void checker_init(struct checker *k, const char *const *channels)
{
    *k = (struct checker){.channels = channels};
    outage_begins(k, 0); /* nobody listens yet */
}

/* What nobody sends us is lost the moment everything before it has arrived. */
static void settle_lost(struct checker *k, uint64_t now)
{
    for (; k->next < k->count && k->messages[k->next].copies == 0; k->next++) {
        if (k->messages[k->next].key == 0)
            k->messages[k->next].key = 2 * now + 1;
    }
}

size_t checker_published(struct checker *k, uint32_t channel, size_t copies, bool oversize,
                         const char *data, uint64_t now)
{
    if (k->count == k->room) {
        k->room = k->room == 0 ? 256 : 2 * k->room;
        k->messages = grow(k->messages, k->room * sizeof *k->messages);
    }
    struct checker_message *m = &k->messages[k->count];
    *m = (struct checker_message){
        .channel = channel, .copies = (uint32_t)copies, .oversize = oversize};
    (void)snprintf(m->data, sizeof m->data, "%s", data);
    k->count++;
    settle_lost(k, now);
    return k->count - 1;
}

void checker_stamped(struct checker *k, uint64_t before, uint64_t after)
{
    if (k->next == k->count) {
        blame(k, "a message arrived that was not published");
        return;
    }
    struct checker_message *m = &k->messages[k->next];
    m->copies--;
    if (after > before && m->key != 0)
        blame(k, "message %zu was counted twice", k->next);
    if (after > before)
        m->key = 2 * after;
    settle_lost(k, after);
}

void checker_lost(struct checker *k, uint64_t now)
{
    for (size_t i = k->next; i < k->count; i++)
        k->messages[i].copies = 0;
    settle_lost(k, now);
    outage_begins(k, now);
}

void checker_up(struct checker *k, uint64_t now)
{
    for (size_t i = 0; i < k->outage_count; i++) {
        if (k->outages[i].to == UINT64_MAX)
            k->outages[i].to = 2 * now;
    }
}

void checker_connect(struct checker_client *c)
{
    c->seen = 0;
    c->resuming = c->connected_once;
    c->may_be_unknown = false;
}

/* ---- reading events -------------------------------------------------------------------------- */

/* The position an id of this instance stands for, as a key; 0: it is none. */
static uint64_t key_of(const struct timeline *line, const char *id, size_t len)
{
    struct eventid e;
    uint64_t seq;
    if (!eventid_parse(id, len, &e) || !timeline_resolve(line, &e, &seq))
        return 0;
    return 2 * seq;
}

static uint64_t key_member(const struct timeline *line, const char *data, const char *member)
{
    const char *at = strstr(data, member);
    return at == NULL ? 0 : key_of(line, at + strlen(member), EVENTID_LEN);
}

static void read_open(struct checker *k, struct checker_client *c, const struct sse_message *m,
                      const struct timeline *line, uint64_t now)
{
    bool is_new = strstr(m->data.p, "\"new\"") != NULL;
    uint64_t key = key_of(line, m->last_event_id.p, m->last_event_id.len);
    if (c->resuming) {
        if (is_new)
            blame(k, "a resume was answered as new");
        if (strcmp(m->last_event_id.p, c->last_id) != 0)
            blame(k, "id %s was not repeated but became %s", c->last_id, m->last_event_id.p);
        c->may_be_unknown = c->publisher_id && strstr(m->data.p, "\"gap\"") != NULL;
        return;
    }
    c->connected_once = true;
    c->position = key;
    if (!is_new || c->position == 0 || c->position > 2 * now)
        blame(k, "a first connect begins with %s at %s", m->data.p, m->last_event_id.p);
    for (size_t i = 0; i < CHECKER_CHANNELS; i++) {
        c->settled[i] = c->position;
        c->owed[i] = 0;
        c->fresh[i] = c->history ? 2 * now : 0;
    }
}

static bool concerns(const struct checker *k, const char *data, size_t channel)
{
    if (strstr(data, "\"channel\":null") != NULL)
        return true;
    char text[64];
    (void)snprintf(text, sizeof text, "\"channel\":\"%s\",", k->channels[channel]);
    return strstr(data, text) != NULL;
}

/* Whether anything of the client's in (from, to] is a reason for such a gap. */
static bool lost_in(const struct checker *k, const struct checker_client *c, const char *data,
                    uint64_t to, bool oversize)
{
    for (size_t i = 0; i < k->count; i++) {
        const struct checker_message *m = &k->messages[i];
        if (m->key > c->position && m->key <= to && c->matches[m->channel] &&
            concerns(k, data, m->channel) && (m->oversize || !oversize))
            return true;
    }
    return false;
}

static bool justified(const struct checker *k, const struct checker_client *c, const char *data,
                      uint64_t to)
{
    if (strstr(data, "\"evicted\"") != NULL || strstr(data, "\"slow\"") != NULL)
        return k->watermark || lost_in(k, c, data, to, false);
    if (strstr(data, "\"oversize\"") != NULL)
        return lost_in(k, c, data, to, true);
    if (strstr(data, "\"unknown-id\"") != NULL)
        return c->may_be_unknown;
    if (strstr(data, "\"unsubscribed\"") != NULL)
        return k->on_demand;
    if (strstr(data, "\"upstream\"") == NULL && strstr(data, "\"restart\"") == NULL)
        return false;
    for (size_t i = 0; i < k->outage_count; i++) {
        if (k->outages[i].to > c->position && k->outages[i].from < to)
            return true;
    }
    return k->on_demand;
}

static void read_gap(struct checker *k, struct checker_client *c, const struct sse_message *m,
                     const struct timeline *line, uint64_t now)
{
    uint64_t to = key_member(line, m->data.p, "\"to\":\"");
    uint64_t id = key_of(line, m->last_event_id.p, m->last_event_id.len);
    bool unknown = strstr(m->data.p, "\"unknown-id\"") != NULL;
    /* A loss that reaches over events of other channels is told before those. */
    bool ahead = id < to && id >= c->position && !unknown;
    if (to == 0 || to > 2 * now || (id != to && !ahead))
        blame(k, "a gap leads nowhere: %s with id %s", m->data.p, m->last_event_id.p);
    if (!justified(k, c, m->data.p, to))
        blame(k, "a gap where nothing was lost, from key %llu: %s", (unsigned long long)c->position,
              m->data.p);
    if (!unknown && to <= c->position)
        blame(k, "a gap leads back: %s", m->data.p);
    c->may_be_unknown = false;
    c->position = id;
    for (size_t i = 0; i < CHECKER_CHANNELS; i++) {
        if (!c->matches[i] || !concerns(k, m->data.p, i))
            continue;
        if (unknown || c->settled[i] < to)
            c->settled[i] = to; /* what `history` hides may still follow */
        if (c->owed[i] <= to)
            c->owed[i] = 0;
    }
    k->gaps++;
}

/* The data as a plain stream has it, out of the json form where it is that. */
static void plain_data(char out[CHECKER_TEXT], const char *data)
{
    const char *at = data[0] == '{' ? strstr(data, "\"data\":\"") : NULL;
    at = at == NULL ? data : at + 8;
    size_t n = at == data ? strlen(at) : strcspn(at, "\"");
    if (n >= CHECKER_TEXT)
        n = CHECKER_TEXT - 1;
    memcpy(out, at, n);
    out[n] = '\0';
}

static const struct checker_message *identify(const struct checker *k, uint64_t key,
                                              const char *data)
{
    for (size_t i = k->count; i > 0; i--) {
        const struct checker_message *m = &k->messages[i - 1];
        if (m->key != 0 && (key != 0 ? m->key == key : strcmp(m->data, data) == 0))
            return m;
    }
    return NULL;
}

static const struct checker_message *missing_between(const struct checker *k, uint32_t channel,
                                                     uint64_t from, uint64_t to, uint64_t *owed)
{
    for (size_t i = 0; i < k->count; i++) {
        const struct checker_message *m = &k->messages[i];
        if (m->channel != channel || m->key <= from || m->key >= to)
            continue;
        if (owed == NULL || m->key % 2 == 0)
            return m;
        *owed = m->key;
    }
    return NULL;
}

/* The client may go to another instance with this event's id: so by now it must have seen, or been
 * told of, whatever is older on its other channels too. */
static void check_others(struct checker *k, struct checker_client *c,
                         const struct checker_message *m)
{
    for (uint32_t i = 0; i < CHECKER_CHANNELS; i++) {
        uint64_t from = c->settled[i] > c->fresh[i] ? c->settled[i] : c->fresh[i];
        if (!c->matches[i] || i == m->channel || from >= m->key)
            continue;
        const struct checker_message *lost =
            missing_between(k, i, from, m->key, k->on_demand ? &c->owed[i] : NULL);
        if (lost != NULL)
            blame(k, "%s (key %llu) is missing when %s (key %llu) comes, settled up to %llu",
                  lost->data, (unsigned long long)lost->key, m->data, (unsigned long long)m->key,
                  (unsigned long long)from);
    }
}

static void read_message(struct checker *k, struct checker_client *c, const struct sse_message *e,
                         const struct timeline *line)
{
    char data[CHECKER_TEXT];
    plain_data(data, e->data.p);
    uint64_t key = key_of(line, e->last_event_id.p, e->last_event_id.len);
    const struct checker_message *m = identify(k, key, data);
    if (m == NULL || strcmp(m->data, data) != 0 || m->oversize || !c->matches[m->channel]) {
        blame(k, "an event that is none: %s with id %s", e->data.p, e->last_event_id.p);
        return;
    }
    c->publisher_id = key == 0;
    c->may_be_unknown = false;
    if (m->key <= c->position)
        blame(k, "%s came twice or late (key %llu after %llu)", m->data, (unsigned long long)m->key,
              (unsigned long long)c->position);
    uint64_t from = c->settled[m->channel];
    if (c->fresh[m->channel] > from)
        from = c->fresh[m->channel];
    const struct checker_message *lost =
        missing_between(k, m->channel, from, m->key, k->on_demand ? &c->owed[m->channel] : NULL);
    if (lost != NULL)
        blame(k, "%s (key %llu) is missing before %s (key %llu), settled up to %llu", lost->data,
              (unsigned long long)lost->key, m->data, (unsigned long long)m->key,
              (unsigned long long)from);
    c->position = m->key;
    if (c->settled[m->channel] < m->key)
        c->settled[m->channel] = m->key;
    c->fresh[m->channel] = 0;
    check_others(k, c, m);
    k->events++;
}

void checker_read(struct checker *k, struct checker_client *c, const struct sse_decoder *d,
                  const struct timeline *line, uint64_t now)
{
    for (; c->seen < d->count; c->seen++) {
        const struct sse_message *m = &d->messages[c->seen];
        bool open = strcmp(m->type.p, "tickerd:open") == 0;
        bool gap = strcmp(m->type.p, "tickerd:gap") == 0;
        if (open != (c->seen == 0))
            blame(k, "tickerd:open is event %zu", c->seen);
        if (open)
            read_open(k, c, m, line, now);
        else if (gap)
            read_gap(k, c, m, line, now);
        else
            read_message(k, c, m, line);
        if (gap)
            c->publisher_id = false;
        (void)snprintf(c->last_id, sizeof c->last_id, "%s", m->last_event_id.p);
        c->resuming = false;
    }
    if (d->bad_utf8 > 0)
        blame(k, "invalid UTF-8 in a stream");
}

void checker_end(struct checker *k, const struct checker_client *c)
{
    if (!c->connected_once)
        blame(k, "a client never got its open event");
    for (uint32_t i = 0; i < CHECKER_CHANNELS; i++) {
        uint64_t from = c->settled[i] > c->fresh[i] ? c->settled[i] : c->fresh[i];
        const struct checker_message *lost =
            c->matches[i] ? missing_between(k, i, from, UINT64_MAX, NULL) : NULL;
        if (lost != NULL)
            blame(k, "%s (key %llu) is missing at the end, settled up to %llu", lost->data,
                  (unsigned long long)lost->key, (unsigned long long)from);
        if (c->owed[i] != 0)
            blame(k, "what was lost on %s (key %llu) was never announced", k->channels[i],
                  (unsigned long long)c->owed[i]);
    }
}
