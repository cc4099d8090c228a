"""HUP: a new configuration comes into force under open streams, a bad one changes nothing."""

import json
import os
import re
import signal
import subprocess
import time

import pytest
from harness import (BINARY, SANITIZER, check_gap, fd_count, numbers, poll_until, rss_kib, scaled,
                     settle)
from harness.proc import end, spawn

BLOCK = "x" * 64_000

# What the harness would set on the command line, which beats the file.
FROM_FILE = {"log.level": ..., "drain.timeout": ..., "redis.mode": ..., "redis.backoff_max": ...}


@pytest.fixture
def reloadable(launch):
    """Starts a daemon with this file."""
    def start(config=None, **options):
        return launch(config=config or {}, **options)
    return start


def check_reloaded(log, *keys):
    """Exactly these keys have changed, and nothing is complained of."""
    line = re.search(r"info +reloaded: (.*)\n", log)
    assert line, log
    text = line[1].split(";")[0]
    if keys:
        noun = "key" if len(keys) == 1 else "keys"
        assert text == f"{len(keys)} {noun} changed: {', '.join(keys)}", log
    else:
        assert text == "nothing changed", log
    assert " warn " not in log and " error " not in log, log


# ---- what takes effect -----------------------------------------------------------------------


@pytest.mark.both
def test_nothing_has_changed(reloadable, redis):
    tickerd = reloadable({"history": {"events": 5}})
    with tickerd.stream("/events/news") as stream:
        for _ in range(3):
            check_reloaded(tickerd.reload())
        assert settle(stream, redis, "news") == []
    check_reloaded(tickerd.reload({"history": {"events": 5, "bytes": 1 << 20}}))


@pytest.mark.workers
def test_heartbeat_of_open_streams(reloadable, redis):
    tickerd = reloadable({"stream": {"heartbeat": "1h"}})
    streams = [tickerd.stream("/events/news") for _ in range(8)]
    check_reloaded(tickerd.reload({"stream": {"heartbeat": "1s"}}), "stream.heartbeat")
    for stream in streams:
        stream.wait_for(lambda s: len(s.comments) >= 2, 10, "heartbeats")
        assert settle(stream, redis, "news") == []
        stream.close()


def test_retry_and_age_of_streams(reloadable):
    tickerd = reloadable({"stream": {"retry": "100ms", "retry_jitter": "0s"}})
    with tickerd.stream("/events/news") as old:
        assert old.parser.reconnection_time == 100
        check_reloaded(tickerd.reload({"stream": {"retry": "7s", "retry_jitter": "0s"}}),
                       "stream.retry")
        with tickerd.stream("/events/news") as new:
            assert new.parser.reconnection_time == 7000
            check_reloaded(tickerd.reload({"stream": {"max_age": "100ms"}}),
                           "stream.retry", "stream.retry_jitter", "stream.max_age")
            assert new.wait_end() == "fin"
        assert old.wait_end() == "fin" and old.parser.clean


@pytest.mark.workers
def test_limits_of_clients(reloadable, redis):
    tickerd = reloadable({"limits": {"clients": 2}})
    streams = [tickerd.stream("/events/news") for _ in range(2)]
    with tickerd.connect("/events/news") as refused:
        assert refused.wait_end() == "fin"
    check_reloaded(tickerd.reload({"limits": {"clients": 3}}), "limits.clients")
    streams.append(tickerd.stream("/events/news"))
    with tickerd.connect("/events/news") as refused:
        assert refused.wait_end() == "fin"
    check_reloaded(tickerd.reload({"limits": {"clients": 1}}), "limits.clients")
    for stream in streams:  # who is there stays
        assert settle(stream, redis, "news") == []
    check_reloaded(tickerd.reload({}), "limits.clients")
    streams.append(tickerd.stream("/events/news"))
    for stream in streams:
        stream.close()


