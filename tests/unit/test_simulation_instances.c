/* Several instances behind one balancer under random load, see cluster.h: resuming on any of them
 * never loses in silence, while whoever took an id's time for a position of the instance at hand
 * would lose.
 *
 * TICKERD_SEED=n runs one seed of each family and tells the guilty client's story; TICKERD_SEEDS=n
 * changes how many are run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "cluster.h"
#include "tickerd/base/log.h"

enum { SEEDS = 120 };

struct totals {
    size_t seeds, failed, lost;
    size_t events, gaps, late, foreign, exact, exact_gaps, repeated;
    size_t overflows, cuts, restarts, restricted, revoked;
};

/* In place of the system's, so that the order in maps is the same in each run of a seed. */
ssize_t getrandom(void *out, size_t len, unsigned flags)
{
    (void)flags;
    memset(out, 42, len);
    return (ssize_t)len;
}

static void add(struct totals *t, const struct cluster *s)
{
    const struct judge *j = &s->judge;
    t->seeds++;
    t->failed += j->error[0] != '\0';
    t->lost += j->lost;
    t->events += j->events;
    t->gaps += j->gaps;
    t->late += j->late;
    t->foreign += j->foreign;
    t->exact += j->exact;
    t->exact_gaps += j->exact_gaps;
    t->repeated += j->repeated;
    t->overflows += s->overflows;
    t->cuts += s->cuts;
    t->restarts += s->restarts;
    t->restricted += s->restricted;
    t->revoked += s->revoked;
    for (size_t k = 0; k < s->instance_count; k++)
        t->overflows += metrics_get(&s->instances[k].w.metrics, METRIC_STALE);
}

static void run(uint64_t seed, enum cluster_family family, bool naive, bool told, struct totals *t)
{
    struct cluster *s = cluster_create(seed, family, naive, told);
    cluster_run(s);
    add(t, s);
    bool expected = naive;
    if (!expected && s->judge.error[0] != '\0') {
        struct buf text = BUF_INIT;
        cluster_report(s, &text);
        (void)fprintf(stderr, "%s\n", buf_cstr(&text));
        buf_finish(&text);
    }
    cluster_destroy(s);
}

static struct totals run_all(enum cluster_family family, bool naive)
{
    struct totals t = {.seeds = 0};
    const char *one = getenv("TICKERD_SEED"), *many = getenv("TICKERD_SEEDS");
    uint64_t first = one == NULL ? 1 : strtoull(one, NULL, 10);
    uint64_t seeds = one != NULL ? 1 : many == NULL ? SEEDS : strtoull(many, NULL, 10);
    for (uint64_t seed = first; seed < first + seeds; seed++)
        run(seed, family, naive, one != NULL, &t);
    print_message(
        "%zu seeds, %zu failed, %zu lost; %zu events, %zu gaps, %zu late, %zu overflows, %zu "
        "outages, %zu restarts, %zu forbidden channels, %zu revoked; %zu foreign resumes, %zu of "
        "them after an event: %zu "
        "gaps, %zu repetitions\n",
        t.seeds, t.failed, t.lost, t.events, t.gaps, t.late, t.overflows, t.cuts, t.restarts,
        t.restricted, t.revoked, t.foreign, t.exact, t.exact_gaps, t.repeated);
    return t;
}

static void exactly_once_where_nothing_is_in_the_way(void **state)
{
    (void)state;
    struct totals t = run_all(CLUSTER_CALM, false);
    assert_int_equal(t.failed, 0);
    assert_int_equal(t.exact_gaps, 0);
    assert_int_equal(t.repeated, 0);
    assert_true(t.exact > 10 * t.seeds || t.seeds < 10);
}

static void nothing_is_lost_in_silence(void **state)
{
    (void)state;
    struct totals t = run_all(CLUSTER_ROUGH, false);
    assert_int_equal(t.failed, 0);
    assert_true((t.gaps > t.seeds && t.foreign > 10 * t.seeds) || t.seeds < 10);
}

/* Subscriptions are confirmed one by one, while clients are being served already. */
static void nor_on_demand(void **state)
{
    (void)state;
    struct totals t = run_all(CLUSTER_DEMAND, false);
    assert_int_equal(t.failed, 0);
    assert_true(t.gaps > t.seeds || t.seeds < 10);
}

static void nor_where_clients_fall_off_their_histories(void **state)
{
    (void)state;
    struct totals t = run_all(CLUSTER_TIGHT, false);
    assert_int_equal(t.failed, 0);
    assert_true((t.gaps > 10 * t.seeds && t.overflows > 0) || t.seeds < 10);
}

/* The test sees what it is there for. */
static void read_naively_ids_lose(void **state)
{
    (void)state;
    struct totals t = run_all(CLUSTER_ROUGH, true);
    assert_true(t.lost > t.seeds / 10 || t.seeds < 10);
}

int main(void)
{
    log_setup(LOG_ERROR, LOG_TEXT);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exactly_once_where_nothing_is_in_the_way),
        cmocka_unit_test(nothing_is_lost_in_silence),
        cmocka_unit_test(nor_where_clients_fall_off_their_histories),
        cmocka_unit_test(nor_on_demand),
        cmocka_unit_test(read_naively_ids_lose),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
