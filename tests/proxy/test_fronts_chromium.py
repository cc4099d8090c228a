"""Chromium's own EventSource through each of the four proxies, by HTTP/2."""

import signal

import pytest
from chromium import CLOSED
from fronts import Apache
from harness import numbers

# As a page does that loads its files: Apache begins a connection with six requests at a time, and allows
# more, every 0.1 s at most, when some have ended well.
LOAD = """(async () => {
  for (let n = 0; n < 3; n++) {
    await new Promise((resolve) => setTimeout(resolve, 150));
    await Promise.all(Array.from({length: 10}, (_, file) => fetch(`/healthz?${n}-${file}`)));
  }
})()"""


def of_streams(page):
    return [a for a in page.answers if a["type"] == "EventSource"]


def test_twelve_streams_of_one_page(behind, redis, page):
    """By HTTP/1.1 the seventh would wait for ever."""
    front = behind()
    origin = f"https://localhost:{front.port}"
    tab = page(f"{origin}/healthz")
    if isinstance(front, Apache):
        tab.evaluate(LOAD)
    tab.listen([f"{origin}/events/c{n}" for n in range(12)])
    assert {a["protocol"] for a in of_streams(tab)} == {"h2"}
    assert len(of_streams(tab)) == 12
    assert len({a["connection"] for a in of_streams(tab)}) == 1
    for round_ in range(3):
        for n in range(12):
            assert redis.publish(f"c{n}", f"{round_} of {n}") == 1
        for n in range(12):
            tab.wait(lambda: tab.data(n) == [f"{r} of {n}" for r in range(round_ + 1)], f"stream {n}")


@pytest.mark.parametrize("which", [signal.SIGTERM, signal.SIGKILL])
def test_a_restart_of_tickerd_ends_no_event_source(behind, redis, page, which):
    """One of the page's origin, and one of another. All are there when tickerd is gone, come while
    nobody is there, and get what is published after its start, and a word of the rest."""
    front = behind(sets={"cors.origins": ["https://127.0.0.1:{port}"]})
    own, other = (f"https://{host}:{front.port}/events/news" for host in ("127.0.0.1", "localhost"))
    tab = page(f"https://127.0.0.1:{front.port}/healthz")
    tab.listen([own, other])
    redis.publish("news", "1")
    for n in (0, 1):
        tab.wait(lambda: tab.data(n) == ["1"], "the message before")
    front.daemon.signal(which)
    front.daemon.wait()
    front.daemon.expect_status = -which if which == signal.SIGKILL else 0
    came = len(of_streams(tab))
    tab.wait(lambda: tab.evaluate("true") and len(of_streams(tab)) >= came + 2,
             "both have come while nobody was there")
    assert {a["status"] for a in of_streams(tab)} == {200}
    assert front.get("/events/news").status in (502, 503, 504)
    assert not tab.gave_up(0) and not tab.gave_up(1)
    front.daemon.start()
    for n in (0, 1):
        tab.wait(lambda: tab.types(n).count("tickerd:open") == 2, "the stream after")
    for n in range(2, 5):
        redis.publish("news", str(n))
    for n in (0, 1):
        tab.wait(lambda: tab.data(n)[-3:] == numbers(2, 4), "the messages after")
        assert tab.data(n) == numbers(1, 4)
        assert tab.types(n).count("tickerd:gap") == 1
        assert CLOSED not in [e.get("state") for e in tab.log(n)]
