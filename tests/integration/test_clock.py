"""The wall clock of a running daemon is set forth and back by hours: nothing that lasts is measured
by it, and ids from before and after stay in order."""

import email.utils
import random
import signal
import socket
import time

import pytest
from harness import EVENT_ID, WallClock, check_gap, numbers, poll_until, scaled, settle

HOUR = 3600
STEPPED = "the wall clock was stepped"

pytestmark = [pytest.mark.release,
              pytest.mark.skipif(WallClock.missing() is not None, reason=str(WallClock.missing()))]


@pytest.fixture
def clock():
    wall = WallClock()
    yield wall
    wall.remove()


@pytest.fixture
def stepped(clock):
    """stepped(daemon, …, by=seconds): set their clock, and wait until all have noticed."""
    def step(*daemons, by):
        before = [len(d.log()) for d in daemons]
        clock.set(clock.offset + by)
        for daemon, at in zip(daemons, before):
            daemon.wait_log(STEPPED, after=at)
    return step


def tag(event_id):
    assert EVENT_ID.fullmatch(event_id), event_id
    return event_id.split("-")[1]


def shown_time(event_id):
    return int(event_id[:13], 16) / 1e6


STEPS = [3 * HOUR, -5 * HOUR, 2, -2, 48 * HOUR]


@pytest.mark.both
def test_streams_and_heartbeats_go_on(launch, redis, clock, stepped):
    tickerd = launch(env=clock.env, sets={"stream.heartbeat": "1s", "stream.max_age": "60s"})
    with tickerd.stream("/events/news") as stream, tickerd.stream("/events/quiet") as quiet:
        started = time.monotonic()
        for n, by in enumerate(STEPS):
            redis.publish("news", f"before {n}")
            stream.wait_data(f"before {n}")
            beats = len(quiet.comments)
            stepped(tickerd, by=by)
            redis.publish("news", f"after {n}")
            stream.wait_data(f"after {n}")
            quiet.wait_for(lambda s: len(s.comments) > beats, 5, "another heartbeat")
        assert len(quiet.comments) <= time.monotonic() - started + 1, "they come too often"
        assert stream.data == [f"{w} {n}" for n in range(len(STEPS)) for w in ("before", "after")]
        assert stream.gaps == quiet.gaps == [] and not stream.ended and not quiet.ended
    assert "room for" in tickerd.log() and "Redis is back" not in tickerd.log()


@pytest.mark.both
def test_ids_show_the_new_time_under_a_new_tag(launch, redis, clock, stepped):
    tickerd = launch(env=clock.env)
    with tickerd.stream("/events/news") as stream:
        for n, by in enumerate([0] + STEPS):
            if by:
                stepped(tickerd, by=by)
            redis.publish_all("news", [f"{n}-{i}" for i in range(5)])
            stream.wait_messages(5 * (n + 1))
            ids = [m.id for m in stream.messages[-5:]]
            assert len({tag(i) for i in ids}) == 1 and ids == sorted(ids)
            assert abs(shown_time(ids[0]) - clock.now()) < scaled(2)
        assert len({tag(m.id) for m in stream.messages}) == len(STEPS) + 1


@pytest.mark.both
def test_ids_from_before_and_after_resume_exactly(launch, redis, clock, stepped):
    tickerd = launch(env=clock.env)
    target = "/events?channel=news&channel=other&channel=probe&pattern=n*"
    keeper = tickerd.stream(target)
    for n, by in enumerate(STEPS):
        for i in range(4):
            redis.publish(("news", "other")[i % 2], str(4 * n + i + 1))
        keeper.wait_messages(4 * (n + 1))
        stepped(tickerd, by=by)
    last = 4 * len(STEPS)
    assert keeper.data == numbers(1, last)
    for n, message in enumerate(keeper.messages, 1):
        with tickerd.stream(target, last_id=message.id) as again:
            assert again.events[0].json == {"resume": "continued"}
            assert again.events[0].id == message.id
            assert settle(again, redis, "probe") == numbers(n + 1, last), message
            assert again.gaps == []
    keeper.close()


