"""Redis holds its clients up: CLIENT PAUSE, as an administrator or a failover does it."""

import pytest
from harness import check_gap, numbers, poll_until, scaled, settle

QUICK = {"redis.ping_interval": "300ms", "redis.ping_timeout": "500ms", "resume.window": "6s"}


@pytest.fixture
def server(own_server):
    return own_server


def pause(redis, ms, kind="ALL"):
    assert redis.command("CLIENT", "PAUSE", ms, kind) == "OK"


@pytest.mark.both
@pytest.mark.parametrize("kind", ["ALL", "WRITE"])
def test_a_short_client_pause_is_no_outage(launch, server, redis, kind):
    """What is published meanwhile waits at Redis, and comes behind the pause."""
    tickerd = launch(sets={**QUICK, "redis.ping_timeout": "30s", "resume.window": "1m"})
    with tickerd.stream("/events/news") as stream:
        redis.publish_all("news", numbers(1, 3))
        pause(redis, 1000, kind)
        redis.publish_all("news", numbers(4, 6))
        assert settle(stream, redis, "news", timeout=10) == numbers(1, 6)
        assert stream.gaps == [] and "lost" not in tickerd.log()


@pytest.mark.both
def test_a_long_client_pause_is_one_outage(launch, server, redis):
    """The silent Redis is given up; nobody could publish, so nothing is missing behind the gap."""
    tickerd = launch(sets=QUICK)
    with tickerd.stream("/events/news") as stream:
        redis.publish_all("news", numbers(1, 3))
        stream.wait_messages(3)
        pause(redis, 3000)
        tickerd.wait_log(r"redis: lost \S+: no answer to PING within 500 ms; connecting again")
        poll_until(lambda: tickerd.get("/readyz").status == 200, scaled(10), "ready again")
        redis.publish_all("news", numbers(4, 6))
        assert settle(stream, redis, "news", timeout=10) == numbers(1, 6)
        assert [check_gap(g, "upstream")["channel"] for g in stream.gaps] == [None]
