"""`history=` on a first connect, and the bounds of what is kept."""

import pytest
from harness import SANITIZER, check_gap, check_increasing, error_body, numbers, poll_until, \
    rss_kib, scaled, settle, subscribed


def kept(tickerd, redis, channel):
    """What `history=all` gives on this channel, once all that was published has reached it."""
    with tickerd.stream("/events/sync") as stream:
        settle(stream, redis, "sync")
    with tickerd.stream(f"/events?channel={channel}&channel=sync&history=all") as stream:
        return settle(stream, redis, "sync")


class Keeper:
    """A daemon with a client on channels a, b, c and user.*, so that they are subscribed in either
    mode, and that tells when what was published has reached the daemon."""

    def __init__(self, tickerd, redis):
        self.redis = redis
        self.keeper = tickerd.stream("/events?channel=a&channel=b&channel=c&pattern=user.*"
                                     "&channel=sync")
        self.stream = tickerd.stream

    def publish(self, channel, *payloads):
        self.redis.publish_all(channel, payloads)
        settle(self.keeper, self.redis, "sync")


@pytest.fixture
def ready(tickerd, redis):
    keeper = Keeper(tickerd, redis)
    yield keeper
    keeper.keeper.close()


@pytest.mark.matrix
@pytest.mark.parametrize("asked,count", [("3", 3), ("10", 10), ("all", 10), ("99999", 10),
                                         ("0", 0), ("1", 1)])
def test_history_replays_the_last_n(ready, redis, asked, count):
    ready.publish("a", *numbers(1, 10))
    with ready.stream(f"/events/a?history={asked}") as stream:
        assert stream.events[0].json == {"resume": "new"}
        assert settle(stream, redis, "a") == numbers(11 - count, 10)
        assert stream.gaps == []
        check_increasing(stream.events)


@pytest.mark.both
def test_history_then_live_is_one_sequence(ready, redis):
    ready.publish("a", *numbers(1, 5))
    with ready.stream("/events/a?history=2") as stream:
        redis.publish_all("a", numbers(6, 8))
        assert settle(stream, redis, "a") == numbers(4, 8)


@pytest.mark.both
def test_history_of_several_channels_is_merged(ready, redis):
    for n in range(1, 11):
        ready.publish("abc"[n % 3], str(n))
    with ready.stream("/events?channel=a&channel=b&channel=c&history=2") as stream:
        assert settle(stream, redis, "a") == numbers(5, 10)
        check_increasing(stream.events)


@pytest.mark.both
def test_history_of_unequal_channels(ready, redis):
    """Each channel counts for itself, though a quiet one reaches further back."""
    redis.publish("a", "old a")
    ready.publish("b", *numbers(1, 10))
    with ready.stream("/events?channel=a&channel=b&history=2") as stream:
        assert settle(stream, redis, "a") == ["old a", "9", "10"]


@pytest.mark.both
def test_history_of_a_pattern_counts_per_channel(ready, redis):
    for n in range(1, 7):
        ready.publish(f"user.{n % 2}", str(n))
    with ready.stream("/events?pattern=user.*&history=1") as stream:
        assert settle(stream, redis, "user.9") == ["5", "6"]
    with ready.stream("/events?pattern=user.*&channel=user.0&history=2") as stream:
        got = settle(stream, redis, "user.9")
        assert got == numbers(3, 6)


@pytest.mark.both
def test_open_is_the_position_before_the_history(ready, redis):
    """A connection lost right after tickerd:open resumes with all the history it was promised."""
    ready.publish("a", *numbers(1, 5))
    with ready.stream("/events/a?history=3") as stream:
        position = stream.events[0].id
    with ready.stream("/events/a?history=3", last_id=position) as again:
        assert again.events[0].json == {"resume": "continued"}
        assert settle(again, redis, "a") == numbers(3, 5)
        assert again.gaps == []


def test_an_id_makes_history_ignored(ready, redis):
    with ready.stream("/events/a") as stream:
        redis.publish_all("a", numbers(1, 5))
        stream.wait_messages(5)
        third = stream.messages[2].id
    with ready.stream("/events/a?history=all", last_id=third) as again:
        assert settle(again, redis, "a") == ["4", "5"]


