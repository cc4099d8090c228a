"""Orders to the admin listener, and the status that shows what came of them."""

import json
import signal
import threading

import pytest
from harness import error_body, poll_until, request, scaled
from harness.client import build, connect

ADMIN = {"admin": "127.0.0.1:0", "admin_publish": ...}


@pytest.fixture
def tickerd(launch):
    return launch(sets=ADMIN, config={})


def status(tickerd):
    answer = tickerd.ask("/status")
    assert answer.status == 200 and answer.header("content-type") == "application/json"
    return json.loads(answer.body)


def order(tickerd, target, *, expect=200, headers=(), body=b"", host="localhost"):
    headers = [*headers, ("Content-Length", len(body))]
    raw = build(target, method="POST", headers=headers, host=host) + body
    answer = request(tickerd.admin, raw, timeout=10)
    if expect >= 400 and expect != 422:
        return error_body(answer, expect)
    assert answer.status == expect, answer
    return json.loads(answer.body)


# Status.

def test_status_of_a_daemon_that_is_well(launch, redis):
    tickerd = launch(sets={**ADMIN, "limits.clients": 7}, workers=2)
    with tickerd.stream("/events/news") as stream, tickerd.tail("/events/news") as tail:
        for n in range(3):
            redis.publish("news", f"{n}")
        stream.wait_messages(3)
        tail.wait_messages(3)
        poll_until(lambda: status(tickerd)["totals"]["deliveries"] == 3, scaled(5), "they count")
        now = status(tickerd)
    assert now["pid"] == tickerd.pid and now["state"] == "running" and now["uptime"] > 0
    assert now["started"] < now["now"] and now["now"].endswith("Z")
    assert now["listeners"] == ["%s:%d" % a for a in tickerd.addresses]
    assert now["admin"] == "%s:%d" % tickerd.admin and now["admin_publish"] is False
    assert now["redis"]["state"] == "up" and now["redis"]["outages"] == 0
    assert now["redis"]["mode"] == "all" and now["redis"]["prefix"] == "sse:"
    assert now["clients"] == 1 and now["clients_max"] == 7
    assert now["totals"]["messages"] == 3 and now["totals"]["message_bytes"] == 3
    assert now["totals"]["streams"] == 1
    assert [w["deliveries"] for w in now["workers"]].count(0) == 1 and len(now["workers"]) == 2
    latency = now["latency"]
    assert len(latency["counts"]) == len(latency["bounds"]) + 1 and sum(latency["counts"]) == 3
    assert sum(now["turns"]["hub"]) > 0 and sum(now["turns"]["workers"]) > 0
    assert now["memory"]["rss"] > 1_000_000 and now["memory"]["histories"] > 0
    assert set(now["gaps"]) == {"evicted", "restart", "upstream", "unsubscribed", "slow",
                                "oversize", "unknown-id"}
    assert now["config"]["file"] is None and now["config"]["last_reload"] is None
    assert now["recent_gaps"] == []


def test_status_knows_how_streams_ended_and_what_they_missed(launch, redis):
    tickerd = launch(sets={**ADMIN, "limits.message_bytes": "1KiB"})
    with tickerd.stream("/events/news") as stream:
        redis.publish("news", "x" * 2000)
        poll_until(lambda: stream.pump(0.05) or stream.gaps, scaled(5), "there is a gap")
    poll_until(lambda: status(tickerd)["closed"]["client"] == 1, scaled(5), "its end counts")
    now = status(tickerd)
    assert now["gaps"]["oversize"] == 1 and now["totals"]["oversize"] == 1
    gap, = now["recent_gaps"]
    assert gap["reason"] == "oversize" and gap["channel"] == "news" and gap["clients"] == 1


def test_status_without_redis(launch, own_server):
    tickerd = launch(redis=own_server, sets={**ADMIN, "redis.ping_interval": "1s"})
    own_server.stop()
    poll_until(lambda: status(tickerd)["redis"]["state"] == "down", scaled(10), "it is down")
    now = status(tickerd)
    assert now["redis"]["since"] is not None and now["redis"]["outages"] == 1
    assert now["state"] == "running"


def test_status_never_shows_a_password(launch, own_server):
    secret = "hunter2hunter2"
    own_server.client().command("CONFIG", "SET", "requirepass", secret)
    url = own_server.url.replace("redis://", f"redis://:{secret}@")
    tickerd = launch(url=url, sets=ADMIN)
    body = tickerd.ask("/status").body.decode()
    assert secret not in body and "redis" in json.loads(body)


# Who may order.

