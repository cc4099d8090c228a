"""Debian's slowhttptest with 2,000 connections against a daemon that others use meanwhile: with files
for all of them, and with fewer than they want. Everybody else is served, and soon."""

import re
import shutil
import time

import pytest
from harness import fd_count, poll_until, scaled
from harness.proc import end, spawn

OTHER = "127.0.0.2"  # whom this is not about: another address
PROBES = 50
SECONDS = 12
CONNECTIONS = 2000

# Its options: slow headers, a slow body, slow reading of a stream, and ranges.
ATTACKS = {
    "headers": ["-H", "-i", "4", "-x", "24"],
    "body": ["-B", "-i", "4", "-x", "24", "-t", "POST"],
    "read": ["-X", "-w", "8", "-y", "16", "-n", "2", "-z", "4"],
    "range": ["-R", "-a", "10", "-b", "3000"],
}


def files_for(kind):
    return CONNECTIONS + 1000 if kind == "ample" else 700


@pytest.fixture
def attack(tmp_path):
    program = shutil.which("slowhttptest")
    if program is None:
        pytest.fail("slowhttptest is missing: run scripts/deps.sh test")
    started = []

    def start(tickerd, kind):
        host, port = tickerd.address
        target = "/events/news" + ("?history=all" if kind == "read" else "")
        with open(tmp_path / "report", "wb") as report:
            started.append(spawn([program, "-c", CONNECTIONS, "-r", "500", "-l", SECONDS, "-p", "3",
                                  "-u", f"http://{host}:{port}{target}", *ATTACKS[kind]],
                                 stdout=report, stderr=report, nofile=CONNECTIONS + 500))
        return started[-1], tmp_path / "report"

    yield start
    for process in started:
        end(process)


def probe(tickerd, redis, listener, number):
    """One fresh request, one fresh stream, one live event to both: how long each took."""
    times = []
    started = time.monotonic()
    assert tickerd.get("/healthz", source=OTHER).status == 200
    times.append(time.monotonic() - started)
    started = time.monotonic()
    with tickerd.stream("/events/news", source=OTHER) as stream:
        times.append(time.monotonic() - started)
        started = time.monotonic()
        redis.publish("news", f"event {number}")
        listener.wait_data(f"event {number}")
        times.append(time.monotonic() - started)
        stream.wait_data(f"event {number}")
    return times


@pytest.mark.parametrize("files", ["ample", "tight"])
@pytest.mark.parametrize("kind", ATTACKS)
def test_others_are_served(launch, redis, attack, kind, files):
    """Slow readers of streams are clients like any other, only slow: where places are few, the limit
    per address keeps some for others."""
    sets = {"limits.clients_per_ip": 300} if (kind, files) == ("read", "tight") else {}
    tickerd = launch(workers=2, nofile=files_for(files), log_level="info", sets=sets)
    before = fd_count(tickerd.pid)
    worst = [0.0, 0.0, 0.0]
    with tickerd.stream("/events/news", source=OTHER) as listener:
        for n in range(200):  # for the slow readers
            redis.publish("news", f"{n}:".ljust(2000, "x"))
        process, report = attack(tickerd, kind)
        began, most = time.monotonic(), 0
        for number in range(PROBES):
            times = probe(tickerd, redis, listener, number)
            worst = [max(pair) for pair in zip(worst, times)]
            most = max(most, fd_count(tickerd.pid))
            wait = began + (number + 1) * SECONDS / PROBES - time.monotonic()
            if wait > 0 and process.poll() is None:
                time.sleep(wait)
        poll_until(lambda: process.poll() is not None, scaled(SECONDS), "the attack is over")
        assert listener.gaps == [] and not listener.ended
    text = re.sub(r"\x1b\[[0-9;]*[a-zA-Z]", "", report.read_text(errors="replace"))
    print(f"{kind}, {files}: worst request, stream, event: {[f'{t * 1000:.0f} ms' for t in worst]};"
          f" at most {most - before} connections\n{text[-900:]}")
    assert "service available:   NO" not in text, text[-2000:]
    assert max(worst) < scaled(2), worst
    if kind in ("headers", "read"):  # the others are refused at once
        assert most - before > min(CONNECTIONS, files_for(files)) * 0.3, "it was an attack"
    poll_until(lambda: fd_count(tickerd.pid) <= before, scaled(20), "all of them are gone")
