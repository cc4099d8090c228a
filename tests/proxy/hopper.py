"""A client that loses its connection again and again and comes back, through the balancer, with its
Last-Event-ID, as an EventSource does; and the judge of what it is sent."""

import random
import time
from functools import partial

from harness import Stream, scaled


class Ledger:
    """Numbers 1, 2, 3 … are published, number n on channel n modulo `channels`. Per channel each
    must follow the one before, unless a gap stands between: then some may be missing. A connection
    that begins with {"resume":"gap"} may begin with messages that have been there before. With
    `strict` there is neither."""

    def __init__(self, channels, names=None, strict=True):
        self.channels = channels
        self.names = names or []
        self.strict = strict
        self.at = {c: c - channels if c else 0 for c in range(channels)}
        self.top = dict(self.at)
        self.excused = dict.fromkeys(range(channels), False)
        self.may_go_back = dict.fromkeys(range(channels), False)
        self.announced = self.repeated = 0
        self.reasons = set()

    def take(self, event, describe):
        if event.type == "tickerd:open":
            kind = event.json["resume"]
            assert not self.strict or kind != "gap", describe()
            self.may_go_back = dict.fromkeys(range(self.channels), kind == "gap")
        elif event.type == "tickerd:gap":
            assert not self.strict, describe()
            named = event.json["channel"]
            self.reasons.add(event.json["reason"])
            for c in range(self.channels):
                if named is None or self.names[c] == named:
                    self.excused[c] = True
        elif not event.of_broker:
            self._number(int(event.data), describe)

    def _number(self, n, describe):
        c = n % self.channels
        due = self.at[c] + self.channels
        if n != due:
            back = n <= self.top[c] and self.may_go_back[c]
            assert back or self.excused[c], f"{n} came for {due}, without a gap: {describe()}"
            self.announced += max(0, n - self.top[c] - self.channels) // self.channels
            self.repeated += n <= self.top[c]
        self.excused[c] = self.may_go_back[c] = False
        self.at[c] = n
        self.top[c] = max(self.top[c], n)

    def reached(self, last):
        """Whether the last number of every channel up to `last` has come."""
        return all(at + self.channels > last for at in self.at.values())


class Hopper:
    """`hop` is one connection. It must be a 200, whatever happens behind the balancer: anything
    else ends an EventSource for good."""

    def __init__(self, balancer, target, ledger, seed=1, headers=()):
        # The balancer, or whatever has an address or a way to connect.
        self.connect = getattr(balancer, "connect", None) or partial(Stream, balancer.address)
        self.headers = list(headers)
        self.target = target
        self.ledger = ledger
        self.rng = random.Random(seed)
        self.last_id = None
        self.retry_ms = 0
        self.instances = []  # where each connection went
        self.resumes = []    # and what each tickerd:open said
        self.stream = None
        self.taken = 0
        self.counted = 0     # messages since the connection was opened

    def open(self):
        self.stream = self.connect(self.target, last_id=self.last_id, headers=self.headers)
        self.taken = self.counted = 0
        self.stream.wait_open(10)
        head = self.stream.response
        assert head.status == 200, head
        self.instances.append(head.header("x-instance"))
        self.resumes.append(self.stream.events[0].json["resume"])
        self._take()

    def _take(self):
        for event in self.stream.events[self.taken:]:
            self.taken += 1
            self.counted += not event.of_broker
            if self.ledger:
                self.ledger.take(event, self.describe)
            self.last_id = event.id

    def read(self, condition, timeout=20):
        """Until `condition(self)`, or the stream's end; False at its end."""
        deadline = time.monotonic() + scaled(timeout)
        while not condition(self):
            if self.stream.ended:
                return False
            assert time.monotonic() < deadline, self.describe()
            self.stream.pump(0.2)
            self._take()
        return True

    def cut(self):
        self.retry_ms = self.stream.parser.reconnection_time or self.retry_ms
        self.stream.close(reset=self.rng.random() < 0.5)
        self.stream = None

    def hop(self, count=None, condition=None):
        """Come, read so many messages (a random number by default), be cut. When the server ends
        the stream, wait for as long as it said."""
        count = count or self.rng.randrange(1, 30)
        self.open()
        ended = not self.read(condition or (lambda h: h.counted >= count))
        self.cut()
        if ended:
            time.sleep(self.retry_ms / 1000)

    def follow_to(self, last):
        """Hop on until everything up to `last` has come."""
        deadline = time.monotonic() + scaled(30)
        while not self.ledger.reached(last):
            assert time.monotonic() < deadline, "the last messages do not come"
            self.hop(condition=lambda h: h.ledger.reached(last))

    @property
    def instance(self):
        """The name of the instance that serves the connection at hand."""
        return self.instances[-1]

    def describe(self):
        return f"hop {len(self.instances)}, {self.instances[-2:]}\n{self.stream.describe()}"
