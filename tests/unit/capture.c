#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "capture.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { CAPTURE_MAX = 1 << 22 };

static FILE *capture;
static int real_stderr;
static char *captured;

void capture_start(void)
{
    capture = tmpfile();
    assert_non_null(capture);
    assert_int_equal(fcntl(fileno(capture), F_SETFL, O_APPEND), 0);
    real_stderr = dup(STDERR_FILENO);
    assert_true(real_stderr >= 0);
    assert_true(dup2(fileno(capture), STDERR_FILENO) >= 0);
}

char *capture_end(void)
{
    assert_true(dup2(real_stderr, STDERR_FILENO) >= 0);
    close(real_stderr);
    free(captured);
    captured = calloc(1, CAPTURE_MAX);
    assert_non_null(captured);
    rewind(capture);
    assert_true(fread(captured, 1, CAPTURE_MAX - 1, capture) < CAPTURE_MAX - 1);
    fclose(capture);
    return captured;
}

void capture_forget(void)
{
    free(captured);
    captured = NULL;
}
