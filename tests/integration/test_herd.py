"""Clients that were sent away together must not come back together: what they are told is spread
over the whole range that the configuration allows, by every worker."""

import signal
import time

import pytest
from harness import scaled

COUNT = 300  # from four workers, whose draws must not be the same

# A range wide enough that equal draws are an accident: of 300 from 8,001 about six.
WIDE = {"stream.retry": "6s", "stream.retry_jitter": "4s"}
LOW, HIGH = 2000, 10_000


def check_spread(values, low, high):
    """All within, a fair part in each quarter, hardly any twice."""
    assert min(values) >= low and max(values) <= high, (min(values), max(values))
    width = (high - low + 1) / 4
    quarters = [sum(1 for v in values if low + q * width <= v < low + (q + 1) * width)
                for q in range(4)]
    assert min(quarters) > len(values) / 10, quarters
    if high - low > 20 * len(values):
        assert len(set(values)) > 0.9 * len(values), "workers draw the same numbers"


def first_retries(tickerd, count, **options):
    """The `retry` of so many streams, each closed at once; those that were refused have ended."""
    values = []
    for _ in range(count):
        with tickerd.connect("/events/news", **options) as stream:
            stream.wait_open()
            values.append(stream.parser.reconnection_time)
    return values


@pytest.mark.workers
def test_streams_are_told_times_all_over_the_range(launch):
    tickerd = launch(sets=WIDE, log_level="info")
    check_spread(first_retries(tickerd, COUNT), LOW, HIGH)


@pytest.mark.workers
def test_those_who_find_no_room_are_spread(launch):
    tickerd = launch(sets={**WIDE, "limits.clients": 1}, log_level="info")
    with tickerd.stream("/events/news"):
        check_spread(first_retries(tickerd, COUNT, last_id="mine"), LOW, HIGH)
        seconds = []
        for _ in range(COUNT):
            answer = tickerd.get("/events/news", headers={"Accept": "application/json"})
            assert answer.status == 503
            seconds.append(int(answer.header("retry-after")))
        assert 2 <= min(seconds) and max(seconds) <= 11
        assert len(set(seconds)) >= 8, sorted(set(seconds))
    assert tickerd.log().count("places for streams are taken") in range(1, 8), "once in a while"


@pytest.mark.workers
@pytest.mark.parametrize("jitter", ["1s", "0s"])
def test_a_small_range_is_kept(launch, jitter):
    tickerd = launch(sets={"stream.retry": "2s", "stream.retry_jitter": jitter}, log_level="info")
    values = first_retries(tickerd, COUNT)
    if jitter == "0s":
        assert set(values) == {2000}
    else:
        check_spread(values, 1000, 3000)


@pytest.mark.workers
def test_who_is_sent_away_by_a_drain_returns_after_its_end_and_spread(launch):
    """Whenever its stream ends, a client comes back only after the drain's end; and so do those
    who come while it lasts."""
    tickerd = launch(sets={**WIDE, "drain.timeout": "2s"}, log_level="info")
    streams = [tickerd.stream("/events/news") for _ in range(COUNT)]
    started = time.monotonic()
    tickerd.signal(signal.SIGTERM)
    returns, newcomers = {}, []
    while len(returns) < COUNT:
        assert time.monotonic() - started < scaled(10), "the streams do not end"
        if len(returns) < COUNT * 3 // 4 and returns:
            with tickerd.connect("/events/news") as new:
                assert new.wait_end() == "fin" and new.response.status == 200
                newcomers.append(time.monotonic() + new.parser.reconnection_time / 1000)
        for n, stream in enumerate(streams):
            stream.read_what_is_there()
            if stream.ended and n not in returns:
                assert stream.ended == "fin" and stream.parser.clean
                returns[n] = time.monotonic() + stream.parser.reconnection_time / 1000
                stream.close()
    assert tickerd.wait() == 0
    earliest = started + 2 + LOW / 1000
    for moments in (list(returns.values()), newcomers):
        assert min(moments) >= earliest - 0.002, earliest - min(moments)
    assert len(newcomers) >= 20
    spread = sorted(returns.values())
    assert spread[-COUNT // 20] - spread[COUNT // 20] > 0.7 * (HIGH - LOW) / 1000
