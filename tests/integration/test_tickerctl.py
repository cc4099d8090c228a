"""tickerctl: tail against a real daemon, and what the admin listener answers as people see it. (What
doctor finds is in tests/proxy/test_doctor.py.)"""

import contextlib
import fcntl
import http.server
import json
import pty
import os
import re
import signal
import socketserver
import struct
import subprocess
import termios
import threading
from urllib.parse import parse_qs, urlsplit

import pytest
from harness import ROOT, poll_until, scaled
from harness.ctl import Running, TICKERCTL, address_text, tickerctl
from harness.proc import end, spawn
from harness.redis import free_port

HOSTILE = "a\x1b[2J\x9b31m\u202egnp.\r\n"


def url_of(daemon, target):
    return f"http://{address_text(daemon.address)}{target}"


# ---- the command line -------------------------------------------------------------------------


def test_help_and_version():
    version = tickerctl("--version")
    assert version.status == 0 and re.fullmatch(r"tickerctl \d+\.\d+\.\d+\n", version.out)
    for args in (["--help"], ["-h"], ["help"], ["help", "doctor"], ["doctor", "--help"]):
        shown = tickerctl(*args)
        assert shown.status == 0 and "Usage: tickerctl" in shown.out and shown.err == "", shown
    assert "--origin" in tickerctl("help", "doctor").out


def test_the_manual_names_every_option_and_command():
    manual = (ROOT / "man" / "tickerctl.1").read_text(encoding="ascii").replace("\\-", "-")
    commands = re.findall(r"^  ([a-z]+) ", tickerctl("--help").out, re.M)
    assert len(commands) == 11
    for command in commands:
        options = set(re.findall(r"--[a-z-]+", tickerctl("help", command).out))
        for word in {command, *options}:
            assert re.search(rf"(?<![a-z-]){word}(?![a-z-])", manual), word


@pytest.mark.parametrize("args", [[], ["foo"], ["status", "--foo"], ["doctor"], ["disconnect"],
                                  ["doctor", "ftp://x/"], ["doctor", "nonsense"],
                                  ["tail", "--url", "ftp://x/"], ["tail", "--url", ""],
                                  ["tail", "a", "--header", "x"], ["--admin", "nope", "status"],
                                  ["tail", "a", "--token", "@/nowhere/at/all"]])
def test_wrong_usage_is_2(args):
    done = tickerctl(*args)
    assert done.status == 2 and done.out == "" and done.err != "", done


def test_nobody_there_is_3(tmp_path):
    port = free_port()
    places = [("127.0.0.1", port), str(tmp_path / "none.sock")]
    for place in places:
        for args in (["status"], ["tail", "news"], ["reload"]):
            done = tickerctl(*args, admin=place)
            assert done.status == 3 and address_text(place) in done.err, done
            assert "Is tickerd running" in done.err and "--admin" in done.err
    by_env = tickerctl("status", env={"TICKERD_ADMIN": f"127.0.0.1:{port}"})
    assert by_env.status == 3 and f"127.0.0.1:{port} (Connection refused)" in by_env.err, by_env
    doctor = tickerctl("doctor", f"http://127.0.0.1:{port}/events/news")
    assert doctor.status == 3 and "Connection refused" in doctor.out, doctor


# ---- tail -------------------------------------------------------------------------------------


@pytest.fixture
def tail(tmp_path):
    """Starts tickerctl tail; it ends with the test."""
    started = []

    def start(*args, **options):
        started.append(Running(tmp_path, "tail", *args, **options))
        return started[-1]

    yield start
    for one in started:
        end(one.process)


