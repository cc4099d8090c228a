"""Too many clients, too few files: streams go on, refusals are ones that EventSource survives."""

import json
import re
import time

import pytest
from harness import EVENT_ID, cpu_seconds, fd_count, poll_until, scaled, settle


def check_soft_refusal(stream):
    """What a refused EventSource gets: 200, its position, a time to wait, and a close."""
    assert stream.wait_end() == "fin"
    assert stream.response.status == 200
    assert stream.response.header("content-type").startswith("text/event-stream")
    assert stream.parser.clean
    assert [e.type for e in stream.events][:1] == ["tickerd:open"]
    assert EVENT_ID.fullmatch(stream.events[0].id) or stream.events[0].id
    assert stream.parser.reconnection_time >= 100
    assert stream.messages == []


def check_hard_refusal(answer):
    assert answer.status in (429, 503), answer
    assert re.fullmatch(r"\d+", answer.header("retry-after"))
    assert int(answer.header("retry-after")) >= 1
    assert set(json.loads(answer.body)) == {"error", "message"}


@pytest.mark.workers
def test_over_limits_clients(launch, redis):
    tickerd = launch(sets={"limits.clients": 3})
    streams = [tickerd.stream("/events/news") for _ in range(3)]
    redis.publish("news", "1")
    position = streams[0].wait_messages(1)[0].id
    waits = set()
    for _ in range(5):
        with tickerd.connect("/events/news", last_id=position) as refused:
            check_soft_refusal(refused)
            assert refused.events[0].id == position
            waits.add(refused.parser.reconnection_time)
    assert len(waits) > 1, "no jitter"
    with tickerd.connect("/events/news") as refused:
        check_soft_refusal(refused)
    for accept in ("*/*", "application/json"):
        check_hard_refusal(tickerd.get("/events/news", headers={"Accept": accept}))
    assert tickerd.get("/healthz").status == 200
    streams.pop().close()

    def served():
        with tickerd.connect("/events/news", last_id=position) as again:
            again.wait_head()
            again.pump(0.2)
            return again.ended is None

    poll_until(served, scaled(5), "a place becomes free")
    redis.publish("news", "2")
    for stream in streams:
        stream.wait_data("2")
        stream.close()


def test_accept_decides_in_any_case_and_with_parameters(launch):
    tickerd = launch(sets={"limits.clients": 1})
    with tickerd.stream("/events/news"):
        for accept in ("TEXT/EVENT-STREAM", "text/html, text/event-stream;q=0.9",
                       "text/event-stream; charset=utf-8"):
            raw = f"GET /events/news HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\n\r\n".encode()
            with tickerd.connect("/", raw=raw) as refused:
                check_soft_refusal(refused)
        check_hard_refusal(tickerd.get("/events/news",
                                       headers={"Accept": "text/event-stream;q=0, */*"}))


def test_a_refused_client_misses_nothing(launch, redis):
    """Sent away without an id, it comes back with the one it was given."""
    tickerd = launch(sets={"limits.clients": 1})
    with tickerd.stream("/events/news") as first:
        with tickerd.connect("/events/news") as refused:
            check_soft_refusal(refused)
            position = refused.last_id
        redis.publish("news", "meanwhile")
        first.wait_messages(1)

    def served():
        stream = tickerd.connect("/events/news", last_id=position)
        stream.wait_open()
        stream.pump(0.2)
        return stream if stream.ended is None else stream.close()

    with poll_until(served, scaled(5), "a place becomes free") as again:
        again.wait_data("meanwhile")
        assert again.gaps == []


@pytest.mark.parametrize("history", ["all", "1"])
def test_a_refused_client_still_gets_its_history(launch, redis, history):
    """An id would overrule the history that it asks for when it comes back, so it is given none."""
    tickerd = launch(sets={"limits.clients": 1})
    target = f"/events/news?history={history}"
    with tickerd.stream("/events/news") as first:
        redis.publish("news", "1")
        first.wait_data("1")
        with tickerd.connect(target) as refused:
            assert refused.wait_end() == "fin" and refused.parser.clean
            assert [(e.type, e.id) for e in refused.events] == [("tickerd:open", "")]
            assert refused.parser.reconnection_time >= 100
    again = poll_until(lambda: unrefused(tickerd, target), scaled(5), "a place becomes free")
    again.wait_data("1")
    again.close()


def unrefused(tickerd, target):
    stream = tickerd.connect(target)
    stream.wait_open()
    stream.pump(0.2)
    return stream if stream.ended is None else stream.close()


def idle_share(pid, seconds=1.0):
    """The share of one CPU the process uses over a while."""
    before, started = cpu_seconds(pid), time.monotonic()
    time.sleep(seconds)
    return (cpu_seconds(pid) - before) / (time.monotonic() - started)


@pytest.mark.parametrize("clients", [0, 100_000], ids=["default", "configured"])
@pytest.mark.parametrize("workers", [1, 4])
def test_running_out_of_files(launch, redis, clients, workers):
    tickerd = launch(nofile=100, sets={"limits.clients": clients}, workers=workers)
    with tickerd.stream("/events/news") as first:
        many = [tickerd.connect("/events/news") for _ in range(150)]
        settle(first, redis, "news")
        assert idle_share(tickerd.pid) < 0.3, "it spins"
        redis.publish("news", "still here")
        first.wait_data("still here")
        poll_until(lambda: count_served(many) >= 20, scaled(5),
                   lambda: f"20 of 150 are served with 100 files, but {count_served(many)}")
        for stream in many:
            stream.close()
        poll_until(lambda: fd_count(tickerd.pid) < 60, scaled(5), "the files are free again")
        for _ in range(5):
            with poll_until(lambda: open_stream(tickerd), scaled(5), "new ones are served") as new:
                redis.publish("news", "new")
                new.wait_data("new")
        first.wait_data("new")
        assert first.gaps == []


def count_served(streams):
    for stream in streams:
        stream.read_what_is_there()
    return sum(1 for s in streams if s.response and not s.ended)


def open_stream(tickerd):
    """A stream that stays open, or None."""
    stream = tickerd.connect("/events/news")
    stream.wait_open()
    if stream.pump(0.1) or stream.ended:
        stream.close()
        return None
    return stream


@pytest.mark.both
def test_an_idle_daemon_sleeps(launch):
    tickerd = launch()
    streams = [tickerd.stream("/events/news") for _ in range(100)]
    assert idle_share(tickerd.pid) < 0.1
    for stream in streams:
        stream.close()
