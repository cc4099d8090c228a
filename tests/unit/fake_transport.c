#include "fake_transport.h"

#include <assert.h>
#include <string.h>

static void read_bytes(struct fake_transport *t, const char *p, size_t len)
{
    static const char end[] = "\r\n\r\n";
    while (len > 0 && t->head_state < 4) {
        t->head_state = *p == end[t->head_state] ? t->head_state + 1 : *p == end[0] ? 1 : 0;
        t->head_len++;
        p++;
        len--;
    }
    sse_decoder_feed(&t->decoder, p, len);
}

static ssize_t op_write(struct transport *base, struct iovec *iov, int count)
{
    struct fake_transport *t = (struct fake_transport *)base;
    assert(t->closes == 0);
    assert(count > 0);
    t->writes++;
    if (t->error != 0)
        return t->error;
    ssize_t taken = 0;
    for (int i = 0; i < count; i++) {
        assert(iov[i].iov_len > 0);
        size_t n = iov[i].iov_len < t->room ? iov[i].iov_len : t->room;
        if (!t->forget)
            buf_append(&t->bytes, iov[i].iov_base, n);
        read_bytes(t, iov[i].iov_base, n);
        t->room -= t->room == SIZE_MAX ? 0 : n;
        taken += (ssize_t)n;
    }
    return taken;
}

static void op_want_write(struct transport *base, bool on)
{
    struct fake_transport *t = (struct fake_transport *)base;
    assert(t->closes == 0);
    assert(t->wanted != on); /* each call is a system call: none in vain */
    t->wanted = on;
}

static void op_close(struct transport *base, bool abort)
{
    struct fake_transport *t = (struct fake_transport *)base;
    t->closes++;
    t->aborted = abort;
    assert(t->closes == 1);
}

static void op_caught_up(struct transport *base)
{
    struct fake_transport *t = (struct fake_transport *)base;
    assert(t->closes == 0 && !t->caught_up); /* once */
    t->caught_up = true;
}

static const struct transport_ops fake_ops = {
    .write = op_write, .want_write = op_want_write, .caught_up = op_caught_up, .close = op_close};

void fake_transport_init(struct fake_transport *t)
{
    *t = (struct fake_transport){.transport = {&fake_ops}, .room = SIZE_MAX};
    buf_init(&t->bytes);
    sse_decoder_init(&t->decoder);
}

void fake_transport_finish(struct fake_transport *t)
{
    buf_finish(&t->bytes);
    sse_decoder_finish(&t->decoder);
}

const char *fake_transport_text(struct fake_transport *t)
{
    return buf_cstr(&t->bytes);
}
