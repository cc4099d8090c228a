"""Whose a request is: X-Forwarded-For, Forwarded and the PROXY protocol, each from a trusted proxy
only. What the daemon has made of it is read from the access log.

The proxy is whoever comes from 127.0.0.9; 127.0.0.1, where these tests come from otherwise, is a
stranger."""

import itertools
import os
import socket
import struct
import tempfile
import time

import pytest
from harness import error_body, poll_until, scaled, settle
from harness.client import build, connect

PROXY = "127.0.0.9"
LOG = {"log.access": True, "proxy.trusted": [PROXY, "10.0.0.0/8", "fd00::/8"]}
_paths = itertools.count()


def seen_as(tickerd, send):
    """The fields of the access log's line for what `send(path)` asks."""
    path = f"/nothing/{next(_paths)}"
    send(path)
    line = tickerd.wait_log(rf"access: .* path={path} .*").group(0)
    return dict(f.split("=", 1) for f in line.split()[1:])


def by_header(tickerd, headers, source=PROXY, address=None):
    fields = seen_as(tickerd, lambda path: tickerd.get(path, headers=headers, source=source,
                                                       address=address))
    return fields["client"], fields.get("via")


@pytest.fixture
def logging(launch):
    return launch(sets=LOG, log_level="info")


BELIEVED = [
    ([("X-Forwarded-For", "192.0.2.1")], "192.0.2.1"),
    ([("X-Forwarded-For", "198.51.100.7, 192.0.2.1, 10.1.2.3")], "192.0.2.1"),
    ([("X-Forwarded-For", "198.51.100.7"), ("X-Forwarded-For", "192.0.2.1")], "192.0.2.1"),
    ([("X-Forwarded-For", "192.0.2.1:4711")], "192.0.2.1"),
    ([("x-forwarded-for", "[2001:DB8::1]:4711, fd00::7")], "2001:db8::1"),
    ([("Forwarded", 'for="[2001:db8::1]:4711";proto=https')], "2001:db8::1"),
    ([("Forwarded", "for=198.51.100.7, for=192.0.2.1;by=203.0.113.43")], "192.0.2.1"),
    ([("Forwarded", 'for="198.51.100.7'), ("Forwarded", "for=192.0.2.1")], "192.0.2.1"),
    ([("X-Forwarded-For", "192.0.2.1"), ("Forwarded", "for=192.0.2.1")], "192.0.2.1"),
]

NOT_BELIEVED = [
    [],
    [("X-Forwarded-For", "")],
    [("X-Forwarded-For", "192.0.2.1, nonsense")],
    [("X-Forwarded-For", "unknown")],
    [("Forwarded", "for=unknown")],
    [("Forwarded", "for=_hidden")],
    [("Forwarded", "192.0.2.1")],
    [("X-Forwarded-For", "192.0.2.1"), ("Forwarded", "for=198.51.100.7")],
    [("X-Real-IP", "192.0.2.1"), ("Client-IP", "192.0.2.1"), ("True-Client-IP", "192.0.2.1")],
]


@pytest.mark.parametrize("headers,client", BELIEVED, ids=lambda v: str(v)[:50])
def test_a_trusted_proxy_is_believed(logging, headers, client):
    assert by_header(logging, headers) == (client, PROXY)


@pytest.mark.parametrize("headers", NOT_BELIEVED, ids=lambda v: str(v)[:50])
def test_what_names_nobody_is_not(logging, headers):
    assert by_header(logging, headers) == (PROXY, None)


def test_nobody_else_is_believed(logging):
    for headers, _ in BELIEVED:
        assert by_header(logging, headers, source=None) == ("127.0.0.1", None)
    assert by_header(logging, BELIEVED[0][0], source="127.0.0.10") == ("127.0.0.10", None)


def test_the_peers_of_a_unix_socket(launch):
    with tempfile.TemporaryDirectory(prefix="tk-") as folder:
        path = os.path.join(folder, "s")
        for trusted, expected in (([], ("unix", None)), (["unix"], ("192.0.2.1", "unix"))):
            tickerd = launch(listen=(f"unix:{path}",), log_level="info",
                             sets={"log.access": True, "proxy.trusted": trusted})
            headers = [("X-Forwarded-For", "192.0.2.1")]
            assert by_header(tickerd, headers, source=None, address=path) == expected
            tickerd.finish()