def test_tail_shows_events_as_they_come(tickerd, redis, tail):
    running = tail("--url", url_of(tickerd, "/events/news"))
    running.wait_for("listening")
    redis.publish("news", "hello\nthere")
    redis.publish("news", json.dumps({"event": "tick", "id": "7", "data": HOSTILE}))
    running.wait_for("tick")
    poll_until(lambda: running.out().count("\n") == 3, scaled(5), running.out)
    opened, first, second = running.out().splitlines()
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3}  [0-9a-f-]{31}  listening", opened)
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3}  [0-9a-f-]{31}  hello\\nthere", first)
    assert second.split("  ", 1)[1] == "7  tick  a\\x1b[2J\\u009b31m\\u202egnp.\\n\\n".replace(
        "\\n\\n", "\\n")
    assert running.err() == "" and running.stop() == 0


def test_tail_as_json(tickerd, redis, tail):
    running = tail("--json", "--url", url_of(tickerd, "/events/news"))
    running.wait_for("tickerd:open")
    redis.publish("news", HOSTILE)
    running.wait_for('"message"')
    lines = [json.loads(line) for line in running.out().splitlines()]
    assert lines[0]["event"] == "tickerd:open"
    assert lines[1]["data"] == HOSTILE.replace("\r\n", "\n") and lines[1]["event"] == "message"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", lines[1]["time"])
    assert running.stop(signal.SIGTERM) == 0


def test_tail_comes_back_and_says_so(launch, redis, tail):
    daemon = launch(sets={"stream.retry": "100ms", "stream.retry_jitter": "0",
                          "stream.max_age": "1s"})
    running = tail("--url", url_of(daemon, "/events/news"))
    running.wait_for("listening")
    redis.publish("news", "one")
    running.wait_for("one")
    running.wait_for("the stream has ended; trying again in 100 ms, after event", "err")
    running.wait_for("listening again; nothing was missed")
    last = re.findall(r"([0-9a-f-]{31})  one", running.out())[0]
    assert last in running.err()
    assert running.stop() == 0
    assert running.out().count("one") == 1


def test_tail_outlives_the_daemon(launch, tail, tmp_path):
    """Nobody there, then another one at the same address, which does not know the id."""
    path = str(tmp_path / "t.sock")
    first = launch(listen=(f"unix:{path}", "127.0.0.1:0"), sets={"stream.retry": "100ms"})
    port = first.addresses[1][1]
    running = tail("--url", f"http://127.0.0.1:{port}/events/news")
    running.wait_for("listening")
    first.kill()
    running.wait_for("no connection (Connection refused); trying again in", "err")
    launch(listen=(f"127.0.0.1:{port}",))
    running.wait_for("gap", timeout=20)
    assert re.search(r"gap( in \w+)?: .+ \((restart|unknown-id|evicted|unsubscribed)\)", running.out())
    assert running.stop() == 0


def test_tail_with_history_and_an_id(tickerd, redis, tail):
    for i in range(5):
        redis.publish("news", f"old {i}")
    running = tail("--url", url_of(tickerd, "/events/news"), "--history", "2")
    running.wait_for("old 4")
    assert "old 3" in running.out() and "old 2" not in running.out()
    third = re.findall(r"([0-9a-f-]{31})  old 3", running.out())[0]
    running.stop()
    again = tail("--url", url_of(tickerd, "/events/news"), "--last-event-id", third)
    again.wait_for("old 4")
    assert "old 3" not in again.out() and "nothing was missed" in again.out()


def test_tail_is_refused_in_tickerds_words(tickerd):
    done = tickerctl("tail", "--url", url_of(tickerd, "/nothing"))
    assert done.status == 1 and "404 not_found" in done.err, done
    done = tickerctl("tail", "--url", url_of(tickerd, "/healthz"))
    assert done.status == 1 and "not with an event stream" in done.err, done


def test_tail_ends_when_nobody_reads_it(tickerd, redis):
    out, into = os.pipe()
    process = spawn([TICKERCTL, "tail", "--url", url_of(tickerd, "/events/news")], stdout=into,
                    stderr=into)
    os.close(into)
    os.read(out, 100)
    os.close(out)
    try:
        poll_until(lambda: redis.publish("news", "x") and process.poll() is not None,
                   scaled(10), "tail ends", interval=0.05)
    finally:
        end(process)


