/* Writes the seeds of the fuzz target `state` into a folder: state files of registries with a past.
 * make fuzz-seeds KIND=asan does that; the files are committed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "config_util.h"
#include "saved_util.h"
#include "tickerd/base/log.h"

static const char *folder;

static void write_seed(struct hub_rig *h, const char *name)
{
    char path[4096];
    struct buf out = BUF_INIT;
    saved_take(&out, &h->registry);
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "wbe");
    if (f == NULL || fwrite(out.data, 1, out.len, f) != out.len || fclose(f) != 0) {
        perror(path);
        exit(1);
    }
    buf_finish(&out);
    hubrig_finish(h);
}

static void outage(struct hub_rig *h)
{
    fake_source_lose(&h->source, 0);
    hubrig_sleep(h, SAVED_SECOND);
    fake_source_connect(&h->source);
    hubrig_settle(h);
}

static void empty(void)
{
    const char *const settings[] = {"log.level=error", NULL};
    struct hub_rig h;
    hubrig_start(&h, settings);
    write_seed(&h, "valid-empty");
}

static void two_channels_and_an_outage(void)
{
    const char *const settings[] = {"log.level=error", NULL};
    struct hub_rig h;
    hubrig_start(&h, settings);
    hubrig_publish(&h, "a", "1");
    hubrig_publish(&h, "b", "{\"data\":\"2\",\"id\":\"own\",\"event\":\"e\",\"retry\":1000}");
    outage(&h);
    hubrig_publish(&h, "a", "3\n4");
    hubrig_publish(&h, "caf\xc3\xa9/\xf0\x9f\x98\x80", "");
    outage(&h);
    write_seed(&h, "valid-two-channels-and-outages");
}

/* Evicted, emptied, too large: what is left are holes and stubs. */
static void holes_and_stubs(void)
{
    const char *const settings[] = {"log.level=error", "limits.message_bytes=20",
                                    "history.events=2", "history.age=2s", NULL};
    struct hub_rig h;
    hubrig_start(&h, settings);
    hubrig_publish(&h, "old", "1");
    hubrig_sleep(&h, 3 * SAVED_SECOND);
    for (int i = 0; i < 5; i++)
        hubrig_publish(&h, "full", "12345");
    hubrig_publish(&h, "full", "this is more than twenty bytes");
    hubrig_publish(&h, "only-large", "and so is this, by far");
    write_seed(&h, "valid-holes-and-stubs");
}

static void only_the_newest(void)
{
    const char *const settings[] = {"log.level=error",
                                    "channels=[{\"match\":\"price.*\",\"slow\":\"latest\"}]", NULL};
    struct hub_rig h;
    hubrig_start(&h, settings);
    for (int i = 0; i < 4; i++)
        hubrig_publish(&h, i % 2 == 0 ? "price.x" : "price.y", "9.99");
    write_seed(&h, "valid-superseded");
}

static void on_demand(void)
{
    const char *const settings[] = {"log.level=error", "redis.mode=on-demand", NULL};
    struct hub_rig h;
    hubrig_start(&h, settings);
    hubrig_interest(&h, 0, 1, 1, "a", false);
    hubrig_interest(&h, 0, 2, 1, "user.*", true);
    hubrig_interest(&h, 1, 1, 1, "left", false);
    hubrig_settle(&h);
    hubrig_publish(&h, "a", "1");
    hubrig_publish(&h, "user.7", "2");
    hubrig_drop(&h, 1, 1);
    hubrig_settle(&h);
    write_seed(&h, "valid-on-demand");
}

/* The wall clock was set back and the hub stood still. */
static void stepped_and_stalled(void)
{
    const char *const settings[] = {"log.level=error", NULL};
    struct hub_rig h;
    hubrig_start(&h, settings);
    hubrig_publish(&h, "a", "before");
    h.mono += SAVED_SECOND;
    (void)hubclock_turn(&h.registry.clock, h.mono, h.mono + SAVED_WALL / 2, 77);
    hubrig_publish(&h, "a", "between");
    h.mono += 5 * SAVED_SECOND; /* no turn meanwhile */
    hubrig_publish(&h, "a", "behind");
    write_seed(&h, "valid-stepped-and-stalled");
}

int main(int argc, char **argv)
{
    folder = argc > 1 ? argv[1] : ".";
    (void)setenv("CMOCKA_TEST_ABORT", "1", 1);
    log_setup(LOG_ERROR, LOG_TEXT);
    empty();
    two_channels_and_an_outage();
    holes_and_stubs();
    only_the_newest();
    on_demand();
    stepped_and_stalled();
    return 0;
}
