"""Clients that do not read: they cost little, disturb nobody, and learn what they lost."""

import time

import pytest
from harness import SANITIZER, check_gap, fd_count, numbers, poll_until, rss_kib, scaled, settle

BLOCK = "x" * 64_000


def publish_blocks(redis, channel, first, last):
    """Numbered messages of 64 KB, a few at a time."""
    for n in range(first, last + 1):
        redis.publish(channel, f"{n}:{BLOCK}")


def heads(stream):
    return [d.split(":")[0] for d in stream.data]


def fill(redis, fast, first=1, last=400):
    """Publish until far more is kept back than sockets and history can hold (25 MB), the fast
    client reading along; returns the last number."""
    for start in range(first, last + 1, 10):
        publish_blocks(redis, "news", start, start + 9)
        fast.wait_for(lambda s, n=start + 9: s.data and s.data[-1].startswith(f"{n}:"), 10,
                      "the fast client keeps up")
    return last


@pytest.mark.both
def test_a_slow_client_gets_a_gap_and_goes_on(launch, redis):
    tickerd = launch(sets={"history.events": 20, "history.bytes": "64MiB"})
    with tickerd.stream("/events/news") as fast, \
            tickerd.stream("/events/news", rcvbuf=4096) as slow:
        last = fill(redis, fast)
        assert heads(fast) == numbers(1, last) and fast.gaps == []
        slow.wait_for(lambda s: s.data and s.data[-1].startswith(f"{last}:"), 20, "the end")
        got = [int(n) for n in heads(slow)]
        assert len(slow.gaps) >= 1
        for gap in slow.gaps:
            check_gap(gap, ("evicted", "slow"))
        check_order_around_gaps(slow)
        assert got[-20:] == list(range(last - 19, last + 1))
        assert [m.id for m in slow.messages[-20:]] == [m.id for m in fast.messages[-20:]]
        assert settle(slow, redis, "news")[-1].startswith(f"{last}:")


def check_order_around_gaps(stream):
    """Between gaps every number follows the one before; at a gap some are left out."""
    expected = 1
    for event in stream.events[1:]:
        if event.type == "tickerd:gap":
            expected = None
            continue
        number = int(event.data.split(":")[0])
        assert expected in (None, number), f"{number} where {expected} was due"
        expected = number + 1


@pytest.mark.both
def test_a_lagging_client_loses_nothing_that_is_kept(launch, redis):
    """It stalls for as long as it likes; while the history holds, there is no gap."""
    tickerd = launch(sets={"history.events": 1000, "history.bytes": "64MiB"})
    with tickerd.stream("/events/news", rcvbuf=4096) as slow:
        publish_blocks(redis, "news", 1, 200)
        with tickerd.stream("/events/other") as other:
            assert settle(other, redis, "other") == []
        slow.wait_for(lambda s: len(s.messages) == 200, 20, "all messages")
        assert heads(slow) == numbers(1, 200) and slow.gaps == []


@pytest.mark.release
def test_slow_clients_cost_no_memory(launch, redis):
    """A hundred stalled clients hold positions in one log, not copies of it."""
    tickerd = launch(sets={"history.events": 100, "history.bytes": "16MiB"}, log_level="info")
    with tickerd.stream("/events/news") as fast:
        fill(redis, fast, 1, 200)
        before = rss_kib(tickerd.pid)
        slow = [tickerd.stream("/events/news", rcvbuf=4096) for _ in range(100)]
        fill(redis, fast, 201, 400)
        assert fast.gaps == []
        grown = rss_kib(tickerd.pid) - before
        for stream in slow:
            stream.close(reset=True)
    if SANITIZER is None:
        assert grown < 8 * 1024, f"{grown} KiB for 100 stalled clients"


@pytest.mark.both
def test_write_timeout_closes_a_dead_peer(launch, redis):
    tickerd = launch(sets={"history.events": 20, "history.bytes": "64MiB",
                           "limits.write_timeout": "1s"})
    with tickerd.stream("/events/news") as fast:
        settle(fast, redis, "news")
        base = fd_count(tickerd.pid)
        dead = [tickerd.stream("/events/news", rcvbuf=4096) for _ in range(3)]
        assert fd_count(tickerd.pid) == base + 3
        fill(redis, fast)
        poll_until(lambda: fd_count(tickerd.pid) == base, scaled(10),
                   lambda: f"the dead peers are closed\n{tickerd.log()[-1000:]}")
        assert fast.ended is None and fast.gaps == []
        for stream in dead:
            stream.close()


