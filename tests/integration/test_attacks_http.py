"""A table of attacks on the HTTP side, each of which must come to nothing: smuggling shapes, floods,
injection through names, ids and tokens, and encodings that would reach what is not public.

Payloads that would forge events are in test_publish.py, tokens in test_attacks_jwt.py."""

import json
import re
import time
from urllib.parse import quote

import pytest
from harness import cpu_seconds, error_body, poll_until, scaled, settle
from harness.client import connect

GET = b"GET /events/news HTTP/1.1\r\nHost: a\r\n"
SMUGGLED = b"GET /events/smuggled HTTP/1.1\r\nHost: a\r\n\r\n"

# name: what is sent, and which statuses prove the refusal
REFUSED = {
    # One request that two readers would take for two.
    "cl-te": (GET + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", {400}),
    "te-cl": (GET + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n", {400}),
    "cl-te-post": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n"
                   b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", {400}),
    "te-alone": (GET + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", {400}),
    "te-identity": (GET + b"Transfer-Encoding: identity\r\n\r\n", {400}),
    "te-unknown": (GET + b"Transfer-Encoding: xchunked\r\n\r\n", {400}),
    "te-blank-before-colon": (GET + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", {400}),
    "te-tab": (GET + b"Transfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n", {400}),
    "te-case": (GET + b"tRANSFER-eNCODING: CHUNKED\r\n\r\n0\r\n\r\n", {400}),
    "te-folded": (GET + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", {400}),
    "te-http-1.0": (b"GET /events/news HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                    {400}),
    "body": (GET + b"Content-Length: %d\r\n\r\n" % len(SMUGGLED), {400}),
    "head-with-body": (b"HEAD /events/news HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
                       {400}),
    "two-cl": (GET + b"Content-Length: 0\r\nContent-Length: 5\r\n\r\n", {400}),
    "two-cl-same": (GET + b"Content-Length: 0\r\nContent-Length: 0\r\n\r\n", {400}),
    "cl-list": (GET + b"Content-Length: 0, 5\r\n\r\n", {400}),
    "cl-plus": (GET + b"Content-Length: +0\r\n\r\n", {400}),
    "cl-minus": (GET + b"Content-Length: -1\r\n\r\n", {400}),
    "cl-hex": (GET + b"Content-Length: 0x0\r\n\r\n", {400}),
    "cl-empty": (GET + b"Content-Length:\r\n\r\n", {400}),
    "cl-huge": (GET + b"Content-Length: 99999999999999999999999999\r\n\r\n", {400}),
    "cl-wraps-to-0": (GET + b"Content-Length: 18446744073709551616\r\n\r\n", {400}),
    # Line ends that some take for one and some do not.
    "lf-lines": (b"GET /events/news HTTP/1.1\nHost: a\n\n", {400}),
    "lf-in-value": (GET + b"X: a\nContent-Length: 5\r\n\r\nhello", {400}),
    "lf-end": (GET + b"\n", {400}),
    "cr-in-value": (GET + b"X: a\rContent-Length: 5\r\n\r\n", {400}),
    "cr-in-name": (GET + b"X\r: a\r\n\r\n", {400}),
    "cr-lines": (b"GET /events/news HTTP/1.1\rHost: a\r\r", {400}),
    "cr-cr-lf": (GET + b"X: a\r\r\n\r\n", {400}),
    "lf-in-target": (b"GET /events/\nnews HTTP/1.1\r\nHost: a\r\n\r\n", {400}),
    "folded": (GET + b"X: a\r\n b\r\n\r\n", {400}),
    "folded-tab": (GET + b"X: a\r\n\tb\r\n\r\n", {400}),
    "folded-first": (b"GET /events/news HTTP/1.1\r\n Host: a\r\n\r\n", {400}),
    "blank-before-colon": (GET + b"X : a\r\n\r\n", {400}),
    "tab-before-colon": (GET + b"X\t: a\r\n\r\n", {400}),
    "no-colon": (GET + b"X\r\n\r\n", {400}),
    "no-name": (GET + b": a\r\n\r\n", {400}),
    "name-with-bracket": (GET + b"X[: a\r\n\r\n", {400}),
    "name-not-ascii": (GET + b"\xc3\x9c: a\r\n\r\n", {400}),
    # Control bytes.
    "nul-in-name": (GET + b"X\0: a\r\n\r\n", {400}),
    "nul-in-value": (GET + b"X: a\0b\r\n\r\n", {400}),
    "nul-in-target": (b"GET /events/ne\0ws HTTP/1.1\r\nHost: a\r\n\r\n", {400}),
    "nul-in-method": (b"GE\0T /events/news HTTP/1.1\r\nHost: a\r\n\r\n", {400}),
    "nul-in-version": (b"GET /events/news HTTP/1.1\0\r\nHost: a\r\n\r\n", {400}),
    "del-in-value": (GET + b"X: \x7f\r\n\r\n", {400}),
    "esc-in-value": (GET + b"X: \x1b[2J\r\n\r\n", {400}),
    "tab-in-target": (b"GET /events/\tnews HTTP/1.1\r\nHost: a\r\n\r\n", {400}),
    "tab-for-blank": (b"GET\t/events/news\tHTTP/1.1\r\nHost: a\r\n\r\n", {400}),
    "ff-for-blank": (b"GET\x0c/events/news\x0cHTTP/1.1\r\nHost: a\r\n\r\n", {400}),
    "high-byte-in-target": (b"GET /events/\xc3\xbc HTTP/1.1\r\nHost: a\r\n\r\n", {400}),
    "two-blanks": (b"GET  /events/news HTTP/1.1\r\nHost: a\r\n\r\n", {400}),
    "blank-behind": (b"GET /events/news HTTP/1.1 \r\nHost: a\r\n\r\n", {400}),
    "blank-before": (b" GET /events/news HTTP/1.1\r\nHost: a\r\n\r\n", {400}),
    "blank-in-target": (b"GET /events/news HTTP/1.1 HTTP/1.1\r\nHost: a\r\n\r\n", {400}),
    # Whose request it is.
    "no-host": (b"GET /events/news HTTP/1.1\r\n\r\n", {400}),
    "two-hosts": (b"GET /events/news HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", {400}),
    "two-hosts-same": (b"GET /events/news HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", {400}),
    "host-with-path": (b"GET /events/news HTTP/1.1\r\nHost: a/b\r\n\r\n", {400}),
    "host-with-user": (b"GET /events/news HTTP/1.1\r\nHost: a@b\r\n\r\n", {400}),
    "host-with-blank": (b"GET /events/news HTTP/1.1\r\nHost: a b\r\n\r\n", {400}),
    "two-authorizations": (GET + b"Authorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n",
                           {400}),
    "two-origins": (GET + b"Origin: https://a\r\nOrigin: https://b\r\n\r\n", {400}),
    "two-last-ids": (GET + b"Last-Event-ID: a\r\nLast-Event-ID: b\r\n\r\n", {400}),
    # Versions and methods.
    "http-0.9": (b"GET /events/news\r\n", {505}),
    "http-0.9-version": (b"GET /events/news HTTP/0.9\r\n\r\n", {505}),
    "http-1.2": (b"GET /events/news HTTP/1.2\r\nHost: a\r\n\r\n", {505}),
    "http-2-preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400, 405, 501, 505}),
    "http-2-frames": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", {400, 405, 501, 505}),
    "version-case": (b"GET /events/news http/1.1\r\nHost: a\r\n\r\n", {400}),
    "version-digits": (b"GET /events/news HTTP/1.10\r\nHost: a\r\n\r\n", {400}),
    "version-none": (b"GET /events/news HTTP/\r\nHost: a\r\n\r\n", {400}),
    "rtsp": (b"GET /events/news RTSP/1.0\r\nHost: a\r\n\r\n", {400}),
    "method-case": (b"get /events/news HTTP/1.1\r\nHost: a\r\n\r\n", {400, 501}),
    "method-long": (b"G" * 5000 + b" / HTTP/1.1\r\nHost: a\r\n\r\n", {400, 501}),
    "method-none": (b"/events/news HTTP/1.1\r\nHost: a\r\n\r\n", {400}),
    "connect": (b"CONNECT redis:6379 HTTP/1.1\r\nHost: redis:6379\r\n\r\n", {400, 501}),
    "trace": (b"TRACE / HTTP/1.1\r\nHost: a\r\nCookie: secret\r\n\r\n", {405}),
    "post": (b"POST /events/news HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nGET ", {405}),
    "pipelined-post": (b"POST /events/news HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
                       {405}),
    "asterisk": (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", {400, 404}),
    "authority-form": (b"GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", {400, 404}),
    "other-scheme": (b"GET file:///etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n", {400, 404}),
    "redis-command": (b"SUBSCRIBE sse:secret\r\n", {505}),
    "tls": (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", {400}),
    "proxy-header": (b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n" + GET + b"\r\n", {400, 501}),
    # Floods.
    "101-headers": (GET + b"".join(b"X-%d: y\r\n" % n for n in range(100)) + b"\r\n", {431}),
    "10000-headers": (GET + b"X:\r\n" * 10_000 + b"\r\n", {431}),
    "long-name": (GET + b"X" * 100_000 + b": y\r\n\r\n", {431}),
    "long-value": (GET + b"X: " + b"y" * 100_000 + b"\r\n\r\n", {431}),
    "long-target": (b"GET /" + b"y" * 100_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", {414}),
    "long-version": (b"GET /events/news HTTP/" + b"1" * 100_000, {400, 431}),
    "empty-lines": (b"\r\n" * 100_000, {400}),
    "empty-lines-before": (b"\r\n" * 20 + GET + b"\r\n", {400}),
    "many-cookies": (GET + b"Cookie: a=b; c=d\r\n" * 200 + b"\r\n", {431}),
    "many-forwarded": (GET + b"X-Forwarded-For: 10.0.0.1\r\n" * 101 + b"\r\n", {431}),
}


def exchange(tickerd, raw, step=None, timeout=5):
    """All that comes back for these bytes. The sender may be cut off while it is still sending."""
    with connect(tickerd.address, timeout=timeout) as sock:
        try:
            for i in range(0, len(raw), step or len(raw)):
                sock.sendall(raw[i:i + (step or len(raw))])
        except (BrokenPipeError, ConnectionResetError):
            pass
        got = bytearray()
        try:
            while chunk := sock.recv(65536):
                got += chunk
        except ConnectionResetError:
            pass
        return bytes(got)


def answers(received):
    return len(re.findall(rb"^HTTP/1\.1 \d{3} ", received, re.M))


@pytest.mark.parametrize("raw,statuses", REFUSED.values(), ids=REFUSED.keys())
def test_refused(launch, raw, statuses):
    """One refusal, the connection closed, and what came behind it is not looked at."""
    tickerd = launch(sets={"log.access": True})
    steps = [None] if len(raw) > 5000 else [None, 1]
    for step in steps:
        got = exchange(tickerd, raw + SMUGGLED, step)
        status = int(got.split(b" ", 2)[1])
        assert status in statuses, got[:300]
        assert answers(got) == 1 and b"onnection: close" in got
        assert b"secret" not in got
        body = got.partition(b"\r\n\r\n")[2]
        assert not body or set(json.loads(body)) == {"error", "message"}
    assert tickerd.get("/healthz").status == 200
    poll_until(lambda: len(re.findall("access: ", tickerd.log())) >= len(steps), scaled(5),
               "the requests are logged")
    assert "smuggled" not in tickerd.log() and "\x1b" not in tickerd.log()


def test_exactly_as_many_headers_as_allowed(tickerd, redis):
    raw = GET + b"".join(b"X-%d: y\r\n" % n for n in range(99)) + b"\r\n"
    with tickerd.stream("/", raw=raw) as stream:
        assert settle(stream, redis, "news") == []


@pytest.mark.parametrize("line", [b"X: y\r\n", b"X-" + b"y" * 500 + b": z\r\n", b"\r\n", b"x"],
                         ids=["headers", "long-headers", "empty-lines", "bytes"])
def test_a_head_that_never_ends(tickerd, line):
    """It is refused at a limit, while the sender goes on."""
    with connect(tickerd.address) as sock:
        if line != b"\r\n":
            sock.sendall(GET)
        sent = 0
        try:
            while sent < 4 << 20:
                sock.sendall(line * 10)
                sent += 10 * len(line)
        except (BrokenPipeError, ConnectionResetError, TimeoutError):
            pass
        assert sent < 4 << 20
    assert tickerd.get("/healthz").status == 200


@pytest.mark.parametrize("name", [b"Accept", b"Accept-Encoding", b"Cookie", b"X-Forwarded-For",
                                  b"Forwarded", b"Sec-Fetch-Site"], ids=bytes.decode)
def test_lists_that_begin_empty(tickerd, redis, name):
    """Empty values take no room in the list, so what follows them begins where they do."""
    for values in ([b"", b"x", b"y"], [b"", b"", b"x", b"", b"y"],
                   [b" \t", b"x" * 3000, b"y" * 3000], [b""] * 50 + [b"x"] * 40):
        lines = b"".join(name + b": " + value + b"\r\n" for value in values)
        answer = tickerd.send(b"GET /healthz HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n")
        assert answer.status == 200
        with tickerd.stream("/", raw=GET + lines + b"\r\n") as stream:
            assert settle(stream, redis, "news") == []


def test_a_pipelined_request_is_not_served(launch, redis):
    tickerd = launch(sets={"log.access": True})
    for first in (b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
                  b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
                  b"GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
                  b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
                  b"HEAD /events/news HTTP/1.1\r\nHost: a\r\n\r\n"):
        got = exchange(tickerd, first + SMUGGLED * 3)
        assert answers(got) == 1 and b"onnection: close" in got
    with tickerd.stream("/", raw=GET + b"\r\n" + SMUGGLED) as stream:
        redis.publish("smuggled", "never")
        assert settle(stream, redis, "news") == []
        assert answers(stream.received) == 1
    tickerd.finish()
    assert "smuggled" not in tickerd.log()


def test_absolute_form_names_no_other_resource(launch):
    """RFC 9112 §3.2.2: its authority replaces Host; the path is what counts, wherever it points."""
    tickerd = launch(sets={"log.access": True})
    for target in ("http://evil.example/healthz", "https://evil.example:8443/healthz",
                   "HTTP://evil.example/healthz"):
        answer = tickerd.get(target)
        assert answer.status in (200, 400) and b"evil" not in answer.raw
    for target in ("http://evil.example", "http:///healthz", "http://a@b/nothing", "http:/healthz"):
        error_body(tickerd.get(target), 400, 404)


# Injection.

CRLF = ["%0d%0aX-Injected:%20yes%0d%0a", "%0aX-Injected:%20yes", "%0d%0a%0d%0adata:%20injected%0a",
        "%0ddata:%20injected", "%00", "%e5%98%8a%e5%98%8dX-Injected:%20yes", "%u000aX-Injected"]
PLACES = ["/events/{}", "/events?channel={}", "/events?pattern={}", "/events/news?last_event_id={}",
          "/events/news?lastEventId={}", "/events/news?token={}", "/events/news?history={}",
          "/events/news?format={}", "/{}", "/events/news?{}=1"]


@pytest.mark.parametrize("place", PLACES)
def test_no_line_can_be_injected(launch, redis, place):
    """Not into the head, not into the stream, not into the log."""
    tickerd = launch(sets={"log.access": True, "cors.origins": ["https://app.example"]})
    for attack in CRLF:
        stream = tickerd.connect(place.format(attack), headers=[("Origin", "https://app.example")])
        stream.wait_head()
        if stream.response.status == 200:
            stream.wait_open()
        else:
            stream.wait_end()
            json.loads(stream.body)
        head = bytes(stream.received[:stream.body_at])
        assert b"injected" not in head.lower()
        assert not re.search(rb"^(X-Injected|data: injected)", stream.received, re.M)
        assert b"\0" not in stream.received
        stream.close()
    tickerd.finish()
    assert not re.search(r"^(X-Injected|data:)", tickerd.log(), re.M)
    for line in tickerd.log().splitlines():
        assert re.match(r"\d{4}-\d\d-\d\dT", line), line


@pytest.mark.parametrize("value", ["x\ty", "x\x80y", "x" * 129, "\u2028", "x\u00a0data: injected"])
def test_ids_that_are_no_ids_are_not_repeated(tickerd, value):
    raw = GET + b"Last-Event-ID: " + value.encode("utf-8", "surrogateescape") + b"\r\n\r\n"
    with tickerd.connect("/", raw=raw) as stream:
        opened = stream.wait_open()
        assert re.fullmatch(r"[0-9a-f]{13}-[0-9a-f]{8}-[0-9a-f]{8}", opened.id)
        assert b"injected" not in stream.received


def test_fields_of_the_access_log_cannot_be_made_up(launch):
    tickerd = launch(sets={"log.access": True})
    for target in ('/a"status=200"%20status=200', "/a%20status=200%20events=7", "/a'=\\`",
                   "/a=b=c", "/%e2%80%a8"):
        assert tickerd.get(target).status == 404
        path = re.escape(target)
        tickerd.wait_log(rf"access: client=127\.0\.0\.1 method=GET path={path} status=404 "
                         r"seconds=\d+\.\d+ events=0 bytes=0\n")
    for line in re.findall(r"access: (.*)", tickerd.log()):
        assert len(re.findall(r" status=", " " + line)) == 1, line


# Each value begins like another header of its own header's length.
@pytest.mark.parametrize("lines", [
    b"Accept-Encoding: X-Forwarded-For, 192.0.2.1\r\n",
    b"Accept-Encoding: X-Forwarded-For: 192.0.2.1\r\n",
    b"Accept-Encoding: X-Forwarded-For,192.0.2.1\r\nAccept-Encoding: 192.0.2.1\r\n",
    b"Accept: Origin: https://evil.example\r\nCookie: a=b\r\n",
    b"Accept: Origin\r\nCookie: a=b\r\n",
    b"Accept: Cookie: a=b\r\nOrigin: https://evil.example\r\n",
], ids=lambda lines: lines.split(b"\r\n")[0].decode())
def test_a_value_is_no_header(launch, redis, lines):
    """Nobody is another client, or a page of another origin with cookies, by what a value says."""
    tickerd = launch(sets={"log.access": True, "proxy.trusted": ["127.0.0.1"],
                           "cors.origins": ["https://app.example"]})
    with tickerd.stream("/", raw=GET + lines + b"\r\n") as stream:
        assert stream.response.header("access-control-allow-origin") is None
        assert settle(stream, redis, "news") == []
    tickerd.wait_log(r"access: client=127\.0\.0\.1 method=GET path=/events/news status=200 ")
    assert "192.0.2.1" not in tickerd.log()


# target: what the access log calls its path
SECRET_TARGETS = {
    "http://user:secret@tickerd.test/one?token=secret": "/one",
    "https://user:secret@tickerd.test/two?token=secret": "/two",
    "HTTP://user:secret@tickerd.test": "",
    "http://user:secret@tickerd.test?token=secret": "",
    "http://tickerd.test?x=secret/y": "",
    "redis://user:secret@tickerd.test/three?secret": "/three",
    "/four#token=secret": "/four",
    "/five?a=/secret": "/five",
}


@pytest.mark.parametrize("target", SECRET_TARGETS)
def test_the_access_log_has_the_path_alone(launch, target):
    tickerd = launch(sets={"log.access": True})
    answer = tickerd.get(target)
    tickerd.wait_log(rf"access: .* path={SECRET_TARGETS[target]} status={answer.status} ")
    assert "secret" not in tickerd.log()


# What is not public.

SECRETS = ["secret", "sse:$reserved", "$reserved", "sse", "SSE:news", "ssenews", "other:news",
           "news", "sse:\x01", "sse:"]

# target: the channel it really means, or None where it is refused
REACHES = {
    "/events/%24reserved": None,
    "/events?channel=%24reserved": None,
    "/events/%2524reserved": "%24reserved",
    "/events?channel=%2524reserved": "%24reserved",
    "/events/%20$reserved": " $reserved",
    "/events/..%2fsecret": "../secret",
    "/events/../secret": "../secret",
    "/events/%2e%2e/secret": "../secret",
    "/events/%2e%2e%2fsecret": "../secret",
    "/events/x/../../secret": "x/../../secret",
    "/events//news": "/news",
    "/events/./news": "./news",
    "/events/news/": "news/",
    "/events/news;x=1": "news;x=1",
    "/events/news%3fchannel=other": "news?channel=other",
    "/events/news%23": "news#",
    "/events/sse:news": "sse:news",
    "/events/sse%3anews": "sse:news",
    "/events/sse:$reserved": "sse:$reserved",
    "/events/other:news": "other:news",
    "/events/*": "*",
    "/events/%2a": "*",
    "/events/new?": "new",
    "/events/n%65ws%2f": "news/",
    "/events/[a-z]*": "[a-z]*",
    "/events/news\\": "news\\",
    "/events?channel=*": "*",
    "/events?channel=news%2c*": "news,*",
    "/events/%c0%aesecret": None,  # overlong
    "/events/%c0%a4reserved": None,
    "/events/%e0%80%a4reserved": None,
    "/events/%f0%80%80%a4reserved": None,
    "/events/%ff": None,
    "/events/%ed%a0%80": None,
    "/events/a%00": None,
    "/events/%00secret": None,
    "/events/news%0a": None,
    "/events/%": None,
    "/events/%2": None,
    "/events/%g0": None,
    "/events/%%32%34reserved": None,
    "/events": None,
    "/events/": None,
    "/./events/news": None,
    "/../events/news": None,
    "//events/news": None,
    "/%65vents/news": None,
    "/events%2fnews": None,
    "/EVENTS/news": None,
    "\\events\\news": None,
}


@pytest.mark.parametrize("target", REACHES, ids=lambda t: t[:40])
def test_what_a_target_reaches(launch, redis, target):
    tickerd = launch()
    channel = REACHES[target]
    if channel is None:
        error_body(tickerd.get(target), 400, 403, 404)
        return
    with tickerd.stream(target) as stream:
        for name in SECRETS:
            redis.publish(name, "never", prefix="")
        redis.publish("a", "never")
        redis.publish("other", "never")
        assert settle(stream, redis, channel) == []


@pytest.mark.parametrize("pattern", ["$*", "\\$*", "[$]*", "?reserved", "*", "*reserved", "[^a]*",
                                     "[#-%]*", "*$*", "$reserved", "\\$reserved"])
def test_what_a_pattern_reaches(launch, redis, pattern):
    """Nothing that is reserved, and nothing outside the prefix."""
    for mode in ("all", "on-demand"):
        tickerd = launch(mode=mode)
        answer = tickerd.connect(f"/events?channel=probe&pattern={quote(pattern)}")
        if answer.wait_head().status != 200:
            assert answer.response.status in (400, 403, 404)
            answer.close()
            continue
        with answer as stream:
            stream.wait_open()
            for name in SECRETS:
                redis.publish(name, "never", prefix="")
            redis.publish("$reserved", "never")
            assert settle(stream, redis, "probe") == []


# Time.

def matching_cost(launch, redis, patterns, names=2000):
    """CPU seconds for messages on new, long names while so many patterns wait for theirs."""
    tickerd = launch(sets={"limits.request_bytes": "64KiB"}, log_level="info")
    query = "&".join(f"pattern={quote(p)}" for p in patterns)
    with tickerd.stream(f"/events?channel=probe&{query}") as stream:
        settle(stream, redis, "probe")
        before = cpu_seconds(tickerd.pid)
        for at in range(0, names, 200):
            redis.pipeline(("PUBLISH", "sse:" + "a" * 245 + f"{n:05d}c", "x")
                           for n in range(at, at + 200))
        assert settle(stream, redis, "probe", timeout=60) == []
        return cpu_seconds(tickerd.pid) - before


BOMBS = {
    "stars": lambda n: "*a" * 120 + f"*b{n}*",
    "star-at-the-end": lambda n: "*a" * 126 + "*"[:n % 2] + "b*",
    "long-literals": lambda n: "*" + "a" * 110 + f"b{n}*" + "a" * 110 + "b*",
    "sets": lambda n: "*[ab]" * 48 + f"*[b-d]{n}*",
    "questions": lambda n: "*?" * 120 + f"*b{n}c",
    "all-stars": lambda n: "*" * 250 + f"b{n}",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_glob_bombs(launch, redis, bomb):
    """63 patterns of 255 bytes that send a backtracking matcher astray for ages: a glance costs
    some microseconds, and no more than a small multiple of the harmless."""
    harmless = matching_cost(launch, redis, ["a" * 240 + f"x{n}*" for n in range(63)])
    bombs = matching_cost(launch, redis, [BOMBS[bomb](n) for n in range(63)])
    assert bombs - harmless < scaled(2000 * 63 * 10e-6), (harmless, bombs)
