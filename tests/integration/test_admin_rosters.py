"""/channels and /clients of the admin listener: what they list, by pages, while others come and go,
and that nobody's events wait for it."""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from datetime import datetime, timezone
from urllib.parse import quote

import pytest
from harness import EVENT_ID, SANITIZER, error_body, poll_until, scaled, settle
from harness.client import build, connect
from harness.proc import spawn
from harness.tokens import Secret, auth, bearer

from test_slow import publish_blocks

ADMIN = {"admin": "127.0.0.1:0"}
MANY = 2000 if SANITIZER is None else 400


def listed(tickerd, target):
    answer = tickerd.ask(target)
    assert answer.status == 200, answer
    assert answer.header("content-type") == "application/json"
    return json.loads(answer.body)


def clients(tickerd, query=""):
    return listed(tickerd, "/clients" + query)


def channels(tickerd, query=""):
    return listed(tickerd, "/channels" + query)


def only(found):
    assert len(found) == 1, found
    return found[0]


def names(found):
    return [c["channel"] for c in found["channels"]]


def seconds(text):
    assert text.endswith("Z") and len(text) == 24, text
    return datetime.fromisoformat(text[:-1]).replace(tzinfo=timezone.utc).timestamp()


def come(tickerd, target):
    """A stream that is open, and read no further: without a Stream's cost, and beyond the number
    of descriptors that select can take."""
    sock = connect(tickerd.address)
    sock.sendall(build(target, headers={"Accept": "text/event-stream"}))
    assert sock.recv(8) == b"HTTP/1.1"
    return sock


@pytest.fixture
def tickerd(launch):
    return launch(sets=ADMIN)


# ---- clients --------------------------------------------------------------------------------------

def test_nobody(tickerd):
    assert clients(tickerd) == {"total": 0, "clients": [], "next": None}
    assert tickerd.ask("/clients", method="HEAD").body == b""


@pytest.mark.both
def test_a_client(launch, redis):
    tickerd = launch(sets=ADMIN)
    with tickerd.stream("/events?channel=news&channel=b%22%C3%A4&pattern=user.*") as stream:
        assert settle(stream, redis, "news") == []
        redis.publish("news", "one")
        redis.publish("user.1", "two")
        stream.wait_data("two")
        found = clients(tickerd)
        row = only(found["clients"])
        assert found["total"] == 1 and found["next"] is None
        assert row["address"] == "127.0.0.1" and row["subject"] is None
        assert row["channels"] == ["news", 'b"ä'] and row["patterns"] == ["user.*"]
        assert abs(seconds(row["since"]) - time.time()) < scaled(20)
        assert row["last_id"] == stream.last_id
        assert row["events"] == len(stream.messages) and row["gaps"] == 0
        assert row["bytes"] == len(stream.received)
        assert row["lag"] == {"events": 0, "bytes": 0, "at_least": False}
        assert row["state"] == "live" and 0 <= row["worker"] < 4
    poll_until(lambda: clients(tickerd)["total"] == 0, scaled(5), "it is gone")


def test_the_listener_s_own_streams_are_not_listed(tickerd):
    with tickerd.tail("/events/news"):
        assert clients(tickerd)["total"] == 0


def test_a_stalled_client(launch, redis):
    tickerd = launch(sets={**ADMIN, "history.bytes": "64MiB", "history.events": 150})
    with tickerd.stream("/events/news", rcvbuf=4096) as slow, \
            tickerd.stream("/events/clock") as clock:
        publish_blocks(redis, "news", 1, 100)
        assert settle(clock, redis, "clock") == []
        row = only(clients(tickerd, "?channel=news")["clients"])
        assert row["state"] == "stalled" and 20 <= row["lag"]["events"] <= 100
        assert row["lag"]["bytes"] >= (row["lag"]["events"] - 1) * 64_000
        assert row["events"] + row["lag"]["events"] == 100
        assert row["bytes"] + row["lag"]["bytes"] > 100 * 64_000
        publish_blocks(redis, "news", 101, 400)  # it falls off the tail
        assert settle(clock, redis, "clock") == []
        slow.wait_for(lambda s: s.data and s.data[-1].startswith("400:"), 20, "the end")
        row = only(clients(tickerd, "?channel=news")["clients"])
        assert row["state"] == "live" and row["lag"]["events"] == 0
        assert row["gaps"] == len(slow.gaps) >= 1
        assert row["events"] == len(slow.messages)


def test_who_waits(launch, own_server):
    tickerd = launch(own_server, sets=ADMIN, mode="on-demand")
    own_server.pause()
    with tickerd.connect("/events/news"):
        row = poll_until(lambda: clients(tickerd)["clients"], scaled(5), "it is listed")[0]
        assert row["state"] == "waiting" and row["last_id"] is None and row["events"] == 0
        own_server.resume()


