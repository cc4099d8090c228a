/* What a client may not hear leaves no trace while its stream runs: of two brokers one has the
 * events of a forbidden channel and the other never had them, and clients of both, slow ones too,
 * get the same bytes; through evictions, losses, outages, and reloads of the rules. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "grant_util.h"
#include "prng.h"
#include "tickerd/base/log.h"
#include "world.h"

/* So few events that losses on several channels do not melt into one, which would be told. */
enum { SEEDS = 300, GUESTS = 6, STEPS = 120, EVENTS = 80, MOST = 600, LIMIT = 700 };

static const char *const urls[] = {
    "/events?pattern=*",
    "/events?pattern=*&channel=a",
    "/events?pattern=[as]*&pattern=b*",
    "/events?pattern=*&history=3",
    "/events?pattern=*&format=json",
    "/events?pattern=*&history=all",
};
static const char *const claims[] = {"a b*", NULL, "b2 a"};

enum { OPEN = 3, CHANNELS = 5 }; /* so many may be heard by somebody */
static const char *const channels[CHANNELS] = {"a", "b1", "b2", "secret", "secret2"};

#define RULES(first)                                                                               \
    {                                                                                              \
        "auth.mode=optional", "auth.jwks_file=/nowhere", "limits.message_bytes=700",               \
            "history.events=6",                                                                    \
            "channels=[" first ",{\"match\":\"secret*\",\"slow\":\"disconnect\"}]", NULL           \
    }

enum { SETTINGS = 3 };
static const char *const settings[SETTINGS][6] = {
    RULES("{\"match\":\"a\",\"anonymous\":true},"
          "{\"match\":\"b1\",\"slow\":\"latest\",\"anonymous\":true}"),
    RULES("{\"match\":\"[ab]*\",\"anonymous\":true}"),
    RULES("{\"match\":\"b2\",\"anonymous\":true,\"slow\":\"disconnect\"}"),
};

struct guest {
    struct world_client c[2];
    bool in;
    const char *url, *claim;
    char id[200]; /* with which it comes back; "": it has none */
};

struct both {
    struct prng rng;
    struct world w[2]; /* the second has nothing secret */
    struct config *configs[SETTINGS];
    struct guest guests[GUESTS];
    size_t events, bytes;
};

static void wait_for_both(struct both *b, uint64_t us)
{
    b->w[0].mono += us;
    b->w[1].mono += us;
}

static void on_turn(struct both *b)
{
    wait_for_both(b, 1000);
    world_settle(&b->w[0]);
    world_settle(&b->w[1]);
}

static void come(struct both *b, struct guest *g)
{
    size_t room = prng_below(&b->rng, 3) == 0 ? prng_below(&b->rng, 900) : SIZE_MAX;
    bool back = g->id[0] != '\0' && prng_below(&b->rng, 4) > 0;
    if (!back) {
        g->url = urls[prng_below(&b->rng, sizeof urls / sizeof urls[0])];
        g->claim = claims[prng_below(&b->rng, sizeof claims / sizeof claims[0])];
    }
    if (g->claim == NULL && strstr(g->url, "channel=a") != NULL)
        g->claim = "a"; /* else it would not be let in under all of the rules */
    for (int k = 0; k < 2; k++)
        world_connect_granted(&b->w[k], 0, &g->c[k], g->url, back ? g->id : NULL, room,
                              g->claim == NULL ? NULL : grant_of(g->claim, "s", 0));
    g->in = true;
}

static void compare(struct guest *g)
{
    const char *one = fake_transport_text(&g->c[0].transport);
    const char *two = fake_transport_text(&g->c[1].transport);
    if (strcmp(one, two) == 0 && g->c[0].transport.closes == g->c[1].transport.closes)
        return;
    (void)fprintf(stderr, "%s\nwhere there is nothing secret:\n%s\n", one, two);
    fail_msg("%s, claim %s, closed: %zu and %zu", g->url, g->claim == NULL ? "none" : g->claim,
             g->c[0].transport.closes, g->c[1].transport.closes);
}