def test_a_slow_reader_that_moves_is_not_closed(launch, redis):
    """write_timeout is for frames that have left the log, not for clients that are just slow."""
    tickerd = launch(sets={"limits.write_timeout": "500ms", "history.bytes": "64MiB"})
    with tickerd.stream("/events/news", rcvbuf=4096) as slow, \
            tickerd.stream("/events/clock") as clock:
        publish_blocks(redis, "news", 1, 100)
        assert settle(clock, redis, "clock") == []
        until = time.monotonic() + 2
        while time.monotonic() < until:  # a trickle, for longer than the time-out
            slow.pump(0.05, size=512)
        slow.wait_for(lambda s: len(s.messages) == 100, 20, "all messages")
        assert slow.gaps == []


@pytest.mark.both
def test_a_slow_client_does_not_delay_others(launch, redis):
    tickerd = launch(sets={"history.events": 20, "history.bytes": "64MiB"}, workers=1)
    stalled = [tickerd.stream("/events/news", rcvbuf=4096) for _ in range(20)]
    with tickerd.stream("/events/news") as fast:
        fill(redis, fast)
        for n in range(50):
            redis.publish("ping", str(n))
        redis.publish("news", "end")
        fast.wait_data("end")
        assert fast.gaps == []
    for stream in stalled:
        stream.close(reset=True)


RULES = {"channels": ('[{"match": "price", "slow": "latest"}, '
                      '{"match": "log", "slow": "disconnect", "history": {"events": 20}}]'),
         "history.bytes": "64MiB"}


@pytest.mark.both
def test_latest_skips_to_the_newest(launch, redis):
    """Who reads sees every price; who does not sees what was on its way, and then the last one."""
    tickerd = launch(sets=RULES)
    with tickerd.stream("/events/price") as fast, \
            tickerd.stream("/events/price", rcvbuf=4096) as slow:
        for number in range(1, 401):  # more at a time, and the fast one would be slow, too
            publish_blocks(redis, "price", number, number)
            fast.wait_for(lambda s, n=number: s.data and s.data[-1].startswith(f"{n}:"), 10,
                          "the fast client keeps up")
        assert heads(fast) == numbers(1, 400)
        slow.wait_for(lambda s: s.data and s.data[-1].startswith("400:"), 20, "the newest")
        got = [int(n) for n in heads(slow)]
        assert got == sorted(set(got)) and len(got) < 300, got
        assert slow.gaps == [] and fast.gaps == []
        for number in (401, 402, 403):  # it has caught up
            redis.publish("price", f"{number}:")
        slow.wait_for(lambda s: s.data[-1].startswith("403:"), 10, "the next")
        assert heads(slow)[-3:] == numbers(401, 403)


@pytest.mark.both
def test_latest_resumes_with_the_newest(launch, redis):
    tickerd = launch(sets=RULES)
    with tickerd.stream("/events?channel=price&channel=news") as first:
        settle(first, redis, "price")
        position = first.last_id
    with tickerd.stream("/events/news") as other:  # says when all has arrived
        for n in range(1, 6):
            redis.publish("price", f"p{n}")
            redis.publish("news", f"n{n}")
        other.wait_data("n5")
    with tickerd.stream("/events?channel=price&channel=news", last_id=position) as again:
        again.wait_data("n5")
        assert again.data == ["n1", "n2", "n3", "n4", "p5", "n5"] and again.gaps == []


@pytest.mark.both
def test_disconnect_closes_who_falls_off_the_tail(launch, redis):
    tickerd = launch(sets=RULES)
    with tickerd.stream("/events/log") as fast:
        settle(fast, redis, "log")
        base = fd_count(tickerd.pid)
        slow = tickerd.stream("/events/log", rcvbuf=4096)
        settle(fast, redis, "log")
        for start in range(1, 401, 10):
            publish_blocks(redis, "log", start, start + 9)
            fast.wait_for(lambda s, n=start + 9: s.data and s.data[-1].startswith(f"{n}:"), 10,
                          "the fast client keeps up")
        poll_until(lambda: fd_count(tickerd.pid) == base, scaled(5), "the slow client is closed")
        assert fast.ended is None and fast.gaps == []
        slow.wait_end()
        with tickerd.stream("/events/log", last_id=slow.last_id) as again:
            again.wait_for(lambda s: s.data and s.data[-1].startswith("400:"), 20, "the end")
            assert check_gap(again.gaps[0], "evicted", "log")
            assert heads(again) == numbers(381, 400)
        slow.close()