def test_colours_are_for_terminals(tickerd, redis, tail):
    master, slave = pty.openpty()
    process = spawn([TICKERCTL, "tail", "--url", url_of(tickerd, "/events/news")], stdout=slave,
                    stderr=slave, env={**os.environ, "TERM": "xterm"})
    os.close(slave)
    seen = bytearray()
    try:
        while b"listening" not in seen:
            seen += os.read(master, 4096)
    finally:
        end(process)
        os.close(master)
    assert b"\x1b[32mlistening" in seen
    always = tail("--url", url_of(tickerd, "/events/news"), "--color=always")
    always.wait_for("\x1b[32mlistening")


# ---- what the admin listener answers ------------------------------------------------------------

STATUS = {
    "version": "9.9.9", "pid": 4242, "state": "running", "uptime": 184.2,
    "started": "2026-11-20T19:00:00.000Z", "now": "2026-11-20T19:03:04.200Z",
    "config": {"file": "/etc/tickerd.json", "loaded": "2026-11-20T19:00:00.000Z", "reloads": 1,
               "last_reload": {"at": "2026-11-20T19:01:00.000Z", "ok": False, "changed": [],
                               "needs_restart": [], "errors": ["tickerd.json:3: no such key"]}},
    "listeners": ["127.0.0.1:8090"], "admin": "127.0.0.1:8091", "admin_publish": True,
    "redis": {"state": "up", "address": "redis://127.0.0.1:6379", "mode": "all", "prefix": "sse:",
              "since": "2026-11-20T19:00:00.000Z", "round_trip": 0.00031, "outages": 1},
    "clients": 12034, "clients_max": 65000, "channels": 318, "lagging": 3,
    "totals": {"messages": 1234567, "message_bytes": 99, "deliveries": 7654321,
               "bytes": 1258291, "connections": 9, "streams": 8, "refused": 0, "evicted": 0,
               "oversize": 0, "ignored": 0},
    "gaps": {"evicted": 0, "slow": 12, "unknown-id": 1}, "closed": {"client": 7},
    "latency": {"bounds": [0.001, 0.01, 0.1], "counts": [90, 9, 1, 0]},
    "memory": {"rss": 5 << 20, "histories": 1 << 20},
    "recent_gaps": [{"at": "2026-11-20T19:02:00.000Z", "reason": "slow", "channel": HOSTILE,
                     "clients": 12}],
}


class _Admin(http.server.BaseHTTPRequestHandler):
    """Answers as the admin listener does, out of the server's `answers`: path -> (status, JSON), or a
    function of query and body."""

    def _answer(self):
        parts = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        query = {k: v[0] for k, v in parse_qs(parts.query, keep_blank_values=True).items()}
        self.server.asked.append((self.command, parts.path, query, body))
        answer = self.server.answers[parts.path]
        status, value = answer(query, body) if callable(answer) else answer
        text = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = _answer  # noqa: N815 (their names are given)

    def log_message(self, *args):
        pass


class _Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True


@pytest.fixture
def admin():
    server = _Server(("127.0.0.1", 0), _Admin)
    server.asked, server.answers = [], {}
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def ask(admin, *args, **options):
    return tickerctl(*args, admin=admin.server_address, **options)


def test_status_in_words(admin):
    admin.answers["/status"] = (200, STATUS)
    done = ask(admin, "status")
    assert done.status == 0 and done.err == "", done
    for words in ("tickerd 9.9.9  running, process 4242, up 3 min 4 s", "12,034 of at most 65,000",
                  "318 channels; 3 behind", "1.2 MiB", "slow 12, unknown-id 1", "round trip 0.31 ms",
                  "the last reload was refused (2026-11-20T19:01:00.000Z):\n"
                  "           tickerd.json:3: no such key\n", "1 outage\n", "8 streams\n",
                  "half within 1 ms, 99 % within 10 ms, 99.9 % within 100 ms", "5.0 MiB",
                  "a\\x1b[2J"):
        assert words in done.out, done
    assert "evicted" not in done.out and "\x1b" not in done.out
    assert json.loads(ask(admin, "status", "--json").out) == STATUS
    assert "\x1b[32mrunning" in ask(admin, "status", "--color", "always").out


