#include "judge.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void blame(struct judge *j, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void blame(struct judge *j, const char *fmt, ...)
{
    if (j->error[0] != '\0' || (j->lenient && !j->lost))
        return;
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(j->error, sizeof j->error, fmt, args);
    va_end(args);
}

static void tell(const struct judge_client *c, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

static void tell(const struct judge_client *c, const char *fmt, ...)
{
    if (c->story == NULL)
        return;
    char text[400];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    buf_str(c->story, text);
}

/* ---- what becomes of messages ---------------------------------------------------------------- */

size_t judge_begins(struct judge *j, uint32_t instance, uint64_t time, uint64_t now)
{
    if (j->run_count == JUDGE_RUNS)
        abort();
    struct judge_run *r = &j->runs[j->run_count];
    *r = (struct judge_run){.instance = instance, .from = time, .next = j->count};
    for (size_t i = 0; i < j->count; i++) /* lost where its clock would have stood */
        r->keys[i] = 2 * (now - (time - j->messages[i].time)) - 1;
    return j->run_count++;
}

/* What nobody sends is lost the moment everything before it has arrived. */
static void settle_lost(const struct judge *j, struct judge_run *r, uint64_t now)
{
    for (; r->next < j->count && r->copies[r->next] == 0; r->next++) {
        if (r->keys[r->next] == 0)
            r->keys[r->next] = 2 * now + 1;
    }
}

void judge_published(struct judge *j, uint32_t channel, bool oversize, const char *data,
                     uint64_t time)
{
    if (j->count == JUDGE_MESSAGES)
        abort();
    struct judge_message *m = &j->messages[j->count++];
    *m = (struct judge_message){.channel = channel, .oversize = oversize, .time = time};
    (void)snprintf(m->data, sizeof m->data, "%s", data);
}

void judge_sent(struct judge *j, size_t run, size_t copies, uint64_t now)
{
    struct judge_run *r = &j->runs[run];
    r->copies[j->count - 1] = (uint32_t)copies;
    settle_lost(j, r, now);
}

void judge_stamped(struct judge *j, size_t run, uint64_t before, uint64_t after)
{
    struct judge_run *r = &j->runs[run];
    if (r->next == j->count) {
        blame(j, "a message arrived that was not published");
        return;
    }
    r->copies[r->next]--;
    if (after > before && r->keys[r->next] != 0)
        blame(j, "message %zu was counted twice", r->next);
    if (after > before)
        r->keys[r->next] = 2 * after;
    settle_lost(j, r, after);
}

void judge_cut_off(struct judge *j, size_t run, uint64_t now)
{
    struct judge_run *r = &j->runs[run];
    for (size_t i = r->next; i < j->count; i++)
        r->copies[i] = 0;
    settle_lost(j, r, now);
}

void judge_ends(struct judge *j, size_t run, uint64_t now)
{
    judge_cut_off(j, run, now);
    j->runs[run].over = true;
}

void judge_tell(const struct judge *j, size_t message, struct buf *out)
{
    const struct judge_message *m = &j->messages[message];
    buf_printf(out, "message %zu \"%s\" of %s, published at %.6f%s:\n", message, m->data,
               sim_channels[m->channel], (double)m->time / 1e6, m->oversize ? ", oversize" : "");
    for (size_t i = 0; i < j->run_count; i++) {
        const struct judge_run *r = &j->runs[i];
        uint64_t key = message < j->count ? r->keys[message] : 0;
        buf_printf(out, "  run %zu (instance %u, began at %.6f%s): ", i, (unsigned)r->instance,
                   (double)r->from / 1e6, r->over ? ", over" : "");
        if (key == 0)
            buf_str(out, "never came\n");
        else
            buf_printf(out, "%s at position %llu\n", key % 2 == 1 ? "lost" : "stamped",
                       (unsigned long long)key / 2);
    }
}

/* ---- a client's account ---------------------------------------------------------------------- */

/* The key an id of this run stands for; 0: it is none. */
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

/* Mark all that is open in (from, to] of this connection's run. Returns how many it were. */
static size_t account(const struct judge *j, struct judge_client *c, const bool concerned[],
                      uint64_t from, uint64_t to, enum judge_state state)
{
    const struct judge_run *r = &j->runs[c->run];
    size_t n = 0;
    for (size_t i = 0; i < j->count; i++) {
        uint64_t key = r->keys[i];
        if (concerned[j->messages[i].channel] && key > from && key <= to &&
            c->states[i] == JUDGE_OPEN) {
            c->states[i] = (uint8_t)state;
            n++;
        }
    }
    return n;
}

/* The first message of a channel before `end` that is open, or SIZE_MAX. */
static size_t first_open(const struct judge *j, struct judge_client *c, uint32_t channel,
                         size_t end)
{
    size_t i = c->settled[channel];
    while (i < end && (j->messages[i].channel != channel || c->states[i] != JUDGE_OPEN))
        i++;
    c->settled[channel] = i;
    return i < end ? i : SIZE_MAX;
}

static void loss(struct judge *j, const struct judge_client *c, size_t message, const char *when)
{
    if (j->error[0] != '\0')
        return;
    j->lost = true;
    struct buf text = BUF_INIT;
    judge_tell(j, message, &text);
    blame(j, "lost in silence, as found %s, in run %zu: %s", when, c->run, buf_cstr(&text));
    buf_finish(&text);
}

void judge_connect(struct judge *j, struct judge_client *c, size_t run)
{
    struct eventid id;
    bool own = eventid_parse(c->last_id, strlen(c->last_id), &id);
    bool foreign = c->connected_once && run != c->id_run;
    c->run = run;
    c->position = c->connected_once && !foreign ? c->id_position : 0;
    c->resuming = c->connected_once;
    c->may_be_unknown = c->turned_away = false;
    c->exact = foreign && own && id.fp != 0 && c->id_message != SIZE_MAX;
    c->after = c->id_message;
    uint64_t same = c->id_message == SIZE_MAX ? 0 : j->runs[run].keys[c->id_message];
    c->start = !foreign ? c->id_start : same % 2 == 0 ? same : 0;
    c->read = 0;
    j->foreign += foreign;
    j->exact += c->exact;
    tell(c, "-- to run %zu with %s\n", run, c->connected_once ? c->last_id : "nothing");
}

/* What came last is what the next connection begins with. */
static void remember(struct judge_client *c, const char *id, uint64_t key, size_t message)
{
    if (c->start == 0)
        c->start = key;
    c->id_start = c->start;
    c->position = c->id_position = key;
    c->id_run = c->run;
    c->id_message = message;
    (void)snprintf(c->last_id, sizeof c->last_id, "%s", id);
}

static void first_open_event(struct judge *j, struct judge_client *c, const struct sse_message *m,
                             uint64_t key, uint64_t now)
{
    if (strstr(m->data.p, "\"new\"") == NULL || key == 0 || key > 2 * now)
        blame(j, "a first connect begins with %s at %s", m->data.p, m->last_event_id.p);
    c->connected_once = true;
    /* History may leave out any event that was there before the client came, and what was lost. */
    (void)account(j, c, c->matches, 0, c->history ? 2 * now : key, JUDGE_EXCUSED);
}

static void read_open(struct judge *j, struct judge_client *c, const struct sse_message *m,
                      const struct timeline *line, uint64_t now)
{
    uint64_t key = key_of(line, m->last_event_id.p, m->last_event_id.len);
    tell(c, "   open %s at %s\n", m->data.p, m->last_event_id.p);
    c->turned_away = !c->resuming && c->history && m->last_event_id.len == 0;
    if (c->turned_away && strstr(m->data.p, "\"new\"") != NULL)
        return;
    if (!c->resuming) {
        first_open_event(j, c, m, key, now);
        remember(c, m->last_event_id.p, key, SIZE_MAX);
        return;
    }
    if (strstr(m->data.p, "\"new\"") != NULL)
        blame(j, "a resume was answered as new");
    if (strcmp(m->last_event_id.p, c->last_id) != 0)
        blame(j, "id %s became %s: %s", c->last_id, m->last_event_id.p, m->data.p);
    c->may_be_unknown = strstr(m->data.p, "\"gap\"") != NULL;
}

static bool names(const char *data, size_t channel)
{
    if (strstr(data, "\"channel\":null") != NULL)
        return true;
    char text[64];
    (void)snprintf(text, sizeof text, "\"channel\":\"%s\",", sim_channels[channel]);
    return strstr(data, text) != NULL;
}

/* A gap may come early, before events that lie before its end: then its id is where the client
 * stands, and only `to` says how far it reaches. */
static void read_gap(struct judge *j, struct judge_client *c, const struct sse_message *m,
                     const struct timeline *line, uint64_t now)
{
    uint64_t from = key_member(line, m->data.p, "\"from\":\"");
    uint64_t to = key_member(line, m->data.p, "\"to\":\"");
    uint64_t id = key_of(line, m->last_event_id.p, m->last_event_id.len);
    bool unknown = strstr(m->data.p, "\"unknown-id\"") != NULL;
    bool concerned[SIM_CHANNELS];
    tell(c, "   gap %s with id %s\n", m->data.p, m->last_event_id.p);
    if (unknown && !c->may_be_unknown)
        blame(j, "a gap for an unknown id behind an open event that did not say so");
    if (unknown)
        c->start = 0;
    if (to == 0 || to > 2 * now || from > to || (from == 0) != unknown)
        blame(j, "a gap leads nowhere: %s", m->data.p);
    bool early = id != to;
    if (early && (id != from || id < c->position))
        blame(j, "a gap's id is not where the client stands: %s, %s", m->data.p,
              m->last_event_id.p);
    if (!unknown && to <= c->position)
        blame(j, "a gap leads back: %s", m->data.p);
    bool any = false;
    for (size_t i = 0; i < SIM_CHANNELS; i++) {
        concerned[i] = c->matches[i] && names(m->data.p, i);
        any = any || concerned[i];
    }
    if (!any && strstr(m->data.p, "\"channel\":null") == NULL)
        blame(j, "a gap names what the client may not hear of: %s", m->data.p);
    (void)account(j, c, concerned, from, to, JUDGE_ANNOUNCED);
    if (c->start == 0)
        c->start = from;
    if (!j->strict)
        j->late += account(j, c, concerned, c->start, to, JUDGE_ANNOUNCED);
    c->may_be_unknown = false;
    if (strcmp(m->last_event_id.p, c->last_id) != 0)
        remember(c, m->last_event_id.p, id, SIZE_MAX);
    j->gaps++;
    j->exact_gaps += c->exact;
    if (j->exactly && c->exact)
        blame(j, "a gap although nothing is missing: %s", m->data.p);
}

/* The data as a plain stream has it, out of the json form where it is that. */
static void plain_data(char out[JUDGE_TEXT], const char *data)
{
    const char *at = data[0] == '{' ? strstr(data, "\"data\":\"") : NULL;
    at = at == NULL ? data : at + 8;
    size_t n = at == data ? strlen(at) : strcspn(at, "\"");
    if (n >= JUDGE_TEXT)
        n = JUDGE_TEXT - 1;
    memcpy(out, at, n);
    out[n] = '\0';
}

/* By its place, or where a publisher gave the id, which says nothing of it, by its data. */
static size_t identify(const struct judge *j, size_t run, uint64_t key, const char *data)
{
    const uint64_t *keys = j->runs[run].keys;
    for (size_t i = j->count; i > 0; i--) {
        if (key != 0 ? keys[i - 1] == key
                     : keys[i - 1] % 2 == 0 && keys[i - 1] != 0 &&
                           strcmp(j->messages[i - 1].data, data) == 0)
            return i - 1;
    }
    return SIZE_MAX;
}

/* Nothing of the same channel before it may be open. But in mode on-demand a stream may hear of a
 * channel by another subscription before its own counts: what it missed is announced then. */
static void check_before(struct judge *j, struct judge_client *c, size_t message)
{
    uint32_t channel = j->messages[message].channel;
    size_t open = first_open(j, c, channel, message);
    if (open != SIZE_MAX && !(j->on_demand && j->runs[c->run].keys[open] % 2 == 1))
        loss(j, c, open, "behind its successor");
}

static void read_event(struct judge *j, struct judge_client *c, const struct sse_message *e,
                       const struct timeline *line)
{
    char data[JUDGE_TEXT];
    plain_data(data, e->data.p);
    uint64_t key = key_of(line, e->last_event_id.p, e->last_event_id.len);
    size_t n = identify(j, c->run, key, data);
    const struct judge_message *m = n == SIZE_MAX ? NULL : &j->messages[n];
    if (m == NULL || strcmp(m->data, data) != 0 || m->oversize || !c->matches[m->channel]) {
        blame(j, "an event that is none: %s with id %s", e->data.p, e->last_event_id.p);
        return;
    }
    key = j->runs[c->run].keys[n];
    tell(c, "   %zu \"%s\" %s\n", n, data, e->last_event_id.p);
    c->may_be_unknown = false;
    if (key <= c->position)
        blame(j, "message %zu came twice or late (key %llu after %llu)", n, (unsigned long long)key,
              (unsigned long long)c->position);
    if (c->exact && n <= c->after) {
        j->repeated++;
        if (j->exactly)
            blame(j, "message %zu came again behind message %zu", n, c->after);
    }
    check_before(j, c, n);
    c->states[n] = JUDGE_SEEN;
    remember(c, e->last_event_id.p, key, n);
    j->events++;
}

void judge_read(struct judge *j, struct judge_client *c, const struct sse_decoder *d,
                const struct timeline *line, uint64_t now)
{
    for (; c->read < d->count; c->read++) {
        const struct sse_message *m = &d->messages[c->read];
        bool open = strcmp(m->type.p, "tickerd:open") == 0;
        if (open != (c->read == 0))
            blame(j, "tickerd:open is event %zu", c->read);
        if (!open && c->turned_away)
            blame(j, "event %zu for who was turned away", c->read);
        if (open)
            read_open(j, c, m, line, now);
        else if (strcmp(m->type.p, "tickerd:gap") == 0)
            read_gap(j, c, m, line, now);
        else
            read_event(j, c, m, line);
    }
    if (d->bad_utf8 > 0)
        blame(j, "invalid UTF-8 in a stream");
}

void judge_end(struct judge *j, const struct judge_client *c)
{
    if (!c->connected_once)
        blame(j, "a client never got its open event");
    for (size_t i = 0; i < j->count; i++) {
        if (c->matches[j->messages[i].channel] && c->states[i] == JUDGE_OPEN)
            loss(j, c, i, "at the end");
    }
}
