"""A subscriber that behaves like a native EventSource: it keeps the id of the last complete block,
and comes back after `retry`. Around that it misbehaves as its plan says: it reads slowly, stalls,
closes only its sending side, or cuts the connection after so many bytes."""

import errno
import json
import random
import socket
import struct
import urllib.parse

from decoder import FAST, Decoder, decode
from loop import READ, WRITE
from messages import PAD, _SHIFTS, publisher_id, read

_RESET = struct.pack("ii", 1, 0)
RETRY_MAX = 3.0


class Kind:
    """What a client asks for."""

    def __init__(self, name, channels, *, pattern=None, json=False, history=None, slow=None,
                 cuts=True, stalls=False, pace=6.0):
        self.name = name
        self.channels = channels  # all it gets, patterns resolved
        self.pattern = pattern
        self.json = json
        self.history = history    # None, a number or "all"
        self.slow = slow          # bytes per read of a slow reader
        self.cuts = cuts
        self.stalls = stalls
        self.pace = pace          # mean seconds until a cut

    def target(self):
        quote = urllib.parse.quote_from_bytes
        query = []
        if self.pattern is not None:
            query.append("pattern=" + quote(self.pattern, safe=""))
        elif len(self.channels) > 1:
            query += ["channel=" + quote(c, safe="") for c in self.channels]
        path = "/events"
        if not query:
            path += "/" + quote(self.channels[0], safe="")
        if self.json:
            query.append("format=json")
        if self.history is not None:
            query.append(f"history={self.history}")
        return path, query


class Plan:
    """What will be done to one connection: cut after so many bytes, or at a time; how."""

    def __init__(self, rng, kind, calm):
        self.bytes = None
        self.seconds = None
        self.how = rng.choice(("reset", "reset", "fin", "half"))
        self.stall = None
        if calm:
            return
        if kind.cuts:
            self.seconds = rng.expovariate(1 / kind.pace) * rng.choice((1, 1, 1, 4))
            if rng.random() < 0.3:
                self.bytes = int(rng.choice((400, 3000, 30000)) * rng.expovariate(1)) + 1
                self.how = rng.choice(("reset", "fin"))
        if kind.stalls:
            self.stall = (rng.expovariate(1 / 5), rng.uniform(0.5, 4))


