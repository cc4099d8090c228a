"""Many clients, many messages, many connects."""

import re
import resource

import pytest
from harness import (SANITIZER, Crowd, check_increasing, fd_count, numbers, poll_until, rss_kib,
                     scaled, settle)

_NUMBER = re.compile(rb"^data: (\d+)$", re.M)
_BLOCK = re.compile(rb"(?:data: \d+\nid: [0-9a-f]{13}-[0-9a-f]{8}-[0-9a-f]{8}\n\n|:\n)*")


def check_from(stream, last):
    """The stream has every number from its first one to `last`, and nothing else after its open."""
    first_block = stream.body.index(b"\n\n") + 2
    body = stream.body[first_block:]
    assert _BLOCK.fullmatch(body), "bytes that are no plain message"
    got = [int(n) for n in _NUMBER.findall(body)]
    assert got == list(range(got[0], last + 1))
    return got[0]


BIG_HISTORY = {"history.events": 1_000_000, "history.bytes": "1GiB"}


@pytest.mark.matrix
def test_replay_meets_live(launch, flood):
    """While 10,000 messages a second arrive, clients come by history and by id: what is replayed
    and what is live join without gap or duplicate."""
    rate = {None: 10_000, "asan": 10_000, "tsan": 3_000}[SANITIZER]
    count = rate * 2
    tickerd = launch(sets=BIG_HISTORY, log_level="info")
    with tickerd.stream("/events?channel=news&pattern=n*") as keeper:
        start = keeper.events[0].id
        publisher = flood(["news"], rate=rate, count=count)
        streams = []
        for n in range(20):
            keeper.wait_messages(len(keeper.messages) + rate // 20, timeout=20)
            options = [("/events/news?history=all", None),
                       ("/events?pattern=n*&history=100", None),
                       ("/events/news", start), ("/events/news", keeper.last_id),
                       ("/events?pattern=n*&channel=news", keeper.messages[len(streams)].id)]
            target, last_id = options[n % len(options)]
            streams.append((n, tickerd.connect(target, last_id=last_id, parse=False)))
        publisher.wait()
        keeper.wait_data(str(count), timeout=30)
        check_increasing(keeper.messages)
        assert keeper.data == numbers(1, count)
        ending = f"data: {count}\n".encode()
        for n, stream in streams:
            stream.wait_for(lambda s: ending in s.received[-200:] and s.received.endswith(b"\n\n"),
                            30, "the whole last message")
            first = check_from(stream, count)
            assert first == 1 or n % 5 not in (0, 2), f"client {n} starts at {first}"
            stream.close()


def run_crowd(tickerd, redis, clients, count, batch):
    with Crowd(tickerd.address, clients, count) as crowd, \
            tickerd.stream("/events/news") as witness:
        for start in range(1, count + 1, batch):
            redis.publish_all("news", numbers(start, min(start + batch - 1, count)))
            witness.wait_messages(min(start + batch - 1, count), timeout=30)
        assert witness.data == numbers(1, count)
        crowd.check(witness)


@pytest.mark.release
@pytest.mark.workers
def test_five_thousand_clients_get_a_thousand_messages(launch, redis):
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if limit < 6000:
        pytest.skip(f"only {limit} open files are allowed here")
    tickerd = launch(nofile=min(limit, 20_000), log_level="info")
    run_crowd(tickerd, redis, 5000, 1000, 100)


@pytest.mark.both
def test_three_hundred_clients_get_a_thousand_messages(launch, redis):
    run_crowd(launch(log_level="info"), redis, 300, 1000, 100)


@pytest.mark.both
def test_a_thousand_clients_on_a_thousand_channels(launch, redis):
    clients = {None: 1000, "asan": 1000, "tsan": 300}[SANITIZER]
    tickerd = launch(log_level="info")
    streams = [tickerd.stream(f"/events/c{i}") for i in range(clients)]
    for n in range(3):
        redis.pipeline(("PUBLISH", f"sse:c{i}", f"{n}:{i}") for i in range(clients))
    for i, stream in enumerate(streams):
        stream.wait_messages(3, timeout=10)
        assert stream.data == [f"{n}:{i}" for n in range(3)]
        stream.close()


def come_and_go(tickerd, count):
    """Connections that end in every way a client can end one."""
    for i in range(count):
        stream = tickerd.connect(f"/events?channel=news&channel=c{i % 50}&pattern=p{i % 7}*")
        if i % 4:
            stream.wait_head()
        stream.close(reset=i % 3 == 0)


@pytest.mark.release
@pytest.mark.both
def test_ten_thousand_connects_leave_nothing_behind(launch, redis):
    rounds = {None: 10_000, "asan": 10_000, "tsan": 2_000}[SANITIZER]
    tickerd = launch(sets={"redis.linger": "0s"}, log_level="info")
    with tickerd.stream("/events/news") as keeper:
        settle(keeper, redis, "news")
        files = fd_count(tickerd.pid)
        come_and_go(tickerd, rounds // 5)
        poll_until(lambda: fd_count(tickerd.pid) <= files, scaled(10), "sockets are closed")
        before = rss_kib(tickerd.pid)
        come_and_go(tickerd, rounds - rounds // 5)
        poll_until(lambda: fd_count(tickerd.pid) <= files, scaled(10), "sockets are closed")
        grown = rss_kib(tickerd.pid) - before
        redis.publish("news", "after")
        keeper.wait_data("after")
        assert keeper.gaps == []
    if SANITIZER is None:
        assert grown < 1024, f"{grown} KiB more after {rounds} connections"


@pytest.mark.workers
def test_everything_at_once(launch, redis, flood):
    """Subscribers of many kinds come and go under load, on demand and with a short history."""
    tickerd = launch(mode="on-demand", sets={"redis.linger": "0s", "history.events": 200},
                     log_level="info")
    keeper = tickerd.stream("/events?channel=a&channel=b&channel=c")
    keeper.parse = False
    publisher = flood(["a", "b", "c", "d"], rate=2000)
    targets = ("/events/a", "/events?pattern=*", "/events?channel=b&pattern=b*&channel=d",
               "/events/c?history=5", "/events?pattern=%5Bad%5D&format=json")
    for round_number in range(40):
        streams = [tickerd.connect(t) for t in targets]
        for stream in streams:
            stream.wait_messages(5, timeout=20)
            assert stream.gaps == [] and stream.events[0].type == "tickerd:open"
            stream.close(reset=round_number % 2 == 0)
        keeper.read_what_is_there()
    last = publisher.stop()
    wanted = [n for n in range(1, last + 1) if n % 4 != 3]  # 3, 7, … went to d
    ending = f"data: {wanted[-1]}\n".encode()
    keeper.wait_for(lambda s: ending in s.received[-200:], 20, "the last message")
    assert [int(n) for n in _NUMBER.findall(keeper.body)] == wanted
    keeper.close()