def test_status_of_a_daemon_that_knows_less(admin):
    admin.answers["/status"] = (200, {"version": "0.1", "state": "running"})
    done = ask(admin, "status")
    assert done.status == 0 and "tickerd 0.1" in done.out, done


def test_status_goes_on(admin, tmp_path):
    admin.answers["/status"] = (200, STATUS)
    running = Running(tmp_path, "status", "--watch", admin=admin.server_address)
    try:
        running.wait_for("0 messages/s in")
        assert running.stop() == 0
    finally:
        end(running.process)


def test_channels_as_a_table(admin):
    row = {"channel": "news", "subscribers": 1200, "messages": 34567, "bytes": 1 << 20,
           "rate": 12.34, "kept": {"events": 1000, "bytes": 65536}, "last_id": "1",
           "last_at": "2026-11-20T19:00:00.000Z"}
    rows = [row, {**row, "channel": HOSTILE, "last_at": None}, {**row, "channel": "x" * 80}]
    admin.answers["/channels"] = (200, {"total": 318, "channels": rows,
                                        "patterns": [{"pattern": "user.*", "subscribers": 4000}]})
    done = ask(admin, "channels", "--limit", "3", "--sort", "name", "--match", "a&b=*")
    lines = done.out.splitlines()
    assert done.status == 0 and lines[0].split()[:2] == ["CHANNEL", "SUBSCRIBERS"], done
    assert re.match(r"news +1,200 +12\.3 +34,567 +1\.0 MiB +1,000 +64\.0 KiB +2026-11-20 19:00:00Z$",
                    lines[1]), done
    assert lines[2].startswith("a\\x1b[2J\\u009b31m\\u202egnp.") and lines[2].endswith("-")
    assert lines[3].startswith("x" * 80 + "  ")
    assert "3 of 318 channels" in done.out and "user.*  4,000" in done.out
    assert admin.asked[-1][2] == {"limit": "3", "sort": "name", "match": "a&b=*"}
    # All columns end where their headers end.
    assert lines[1].index("1,200") + 5 == lines[0].index("SUBSCRIBERS") + 11