def test_limits_of_requests(reloadable):
    tickerd = reloadable()
    two, long = "/events?channel=a&channel=b", "/events/a?x=" + "y" * 2000
    for target in (two, long):
        tickerd.stream(target).close()
    check_reloaded(tickerd.reload({"limits": {"channels_per_client": 1, "request_bytes": "1KiB",
                                              "request_timeout": "200ms"}}),
                   "limits.channels_per_client", "limits.request_bytes", "limits.request_timeout")
    assert tickerd.get(two).status == 400
    assert tickerd.get(long).status == 414
    assert tickerd.send(b"GET / HTTP/1.1\r\nHost:").status == 408


def test_limits_of_messages(reloadable, redis):
    tickerd = reloadable()
    with tickerd.stream("/events/news") as stream:
        redis.publish("news", "x" * 2000)
        stream.wait_messages(1)
        check_reloaded(tickerd.reload({"limits": {"message_bytes": 1024}}),
                       "limits.message_bytes")
        redis.publish("news", "x" * 1025)
        check_gap(stream.wait_gap(), "oversize", "news")
        redis.publish("news", "y" * 1024)
        stream.wait_data("y" * 1024)


def publish_blocks(redis, fast, first, last):
    """Numbered messages of 64 KB, the fast client reading along."""
    for n in range(first, last + 1):
        redis.publish("news", f"{n}:{BLOCK}")
        if n % 10 == 0:
            fast.wait_for(lambda s, n=n: s.data and s.data[-1].startswith(f"{n}:"), 10, "all")


def stall(tickerd, redis, **options):
    """A client that reads nothing, with far more on its way than sockets hold (25 MB); and one
    that has kept up, through which it is known that all was sent."""
    slow = tickerd.stream("/events/news", rcvbuf=4096, **options)
    fast = tickerd.stream("/events/news")
    publish_blocks(redis, fast, 1, 400)
    return slow, fast


def test_write_timeout(reloadable, redis):
    tickerd = reloadable({"history": {"events": 20, "bytes": "64MiB"}})
    slow, fast = stall(tickerd, redis)
    before = fd_count(tickerd.pid)
    check_reloaded(tickerd.reload({"history": {"events": 20, "bytes": "64MiB"},
                                   "limits": {"write_timeout": "100ms"}}), "limits.write_timeout")
    poll_until(lambda: fd_count(tickerd.pid) < before, scaled(10), "the dead peer is closed")
    assert fast.ended is None
    slow.close()
    fast.close()


def rules(*rest, **keys):
    return {"channels": [{"match": "news", **keys}, *rest]}


@pytest.mark.both
def test_history_of_a_rule(reloadable, redis):
    tickerd = reloadable(rules(history={"events": 10}))
    with tickerd.stream("/events?channel=news&channel=other") as stream:
        for n in numbers(1, 10):
            redis.publish("news", n)
            redis.publish("other", n)
        stream.wait_messages(20)
        check_reloaded(tickerd.reload(rules(history={"events": 3})), "channels")
        with tickerd.stream("/events?channel=news&history=all") as late:
            assert settle(late, redis, "news") == numbers(8, 10)
        with tickerd.stream("/events?channel=other&history=all") as late:
            assert settle(late, redis, "other") == numbers(1, 10)
        redis.publish("news", "11")
        stream.wait_data("11")
        assert stream.gaps == []
        check_reloaded(tickerd.reload({"history": {"events": 2}}), "history.events", "channels")
        with tickerd.stream("/events?pattern=*&history=all") as late:
            late.wait_for(lambda s: "11" in s.data, 5, "the newest")
            assert len(late.messages) == 4, late.describe()  # two of each, markers too


def test_history_in_total(reloadable, redis):
    tickerd = reloadable()
    with tickerd.stream("/events/news") as stream:
        for n in numbers(1, 200):
            redis.publish("news", n)
        stream.wait_data("200")
    check_reloaded(tickerd.reload({"history": {"total_bytes": "8KiB"}}), "history.total_bytes")
    with tickerd.stream("/events?channel=news&history=all") as late:
        got = settle(late, redis, "news")
        assert 1 <= len(got) < 100 and got[-1] == "200"


