"""The admin listener: what it serves, to whom, and that it never gets in the service's way."""

import os
import re
import signal
import socket
import stat

import pytest
from harness import error_body, poll_until, scaled
from harness.client import connect
from harness.daemon import run

ADMIN = {"admin": "127.0.0.1:0"}
PAGES = {"/": "text/html", "/style.css": "text/css",
         **{f"/{name}.js": "text/javascript" for name in
            ("app", "chart", "kit", "tables", "tail", "timeline")}}


@pytest.fixture
def tickerd(launch):
    return launch(sets=ADMIN)


# What it serves.

def test_the_log_says_where_it_is(launch):
    tickerd = launch(sets=ADMIN)
    assert tickerd.admin[0] == "127.0.0.1" and tickerd.admin not in tickerd.addresses
    assert "without a password" not in tickerd.log()


def test_null_turns_it_off(launch):
    tickerd = launch(sets={"admin": None})
    assert tickerd.admin is None and "admin listening" not in tickerd.log()


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0"])
def test_an_address_that_others_can_reach_is_warned_of(launch, address):
    tickerd = launch(sets={"admin": address})
    assert re.search(r"warn.*admin: whoever can reach .* without a password", tickerd.log())


@pytest.mark.parametrize("path", PAGES)
def test_pages(tickerd, path):
    for method in ("GET", "HEAD"):
        answer = tickerd.ask(path, method=method)
        assert answer.status == 200
        assert answer.header("content-type").startswith(PAGES[path])
        assert answer.header("cache-control") == "no-store"
        assert answer.header("x-content-type-options") == "nosniff"
        assert "default-src 'none'" in answer.header("content-security-policy")
        assert "frame-ancestors 'none'" in answer.header("content-security-policy")
        assert answer.header("access-control-allow-origin") is None
        assert len(answer.body) == (0 if method == "HEAD" else int(answer.header("content-length")))
    source = os.path.join(os.path.dirname(__file__), "../../src/daemon/ui",
                          path.lstrip("/") or "index.html")
    with open(source, "rb") as file:
        assert tickerd.ask(path).body == file.read()


def test_health_and_what_is_not_there(tickerd):
    assert tickerd.ask("/healthz").status == 200
    assert tickerd.ask("/readyz").status == 200
    assert error_body(tickerd.ask("/nothing"), 404)["error"] == "not_found"
    assert error_body(tickerd.ask("nothing"), 400)["error"] == "bad_request"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_methods_of_pages(tickerd, method):
    answer = tickerd.ask("/", method=method)
    error_body(answer, 405)
    assert answer.header("allow") == "GET, HEAD"


def test_nothing_of_it_is_on_the_public_listener(tickerd):
    for path in PAGES:
        error_body(tickerd.get(path), 404)


# Streams.

@pytest.mark.both
def test_streams_are_real(launch, redis):
    tickerd = launch(sets=ADMIN)
    with tickerd.tail("/events/news") as tail, tickerd.stream("/events/news") as stream:
        redis.publish("news", "one")
        first = tail.wait_messages(1)[0]
        assert first.id == stream.wait_messages(1)[0].id
    redis.publish("news", "two")
    with tickerd.tail("/events/news", last_id=first.id) as tail:
        tail.wait_messages(1)
        assert tail.data == ["two"] or [g.json["reason"] for g in tail.gaps] == ["unsubscribed"]


def test_streams_need_no_token_and_have_no_limits(launch, redis):
    tickerd = launch(sets={**ADMIN, "auth.mode": "required", "limits.clients_per_ip": 1,
                           "auth.keys": [{"alg": "HS256", "env": "KEY"}]},
                     env={"KEY": "k" * 32})
    error_body(tickerd.get("/events/news"), 401)
    tails = [tickerd.tail("/events?pattern=n*") for _ in range(5)]
    redis.publish("news", "one")
    for tail in tails:
        tail.wait_messages(1)
    tickerd.signal(signal.SIGHUP)
    tickerd.wait_log("reloaded: ")
    redis.publish("news", "two")
    for tail in tails:
        tail.wait_messages(2)
        assert tail.data == ["one", "two"]
        tail.close()


def test_it_has_little_room_and_takes_none_of_the_service(launch):
    tickerd = launch(sets={**ADMIN, "limits.clients": 2})
    tails = [tickerd.tail("/events/news") for _ in range(32)]
    streams = [tickerd.stream("/events/news") for _ in range(2)]
    error_body(tickerd.ask("/events/news"), 503)
    assert tickerd.ask("/healthz").status == 200
    for stream in tails + streams:
        stream.close()
    poll_until(lambda: tickerd.ask("/events/news", method="HEAD").status == 200, scaled(5),
               "there is room again")