@pytest.mark.parametrize("value", ["-1", "x", "1.5", "", "1x", "99999999999999999999", "ALL"])
def test_bad_history_is_refused(tickerd, value):
    error_body(tickerd.get(f"/events/a?history={value}"), 400)


@pytest.mark.workers
def test_history_is_warm_without_subscribers(tickerd, redis):
    redis.publish_all("cold", numbers(1, 3))
    assert kept(tickerd, redis, "cold") == numbers(1, 3)


@pytest.mark.workers
def test_history_of_a_fresh_instance_is_no_gap(tickerd, redis):
    with tickerd.stream("/events/never?history=all") as stream:
        assert settle(stream, redis, "never") == []
        assert stream.gaps == []


# Bounds.

def publish_slowly(stream, redis, channel, payloads):
    """One at a time, so that none waits for the stream when the next one comes."""
    for payload in payloads:
        redis.publish(channel, payload)
        stream.wait_data(payload)


@pytest.mark.both
@pytest.mark.parametrize("events", [0, 1, 5])
def test_a_burst_beyond_the_history_reaches_live_clients(launch, redis, events):
    """A short history is no reason to lose messages for a client that keeps up."""
    tickerd = launch(sets={"history.events": events})
    with tickerd.stream("/events/a") as stream, tickerd.stream("/events?pattern=*") as other:
        redis.publish_all("a", numbers(1, 50))
        for each in (stream, other):
            each.wait_data("50")
            assert each.data == numbers(1, 50) and each.gaps == []


@pytest.mark.matrix
def test_history_events_is_exact(launch, redis):
    tickerd = launch(sets={"history.events": 5})
    with subscribed(tickerd, "a", "sync") as stream:
        publish_slowly(stream, redis, "a", numbers(1, 8))
        ids = [m.id for m in stream.messages]
        assert kept(tickerd, redis, "a") == numbers(4, 8)
        with tickerd.stream("/events?channel=a&channel=sync", last_id=ids[2]) as exact:
            assert exact.events[0].json == {"resume": "continued"}
            assert exact.events[0].id == ids[2]
            assert settle(exact, redis, "sync") == numbers(4, 8)
            assert exact.gaps == []
        with tickerd.stream("/events?channel=a&channel=sync", last_id=ids[1]) as late:
            assert late.events[0].json == {"resume": "gap"}
            assert settle(late, redis, "sync") == numbers(4, 8)
            body = check_gap(late.gaps[0], "evicted", "a")
            assert len(late.gaps) == 1 and late.events[1] is late.gaps[0]
            assert body["from"] in (ids[1], None)
            gap_id = late.gaps[0].id
        with tickerd.stream("/events?channel=a&channel=sync", last_id=gap_id) as after:
            assert after.events[0].json == {"resume": "continued"}
            assert settle(after, redis, "sync") == numbers(4, 8)
            assert after.gaps == []


@pytest.mark.both
def test_only_the_channel_that_lost_something_has_a_gap(launch, redis):
    tickerd = launch(sets={"history.events": 5})
    with subscribed(tickerd, "busy", "quiet") as stream:
        redis.publish("quiet", "q1")
        stream.wait_messages(1)
        position = stream.last_id
        publish_slowly(stream, redis, "busy", numbers(1, 10))
        publish_slowly(stream, redis, "quiet", ["q2"])
        with subscribed(tickerd, "busy", "quiet", last_id=position) as again:
            assert settle(again, redis, "quiet") == [*numbers(6, 10), "q2"]
            check_gap(again.gaps[0], "evicted", "busy")
            assert len(again.gaps) == 1
        with subscribed(tickerd, "quiet", last_id=position) as again:
            assert again.events[0].json == {"resume": "continued"}
            assert settle(again, redis, "quiet") == ["q2"]
            assert again.gaps == []


def test_a_gap_of_a_pattern_names_the_channel(launch, redis):
    tickerd = launch(sets={"history.events": 3})
    with tickerd.stream("/events?pattern=p.*") as stream:
        redis.publish("p.first", "0")
        stream.wait_messages(1)
        position = stream.last_id
        publish_slowly(stream, redis, "p.quiet", ["q"])
        publish_slowly(stream, redis, "p.busy", numbers(1, 6))
        with tickerd.stream("/events?pattern=p.*", last_id=position) as again:
            assert settle(again, redis, "p.first") == ["q", *numbers(4, 6)]
            assert [check_gap(g, "evicted")["channel"] for g in again.gaps] == ["p.busy"]