def test_payload_mode(reloadable, redis):
    tickerd = reloadable()
    envelope = '{"data":"x","event":"e"}'
    with tickerd.stream("/events/news") as stream:
        redis.publish("news", envelope)
        assert stream.wait_messages(1)[0].type == "e"
        check_reloaded(tickerd.reload(rules(payload="raw")), "channels")
        redis.publish("news", envelope)
        assert stream.wait_messages(2)[1].data == envelope
        check_reloaded(tickerd.reload(rules({"match": "*", "payload": "raw"}, payload="auto")),
                       "channels")
        redis.publish("news", envelope)
        assert stream.wait_messages(3)[2].type == "e"


@pytest.mark.both
def test_slow_policy_latest(reloadable, redis):
    """It counts for what is in the history already."""
    tickerd = reloadable()
    with tickerd.stream("/events/news") as stream:
        for n in numbers(1, 5):
            redis.publish("news", n)
        ids = [m.id for m in stream.wait_messages(5)]
        with tickerd.stream("/events/news", last_id=ids[0]) as again:
            again.wait_data("5")
            assert again.data == numbers(2, 5)
        check_reloaded(tickerd.reload(rules(slow="latest")), "channels")
        with tickerd.stream("/events/news", last_id=ids[0]) as again:
            again.wait_data("5")
            assert again.data == ["5"] and again.gaps == []
        check_reloaded(tickerd.reload({}), "channels")
        for n in numbers(6, 8):
            redis.publish("news", n)
        stream.wait_data("8")
        with tickerd.stream("/events/news", last_id=ids[0]) as again:
            again.wait_data("8")
            assert again.data == numbers(5, 8) and again.gaps == []


def test_slow_policy_disconnect(reloadable, redis):
    limits = {"history": {"events": 20, "bytes": "64MiB"}}
    tickerd = reloadable(limits)
    slow, fast = stall(tickerd, redis)
    before = fd_count(tickerd.pid)
    check_reloaded(tickerd.reload({**limits, **rules(slow="disconnect")}), "channels")
    publish_blocks(redis, fast, 401, 440)  # what was lost before was lost under the old rule
    poll_until(lambda: fd_count(tickerd.pid) < before, scaled(10), "the slow one is closed")
    assert fast.ended is None and fast.gaps == []
    slow.close()
    fast.close()


def test_cors(reloadable):
    origin = {"Origin": "https://app.example"}
    tickerd = reloadable()

    def head():
        with tickerd.stream("/events/news", headers=origin) as stream:
            return stream.response

    assert head().header("access-control-allow-origin") is None
    check_reloaded(tickerd.reload({"cors": {"origins": ["https://app.example"]}}), "cors.origins")
    assert head().header("access-control-allow-origin") == "https://app.example"
    assert head().header("access-control-allow-credentials") == "true"
    check_reloaded(tickerd.reload({"cors": {"origins": ["https://app.example"],
                                            "credentials": False}}), "cors.credentials")
    assert head().header("access-control-allow-credentials") is None


def test_log_level_and_format(reloadable):
    tickerd = reloadable({"log": {"level": "info"}}, sets=FROM_FILE)

    def after_a_404():
        at = len(tickerd.log())
        assert tickerd.get("/nothing").status == 404
        assert tickerd.get("/healthz").status == 200  # the line is behind the answer
        return tickerd.log()[at:]

    assert after_a_404() == ""
    check_reloaded(tickerd.reload({"log": {"level": "debug"}}), "log.level")
    assert "debug answered 404" in after_a_404()
    # said as long as one of the two levels allows it
    check_reloaded(tickerd.reload({"log": {"level": "error"}}), "log.level")
    assert after_a_404() == ""
    line = json.loads(tickerd.reload({"log": {"level": "debug", "format": "json"}}))
    assert line["message"] == "reloaded: 2 keys changed: log.level, log.format"
    line = json.loads(after_a_404())
    assert (line["level"], line["message"]) == ("debug", "answered 404 not_found")
    at = len(tickerd.log())
    tickerd.configure("{")
    tickerd.signal(signal.SIGHUP)
    tickerd.wait_log("not reloaded", after=at)
    assert all(json.loads(line)["level"] == "error" for line in tickerd.log()[at:].splitlines())


