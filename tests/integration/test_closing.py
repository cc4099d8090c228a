"""The access log says why each stream ended."""

import json
import re
import signal

import pytest
from harness import poll_until, scaled
from harness.tokens import Secret, auth, bearer, now

from test_slow import fill

LINE = re.compile(r"access: .* path=(\S+) status=200 (.*)")


def reason(tickerd, path, timeout=10):
    """What the log says of the only stream with this path, once it has ended."""
    found = poll_until(lambda: [m for m in LINE.finditer(tickerd.log()) if m.group(1) == path],
                       scaled(timeout), lambda: f"the end of {path}\n{tickerd.log()[-2000:]}")
    assert len(found) == 1, found
    said = re.search(r" reason=(\S+)$", found[0].group(2))
    return said and said.group(1)


@pytest.fixture
def logging(launch):
    return lambda **sets: launch(sets={"log.access": True, **sets}, log_level="info")


def test_the_client_goes(logging):
    tickerd = logging()
    tickerd.stream("/events/fin").close()
    tickerd.stream("/events/rst").close(reset=True)
    assert reason(tickerd, "/events/fin") == reason(tickerd, "/events/rst") == "client"


def test_what_is_no_stream_has_no_reason(logging):
    tickerd = logging()
    tickerd.get("/healthz")
    tickerd.get("/events/head", method="HEAD")
    assert reason(tickerd, "/healthz") is reason(tickerd, "/events/head") is None


def test_it_takes_nothing(logging, redis):
    tickerd = logging(**{"history.events": 20, "history.bytes": "64MiB",
                         "limits.write_timeout": "1s"})
    with tickerd.stream("/events/news?fast") as fast, \
            tickerd.stream("/events/%6eews", rcvbuf=4096):
        fill(redis, fast)
        assert reason(tickerd, "/events/%6eews") == "timeout"


def test_it_is_too_slow(logging, redis):
    tickerd = logging(**{"history.events": 20, "history.bytes": "64MiB",
                         "channels": '[{"match": "news", "slow": "disconnect"}]'})
    with tickerd.stream("/events/news") as fast, \
            tickerd.stream("/events/%6eews", rcvbuf=4096):
        fill(redis, fast)
        assert reason(tickerd, "/events/%6eews") == "slow"


def test_its_right_ends(logging, tmp_path, redis):
    key = Secret(tmp_path)
    control = {"control.channel": "control"}
    tickerd = logging(**auth(key), **control, **{"auth.leeway": "0s"})
    ends = bearer(key.token({"channels": ["*"], "exp": now() + 2}))
    stays = bearer(key.token({"channels": ["*"], "sub": "42"}))
    with tickerd.stream("/events/expired", headers=ends), \
            tickerd.stream("/events/revoked", headers=stays):
        poll_until(lambda: redis.publish("control", json.dumps({"disconnect": {"sub": "42"}}),
                                         prefix="") == 1, scaled(5), "the control channel")
        assert reason(tickerd, "/events/revoked") == "revoked"
        assert reason(tickerd, "/events/expired") == "expired"


def test_it_is_old(logging):
    tickerd = logging(**{"stream.max_age": "500ms"})
    with tickerd.stream("/events/old"):
        assert reason(tickerd, "/events/old") == "max_age"


def test_the_server_drains(logging):
    tickerd = logging()
    with tickerd.stream("/events/drained"):
        tickerd.signal(signal.SIGTERM)
        assert tickerd.wait() == 0
    assert reason(tickerd, "/events/drained") == "drain"


def test_the_server_stops_at_once(logging):
    tickerd = logging(**{"drain.timeout": "60s"})
    with tickerd.stream("/events/first") as first, tickerd.stream("/events/second"):
        tickerd.signal(signal.SIGTERM)
        tickerd.wait_log("sending the clients away")
        assert first.ended is None
        tickerd.signal(signal.SIGTERM)
        assert tickerd.wait() == 0
    assert reason(tickerd, "/events/second") == "shutdown"
