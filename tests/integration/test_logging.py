"""The log: objects from the first line to the last, priorities for the journal, and no flood."""

import json
import os
import re
import signal
import subprocess

import pytest
from harness import poll_until
from harness.daemon import BINARY, child_environment
from harness.env import scaled
from harness.proc import end, spawn
from harness.tokens import Secret, auth, bearer

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
HELD = re.compile(r"\.\.\. and (\d+) more like this in the last 10 s$", re.M)


# ---- objects -------------------------------------------------------------------------------------

def test_the_access_log_has_members(launch, redis, tmp_path):
    key = Secret(tmp_path)
    tickerd = launch(sets={**auth(key), "log.format": "json", "log.access": True})
    with tickerd.stream("/events/news", headers=bearer(key.opens("news", sub="al ice"))) as stream:
        redis.publish("news", "hello")
        stream.wait_messages(1)
        size = len(stream.body)
    tickerd.get("/nothing?secret", method="HEAD")
    poll_until(lambda: '"/nothing"' in tickerd.log(), scaled(5), "both are logged")
    tickerd.finish()
    objects = [json.loads(line) for line in tickerd.log().splitlines()]
    for o in objects:
        assert re.fullmatch(TIME, o["time"]) and o["level"] in ("error", "warn", "info", "debug")
    assert objects[-1]["message"].startswith("stopped: ")
    access = {o["path"]: o for o in objects if o["message"] == "access"}
    seconds = access["/events/news"].pop("seconds")
    assert isinstance(seconds, float) and 0 <= seconds < scaled(10)
    assert access["/events/news"].pop("bytes") > size  # the head counts, too
    del access["/events/news"]["time"]
    assert access["/events/news"] == {
        "level": "info", "message": "access", "client": "127.0.0.1", "sub": "al ice",
        "method": "GET", "path": "/events/news", "status": 200, "events": 1,
        "reason": "client"}
    assert [*access["/nothing"]] == ["time", "level", "message", "client", "method", "path",
                                     "status", "seconds", "events", "bytes"]
    assert access["/nothing"]["status"] == 404 and access["/nothing"]["method"] == "HEAD"


def test_refused_configurations_are_objects_too(launch):
    tickerd = launch(config={}, sets={"log.format": "json"})
    tickerd.configure('{"stream": {"retry": "soon"}, "nonsense": 1}')
    tickerd.signal(signal.SIGHUP)
    tickerd.wait_log("not reloaded: 2 problems")
    tickerd.finish()
    objects = [json.loads(line) for line in tickerd.log().splitlines()]
    assert [o for o in objects if o["level"] == "error" and "nonsense" in o["message"]]


# ---- the journal ---------------------------------------------------------------------------------

def journal(path, *args, inode=0):
    """Run with a file as stderr that JOURNAL_STREAM says is the journal, until it is ready and then
    stopped, or until it has ended by itself. Its lines."""
    with open(path, "wb") as log:
        st = os.fstat(log.fileno())
        env = child_environment({"JOURNAL_STREAM": f"{st.st_dev}:{st.st_ino + inode}"})
        process = spawn([BINARY, *args], stderr=log, env=env)
    try:
        poll_until(lambda: b" ready: " in path.read_bytes() or process.poll() is not None,
                   scaled(10), "it is ready, or gives up")
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        status = process.wait(scaled(10))
    finally:
        end(process)
    return status, path.read_text(encoding="utf-8").splitlines()


@pytest.fixture
def args(server):
    return ["--redis", f"redis://127.0.0.1:{server.port}", "--listen", "127.0.0.1:0",
            "--set", "admin=null", "--set", "log.level=debug", "--set", "drain.timeout=100ms"]


def test_the_journal_gets_priorities_and_no_times(args, tmp_path):
    status, lines = journal(tmp_path / "log", *args)
    assert status == 0
    assert all(re.match("<[3467]>[^<]", line) for line in lines), lines
    assert not [line for line in lines if re.search(TIME, line)]
    assert [line for line in lines if line.startswith("<6>listening on 127.0.0.1:")]
    assert lines[-1].startswith("<6>stopped: ")


def test_the_journal_gets_objects_behind_priorities(args, tmp_path):
    _, lines = journal(tmp_path / "log", *args, "--set", "log.format=json")
    priorities = {"error": "3", "warn": "4", "info": "6", "debug": "7"}
    for line in lines:
        priority, text = re.fullmatch(r"<(\d)>(\{.*\})", line).groups()
        assert priorities[json.loads(text)["level"]] == priority


def test_what_ends_a_start_has_a_priority_too(tmp_path):
    status, lines = journal(tmp_path / "log", "--set", "nonsense=1")
    assert status != 0
    assert lines and all(line.startswith("<3>") for line in lines), lines


def test_another_stderr_is_no_journal(args, tmp_path):
    _, lines = journal(tmp_path / "log", *args, inode=1)
    assert lines and all(re.match(TIME + " (error|warn |info |debug) ", line) for line in lines)


def test_a_pipe_can_be_the_journal():
    ours, its = os.pipe()
    try:
        st = os.fstat(its)
        env = child_environment({"JOURNAL_STREAM": f"{st.st_dev}:{st.st_ino}"})
        status = subprocess.run([BINARY, "--set", "nonsense=1"], stderr=its, env=env, check=False,
                                timeout=scaled(10)).returncode
        assert status != 0
        assert os.read(ours, 1000).startswith(b"<3>")
    finally:
        os.close(ours)
        os.close(its)


# ---- repeats -------------------------------------------------------------------------------------

def oversize(redis, count, size=200):
    redis.publish_all("news", ["x" * size] * count)


def count(tickerd):
    """Lines about messages that are too large, and how many more were counted."""
    log = tickerd.log()
    lines = [line for line in log.splitlines() if "limits.message_bytes" in line]
    held = [int(m.group(1)) for m in map(HELD.search, lines) if m]
    return len(lines) - len(held), sum(held)


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_flood_of_bad_messages_is_a_few_lines(launch, redis, log_format):
    tickerd = launch(sets={"limits.message_bytes": 100, "log.format": log_format})
    oversize(redis, 500)
    with tickerd.stream("/events/news") as stream:
        redis.publish("news", "that was all")
        stream.wait_data("that was all")
    tickerd.finish()
    log = tickerd.log()
    lines = [line for line in log.splitlines() if "limits.message_bytes" in line]
    messages = [json.loads(line)["message"] for line in lines] if log_format == "json" else lines
    held = [int(m.group(1)) for m in map(HELD.search, messages) if m]
    written = len(lines) - len(held)
    assert written % 10 == 0 and written < 100 and written + sum(held) == 500, lines
    assert "stopped: " in log.splitlines()[-1]


def test_the_sum_comes_when_the_time_is_over(launch, redis):
    tickerd = launch(sets={"limits.message_bytes": 100})
    oversize(redis, 50)
    tickerd.wait_log(HELD.pattern, timeout=15)  # although nothing else is logged
    assert count(tickerd) == (10, 40)
    oversize(redis, 3)
    poll_until(lambda: count(tickerd) == (13, 40), scaled(5), "news are written again")


def test_no_refused_reload_is_held_back(launch):
    tickerd = launch(config={})
    for i in range(15):
        told = tickerd.reload({f"nonsense{i}": 1})
        assert f"nonsense{i}" in told and "not reloaded: 1 problem;" in told
