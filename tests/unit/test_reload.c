/* Reading a configuration again on a loop, from a file that the test writes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "tickerd/base/err.h"
#include "tickerd/base/list.h"
#include "tickerd/base/log.h"
#include "tickerd/daemon/reload.h"

struct rig {
    char path[40];
    struct config_source from;
    uv_loop_t loop;
    struct reload reload;
    unsigned began, applied, succeeded, refused;
    char problem[300]; /* of the last one refused */
    uint32_t events;   /* history.events of the last one applied */
    uint32_t workers;
    bool once_more; /* ask again while it is being applied */
};

static void apply(void *ctx, struct settings *next)
{
    struct rig *g = ctx;
    assert_ptr_not_equal(next, g->reload.running);
    assert_int_not_equal(g->reload.running->config->history.events, 0); /* still there */
    g->applied++;
    g->events = next->config->history.events;
    g->workers = next->config->workers;
    if (g->once_more)
        reload_request(&g->reload);
    g->once_more = false;
}

static void began(void *ctx)
{
    struct rig *g = ctx;
    g->began++;
}

static void ended(void *ctx, const char *problem)
{
    struct rig *g = ctx;
    assert_int_equal(g->began, g->succeeded + g->refused + 1);
    if (problem == NULL) {
        g->succeeded++;
        assert_int_equal(g->applied, g->succeeded);
        return;
    }
    g->refused++;
    (void)snprintf(g->problem, sizeof g->problem, "%s", problem);
}

static const struct reload_events events = {began, apply, ended};

static void write_file(const struct rig *g, const char *text)
{
    char beside[sizeof g->path + 4]; /* it may be being read */
    (void)snprintf(beside, sizeof beside, "%s.new", g->path);
    FILE *f = fopen(beside, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(rename(beside, g->path), 0);
}

static struct settings *make(const struct config_source *from)
{
    struct buf errors = BUF_INIT;
    struct config *c = config_build(from, &errors);
    assert_non_null(c);
    struct settings *s = settings_create(c, &errors);
    assert_non_null(s);
    assert_int_equal(errors.len, 0);
    buf_finish(&errors);
    return s;
}

static void rig_init(struct rig *g, const char *text)
{
    memset(g, 0, sizeof *g);
    strcpy(g->path, "/tmp/tickerd-reload-XXXXXX");
    int fd = mkstemp(g->path);
    assert_true(fd >= 0);
    assert_int_equal(close(fd), 0);
    write_file(g, text);
    g->from.file = g->path;
    log_setup(LOG_ERROR, LOG_TEXT);
    assert_int_equal(uv_loop_init(&g->loop), 0);
    struct settings *s = make(&g->from);
    reload_init(&g->reload, &g->loop, &g->from, s, &events, g);
    settings_unref(s);
}

static void rig_finish(struct rig *g)
{
    reload_close(&g->reload);
    (void)uv_run(&g->loop, UV_RUN_DEFAULT);
    reload_finish(&g->reload);
    assert_int_equal(uv_loop_close(&g->loop), 0);
    assert_int_equal(unlink(g->path), 0);
}

static void run(struct rig *g)
{
    (void)uv_run(&g->loop, UV_RUN_DEFAULT);
    assert_false(g->reload.busy);
}

static unsigned threads(void)
{
    unsigned n = 0;
    DIR *dir = opendir("/proc/self/task");
    assert_non_null(dir);
    for (const struct dirent *e = readdir(dir); e != NULL; e = readdir(dir))
        n += e->d_name[0] != '.';
    assert_int_equal(closedir(dir), 0);
    return n;
}

/* Comes first: the pool is there once for the process. */
static void test_no_reload_needs_new_threads(void **state)
{
    struct rig g;
    (void)state;
    rig_init(&g, "{}");
    unsigned before = threads();
    reload_start(&g.reload);
    unsigned ready = threads();
    assert_true(ready > before);
    reload_request(&g.reload);
    run(&g);
    assert_int_equal(g.applied, 1);
    assert_int_equal(threads(), ready);
    rig_finish(&g);
}

static void test_what_is_read_is_applied(void **state)
{
    struct rig g;
    (void)state;
    rig_init(&g, "{\"history\":{\"events\":1},\"workers\":2}");
    write_file(&g, "{\"history\":{\"events\":2},\"workers\":3}");
    reload_request(&g.reload);
    assert_int_equal(g.applied, 0); /* not within the call */
    run(&g);
    assert_int_equal(g.applied, 1);
    assert_int_equal(g.events, 2);
    assert_int_equal(g.workers, 2);
    assert_int_equal(g.reload.running->config->history.events, 2);
    assert_int_equal(g.reload.changes.applied_count, 1);
    assert_int_equal(g.reload.changes.fixed_count, 1);
    rig_finish(&g);
}

static void test_what_is_bad_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "{",
        "[]",
        "{\"history\":{\"events\":-1}}",
        "{\"nonsense\":1}",
        "{\"workers\":\"x\"}",
        "{\"cors\":{\"origins\":[\"*\"]}}",
        "{\"resume\":{\"window\":\"1s\"}}",
        "{\"history\":{\"events\":2},\"history\":{\"events\":3}}",
    };
    struct rig g;
    (void)state;
    rig_init(&g, "{\"history\":{\"events\":1}}");
    const struct settings *before = g.reload.running;
    int saved = dup(STDERR_FILENO);
    assert_true(freopen("/dev/null", "w", stderr) != NULL); /* what is wrong is logged */
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        write_file(&g, bad[i]);
        reload_request(&g.reload);
        run(&g);
        assert_ptr_equal(g.reload.running, before);
        assert_int_equal(g.applied, 0);
        assert_int_equal(g.refused, i + 1);
        assert_non_null(strstr(g.problem, g.path)); /* says where */
    }
    assert_int_equal(dup2(saved, STDERR_FILENO), STDERR_FILENO);
    assert_int_equal(close(saved), 0);
    write_file(&g, "{\"history\":{\"events\":9}}");
    reload_request(&g.reload);
    run(&g);
    assert_int_equal(g.events, 9);
    assert_int_equal(g.succeeded, 1);
    rig_finish(&g);
}

