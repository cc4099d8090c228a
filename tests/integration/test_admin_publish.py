"""Publishing through the admin listener: POST /publish hands the bytes of its body to Redis as they
are, to whichever server the subscriptions are at, and says what came of it."""

import json
import threading
from urllib.parse import quote

import pytest
from harness import Cluster, RedisServer, Sentinels, error_body, poll_until, scaled
from harness.certs import Authority
from harness.client import build, connect, request
from harness.redis import free_port

PUBLISH = {"admin": "127.0.0.1:0", "admin_publish": True}
QUICK = {**PUBLISH, "redis.ping_interval": "300ms", "redis.ping_timeout": "1s",
         "redis.backoff_max": "300ms"}


def head(channel, length, headers=()):
    return build(f"/publish?channel={quote(channel, safe='')}", method="POST", host="localhost",
                 headers=[("Content-Length", length), *headers])


def post(tickerd, channel, payload, **options):
    payload = payload.encode() if isinstance(payload, str) else payload
    return request(tickerd.admin, head(channel, len(payload), **options) + payload,
                   timeout=scaled(10))


def receivers(answer):
    assert answer.status == 200, repr(answer)
    assert answer.header("content-type").startswith("application/json")
    told = json.loads(answer.body)
    assert [*told] == ["receivers"]
    return told["receivers"]


def publish_when_live(tickerd, channel, payload):
    poll_until(lambda: post(tickerd, channel, payload).status == 200, scaled(20),
               lambda: "it can publish\n" + tickerd.log()[-2000:], interval=0.05)


@pytest.fixture
def tickerd(launch):
    return launch(sets=PUBLISH)


@pytest.fixture
def ear(server):
    """What Redis hands on: ear(channel) subscribes, ear.next() is the next payload."""
    client = server.client()

    class Ear:
        def __call__(self, channel):
            assert client.command("SUBSCRIBE", channel)[0] in (b"subscribe", "subscribe")
            return self

        def next(self):
            return client._reply()[2]

    yield Ear()
    client.close()


# What arrives.

PAYLOADS = {
    "text": b"hello", "empty": b"", "nul": b"\0a\0", "all bytes": bytes(range(256)),
    "invalid UTF-8": b"\xff\xfe\xc3(\x80", "lines": b"\r\n\n\r", "RESP": b"$3\r\nabc\r\n*1\r\n",
    "a request": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "form": b"a=b&c=%20d+e",
    "1 MiB": bytes(i * 31 % 251 for i in range(1 << 20)),
}


@pytest.mark.parametrize("name", PAYLOADS)
def test_the_bytes_are_handed_on_as_they_are(tickerd, ear, name):
    ear("sse:news")
    assert receivers(post(tickerd, "news", PAYLOADS[name])) == 2  # tickerd, and the ear
    got = ear.next()
    assert (got.encode("utf-8", "surrogateescape") if isinstance(got, str) else got) \
        == PAYLOADS[name]


@pytest.mark.both
def test_it_is_a_message_like_any_other(launch):
    tickerd = launch(sets=PUBLISH)
    with tickerd.stream("/events/caf%C3%A9") as stream:
        assert receivers(post(tickerd, "café", '{"event":"tick","data":{"n":1}}')) == 1
        message, = stream.wait_messages(1)
        assert (message.type, message.data) == ("tick", '{"n":1}')
    assert receivers(post(tickerd, "unheard", "x")) >= 0


@pytest.mark.parametrize("prefix", ["", "a:*"])
def test_the_prefix_is_put_before_it(launch, ear, prefix):
    tickerd = launch(sets={**PUBLISH, "redis.prefix": prefix})
    ear(prefix + "news")
    assert receivers(post(tickerd, "news", "hello")) == 2


