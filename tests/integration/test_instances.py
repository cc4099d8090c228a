"""Changing over to another instance, or to the next run of the same one."""

import random
import time

import pytest
from harness import check_gap, numbers, poll_until, scaled, settle

# A window short enough that a test can wait for both instances to know that much of the past.
WINDOW = {"resume.window": "1s", "resume.clock_skew": "100ms", "redis.ping_interval": "300ms",
          "redis.ping_timeout": "500ms"}


class Pair:
    """Two instances on one Redis, which both have listened for longer than the window."""

    def __init__(self, launch, redis):
        self.redis = redis
        self.daemons = [launch(sets={**WINDOW, "history.events": 100_000,
                                     "history.bytes": "64MiB"}) for _ in range(2)]
        self.keepers = [d.stream("/events?channel=news&channel=other&channel=probe&pattern=p*")
                        for d in self.daemons]
        poll_until(self._overlap, scaled(6), "both know the window", interval=0.1)

    def settle(self):
        """Until both have read all that was published."""
        for keeper in self.keepers:
            settle(keeper, self.redis, "probe")

    def _overlap(self):
        self.settle()
        position = self.keepers[0].last_id
        self.settle()
        with self.daemons[1].stream("/events/probe", last_id=position) as stream:
            return stream.events[0].json == {"resume": "continued"}

    def __getitem__(self, n):
        return self.daemons[n]


@pytest.fixture
def pair(launch, redis):
    both = Pair(launch, redis)
    yield both
    for keeper in both.keepers:
        keeper.close()


@pytest.mark.both
def test_an_id_of_the_other_instance(pair, redis):
    a, b = pair.daemons
    with a.stream("/events/news") as stream:
        redis.publish_all("news", numbers(1, 20))
        stream.wait_messages(20)
        ids = [m.id for m in stream.messages]
    pair.settle()
    for n in (1, 10, 20):
        with b.stream("/events/news", last_id=ids[n - 1]) as again:
            assert again.events[0].json == {"resume": "continued"}
            assert again.events[0].id == ids[n - 1]
            assert settle(again, redis, "news")[:20 - n] == numbers(n + 1, 20)
            assert again.gaps == []


@pytest.mark.both
@pytest.mark.parametrize("patient", [True, False], ids=["patient", "at-once"])
def test_hopping_between_instances_is_exactly_once(pair, flood, patient):
    """From one instance to the other and back under load. Patient clients come when the other
    instance has read what they know; others may be ahead of it by a moment."""
    target = "/events?channel=news&channel=other"
    witnesses = [d.stream(target) for d in pair.daemons]
    with pair[0].stream(target) as stream:
        last_id = stream.last_id
    publisher = flood(["news", "other"], rate=1000, count=3000)
    rng, seen = random.Random(7), []
    for hop in range(40):
        if patient and seen:
            witnesses[(hop + 1) % 2].wait_data(seen[-1])
        with pair[(hop + 1) % 2].stream(target, last_id=last_id) as stream:
            assert stream.events[0].json == {"resume": "continued"}, stream.describe()
            read_some(stream, 3000 if hop == 39 else rng.randrange(1, 60))
            assert stream.gaps == []
            seen += stream.data
            last_id = stream.last_id
        if seen[-1] == "3000":
            break
    publisher.wait()
    assert seen == numbers(1, 3000)
    for witness in witnesses:
        witness.close()


def read_some(stream, count):
    """Read so many messages, or up to the last one."""
    stream.wait_for(lambda s: len(s.messages) >= count or "3000" in s.data[-1:], 30, "messages")


def test_equal_payloads_arrive_at_least_once(pair, redis):
    a, b = pair.daemons
    with a.stream("/events/news") as stream:
        redis.publish_all("news", ["same"] * 10)
        stream.wait_messages(10)
        fifth = stream.messages[4].id
    pair.settle()
    with b.stream("/events/news", last_id=fifth) as again:
        got = settle(again, redis, "news")
        assert set(got) == {"same"} and 5 <= len(got) <= 10
        assert again.gaps == []


