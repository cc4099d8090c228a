"""The planted faults are what they are called: so the tests of the good configurations would see them,
and doctor has something to find."""

import time

import pytest
from harness import poll_until, scaled
from plants import pairs, planted


def buffered(front, redis):
    """The head may come; no event does before there is much more."""
    with front.connect("/events/news") as stream:
        deadline = time.monotonic() + 1.5
        while time.monotonic() < deadline:
            redis.publish("news", "hello")
            stream.pump(0.1)
        assert stream.messages == []


def compressed(front, redis):
    with front.connect("/events/news", headers={"Accept-Encoding": "gzip"}) as stream:
        assert stream.wait_head(10).header("content-encoding") == "gzip"


def impatient(front, redis):
    with front.stream("/events/news") as stream:
        assert stream.wait_end(5) == "fin"
        assert not stream.comments


def forgetful(front, redis):
    with front.stream("/events/news") as stream:
        last_id = stream.last_id
    with front.stream("/events/news", last_id=last_id) as stream:
        assert stream.events[0].json == {"resume": "new"}


def own_page(front, redis):
    front.daemon.kill()
    with front.connect("/events/news") as stream:
        assert stream.wait_head(10).status in (502, 503, 504)


def http_1_1(front, redis):
    with front.connect("/events/news") as stream:
        assert stream.wait_head(10).version == "HTTP/1.1"


SIGNS = {"buffered": buffered, "compressed": compressed, "impatient": impatient,
         "forgetful": forgetful, "own-page": own_page, "http/1.1": http_1_1}


@pytest.mark.parametrize("kind, fault", pairs(), indirect=["kind"],
                         ids=[f"{b}-{f}" for b, f in pairs()])
def test_a_planted_fault_shows(kind, fault, behind, redis):
    SIGNS[fault](behind(plant=planted(kind.binary, fault)), redis)