def test_a_thousand_connections_leave_it_usable(tickerd):
    idle = []
    for _ in range(1000):
        idle.append(connect(tickerd.admin))
    poll_until(lambda: tickerd.ask("/healthz").status == 200, scaled(5), "it answers")
    assert len(os.listdir(f"/proc/{tickerd.pid}/fd")) < 200
    with tickerd.stream("/events/news"):
        pass
    for sock in idle:
        sock.close()


# Who may use it.

@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8091", "192.0.2.7", "[::1]", "[::1]:80",
                                  "[2001:db8::1]:8091", "localhost", "LOCALHOST:8091", "localhost.",
                                  "tickerd.localhost", "ops.example", "Ops.Example:1", "ops.example."])
def test_names_it_answers_to(launch, host):
    tickerd = launch(sets={**ADMIN, "admin_hosts": ["other.example", "ops.example"]})
    assert tickerd.ask("/", host=host).status == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8091", "127.0.0.1.evil.example",
                                  "localhost.evil.example", "xlocalhost", "127.1", "0x7f000001",
                                  "2130706433", "127.0.0.1:80:80", "[127.0.0.1]", "[::1",
                                  "xops.example", "ops.example.evil.example", "", ":8091", "."])
def test_names_of_others(launch, host):
    tickerd = launch(sets={**ADMIN, "admin_hosts": ["ops.example"]})
    for target in ("/", "/events/news", "/healthz"):
        assert tickerd.ask(target, host=host).status in (421, 400)
    assert tickerd.get("/healthz", host=host or "x").status in (200, 400)


def test_a_name_that_is_refused_is_told_the_cure(tickerd):
    body = error_body(tickerd.ask("/", host="evil.example"), 421)
    assert body["error"] == "misdirected"
    assert "evil.example" in body["message"] and "admin_hosts" in body["message"]


def test_who_names_no_host_is_no_browser(tickerd):
    assert tickerd.ask("/healthz", host=None, version="1.0").status == 200
    error_body(tickerd.ask("/healthz", host=None), 400)


def test_hosts_are_reloaded(launch):
    tickerd = launch(sets=ADMIN, config={"admin_hosts": []})
    error_body(tickerd.ask("/", host="ops.example"), 421)
    tickerd.reload({"admin_hosts": ["ops.example"]})
    poll_until(lambda: tickerd.ask("/", host="ops.example").status == 200, scaled(5),
               "the new name counts")


def test_a_unix_socket_is_its_owner_s(launch, tmp_path):
    path = str(tmp_path / "admin.sock")
    tickerd = launch(sets={"admin": f"unix:{path}"})
    assert tickerd.admin == path
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert "without a password" not in tickerd.log()
    assert tickerd.ask("/", host="whatever.example").status == 200
    with tickerd.tail("/events/news"):
        pass
    tickerd.signal(signal.SIGTERM)
    assert tickerd.wait() == 0
    assert not os.path.exists(path)


# In the way of nothing.

def test_a_port_that_is_taken(server):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = "127.0.0.1:%d" % taken.getsockname()[1]
        done = run("--redis", server.url, "--listen", "127.0.0.1:0", "--admin", address)
    assert done.returncode == 1
    assert re.search(r"admin: cannot listen on " + address + r": .*--admin null", done.stderr)


def test_it_answers_during_a_drain_and_does_not_prolong_it(launch, redis):
    tickerd = launch(sets={**ADMIN, "drain.timeout": "30s"})
    tail = tickerd.tail("/events/news")
    held = tickerd.stream("/events/news")
    tickerd.signal(signal.SIGTERM)
    tickerd.wait_log("sending the clients away")
    assert error_body(tickerd.ask("/readyz"), 503)["error"] == "draining"
    assert tickerd.ask("/healthz").status == 200
    redis.publish("news", "last")
    tail.wait_messages(1)
    held.close()
    idle = connect(tickerd.admin)
    assert tail.wait_end() == "fin"
    assert tail.parser.clean and tail.parser.reconnection_time > 0
    assert tickerd.wait() == 0
    idle.close()


def test_what_it_does_is_not_counted(launch, redis):
    tickerd = launch(sets=ADMIN)
    with tickerd.tail("/events/news") as tail:
        redis.publish("news", "one")
        tail.wait_messages(1)
    tickerd.signal(signal.SIGTERM)
    assert tickerd.wait() == 0
    assert "1 messages, 0 streams, 0 deliveries" in tickerd.log()