static void test_many_at_once_are_few_and_the_last_counts(void **state)
{
    struct rig g;
    (void)state;
    rig_init(&g, "{}");
    for (int i = 1; i <= 100; i++) {
        char text[64];
        (void)snprintf(text, sizeof text, "{\"history\":{\"events\":%d}}", i);
        write_file(&g, text);
        reload_request(&g.reload);
    }
    run(&g);
    assert_int_equal(g.applied, 2);
    assert_int_equal(g.events, 100);
    g.once_more = true;
    reload_request(&g.reload);
    run(&g);
    assert_int_equal(g.applied, 4);
    rig_finish(&g);
}

static void test_after_the_end_nothing_is_applied(void **state)
{
    struct rig g;
    (void)state;
    rig_init(&g, "{}");
    reload_request(&g.reload);
    reload_request(&g.reload);
    reload_close(&g.reload);
    reload_request(&g.reload);
    run(&g);
    assert_int_equal(g.applied, 0);
    assert_int_equal(g.succeeded + g.refused, 0);
    rig_finish(&g);
}

struct asker {
    struct reload_waiter waiter;
    unsigned told;
    bool none, ok; /* NULL came; the last result's */
    size_t changed, fixed;
};

static void told(struct reload_waiter *w, const struct reload_result *result)
{
    struct asker *a = container_of(w, struct asker, waiter);
    a->told++;
    a->none = result == NULL;
    a->ok = result != NULL && result->ok;
    a->changed = result == NULL ? 0 : result->changes.applied_count;
    a->fixed = result == NULL ? 0 : result->changes.fixed_count;
    if (result != NULL)
        assert_int_equal(result->ok, result->errors[0] == '\0');
}

static void ask(struct rig *g, struct asker *a)
{
    *a = (struct asker){.waiter = {.done = told}};
    reload_ask(&g->reload, &a->waiter);
}

static void test_who_asks_is_told_of_what_was_read_after(void **state)
{
    struct rig g;
    struct asker first, others[10];
    (void)state;
    rig_init(&g, "{}");
    ask(&g, &first);
    write_file(&g, "{\"history\":{\"events\":2},\"workers\":3}");
    for (size_t i = 0; i < 10; i++)
        ask(&g, &others[i]);
    run(&g);
    assert_int_equal(g.succeeded, 2);
    assert_int_equal(first.told, 1);
    assert_true(first.ok);
    for (size_t i = 0; i < 10; i++) {
        assert_int_equal(others[i].told, 1);
        assert_true(others[i].ok);
        assert_int_equal(others[i].fixed, 1);
    }
    assert_int_equal(first.changed + others[0].changed, 1); /* whichever read it first */
    rig_finish(&g);
}

static void test_how_it_ended_is_remembered(void **state)
{
    struct rig g;
    struct asker asker;
    struct reload_past past, later;
    struct buf errors = BUF_INIT;
    (void)state;
    rig_init(&g, "{}");
    reload_look(&g.reload, &past, &errors);
    assert_int_equal(past.last.at_us, 0);
    assert_int_equal(past.reloads, 0);
    assert_true(past.loaded_us > 0);
    write_file(&g, "{\"nonsense\":1}");
    log_setup(LOG_ERROR, LOG_TEXT);
    int saved = dup(STDERR_FILENO);
    assert_true(freopen("/dev/null", "w", stderr) != NULL);
    ask(&g, &asker);
    run(&g);
    assert_int_equal(dup2(saved, STDERR_FILENO), STDERR_FILENO);
    assert_int_equal(close(saved), 0);
    assert_int_equal(asker.told, 1);
    assert_false(asker.ok);
    reload_look(&g.reload, &later, &errors);
    assert_false(later.last.ok);
    assert_true(later.last.at_us >= past.loaded_us);
    assert_int_equal(later.loaded_us, past.loaded_us);
    assert_non_null(strstr(later.last.errors, "nonsense"));
    buf_reset(&errors);
    write_file(&g, "{\"history\":{\"events\":2}}");
    reload_request(&g.reload);
    run(&g);
    reload_look(&g.reload, &later, &errors);
    assert_true(later.last.ok);
    assert_string_equal(later.last.errors, "");
    assert_int_equal(later.reloads, 1);
    assert_int_equal(later.loaded_us, later.last.at_us);
    assert_string_equal(later.last.changes.applied[0], "history.events");
    buf_finish(&errors);
    rig_finish(&g);
}