def test_filters(launch, redis, tmp_path):
    key = Secret(tmp_path)
    tickerd = launch(sets={**ADMIN, **auth(key)}, workers=2,
                     listen=("127.0.0.1:0", f"unix:{tempfile.mkdtemp(prefix='tk-')}/s"))

    def listen(target, sub=None, **options):
        claims = {"channels": ["*"], **({"sub": sub} if sub else {})}
        return tickerd.stream(target, headers=bearer(key.token(claims)), **options)

    streams = [listen("/events/news", "ann"), listen("/events?pattern=n*", "ann"),
               listen("/events?channel=a&channel=news", "böb", source="127.0.0.7"),
               listen("/events?pattern=news", None, source="127.0.0.7"),
               listen("/events/a", 'x"y', address=tickerd.addresses[1])]

    def found(query):
        answer = clients(tickerd, query)
        assert answer["total"] == len(answer["clients"])
        return sorted((c["subject"] or "", *c["channels"], *c["patterns"])
                      for c in answer["clients"])

    assert len(found("")) == len(found("?channel=&sub=&address=")) == 5
    assert found("?sub=ann") == [("ann", "n*"), ("ann", "news")]
    assert found("?channel=news") == [("", "news"), ("ann", "news"), ("böb", "a", "news")]
    assert found("?channel=n*") == [("ann", "n*")]
    assert found("?address=127.0.0.7") == [("", "news"), ("böb", "a", "news")]
    assert found("?address=unix") == [('x"y', "a")]
    assert found("?address=127.0.0.7&sub=" + quote("böb") + "&channel=a") == [("böb", "a", "news")]
    assert found("?address=127.0.0.7&sub=ann") == found("?sub=an") == found("?channel=new") == []
    text = tickerd.ask("/clients").body.decode()
    assert "token" not in text and "ey" not in text
    for stream in streams:
        stream.close()
    os.unlink(tickerd.addresses[1]) if os.path.exists(tickerd.addresses[1]) else None


def test_addresses_behind_a_proxy(launch):
    tickerd = launch(sets={**ADMIN, "proxy.trusted": ["127.0.0.9"]})
    with tickerd.stream("/events/a", source="127.0.0.9",
                        headers={"X-Forwarded-For": "198.51.100.7"}), \
            tickerd.stream("/events/b", headers={"X-Forwarded-For": "198.51.100.8"}), \
            tickerd.stream("/events/c", source="127.0.0.9", headers={"Forwarded": "for=\"[2001:db8::1]\""}):
        found = {c["channels"][0]: c["address"] for c in clients(tickerd)["clients"]}
        assert found == {"a": "198.51.100.7", "b": "127.0.0.1", "c": "2001:db8::1"}
        assert clients(tickerd, "?address=2001:DB8::1")["total"] == 1


def pages(tickerd, query, limit):
    """All lines of a list that is turned over page by page."""
    found, after = [], ""
    while True:
        page = clients(tickerd, f"?limit={limit}{query}{after}")
        assert len(page["clients"]) <= limit
        found += page["clients"]
        if page["next"] is None:
            return found
        assert len(page["clients"]) == limit
        after = "&after=" + quote(page["next"])