def test_log_access(reloadable):
    tickerd = reloadable()
    at = len(tickerd.log())
    tickerd.get("/healthz")
    check_reloaded(tickerd.reload({"log": {"access": True}}), "log.access")
    assert "/healthz" not in tickerd.log()[at:]
    tickerd.get("/healthz?now")
    tickerd.wait_log(r"/healthz", after=at)


def test_drain_timeout(reloadable):
    tickerd = reloadable(sets={**FROM_FILE, "log.level": "info"})
    check_reloaded(tickerd.reload({"drain": {"timeout": "200ms"}}), "drain.timeout")
    with tickerd.stream("/events/news") as stream:
        began = time.monotonic()
        tickerd.signal(signal.SIGTERM)
        assert stream.wait_end() == "fin"
        assert tickerd.wait() == 0
        assert time.monotonic() - began < 5  # the default is 10 s
    assert "over 200 ms" in tickerd.log()


# ---- what needs a restart --------------------------------------------------------------------


def test_what_needs_a_restart_is_named_and_stays(reloadable, redis, tmp_path):
    tickerd = reloadable({"stream": {"retry": "1s"}}, sets={"redis.backoff_max": ...})
    new = {"redis": {"url": "redis://user:secret@192.0.2.1:1", "prefix": "other:",
                     "linger": "2s", "ping_interval": "1s", "ping_timeout": "2s",
                     "backoff_max": "3s", "nodes": ["127.0.0.1:1"]},
           "resume": {"window": "20s", "clock_skew": "1s"}, "control": {"channel": "c"},
           "state": {"file": str(tmp_path / "state")}, "stream": {"retry": "3s"}}
    # given on the command line in these tests
    command_line = ("listen", "workers", "redis.url", "redis.mode")
    with tickerd.stream("/events/news") as stream:
        log = tickerd.reload(new)
        named = re.findall(r"warn +(\S+) has changed, which needs a restart", log)
        assert named == ["redis.nodes", "redis.prefix", "redis.linger", "redis.ping_interval",
                         "redis.ping_timeout", "redis.backoff_max", "resume.window",
                         "resume.clock_skew", "control.channel", "state.file"]
        assert not set(named) & set(command_line)
        assert "reloaded: 1 key changed: stream.retry\n" in log
        assert "secret" not in tickerd.log()
        assert settle(stream, redis, "news") == []  # under the old prefix
        again = tickerd.reload(new)  # and is named as often as it is asked for
        assert len(re.findall("needs a restart", again)) == len(named)
        assert "reloaded: nothing changed" in again
    tickerd.restart()
    assert "needs a restart" not in tickerd.reload()
    assert not (tmp_path / "state").exists() or tickerd.running()


# ---- what is refused -------------------------------------------------------------------------

BAD = {
    "empty": "",
    "no JSON": "{",
    "no object": "[]",
    "twice": '{"log":{"level":"info"},"log":{"level":"warn"}}',
    "unknown": {"log": {"lvel": "info"}},
    "group": {"history": 5},
    "type": {"limits": {"clients": "many"}},
    "range": {"stream": {"heartbeat": "1ms"}},
    "word": {"channels": [{"match": "a", "slow": "never"}]},
    "rule": {"channels": [{"payload": "raw"}]},
    "together": {"cors": {"origins": ["*"]}},
    "window": {"resume": {"window": "1s"}},
    "url": {"redis": {"nodes": ["nonsense"]}},
    "several": {"stream": {"retry": 5}, "history": {"events": -1}, "log": {"format": "xml"}},
}