def test_hopping_through_steps_under_load(launch, redis, clock, flood):
    """Cut and resumed again and again while the clock jumps at random."""
    tickerd = launch(env=clock.env, log_level="info")
    target, rng, seen = "/events?channel=a&channel=b", random.Random(5), []
    with tickerd.stream(target) as stream:
        last_id = stream.last_id
    publisher = flood(["a", "b"], rate=500)
    for hop in range(60):
        if hop % 4 == 0:
            clock.set(rng.randrange(-10 * HOUR, 10 * HOUR))
        with tickerd.stream(target, last_id=last_id) as stream:
            assert stream.events[0].json == {"resume": "continued"}, stream.describe()
            stream.wait_messages(rng.randrange(1, 40), timeout=10)
            assert stream.gaps == []
            seen += stream.data
            last_id = stream.last_id
    publisher.stop()
    assert seen == numbers(1, len(seen))


def test_ids_of_very_many_steps_ago_are_never_silent(launch, redis, clock, stepped):
    """Sixteen steps are remembered; an older id counts as that of another instance."""
    tickerd = launch(env=clock.env)
    with tickerd.stream("/events/news") as stream:
        for n in range(1, 21):
            redis.publish("news", str(n))
            stream.wait_messages(n)
            stepped(tickerd, by=HOUR if n % 2 else -HOUR)
        ids = [m.id for m in stream.messages]
    for n, event_id in enumerate(ids, 1):
        with tickerd.stream("/events/news", last_id=event_id) as again:
            got = settle(again, redis, "news")
            assert got[-(20 - n):] == numbers(n + 1, 20) or n == 20
            if got != numbers(n + 1, 20):
                assert again.events[0].json == {"resume": "gap"} and again.gaps
                assert n < 6, "a step that should be remembered is not"


def kept(tickerd, channel):
    """What a newcomer gets of the channel's history."""
    with tickerd.stream(f"/events/{channel}?history=all") as stream:
        stream.pump(0.1)
        return stream.data


def test_a_step_forth_expires_nothing(launch, redis, clock, stepped):
    tickerd = launch(env=clock.env, mode="on-demand",
                     sets={"history.age": "10m", "redis.linger": "10m"})
    with tickerd.stream("/events?channel=news&channel=probe") as keeper:
        redis.publish_all("news", numbers(1, 3))
        keeper.wait_messages(3)
    stepped(tickerd, by=48 * HOUR)
    with tickerd.stream("/events/probe") as probe:  # and several ticks of the hub later
        for _ in range(4):
            settle(probe, redis, "probe")
            probe.pump(0.25)
    assert redis.subscriptions()[0] >= {"sse:news"}, "what lingers was given up"
    assert kept(tickerd, "news") == numbers(1, 3)


@pytest.mark.both
def test_a_step_back_keeps_nothing_for_ever(launch, redis, clock, stepped):
    tickerd = launch(env=clock.env, sets={"history.age": "1s"})
    with tickerd.stream("/events/news") as keeper:
        redis.publish_all("news", numbers(1, 3))
        keeper.wait_messages(3)
        stepped(tickerd, by=-48 * HOUR)
        redis.publish_all("news", numbers(4, 6))
        keeper.wait_messages(6)
        published = time.monotonic()
        poll_until(lambda: not kept(tickerd, "news"), scaled(5), "all is gone")
        assert time.monotonic() - published > 0.8


@pytest.mark.both
@pytest.mark.parametrize("by", [3 * HOUR, -3 * HOUR], ids=["forth", "back"])
def test_time_outs_are_not_affected(launch, redis, clock, stepped, by):
    tickerd = launch(env=clock.env, sets={"limits.request_timeout": "2s", "history.bytes": "64MiB",
                                          "limits.write_timeout": "2s"})
    started = time.monotonic()
    half = tickerd.connect("/", raw=b"GET /events/ne")
    slow = tickerd.stream("/events/news", rcvbuf=4096)
    with tickerd.stream("/events/news") as fast:
        redis.publish_all("news", ["x" * 64_000] * 100)
        fast.wait_messages(100, timeout=10)
        assert len(fast.messages) == 100
    stalled = time.monotonic()
    stepped(tickerd, by=by)
    half.wait_end(10)
    assert half.response.status == 408 and time.monotonic() - started > 1.5
    poll_until(lambda: is_cut(slow), scaled(10), "the slow client is closed")
    assert time.monotonic() - stalled > 1.0
    slow.close()


def is_cut(stream):
    """Whether the peer has reset the connection; reads nothing, so that the client stays slow."""
    return stream.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0


