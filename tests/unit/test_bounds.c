/* What strangers may ask for without end, and what that may not cost the others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "hub_rig.h"
#include "world.h"

enum { NAMES = 500, MIB = 1024 * 1024 };

static void ask_for_names(struct hub_rig *h)
{
    for (int i = 0; i < NAMES; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "made-up-%d", i);
        hubrig_interest(h, 0, 1, (uint32_t)(2 * i + 1), name, false);
        hubrig_drop(h, 0, 1);
    }
}

static void names_push_nothing_out(void **state)
{
    (void)state;
    const char *settings[] = {"history.events=5", NULL};
    struct hub_rig h;
    hubrig_start(&h, settings);
    for (int i = 0; i < 10; i++)
        hubrig_publish(&h, i < 5 ? "gone" : "kept", "0123456789");
    h.config->history_total_bytes = h.registry.cost - 1;
    for (int i = 0; i < 6; i++) /* until the stub of the first goes, which raises the watermark */
        hubrig_publish(&h, "kept", "0123456789");
    h.config->history_total_bytes = h.registry.cost / 2;
    registry_tick(&h.registry);
    assert_true(h.registry.watermark > 0);
    h.config->history_total_bytes = MIB;
    hubrig_publish(&h, "kept", "the last");
    uint64_t cost = h.registry.cost;
    size_t channels = registry_channels(&h.registry);
    h.config->history_total_bytes = cost;
    ask_for_names(&h);
    registry_tick(&h.registry);
    assert_int_equal(registry_channels(&h.registry), channels);
    assert_int_equal(h.registry.cost, cost);
    hubrig_finish(&h);
}

static void merged_views_are_counted(void **state)
{
    (void)state;
    struct hub_rig h;
    hubrig_start(&h, NULL);
    for (int i = 0; i < 100; i++)
        hubrig_publish(&h, i % 2 ? "a" : "b", "x");
    assert_int_equal(h.registry.merged, 0);
    hubrig_interest(&h, 0, 1, 1, "*", true);
    uint64_t one = h.registry.merged;
    assert_true(one >= 100 * sizeof(struct entry));
    hubrig_interest(&h, 0, 2, 1, "?", true);
    assert_int_equal(h.registry.merged, 2 * one);
    hubrig_publish(&h, "a", "x");
    assert_true(h.registry.merged > 2 * one);
    hubrig_drop(&h, 0, 1);
    hubrig_drop(&h, 0, 2);
    assert_int_equal(h.registry.merged, 0);
    hubrig_finish(&h);
}

/* A pattern for which there is no room: its clients keep their position and come back later. */
static void refused_clients_are_sent_away(void **state)
{
    (void)state;
    struct world w;
    struct world_client first, second, third, other;
    world_start(&w, NULL);
    world_connect(&w, 0, &other, "/events/a", NULL);
    world_settle(&w);
    world_publish(&w, "a", "1");
    world_turn(&w, 0);
    world_connect(&w, 0, &first, "/events?pattern=*", "0000000000001-0a0b0c0d-00000002");
    w.registry.merged += UINT64_C(1) << 40; /* as if others had it all */
    world_settle(&w);
    assert_int_equal(first.session.state, SESSION_ENDED);
    world_expect(&first, "open continued");
    assert_int_equal(world_event(&first, 0)->last_event_id.len, EVENTID_LEN);
    assert_memory_equal(world_event(&first, 0)->last_event_id.p, "0000000000001", 13);
    world_connect(&w, 0, &second, "/events?pattern=*", NULL); /* the view has not been swept yet */
    assert_int_equal(second.session.state, SESSION_ENDED);
    world_expect(&second, "open new");
    assert_int_equal(world_event(&second, 0)->last_event_id.len, EVENTID_LEN);
    world_connect(&w, 0, &third, "/events?pattern=*&history=all", NULL);
    assert_int_equal(third.session.state, SESSION_ENDED);
    world_expect(&third, "open new");
    assert_int_equal(world_event(&third, 0)->last_event_id.len,
                     0); /* or history would be ignored */
    assert_int_equal(metrics_closed(&w.workers[0].metrics, CLOSING_REFUSED), 3);
    w.registry.merged -= UINT64_C(1) << 40;
    world_disconnect(&first);
    world_disconnect(&second);
    world_disconnect(&third);
    world_tick(&w, 0);
    world_settle(&w);
    world_connect(&w, 0, &second, "/events?pattern=*&history=all", NULL);
    world_settle(&w);
    world_expect(&second, "open new | 1");
    world_expect(&other, "open new | 1");
    world_disconnect(&second);
    world_disconnect(&other);
    world_finish(&w);
}

static void the_widest_pattern_is_shed(void **state)
{
    (void)state;
    struct world w;
    struct world_client wide, narrow;
    world_start(&w, NULL);
    world_connect(&w, 0, &wide, "/events?pattern=*", NULL);
    world_connect(&w, 0, &narrow, "/events?pattern=a*", NULL);
    world_settle(&w);
    world_publish(&w, "a", "1");
    world_publish(&w, "b", "2");
    world_turn(&w, 0);
    w.registry.merged += UINT64_C(1) << 40;
    world_hub_tick(&w);
    w.registry.merged -= UINT64_C(1) << 40;
    world_settle(&w);
    assert_int_equal(wide.session.state, SESSION_ENDED);
    world_expect(&wide, "open new | 1 | 2");
    assert_int_equal(narrow.session.state, SESSION_STREAMING);
    world_expect(&narrow, "open new | 1");
    world_disconnect(&wide);
    world_disconnect(&narrow);
    world_finish(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_push_nothing_out),
        cmocka_unit_test(merged_views_are_counted),
        cmocka_unit_test(refused_clients_are_sent_away),
        cmocka_unit_test(the_widest_pattern_is_shed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