def test_a_foreign_position_without_an_event(pair, redis):
    a, b = pair.daemons
    with a.stream("/events/news") as stream:
        position = stream.events[0].id
    redis.publish_all("news", numbers(1, 5))
    with b.stream("/events/news", last_id=position) as again:
        got = settle(again, redis, "news")
        assert got[-5:] == numbers(1, 5) and again.gaps == []


def test_a_foreign_id_that_nobody_has_is_unknown(pair, redis):
    a, b = pair.daemons
    with a.stream("/events/news") as stream:
        redis.publish_all("news", numbers(1, 3))
        stream.wait_messages(3)
        seq, tag, fp = stream.last_id.split("-")
    pair.settle()
    made_up = f"{seq}-{tag}-{int(fp, 16) ^ 0x5a5a5a5a:08x}"
    with b.stream("/events/news", last_id=made_up) as again:
        assert again.events[0].json == {"resume": "gap"}
        check_gap(again.wait_gap(), "unknown-id")
        assert settle(again, redis, "news") == numbers(1, 3)


@pytest.mark.matrix
def test_a_restart_is_a_gap(launch, redis):
    tickerd = launch()
    with tickerd.stream("/events/news") as stream:
        redis.publish_all("news", numbers(1, 3))
        stream.wait_messages(3)
        last_id = stream.last_id
    tickerd.restart()
    with tickerd.stream("/events/news", last_id=last_id) as again:
        assert again.events[0].json == {"resume": "gap"}
        check_gap(again.wait_gap(), ("restart", "unsubscribed")
                  if "on-demand" in " ".join(tickerd.argv) else "restart")
        redis.publish("news", "4")
        assert settle(again, redis, "news") == ["4"]
        assert len(again.gaps) == 1
        last_id = again.gaps[0].id
    with tickerd.stream("/events/news", last_id=last_id) as third:
        assert third.events[0].json == {"resume": "continued"}
        assert settle(third, redis, "news")[:1] == ["4"]


def test_after_a_restart_all_that_came_since_is_delivered(launch, redis):
    tickerd = launch()
    with tickerd.stream("/events?channel=a&channel=b") as stream:
        redis.publish("a", "before")
        stream.wait_messages(1)
        last_id = stream.last_id
    tickerd.restart()
    redis.publish("a", "1")
    redis.publish("b", "2")
    with tickerd.stream("/events?channel=a&channel=b", last_id=last_id) as again:
        assert settle(again, redis, "a") == ["1", "2"]
        assert 1 <= len(again.gaps) <= 2
        for gap in again.gaps:
            check_gap(gap, "restart")


def test_the_other_instance_covers_a_restart(pair, redis):
    """While one instance is restarted the other carries on: no gap there."""
    a, b = pair.daemons
    with a.stream("/events/news") as stream:
        redis.publish_all("news", numbers(1, 3))
        stream.wait_messages(3)
        last_id = stream.last_id
    pair.settle()
    a.signal(15)
    redis.publish("news", "4")
    with b.stream("/events/news", last_id=last_id) as again:
        assert again.events[0].json == {"resume": "continued"}
        assert settle(again, redis, "news") == ["4"] and again.gaps == []
    assert a.wait() == 0


def test_ids_of_two_instances_are_close_in_time(pair, redis):
    streams = [d.stream("/events/news") for d in pair.daemons]
    redis.publish("news", "x")
    seqs = [int(s.wait_messages(1)[0].id[:13], 16) for s in streams]
    assert abs(seqs[0] - seqs[1]) < 1e6 * scaled(0.5)
    assert abs(seqs[0] / 1e6 - time.time()) < scaled(2)
    tags = {s.last_id.split("-")[1] for s in streams}
    fps = {s.last_id.split("-")[2] for s in streams}
    assert len(tags) == 2 and len(fps) == 1
    for stream in streams:
        stream.close()