static void go(struct both *b, struct guest *g)
{
    compare(g);
    const struct sse_text *id = &g->c[0].transport.decoder.last_event_id;
    (void)snprintf(g->id, sizeof g->id, "%s", id->len > 0 ? id->p : "");
    b->bytes += g->c[0].transport.bytes.len;
    world_disconnect(&g->c[0]);
    world_disconnect(&g->c[1]);
    g->in = false;
}

static void publish(struct both *b, size_t channel, size_t len)
{
    char text[LIMIT + 200];
    int n = snprintf(text, sizeof text, "%zu of %s", ++b->events, channels[channel]);
    for (size_t i = (size_t)n; i < len; i++) {
        text[i] = 'x';
        text[i + 1] = '\0';
    }
    world_publish(&b->w[0], channels[channel], text);
    if (channel < OPEN)
        world_publish(&b->w[1], channels[channel], text);
    wait_for_both(b, 10);
}

static void publish_some(struct both *b)
{
    size_t n = 1 + prng_below(&b->rng, 3);
    while (n-- > 0)
        publish(b, prng_below(&b->rng, CHANNELS), prng_below(&b->rng, MOST));
}

/* Side by side such losses would melt. */
static void lose_one(struct both *b)
{
    publish(b, 0, 10);
    publish(b, prng_below(&b->rng, CHANNELS), LIMIT + 100);
    publish(b, 0, 10);
}

static void make_room(struct both *b, struct guest *g)
{
    size_t room = prng_below(&b->rng, 2) == 0 ? SIZE_MAX : prng_below(&b->rng, 1200);
    for (int k = 0; g->in && k < 2; k++)
        world_room(&b->w[k], &g->c[k], room);
}

static void reload(struct both *b)
{
    const struct config *c = b->configs[prng_below(&b->rng, SETTINGS)];
    for (int k = 0; k < 2; k++)
        (void)fanout_reload(&b->w[k].workers[0].fanout, c, NULL, NULL, false, b->w[k].mono);
}

static void lose_redis(struct both *b)
{
    fake_source_lose(&b->w[0].source, 0);
    fake_source_lose(&b->w[1].source, 0);
    on_turn(b);
    fake_source_connect(&b->w[0].source);
    fake_source_connect(&b->w[1].source);
}

static void step(struct both *b)
{
    size_t dice = prng_below(&b->rng, 100);
    struct guest *g = &b->guests[prng_below(&b->rng, GUESTS)];
    if (dice < 50)
        publish_some(b);
    else if (dice < 56)
        lose_one(b);
    else if (dice < 70 && g->in)
        go(b, g);
    else if (dice < 70)
        come(b, g);
    else if (dice < 88)
        make_room(b, g);
    else if (dice < 92)
        reload(b);
    else if (dice < 94)
        lose_redis(b);
    else
        for (int k = 0; k < 2; k++)
            world_tick(&b->w[k], 0);
    on_turn(b);
    for (size_t i = 0; i < GUESTS; i++) {
        if (b->guests[i].in)
            compare(&b->guests[i]);
    }
}

/* Returns how much clients were sent. */
static size_t play(uint64_t seed)
{
    static struct both b;
    memset(&b, 0, sizeof b);
    b.rng.state = seed;
    for (size_t i = 0; i < SETTINGS; i++)
        b.configs[i] = world_config(settings[i]);
    for (int k = 0; k < 2; k++)
        world_start(&b.w[k], settings[seed % SETTINGS]);
    for (int i = 0; i < STEPS && b.events < EVENTS; i++)
        step(&b);
    for (size_t i = 0; i < GUESTS; i++) {
        if (b.guests[i].in)
            go(&b, &b.guests[i]);
    }
    for (int k = 0; k < 2; k++)
        world_finish(&b.w[k]);
    for (size_t i = 0; i < SETTINGS; i++)
        config_destroy(b.configs[i]);
    return b.bytes;
}

static void the_forbidden_leaves_no_trace(void **state)
{
    (void)state;
    size_t bytes = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++)
        bytes += play(seed);
    assert_true(bytes > SEEDS * 1000);
}

int main(void)
{
    log_setup(LOG_ERROR, LOG_TEXT);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_forbidden_leaves_no_trace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