def on_terminal(columns, *args):
    """Its exit status, and what it shows on a terminal of so many columns, without colours."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = spawn([TICKERCTL, *args], stdin=subprocess.DEVNULL, stdout=slave, stderr=slave,
                    env={**os.environ, "TERM": "xterm", "NO_COLOR": "1"})
    os.close(slave)
    seen = bytearray()
    try:
        with contextlib.suppress(OSError):  # EIO: the other side has gone
            while chunk := os.read(master, 4096):
                seen += chunk
        return process.wait(scaled(10)), seen.decode().replace("\r\n", "\n")
    finally:
        end(process)
        os.close(master)


def test_everything_fits_a_terminal(admin):
    channel = {"channel": "x" * 80, "subscribers": 1200, "messages": 34567, "bytes": 1 << 20,
               "rate": 12.34, "kept": {"events": 1000, "bytes": 65536}, "last_id": "1",
               "last_at": "2026-11-20T19:00:00.000Z"}
    client = {"address": "2001:db8::1234:5678:9abc", "subject": "alice@example.org", "events": 34567,
              "channels": ["a" * 80, "b" * 80], "patterns": [], "since": "2026-11-20T19:00:00.000Z",
              "last_id": "1", "bytes": 1 << 20, "gaps": 0, "lag": {"events": 0, "bytes": 0},
              "state": "live", "worker": 0}
    admin.answers.update({"/status": (200, STATUS),
                          "/channels": (200, {"total": 1, "channels": [channel], "patterns": []}),
                          "/clients": (200, {"total": 1, "clients": [client], "next": None})})
    where = ("--admin", address_text(admin.server_address))
    for columns in (80, 132):
        for command in ("status", "channels", "clients"):
            status, shown = on_terminal(columns, *where, command)
            assert status == 0 and max(map(len, shown.splitlines())) <= columns, shown
    shown = on_terminal(80, *where, "channels")[1]
    assert "x" * 39 + "…  " in shown and "1,200" in shown and "not shown, for want of room: " in shown
    status, shown = on_terminal(80, "doctor", f"http://127.0.0.1:{free_port()}/events/news")
    assert status == 3 and max(map(len, shown.splitlines())) <= 80, shown
    assert "redirect" not in shown


def test_what_cannot_be_printed_is_no_success(admin):
    admin.answers["/status"] = (200, STATUS)
    with open("/dev/full", "wb") as full:
        process = spawn([TICKERCTL, "--admin", address_text(admin.server_address), "status"],
                        stdout=full, stderr=subprocess.PIPE)
        err = process.communicate(timeout=scaled(10))[1].decode()
    assert process.returncode == 1 and "standard output cannot be written to: No space" in err, err


def test_clients_page_by_page(admin):
    def page(query, body):
        first = int(query.get("after") or 0)
        rows = [{"address": f"10.0.0.{i}", "subject": None if i % 2 else "42", "channels": ["a", "b"],
                 "patterns": ["u.*", "v.*"], "since": "2026-11-20T19:00:00.000Z", "last_id": "1",
                 "events": i, "bytes": i, "gaps": 0, "lag": {"events": 0, "bytes": 0},
                 "state": "live", "worker": 0} for i in range(first, min(first + 10, 25))]
        return 200, {"total": 25, "clients": rows, "next": str(first + 10) if first < 15 else None}

    admin.answers["/clients"] = page
    one = ask(admin, "clients", "--sub", "a b", "--channel", "ä")
    assert one.status == 0 and "10.0.0.9 " in one.out and "10.0.0.10" not in one.out, one
    assert "there are more, of 25 clients" in one.out and "a, b, u.*, …" in one.out
    assert admin.asked[-1][2] == {"sub": "a b", "channel": "ä"}
    every = ask(admin, "clients", "--all")
    assert every.status == 0 and all(f"10.0.0.{i} " in every.out for i in range(25)), every
    assert every.out.count("ADDRESS") == 1 and "there are more" not in every.out
    pages = ask(admin, "--json", "clients", "--all").out.splitlines()
    assert [len(json.loads(p)["clients"]) for p in pages] == [10, 10, 5]


def test_orders(admin):
    admin.answers.update({
        "/publish": (200, {"receivers": 1}), "/disconnect": (200, {"streams": 1200}),
        "/reload": (200, {"ok": True, "changed": ["log.level", "channels"],
                          "needs_restart": ["workers"]}),
        "/drain": (202, {"draining": True})})
    assert "to 1 subscriber\n" in ask(admin, "publish", "a b/ä", "data").out
    assert admin.asked[-1] == ("POST", "/publish", {"channel": "a b/ä"}, b"data")
    piped = bytes(range(256)) * 100
    assert ask(admin, "publish", "news", "-", stdin=piped).status == 0
    assert admin.asked[-1][3] == piped
    assert ask(admin, "publish", "news", stdin=b"").status == 0 and admin.asked[-1][3] == b""
    assert ask(admin, "publish", "news", 'a "b"', "--event", "tick").status == 0
    assert json.loads(admin.asked[-1][3]) == {"event": "tick", "data": 'a "b"'}
    assert "1,200 streams" in ask(admin, "disconnect", "--sub", "42", "--channel", "news").out
    assert admin.asked[-1][:3] == ("POST", "/disconnect", {"sub": "42", "channel": "news"})
    reloaded = ask(admin, "reload")
    assert "changed: log.level, channels" in reloaded.out
    assert "needs a restart: workers" in reloaded.out
    assert "draining" in ask(admin, "drain").out
    assert ask(admin, "drain", "--json").json() == {"draining": True}


def test_what_is_refused_is_1(admin):
    admin.answers.update({
        "/reload": (422, {"error": "bad_config", "message": "The file is not valid.",
                          "errors": ["tickerd.json:3: \x1b[31mworkers: 0 to 64", "another"]}),
        "/publish": (403, {"error": "publish_off", "message": "Set admin_publish."}),
        "/status": (200, b"<html>"), "/drain": (500, b"")})
    reload = ask(admin, "reload")
    assert reload.status == 1 and "refused (422 bad_config): The file is not valid." in reload.err
    assert "\\x1b[31mworkers: 0 to 64" in reload.err and "another" in reload.err
    publish = ask(admin, "publish", "news", "x")
    assert publish.status == 1 and "Set admin_publish." in publish.err
    for command in ("status", "drain"):
        other = ask(admin, command)
        assert other.status == 1 and "not as tickerd's admin listener does" in other.err, other


def test_a_public_listener_takes_no_orders(tickerd):
    done = tickerctl("reload", admin=tickerd.address)
    assert done.status == 1 and "is 127.0.0.1:" in done.err and "the admin listener?" in done.err


# ---- a real admin listener ------------------------------------------------------------------------


@pytest.fixture(params=["tcp", "unix"])
def steered(request, launch, tmp_path):
    """A daemon that takes orders, at a port or at a socket."""
    where = "127.0.0.1:0" if request.param == "tcp" else f"unix:{tmp_path}/admin.sock"
    return launch(sets={"admin": where, "admin_publish": True})


def test_status_of_a_real_daemon(steered):
    done = tickerctl("status", admin=steered.admin)
    assert done.status == 0 and f"running, process {steered.pid}, up " in done.out, done
    assert "redis      up, " in done.out and ", may publish" in done.out
    assert tickerctl("status", "--json", admin=steered.admin).json()["pid"] == steered.pid


def test_tail_and_publish_by_the_admin_listener(steered, tail):
    channel = "a b/\xe4?#%"
    running = tail(channel, admin=steered.admin)
    running.wait_for("listening")
    assert tickerctl("publish", channel, "one", admin=steered.admin).status == 0
    done = tickerctl("publish", channel, "two\nlines", "--event", "tick", admin=steered.admin)
    assert done.status == 0 and "to 1 subscriber" in done.out, done
    running.wait_for("  tick  two\\nlines")
    assert "  one\n" in running.out() and running.stop() == 0


def test_disconnect_ends_streams(steered, redis):
    stream = steered.stream("/events/news")
    other = steered.stream("/events/other")
    done = tickerctl("disconnect", "--channel", "news", admin=steered.admin)
    assert done.status == 0 and "ended 1 stream of this instance" in done.out, done
    stream.wait_end()
    redis.publish("other", "still here")
    other.wait_data("still here")


def test_reload_says_what_has_changed(launch):
    daemon = launch(config={"admin": "127.0.0.1:0", "limits": {"clients": 10}}, sets={"admin": ...})
    daemon.configure({"admin": "127.0.0.1:0", "limits": {"clients": 20}, "workers": 3})
    done = tickerctl("reload", admin=daemon.admin)
    assert done.status == 0 and "changed: limits.clients" in done.out, done
    daemon.configure({"limits": {"clients": "many"}})
    refused = tickerctl("reload", admin=daemon.admin)
    assert refused.status == 1 and "limits.clients" in refused.err, refused
    assert "the last reload was refused" in tickerctl("status", admin=daemon.admin).out


def test_drain_ends_the_daemon(steered):
    done = tickerctl("drain", admin=steered.admin)
    assert done.status == 0 and "draining" in done.out, done
    assert steered.wait() == 0