@pytest.mark.parametrize("headers", [
    [], [("Origin", "http://localhost")], [("Sec-Fetch-Site", "none")],
    [("Origin", "http://localhost"), ("Sec-Fetch-Site", "same-origin")],
    [("Origin", "https://localhost")],  # a proxy in front ends TLS
])
def test_orders_of_its_own_pages_and_of_no_page(tickerd, headers):
    assert order(tickerd, "/reload", headers=headers)["ok"] is True


@pytest.mark.parametrize("headers", [
    [("Origin", "http://evil.example")], [("Origin", "null")], [("Origin", "http://localhost:81")],
    [("Origin", "http://localhost.evil.example")], [("Sec-Fetch-Site", "cross-site")],
    [("Sec-Fetch-Site", "same-site")], [("Sec-Fetch-Site", "")],
    [("Origin", "http://localhost"), ("Sec-Fetch-Site", "cross-site")],
])
@pytest.mark.parametrize("target", ["/reload", "/drain", "/disconnect?channel=news", "/publish"])
def test_orders_of_foreign_pages(tickerd, headers, target):
    assert order(tickerd, target, headers=headers, expect=403)["error"] == "foreign_origin"
    assert tickerd.running() and "last_reload\":null" in tickerd.ask("/status").body.decode()


@pytest.mark.parametrize("target", ["/reload", "/drain", "/disconnect", "/publish"])
def test_orders_need_a_post(tickerd, target):
    for method in ("GET", "HEAD", "PUT", "OPTIONS"):
        answer = tickerd.ask(target, method=method)
        assert answer.status == 405 and answer.header("allow") == "POST"
    for path in ("/status", "/metrics", "/readyz"):
        answer = tickerd.ask(path, method="POST")
        assert answer.status == 405 and answer.header("allow") == "GET, HEAD"


# Reload.

def test_a_reload_says_what_has_changed(tickerd):
    tickerd.configure({"stream": {"heartbeat": "7s"}, "workers": 3})
    done = order(tickerd, "/reload")
    assert done["ok"] is True and done["changed"] == ["stream.heartbeat"]
    now = status(tickerd)["config"]
    assert now["file"] == tickerd.config_path and now["reloads"] == 1
    assert now["last_reload"]["ok"] is True
    assert now["last_reload"]["changed"] == ["stream.heartbeat"]
    assert now["last_reload"]["at"] == now["loaded"]
    assert order(tickerd, "/reload")["changed"] == []


def test_a_reload_says_what_needs_a_restart(launch):
    tickerd = launch(sets=ADMIN, config={"redis": {"linger": "10s"}})
    tickerd.configure({"redis": {"linger": "11s"}, "state": {"file": "/nowhere/x"}})
    done = order(tickerd, "/reload")
    assert "state.file" in done["needs_restart"] and "state.file" not in done["changed"]


def test_a_bad_configuration_is_refused_and_remembered(tickerd):
    with tickerd.stream("/events/news") as stream:
        tickerd.configure({"stream": {"heartbeat": "soon"}, "colour": "red"})
        refused = order(tickerd, "/reload", expect=422)
        assert refused["error"] == "bad_config" and len(refused["errors"]) == 2
        assert any("colour" in line for line in refused["errors"])
        assert any("stream.heartbeat" in line for line in refused["errors"])
        last = status(tickerd)["config"]["last_reload"]
        assert last["ok"] is False and last["errors"] == refused["errors"]
        assert status(tickerd)["config"]["reloads"] == 0
        tickerd.reload({})
        last = status(tickerd)["config"]["last_reload"]
        assert last["ok"] is True and last["errors"] == []
        assert stream.ended is None


def test_many_reloads_at_once_are_all_answered(tickerd):
    answers = []
    def ask():
        answers.append(order(tickerd, "/reload")["ok"])
    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [True] * 20
    assert 1 <= status(tickerd)["config"]["reloads"] <= 20


def test_who_asks_and_goes_harms_nobody(tickerd):
    for _ in range(30):
        for target in ("/reload", "/disconnect?channel=news", "/status"):
            method = "GET" if target == "/status" else "POST"
            with connect(tickerd.admin) as sock:
                sock.sendall(build(target, method=method, host="localhost"))
    assert order(tickerd, "/reload")["ok"] is True


# Drain.

def test_a_drain_by_order(launch):
    tickerd = launch(sets={**ADMIN, "drain.timeout": "30s"})
    stream = tickerd.stream("/events/news")
    assert order(tickerd, "/drain", expect=202) == {"draining": True}
    tickerd.wait_log("admin: drain: sending the clients away")
    assert status(tickerd)["state"] == "draining"
    assert order(tickerd, "/drain", expect=202) == {"draining": True}  # not at once, as TERM twice
    assert order(tickerd, "/reload", expect=503)["error"] == "draining"
    assert tickerd.running()
    stream.close()
    assert tickerd.wait() == 0


