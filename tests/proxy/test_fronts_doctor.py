"""tickerctl doctor through the four proxies with faults of plants.py planted in conf/proxy: those that
test_doctor_fronts.py has not."""

import pytest
from fronts import Apache
from harness.ctl import tickerctl
from plants import pairs, planted

# Which check finds a fault, and how it judges.
FINDS = {"buffered": ("buffering", "fault"), "compressed": ("compression", "warning"),
         "own-page": ("status", "fault")}
PAIRS = [(binary, fault) for binary, fault in pairs() if fault in FINDS]
# Caddy compresses a stream so that nothing comes through: other checks see that, too.
STALLED = {("caddy", "compressed"): {"compression": "fault", "resume": "warning", "streams": "fault"}}
APP = "https://app.example"


def doctor(front):
    """What it finds that is not well, as {check: (verdict, cure)}."""
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
    return found


SETS = {"stream.heartbeat": "3s", "cors.origins": [APP]}


@pytest.mark.parametrize("kind, fault", PAIRS, indirect=["kind"],
                         ids=[f"{b}-{f}" for b, f in PAIRS])
def test_each_fault_is_found(kind, fault, behind):
    front = behind(sets=SETS, plant=planted(kind.binary, fault))
    if fault == "own-page":
        front.daemon.kill()
    found = doctor(front)
    expected = STALLED.get((kind.binary, fault), dict([FINDS[fault]]))
    assert {check: verdict for check, (verdict, _) in found.items()} == expected
    assert found[FINDS[fault][0]][1], "no cure"