@pytest.mark.threads
def test_pages_while_others_come_and_go(launch):
    """Who is there all the time is on exactly one page, in the order in which they came."""
    tickerd = launch(sets=ADMIN, workers=4, log_level="info")
    stay = [come(tickerd, f"/events/s{n}") for n in range(MANY // 2)]
    leave = [come(tickerd, f"/events/l{n}") for n in range(MANY // 4)]
    stay += [come(tickerd, f"/events/s{n}") for n in range(MANY // 2, MANY)]
    stayed = [f"s{n}" for n in range(MANY)]
    found = pages(tickerd, "", 1000)
    assert [c["channels"][0] for c in found if c["channels"][0][0] == "s"] == stayed
    assert len({c["worker"] for c in found}) == 4
    came, stop = [], threading.Event()

    def churn():
        while not stop.is_set():
            if leave:
                leave.pop(len(came) * 7 % len(leave)).close()
            came.append(come(tickerd, f"/events/c{len(came)}"))

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for limit in (1000, 333, 37):
            seen = [c["channels"][0] for c in pages(tickerd, "", limit)]
            assert len(seen) == len(set(seen))
            assert [s for s in seen if s[0] == "s"] == stayed
        assert [c["channels"] for c in pages(tickerd, "&channel=s5", 1)] == [["s5"]]
    finally:
        stop.set()
        thread.join()
    assert len(came) > 5
    for sock in stay + leave + came:
        sock.close()


# ---- channels -------------------------------------------------------------------------------------

def test_no_channels(tickerd):
    assert channels(tickerd) == {"total": 0, "channels": [], "patterns": []}


@pytest.mark.both
def test_a_channel(launch, redis):
    tickerd = launch(sets={**ADMIN, "history.events": 3})
    streams = [tickerd.stream("/events/news") for _ in range(5)]
    streams += [tickerd.stream("/events?pattern=n*&pattern=*") for _ in range(3)]
    streams += [tickerd.stream("/events?pattern=*")]
    for stream in streams[:5]:
        assert settle(stream, redis, "news") == []
    before = only(channels(tickerd, "?match=news")["channels"])["messages"]
    for text in ("1", "22", "333", "4444"):
        redis.publish("news", text)
    streams[0].wait_data("4444")
    found = channels(tickerd)
    row = only(found["channels"])
    assert found["total"] == 1
    assert row["channel"] == "news" and row["subscribers"] == 5
    assert row["messages"] == before + 4
    assert row["rate"] == pytest.approx(row["messages"] / 10, abs=row["messages"] / 10)
    assert row["kept"]["events"] == 3 and row["kept"]["bytes"] > 100
    assert row["last_id"] == streams[0].last_id and EVENT_ID.fullmatch(row["last_id"])
    assert abs(seconds(row["last_at"]) - time.time()) < scaled(20)
    assert found["patterns"] == [{"pattern": "*", "subscribers": 4},
                                 {"pattern": "n*", "subscribers": 3}]
    for stream in streams:
        stream.close()


def test_rate_and_order(launch, redis):
    tickerd = launch(sets=ADMIN, workers=2)
    streams = [tickerd.stream(t) for t in ("/events/c", "/events/c", "/events/b", "/events/idle")]
    for n, name in enumerate(("d", "c", "b", "a")):
        for _ in range(20 * (n + 1)):
            redis.publish(name, "x" * n)
    redis.publish("c", "last")
    streams[0].wait_data("last")
    found = channels(tickerd)
    assert found["total"] == 5
    assert names(found) == ["a", "b", "c", "d", "idle"]
    for row, count in zip(found["channels"], (80, 60, 41, 20)):
        assert row["messages"] == count
        assert 0 < row["rate"] <= count / 10 + 0.01
    assert found["channels"][0]["bytes"] == 240
    assert found["channels"][4]["last_id"] is None and found["channels"][4]["last_at"] is None
    assert names(channels(tickerd, "?sort=name")) == ["a", "b", "c", "d", "idle"]
    assert names(channels(tickerd, "?sort=messages&limit=2")) == ["a", "b"]
    by_count = channels(tickerd, "?sort=subscribers")
    assert names(by_count) == ["c", "b", "idle", "a", "d"]
    assert [c["subscribers"] for c in by_count["channels"]] == [2, 1, 1, 0, 0]
    assert [c["subscribers"] for c in found["channels"]] == [0, 1, 2, 0, 1]
    some = channels(tickerd, "?match=" + quote("[cd]") + "&limit=1&sort=name")
    assert some["total"] == 2 and names(some) == ["c"]
    assert names(channels(tickerd, "?match=i*&sort=subscribers")) == ["idle"]
    for stream in streams:
        stream.close()


@pytest.mark.threads
def test_many_channels(launch, redis):
    """The best of very many, by each order, against what was published."""
    tickerd = launch(sets=ADMIN, workers=4, log_level="info")
    count = 20_000 if SANITIZER is None else 3000
    targets = ["/events?" + "&".join(f"channel=c{n}" for n in range(k * 50, k * 50 + 50))
               for k in range(10)]
    crowd = [come(tickerd, t) for k, t in enumerate(targets) for _ in range(k + 1)]
    for n in range(count):
        redis.publish(f"c{n}", "x")
        if n % 997 == 0:
            redis.publish(f"c{n}", "y")
    with tickerd.stream("/events/end") as end:
        assert settle(end, redis, "end") == []
    found = channels(tickerd, "?sort=messages&limit=1000")
    assert found["total"] >= count and len(found["channels"]) == 1000
    twice = sorted((f"c{n}" for n in range(0, count, 997)))
    assert [n for n in names(found) if n != "end"][:len(twice)] == twice
    ordered = names(channels(tickerd, "?sort=name&limit=1000&match=c*"))
    assert ordered == sorted(f"c{n}" for n in range(count))[:1000]
    found = channels(tickerd, "?sort=subscribers&limit=600&match=c*")
    expected = sorted(((-(n // 50 + 1) if n < 500 else 0), f"c{n}") for n in range(count))[:600]
    assert [(-c["subscribers"], c["channel"]) for c in found["channels"]] == expected
    for sock in crowd:
        sock.close()


# ---- what is refused ------------------------------------------------------------------------------

@pytest.mark.parametrize("query, says", [
    ("limit=0", "The parameter limit must be a whole number from 1 to 1000."),
    ("limit=1001", "limit"), ("limit=ten", "limit"), ("limit=-1", "limit"), ("limit=99999", "limit"),
    ("limit=%zz", "The parameter limit must be percent-encoded"),
])
def test_bad_limits(tickerd, query, says):
    for path in ("/clients", "/channels"):
        body = error_body(tickerd.ask(f"{path}?{query}"), 400)
        assert body["error"] == "bad_parameter" and says in body["message"], body


@pytest.mark.parametrize("target, says", [
    ("/channels?sort=size", "must be rate, messages, subscribers or name."),
    ("/clients?after=x", 'must be what the page before has as "next".'),
    ("/clients?after=12", "after"), ("/clients?after=12-", "after"), ("/clients?after=1-2x", "after"),
    ("/clients?after=99999999999999999999999-0", "after"), ("/clients?after=-1-2", "after"),
    ("/clients?address=here", "must be an IP address without a port"),
    ("/clients?address=127.0.0.1:80", "address"),
])
def test_bad_parameters(tickerd, target, says):
    body = error_body(tickerd.ask(target), 400)
    assert body["error"] == "bad_parameter" and says in body["message"], body


# ---- in nobody's way ------------------------------------------------------------------------------

def test_who_goes_before_the_answer(launch, redis):
    """Nobody is there any more when the list comes home; and the server may be stopping."""
    tickerd = launch(sets=ADMIN, workers=4)
    streams = [tickerd.stream(f"/events/{n}") for n in range(20)]
    for n in range(300):
        target = ("/clients", "/channels", "/channels?sort=subscribers")[n % 3]
        sock = connect(tickerd.admin)
        sock.sendall(build(target, host="localhost"))
        sock.close()
    assert clients(tickerd)["total"] == 20
    socks = [connect(tickerd.admin) for _ in range(30)]
    for n, sock in enumerate(socks):
        sock.sendall(build("/clients" if n % 2 else "/channels", host="localhost"))
    tickerd.process.terminate()
    tickerd.process.terminate()
    assert tickerd.wait() == 0
    for sock in socks + [s.sock for s in streams]:
        sock.close()


# In a process of its own, so that what it does is not in the way of what is measured.
ASKER = """
import http.client, json, sys
lists = 0
while True:
    after = ""
    while after is not None:
        http_ = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
        http_.request("GET", "/clients?limit=1000" + after)
        body = http_.getresponse().read()
        after = None if body.endswith(b"null}\\n") else "&after=" + body[-30:].split(b'"')[-2].decode()
    lists += 1
    print(lists, json.loads(body)["total"], flush=True)
"""


@pytest.mark.release
def test_lists_do_not_hold_up_events(launch, redis):
    """The time from PUBLISH to a client, of the 99th of a hundred, with and without somebody who
    asks for 5,000 clients over and over."""
    tickerd = launch(sets=ADMIN, workers=1, log_level="info")

    def p99(stream):
        took = []
        for n in range(3000 if SANITIZER is None else 300):
            sent = time.perf_counter()
            redis.publish("quick", str(n))
            stream.wait_data(str(n))
            took.append(time.perf_counter() - sent)
        return sorted(took)[len(took) * 99 // 100] * 1000

    with tickerd.stream("/events/quick") as stream:
        assert settle(stream, redis, "quick") == []
        crowd = [come(tickerd, "/events/crowd") for _ in range(5000 if SANITIZER is None else 500)]
        quiet = p99(stream)
        asker = spawn([sys.executable, "-c", ASKER, tickerd.admin[1]], stdout=subprocess.PIPE,
                      stderr=None)
        try:
            assert asker.stdout.readline().split()[1] == b"%d" % (len(crowd) + 1)
            busy = p99(stream)
        finally:
            asker.kill()
        lists = len(asker.communicate()[0].splitlines())
    print(f"p99 {quiet:.2f} ms alone, {busy:.2f} ms beside {lists} lists")
    for sock in crowd:
        sock.close()
    assert lists > 0
    if SANITIZER is None:
        assert busy < 3 * quiet + 20, f"{quiet:.2f} ms, then {busy:.2f} ms"