def test_an_ipv6_peer(launch):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    tickerd = launch(listen=("[::1]:0",), log_level="info",
                     sets={"log.access": True, "proxy.trusted": ["::/64"]})
    assert by_header(tickerd, [], source=None) == ("::1", None)
    named = [("X-Forwarded-For", "2001:db8::1, ::1:2")]
    assert by_header(tickerd, named, source=None) == ("2001:db8::1", "::1")


# The PROXY protocol.

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def v2(command, family, body):
    return SIGNATURE + struct.pack("!BBH", command, family, len(body)) + body


def v2_inet(source, family=0x11, command=0x21, more=b""):
    packed = socket.inet_pton(socket.AF_INET6 if ":" in source else socket.AF_INET, source)
    return v2(command, family, packed + packed + struct.pack("!HH", 4711, 443) + more)


GOOD = {
    "v1-tcp4": (b"PROXY TCP4 192.0.2.1 10.0.0.1 4711 443\r\n", "192.0.2.1"),
    "v1-tcp6": (b"PROXY TCP6 2001:db8::1 fd00::1 4711 443\r\n", "2001:db8::1"),
    "v1-unknown": (b"PROXY UNKNOWN\r\n", PROXY),
    "v1-unknown-more": (b"PROXY UNKNOWN 192.0.2.1 10.0.0.1 1 2\r\n", PROXY),
    "v2-tcp4": (v2_inet("192.0.2.1"), "192.0.2.1"),
    "v2-tcp6": (v2_inet("2001:db8::1", 0x21), "2001:db8::1"),
    "v2-mapped": (v2_inet("::ffff:192.0.2.1", 0x21), "192.0.2.1"),
    "v2-tlv": (v2_inet("192.0.2.1", more=b"\x04" + struct.pack("!H", 300) + bytes(300)),
               "192.0.2.1"),
    "v2-local": (v2_inet("192.0.2.1", command=0x20), PROXY),
    "v2-local-empty": (v2(0x20, 0, b""), PROXY),
    "v2-unspec": (v2(0x21, 0, b""), PROXY),
    "v2-unix": (v2(0x21, 0x31, bytes(216)), PROXY),
}

BAD = {
    "none": b"",
    "v1-lf": b"PROXY TCP4 192.0.2.1 10.0.0.1 4711 443\n",
    "v1-family": b"PROXY TCP9 192.0.2.1 10.0.0.1 4711 443\r\n",
    "v1-address": b"PROXY TCP4 nonsense 10.0.0.1 4711 443\r\n",
    "v1-long": b"PROXY UNKNOWN " + b"x" * 200 + b"\r\n",
    "v2-version": v2(0x11, 0x11, bytes(12)),
    "v2-short": v2(0x21, 0x21, bytes(12)),
    "v2-long": SIGNATURE + b"\x21\x11\xff\xff",
    "v2-signature": SIGNATURE[:-1] + b"\r\x21\x11\x00\x00",
}


@pytest.fixture
def proxied(launch):
    return launch(sets={**LOG, "proxy.protocol": True}, log_level="info")


def by_proxy(tickerd, header, headers=(), step=None):
    def send(path):
        raw = header + build(path, headers=headers)
        with connect(tickerd.address, source=PROXY) as sock:
            for i in range(0, len(raw), step or len(raw)):
                sock.sendall(raw[i:i + (step or len(raw))])
            got = b""
            while chunk := sock.recv(65536):
                got += chunk
        assert got.startswith(b"HTTP/1.1 404 "), got
    fields = seen_as(tickerd, send)
    return fields["client"], fields.get("via")


@pytest.mark.parametrize("header,client", GOOD.values(), ids=GOOD.keys())
def test_a_proxy_header(proxied, header, client):
    expected = (client, PROXY if client != PROXY else None)
    assert by_proxy(proxied, header) == expected
    assert by_proxy(proxied, header, step=1) == expected
    assert by_proxy(proxied, header, step=7) == expected