@pytest.mark.parametrize("by", [3 * HOUR, -3 * HOUR], ids=["forth", "back"])
def test_a_drain_takes_its_time(launch, clock, stepped, by):
    tickerd = launch(env=clock.env, sets={"drain.timeout": "2s"})
    streams = [tickerd.stream("/events/news") for _ in range(20)]
    started = time.monotonic()
    tickerd.signal(signal.SIGTERM)
    streams[0].wait_end()
    clock.set(by)
    for stream in streams:
        assert stream.wait_end(10) == "fin"
    assert 1.5 < time.monotonic() - started < 2 + scaled(3)
    assert tickerd.wait() == 0


def test_the_date_header_follows(launch, clock):
    tickerd = launch(env=clock.env)
    for offset in (0, 3 * HOUR, -50 * HOUR, 1):
        clock.set(offset)
        date = email.utils.parsedate_to_datetime(tickerd.get("/healthz").header("date"))
        assert abs(date.timestamp() - clock.now()) < scaled(2)


# Two instances on one host, whose clock is set while clients go from one to the other.

WINDOW = {"resume.window": "1s", "resume.clock_skew": "100ms", "redis.ping_interval": "300ms",
          "redis.ping_timeout": "500ms"}


@pytest.fixture
def pair(launch, redis, clock):
    daemons = [launch(env=clock.env, sets=WINDOW) for _ in range(2)]
    keepers = [d.stream("/events?channel=news&channel=probe&pattern=*") for d in daemons]

    def overlap():
        for keeper in keepers:
            settle(keeper, redis, "probe")
        with daemons[1].stream("/events/probe", last_id=keepers[0].last_id) as stream:
            return stream.events[0].json == {"resume": "continued"}

    poll_until(overlap, scaled(6), "both know the window", interval=0.1)
    yield daemons
    for keeper in keepers:
        keeper.close()


def test_ids_of_the_other_instance_from_before_a_step_forth(pair, redis, stepped):
    """A host wakes up: the ids that clients bring are hours old, and exact."""
    first, second = pair
    with first.stream("/events/news") as stream:
        redis.publish_all("news", numbers(1, 5))
        ids = [m.id for m in stream.wait_messages(5)]
        stepped(first, second, by=3 * HOUR)
        redis.publish_all("news", numbers(6, 10))
        ids += [m.id for m in stream.wait_messages(10)[5:]]
    for n, event_id in enumerate(ids, 1):
        with second.stream("/events/news", last_id=event_id) as again:
            assert again.events[0].json == {"resume": "continued"}, (n, again.describe())
            assert settle(again, redis, "news")[:10 - n] == numbers(n + 1, 10)
            assert again.gaps == []


def test_a_time_that_comes_twice_is_never_silent(pair, redis, stepped):
    """Set back by three seconds: a position of before, brought four seconds later, looks like one
    of a second ago. What came behind it must come, or a gap."""
    first, second = pair
    with first.stream("/events/news") as stream:
        position = stream.events[0].id
        redis.publish_all("news", numbers(1, 5))
        later = stream.wait_messages(5)[4].id
    stepped(first, second, by=-3)
    started = time.monotonic()
    with second.stream("/events/probe") as probe:
        while time.monotonic() < started + 4.5:
            settle(probe, redis, "probe")
            probe.pump(0.1)
    with second.stream("/events/news", last_id=position) as again:
        got = settle(again, redis, "news")
        assert got[-5:] == numbers(1, 5) or again.gaps, again.describe()
    with second.stream("/events/news", last_id=later) as again:
        assert settle(again, redis, "news")[-5:] in ([], numbers(1, 5)) or again.gaps


def test_one_clock_beyond_the_window_is_announced(launch, redis, clock):
    """An instance whose clock is an hour ahead gives out ids that the other cannot place."""
    clock.set(HOUR)
    ahead, right = launch(env=clock.env, sets=WINDOW), launch(sets=WINDOW)
    keeper = right.stream("/events/news")
    with ahead.stream("/events/news") as stream:
        redis.publish_all("news", numbers(1, 3))
        last_id = stream.wait_messages(3)[2].id
    keeper.wait_messages(3)
    with right.stream("/events/news", last_id=last_id) as again:
        assert again.events[0].json == {"resume": "gap"}
        check_gap(again.wait_gap(), "unknown-id")
        assert settle(again, redis, "news") == numbers(1, 3)
    keeper.close()
