"""HTTP over a raw socket: exact bytes out, exact bytes in. A Stream reads only when it is asked to,
so a client that does not ask is a slow client."""

import select
import socket
import struct
import time

from .env import scaled
from .sse import SseParser


def connect(address, *, rcvbuf=None, timeout=5, source=None):
    """`address` is (host, port) or the path of a unix socket; `source` an own address."""
    family = socket.AF_UNIX if isinstance(address, str) else (
        socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
    sock = socket.socket(family)
    if rcvbuf is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
    sock.settimeout(scaled(timeout))
    if source is not None:
        sock.bind((source, 0))
    sock.connect(address)
    if family != socket.AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def build(target, *, method="GET", version="1.1", headers=(), host="tickerd.test"):
    """A request head. Headers are (name, value) pairs or a mapping; host=None leaves Host out."""
    pairs = list(headers.items()) if isinstance(headers, dict) else list(headers)
    lines = [f"{method} {target} HTTP/{version}"]
    if host is not None:
        lines.append(f"Host: {host}")
    lines += [f"{n}: {v}" for n, v in pairs]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape")


class Response:
    """A head and whatever body came until the end of the connection."""

    def __init__(self, raw):
        self.raw = bytes(raw)
        self.head, found, self.body = self.raw.partition(b"\r\n\r\n")
        if not found:
            raise AssertionError(f"no complete response head: {self.raw[:300]!r}")
        lines = self.head.decode("latin-1").split("\r\n")
        self.version, status, self.reason = (lines[0].split(" ", 2) + [""])[:3]
        self.status = int(status)
        self.pairs = [(n.lower(), v.strip()) for n, _, v in (l.partition(":") for l in lines[1:])]

    def header(self, name):
        """The header's value (several joined by ', '), or None."""
        values = [v for n, v in self.pairs if n == name.lower()]
        return ", ".join(values) if values else None

    def __repr__(self):
        return f"<Response {self.raw[:500]!r}>"


class Chunked:
    """Takes a chunked body out of its chunks (RFC 9112 §7.1), as its bytes come. tickerd sends none,
    proxies do."""

    def __init__(self):
        self.body = bytearray()
        self.ended = False
        self._buffer = b""
        self._left = 0  # of the chunk at hand, its line end included

    def feed(self, data):
        """What of the body is in these bytes."""
        self._buffer += data
        found = bytearray()
        while self._buffer and not self.ended:
            if self._left == 0:
                size, complete, rest = self._buffer.partition(b"\r\n")
                if not complete:
                    break
                self._left, self._buffer = int(size, 16) + 2, rest
                self.ended = self._left == 2
            else:
                piece = self._buffer[:self._left]
                found += piece[:max(0, self._left - 2)]
                self._left -= len(piece)
                self._buffer = self._buffer[len(piece):]
        self.body += found
        return bytes(found)


def request(address, raw, *, timeout=5, source=None):
    """Send bytes, read until the peer closes; a reset, or silence, is an error."""
    with connect(address, timeout=timeout, source=source) as sock:
        sock.sendall(raw)
        got = bytearray()
        while True:
            chunk = sock.recv(65536)
            if not chunk:
                return Response(got)
            got += chunk


class Stream:
    """A request whose answer is (or should be) an event stream."""

    def __init__(self, address, target, *, last_id=None, headers=(), method="GET", version="1.1",
                 rcvbuf=None, raw=None, parse=True, source=None, host="tickerd.test",
                 sock=None):
        """`sock`: a connection on which the request has been made, in place of the rest."""
        self.parser = SseParser()
        self.response = None   # the head, once it is there
        self.received = bytearray()  # all bytes; the body only is parsed
        self.chunks = []       # the bytes as recv(2) gave them
        self.body_at = None
        self.chunked = None    # how the body is taken out of chunks, if it comes in chunks
        self.ended = None      # None: open; "fin" or "rst"
        self.parse = parse     # False: bytes only, for tests about speed
        pairs = [("Accept", "text/event-stream")]
        pairs += list(headers.items()) if isinstance(headers, dict) else list(headers)
        if last_id is not None:
            pairs.append(("Last-Event-ID", last_id))
        self.sock = sock or connect(address, rcvbuf=rcvbuf, source=source)
        if sock is None:
            self.sock.sendall(raw if raw is not None else
                              build(target, method=method, version=version, headers=pairs,
                                    host=host))

    # What came so far.

    @property
    def events(self):
        return self.parser.events

    @property
    def messages(self):
        """Events that are not the broker's own."""
        return [e for e in self.events if not e.of_broker]

    @property
    def gaps(self):
        return [e for e in self.events if e.type == "tickerd:gap"]

    @property
    def data(self):
        return [e.data for e in self.messages]

    @property
    def last_id(self):
        return self.parser.last_event_id

    @property
    def comments(self):
        return self.parser.comments

    @property
    def body(self):
        if self.chunked:
            return bytes(self.chunked.body)
        return bytes(self.received[self.body_at:]) if self.body_at is not None else b""

    # Reading.

    def pump(self, timeout=0.0, size=1 << 18):
        """One recv. False when nothing came in time or the stream has ended."""
        if self.ended or not select.select([self.sock], [], [], timeout)[0]:
            return False
        try:
            chunk = self.sock.recv(size)
        except ConnectionResetError:
            self.ended = "rst"
            return False
        if not chunk:
            self.ended = "fin"
            return False
        if len(self.chunks) < 1000:
            self.chunks.append(chunk)
        self.received += chunk
        self._take(chunk)
        return True

    def _take(self, chunk):
        if self.body_at is None:
            end = self.received.find(b"\r\n\r\n")
            if end < 0:
                return
            self.body_at = end + 4
            self.response = Response(self.received[:self.body_at])
            chunk = bytes(self.received[self.body_at:])
            if self.response.header("transfer-encoding") == "chunked":
                self.chunked = Chunked()
        if self.chunked:
            chunk = self.chunked.feed(chunk)
            if self.chunked.ended:  # the connection may stay, for another request
                self.ended = "fin"
        if self.parse and chunk:
            self.parser.feed(chunk)

    def wait_for(self, condition, timeout=5, what="the condition"):
        """Read until `condition(self)` is true, and return its value."""
        limit = scaled(timeout)
        deadline = time.monotonic() + limit
        while True:
            value = condition(self)
            if value:
                return value
            left = deadline - time.monotonic()
            if self.ended or left <= 0:
                why = f"the stream ended ({self.ended})" if self.ended else f"{limit:.0f} s passed"
                raise AssertionError(f"waiting for {what}: {why}\n{self.describe()}")
            self.pump(left)

    def wait_head(self, timeout=5):
        return self.wait_for(lambda s: s.response, timeout, "the response head")

    def wait_open(self, timeout=5):
        """The first event, which must be the broker's tickerd:open."""
        self.wait_for(lambda s: s.events, timeout, "the first event")
        assert self.events[0].type == "tickerd:open", self.describe()
        return self.events[0]

    def wait_messages(self, count, timeout=5):
        self.wait_for(lambda s: len(s.messages) >= count, timeout, f"{count} messages")
        return self.messages

    def wait_data(self, value, timeout=5):
        self.wait_for(lambda s: value in s.data, timeout, f"the message {value!r}")

    def wait_gap(self, count=1, timeout=5):
        self.wait_for(lambda s: len(s.gaps) >= count, timeout, f"{count} tickerd:gap")
        return self.gaps[count - 1]

    def wait_end(self, timeout=5):
        """Until the server closes; "fin" or "rst"."""
        deadline = time.monotonic() + scaled(timeout)
        while not self.ended:
            left = deadline - time.monotonic()
            if left <= 0:
                raise AssertionError(f"the stream does not end\n{self.describe()}")
            self.pump(left)
        return self.ended

    def read_what_is_there(self):
        while self.pump(0):
            pass

    def describe(self):
        head = self.response.head if self.response else bytes(self.received[:400])
        events = self.events if len(self.events) <= 40 else [
            *self.events[:20], f"… {len(self.events) - 40} more …", *self.events[-20:]]
        lines = [f"head: {head!r}", f"{len(self.events)} events, {len(self.comments)} comments:"]
        lines += [f"  {e!r}" for e in events]
        if not self.parser.clean:
            lines.append(f"  incomplete: {self.parser.partial[:200]!r}")
        return "\n".join(lines)

    # Leaving.

    def close(self, reset=False):
        if reset:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()
        self.ended = self.ended or "closed"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
