"""tickerctl doctor through each of the four proxies: as conf/proxy configures them, and with each fault."""

import pytest
from fronts import Apache
from harness.ctl import tickerctl
from plants import pairs, planted

# Which check finds a fault, and how it judges.
FINDS = {"buffered": ("buffering", "fault"), "compressed": ("compression", "warning"),
         "impatient": ("idle", "fault"), "forgetful": ("resume", "fault"),
         "own-page": ("status", "fault"), "http/1.1": ("http2", "warning")}
# Caddy compresses a stream so that nothing comes through: other checks see that, too.
STALLED = {("caddy", "compressed"): {"compression": "fault", "resume": "warning", "streams": "fault"}}
APP = "https://app.example"


def doctor(front):
    """What it finds that is not well, as {check: (verdict, cure)}; the checks it did not make."""
    name = "apache" if isinstance(front, Apache) else front.binary
    done = tickerctl("doctor", f"https://localhost:{front.port}/events/news", "--heartbeat", "3s",
                     "--ca", front.authority.cert, "--origin", APP, "--proxy", name, "--json")
    assert done.status in (0, 1), done
    checks = done.json()["checks"]
    found = {c["check"]: (c["verdict"], c.get("cure")) for c in checks if c["verdict"] in ("fault", "warning")}
    if isinstance(front, Apache):
        # It begins each connection with six requests at a time (see apache.conf): true, and no plant.
        found.pop("streams", None)
    assert all(name in cure for _, cure in found.values() if cure), done
    return found, {c["check"] for c in checks if c["verdict"] == "skipped"}


SETS = {"stream.heartbeat": "3s", "cors.origins": [APP]}


def test_the_configurations_are_sound(behind):
    assert doctor(behind(sets=SETS)) == ({}, set())


@pytest.mark.parametrize("kind, fault", pairs(), indirect=["kind"],
                         ids=[f"{b}-{f}" for b, f in pairs()])
def test_each_fault_is_found(kind, fault, behind):
    front = behind(sets=SETS, plant=planted(kind.binary, fault))
    if fault == "own-page":
        front.daemon.kill()
    found, _ = doctor(front)
    expected = STALLED.get((kind.binary, fault), dict([FINDS[fault]]))
    assert {check: verdict for check, (verdict, _) in found.items()} == expected
    assert found[FINDS[fault][0]][1], "no cure"
