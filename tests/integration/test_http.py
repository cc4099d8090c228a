"""HTTP as the public listener speaks it: precise statuses, JSON bodies, and nothing that leaks."""

import json
import os
import socket
import tempfile
import time

import pytest
from harness import error_body, fd_count, poll_until, request, scaled, settle


def head(line="GET /events/news HTTP/1.1", *headers):
    return "\r\n".join([line, "Host: x", *headers, "", ""]).encode("utf-8", "surrogateescape")


@pytest.mark.both
@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health(tickerd, path):
    for method in ("GET", "HEAD"):
        answer = tickerd.get(path, method=method)
        assert answer.status == 200
        assert "no-store" in (answer.header("cache-control") or "no-store")
        assert method == "GET" or answer.body == b""


@pytest.mark.parametrize("path", ["/", "/metrics", "/event", "/eventsx", "/favicon.ico", "/admin",
                                  "/status", "/EVENTS/news", "/healthz/x", "//events/news"])
def test_other_paths_are_not_found(tickerd, path):
    body = error_body(tickerd.get(path), 404)
    assert body["error"] == "not_found"


@pytest.mark.parametrize("path", ["/events", "/events/", "/events?", "/events?channel=",
                                  "/events?history=3"])
def test_no_channel_at_all(tickerd, path):
    error_body(tickerd.get(path), 400, 404)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "TRACE"])
@pytest.mark.parametrize("path", ["/events/news", "/healthz"])
def test_other_methods_are_not_allowed(tickerd, method, path):
    answer = tickerd.get(path, method=method)
    error_body(answer, 405)
    allowed = {m.strip() for m in answer.header("allow").split(",")}
    assert allowed == {"GET", "HEAD", "OPTIONS"}


@pytest.mark.parametrize("line", ["BREW /events/news HTTP/1.1", "get /events/news HTTP/1.1",
                                  "CONNECT x:80 HTTP/1.1", "PROPFIND / HTTP/1.1",
                                  "G\x01T / HTTP/1.1"])
def test_unknown_methods(tickerd, line):
    error_body(tickerd.send(head(line)), 400, 405, 501)


@pytest.mark.both
def test_head_of_a_stream(tickerd):
    answer = tickerd.get("/events/news", method="HEAD")
    assert answer.status == 200 and answer.body == b""
    assert answer.header("content-type").startswith("text/event-stream")
    assert answer.header("cache-control") == "no-cache, no-transform"
    wrong = tickerd.get("/nothing", method="HEAD")
    assert wrong.status == 404 and wrong.body == b""


@pytest.mark.parametrize("raw,status", [
    (b"HEAD /events/news HTTP/1.1\r\n\r\n", 400),
    (b"HEAD /events/news HTTP/1.1\r\nHost: x\r\nbad\r\n\r\n", 400),
    (b"HEAD /events/news HTTP/2.0\r\nHost: x\r\n\r\n", 505),
    (b"HEAD /" + b"y" * 17_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
], ids=["no-host", "bad-header", "version", "too-long"])
def test_head_that_cannot_be_read(tickerd, raw, status):
    answer = tickerd.send(raw)
    assert answer.status == status and answer.body == b""
    assert int(answer.header("content-length")) > 0


def test_options(tickerd):
    for path in ("/events/news", "/healthz", "*"):
        answer = tickerd.get(path, method="OPTIONS")
        assert answer.status in (200, 204), answer
        assert answer.body == b""
        assert answer.header("access-control-allow-origin") is None


BAD_TARGETS = ["/events/%", "/events/%2", "/events/%zz", "/events/a%", "/events?channel=%zz",
               "/events?channel=%", "/events/%00", "/events/a%0ab", "/events/%7f", "/events/%ff",
               "/events/%c3", "/events/%ed%a0%80", "/events?channel=a%0d", "/events?pattern=%ff",
               "/events/" + "n" * 256, "/events?channel=" + "n" * 256,
               "/events/news?format=xml", "/events/news?format=", "/events/news#x"]


@pytest.mark.parametrize("target", BAD_TARGETS, ids=lambda t: t[:25])
def test_bad_targets(tickerd, target):
    body = error_body(tickerd.get(target), 400)
    assert len(body["message"]) < 400


def test_unknown_parameters_are_ignored(tickerd, redis):
    with tickerd.stream("/events/news?x=1&&=&cb=%20&token=t&") as stream:
        assert settle(stream, redis, "news") == []


def test_absolute_form(tickerd, redis):
    with tickerd.stream("http://elsewhere.example/events/news") as stream:
        redis.publish("news", "hello")
        assert stream.wait_messages(1)[0].data == "hello"


BAD_REQUESTS = [
    (b"GET /events/news HTTP/1.1\r\n\r\n", (400,)),  # no Host
    (b"GET /events/news HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", (400,)),
    (b"GET /events/news HTTP/2.0\r\nHost: a\r\n\r\n", (400, 505)),
    (b"GET /events/news HTTP/3.1\r\nHost: a\r\n\r\n", (400, 505)),
    (b"GET /events/news HTTP/1.2\r\nHost: a\r\n\r\n", (200, 400, 505)),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400, 405, 501, 505)),
    (b"GET /events/news\r\n\r\n", (400, 505)),
    (b"GET  /events/news HTTP/1.1\r\nHost: a\r\n\r\n", (400,)),
    (b"GET /events/ne ws HTTP/1.1\r\nHost: a\r\n\r\n", (400,)),
    (b"GET /events/n\xc3\xbc\x01 HTTP/1.1\r\nHost: a\r\n\r\n", (400,)),
    (b"GET /events/news HTTP/1.1\r\nHost: a\r\nA : b\r\n\r\n", (400,)),
    (b"GET /events/news HTTP/1.1\r\nHost: a\r\nA: b\r\n folded\r\n\r\n", (400,)),
    (b"GET /events/news HTTP/1.1\r\nHost: a\r\nA: \0\r\n\r\n", (400,)),
    (b"GET /events/news HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", (400,)),
    (b"GET /events/news HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", (400,)),
    (b"GET /events/news HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", (400, 413)),
    (b"GET /events/news HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", (400,)),
    (b"GET /events/news HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n",
     (400,)),
    (b"GET /events/news HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
     (400, 411, 413, 501)),
    (b"GET /events/news HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: x\r\nContent-Length: 3\r\n\r\n",
     (400, 501)),
    (b"GET /events/news HTTP/1.1\r\nHost: a\r\nLast-Event-ID: a\r\nLast-Event-ID: b\r\n\r\n",
     (400,)),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 TLS hello", (400,)),
    (b"\0\0\0\0\0\0\0\0", (400,)),
    (b"SSH-2.0-x\r\n", (400,)),
    (b"\n\n\n\nxx\n\n", (400,)),
]


