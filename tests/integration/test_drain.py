"""Stopping: streams end whole, clients know when to come back, the status is 0."""

import signal
import time

import pytest
from harness import numbers, poll_until, scaled

DRAINING = r"(?i)drain|stopping|shutting"


@pytest.mark.matrix
@pytest.mark.parametrize("which", [signal.SIGTERM, signal.SIGINT], ids=["TERM", "INT"])
def test_term_ends_streams_on_a_block_boundary(launch, redis, which):
    tickerd = launch(sets={"drain.timeout": "500ms"})
    streams = [tickerd.stream("/events/news") for _ in range(10)]
    redis.publish("news", "hello")
    for stream in streams:
        stream.wait_messages(1)
    tickerd.signal(which)
    for stream in streams:
        assert stream.wait_end() == "fin"
        assert stream.parser.clean, stream.describe()
        assert stream.data == ["hello"] and stream.gaps == []
        assert stream.parser.reconnection_time >= 500
    assert tickerd.wait() == 0


@pytest.mark.both
def test_term_under_load(launch, flood):
    tickerd = launch(sets={"drain.timeout": "500ms"})
    streams = [tickerd.stream("/events/news") for _ in range(20)]
    publisher = flood(["news"], rate=2000)
    for stream in streams:
        stream.wait_messages(100)
    tickerd.signal(signal.SIGTERM)
    for stream in streams:
        assert stream.wait_end() == "fin", stream.describe()
        assert stream.parser.clean, stream.describe()
        assert stream.data == numbers(1, len(stream.data)) and stream.gaps == []
    assert tickerd.wait() == 0
    publisher.stop()


def test_closes_are_spread_over_the_timeout(launch):
    tickerd = launch(sets={"drain.timeout": "2s"})
    streams = [tickerd.stream("/events/news") for _ in range(40)]
    started = time.monotonic()
    tickerd.signal(signal.SIGTERM)
    ends = {}

    def all_ended():
        for n, stream in enumerate(streams):
            stream.read_what_is_there()
            if stream.ended:
                ends.setdefault(n, time.monotonic() - started)
        return len(ends) == len(streams)

    poll_until(all_ended, scaled(5), "all streams end")
    assert tickerd.wait() == 0
    early = sum(1 for t in ends.values() if t < 1)
    assert 5 <= early <= 35, sorted(ends.values())
    for stream in streams:
        assert stream.parser.reconnection_time > 0 and stream.parser.clean


@pytest.mark.both
def test_newcomers_are_sent_away_while_draining(launch, redis):
    tickerd = launch(sets={"drain.timeout": "2s"})
    streams = [tickerd.stream("/events/news") for _ in range(20)]
    redis.publish("news", "hello")
    position = streams[0].wait_messages(1)[0].id
    quiet = len(tickerd.log())
    tickerd.signal(signal.SIGTERM)
    tickerd.wait_log(DRAINING, after=quiet)
    with tickerd.connect("/events/news", last_id=position) as new:
        assert new.wait_end() == "fin"
        assert new.response.status == 200
        assert new.events[0].type == "tickerd:open" and new.events[0].id == position
        assert new.parser.reconnection_time > 0 and new.parser.clean
    answer = tickerd.get("/events/news", headers={"Accept": "*/*"})
    assert answer.status == 503 and int(answer.header("retry-after")) >= 1
    for stream in streams:
        stream.wait_end()
    assert tickerd.wait() == 0


@pytest.mark.workers
def test_nobody_is_reset_while_draining(launch):
    """As long as a stream is left, whichever worker has it, all listeners answer; also those of
    workers that have nothing left to do."""
    tickerd = launch(sets={"drain.timeout": "2s"})
    streams = [tickerd.stream("/events/news") for _ in range(20)]
    quiet = len(tickerd.log())
    tickerd.signal(signal.SIGTERM)
    tickerd.wait_log(DRAINING, after=quiet)
    while sum(1 for s in streams if s.ended) < 15:
        newcomers = [tickerd.connect("/events/news", last_id="mine") for _ in range(10)]
        for new in newcomers:
            assert new.wait_end() == "fin" and new.response and new.response.status == 200
            new.close()
        for stream in streams:
            stream.read_what_is_there()
    for stream in streams:
        assert stream.wait_end() == "fin"
    assert tickerd.wait() == 0


@pytest.mark.both
def test_a_second_term_exits_at_once(launch):
    tickerd = launch(sets={"drain.timeout": "60s"})
    streams = [tickerd.stream("/events/news") for _ in range(5)]
    started = time.monotonic()
    quiet = len(tickerd.log())
    tickerd.signal(signal.SIGTERM)
    tickerd.wait_log(DRAINING, after=quiet)
    tickerd.signal(signal.SIGTERM)
    tickerd.expect_status = tickerd.wait()
    assert time.monotonic() - started < scaled(5)
    for stream in streams:
        stream.close()


@pytest.mark.both
def test_term_without_clients_is_immediate(launch):
    tickerd = launch(sets={"drain.timeout": "60s"})
    started = time.monotonic()
    tickerd.signal(signal.SIGTERM)
    assert tickerd.wait() == 0
    assert time.monotonic() - started < scaled(3)


def test_term_while_redis_is_away(launch, own_server):
    tickerd = launch(own_server)
    with tickerd.stream("/events/news") as stream:
        own_server.kill()
        tickerd.signal(signal.SIGTERM)
        stream.wait_end()
        assert stream.parser.clean
    assert tickerd.wait() == 0


def test_term_while_a_request_is_half_sent(launch):
    tickerd = launch()
    with tickerd.connect("/", raw=b"GET /ev") as half:
        tickerd.signal(signal.SIGTERM)
        half.wait_end()
    assert tickerd.wait() == 0


def test_a_stalled_client_does_not_hold_up_the_end(launch, redis):
    tickerd = launch(sets={"drain.timeout": "500ms", "history.bytes": "64MiB"})
    with tickerd.stream("/events/news", rcvbuf=4096) as stalled, \
            tickerd.stream("/events/news") as fast:
        for n in range(200):
            redis.publish("news", f"{n}" + "x" * 64_000)
        fast.wait_messages(50, timeout=10)
        tickerd.signal(signal.SIGTERM)
        assert tickerd.wait() == 0
        stalled.close()
