#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdlib.h>

#include "tickerd/base/err.h"
#include "tickerd/net/desk.h"

enum { POSTERS = 4, EACH = 500, PIECES = 3 };

/* An errand that takes some pieces on one loop and then reports to another. */
struct job {
    struct errand errand; /* must be first */
    struct desk *home;
    int pieces, cancelled, reported;
};

static struct job *job_of(struct errand *e)
{
    return (struct job *)(void *)e;
}

static bool report(struct errand *e, void *ctx)
{
    int *left = ctx;
    job_of(e)->reported++;
    (*left)--;
    return true;
}

static bool work(struct errand *e, void *ctx)
{
    int *sum = ctx;
    struct job *j = job_of(e);
    (*sum)++;
    if (++j->pieces < PIECES)
        return false;
    if (j->home != NULL) {
        e->run = report;
        desk_post(j->home, e);
    }
    return true;
}

static void cancel(struct errand *e)
{
    job_of(e)->cancelled++;
}

static struct job job(struct desk *home)
{
    return (struct job){.errand = {.run = work, .cancel = cancel}, .home = home};
}

static void finish(struct desk *d, uv_loop_t *loop)
{
    (void)uv_run(loop, UV_RUN_DEFAULT);
    desk_finish(d);
    assert_int_equal(uv_loop_close(loop), 0);
}

static void errands_run_in_pieces_and_in_turn(void **state)
{
    (void)state;
    uv_loop_t loop;
    struct desk d;
    int sum = 0;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(desk_init(&d, &loop, &sum), ERR_OK);
    struct job a = job(NULL), b = job(NULL);
    desk_post(&d, &a.errand);
    desk_post(&d, &b.errand);
    while (b.pieces == 0)
        (void)uv_run(&loop, UV_RUN_ONCE);
    assert_int_equal(a.pieces, 1); /* b had its turn before a's second */
    while (b.pieces < PIECES)
        (void)uv_run(&loop, UV_RUN_ONCE);
    assert_int_equal(a.pieces, PIECES);
    assert_int_equal(sum, 2 * PIECES);
    desk_close(&d);
    finish(&d, &loop);
    assert_int_equal(a.cancelled + b.cancelled, 0);
}

static void a_closed_desk_cancels(void **state)
{
    (void)state;
    uv_loop_t loop;
    struct desk d;
    int sum = 0;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(desk_init(&d, &loop, &sum), ERR_OK);
    struct job a = job(NULL), b = job(NULL), late = job(NULL);
    desk_post(&d, &a.errand);
    desk_post(&d, &b.errand);
    desk_close(&d);
    desk_post(&d, &late.errand);
    assert_int_equal(a.cancelled, 1);
    assert_int_equal(b.cancelled, 1);
    assert_int_equal(late.cancelled, 1);
    assert_int_equal(sum, 0);
    finish(&d, &loop);
}

struct poster {
    struct desk *there, *home;
    struct job jobs[EACH];
};

static void *post(void *arg)
{
    struct poster *p = arg;
    for (int i = 0; i < EACH; i++) {
        p->jobs[i] = job(p->home);
        desk_post(p->there, &p->jobs[i].errand);
    }
    return NULL;
}

struct away {
    uv_loop_t loop;
    struct desk desk;
    int sum;
};

static void *serve(void *arg)
{
    struct away *a = arg;
    (void)uv_run(&a->loop, UV_RUN_DEFAULT);
    return NULL;
}

static bool stop(struct errand *e, void *ctx)
{
    struct away *a = (struct away *)(void *)((char *)ctx - offsetof(struct away, sum));
    (void)e;
    desk_close(&a->desk);
    return true;
}

static void many_threads_ask_and_are_answered(void **state)
{
    (void)state;
    static struct poster posters[POSTERS];
    struct away away = {.sum = 0};
    uv_loop_t loop;
    struct desk home;
    int left = POSTERS * EACH;
    pthread_t thread, posting[POSTERS];
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(uv_loop_init(&away.loop), 0);
    assert_int_equal(desk_init(&home, &loop, &left), ERR_OK);
    assert_int_equal(desk_init(&away.desk, &away.loop, &away.sum), ERR_OK);
    assert_int_equal(pthread_create(&thread, NULL, serve, &away), 0);
    for (int i = 0; i < POSTERS; i++) {
        posters[i].there = &away.desk;
        posters[i].home = &home;
        assert_int_equal(pthread_create(&posting[i], NULL, post, &posters[i]), 0);
    }
    while (left > 0)
        (void)uv_run(&loop, UV_RUN_ONCE);
    struct errand end = {.run = stop, .cancel = cancel};
    desk_post(&away.desk, &end);
    for (int i = 0; i < POSTERS; i++)
        (void)pthread_join(posting[i], NULL);
    (void)pthread_join(thread, NULL);
    assert_int_equal(away.sum, POSTERS * EACH * PIECES);
    desk_finish(&away.desk);
    assert_int_equal(uv_loop_close(&away.loop), 0);
    desk_close(&home);
    finish(&home, &loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errands_run_in_pieces_and_in_turn),
        cmocka_unit_test(a_closed_desk_cancels),
        cmocka_unit_test(many_threads_ask_and_are_answered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