static void test_who_asks_at_the_end_is_told_that_there_is_none(void **state)
{
    struct rig g;
    struct asker askers[3];
    (void)state;
    rig_init(&g, "{}");
    ask(&g, &askers[0]); /* goes on */
    ask(&g, &askers[1]); /* waits for the next */
    reload_close(&g.reload);
    ask(&g, &askers[2]);
    run(&g);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(askers[i].told, 1);
        assert_true(askers[i].none);
    }
    rig_finish(&g);
}

static void test_settings_of_the_admin_listener(void **state)
{
    static const char *const set[] = {"cors.origins=[\"https://a.example\"]",
                                      "cors.credentials=true",
                                      "limits.clients_per_ip=3",
                                      "proxy.trusted=[\"127.0.0.1\"]",
                                      "proxy.protocol=true",
                                      "log.access=true",
                                      "history.events=7"};
    const struct config_source from = {.set = set, .set_count = sizeof set / sizeof *set};
    struct settings *base = make(&from), *own = settings_for_admin(base);
    (void)state;
    assert_non_null(own);
    settings_unref(base); /* the view keeps it */
    assert_int_equal(own->config->auth.mode, AUTH_OFF);
    assert_int_equal(own->config->cors.origins.count, 0);
    assert_false(own->config->cors.credentials);
    assert_int_equal(own->config->limits.clients_per_ip, 0);
    assert_false(own->config->proxy.protocol);
    assert_int_equal(own->config->proxy.blocks.count, 0);
    assert_false(own->config->log.access);
    assert_int_equal(own->config->history.events, 7);
    assert_string_equal(own->config->redis.url, base->config->redis.url);
    settings_unref(own);
}

static void test_judged_anew(void **state)
{
    static const struct {
        const char *set;
        bool anew;
    } cases[] = {
        {"log.level=debug", false}, {"auth.issuer=a", true},   {"auth.audience=a", true},
        {"auth.claim=a", true},     {"auth.leeway=1s", false}, {"auth.cookie=a", false},
    };
    struct config_source none = {.file = NULL};
    struct settings *before = make(&none);
    (void)state;
    assert_false(settings_judge_anew(before, before));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct config_source from = {.set = &cases[i].set, .set_count = 1};
        struct settings *now = make(&from);
        assert_int_equal(settings_judge_anew(before, now), cases[i].anew);
        assert_int_equal(settings_judge_anew(now, before), cases[i].anew);
        settings_unref(now);
    }
    settings_unref(before);
    settings_unref(NULL);
}

static void test_judged_anew_by_mode(void **state)
{
    static const char *const modes[] = {"auth.mode=off", "auth.mode=optional",
                                        "auth.mode=required"};
    static const char key[] = "auth.keys=[{\"alg\":\"HS256\",\"env\":\"TEST_SECRET\"}]";
    struct settings *all[3];
    (void)state;
    assert_int_equal(setenv("TEST_SECRET", "0123456789abcdef0123456789abcdef", 1), 0);
    for (size_t i = 0; i < 3; i++) {
        const char *const set[] = {modes[i], key};
        struct config_source from = {.set = set, .set_count = 2};
        all[i] = make(&from);
        assert_int_equal(keyring_count(all[i]->keys), i == 0 ? 0 : 1);
    }
    for (size_t i = 0; i < 9; i++)
        assert_int_equal(settings_judge_anew(all[i / 3], all[i % 3]), i / 3 != i % 3);
    for (size_t i = 0; i < 3; i++)
        settings_unref(all[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_reload_needs_new_threads),
        cmocka_unit_test(test_what_is_read_is_applied),
        cmocka_unit_test(test_what_is_bad_is_refused),
        cmocka_unit_test(test_many_at_once_are_few_and_the_last_counts),
        cmocka_unit_test(test_after_the_end_nothing_is_applied),
        cmocka_unit_test(test_who_asks_is_told_of_what_was_read_after),
        cmocka_unit_test(test_how_it_ended_is_remembered),
        cmocka_unit_test(test_who_asks_at_the_end_is_told_that_there_is_none),
        cmocka_unit_test(test_settings_of_the_admin_listener),
        cmocka_unit_test(test_judged_anew),
        cmocka_unit_test(test_judged_anew_by_mode),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