class Client:
    """`route(rng)` names where to connect: (address, broker or None if that is a proxy's choice)."""

    def __init__(self, loop, judge, kind, seed, route, stats):
        self.loop = loop
        self.judge = judge
        self.kind = kind
        self.rng = random.Random(seed)
        self.route = route
        self.stats = stats
        self.sock = None
        self.calm = False      # the end of the round: no mischief any more
        self.retry = 0.1
        self.timers = []
        self.path, self.query = kind.target()
        self.closed = False
        self.later(self.rng.uniform(0, 0.3), self.connect)

    @property
    def streaming(self):
        return self.sock is not None and self.judge.is_open

    # Timers that belong to the connection.

    def later(self, delay, call):
        self.timers.append(self.loop.after(delay, call))

    def cancel(self):
        for timer in self.timers:
            timer.cancel()
        self.timers = []

    # Connecting.

    def connect(self):
        self.cancel()
        self.address, self.broker = self.route(self.rng)
        self.run = self.broker.life if self.broker else None
        self.plan = Plan(self.rng, self.kind, self.calm)
        self.left = self.plan.bytes
        self.decoder = Decoder()
        self.head = b""
        self.in_body = False
        self.half = False
        self.paused = False
        unix = isinstance(self.address, str)
        sock = self.sock = socket.socket(socket.AF_UNIX if unix else socket.AF_INET)
        sock.setblocking(False)
        if self.kind.slow and not self.calm:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.last_id = self.judge.connect()
        error = sock.connect_ex(self.address)
        if error not in (0, errno.EINPROGRESS):
            self.ended(error)
            return
        self.loop.watch(sock.fileno(), WRITE, self.connected)

    def request(self):
        query, headers = list(self.query), []
        if self.last_id is not None:
            if self.rng.random() < 0.2:
                query.append("last_event_id=" + urllib.parse.quote_from_bytes(self.last_id, safe=""))
            else:
                headers.append(b"Last-Event-ID: " + self.last_id)
        target = self.path + ("?" + "&".join(query) if query else "")
        version = self.rng.choice((b"1.1", b"1.1", b"1.0"))
        lines = [b"GET %s HTTP/%s" % (target.encode(), version), b"Host: torture.test",
                 b"Accept: text/event-stream", *headers]
        return b"\r\n".join(lines) + b"\r\n\r\n"

    def connected(self, _):
        error = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error == 0:
            try:
                self.sock.send(self.request())  # a fresh socket's buffer takes it whole
            except OSError as e:
                error = e.errno
        if error:
            self.ended(error)
            return
        self.judge.note(f"connected to {self.broker.name if self.broker else 'the proxy'}, "
                        f"Last-Event-ID {self.last_id!r}")
        self.stats["connections"] += 1
        self.start_reading()
        if self.plan.seconds is not None:
            self.later(self.plan.seconds, self.cut)
        if self.plan.stall:
            self.later(self.plan.stall[0], self.stall)

    def start_reading(self):
        if self.kind.slow and not self.calm:
            self.loop.forget(self.sock.fileno())
            self.later(self.rng.uniform(0.02, 0.1), self.sip)
        else:
            self.loop.watch(self.sock.fileno(), READ, self.readable)

    # Mischief.

    def stall(self):
        if self.calm or self.sock is None:
            return
        self.stats["client stalls"] += 1
        self.judge.note(f"reads nothing for {self.plan.stall[1]:.1f} s")
        self.paused = True
        self.loop.forget(self.sock.fileno())
        self.later(self.plan.stall[1], self.wake)

    def wake(self):
        if self.paused and self.sock is not None:
            self.paused = False
            self.start_reading()

    def sip(self):
        """A slow reader's read: a little, ten times a second or so."""
        if self.sock is None or self.paused:
            return
        if self.calm:
            self.start_reading()
            return
        self.later(self.rng.uniform(0.02, 0.1), self.sip)
        self.readable(0, self.kind.slow)

    def cut(self):
        if self.sock is None or self.calm or self.half:
            return
        if self.plan.how == "half":
            self.stats["client half-closes"] += 1
            self.judge.note("closes its sending side")
            self.half = True
            try:
                self.sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # the other side was faster
            self.later(20, self.half_failed)
            return
        self.stats["client cuts"] += 1
        self.judge.note(f"cuts the connection ({self.plan.how})")
        self.drop(self.plan.how == "reset")
        self.again()

    def half_failed(self):
        if self.kind.slow or self.broker is None or self.broker.life != self.run:
            return
        self.judge.fail(None, "a half-closed connection is still open after 20 s")

    def drop(self, reset=False):
        self.cancel()
        if self.sock is None:
            return
        self.loop.forget(self.sock.fileno())
        if reset:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.sock.close()
        self.sock = None

    def again(self):
        if not self.closed:
            self.later(min(self.retry, RETRY_MAX), self.connect)

    def settle_down(self):
        """No mischief any more; whoever sleeps wakes."""
        self.calm = True
        if self.sock is None:
            return
        if self.kind.slow:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 18)
        if self.paused:
            self.wake()

    def close(self):
        self.closed = True
        self.drop()

    # Reading.

    def readable(self, _, size=1 << 17):
        if self.left is not None and not self.calm:
            size = min(size, self.left)
        try:
            chunk = self.sock.recv(size)
        except BlockingIOError:
            return
        except OSError as e:
            self.ended(e.errno)
            return
        if not chunk:
            self.ended(0)
            return
        self.stats["bytes"] += len(chunk)
        if not self.in_body:
            body = self.read_head(chunk)
        else:
            body = chunk
        if body:
            self.feed(body)
        if self.left is not None and self.sock is not None:
            self.left -= len(chunk)
            if self.left <= 0:
                self.left = None
                self.cut()

    def read_head(self, chunk):
        self.head += chunk
        head, found, body = self.head.partition(b"\r\n\r\n")
        if not found:
            return None
        status, _, headers = head.partition(b"\r\n")
        code = status.split(b" ")[1:2]
        if code == [b"200"] and b"\r\ncontent-type: text/event-stream" in b"\r\n" + headers.lower():
            self.in_body = True
            return body
        if self.broker is None and code and code[0] in (b"502", b"503", b"504"):
            self.stats["refused by the proxy"] += 1
        else:
            self.judge.fail(None, f"the answer is {head[:300]!r}")
        self.drop()
        self.again()
        return None

    def ended(self, error):
        """The other side closed or reset the connection, or refused it."""
        why = errno.errorcode.get(error, "fin") if error else "fin"
        self.take_retry(self.decoder.last_retry)
        self.judge.note(f"the connection ended: {why}"
                        + (f", {len(self.decoder.tail)} bytes of a block lost"
                           if self.decoder.tail else ""))
        broker = self.broker
        steady = broker is not None and broker.steady(self.run)
        refused = error in (errno.ECONNREFUSED, errno.ENOENT)
        if steady and not self.half and error != errno.EAGAIN:
            if refused:
                self.judge.fail(None, f"connection refused ({why}) by a broker that runs")
            elif not self.in_body:
                self.judge.fail(None, f"the connection ended inside the head ({why})")
            elif not self.judge.checker.rules.closes:
                self.judge.fail(None, f"the stream ended ({why}) though nothing ended it")
        self.drop()
        self.again()

    def feed(self, chunk):
        """Judge what came. Most blocks are the next plain message of their channel: they are
        counted here, all others by the judge."""
        judge = self.judge
        states, log = judge.states, judge.log
        count = 0
        for block in self.decoder.feed(chunk):
            match = FAST(block)
            if match is not None:
                name, number, size, body, event_id, seq, tag = match.groups()
                number = int(number)
                st = states.get(name)
                if st is not None and number == st.expect and tag == judge.tag and seq > judge.seq:
                    shift = number % _SHIFTS
                    if len(body) == int(size) and body == PAD[shift:shift + len(body)]:
                        judge.seq = seq
                        judge.last_id = event_id
                        st.last = st.here = st.at = number
                        st.expect = number + 1
                        log.append((name, number, event_id))
                        count += 1
                        continue
            self.block(block)
        judge.checker.events += count

    def take_retry(self, milliseconds):
        if milliseconds is not None:
            self.retry = milliseconds / 1000

    def block(self, raw):
        block = decode(raw)
        self.take_retry(block.retry)
        judge = self.judge
        if block.data is None:
            if block.id is not None:
                judge.fail(None, f"an id without an event: {raw[:200]!r}")
            return
        if block.type.startswith(b"tickerd:"):
            judge.event(block)
            return
        try:
            name, number, kind = self.read_message(block)
        except (ValueError, KeyError, TypeError) as e:
            judge.fail(None, f"{e} (block {raw[:200]!r})")
            return
        judge.log.append((name, number, block.id))
        if kind == "i":
            if block.id != publisher_id(name, number):
                judge.fail(None, f"not the publisher's id: {block.id!r}")
        judge.position(block.id or b"")
        judge.message(name, number)

    def read_message(self, block):
        data, event = block.data, block.type
        if self.kind.json:
            body = json.loads(data)
            if set(body) != {"channel", "id", "event", "data"}:
                raise ValueError(f"keys of the JSON form: {sorted(body)}")
            if body["id"].encode() != block.id or event != b"message":
                raise ValueError("the JSON form's id or event differs from the block's")
            data, event = body["data"].encode(), (body["event"] or "message").encode()
            if not read(data)[0] == body["channel"].encode():
                raise ValueError("the JSON form's channel is not the message's")
        name, number, kind = read(data)
        if event != (b"update" if kind == "e" else b"message"):
            raise ValueError(f"the event's name is {event!r}")
        return name, number, kind