@pytest.mark.parametrize("header", BAD.values(), ids=BAD.keys())
def test_a_proxy_header_that_is_none(proxied, header):
    raw = header + build("/events/news")
    body = error_body(proxied.send(raw, source=PROXY), 400)
    assert body["error"] == "bad_proxy_header"


def test_strangers_may_not_bring_one(proxied, redis):
    error_body(proxied.send(GOOD["v1-tcp4"][0] + build("/healthz")), 400)
    error_body(proxied.send(GOOD["v2-tcp4"][0] + build("/healthz")), 400)
    assert by_header(proxied, [("X-Forwarded-For", "192.0.2.1")], source=None) == \
        ("127.0.0.1", None)
    with proxied.stream("/events/news") as stream:
        assert settle(stream, redis, "news") == []


def test_headers_behind_a_proxy_header(proxied):
    """The address of the PROXY header is another hop: its own headers count if it is trusted."""
    named = [("X-Forwarded-For", "198.51.100.7")]
    assert by_proxy(proxied, GOOD["v1-tcp4"][0], named) == ("192.0.2.1", PROXY)
    inner = b"PROXY TCP4 10.0.0.77 10.0.0.1 4711 443\r\n"
    assert by_proxy(proxied, inner, named) == ("198.51.100.7", PROXY)
    assert by_proxy(proxied, GOOD["v2-local"][0], named) == ("198.51.100.7", PROXY)


def test_a_stream_behind_a_proxy_header(proxied, redis):
    raw = GOOD["v2-tlv"][0] + build("/events/news", headers=[("Accept", "text/event-stream")])
    with proxied.stream("/", raw=raw, source=PROXY) as stream:
        redis.publish("news", "hello")
        assert stream.wait_messages(1)[0].data == "hello"


@pytest.mark.parametrize("begin", [b"", b"PROXY TCP4 192.", SIGNATURE + b"\x21\x11\x00\x0c1",
                                   GOOD["v1-tcp4"][0], GOOD["v2-tcp4"][0] + b"GET / HT"],
                         ids=["nothing", "v1-part", "v2-part", "header", "request-part"])
def test_one_deadline_for_header_and_request(launch, begin):
    tickerd = launch(sets={**LOG, "proxy.protocol": True, "limits.request_timeout": "1s"})
    started = time.monotonic()
    with tickerd.connect("/", raw=begin, source=PROXY) as stream:
        half = begin.endswith(b"HT")
        stream.wait_end(timeout=4)
        assert stream.ended == "fin" and time.monotonic() - started > 0.9
        assert (stream.response.status if half else stream.response) == (408 if half else None)


def test_limits_are_those_of_the_client(launch, redis):
    """Behind one proxy, each client has its own; what a client adds to the header is no help."""
    tickerd = launch(sets={**LOG, "limits.clients_per_ip": 2})

    def come(forwarded):
        return tickerd.connect("/events/news", source=PROXY,
                               headers=[("X-Forwarded-For", forwarded)])

    streams = []
    for client in ("192.0.2.1", "192.0.2.2", "2001:db8:0:1::1"):
        for n in range(2):
            streams.append(come(f"198.51.100.{n}, {client}"))
            streams[-1].wait_open()
    for client in ("192.0.2.1", "198.51.100.9, 192.0.2.2", "2001:db8:0:1:ffff::7"):
        with come(client) as refused:
            assert refused.wait_end() == "fin" and refused.response.status == 200
            assert [e.type for e in refused.events] == ["tickerd:open"]
    streams.append(come("2001:db8:0:2::1"))
    streams[-1].wait_open()
    redis.publish("news", "hello")
    for stream in streams:
        stream.wait_data("hello")
    streams[0].close()

    def served():
        with come("192.0.2.1") as again:
            again.wait_open()
            again.pump(0.2)
            return again.ended is None

    poll_until(served, scaled(5), "a place becomes free")
