#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdatomic.h>
#include <stdlib.h>

#include "broker_util.h"
#include "tickerd/base/err.h"

static void releases_frames_and_names(void **state)
{
    (void)state;
    struct name *news = make_name("news");
    struct frame *f = make_frame(news, 1, "x");
    struct note n = {.kind = NOTE_FRAME, .ref = frame_ref(f)};
    note_release(&n);
    assert_null(n.ref);
    assert_int_equal(atomic_load(&f->refs), 1);
    note_release(&n); /* owns nothing any more */
    frame_unref(f);
    const enum note_kind kinds[] = {NOTE_HOLE, NOTE_INTEREST};
    for (size_t i = 0; i < 2; i++) {
        n = (struct note){.kind = (uint8_t)kinds[i], .ref = name_ref(news)};
        note_release(&n);
        assert_null(n.ref);
    }
    n = (struct note){.kind = NOTE_HOLE}; /* all channels */
    note_release(&n);
    assert_int_equal(atomic_load(&news->refs), 1);
    name_unref(news);
}

static void releases_snapshots(void **state)
{
    (void)state;
    struct name *news = make_name("news");
    struct ring r;
    ring_init(&r);
    for (uint64_t s = 1; s < 6; s++)
        assert_int_equal(ring_push_frame(&r, make_frame(news, s, "x")), ERR_OK);
    assert_int_equal(ring_push_hole(&r, 6, news, GAP_OVERSIZE), ERR_OK);
    struct note n = {.kind = NOTE_RESET, .ref = make_snapshot(&r, 9, true)};
    ring_finish(&r);
    note_release(&n);
    assert_null(n.ref);
    assert_int_equal(atomic_load(&news->refs), 1);
    note_release(&n);
    name_unref(news);
}

static void others_own_little(void **state)
{
    (void)state;
    struct note n = {.kind = NOTE_TIMELINE, .ref = malloc(sizeof(struct timeline))};
    note_release(&n);
    assert_null(n.ref);
    const enum note_kind kinds[] = {NOTE_EVICT, NOTE_LIVE, NOTE_UPSTREAM, NOTE_DROP, NOTE_RESYNC};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        n = (struct note){.kind = (uint8_t)kinds[i]};
        note_release(&n);
        assert_null(n.ref);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(releases_frames_and_names),
        cmocka_unit_test(releases_snapshots),
        cmocka_unit_test(others_own_little),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