@pytest.mark.both
def test_a_bad_file_changes_nothing(reloadable, redis):
    tickerd = reloadable({"history": {"events": 2}})
    with tickerd.stream("/events/news") as stream:
        for name, config in BAD.items():
            log = tickerd.reload(config)
            problems = len(re.findall(r" error .*tickerd\.json", log))
            count = 3 if name == "several" else 1
            assert problems == count, f"{name}: {log}"
            plural = "s" if count > 1 else ""
            assert f"not reloaded: {count} problem{plural}; the configuration in force stays" in log
            redis.publish("news", name)
            stream.wait_data(name)
        os.unlink(tickerd.config_path)
        assert "cannot be opened" in tickerd.reload()
        os.mkdir(tickerd.config_path)
        assert "not reloaded: 1 problem" in tickerd.reload()
        os.rmdir(tickerd.config_path)
        with tickerd.stream("/events/news?history=all") as late:
            assert settle(late, redis, "news") == list(BAD)[-2:]
        assert stream.gaps == []
        check_reloaded(tickerd.reload({"history": {"events": 3}}), "history.events")


def test_a_bad_file_does_not_quote_secrets(reloadable):
    tickerd = reloadable()
    tickerd.reload({"redis": {"url": "redis://user:geheim@:::"}})
    tickerd.reload('{"redis":{"url":"redis://user:geheim@h",')
    assert "geheim" not in tickerd.log()


# ---- under way -------------------------------------------------------------------------------


def test_a_slow_file_keeps_nobody_waiting(reloadable, redis):
    """The file is a pipe that nobody has written to yet."""
    tickerd = reloadable()
    os.unlink(tickerd.config_path)
    os.mkfifo(tickerd.config_path)
    with tickerd.stream("/events/news") as stream:
        at = len(tickerd.log())
        tickerd.signal(signal.SIGHUP)
        for _ in range(20):
            assert settle(stream, redis, "news") == []
        assert "reloaded" not in tickerd.log()[at:]
        tickerd.configure({"stream": {"retry": "9s"}})
        tickerd.wait_log("reloaded: 1 key changed: stream.retry", after=at)


def test_term_while_a_file_is_read(reloadable):
    tickerd = reloadable()
    os.unlink(tickerd.config_path)
    os.mkfifo(tickerd.config_path)
    tickerd.signal(signal.SIGHUP)
    with tickerd.stream("/events/news") as stream:
        tickerd.signal(signal.SIGTERM)
        assert stream.wait_end() == "fin"
    assert tickerd.wait() == 0
    assert "reloaded" not in tickerd.log()


def writer(fifo):
    """Its end for writing, once somebody reads it."""
    def attempt():
        try:
            return os.fdopen(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK), "w")
        except OSError:
            return None
    return poll_until(attempt, scaled(10), "the pipe is read")


def test_hup_before_it_runs(server, tmp_path):
    """While it reads its file, a pipe, for the first time: the signal waits, and then counts."""
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    process = spawn([BINARY, "--listen", "127.0.0.1:0", "--redis", server.url, "--config", fifo,
                     "--admin", "null", "--set", "drain.timeout=100ms"], stderr=subprocess.PIPE)

    def wait_line(part):
        assert any(part in line for line in process.stderr), part

    try:
        with writer(fifo) as config:
            process.send_signal(signal.SIGHUP)
            config.write("{}")
        wait_line(b" ready: ")
        with writer(fifo) as config:
            config.write('{"stream":{"retry":"9s"}}')
        wait_line(b"reloaded: 1 key changed: stream.retry")
        process.send_signal(signal.SIGTERM)
        assert process.wait(scaled(10)) == 0
    finally:
        end(process)
        process.stderr.close()


def test_hup_while_draining(reloadable):
    tickerd = reloadable(sets={"drain.timeout": "1s"})
    streams = [tickerd.stream("/events/news") for _ in range(3)]
    tickerd.signal(signal.SIGTERM)
    tickerd.wait_log("TERM: sending")
    tickerd.signal(signal.SIGHUP)
    tickerd.wait_log("HUP is ignored: stopping")
    for stream in streams:
        assert stream.wait_end() == "fin"
        stream.close()
    assert tickerd.wait() == 0
    assert "reloaded" not in tickerd.log()