def test_a_hundred_keep_their_order(tickerd):
    """Each of these publishers waits for its answer, as a script would."""
    def publish(who):
        for n in range(25):
            failed.extend([] if post(tickerd, "news", f"{who} {n}").status == 200 else [(who, n)])

    failed = []
    with tickerd.stream("/events/news") as stream:
        threads = [threading.Thread(target=publish, args=(who,)) for who in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []
        stream.wait_messages(100)
        for who in range(4):
            assert [d for d in stream.data if d.startswith(f"{who} ")] \
                == [f"{who} {n}" for n in range(25)]


def test_a_hundred_at_once(tickerd):
    """Requests that do not wait for one another are still each answered and delivered once."""
    socks = []
    with tickerd.stream("/events/news") as stream:
        for n in range(50):
            socks.append(connect(tickerd.admin))
            socks[-1].sendall(head("news", len(str(n))) + str(n).encode())
        for sock in socks:
            with sock:
                assert sock.recv(1000).startswith(b"HTTP/1.1 200 ")
        stream.wait_messages(50)
        assert sorted(map(int, stream.data)) == list(range(50))


# What is refused.

def test_it_is_off_by_default(launch, redis):
    tickerd = launch(sets={"admin": "127.0.0.1:0"})
    with tickerd.stream("/events/news") as stream:
        for payload in ("x", b"x" * 100_000, ""):
            assert error_body(post(tickerd, "news", payload), 403)["error"] == "publish_off"
        redis.publish("news", "the only one")
        stream.wait_messages(1)
        assert stream.data == ["the only one"]


@pytest.mark.parametrize("target", [
    "/publish", "/publish?channel=", "/publish?channel=a%0Ab", "/publish?channel=%ff",
    "/publish?channel=$SYS", "/publish?channel=" + "x" * 256])
def test_names_that_are_no_channel(tickerd, target):
    raw = build(target, method="POST", host="localhost", headers=[("Content-Length", 1)]) + b"x"
    error_body(request(tickerd.admin, raw), 400, 404)


def test_only_by_post(tickerd):
    answer = tickerd.ask("/publish?channel=news")
    error_body(answer, 405)
    assert answer.header("allow") == "POST"


def test_how_much(launch, redis):
    tickerd = launch(sets={**PUBLISH, "limits.message_bytes": 1000})
    with tickerd.stream("/events/news") as stream:
        assert receivers(post(tickerd, "news", "x" * 1000)) == 1
        assert error_body(post(tickerd, "news", "x" * 1001), 413)["error"] == "body_too_large"
        raw = build("/publish?channel=news", method="POST", host="localhost",
                    headers=[("Transfer-Encoding", "chunked")]) + b"1\r\nx\r\n0\r\n\r\n"
        assert error_body(request(tickerd.admin, raw), 411)["error"] == "length_required"
        raw = head("news", "1", [("Content-Length", "2")]) + b"xx"
        error_body(request(tickerd.admin, raw), 400)
        redis.publish("news", "last")
        stream.wait_data("last")
        assert stream.data == ["x" * 1000, "last"]


def test_who_waits_for_100_continue(tickerd):
    with connect(tickerd.admin) as sock:
        sock.sendall(head("news", 5, [("Expect", "100-continue")]))
        assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(b"hello")
        assert sock.recv(1000).startswith(b"HTTP/1.1 200 ")
    with connect(tickerd.admin) as sock:
        sock.sendall(head("news", 1 << 30, [("Expect", "100-continue")]))
        assert sock.recv(1000).startswith(b"HTTP/1.1 413 ")


def test_a_body_that_does_not_come(launch):
    tickerd = launch(sets={**PUBLISH, "limits.request_timeout": "300ms"})
    answer = request(tickerd.admin, head("news", 5) + b"hell", timeout=scaled(5))
    assert error_body(answer, 408)["error"] == "request_timeout"


def test_whose_body_is_not_waited_for(tickerd):
    """Gone with half of it; nothing is published, and nothing is left behind."""
    with tickerd.stream("/events/news") as stream:
        for _ in range(20):
            with connect(tickerd.admin) as sock:
                sock.sendall(head("news", 50_000) + b"x" * 25_000)
        assert receivers(post(tickerd, "news", "whole")) == 1
        stream.wait_messages(1)
        assert stream.data == ["whole"]


# Redis.

def test_rights(launch, own_server):
    admin = own_server.client()
    rights = ["ACL", "SETUSER", "app", "reset", "on", ">pw", "resetchannels", "&sse:*",
              "+subscribe", "+psubscribe", "+unsubscribe", "+punsubscribe", "+ping"]
    admin.command(*rights)
    tickerd = launch(f"redis://app:pw@127.0.0.1:{own_server.port}", sets=QUICK)
    refused = error_body(post(tickerd, "news", "x"), 503)
    assert "NOPERM" in refused["message"] and "+publish" in refused["message"]
    assert "pw" not in refused["message"]
    assert tickerd.get("/readyz").status == 200  # the subscriptions live on
    admin.command(*rights, "+publish")
    publish_when_live(tickerd, "news", "x")
    admin.close()


def test_while_redis_is_down(launch, own_server):
    tickerd = launch(own_server, sets=QUICK)
    assert receivers(post(tickerd, "news", "before")) == 1
    own_server.kill()
    tickerd.wait_log("redis: lost ")
    message = error_body(post(tickerd, "news", "x"), 503)["message"]
    assert "Redis is away" in message
    own_server.start()
    publish_when_live(tickerd, "news", "after")


def test_while_redis_says_nothing(launch, own_server):
    """A server that stands still may have the message or not, and that is what is said."""
    tickerd = launch(own_server, sets=QUICK)
    assert receivers(post(tickerd, "news", "before")) == 1
    own_server.pause()
    message = error_body(post(tickerd, "news", "x"), 503)["message"]
    assert "has not confirmed" in message
    own_server.resume()
    publish_when_live(tickerd, "news", "after")


def test_after_a_failover(launch):
    sentinels = Sentinels()
    try:
        tickerd = launch("redis://127.0.0.1:1", sets={**QUICK, **sentinels.settings})
        with tickerd.stream("/events/news") as stream:
            publish_when_live(tickerd, "news", "before")
            stream.wait_data("before")
            old = sentinels.master()
            new = sentinels.failover()
            assert new is not old
            tickerd.wait_log(f"connected to .*{new.port}", timeout=20)
            publish_when_live(tickerd, "news", "after")
            stream.wait_data("after")
    finally:
        sentinels.stop()


def test_on_a_cluster(launch):
    cluster = Cluster()
    try:
        tickerd = launch(cluster.nodes[0].url, sets=QUICK)
        with tickerd.stream("/events/news") as stream:
            publish_when_live(tickerd, "news", "hello")
            stream.wait_data("hello")
    finally:
        cluster.stop()


def test_over_tls(launch, tmp_path):
    ca = Authority(tmp_path / "ca")
    pair = ca.issue("server", "DNS:localhost", "IP:127.0.0.1")
    port = free_port()
    server = RedisServer("--tls-port", port, "--tls-cert-file", pair.cert, "--tls-key-file",
                         pair.key, "--tls-ca-cert-file", ca.cert, "--tls-auth-clients", "no",
                         "--requirepass", "geheim")
    try:
        tickerd = launch(f"rediss://:geheim@localhost:{port}",
                         sets={**QUICK, "redis.tls.ca": ca.cert})
        with tickerd.stream("/events/news") as stream:
            publish_when_live(tickerd, "news", "hello")
            stream.wait_data("hello")
        assert "geheim" not in tickerd.log()
    finally:
        server.stop()


def test_through_a_unix_socket(launch, server):
    tickerd = launch(server.unix_url, sets=PUBLISH)
    assert receivers(post(tickerd, "news", "hello")) == 1