@pytest.mark.parametrize("raw,statuses", BAD_REQUESTS, ids=lambda v: repr(v)[2:40].strip())
def test_malformed_requests(tickerd, raw, statuses):
    if 200 in statuses:
        statuses = [s for s in statuses if s != 200]
        with tickerd.connect("/", raw=raw) as stream:
            if stream.wait_head().status == 200:
                return
    error_body(tickerd.send(raw), *statuses)


def test_an_empty_body_is_no_body(tickerd, redis):
    raw = head("GET /events/news HTTP/1.1", "Content-Length: 0")
    with tickerd.stream("/", raw=raw) as stream:
        assert settle(stream, redis, "news") == []


@pytest.mark.both
def test_too_long(tickerd):
    target = "/events/news?x=" + "y" * 17_000
    error_body(tickerd.get(target), 414)
    error_body(tickerd.get("/events/news", headers=[("X-Big", "y" * 17_000)]), 431)
    error_body(tickerd.get("/events/news", headers=[(f"X-{i}", "y" * 90) for i in range(200)]), 431)
    error_body(tickerd.get("/events/news", headers=[(f"X-{i}", "") for i in range(150)]), 431)
    error_body(tickerd.get("/events/news", headers=[("X" * 17_000, "y")]), 431)
    error_body(tickerd.send(b"G" * 20_000), 400, 405, 414, 431, 501)


def test_far_too_long_requests_get_their_answer(tickerd):
    """The refusal arrives though the client is still sending: no reset eats it."""
    for line in ("GET /events/news?x=" + "y" * 400_000 + " HTTP/1.1",
                 "GET /events/news HTTP/1.1"):
        raw = head(line, "X-Big: " + "y" * 400_000)
        error_body(tickerd.send(raw), 414, 431)


def test_request_bytes_is_configurable(launch):
    tickerd = launch(sets={"limits.request_bytes": 1024})
    tickerd.stream("/events/news?x=" + "y" * 700).close()
    error_body(tickerd.get("/events/news?x=" + "y" * 1100), 414)
    error_body(tickerd.get("/events/news", headers=[("X", "y" * 1100)]), 431)


@pytest.mark.both
def test_byte_by_byte(tickerd, redis):
    with tickerd.connect("/", raw=b"") as stream:
        for byte in head("GET /events/news?history=0 HTTP/1.1", "Accept: text/event-stream"):
            stream.sock.sendall(bytes([byte]))
        assert stream.wait_open().json == {"resume": "new"}
        redis.publish("news", "hello")
        assert stream.wait_messages(1)[0].data == "hello"


