"""Publishes numbered messages over one connection to Redis that may be lost at any time, and keeps
the ledgers: what was asked for in which order, and what was answered."""

import collections
import random
import socket
import time

from loop import READ, WRITE
from messages import payload_of

TICK = 0.01
OUTSTANDING_MAX = 4000
SLOW_ANSWER = 0.3
STRAY_SECONDS = 3.0  # how long a former master may be published to
STRAY_MAX = 5000


class Traffic:
    """What is published on one channel."""

    def __init__(self, name, rate, *, size=60, large=0.0, large_size=20000, kinds="pppppppmue",
                 oversize=0.0, burst=0.0):
        self.name = name
        self.rate = rate              # messages a second
        self.size = size              # of the body, on average
        self.large = large            # share of large ones
        self.large_size = large_size
        self.kinds = kinds            # drawn from these
        self.oversize = oversize      # share of those above the limit
        self.burst = burst            # bursts a second
        self.owed = 0.0


class Publisher:
    """`redis.path` is where to publish; None while nobody knows."""

    def __init__(self, loop, checker, redis, traffic, seed, limit, prefix=b"sse:"):
        self.loop = loop
        self.checker = checker
        self.redis = redis
        self.traffic = traffic
        self.rng = random.Random(seed)
        self.limit = limit  # limits.message_bytes
        self.prefix = prefix
        self.sock = None
        self.ready = False
        self.out = b""
        self.tail = b""
        self.waiting = collections.deque()  # (ledger, number, sent at)
        self.recent = collections.deque(maxlen=STRAY_MAX)  # the same, answered
        self.path = None  # of the connection
        self.published = 0
        self.unknown = 0
        self.slow_since = None
        self.on = True
        self.closed = False
        self.last_tick = time.monotonic()
        self.connect()
        loop.after(TICK, self.tick)

    # The connection.

    def connect(self):
        if self.closed:
            return
        if self.redis.path is None:
            self.loop.after(0.02, self.connect)
            return
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.setblocking(False)
        self.path = self.redis.path
        try:
            self.sock.connect(self.path)
            self.sock.send(b"PING\r\n")
        except OSError:
            self.sock.close()
            self.sock = None
            self.loop.after(0.02, self.connect)
            return
        self.ready = False
        self.tail = self.out = b""
        self.loop.watch(self.sock.fileno(), READ, self.event)

    def lost(self):
        """What has not been answered may have been published, or not."""
        self.loop.forget(self.sock.fileno())
        self.sock.close()
        self.sock = None
        self.ready = False
        for ledger, number, _ in self.waiting:
            ledger.maybe.add(number)
            ledger.answered = number
            self.unknown += 1
        self.waiting.clear()
        self.loop.after(0.02, self.connect)

    def _forget_strays(self):
        """The master is another one, although the old one lives: that may have taken messages when it was none any
        more, and nobody listened."""
        now = time.time()
        for ledger, number, at in self.recent:
            if now - at < STRAY_SECONDS:
                ledger.maybe.add(number)
        self.recent.clear()

    def event(self, events):
        if events & ~WRITE:
            self.read()
        if events & WRITE and self.sock is not None:
            self.flush()

    def read(self):
        try:
            chunk = self.sock.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            chunk = b""
        if not chunk:
            self.lost()
            return
        lines = (self.tail + chunk).split(b"\r\n")
        self.tail = lines.pop()
        for line in lines:
            if line == b"+PONG" and not self.ready:
                self.ready = True
            elif line.startswith(b":") and self.waiting:
                ledger, number, at = self.waiting.popleft()
                ledger.answered = number
                self.recent.append((ledger, number, at))
                self._watch_delay(at)
            else:  # -LOADING and the like: as good as no connection
                self.lost()
                return

    def _watch_delay(self, at):
        """A slow answer that no fault explains: the machine is slow, and then the daemon may
        rightly think that Redis is away."""
        now = time.time()
        if now - at > SLOW_ANSWER:
            self.checker.slow_machine(at, now)

    def flush(self):
        try:
            sent = self.sock.send(self.out)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.lost()
            return
        self.out = self.out[sent:]
        self.loop.watch(self.sock.fileno(), READ | WRITE if self.out else READ, self.event)

    # Publishing.

    def tick(self):
        if self.closed:
            return
        self.loop.after(TICK, self.tick)
        if self.ready and self.path != self.redis.path:
            if self.redis.path is not None:
                self._forget_strays()
            self.lost()
        now = time.monotonic()
        # Not all that was owed: whoever judges must keep up with what is published.
        passed = min(now - self.last_tick, 2 * TICK)
        self.last_tick = now
        if not self.on or not self.ready or len(self.waiting) > OUTSTANDING_MAX:
            return
        batch = []
        for t in self.traffic:
            t.owed += passed * t.rate
            if t.burst and self.rng.random() < passed * t.burst:
                t.owed += self.rng.randrange(20, 300)
            while t.owed >= 1:
                t.owed -= 1
                batch.append(self.make(t))
        self.rng.shuffle(batch)
        self.send(batch)

    def make(self, traffic):
        rng = self.rng
        kind = rng.choice(traffic.kinds)
        size = int(rng.expovariate(1 / traffic.size))
        roll = rng.random()
        if roll < traffic.oversize:
            kind, size = "o", self.limit + rng.randrange(100)
        elif roll < traffic.oversize + traffic.large:
            size = int(traffic.large_size * rng.uniform(0.5, 1))
        return traffic.name, (size // 4 * 4 if kind == "u" else size), kind

    def send(self, batch):
        if not batch:
            return
        now = time.time()
        parts = [self.out]
        for name, size, kind in batch:
            ledger = self.checker.ledgers[name]
            ledger.last += 1
            number = ledger.last
            if kind == "o":
                ledger.oversize.add(number)
            payload = payload_of(name, number, size, kind)
            parts.append(b"*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%s%s\r\n$%d\r\n%s\r\n" % (
                len(self.prefix) + len(name), self.prefix, name, len(payload), payload))
            self.waiting.append((ledger, number, now))
        self.published += len(batch)
        self.out = b"".join(parts)
        self.flush()

    def finale(self):
        """One last message on each channel. False: not possible right now."""
        if not self.ready or self.waiting:
            return False
        self.send([(t.name, 20, "p") for t in self.traffic])
        return self.sock is not None

    def close(self):
        self.closed = True
        if self.sock is not None:
            self.loop.forget(self.sock.fileno())
            self.sock.close()
            self.sock = None