@pytest.mark.workers
def test_of_many_the_last_counts(reloadable):
    tickerd = reloadable()
    for n in range(1, 51):
        tickerd.configure({"stream": {"retry": f"{n}s", "retry_jitter": "0s"}})
        tickerd.signal(signal.SIGHUP)

    def retries():
        found = set()
        for _ in range(4):
            with tickerd.stream("/events/news") as stream:
                found.add(stream.parser.reconnection_time)
        return found

    poll_until(lambda: retries() == {50_000}, scaled(10), lambda: f"the last counts: {retries()}")


@pytest.mark.workers
def test_many_reloads_under_load_drop_nothing(reloadable, flood, redis):
    """Rules, bounds, policies and formats change 200 times under 500 streams and a flood."""
    def config(n):
        return {"stream": {"heartbeat": f"{1 + n % 3}s", "retry": f"{1 + n % 5}s"},
                "limits": {"clients": 1000 + n % 7},
                "cors": {"origins": [f"https://{n}.example"]},
                "log": {"access": n % 2 == 0},
                "history": {"events": 5000 + n % 11},
                "channels": [{"match": f"c{n % 5}", "history": {"age": f"{60 + n}s"}},
                             {"match": "c*", "payload": ("raw", "auto")[n % 2],
                              "slow": ("resume", "disconnect")[n % 2]},
                             *({"match": f"r{i}.*"} for i in range(n % 40))]}

    count = 500 if SANITIZER is None else 200
    reloads = 200 if SANITIZER is None else 60
    tickerd = reloadable(config(0), log_level="info")
    channels = [f"c{n}" for n in range(10)]
    targets = [f"/events/c{n % 10}" if n % 3 else "/events?pattern=c*" if n % 30 == 0 else
               f"/events?channel=c{n % 10}&channel=quiet" for n in range(count)]
    with tickerd.stream("/events?pattern=c*") as keeper:
        streams = [tickerd.stream(t) for t in targets]
        publisher = flood(channels, rate=500)
        grown = []
        for n in range(reloads):
            log = tickerd.reload(config(n + 1))
            assert "not reloaded" not in log
            keeper.read_what_is_there()
            for stream in streams[n % 10::10]:
                stream.read_what_is_there()
            if n >= reloads // 4:
                grown.append(rss_kib(tickerd.pid))
        last = publisher.stop()
        keeper.wait_for(lambda s: len(s.messages) >= last, 20, "every message")
        assert [int(d) for d in keeper.data] == list(range(1, last + 1))
        for target, stream in zip(targets, streams):
            if "pattern" in target:
                expected = list(range(1, last + 1))
            else:
                at = int(re.search(r"c(\d)", target)[1])
                expected = list(range(at or 10, last + 1, 10))
            stream.wait_for(lambda s, e=expected: len(s.messages) >= len(e), 20, "every message")
            assert [int(d) for d in stream.data] == expected
            assert stream.gaps == [] and stream.ended is None
            stream.close()
    assert "asks for its channels again" not in tickerd.log()


@pytest.mark.release
def test_a_thousand_reloads_cost_no_memory(reloadable, redis):
    """With a large file, so that keeping one would show: each is about 1 MB once it is read."""
    tickerd = reloadable(log_level="info", workers=2)
    streams = [tickerd.stream("/events/news") for _ in range(10)]
    sizes = []
    for n in range(1000):
        tickerd.configure({"stream": {"retry": f"{n + 1}s"},
                           "channels": [{"match": f"r{i}.{n}.*"} for i in range(1000)]})
        log = tickerd.reload()
        assert "not reloaded" not in log
        if n % 100 == 99:
            sizes.append(rss_kib(tickerd.pid))
    for stream in streams:
        assert settle(stream, redis, "news") == []
        stream.close()
    if SANITIZER is None:
        assert sizes[-1] - sizes[1] < 4 * 1024, sizes