def test_a_refusal_byte_by_byte(tickerd):
    with tickerd.connect("/", raw=b"") as stream:
        for byte in head("GET /nothing HTTP/1.1"):
            stream.sock.sendall(bytes([byte]))
        stream.wait_end()
        assert stream.response.status == 404 and stream.ended == "fin"


@pytest.mark.both
@pytest.mark.parametrize("junk", [b"GET /events/other HTTP/1.1\r\nHost: x\r\n\r\n", b"\0" * 10,
                                  b"junk\r\n\r\n" * 1000])
def test_pipelined_bytes_are_ignored(tickerd, redis, junk):
    with tickerd.connect("/", raw=head() + junk) as stream:
        stream.wait_open()
        stream.sock.sendall(junk)
        redis.publish("other", "never")
        assert settle(stream, redis, "news") == []
        assert stream.response.status == 200 and stream.body.count(b"HTTP/1.1") == 0


def test_a_refusal_with_pipelined_bytes_is_not_reset(tickerd):
    for _ in range(20):
        error_body(tickerd.send(head("GET /nothing HTTP/1.1") + b"x" * 60_000), 404)


@pytest.mark.both
def test_request_timeout(launch):
    tickerd = launch(sets={"limits.request_timeout": "1s"})
    silent = tickerd.connect("/", raw=b"")
    half = tickerd.connect("/", raw=b"GET /events/news HT")
    slow = tickerd.connect("/", raw=b"GET /events/news HTTP/1.1\r\n")
    started = time.monotonic()

    def all_ended():
        for stream in (silent, half, slow):
            stream.read_what_is_there()
        if not slow.ended:
            try:
                slow.sock.send(b"X: y\r\n")
            except OSError:
                slow.ended = "rst"
        return silent.ended and half.ended and slow.ended

    poll_until(all_ended, scaled(5), "slow senders are closed", interval=0.1)
    assert time.monotonic() - started > 0.9
    assert silent.ended == "fin" and silent.received == b"", "it had not asked for anything"
    assert half.ended == "fin" and half.response.status == 408
    tickerd.stream("/events/news").close()


def test_errors_close_the_connection_and_leave_nothing(tickerd):
    tickerd.get("/nothing")
    before = fd_count(tickerd.pid)
    for raw, _ in BAD_REQUESTS:
        try:
            request(tickerd.address, raw, timeout=2)
        except (OSError, AssertionError):
            pass
    poll_until(lambda: fd_count(tickerd.pid) <= before, scaled(5), "the sockets are closed")


def test_error_bodies_are_safe(tickerd):
    """What the client sent comes back, if at all, as proper JSON and with no type to sniff."""
    answer = tickerd.get("/events/%00<script>\"x\"</script>")
    body = error_body(answer, 400)
    assert "<script>" not in json.dumps(body) or answer.header("x-content-type-options")
    assert answer.header("connection").lower() == "close"


def test_upgrade_is_ignored(tickerd, redis):
    raw = head("GET /events/news HTTP/1.1", "Connection: Upgrade, HTTP2-Settings",
               "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA")
    with tickerd.stream("/", raw=raw) as stream:
        assert settle(stream, redis, "news") == []


def test_expect_continue_does_no_harm(tickerd, redis):
    raw = head("GET /events/news HTTP/1.1", "Expect: 100-continue")
    with tickerd.stream("/", raw=raw) as stream:
        assert settle(stream, redis, "news") == []


# Listeners.

@pytest.mark.workers
def test_a_unix_socket_listener(launch, redis):
    with tempfile.TemporaryDirectory(prefix="tk-") as folder:
        path = os.path.join(folder, "s")
        tickerd = launch(listen=(f"unix:{path}", "127.0.0.1:0"))
        assert tickerd.addresses[0] == path
        streams = [tickerd.stream("/events/news", address=path) for _ in range(20)]
        with tickerd.stream("/events/news", address=tickerd.addresses[1]) as over_tcp:
            redis.publish("news", "hello")
            for stream in (*streams, over_tcp):
                assert stream.wait_messages(1)[0].data == "hello"
                stream.close()
        tickerd.kill()
        tickerd.start()  # over the stale socket
        with tickerd.stream("/events/news") as stream:
            redis.publish("news", "again")
            stream.wait_messages(1)
        assert tickerd.get("/healthz").status == 200


def test_an_ipv6_listener(launch, redis):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    tickerd = launch(listen=("[::1]:0",))
    with tickerd.stream("/events/news") as stream:
        assert settle(stream, redis, "news") == []


@pytest.mark.workers
def test_several_listeners(launch, redis):
    tickerd = launch(listen=("127.0.0.1:0", "127.0.0.2:0"))
    assert len(set(tickerd.addresses)) == 2
    for address in tickerd.addresses:
        with tickerd.stream("/events/news", address=address) as stream:
            assert settle(stream, redis, "news") == []