def test_history_bytes_bound_and_the_newest_stays(launch, redis):
    tickerd = launch(sets={"history.bytes": "8KiB"})
    redis.publish_all("a", [f"{n}:" + "x" * 1000 for n in range(1, 21)])
    got = [d.split(":")[0] for d in kept(tickerd, redis, "a")]
    assert 5 <= len(got) <= 8 and got == numbers(21 - len(got), 20)
    redis.publish("a", "big" + "y" * 20000)
    assert [d[:3] for d in kept(tickerd, redis, "a")] == ["big"]
    redis.publish("a", "small")
    assert kept(tickerd, redis, "a") == ["small"]


@pytest.mark.both
def test_history_age(launch, redis):
    tickerd = launch(sets={"history.age": "1s"})
    with tickerd.stream("/events/a") as stream:
        redis.publish_all("a", numbers(1, 3))
        stream.wait_messages(3)
        ids = [m.id for m in stream.messages]
        poll_until(lambda: kept(tickerd, redis, "a") == [], scaled(5), "the events expire", 0.1)
        with tickerd.stream("/events/a", last_id=ids[2]) as exact:
            assert exact.events[0].json == {"resume": "continued"}
            assert settle(exact, redis, "a") == [] and exact.gaps == []
        with tickerd.stream("/events/a", last_id=ids[1]) as late:
            assert late.events[0].json == {"resume": "gap"}
            check_gap(late.wait_gap(), "evicted", "a")
            redis.publish("a", "4")
            assert settle(late, redis, "a") == ["4"]


def test_history_total_bytes_takes_from_the_least_recently_used(launch, redis):
    tickerd = launch(sets={"history.total_bytes": "200KiB"})
    used = tickerd.stream("/events/c0")
    for n in range(20):
        redis.publish(f"c{n}", f"{n}:" + "x" * 20_000)
    used.wait_messages(1)
    have = [bool(kept(tickerd, redis, f"c{n}")) for n in range(20)]
    assert have[0], "a channel with a subscriber gives way last"
    assert have[19] and not have[1], have
    assert sorted(have[1:]) == have[1:], f"not the least recently used ones went: {have}"
    assert 4 <= sum(have) <= 10, have
    with tickerd.stream("/events/c1", last_id=used.events[0].id) as late:
        check_gap(late.wait_gap(), "evicted")
    used.close()


def test_rules_override_single_history_keys(launch, redis):
    tickerd = launch(sets={"history.events": 10, "channels": [
        {"match": "short.*", "history": {"events": 2}},
        {"match": "*.bytes", "history": {"bytes": "2KiB"}},
        {"match": "short.bytes", "history": {"events": 9}}]})
    for channel in ("short.x", "plain", "x.bytes"):
        redis.publish_all(channel, [f"{n}:" + "x" * 500 for n in range(1, 13)])
    got = {c: [d.split(":")[0] for d in kept(tickerd, redis, c)]
           for c in ("short.x", "plain", "x.bytes")}
    assert got["short.x"] == numbers(11, 12)
    assert got["plain"] == numbers(3, 12)
    assert 2 <= len(got["x.bytes"]) <= 4


@pytest.mark.release
def test_many_channels_do_not_grow_memory(launch, redis):
    """Names chosen by a publisher are bounded by history.total_bytes, stubs included."""
    tickerd = launch(sets={"history.total_bytes": "1MiB"}, log_level="info")
    rounds = 12

    def publish(round_number):
        for part in range(10):
            redis.pipeline(("PUBLISH", f"sse:r{round_number}.{part}.{i}", "x" * 50)
                           for i in range(500))

    with tickerd.stream("/events/sync") as stream:
        for round_number in range(3):
            publish(round_number)
        settle(stream, redis, "sync", timeout=20)
        before = rss_kib(tickerd.pid)
        for round_number in range(3, rounds):
            publish(round_number)
        settle(stream, redis, "sync", timeout=20)
        grown = rss_kib(tickerd.pid) - before
    if SANITIZER is None:
        assert grown < 4096, f"{grown} KiB more after 45,000 more channels"