def test_term_during_orders(launch):
    tickerd = launch(sets=ADMIN)
    socks = []
    for n in range(20):
        sock = connect(tickerd.admin)
        sock.sendall(build(("/reload", "/disconnect?sub=1")[n % 2], method="POST",
                           host="localhost"))
        socks.append(sock)
    tickerd.signal(signal.SIGTERM)
    assert tickerd.wait() == 0
    for sock in socks:
        sock.close()


def test_the_end_while_workers_are_given_orders(launch):
    """What has not reached a worker by then is answered, or dropped, after the listener is gone."""
    tickerd = launch(workers=6, sets={**ADMIN, "drain.timeout": "0s"})
    over = threading.Event()
    raw = build("/disconnect?channel=x", method="POST", host="localhost")

    def give_orders():
        while not over.is_set():
            try:
                request(tickerd.admin, raw, timeout=10)
            except (OSError, AssertionError):
                pass  # it is gone, or going

    threads = [threading.Thread(target=give_orders) for _ in range(8)]
    for thread in threads:
        thread.start()
    tickerd.wait_log("control: disconnect")
    tickerd.signal(signal.SIGTERM)
    tickerd.signal(signal.SIGTERM)
    status = tickerd.wait()
    over.set()
    for thread in threads:
        thread.join()
    assert status == 0


# Disconnect.

@pytest.mark.both
def test_disconnect_a_channel(launch):
    tickerd = launch(sets=ADMIN)
    streams = [tickerd.stream("/events/news") for _ in range(10)]
    others = [tickerd.stream("/events/other"), tickerd.tail("/events/news")]
    assert order(tickerd, "/disconnect?channel=news") == {"streams": 10}
    for stream in streams:
        assert stream.wait_end() == "fin"
    assert order(tickerd, "/disconnect?channel=n%65ws") == {"streams": 0}
    for stream in others:
        stream.pump(0.05)
        assert stream.ended is None
        stream.close()


@pytest.mark.parametrize("query", ["", "?", "?x=1", "?sub=", "?channel=", "?channel=$x",
                                   "?channel=a%00b", "?sub=a%00", "?sub=%", "?channel=%ff",
                                   "?sub=" + "x" * 256])
def test_disconnect_whom(tickerd, query):
    body = order(tickerd, "/disconnect" + query, expect=400)
    assert body["error"] == "bad_request" and body["message"].endswith(".")


# Publish.

def test_publish_is_off(tickerd):
    body = order(tickerd, "/publish?channel=news", expect=403)
    assert body["error"] == "publish_off" and "admin_publish" in body["message"]


def test_publish(launch):
    tickerd = launch(sets={**ADMIN, "admin_publish": True, "limits.message_bytes": "1KiB"})
    assert status(tickerd)["admin_publish"] is True
    with tickerd.stream("/events/a%20b") as stream:
        payload = "one\nzwei ✓".encode()
        done = order(tickerd, "/publish?channel=a%20b", body=payload)
        assert done == {"receivers": 1}
        assert stream.wait_messages(1)[0].data == "one\nzwei ✓"
        assert order(tickerd, "/publish?channel=a+b", body=b"") == {"receivers": 1}
        assert stream.wait_messages(2)[1].data == ""
        order(tickerd, "/publish?channel=a%20b", body=b"x" * 1025, expect=413)
        for query in ("", "?channel=", "?channel=$x", "?channel=a%0a", "?channel=" + "x" * 256):
            assert order(tickerd, "/publish" + query, body=b"x", expect=400)["message"]


def test_publish_may_be_allowed_by_a_reload(tickerd):
    tickerd.configure({"admin_publish": True})
    assert order(tickerd, "/reload")["changed"] == ["admin_publish"]
    with tickerd.stream("/events/news") as stream:
        poll_until(lambda: status(tickerd)["admin_publish"], scaled(5), "it is in force")
        assert order(tickerd, "/publish?channel=news", body=b"hello") == {"receivers": 1}
        assert stream.wait_messages(1)[0].data == "hello"


def test_publish_without_redis(launch, own_server):
    tickerd = launch(redis=own_server, sets={**ADMIN, "admin_publish": True,
                                             "redis.ping_interval": "1s"})
    own_server.stop()
    poll_until(lambda: status(tickerd)["redis"]["state"] == "down", scaled(10), "it is down")
    assert order(tickerd, "/publish?channel=news", body=b"x", expect=503)["message"]
